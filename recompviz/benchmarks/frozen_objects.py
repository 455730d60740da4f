"""Measurements without long garbage collections.

Each measurement of a step begins with a garbage collection. In a short process, most objects were made by imports, and
to visit them takes longer than the step.
"""

from __future__ import annotations

import gc


def freeze_objects() -> None:
    """Collect garbage, and take all other objects of this process out of later collections.

    >>> freeze_objects()
    >>> gc.get_freeze_count() > 0
    True
    """
    gc.collect()
    gc.freeze()

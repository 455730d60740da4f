"""Tests and examples learn about this machine into a folder of their own, never into the user's."""

from __future__ import annotations

import os
import tempfile

os.environ["RECOMPVIZ_CACHE"] = tempfile.mkdtemp(prefix="recompviz-tests-")

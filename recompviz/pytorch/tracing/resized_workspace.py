"""The workspace of operators at another batch size or sequence length.

The workspace of a CPU kernel consists mostly of copies of its operands in another memory layout. The copies of
activations are in proportion to the batch, and the copies of weights do not change. How much of a measured workspace
belongs to weights is not known. The estimate assumes what gives more memory. At larger sizes, the whole workspace grows
with the activations. At smaller sizes, as many bytes stay as could belong to weights, and the rest shrinks with the
activations. On ResNet-50, VGG-19, DenseNet-161 and U-Net, at half to four times the batch, the peak is then 0 to 3.4 %
too high. The workspace of a GPU kernel depends on the algorithm that the library chooses, and often has a fixed size.
It is estimated to grow with the activations at larger sizes, and to stay the same at smaller sizes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def resized_workspace(
    workspace: Sequence[int],
    call_of: NDArray[np.int64],
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    changes: NDArray[np.bool_],
    *,
    shrinks: bool,
) -> tuple[int, ...]:
    """Return the workspace of each call at other sizes, in bytes.

    Parameters
    ----------
    workspace : sequence of int
        The measured workspace of each call, in bytes; empty if it was not measured.
    call_of : numpy.ndarray of int64, shape (operands,)
        The call of each operand.
    before, after : numpy.ndarray, shape (operands,)
        The bytes of each operand where the workspace was measured, and at the other sizes.
    changes : numpy.ndarray of bool, shape (operands,)
        Whether the bytes of an operand depend on the sizes. The bytes of weights do not.
    shrinks : bool
        Whether the workspace may become smaller than the measured one.

    Examples
    --------
    A call with 90 bytes of workspace, 40 bytes of weights and 100 bytes of activations, at a third of the batch:

    >>> operands = np.array([0, 0]), np.array([40.0, 100.0]), np.array([40.0, 34.0]), np.array([False, True])
    >>> resized_workspace([90], *operands, shrinks=True), resized_workspace([90], *operands, shrinks=False)
    ((57,), (90,))
    """
    if not workspace:
        return ()
    measured = np.array(workspace, np.float64)

    def of_calls(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(call_of, sizes, len(measured)).astype(np.float64)

    weights, old, new = of_calls(before * ~changes), of_calls(before * changes), of_calls(after * changes)
    growth = np.divide(new, old, out=np.ones_like(old), where=old > 0)
    stays = np.where(growth < 1, np.minimum(measured, weights) if shrinks else measured, 0)
    return tuple(np.ceil(stays + (measured - stays) * growth).astype(int).tolist())

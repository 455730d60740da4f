"""The bytes of the plans of a region (a captured graph) for any dynamic sizes of its inputs.

The schedule of a plan does not depend on sizes. The bytes alive in a step of the schedule are therefore a sum of terms.
Each term is a constant times a *unit*, which is an expression of the sizes (see
:mod:`recompviz.pytorch.internals.symbolic_sizes`). The constants for a unit come from one simulation, in which only the
storages whose bytes are a multiple of this unit have a size.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recompviz.core.live.model import LiveModel
from recompviz.core.planning.step_plans import Outside, RegionPlans
from recompviz.core.steps.schedule import make_schedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from recompviz.core.steps.joint import JointGraph
    from recompviz.pytorch.executing.region import Region

# Columns of the terms; the units follow.
FIXED, WORKSPACE, ROUNDING, UNITS = 0, 1, 2, 3


class SizedPlans:
    """The plans of one region (a captured graph), with their bytes for any dynamic sizes of its inputs.

    Parameters
    ----------
    region : Region
    joint : JointGraph
        The joint graph of the region, with its bytes at ``sizes``.
    times : numpy.ndarray
        Milliseconds of each node.
    masks : list of numpy.ndarray of bool
        The plans: for each node, whether its value is kept.
    released : frozenset of int
        Storages of the outputs that the code outside frees before the backward pass.
    sizes : tuple, optional
        The dynamic sizes of the inputs for which the bytes of ``joint`` are valid. If left out, all sizes are fixed.

    Attributes
    ----------
    keep_all : float
        Milliseconds of the forward pass, without recomputation.
    step_time : float
        Milliseconds of the forward and the backward pass, without recomputation; 0 if the times are not known.
    """

    def __init__(
        self,
        region: Region,
        joint: JointGraph,
        times: NDArray[np.float64],
        masks: list[NDArray[np.bool_]],
        released: frozenset[int] = frozenset(),
        sizes: tuple[Any, ...] | None = None,
    ) -> None:
        self.sizes = sizes
        self.keep_all = float(times.sum())
        self.step_time = 1000 * sum(joint.seconds)
        self._symbolic = region.folded.symbolic_sizes if sizes is not None else None
        self._before = np.array(self._symbolic.units(sizes) if self._symbolic and sizes is not None else (), np.float64)
        graph = replace(region.folded.graph, time=times)
        columns = self._columns(joint)
        models = [LiveModel(graph, column) for column in columns]
        storages = np.stack([column.allocated for column in columns], 1)  # (storages, columns)
        forward = joint.forward_count
        outputs = {
            s
            for s in joint.results
            if joint.storages[s].maker >= 0 and not joint.calls[joint.storages[s].maker].backward
        }
        output_terms = storages[list(outputs)].sum(0)
        overhead, ahead, behind, held = [], [], [], []
        for mask in masks:
            runs = [model.simulate(np.ascontiguousarray(mask)) for model in models]
            steps = np.stack([run.step_peaks for run in runs], 1)  # (steps, columns)
            schedule = make_schedule(joint, mask.tolist())
            saved = set(schedule.saved)
            kept_outputs = storages[list(saved & outputs & released)].sum(0)
            states = sum(joint.calls[c].random for c in schedule.recomputed) * joint.rounded(joint.rng_bytes)
            saved_terms = storages[list(saved - outputs)].sum(0) + kept_outputs
            saved_terms[FIXED] += states
            overhead.append(runs[0].overhead)
            held.append(saved_terms)
            ahead.append(_largest(steps[:forward]))
            behind.append(_largest(steps[forward:]) - output_terms + kept_outputs)
        self._overhead = np.array(overhead, np.float64)
        self._saved = np.stack(held)
        self._forward, self._forward_starts = _stacked(ahead)
        self._backward, self._backward_starts = _stacked(behind)

    def _columns(self, joint: JointGraph) -> list[JointGraph]:
        """For each column of the terms, the joint graph in which only the storages of that column have a size."""
        if not self._symbolic:
            return [joint]
        allocated, terms = joint.sizes, self._symbolic.terms
        empty = replace(joint, workspace=(), rng_bytes=0, tangent_bytes=0, clones=(), alignment=1)

        def only(bytes_of: dict[int, int], like: JointGraph = empty) -> JointGraph:
            storages = [replace(storage, size=bytes_of.get(s, 0)) for s, storage in enumerate(joint.storages)]
            return replace(like, storages=tuple(storages))

        fixed = only(
            {s: size for s, size in enumerate(allocated) if s not in terms},
            replace(
                joint,
                workspace=(),
                alignment=1,
                rng_bytes=joint.rounded(joint.rng_bytes),
                tangent_bytes=joint.rounded(joint.tangent_bytes),
                clones=tuple((s, joint.rounded(size)) for s, size in joint.clones),
            ),
        )
        workspace = only({}, replace(empty, workspace=joint.workspace))
        rounding = only(dict.fromkeys(terms, joint.alignment - 1))
        of_units: list[dict[int, int]] = [{} for _ in self._before]
        for s, (unit, number) in terms.items():
            of_units[unit][s] = allocated[s] if self._before[unit] else number
        return [fixed, workspace, rounding, *map(only, of_units)]

    @property
    def symbolic(self) -> bool:
        """Whether the bytes of the plans depend on dynamic sizes of the inputs."""
        return bool(self._symbolic)

    def exceeds(self, sizes: tuple[Any, ...], expected: tuple[Any, ...]) -> bool:
        """Return whether some storage takes more bytes at the dynamic sizes ``sizes`` than at ``expected``."""
        if not self._symbolic or sizes == expected:
            return False
        return any(a > b for a, b in zip(self._symbolic.units(sizes), self._symbolic.units(expected), strict=True))

    def growth(self, sizes: tuple[Any, ...]) -> float:
        """Return the largest factor by which a storage grows from the constructor's dynamic sizes to ``sizes``.

        Only storages of dynamic size count. The result is 1.0 if all sizes are fixed.
        """
        if not self._symbolic or sizes == self.sizes:
            return 1.0
        now = np.array(self._symbolic.units(sizes), np.float64)
        return float((now / np.maximum(self._before, 1)).max())

    def at(self, sizes: tuple[Any, ...] | None = None) -> RegionPlans:
        """Return the bytes and times of the plans at given sizes.

        Parameters
        ----------
        sizes : tuple, optional
            The dynamic sizes of the region's inputs. If left out, the sizes given to the constructor.

        Returns
        -------
        RegionPlans
            Its overheads are in milliseconds. The workspace of operators is multiplied by :meth:`growth`, but does not
            become smaller than at the sizes given to the constructor.
        """
        factors = np.ones(self._saved.shape[1])
        if self._symbolic:
            same = sizes is None or sizes == self.sizes
            now = self._before if sizes is None else np.array(self._symbolic.units(sizes), np.float64)
            factors[UNITS:] = now / np.maximum(self._before, 1)
            # a kernel's workspace may have a fixed part
            factors[WORKSPACE] = max(1.0, factors[UNITS:].max())
            factors[ROUNDING] = 0.0 if same else 1.0
        return RegionPlans(
            self._overhead,
            _bytes(np.maximum.reduceat(self._forward @ factors, self._forward_starts)),
            _bytes(self._saved @ factors),
            _bytes(np.maximum.reduceat(self._backward @ factors, self._backward_starts)),
        )


def outside_at(recorded: Sequence[tuple[float, Outside]], growth: float) -> Outside:
    """Estimate the bytes that code outside the regions (captured graphs) holds in a training step of another size.

    Parameters
    ----------
    recorded : sequence of (float, Outside)
        Pairs (size of the step, bytes that the code outside held), by rising size. A size is relative to the step from
        which the bytes of the regions were measured; see :func:`recompviz.pytorch.budgeting.step_model.growth_of`.
    growth : float
        The size of the step for which bytes are estimated, as in ``recorded``.

    Returns
    -------
    Outside
        The bytes are interpolated between the recorded sizes. Below the smallest recorded size, they are the bytes at
        that size. Above the largest recorded size, they grow in proportion to the size.

    Examples
    --------
    >>> recorded = [(1.0, Outside(100, 100, 100, 100)), (3.0, Outside(200, 200, 200, 200))]
    >>> outside_at(recorded, 0.5).forward, outside_at(recorded, 2.0).forward, outside_at(recorded, 6.0).forward
    (100, 150, 400)
    """
    sizes = [size for size, _ in recorded]
    values = np.array([(o.forward, o.after_forward, o.backward, o.after_backward) for _, o in recorded], np.float64)
    if growth > sizes[-1]:
        found = values[-1] * (growth / sizes[-1])
    else:
        found = np.array([np.interp(growth, sizes, column) for column in values.T])
    return Outside(*(int(value) for value in _bytes(found)))


def _largest(steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows that may give the most bytes for some sizes: no other row is at least as large in all columns."""
    rows = np.unique(np.vstack([steps, np.zeros((1, steps.shape[1]), np.int64)]), axis=0)
    kept = []
    while len(rows):
        top = rows[np.argmax(rows.sum(1))]
        kept.append(top)
        rows = rows[(rows > top).any(1)]
    return np.stack(kept)


def _stacked(tables: list[NDArray[np.int64]]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The rows of all tables in one table, and the row at which each table starts."""
    starts = np.cumsum([0, *map(len, tables[:-1])])
    return np.vstack(tables).astype(np.float64), starts


def _bytes(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.asarray(np.ceil(values - 1e-3), np.int64)

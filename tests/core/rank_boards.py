"""Boards of ranks with drawn numbers, for the tests of the view of several ranks."""

from __future__ import annotations

import numpy as np

from recompviz.core.graphs.graph import Graph
from recompviz.core.plans.plan import Plan
from recompviz.core.ranks.rank_board import RankBoard, RankLane
from recompviz.core.ranks.rank_layers import LAYERS, Pass
from recompviz.core.ranks.stage_place import StagePlace

COLUMNS = 4


def lane_of(seed: int, name: str, passes: tuple[Pass, ...], stage: int, rows: int) -> RankLane:
    """A lane with plans of rising overhead and falling peak."""
    rng = np.random.default_rng(seed)
    graph = Graph.from_edges([(0, 1), (1, 2)], memory=[1, 2, 3])
    before = np.zeros(len(LAYERS), np.int64)
    before[:3] = rng.integers(10_000, 90_000, 3)
    layers = rng.integers(0, 50_000, (rows, len(passes), COLUMNS + 1, len(LAYERS))).astype(np.float64)
    layers[..., :3] = before[:3]
    layers *= np.sort(rng.uniform(0.3, 1, rows))[::-1, None, None, None]
    layers = layers.astype(np.int64)
    peaks = layers.sum(axis=-1).max(axis=(1, 2)).astype(np.int64)
    order = np.argsort(-peaks)
    layers, peaks = layers[order], peaks[order]
    overheads = np.concatenate([[0.0], np.sort(rng.uniform(0.1, 3, rows - 1))])[:, None]
    plans = tuple((Plan.from_keep_mask(graph, [v for v in range(3) if row % 3 != v], "live"),) for row in range(rows))
    forward = (float(rng.uniform(1, 3)),)
    return RankLane(
        name, passes, forward, (stage,), plans, overheads, peaks, before, layers, lambda row: int(peaks[row])
    )


def pipeline_board(seed: int, stages: int = 3, micro_batches: int = 4, kind: str = "1f1b") -> RankBoard:
    """The stages of a pipeline."""
    lanes = []
    for stage in range(stages):
        order = StagePlace(stage, stages, micro_batches, kind).order()  # type: ignore[arg-type]
        passes = tuple(Pass("backward" if backward else "forward", stage, i) for backward, i in order)
        lanes.append(lane_of(seed + stage, f"stage {stage + 1} of {stages}", passes, stage, rows=5 + stage))
    return RankBoard("Net", tuple(lanes), False, "cpu", f"{kind}, {micro_batches} micro-batches", ("times are drawn",))


def sharded_board(seed: int, kinds: int = 2) -> RankBoard:
    """Kinds of ranks that run one plan."""
    passes = (Pass("forward"), Pass("backward"), Pass("optimizer"))
    lanes = tuple(lane_of(seed + i, f"ranks {2 * i}, {2 * i + 1}", passes, 0, rows=6) for i in range(kinds))
    return RankBoard("Net", lanes, True, "cpu", "", ("times are drawn",))

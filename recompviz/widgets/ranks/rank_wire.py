"""The value of the trait ``_board`` in the view of several ranks.

``rank_wire.md`` lists every field; ``js/ranks/board.js`` reads them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from recompviz.core.ranks.rank_board import RankBoard, RankLane
from recompviz.core.ranks.rank_layers import LAYERS

# layers are sent as whole numbers from 0 to this one
LARGEST = 65535


def board_message(board: RankBoard) -> dict[str, Any]:
    """Return the value of the trait ``_board``; ``rank_wire.md`` lists its fields."""
    return {
        "title": board.title,
        "device": board.device,
        "schedule": board.schedule,
        "shared": board.shared,
        "notes": list(board.notes),
        "layers": [{"name": layer.name, "text": layer.text} for layer in LAYERS],
        "lanes": [_lane(lane) for lane in board.lanes],
    }


def _lane(lane: RankLane) -> dict[str, Any]:
    scale = float(max(lane.layers.max(), lane.before.max(), 1))
    return {
        "name": lane.name,
        "passes": [[one.kind, one.stage, one.micro_batch] for one in lane.passes],
        "stages": list(lane.stages),
        "forward": list(lane.forward),
        "rows": len(lane.peaks),
        "overheads": lane.overheads.astype("<f8").tobytes(),
        "peaks": lane.peaks.astype("<f8").tobytes(),
        "before": lane.before.tolist(),
        "scale": scale,
        "layers": np.round(lane.layers * (LARGEST / scale)).astype("<u2").tobytes(),
    }

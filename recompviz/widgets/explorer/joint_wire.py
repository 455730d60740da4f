"""The joint graph in the form that the page reads. The page simulates plans on it while the user drags the budget."""

from __future__ import annotations

import gzip
import json
from typing import Any

from recompviz.core.graphs.graph import Graph
from recompviz.core.steps.joint import Category, JointGraph
from recompviz.core.steps.simulation import ARRIVAL, OPTIMIZER_SCRATCH, OPTIMIZER_STEP
from recompviz.widgets.layout.step_nodes import node_numbers, step_nodes


def packed_joint(graph: Graph, joint: JointGraph) -> bytes:
    """Return the joint graph as gzipped JSON, without labels: the value of the Explorer's trait ``_joint``."""
    message = joint_message(graph, joint)
    del message["labels"]
    return gzip.compress(json.dumps(message, separators=(",", ":")).encode(), compresslevel=6, mtime=0)


def joint_message(graph: Graph, joint: JointGraph) -> dict[str, Any]:
    """Return the joint graph as ``js/data/simulated_reply.js`` reads it."""
    keys = [call.info.key for call in joint.calls]
    return {
        "calls": [
            [call.node, call.reads, call.makes, call.pinned, call.random, call.views, call.follows]
            for call in joint.calls
        ],
        "forwardCount": joint.forward_count,
        "makers": [storage.maker for storage in joint.storages],
        "sizes": joint.sizes,
        "categories": [int(storage.category) for storage in joint.storages],
        "results": sorted(joint.results),
        "clones": joint.clones,
        "tangentBytes": joint.tangent_bytes,
        "rngBytes": joint.rng_bytes,
        "alignment": joint.alignment,
        "workspace": joint.workspace,
        "optimizerScratch": joint.optimizer_scratch,
        "static": [[int(category), size] for category, size in joint.static.items()],
        "categoryLabels": [category.label for category in Category],
        "callNodes": step_nodes(graph, node_numbers(graph), keys),
        "labels": [
            *keys,
            *(storage.label for storage in joint.storages),
            *("generator state", "workspace", "gradient of the loss", OPTIMIZER_SCRATCH, ARRIVAL, OPTIMIZER_STEP),
        ],
    }

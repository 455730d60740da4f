"""Small training steps made by hand, for examples, lessons and tests without torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recompviz.core.graphs.graph import Graph
from recompviz.core.graphs.node_info import NodeInfo
from recompviz.core.steps.joint import Call, Category, JointGraph, Storage


def chain_step(sizes: Sequence[int]) -> tuple[Graph, JointGraph]:
    """Return a chain of values as a graph, and the operator calls of its training step as a joint graph.

    The forward call of value i reads value i−1. The backward call of value i allocates the gradient of value i. This
    call reads value i−1 and the gradient of value i+1, if they exist. The last value is the loss; no backward call
    reads it.

    Parameters
    ----------
    sizes : sequence of int
        Bytes of each value, for at least one value. The gradient of a value has the same size.

    Examples
    --------
    >>> graph, joint = chain_step([4, 2, 1])
    >>> len(graph), len(joint.calls)
    (3, 6)
    """
    n = len(sizes)
    graph = Graph.from_edges([(i, i + 1) for i in range(n - 1)], memory=list(sizes))
    storages = [Storage(size, i, Category.KEPT, f"v{i}") for i, size in enumerate(sizes)]
    storages[-1] = Storage(sizes[-1], n - 1, Category.OUTPUT, f"v{n - 1}")
    calls = [Call(NodeInfo(key=f"v{i}"), False, i, (i - 1,) if i else (), (i,)) for i in range(n)]
    for step, i in enumerate(range(n - 1, -1, -1)):
        storages.append(Storage(sizes[i], n + step, Category.GRADIENT, f"gradient of v{i}"))
        reads = ((n + step - 1,) if step else ()) + ((i - 1,) if i else ())
        calls.append(Call(NodeInfo(key=f"backward of v{i}"), True, -1, reads, (n + step,)))
    return graph, JointGraph(tuple(calls), tuple(storages), frozenset({n - 1, 2 * n - 1}))


def residual_step(blocks: Sequence[int] = (3, 4, 6, 3), batch: int = 8, pixels: int = 224) -> tuple[Graph, JointGraph]:
    """Return the graph and the joint graph of a residual network with bottleneck blocks; ResNet-50 by default.

    The values have the sizes of the real network, and the costs of Kusumoto et al. 2019: 10 for a convolution,
    otherwise 1. The backward pass is simplified. Each backward call reads the gradient of its operator's output, except
    the call of the loss, which reads only the operator's input. For a ReLU, the call also reads the output. For an
    addition or a view, it reads nothing else. For any other operator, it also reads the operator's inputs.

    Parameters
    ----------
    blocks : sequence of int
        The number of bottleneck blocks in each stage. Each stage after the first halves height and width.
    batch, pixels : int
        The number of images in a batch, and their height and width.

    Examples
    --------
    >>> graph, joint = residual_step()
    >>> graph
    Graph(#V=176, #E=191)
    >>> residual_step(blocks=(1,))[0].count_lower_sets()
    37
    """
    net = _Sequence(batch)
    side = pixels // 2
    at = net.add("aten.convolution", "conv1", (), 64, side, 10, 64 * 3 * 49)
    at = net.add("aten.batch_norm", "bn1", (at,), 64, side)
    at = net.add("aten.relu", "relu", (at,), 64, side)
    side //= 2
    at = net.add("aten.max_pool2d", "maxpool", (at,), 64, side)
    channels = 64
    for stage, count in enumerate(blocks):
        width = 64 << stage
        for b in range(count):
            name = f"layer{stage + 1}.{b}"
            start, block = at, f"layer{stage + 1}.*"
            for i, (out, kernel) in enumerate(((width, 1), (width, 9), (width * 4, 1)), start=1):
                if i == 2 and b == 0 and stage > 0:
                    side //= 2
                at = net.add(
                    "aten.convolution", f"{name}.conv{i}", (at,), out, side, 10, channels * out * kernel, block
                )
                at = net.add("aten.batch_norm", f"{name}.bn{i}", (at,), out, side, block=block)
                channels = out
                if i < 3:
                    at = net.add("aten.relu", f"{name}.relu", (at,), out, side, block=block)
            if b == 0:
                weight = channels * (channels // (4 if stage == 0 else 2))
                start = net.add("aten.convolution", f"{name}.downsample.0", (start,), channels, side, 10, weight, block)
                start = net.add("aten.batch_norm", f"{name}.downsample.1", (start,), channels, side, block=block)
            at = net.add("aten.add", name, (at, start), channels, side, block=block)
            at = net.add("aten.relu", f"{name}.relu", (at,), channels, side, block=block)
    at = net.add("aten.mean", "avgpool", (at,), channels, 1)
    at = net.add("aten.view", "", (at,), channels, 1)
    at = net.add("aten.addmm", "fc", (at,), 1000, 1, 1, channels * 1000)
    net.add("aten.nll_loss", "", (at,), 1, 1)
    return net.finish(batch * 3 * pixels * pixels * 4)


def u_step(nodes: int = 300, batch: int = 2) -> tuple[Graph, JointGraph]:
    """Return the graph and the joint graph of a network with the shape of a U-Net.

    The backward pass is simplified as in :func:`residual_step`. The output of each block on the way down is also read
    on the way up. A block is a convolution, a batch norm and a ReLU. On the way down, each quarter of the blocks has
    half the height and width of the quarter before.

    Parameters
    ----------
    nodes : int
        Approximate number of nodes.
    batch : int
        The number of images in a batch. Each image is 64 pixels high and wide.

    Examples
    --------
    >>> len(u_step(60)[0])
    55
    """
    net = _Sequence(batch)
    depth = max(1, (nodes - 5) // 7)
    at = net.add("aten.convolution", "stem", (), 16, 64, 10, 432)
    skips = []
    for i in range(depth):
        side = max(4, 64 >> (4 * i // depth))
        for op in ("convolution", "batch_norm", "relu"):
            at = net.add(
                f"aten.{op}", f"down.{i}.{op}", (at,), 16, side, 10 if op == "convolution" else 1, block="down.*"
            )
        skips.append((at, side))
    for i, (skip, side) in enumerate(reversed(skips)):
        at = net.add("aten.cat", f"up.{i}", (at, skip), 32, side, block="up.*")
        for op in ("convolution", "batch_norm", "relu"):
            at = net.add(f"aten.{op}", f"up.{i}.{op}", (at,), 16, side, 10 if op == "convolution" else 1, block="up.*")
    for op in ("convolution", "mean", "view", "addmm"):
        at = net.add(f"aten.{op}", f"head.{op}", (at,), 16, 1)
    net.add("aten.nll_loss", "", (at,), 1, 1)
    return net.finish(batch * 3 * 64 * 64 * 4)


class _Sequence:
    """Collects the nodes of a network in the order they run, then appends the backward pass."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.nodes: list[tuple[NodeInfo, tuple[int, ...], int, float, int]] = []
        self.seen: dict[str, int] = {}

    def add(
        self,
        op: str,
        module: str,
        reads: tuple[int, ...],
        channels: int,
        side: int,
        time: float = 1,
        weight: int = 0,
        block: str = "",
    ) -> int:
        """Append one node and return its number."""
        name = f"{module}/{op}" if module else op
        occurrence = self.seen.get(name, 0)
        self.seen[name] = occurrence + 1
        shape = (self.batch, channels, side, side) if side > 1 else (self.batch, channels)
        info = NodeInfo(f"{name}#{occurrence}", op, module, "", shape, "float32", block, output=op == "aten.nll_loss")
        size = 4 if op == "aten.nll_loss" else self.batch * channels * side * side * 4
        self.nodes.append((info, reads, size, time, weight * 4))
        return len(self.nodes) - 1

    def finish(self, image: int) -> tuple[Graph, JointGraph]:
        """Return the graph, and the joint graph with one backward call for each node."""
        n = len(self.nodes)
        edges = [(u, v) for v, (_, reads, *_) in enumerate(self.nodes) for u in reads]
        graph = Graph(
            tuple(info.key for info, *_ in self.nodes),
            np.array([node[2] for node in self.nodes], np.int64),
            np.array([node[3] for node in self.nodes], np.float64),
            np.array(edges, np.int32),
            tuple(info for info, *_ in self.nodes),
        )
        storages = [
            Storage(size, v, Category.OUTPUT if v == n - 1 else Category.KEPT, info.key)
            for v, (info, _, size, *_) in enumerate(self.nodes)
        ]
        calls = [Call(info, False, v, reads, (v,)) for v, (info, reads, *_) in enumerate(self.nodes)]
        storages.append(Storage(image, -1, Category.INPUT, "input"))
        results = {n - 1}
        gradient: dict[int, int] = {}
        for v in range(n - 1, -1, -1):
            info, reads, _, _, weight = self.nodes[v]
            needs = reads if info.op not in ("aten.add", "aten.relu", "aten.view") else ()
            needs = (v,) if info.op == "aten.relu" else needs
            incoming: tuple[int, ...] = (gradient[v],) if v in gradient else ()
            makes = []
            for u in reads:
                if u in gradient:
                    incoming += (gradient[u],)  # the gradient of a second consumer is added in place
                else:
                    gradient[u] = len(storages)
                    makes.append(len(storages))
                    storages.append(
                        Storage(self.nodes[u][2], len(calls), Category.GRADIENT, f"∇ {self.nodes[u][0].key}")
                    )
            if weight:
                storages.append(Storage(weight, -1, Category.PARAMETER, f"{info.module}.weight"))
                results.add(len(storages))
                makes.append(len(storages))
                storages.append(Storage(weight, len(calls), Category.PARAMETER_GRADIENT, f"∇ {info.module}.weight"))
            calls.append(Call(info, True, -1, tuple(dict.fromkeys(incoming + needs)), tuple(makes)))
        return graph, JointGraph(tuple(calls), tuple(storages), frozenset(results))

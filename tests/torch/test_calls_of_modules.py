"""The numbers of the calls of modules that a trace has for each value."""

import torch
from torch import nn

import recompviz as rv
from recompviz.widgets.layout.modules import module_tree


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    def forward(self, x):
        return self.trunk(x).exp()


class Levels(nn.Module):
    """One head for two levels of different sizes, and a list of layers that runs twice."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(2))
        self.head = Head()

    def forward(self, x):
        for _ in range(2):
            for layer in self.layers:
                x = layer(x)
        return self.head(x), self.head(x[:2])


def test_each_value_knows_the_call_of_its_modules():
    graph = rv.trace(Levels(), torch.randn(4, 4)).graph
    calls = {(info.module, info.calls) for info in graph.info}
    assert {("head", ()), ("head", (1,)), ("head.trunk.0", (1, 1, 1)), ("layers.1.0", (0, 1, 1))} <= calls
    paths = module_tree(graph).paths
    assert {"head (call 1)", "head (call 2)", "head (call 2).trunk", "layers.1 (call 2)"} <= set(paths)

"""Planted programs: memory that grows from step to step."""

from __future__ import annotations

from recompviz.benchmarks.causes.programs.named_causes import ACROSS
from recompviz.benchmarks.causes.programs.parts import LAYERS
from recompviz.benchmarks.causes.scripts import Script

GROWING = (
    Script(
        "a list of predictions that is never emptied",
        """
net, x, history = nn.Linear(128, 512), torch.randn(512, 128), []
def step():
    with torch.no_grad():
        history.append(net(x))  # here
debug(step)
""",
        ACROSS,
        "",
        (("history.append(net(x))  # here", "history.append(net(x).mean().item())"),),
        "history",
    ),
    Script(
        "a replay buffer of graphs in an object",
        LAYERS
        + """
class Memory:
    def __init__(self):
        self.items = {}
net, x, memory = layers(128, 3), torch.randn(256, 128), Memory()
def step():
    value = net(x).mean(1)
    memory.items[len(memory.items)] = value  # here
debug(step)
""",
        ACROSS,
        "",
        (("memory.items[len(memory.items)] = value  # here", "memory.items[len(memory.items)] = value.mean().item()"),),
        "items",
    ),
    Script(
        "a hidden state is carried from batch to batch with its graph",
        """
cell, x, carry = nn.GRUCell(128, 128), torch.randn(256, 128), [torch.zeros(256, 128)]
def step():
    h = cell(x, carry[0])
    carry[0] = h  # here
    return h.mean().item()
debug(step)
""",
        ACROSS,
        "",
        (("carry[0] = h  # here", "carry[0] = h.detach()"),),
        "detach",
    ),
)

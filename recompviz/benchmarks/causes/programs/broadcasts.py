"""Planted programs: tensors that are broadcast by accident."""

from __future__ import annotations

from recompviz.benchmarks.causes.programs.named_causes import BROADCAST
from recompviz.benchmarks.causes.scripts import Script

BROADCASTS = (
    Script(
        "a column minus a vector, then the mean",
        """
net, x, y = nn.Linear(16, 1), torch.randn(1200, 16), torch.randn(1200)
opt = torch.optim.SGD(net.parameters(), 0.1)
def step():
    opt.zero_grad()
    error = net(x) - y  # here
    error.square().mean().backward()
    opt.step()
debug(step)
""",
        BROADCAST,
        "error",
        (("net(x) - y  # here", "net(x) - y[:, None]"),),
        "the same shape",
    ),
    Script(
        "a loss function of a column and a vector",
        """
net, x, y = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 1)), torch.randn(900, 16), torch.randn(900)
opt = torch.optim.SGD(net.parameters(), 0.1)
def step():
    opt.zero_grad()
    difference = (net(x) - y).abs()  # here
    difference.sum().backward()
    opt.step()
debug(step)
""",
        BROADCAST,
        "",
        (("(net(x) - y).abs()  # here", "(net(x)[:, 0] - y).abs()"),),
        "the same shape",
    ),
)

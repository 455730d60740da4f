"""Planted programs: memory that stays from an earlier phase of the training."""

# ruff: noqa: E501 - lines of programs in texts
from __future__ import annotations

from recompviz.benchmarks.causes.programs.named_causes import CYCLE, GRAPH, HISTORY, LEFT, UNTOUCHED
from recompviz.benchmarks.causes.programs.parts import CONVS
from recompviz.benchmarks.causes.scripts import Script

PHASES = (
    Script(
        "L-BFGS on an image keeps many directions",
        """
image = torch.randn(1, 3, 96, 96, requires_grad=True)
net, target = nn.Conv2d(3, 8, 3).requires_grad_(False), torch.randn(1, 8, 94, 94)
opt = torch.optim.LBFGS([image], max_iter=4)  # here
def closure():
    opt.zero_grad()
    loss = (net(image) - target).square().mean()
    loss.backward()
    return loss
def step():
    opt.step(closure)
debug(step)
""",
        HISTORY,
        "old_dirs",
        (("max_iter=4)  # here", "max_iter=4, history_size=2)"),),
        "history_size",
    ),
    Script(
        "L-BFGS as the optimizer of a model",
        """
net, x, y = nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 1)), torch.randn(32, 64), torch.randn(32, 1)
opt = torch.optim.LBFGS(net.parameters(), max_iter=6)  # here
debug(net, x, targets=(y,), loss=F.mse_loss, optimizer=opt)
""",
        HISTORY,
        "old_dirs",
        (("max_iter=6)  # here", "max_iter=6, history_size=2)"),),
        "history_size",
    ),
    Script(
        "gradients of a tuning phase are alive in evaluation",
        """
net, x = nn.Sequential(*[nn.Linear(512, 512) for _ in range(6)]), torch.randn(64, 512)
net(x).square().mean().backward()
def evaluate():
    with torch.no_grad():
        return net(x).square().mean().item()  # here
debug(evaluate)
""",
        LEFT,
        "gradient of",
        (("def evaluate", "net.zero_grad(set_to_none=True)\ndef evaluate"),),
        "zero_grad",
    ),
    Script(
        "gradients of training are alive while features are written",
        CONVS
        + """
class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.fc = convs(3, 8, 8), nn.Linear(8, 50000)
    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))
encoder, x = Encoder(), torch.randn(2, 3, 16, 16)
opt = torch.optim.Adam(encoder.parameters())
encoder(x).square().mean().backward(); opt.step()
@torch.inference_mode()
def features():
    return encoder(x).norm().item()  # here
debug(features)
""",
        LEFT,
        "gradient of",
        (("opt.step()\n", "opt.step(); opt.zero_grad(set_to_none=True)\n"),),
        "zero_grad",
    ),
    Script(
        "a running mean of the loss carries its graph",
        """
class Agent:
    def __init__(self):
        self.net, self.x, self.ema = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 1)), torch.randn(64, 64), None
        self.opt = torch.optim.Adam(self.net.parameters())
    def step(self):
        self.opt.zero_grad()
        loss = self.net(self.x).square().mean()
        loss.backward()
        self.opt.step()
        self.ema = loss if self.ema is None else 0.9 * self.ema + 0.1 * loss  # here
agent = Agent()
debug(agent.step)
""",
        GRAPH,
        "ema",
        (
            (
                "        self.ema = loss if self.ema is None else 0.9 * self.ema + 0.1 * loss  # here",
                "        self.ema = loss.detach() if self.ema is None else 0.9 * self.ema + 0.1 * loss.detach()",
            ),
        ),
        "detach",
    ),
    Script(
        "a global running reward keeps its graph",
        """
net, x = nn.Linear(32, 32), torch.randn(16, 32)
opt, state = torch.optim.SGD(net.parameters(), 0.1), {"reward": torch.zeros(())}
def step():
    opt.zero_grad()
    reward = net(x).tanh().mean()
    (-reward).backward()
    opt.step()
    state["reward"] = state["reward"] * 0.99 + reward  # here
debug(step)
""",
        GRAPH,
        "reward",
        (("0.99 + reward  # here", "0.99 + reward.detach()"),),
        "detach",
    ),
    Script(
        "a custom Function stores its result on ctx",
        """
class Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = torch.sigmoid(x) * x
        ctx.y = y  # here
        return y
    @staticmethod
    def backward(ctx, g):
        return g * ctx.y
a, b, x = nn.Linear(256, 256), nn.Linear(256, 1), torch.randn(512, 256)
opt = torch.optim.SGD([*a.parameters(), *b.parameters()], 0.1)
def step():
    opt.zero_grad()
    b(Gate.apply(a(x))).square().mean().backward()
    opt.step()
debug(step)
""",
        CYCLE,
        "",
        (("ctx.y = y  # here", "ctx.save_for_backward(y)"), ("g * ctx.y", "g * ctx.saved_tensors[0]")),
        "save_for_backward",
    ),
    Script(
        "an object that refers to itself holds features",
        """
class Episode:
    def __init__(self, features):
        self.features = features
        self.parent = self  # here
net, x = nn.Linear(256, 256), torch.randn(1024, 256)
def step():
    with torch.no_grad():
        episode = Episode(net(x))
        return episode.features.mean().item()
debug(step)
""",
        CYCLE,
        "",
        (("        self.parent = self  # here\n", ""),),
        "weakref",
    ),
    Script(
        "parent and child refer to each other",
        """
class Node:
    def __init__(self, value, parent=None):
        self.value, self.children = value, []
        self.parent = parent  # here
        if parent is not None:
            parent.children.append(self)
net, x = nn.Linear(128, 128), torch.randn(2048, 128)
@torch.no_grad()
def search():
    root = Node(net(x))
    for _ in range(3):
        Node(torch.tanh(root.value), root)
    return sum(child.value.mean().item() for child in root.children)
debug(search)
""",
        CYCLE,
        "",
        (("        self.parent = parent  # here\n", ""),),
        "weakref",
    ),
    Script(
        "an old model and cached batches of earlier cells",
        """
old_model = nn.Linear(2048, 1024)  # here
cached = [torch.randn(256, 1024) for _ in range(4)]
net, x = nn.Linear(256, 256), torch.randn(64, 256)
opt = torch.optim.SGD(net.parameters(), 0.1)
def step():
    opt.zero_grad(); net(x).square().mean().backward(); opt.step()
debug(step)
""",
        UNTOUCHED,
        "old_model",
        (),
        "del old_model",
    ),
    Script(
        "a copy of the weights kept for later",
        """
import copy
net, x = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512)), torch.randn(16, 512)
best = copy.deepcopy(net.state_dict())
extra = [copy.deepcopy(net.state_dict()) for _ in range(3)]  # here
@torch.no_grad()
def predict():
    return net(x).mean().item()
debug(predict)
""",
        UNTOUCHED,
        "extra",
        (),
        "del ",
    ),
)

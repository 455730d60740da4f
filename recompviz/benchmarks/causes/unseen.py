"""Planted scripts that a user of the report wrote, and on which the report was wrong at first."""

from __future__ import annotations

from recompviz.benchmarks.causes.programs.named_causes import ACROSS, CAT, UNTOUCHED
from recompviz.benchmarks.causes.programs.parts import LAYERS
from recompviz.benchmarks.causes.scripts import Script

FROZEN_STATE = "optimizer state of frozen parameters"
WIDE_MASK = "mask of numbers instead of bool"
RECURRENT = "every backward pass runs through the earlier ones"

UNSEEN = (
    Script(
        "a data set keeps every item that was loaded",
        """
from torch.utils.data import Dataset, DataLoader
class Images(Dataset):
    def __init__(self): self.cache = {}
    def __len__(self): return 4000
    def __getitem__(self, i):
        if i not in self.cache:
            self.cache[i] = torch.rand(3, 64, 64)  # here
        return self.cache[i], i % 10
loader = iter(DataLoader(Images(), batch_size=16, shuffle=True))
net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
def step():
    x, y = next(loader)
    F.cross_entropy(net(x), y).backward()
    net.zero_grad()
debug(step)
""",
        ACROSS,
        "rand",
        (("    x, y = next(loader)\n", "    x, y = next(loader); loader._dataset.cache.clear()\n"),),
        "empty `loader._dataset.cache`",
    ),
    Script(
        "a column of each output is kept as an array of NumPy",
        """
net, x, preds = nn.Linear(64, 8192), torch.randn(64, 64), []
def step():
    with torch.no_grad():
        out = net(x).softmax(-1)
    preds.append(out[:, 1].numpy())  # here
debug(step)
""",
        ACROSS,
        "_softmax",
        (("out[:, 1].numpy()", "out[:, 1].clone().numpy()"),),
        "preds",
    ),
    Script(
        "copies of the model are appended to a ModuleList",
        """
import copy
net, x = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512)), torch.randn(32, 512)
opt, snapshots = torch.optim.SGD(net.parameters(), 0.01), nn.ModuleList()
def step():
    opt.zero_grad()
    net(x).square().mean().backward()
    opt.step()
    snapshots.append(copy.deepcopy(net))  # here
debug(step)
""",
        ACROSS,
        "clone",
        (("    opt.zero_grad()\n", "    opt.zero_grad(); del snapshots[:]\n"),),
        "empty `snapshots`",
    ),
    Script(
        "hooks of a class keep the activations of two layers",
        """
class Activations:
    def __init__(self, model):
        self.acts = {}
        for name, m in model.named_modules():
            if isinstance(m, nn.GELU): m.register_forward_hook(self.hook(name))
    def hook(self, name):
        def f(module, inputs, output):
            self.acts.setdefault(name, []).append(output)  # here
        return f
net = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 10))
stats, x, y = Activations(net), torch.randn(256, 64), torch.randint(10, (256,))
def step():
    F.cross_entropy(net(x), y).backward()
    net.zero_grad()
debug(step)
""",
        ACROSS,
        "gelu",
        (("append(output)  # here", "append(output.std().item())"),),
        "empty `stats.acts`",
    ),
    Script(
        "the last error of a notebook holds the graph of the call that failed",
        LAYERS
        + """
import sys
net, x = layers(256, 6), torch.randn(512, 256)
def train(batch, fail=False):
    out = net(batch)
    if fail: raise RuntimeError('out of memory (pretended)')  # here
    out.square().mean().backward()
    net.zero_grad()
try:
    train(torch.cat([x, x]), fail=True)
except RuntimeError as error:
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, error.__traceback__
debug(lambda: train(x))
sys.last_value = sys.last_traceback = None
""",
        UNTOUCHED,
        "sys.last_value",
        says="such as `1/0`",
    ),
    Script(
        "Adam keeps the state of a trunk that is frozen later",
        """
trunk, head = nn.Sequential(nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, 512)), nn.Linear(512, 10)
opt = torch.optim.Adam([*trunk.parameters(), *head.parameters()])  # here
x, y = torch.randn(32, 512), torch.randint(10, (32,))
F.cross_entropy(head(trunk(x)), y).backward(); opt.step(); opt.zero_grad()
trunk.requires_grad_(False)
def step():
    opt.zero_grad()
    F.cross_entropy(head(trunk(x)), y).backward()
    opt.step()
debug(step)
""",
        FROZEN_STATE,
        "exp_avg",
        (("requires_grad_(False)\n", "requires_grad_(False)\nfor p in trunk.parameters(): opt.state.pop(p, None)\n"),),
        "`trunk.parameters()`",
    ),
    Script(
        "momentum of the first layers of one network, unfrozen only at first",
        LAYERS
        + """
net, x = layers(512, 4), torch.randn(16, 512)
opt = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)  # here
net(x).square().mean().backward(); opt.step(); opt.zero_grad()
net[:6].requires_grad_(False)
def step():
    net(x).square().mean().backward()
    opt.step(); opt.zero_grad()
debug(step)
""",
        FROZEN_STATE,
        "momentum_buffer",
        (
            (
                "[:6].requires_grad_(False)\n",
                "[:6].requires_grad_(False)\nfor p in net[:6].parameters(): opt.state.pop(p, None)\n",
            ),
        ),
        "optimizer.state.pop(p, None)",
    ),
    Script(
        "a mask in int64 is multiplied with hidden states",
        """
net, head = nn.Sequential(nn.Linear(64, 256), nn.Tanh()), nn.Linear(256, 2)
x, y = torch.randn(64, 64, 64), torch.randint(2, (64,))
def step():
    h = net(x)
    mask = (torch.rand(64, 64, 256) > 0.1).long()  # here
    h = h * mask
    F.cross_entropy(head(h.mean(1)), y).backward()
    net.zero_grad(); head.zero_grad()
debug(step)
""",
        WIDE_MASK,
        "mask",
        ((".long()  # here", ""),),
        "leave out the cast",
    ),
    Script(
        "a float mask drops channels in a helper of a convolutional network",
        """
first, second = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 3, 3, padding=1)
x = torch.randn(16, 3, 32, 32)
def dropped(h, p):
    hidden = (torch.rand(h.shape) < 1 - p).float()  # here
    return h * hidden / (1 - p)
def step():
    out = second(dropped(torch.tanh(first(x)), 0.2))
    (out - x).square().mean().backward()
    first.zero_grad(); second.zero_grad()
debug(step)
""",
        WIDE_MASK,
        "hidden",
        ((".float()  # here", ""),),
        "leave out the cast",
    ),
    Script(
        "the state of an LSTM is carried through chunks with its graph",
        """
cell, head, xs = nn.LSTM(32, 128, batch_first=True), nn.Linear(128, 1), torch.randn(32, 160, 32)
opt = torch.optim.Adam([*cell.parameters(), *head.parameters()])
def step():
    state = None
    for chunk in xs.split(20, 1):
        out, state = cell(chunk, state)
        loss = head(out).square().mean()
        opt.zero_grad()
        loss.backward(retain_graph=True)  # here
    opt.step()
debug(step)
""",
        RECURRENT,
        "",
        (
            ("cell(chunk, state)\n", "cell(chunk, state); state = tuple(s.detach() for s in state)\n"),
            ("retain_graph=True", ""),
        ),
        "detach what is carried",
    ),
    Script(
        "a memory of keys is carried from segment to segment",
        """
net, xs = nn.Sequential(nn.Linear(128, 256), nn.GELU(), nn.Linear(256, 128), nn.GELU()), torch.randn(6, 256, 128)
def step():
    memory = torch.zeros(256, 128)
    for x in xs:
        memory = net(x + 0.5 * memory)
        memory.square().mean().backward(retain_graph=True)  # here
    net.zero_grad()
debug(step)
""",
        RECURRENT,
        "",
        (
            ("net(x + 0.5 * memory)", "net(x + 0.5 * memory.detach())"),
            ("retain_graph=True", ""),
        ),
        "detach what is carried",
    ),
    Script(
        "predictions of all batches grow by cat, without gradients",
        """
net, xs = nn.Linear(64, 512), torch.randn(24, 128, 64)
@torch.no_grad()
def predict():
    preds = torch.empty(0, 512)
    for x in xs:
        preds = torch.cat([preds, net(x)])  # here
    return preds.mean().item()
debug(predict)
""",
        CAT,
        "preds",
        (
            ("torch.empty(0, 512)", "torch.empty(24 * 128, 512)"),
            ("for x in xs:", "for i, x in enumerate(xs):"),
            ("preds = torch.cat([preds, net(x)])  # here", "preds[i * 128 : i * 128 + 128] = net(x)"),
        ),
        "allocate it once at its final length",
    ),
    Script(
        "the output of the last step, with all hidden states, is kept in a variable",
        """
from typing import NamedTuple
class Output(NamedTuple):
    loss: torch.Tensor
    hidden: list
net = nn.ModuleList([nn.Linear(256, 256) for _ in range(6)])
x, last = torch.randn(512, 256), None
def forward(x):
    hidden = [x]
    for l in net: hidden.append(torch.tanh(l(hidden[-1])))
    return Output(hidden[-1].square().mean(), hidden)
def step():
    global last
    last = forward(x)  # here
    last.loss.backward()
    net.zero_grad()
debug(step)
""",
        ACROSS,
        "tanh",
        (("    global last\n", "    global last\n    last = None\n"),),
        "`last = None` before the next step",
    ),
    Script(
        "an auxiliary loss retains the graph while a second network is trained",
        """
enc = nn.Sequential(nn.Linear(64, 512), nn.Tanh(), nn.Linear(512, 512), nn.Tanh())
head = nn.Linear(512, 10)
big = nn.Sequential(nn.Linear(64, 1024), nn.Tanh(), nn.Linear(1024, 1024), nn.Tanh(), nn.Linear(1024, 1))
x, y = torch.randn(512, 64), torch.randint(10, (512,))
def step():
    h = enc(x)
    ce = F.cross_entropy(head(h), y)
    ce.backward(retain_graph=True)  # here
    score = big(x).mean()
    score.backward()
    for m in (enc, head, big): m.zero_grad()
    return ce.item(), score.item()
debug(step)
""",
        "graph retained after backward",
        "tanh",
        (("ce.backward(retain_graph=True)", "ce.backward()"),),
        "without retain_graph",
    ),
)

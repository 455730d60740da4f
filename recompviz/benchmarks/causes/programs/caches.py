"""Planted programs: caches that grow."""

from __future__ import annotations

from recompviz.benchmarks.causes.programs.named_causes import ACROSS
from recompviz.benchmarks.causes.programs.parts import CONVS, LAYERS
from recompviz.benchmarks.causes.scripts import Script

CACHES = (
    Script(
        "copies of the weights of every step",
        LAYERS
        + """
import copy
net, x, best = layers(256, 4), torch.randn(64, 256), []
opt = torch.optim.SGD(net.parameters(), 0.1)
def step():
    opt.zero_grad(); net(x).square().mean().backward(); opt.step()
    best.append(copy.deepcopy(net.state_dict()))  # here
debug(step)
""",
        ACROSS,
        "",
        (("    best.append(copy.deepcopy", "    best.clear(); best.append(copy.deepcopy"),),
        "empty `best`",
    ),
    Script(
        "keys and values are appended in training",
        """
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.past = nn.Linear(64, 192), []
    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        self.past.append((k, v))  # here
        return (q * k).tanh() * v
net, x = Attention(), torch.randn(8, 128, 64)
opt = torch.optim.SGD(net.parameters(), 0.1)
def step():
    opt.zero_grad(); net(x).square().mean().backward(); opt.step()
debug(step)
""",
        ACROSS,
        "",
        (("self.past.append((k, v))  # here", "self.past.append((k.mean().item(), v.mean().item()))"),),
        "empty `net.past`",
    ),
    Script(
        "a metric keeps predictions of every batch",
        """
class Accuracy:
    def __init__(self):
        self.preds, self.targets = [], []
    def update(self, preds, target):
        self.preds.append(preds)  # here
        self.targets.append(target)
    def compute(self):
        return (torch.cat(self.preds).argmax(1) == torch.cat(self.targets)).float().mean()
net, x, y, acc = nn.Linear(64, 1000), torch.randn(256, 64), torch.randint(1000, (256,)), Accuracy()
opt = torch.optim.SGD(net.parameters(), 0.1)
def step():
    opt.zero_grad()
    loss = F.cross_entropy(out := net(x), y)
    loss.backward()
    opt.step()
    acc.update(out, y)
debug(step)
""",
        ACROSS,
        "",
        (("self.preds.append(preds)  # here", "self.preds.append((preds.argmax(1) == target).float().mean().item())"),),
        "preds",
    ),
    Script(
        "a logger with lists keeps outputs",
        LAYERS
        + """
from collections import defaultdict
class Logger:
    def __init__(self):
        self.data = defaultdict(list)
    def log(self, **values):
        for name, value in values.items():
            self.data[name].append(value)  # here
net, x, logger = layers(128, 3), torch.randn(512, 128), Logger()
opt = torch.optim.SGD(net.parameters(), 0.1)
def step():
    opt.zero_grad()
    loss = (out := net(x)).square().mean()
    loss.backward()
    opt.step()
    logger.log(loss=loss.item(), out=out.detach())
debug(step)
""",
        ACROSS,
        "",
        (("out=out.detach()", "out=out.mean().item()"),),
        "logger.data",
    ),
    Script(
        "hooks append the output of every layer",
        CONVS
        + """
net, x, acts = convs(3, 16, 16, 16), torch.randn(4, 3, 64, 64), []
for m in net:
    m.register_forward_hook(lambda m, i, o: acts.append(o))  # here
def step():
    with torch.no_grad():
        return net(x).mean().item()
debug(step)
""",
        ACROSS,
        "",
        (("acts.append(o)", "acts.append(o.mean().item())"),),
        "acts",
    ),
    Script(
        "hooks keep the layers' last outputs in a dict",
        CONVS
        + """
net, x, acts = convs(3, 16, 16, 16), torch.randn(4, 3, 64, 64), {}
def keep(name):
    def hook(m, i, o):
        acts[name] = o  # here
    return hook
for name, m in net.named_children():
    m.register_forward_hook(keep(name))
@torch.no_grad()
def step():
    return net(x).mean().item()
debug(step)
""",
        ACROSS,
        "",
        (("acts[name] = o  # here", "acts[name] = o.mean().item()"),),
        "acts",
    ),
    Script(
        "a cached function holds a tensor for each argument",
        """
from functools import lru_cache
net, xs, count = nn.Linear(128, 512), torch.randn(12, 256, 128), [0]
@lru_cache(maxsize=None)
def features(i):
    with torch.no_grad():
        return net(xs[i])
def step():
    count[0] += 1
    return features(count[0]).mean().item()  # here
debug(step)
""",
        ACROSS,
        "",
        (("    count[0] += 1\n", "    count[0] += 1; features.cache_clear()\n"),),
        "cache_clear",
    ),
    Script(
        "closures that run later hold outputs",
        LAYERS
        + """
net, x, later = layers(128, 3), torch.randn(512, 128), []
def step():
    out = net(x)
    later.append(lambda: out.mean().item())  # here
    out.square().mean().backward()
    net.zero_grad()
debug(step)
""",
        ACROSS,
        "out",
        (
            (
                "    later.append(lambda: out.mean().item())  # here\n",
                "    mean = out.mean().item()\n    later.append(lambda: mean)\n",
            ),
        ),
        "later",
    ),
    Script(
        "one token of every sequence is kept, as a view",
        """
net, x, embs = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 256)), torch.randn(16, 64, 64), []
@torch.no_grad()
def extract():
    embs.append(net(x)[:, 0, :4])  # here
debug(extract)
""",
        ACROSS,
        "",
        (("net(x)[:, 0, :4])  # here", "net(x)[:, 0, :4].clone())"),),
        ".clone()",
    ),
    Script(
        "every output of a trainer's step is stored for the end of the epoch",
        LAYERS
        + """
class Trainer:
    def __init__(self):
        self.net, self.x, self.outputs = layers(128, 4), torch.randn(256, 128), []
        self.opt = torch.optim.Adam(self.net.parameters())
    def training_step(self):
        self.opt.zero_grad()
        loss = (out := self.net(self.x)).square().mean()
        loss.backward()
        self.opt.step()
        return {"loss": loss, "out": out}
    def fit(self):
        self.outputs.append(self.training_step())  # here
trainer = Trainer()
debug(trainer.fit)
""",
        ACROSS,
        "",
        (('{"loss": loss, "out": out}', '{"loss": loss.item(), "out": out.mean().item()}'),),
        "outputs",
    ),
    Script(
        "hidden states that a model keeps on itself are collected",
        LAYERS
        + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = layers(128, 4), nn.Linear(128, 10)
    def forward(self, x):
        self.hidden = self.body(x)
        return self.head(self.hidden)
net, x, y, kept = Net(), torch.randn(1024, 128), torch.randint(10, (1024,)), []
opt = torch.optim.SGD(net.parameters(), 0.1)
def step():
    opt.zero_grad()
    F.cross_entropy(net(x), y).backward()
    opt.step()
    kept.append(net.hidden)  # here
debug(step)
""",
        ACROSS,
        "",
        (("kept.append(net.hidden)  # here", "kept.append(net.hidden.mean().item())"),),
        "kept",
    ),
    Script(
        "errors of bad batches are stored",
        LAYERS
        + """
net, x, errors = layers(128, 4), torch.randn(512, 128), []
def forward(x):
    with torch.no_grad():
        h = net(x)
    raise ValueError("a bad batch")
def step():
    try:
        forward(x)
    except ValueError as error:
        errors.append(error)  # here
debug(step)
""",
        ACROSS,
        "",
        (("errors.append(error)  # here", "errors.append(str(error))"),),
        "str(error)",
    ),
)

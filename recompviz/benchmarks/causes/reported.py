"""Planted scripts of further kinds that people report: caches of modules and metrics, exceptions, optimizers, casts."""

# ruff: noqa: E501 - lines of programs in texts
from __future__ import annotations

from recompviz.benchmarks.causes.planted import (
    ACROSS,
    CONVS,
    FAILED,
    GRAPH,
    LAYERS,
    REPEATED,
    UNSTEPPED,
    UNTOUCHED,
    UNUSED,
)
from recompviz.benchmarks.causes.scripts import Script

RETAINED = "graph retained after backward"
UPCAST = "float32 copy"
BROADCAST = "accidental broadcast"
VIEW = "view keeps base alive"
DOUBLE = "values in float64"

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

GRAPHS = (
    Script(
        "losses appended after their backward",
        LAYERS
        + """
net, x, history = layers(64, 6), torch.randn(64, 64), []
opt = torch.optim.SGD(net.parameters(), 0.1)
def step():
    opt.zero_grad()
    loss = net(x).square().mean()
    loss.backward()
    opt.step()
    history.append(loss)  # here
debug(step)
""",
        GRAPH,
        "history",
        (("history.append(loss)  # here", "history.append(loss.item())"),),
        "`.item()`",
    ),
    Script(
        "a tensor of all losses grows by cat",
        LAYERS
        + """
net, x = layers(64, 3), torch.randn(64, 64)
opt, track = torch.optim.SGD(net.parameters(), 0.1), {"loss": torch.zeros(0)}
def step():
    opt.zero_grad()
    loss = net(x).square().mean()
    loss.backward()
    opt.step()
    track["loss"] = torch.cat([track["loss"], loss.view(1)])  # here
debug(step)
""",
        GRAPH,
        "track",
        (("loss.view(1)])  # here", "loss.detach().view(1)])"),),
        "detach",
    ),
    Script(
        "one backward retains its graph, then a larger batch is scored",
        LAYERS
        + """
net, x, val = layers(256, 6), torch.randn(512, 256), torch.randn(1024, 256)
opt = torch.optim.SGD(net.parameters(), 0.1)
def step():
    opt.zero_grad()
    loss = net(x).square().mean()
    loss.backward(retain_graph=True)  # here
    opt.step()
    with torch.no_grad():
        score = net(val).square().mean()
    return loss.item(), score.item()
debug(step)
""",
        RETAINED,
        "tanh",
        (("loss.backward(retain_graph=True)  # here", "loss.backward()"),),
        "retain_graph",
    ),
    Script(
        "eval() does not turn gradients off",
        CONVS
        + """
net = nn.Sequential(convs(3, 16, 16), nn.BatchNorm2d(16), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
batches = [torch.randn(8, 3, 32, 32) for _ in range(6)]
def predict():
    net.eval()
    preds = []
    for x in batches:
        preds.append(net(x))  # here
    return torch.cat(preds).argmax(1).tolist()
debug(predict)
""",
        UNUSED,
        "relu",
        (
            (
                "        preds.append(net(x))  # here\n",
                "        with torch.no_grad():\n            preds.append(net(x))\n",
            ),
        ),
        "torch.no_grad()",
    ),
    Script(
        "the last error is stored, the retry comes after the except block",
        LAYERS
        + """
net, x, state = layers(256, 6), torch.randn(1024, 256), {}
def run(batch):
    out = net(batch)
    if len(batch) > 512:
        raise RuntimeError("out of memory (pretended)")
    return out.square().mean()
def step():
    failed = False
    try:
        run(x).backward()
    except RuntimeError as error:
        state["error"] = error  # here
        failed = True
    if failed:
        for half in x.chunk(2):
            run(half).backward()
    net.zero_grad()
    state.clear()
debug(step)
""",
        FAILED,
        "tanh",
        (('state["error"] = error  # here', 'state["error"] = str(error)'),),
        "str(error)",
    ),
    Script(
        "a policy's reference model makes a graph",
        LAYERS
        + """
policy, reference = layers(192, 6), layers(192, 6)
opt, x = torch.optim.AdamW(policy.parameters()), torch.randn(512, 192)
def step():
    opt.zero_grad()
    old = reference(x).log_softmax(-1)  # here
    new = policy(x).log_softmax(-1)
    loss = (new.exp() * (new - old)).sum(-1).mean()
    loss.backward()
    opt.step()
debug(step)
""",
        UNSTEPPED,
        "",
        (
            (
                "    old = reference(x).log_softmax(-1)  # here\n",
                "    with torch.no_grad():\n        old = reference(x).log_softmax(-1)\n",
            ),
        ),
        "torch.no_grad()",
    ),
    Script(
        "a mean teacher copied with its gradients",
        LAYERS
        + """
import copy
student = layers(192, 6)
teacher = copy.deepcopy(student)
opt, x = torch.optim.SGD(student.parameters(), 0.1), torch.randn(512, 192)
def step():
    opt.zero_grad()
    target = teacher(x)  # here
    loss = F.mse_loss(student(x), target)
    loss.backward()
    opt.step()
debug(step)
""",
        UNSTEPPED,
        "",
        (("    target = teacher(x)  # here\n", "    with torch.no_grad():\n        target = teacher(x)\n"),),
        "torch.no_grad()",
    ),
    Script(
        "adapters are trained, the base layers still require gradients",
        """
class Adapted(nn.Module):
    def __init__(self, base, r=4):
        super().__init__()
        self.base, self.down, self.up = base, nn.Linear(base.in_features, r, bias=False), nn.Linear(r, base.out_features, bias=False)
    def forward(self, x):
        return self.base(x) + self.up(self.down(x))  # here
net = nn.Sequential(*[m for _ in range(4) for m in (Adapted(nn.Linear(512, 512)), nn.ReLU())])
x = torch.randn(32, 512)
opt = torch.optim.AdamW([p for n, p in net.named_parameters() if "base" not in n])
def step():
    opt.zero_grad()
    net.zero_grad()
    net(x).square().mean().backward()
    opt.step()
debug(step)
""",
        UNSTEPPED,
        "",
        (("opt = torch", "for n, p in net.named_parameters():\n    p.requires_grad_('base' not in n)\nopt = torch"),),
        "on each parameter of `net` that no optimizer updates",
    ),
)

COPIES = (
    Script(
        "the first token of a long sequence keeps the sequence alive",
        """
body, head = nn.Sequential(nn.Linear(64, 256), nn.ReLU(inplace=True)), nn.Linear(256, 10)
x, y = torch.randn(64, 128, 64), torch.randint(10, (64,))
opt = torch.optim.SGD([*body.parameters(), *head.parameters()], 0.1)
def step():
    opt.zero_grad()
    with torch.no_grad():
        h = body(x)[:, 0]  # here
    F.cross_entropy(head(h), y).backward()
    big = torch.randn(64, 64, 256)
    big.mul_(2)
    opt.step()
debug(step)
""",
        VIEW,
        "h",
        (("[:, 0]  # here", "[:, 0].clone()"),),
        ".clone()",
    ),
    Script(
        "logits cast to float32 for the loss",
        """
net = nn.Sequential(nn.Embedding(4000, 64), nn.Linear(64, 4000)).bfloat16()
ids = torch.randint(4000, (8, 64))
opt = torch.optim.SGD(net.parameters(), 0.1)
def step():
    opt.zero_grad()
    logits = net(ids[:, :-1]).float()  # here
    loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    opt.step()
debug(step)
""",
        UPCAST,
        "logits",
        ((".float()  # here", ""),),
        "half precision",
    ),
    Script(
        "a batch of NumPy in double precision",
        """
import numpy as np
net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64)).double()
x = torch.from_numpy(np.random.rand(512, 64))
opt = torch.optim.Adam(net.parameters())
def step():
    opt.zero_grad()
    net(x).square().mean().backward()  # here
    opt.step()
debug(step)
""",
        DOUBLE,
        "",
        ((").double()", ")"), ("np.random.rand(512, 64))", "np.random.rand(512, 64)).float()")),
        ".float()",
    ),
    Script(
        "a bias of attention expanded and cloned",
        """
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(64, 192)
    def forward(self, x, pad):
        b, t, d = x.shape
        q, k, v = (s.view(b, t, 8, -1).transpose(1, 2) for s in self.qkv(x).chunk(3, -1))
        bias = torch.zeros(b, 1, 1, t).masked_fill(~pad[:, None, None, :], -1e9)
        bias = bias.expand(b, 8, t, t).clone()  # here
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(-2)
x, pad = torch.randn(4, 128, 64), torch.ones(4, 128, dtype=torch.bool)
debug(Attention(), x, pad, loss=lambda out: out.square().mean())
""",
        REPEATED,
        "bias",
        ((".clone()  # here", ""),),
        "leave the repeat out",
    ),
    Script(
        "the state of the optimizer of an earlier phase",
        LAYERS
        + """
net, x = layers(256, 4), torch.randn(64, 256)
warmup = torch.optim.Adam(net.parameters())  # here
net(x).square().mean().backward(); warmup.step(); warmup.zero_grad()
opt = torch.optim.Adam(net.parameters(), 1e-4)
def step():
    opt.zero_grad(); net(x).square().mean().backward(); opt.step()
debug(step)
""",
        UNTOUCHED,
        "warmup",
        (),
        "del warmup",
    ),
    Script(
        "an old loss still has its graph",
        LAYERS
        + """
net, x = layers(256, 8), torch.randn(1024, 256)
first = net(x).square().mean()  # here
small, y = nn.Linear(64, 64), torch.randn(64, 64)
opt = torch.optim.SGD(small.parameters(), 0.1)
def step():
    opt.zero_grad(); small(y).square().mean().backward(); opt.step()
debug(step)
""",
        UNTOUCHED,
        "first",
        (),
        "first",
    ),
)

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

REPORTED = (*BROADCASTS, *CACHES, *GRAPHS, *COPIES)

"""Planted programs: copies in a wider type, and views that keep a large tensor alive."""

from __future__ import annotations

from recompviz.benchmarks.causes.programs.named_causes import DOUBLE, REPEATED, UNTOUCHED, UPCAST, VIEW
from recompviz.benchmarks.causes.programs.parts import LAYERS
from recompviz.benchmarks.causes.scripts import Script

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

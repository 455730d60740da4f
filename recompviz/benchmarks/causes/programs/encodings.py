"""Planted programs: numbers that are wider, or stored more often, than needed."""

# ruff: noqa: E501 - lines of programs in texts
from __future__ import annotations

from recompviz.benchmarks.causes.programs.named_causes import CAT, LOG_SOFTMAX, ONE_HOT, REPEATED
from recompviz.benchmarks.causes.programs.parts import CONVS
from recompviz.benchmarks.causes.scripts import Script

ENCODINGS = (
    Script(
        "one-hot labels of a segmentation in a Dice loss",
        """
net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 21, 1))
x, y = torch.randn(2, 3, 96, 96), torch.randint(0, 21, (2, 96, 96))
def dice(logits, target):
    p = logits.softmax(1)
    t = F.one_hot(target, 21).permute(0, 3, 1, 2).float()  # here
    inter, total = (p * t).sum((2, 3)), p.sum((2, 3)) + t.sum((2, 3))
    return 1 - (2 * inter / (total + 1e-6)).mean()
debug(net, x, targets=(y,), loss=dice)
""",
        ONE_HOT,
        "",
        (
            (
                "    t = F.one_hot(target, 21).permute(0, 3, 1, 2).float()  # here\n",
                "    t = torch.zeros(2, 21, 96, 96, dtype=torch.float32).scatter_(1, target.unsqueeze(1), 1)\n",
            ),
        ),
        "scatter_",
    ),
    Script(
        "one-hot words times a matrix",
        """
table, head = nn.Linear(2000, 16, bias=False), nn.Linear(16, 2)
words, y = torch.randint(2000, (32, 20)), torch.randint(2, (32,))
opt = torch.optim.SGD([*table.parameters(), *head.parameters()], 0.1)
def step():
    opt.zero_grad()
    hot = F.one_hot(words, 2000).float()  # here
    F.cross_entropy(head(table(hot).mean(1)), y).backward()
    opt.step()
debug(step)
""",
        ONE_HOT,
        "",
        (
            (
                "    hot = F.one_hot(words, 2000).float()  # here\n",
                "    hot = torch.zeros(32, 20, 2000, dtype=torch.float32).scatter_(2, words.unsqueeze(2), 1)\n",
            ),
        ),
        "scatter_",
    ),
    Script(
        "a float mask repeated for every head",
        """
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(64, 192)
    def forward(self, x, pad):
        b, t, d = x.shape
        q, k, v = (s.view(b, t, 8, -1).transpose(1, 2) for s in self.qkv(x).chunk(3, -1))
        m = torch.zeros(b, 1, t, t).masked_fill(~pad[:, None, None, :], -1e9)
        m = m.repeat(1, 8, 1, 1)  # here
        return F.scaled_dot_product_attention(q, k, v, attn_mask=m).transpose(1, 2).flatten(-2)
x, pad = torch.randn(4, 192, 64), torch.ones(4, 192, dtype=torch.bool)
debug(Attention(), x, pad, loss=lambda out: out.square().mean())
""",
        REPEATED,
        "",
        (("        m = m.repeat(1, 8, 1, 1)  # here\n", ""),),
        "leave the repeat out",
    ),
    Script(
        "a condition repeated over the time steps and added",
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.time, self.out = nn.Linear(32, 32), nn.Linear(32, 1)
    def forward(self, x, condition):
        wide = condition.unsqueeze(1).repeat(1, x.shape[1], 1)  # here
        return self.out(torch.tanh(self.time(x) * wide))
x, c = torch.randn(64, 128, 32), torch.randn(64, 32)
debug(Net(), x, c, loss=lambda out: out.square().mean())
""",
        REPEATED,
        "wide",
        ((".repeat(1, x.shape[1], 1)  # here", ""),),
        "leave the repeat out",
    ),
    Script(
        "a gate written out by expand and contiguous",
        CONVS
        + """
class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.gate = convs(3, 32), nn.Linear(3, 32)
    def forward(self, x):
        h = self.body(x)
        g = torch.sigmoid(self.gate(x.mean((2, 3))))[:, :, None, None].expand_as(h).contiguous()  # here
        return h * g
debug(Gated(), torch.randn(4, 3, 48, 48), loss=lambda out: out.square().mean())
""",
        REPEATED,
        "",
        ((".contiguous()  # here", ""),),
        "leave the repeat out",
    ),
    Script(
        "log-probabilities of a vocabulary, one gathered",
        """
class LM(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb, self.mid, self.head = nn.Embedding(6000, 48), nn.Linear(48, 48), nn.Linear(48, 6000, bias=False)
    def forward(self, ids):
        return self.head(torch.tanh(self.mid(self.emb(ids))))
net, ids, gain = LM(), torch.randint(6000, (4, 96)), torch.randn(4, 95)
opt = torch.optim.SGD(net.parameters(), 0.1)
def step():
    opt.zero_grad()
    logits = net(ids[:, :-1])
    logp = F.log_softmax(logits, dim=-1)  # here
    lp = logp.gather(-1, ids[:, 1:, None]).squeeze(-1)
    loss = -(lp * gain).mean()
    loss.backward()
    opt.step()
debug(step)
""",
        LOG_SOFTMAX,
        "logp",
        (
            (
                "    logp = F.log_softmax(logits, dim=-1)  # here\n    lp = logp.gather(-1, ids[:, 1:, None]).squeeze(-1)\n",
                '    lp = -F.cross_entropy(logits.flatten(0, -2), ids[:, 1:].flatten(), reduction="none").view(4, 95)\n    del logits\n',
            ),
        ),
        "cross_entropy",
    ),
    Script(
        "log-probabilities of actions of a language policy, in a helper",
        """
policy, ids = nn.Sequential(nn.Embedding(4000, 32), nn.Linear(32, 4000)), torch.randint(4000, (8, 64))
def log_probs(tokens):
    logits = policy(tokens)
    table = logits.log_softmax(-1)  # here
    chosen = torch.gather(table, -1, tokens.unsqueeze(-1))
    loss = chosen.squeeze(-1).sum(-1).mean()
    loss.backward()
def step():
    policy.zero_grad()
    log_probs(ids)
debug(step)
""",
        LOG_SOFTMAX,
        "table",
        (
            (
                "    table = logits.log_softmax(-1)  # here\n    chosen = torch.gather(table, -1, tokens.unsqueeze(-1))\n",
                '    chosen = -F.cross_entropy(logits.flatten(0, -2), tokens.flatten(), reduction="none").view(8, 64, 1)\n    del logits\n',
            ),
        ),
        "cross_entropy",
    ),
    Script(
        "a cache of keys that grows by cat, under autograd",
        """
key, query, x = nn.Linear(64, 64), nn.Linear(64, 64), torch.randn(32, 24, 64)
opt = torch.optim.SGD([*key.parameters(), *query.parameters()], 0.1)
def step():
    opt.zero_grad()
    cache = torch.zeros(32, 0, 64)
    total = 0.0
    for t in range(24):
        cache = torch.cat([cache, key(x[:, t:t + 1])], 1)  # here
        scores = query(x[:, t:t + 1]) @ cache.transpose(1, 2)
        total = total + scores.square().mean()
    total.backward()
    opt.step()
debug(step)
""",
        CAT,
        "cache",
        (),
        "cache[:, t]",
    ),
    Script(
        "every state of a cache is kept in a list",
        """
net, x = nn.Linear(64, 64), torch.randn(64, 16, 64)
@torch.no_grad()
def rollout():
    states = [torch.zeros(64, 0, 64)]
    for t in range(16):
        grown = torch.cat([states[-1], net(x[:, t:t + 1])], 1)  # here
        states.append(grown)
    return states[-1].mean().item()
debug(rollout)
""",
        CAT,
        "grown",
        (
            ("states = [torch.zeros(64, 0, 64)]", "cache = torch.empty(64, 16, 64)"),
            (
                "        grown = torch.cat([states[-1], net(x[:, t:t + 1])], 1)  # here\n        states.append(grown)\n",
                "        cache[:, t:t + 1] = net(x[:, t:t + 1])\n",
            ),
            ("states[-1].mean()", "cache.mean()"),
        ),
        "cache[:, t]",
    ),
)

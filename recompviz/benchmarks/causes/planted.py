"""Planted scripts with a known cause, by kind, each with the change that its advice asks for."""

# ruff: noqa: E501 - lines of programs in texts
from __future__ import annotations

from recompviz.benchmarks.causes.scripts import Script

LAYERS = """
def layers(width, depth, act=nn.Tanh):
    return nn.Sequential(*(one for _ in range(depth) for one in (nn.Linear(width, width), act())))
"""
CONVS = """
def convs(*channels):
    pairs = zip(channels, channels[1:])
    return nn.Sequential(*(one for a, b in pairs for one in (nn.Conv2d(a, b, 3, padding=1), nn.ReLU())))
"""

FAILED = "failed attempt kept alive by its exception"
UNUSED = "graph built without a backward"
SUMMED = "losses summed before one backward"
UNSTEPPED = "gradients that nothing steps"
ONE_HOT = "one-hot encoding in int64"
REPEATED = "value repeated instead of broadcast"
LOG_SOFTMAX = "log-softmax over the vocabulary, of which one number a row is used"
CAT = "cache copied by torch.cat whenever it grows"
HISTORY = "history of the optimizer"
LEFT = "gradients left from an earlier phase"
UNTOUCHED = "memory that the step does not touch"
GRAPH = "autograd graph that grows from step to step"
CYCLE = "reference cycle that only the garbage collector frees"
ACROSS = "reference held across iterations"

RETRIES = (
    Script(
        "retry: smaller batches inside except",
        LAYERS
        + """
net, x = layers(256, 6), torch.randn(1024, 256)
def run(batch):
    out = net(batch)
    if len(batch) > 512:
        raise RuntimeError("out of memory (pretended)")
    return out.square().mean()
def step():
    try:
        run(x).backward()
    except RuntimeError:
        for half in x.chunk(2):  # here
            run(half).backward()
    net.zero_grad()
debug(step)
""",
        FAILED,
        "tanh",
        (
            ("def step():\n", "def step():\n    failed = False\n"),
            ("    except RuntimeError:\n", "    except RuntimeError:\n        failed = True\n    if failed:\n"),
        ),
        "after it",
    ),
    Script(
        "retry: a convolution in a class, by recursion",
        CONVS
        + """
class Trainer:
    def __init__(self):
        self.net, self.x = convs(3, 16, 16, 16), torch.randn(8, 3, 48, 48)
    def forward(self, x):
        h = self.net(x)
        if len(x) > 4:
            raise MemoryError("pretended")
        return h.mean()
    def step(self):
        self.net.zero_grad()
        try:
            self.forward(self.x).backward()
        except MemoryError:
            self.halves()  # here
    def halves(self):
        for part in self.x.split(4):
            self.forward(part).backward()
trainer = Trainer()
debug(trainer.step)
""",
        FAILED,
        "relu",
        (
            ("        try:\n", "        failed = False\n        try:\n"),
            (
                "        except MemoryError:\n",
                "        except MemoryError:\n            failed = True\n        if failed:\n",
            ),
        ),
        "after it",
    ),
    Script(
        "retry: shorter sequences, the error is raised in the loss",
        """
cell, head, x = nn.GRU(64, 128, batch_first=True), nn.Linear(128, 64), torch.randn(32, 64, 64)
def loss_of(x):
    h, _ = cell(x)
    out = head(h).square()
    if x.shape[1] > 32:
        raise RuntimeError("pretended")
    return out.mean()
def step():
    for p in (*cell.parameters(), *head.parameters()):
        p.grad = None
    try:
        loss_of(x).backward()
    except RuntimeError as error:
        print(str(error)[:0], end="")
        short = x[:, :32].contiguous()  # here
        loss_of(short).backward()
debug(step)
""",
        FAILED,
        "",
        (
            ("    try:\n", "    failed = False\n    try:\n"),
            (
                '        print(str(error)[:0], end="")\n',
                '        print(str(error)[:0], end="")\n        failed = True\n    if failed:\n',
            ),
        ),
        "after it",
    ),
)

EVALUATIONS = (
    Script(
        "validation: a local sum of losses in a training epoch",
        LAYERS
        + """
net = layers(128, 4)
train, val = [torch.randn(64, 128) for _ in range(4)], [torch.randn(256, 128) for _ in range(10)]
opt = torch.optim.SGD(net.parameters(), 0.1)
def epoch():
    for x in train:
        opt.zero_grad(); net(x).square().mean().backward(); opt.step()
    total = 0.0
    for x in val:
        loss = net(x).square().mean()  # here
        total += loss
    return total.item() / len(val)
debug(epoch)
""",
        UNUSED,
        "tanh",
        (
            (
                "    for x in val:\n        loss = net(x).square().mean()  # here\n",
                "    for x in val:\n        with torch.no_grad():\n            loss = net(x).square().mean()\n",
            ),
        ),
        "torch.no_grad()",
    ),
    Script(
        "validation: a local list of losses, helper function",
        CONVS
        + """
net = convs(3, 16, 16, 8)
batches = [torch.randn(4, 3, 32, 32) for _ in range(3)]
opt = torch.optim.Adam(net.parameters())
def loss_of(x):
    return net(x).mean(dim=(1, 2, 3)).square().mean()
def epoch():
    for x in batches:
        opt.zero_grad()
        loss_of(x).backward()
        opt.step()
    losses = []
    for x in batches * 3:
        losses.append(loss_of(x))  # here
    return torch.stack(losses).mean().item()
debug(epoch)
""",
        UNUSED,
        "relu",
        (
            (
                "        losses.append(loss_of(x))  # here\n",
                "        with torch.no_grad():\n            losses.append(loss_of(x))\n",
            ),
        ),
        "torch.no_grad()",
    ),
    Script(
        "validation: outputs with their graphs in a dict",
        LAYERS
        + """
net, opt_x = layers(128, 5), torch.randn(32, 128)
val = {f"set{i}": torch.randn(256, 128) for i in range(6)}
opt = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
def epoch():
    opt.zero_grad(); net(opt_x).square().mean().backward(); opt.step()
    scores = {}
    for name, x in val.items():
        out = net(x)  # here
        scores[name] = out.mean()
    return {name: score.item() for name, score in scores.items()}
debug(epoch)
""",
        UNUSED,
        "tanh",
        (("        out = net(x)  # here\n", "        with torch.no_grad():\n            out = net(x)\n"),),
        "torch.no_grad()",
    ),
    Script(
        "evaluation alone, without no_grad",
        CONVS
        + """
net, x, scores = convs(3, 32, 32, 32, 32), torch.randn(4, 3, 48, 48), []
def evaluate():
    out = net(x)  # here
    scores.append(out.mean().item())
debug(evaluate)
""",
        UNUSED,
        "relu",
        (("    out = net(x)  # here\n", "    with torch.no_grad():\n        out = net(x)\n"),),
        "torch.no_grad()",
    ),
    Script(
        "a teacher whose graph nobody uses",
        LAYERS
        + """
teacher, student, x = layers(256, 8), layers(256, 2), torch.randn(512, 256)
opt = torch.optim.SGD(student.parameters(), 0.1)
def step():
    opt.zero_grad()
    target = teacher(x)  # here
    loss = F.mse_loss(student(x), target.detach())
    loss.backward()
    opt.step()
debug(step)
""",
        UNUSED,
        "tanh",
        (("    target = teacher(x)  # here\n", "    with torch.no_grad():\n        target = teacher(x)\n"),),
        "torch.no_grad()",
    ),
)

SUMS = (
    Script(
        "losses of six inputs summed",
        LAYERS
        + """
net, xs = layers(256, 4), [torch.randn(256, 256) for _ in range(6)]
opt = torch.optim.SGD(net.parameters(), 0.1)
def step():
    opt.zero_grad()
    total = 0
    for x in xs:
        loss = net(x).square().mean() / len(xs)  # here
        total = total + loss
    total.backward()
    opt.step()
debug(step)
""",
        SUMMED,
        "tanh",
        (("        total = total + loss\n", "        loss.backward()\n"), ("    total.backward()\n", "")),
        "backward()",
    ),
    Script(
        "losses of crops in a list, sum() of them",
        CONVS
        + """
net, image = convs(3, 24, 24, 8), torch.randn(2, 3, 96, 96)
opt = torch.optim.Adam(net.parameters())
def crops():
    for i in range(0, 96, 48):
        for j in range(0, 96, 48):
            yield image[:, :, i:i + 48, j:j + 48].contiguous()
def step():
    opt.zero_grad()
    losses = []
    for crop in crops():
        losses.append(net(crop).square().mean())  # here
    sum(losses).backward()
    opt.step()
debug(step)
""",
        SUMMED,
        "relu",
        (
            (
                "        losses.append(net(crop).square().mean())  # here\n",
                "        net(crop).square().mean().backward()\n",
            ),
            ("    sum(losses).backward()\n", ""),
        ),
        "backward()",
    ),
    Script(
        "losses of tasks stacked, mean of them",
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb, self.body, self.head = nn.Embedding(100, 64), nn.Linear(64, 256), nn.Linear(256, 10)
    def forward(self, words):
        return self.head(torch.tanh(self.body(self.emb(words))).mean(1))
net = Net()
tasks = [(torch.randint(100, (64, 32)), torch.randint(10, (64,))) for _ in range(5)]
opt = torch.optim.AdamW(net.parameters())
def step():
    opt.zero_grad()
    parts = [F.cross_entropy(net(words), label) for words, label in tasks]  # here
    torch.stack(parts).mean().backward()
    opt.step()
debug(step)
""",
        SUMMED,
        "",
        (
            (
                "    parts = [F.cross_entropy(net(words), label) for words, label in tasks]  # here\n",
                "    for words, label in tasks:\n        (F.cross_entropy(net(words), label) / len(tasks)).backward()\n",
            ),
            ("    torch.stack(parts).mean().backward()\n", ""),
        ),
        "backward()",
    ),
)

FROZEN = (
    Script(
        "a perceptual loss whose network still requires gradients",
        CONVS
        + """
vgg, gen = convs(3, 32, 32, 32).eval(), convs(3, 8, 3)
opt = torch.optim.Adam(gen.parameters())
x, y = torch.randn(4, 3, 64, 64), torch.randn(4, 3, 64, 64)
def step():
    opt.zero_grad()
    fake = gen(x)
    f1 = vgg(fake)
    f2 = vgg(y)  # here
    loss = (f1 - f2).abs().mean()
    loss.backward()
    opt.step()
debug(step)
""",
        UNSTEPPED,
        "vgg",
        (("opt = torch.optim.Adam", "vgg.requires_grad_(False)\nopt = torch.optim.Adam"),),
        "`vgg.requires_grad_(False)`",
    ),
    Script(
        "a discriminator's step on fakes with the generator's graph",
        CONVS
        + """
G, D = convs(3, 32, 32, 3), nn.Sequential(nn.Conv2d(3, 16, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 1, 4, 2, 1))
opt = torch.optim.Adam(D.parameters())
z, real = torch.randn(4, 3, 64, 64), torch.randn(4, 3, 64, 64)
def step():
    opt.zero_grad()
    fake = G(z)  # here
    loss = (D(real) - 1).square().mean() + D(fake).square().mean()
    loss.backward()
    opt.step()
debug(step)
""",
        UNSTEPPED,
        "",
        (("    fake = G(z)  # here\n", "    with torch.no_grad():\n        fake = G(z)\n"),),
        "torch.no_grad()",
    ),
    Script(
        "only the head is trained, the backbone requires gradients",
        LAYERS
        + """
backbone, head, x, y = layers(256, 6), nn.Linear(256, 10), torch.randn(512, 256), torch.randint(10, (512,))
opt = torch.optim.SGD(head.parameters(), 0.1)
def step():
    opt.zero_grad()
    features = backbone(x)  # here
    F.cross_entropy(head(features), y).backward()
    opt.step()
debug(step)
""",
        UNSTEPPED,
        "",
        (("    features = backbone(x)  # here\n", "    with torch.no_grad():\n        features = backbone(x)\n"),),
        "torch.no_grad()",
    ),
    Script(
        "feature matching: the encoder of the target is trained nowhere",
        LAYERS
        + """
target, online, x = layers(192, 5, nn.GELU), layers(192, 5, nn.GELU), torch.randn(512, 192)
opt = torch.optim.Adam(online.parameters())
def step():
    opt.zero_grad()
    goal = target(x)  # here
    loss = 1 - F.cosine_similarity(online(x), goal).mean()
    loss.backward()
    opt.step()
debug(step)
""",
        UNSTEPPED,
        "",
        (("    goal = target(x)  # here\n", "    with torch.no_grad():\n        goal = target(x)\n"),),
        "torch.no_grad()",
    ),
    Script(
        "a frozen decoder behind a trained encoder",
        LAYERS
        + """
class Auto(nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder = nn.Sequential(nn.Linear(64, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 64))
        self.encoder = nn.Linear(64, 64)
    def forward(self, x):
        return self.decoder(self.encoder(x))  # here
net, x = Auto(), torch.randn(128, 64)
opt = torch.optim.SGD(net.encoder.parameters(), 0.1)
def step():
    net.zero_grad()
    F.mse_loss(net(x), x).backward()
    opt.step()
debug(step)
""",
        UNSTEPPED,
        "",
        (("opt = torch", "net.decoder.requires_grad_(False)\nopt = torch"),),
        "requires_grad_(False)",
    ),
)

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

PLANTED = (*RETRIES, *EVALUATIONS, *SUMS, *FROZEN, *ENCODINGS, *PHASES, *GROWING)

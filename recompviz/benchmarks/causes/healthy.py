"""Healthy scripts: ordinary training programs on which a report must raise no alarm."""

# ruff: noqa: E501 - lines of programs in texts
from __future__ import annotations

from recompviz.benchmarks.causes.programs.parts import CONVS, LAYERS
from recompviz.benchmarks.causes.scripts import Script

_SOURCES = {
    "an MLP with Adam": LAYERS
    + """
net, x, y = layers(128, 4), torch.randn(256, 128), torch.randn(256, 128)
opt = torch.optim.Adam(net.parameters())
def step():
    opt.zero_grad()
    loss = F.mse_loss(net(x), y)
    loss.backward()
    opt.step()
debug(step)
""",
    "a convolutional classifier with SGD, a scheduler and clipping": CONVS
    + """
net = nn.Sequential(convs(3, 16, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
x, y = torch.randn(8, 3, 32, 32), torch.randint(10, (8,))
opt = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
plan = torch.optim.lr_scheduler.StepLR(opt, 10)
def step():
    opt.zero_grad(set_to_none=True)
    out = net(x)
    loss = F.cross_entropy(out, y)
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    opt.step()
    plan.step()
    return loss.item()
debug(step)
""",
    "autocast with accumulation over four batches": """
net = nn.Sequential(nn.Linear(128, 512), nn.GELU(), nn.LayerNorm(512), nn.Linear(512, 10))
opt, crit = torch.optim.AdamW(net.parameters()), nn.CrossEntropyLoss()
data, log = [(torch.randn(64, 128), torch.randint(10, (64,))) for _ in range(4)], []
def train_step():
    opt.zero_grad(set_to_none=True)
    total = 0.0
    for x, y in data:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = net(x)
            loss = crit(out, y) / len(data)
        loss.backward()
        total += loss.item()
    opt.step()
    log.append(total)
train_step()
debug(train_step)
""",
    "an epoch that trains and validates under no_grad": LAYERS
    + """
net = layers(128, 4)
train, val = [torch.randn(64, 128) for _ in range(4)], [torch.randn(256, 128) for _ in range(6)]
opt = torch.optim.SGD(net.parameters(), 0.1)
def epoch():
    net.train()
    for x in train:
        opt.zero_grad()
        net(x).square().mean().backward()
        opt.step()
    net.eval()
    total = 0.0
    with torch.no_grad():
        for x in val:
            total += net(x).square().mean().item()
    return total / len(val)
debug(epoch)
""",
    "an epoch that validates with numbers, one graph at a time": LAYERS
    + """
net = layers(128, 4)
train, val = [torch.randn(64, 128) for _ in range(4)], [torch.randn(256, 128) for _ in range(10)]
opt = torch.optim.SGD(net.parameters(), 0.1)
def epoch():
    for x in train:
        opt.zero_grad(); net(x).square().mean().backward(); opt.step()
    total = 0.0
    for x in val:
        loss = net(x).square().mean()
        total += loss.item()
    return total
debug(epoch)
""",
    "inference mode": CONVS
    + """
net, x = convs(3, 16, 16, 16).eval(), torch.randn(4, 3, 48, 48)
@torch.inference_mode()
def predict():
    logits = net(x)
    return logits.mean((2, 3)).argmax(1).tolist()
debug(predict)
""",
    "a GAN: both steps in one function": CONVS
    + """
G, D = convs(3, 16, 3), nn.Sequential(nn.Conv2d(3, 16, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(16, 1, 4, 2, 1))
og, od = torch.optim.Adam(G.parameters()), torch.optim.Adam(D.parameters())
z, real = torch.randn(4, 3, 32, 32), torch.randn(4, 3, 32, 32)
def step():
    od.zero_grad()
    fake = G(z)
    (D(real) - 1).square().mean().backward()
    D(fake.detach()).square().mean().backward()
    od.step()
    og.zero_grad()
    (D(fake) - 1).square().mean().backward()
    og.step()
debug(step)
""",
    "a discriminator's step on detached fakes": CONVS
    + """
G, D = convs(3, 16, 3), convs(3, 16, 1)
opt = torch.optim.Adam(D.parameters())
z, real = torch.randn(4, 3, 32, 32), torch.randn(4, 3, 32, 32)
def step():
    opt.zero_grad()
    with torch.no_grad():
        fake = G(z)
    (D(real) - 1).square().mean().backward()
    D(fake).square().mean().backward()
    opt.step()
debug(step)
""",
    "distillation from a teacher under no_grad": LAYERS
    + """
teacher, student, x = layers(128, 6).eval(), layers(128, 2), torch.randn(256, 128)
opt = torch.optim.SGD(student.parameters(), 0.1)
def step():
    opt.zero_grad()
    with torch.no_grad():
        target = teacher(x)
    F.mse_loss(student(x), target).backward()
    opt.step()
debug(step)
""",
    "a perceptual loss with a frozen network": CONVS
    + """
vgg, gen = convs(3, 16, 16).eval().requires_grad_(False), convs(3, 8, 3)
opt = torch.optim.Adam(gen.parameters())
x, y = torch.randn(4, 3, 48, 48), torch.randn(4, 3, 48, 48)
def step():
    opt.zero_grad()
    fake = gen(x)
    f1 = vgg(fake)
    f2 = vgg(y)
    loss = (f1 - f2).abs().mean()
    loss.backward()
    opt.step()
debug(step)
""",
    "generation with a cache that is allocated once": """
key, query, x = nn.Linear(64, 64), nn.Linear(64, 64), torch.randn(16, 24, 64)
@torch.no_grad()
def generate():
    cache = torch.empty(16, 24, 64)
    out = []
    for t in range(24):
        cache[:, t] = key(x[:, t])
        scores = query(x[:, t:t + 1]) @ cache[:, :t + 1].transpose(1, 2)
        out.append(scores.argmax(-1))
    return torch.cat(out, 1).tolist()
debug(generate)
""",
    "truncated backpropagation through time, detached": """
cell, head, x = nn.GRUCell(64, 64), nn.Linear(64, 64), torch.randn(8, 64, 64)
opt, carry = torch.optim.SGD([*cell.parameters(), *head.parameters()], 0.1), [torch.zeros(64, 64)]
def step():
    opt.zero_grad()
    h = carry[0]
    loss = 0.0
    for t in range(8):
        h = cell(x[t], h)
        loss = loss + head(h).square().mean()
    loss.backward()
    opt.step()
    carry[0] = h.detach()
debug(step)
""",
    "a policy gradient over few actions": """
policy = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 6))
state, action, reward = torch.randn(512, 8), torch.randint(6, (512, 1)), torch.randn(512)
opt = torch.optim.Adam(policy.parameters())
mean = [0.0]
def step():
    opt.zero_grad()
    chosen = policy(state).log_softmax(-1).gather(1, action).squeeze(1)
    loss = -(chosen * (reward - mean[0])).mean()
    loss.backward()
    opt.step()
    mean[0] = 0.9 * mean[0] + 0.1 * reward.mean().item()
debug(step)
""",
    "attention with a mask that broadcasts": """
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(64, 192)
    def forward(self, x, pad):
        b, t, d = x.shape
        q, k, v = (s.view(b, t, 8, -1).transpose(1, 2) for s in self.qkv(x).chunk(3, -1))
        m = torch.zeros(b, 1, 1, t).masked_fill(~pad[:, None, None, :], -1e9)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=m).transpose(1, 2).flatten(-2)
x, pad = torch.randn(4, 128, 64), torch.ones(4, 128, dtype=torch.bool)
debug(Attention(), x, pad, loss=lambda out: out.square().mean())
""",
    "a checkpointed MLP in parts": LAYERS
    + """
from torch.utils.checkpoint import checkpoint
blocks, x = nn.ModuleList(layers(128, 2) for _ in range(4)), torch.randn(512, 128, requires_grad=True)
opt = torch.optim.SGD(blocks.parameters(), 0.1)
def step():
    opt.zero_grad()
    h = x
    for block in blocks:
        h = checkpoint(block, h, use_reentrant=False)
    h.square().mean().backward()
    opt.step()
debug(step)
""",
    "L-BFGS with a short history": """
net, x, y = nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 1)), torch.randn(128, 32), torch.randn(128, 1)
opt = torch.optim.LBFGS(net.parameters(), max_iter=4, history_size=2)
def closure():
    opt.zero_grad()
    loss = F.mse_loss(net(x), y)
    loss.backward()
    return loss
def step():
    opt.step(closure)
debug(step)
""",
    "Adam with a closure": LAYERS
    + """
net, x = layers(128, 3), torch.randn(256, 128)
opt = torch.optim.Adam(net.parameters())
def closure():
    opt.zero_grad()
    loss = net(x).square().mean()
    loss.backward()
    return loss
def step():
    return float(opt.step(closure).detach())
debug(step)
""",
    "an average of the weights": LAYERS
    + """
import copy
net, x = layers(128, 3), torch.randn(256, 128)
average = copy.deepcopy(net).requires_grad_(False)
opt = torch.optim.SGD(net.parameters(), 0.1)
def step():
    opt.zero_grad()
    net(x).square().mean().backward()
    opt.step()
    with torch.no_grad():
        for a, p in zip(average.parameters(), net.parameters()):
            a.lerp_(p, 0.01)
debug(step)
""",
    "a contrastive loss of two views": LAYERS
    + """
net, a, b = layers(64, 3), torch.randn(128, 64), torch.randn(128, 64)
opt = torch.optim.Adam(net.parameters())
def step():
    opt.zero_grad()
    u, v = F.normalize(net(a), dim=1), F.normalize(net(b), dim=1)
    loss = F.cross_entropy(u @ v.T / 0.1, torch.arange(128))
    loss.backward()
    opt.step()
debug(step)
""",
    "a retry after the except block": LAYERS
    + """
net, x = layers(256, 6), torch.randn(1024, 256)
def run(batch):
    out = net(batch)
    if len(batch) > 512:
        raise RuntimeError("out of memory (pretended)")
    return out.square().mean()
def step():
    failed = False
    try:
        run(x).backward()
    except RuntimeError:
        failed = True
    if failed:
        for half in x.chunk(2):
            run(half).backward()
    net.zero_grad()
debug(step)
""",
    "words, an embedding and cross entropy": """
net = nn.Sequential(nn.Embedding(500, 64), nn.Linear(64, 64), nn.ReLU(inplace=True), nn.Linear(64, 500))
words = torch.randint(500, (16, 33))
opt = torch.optim.AdamW(net.parameters())
def step():
    opt.zero_grad()
    loss = F.cross_entropy(net(words[:, :-1]).flatten(0, 1), words[:, 1:].flatten())
    loss.backward()
    opt.step()
debug(step)
""",
    "two heads on one trunk": LAYERS
    + """
trunk, one, two, x = layers(128, 4), nn.Linear(128, 10), nn.Linear(128, 1), torch.randn(256, 128)
y, z = torch.randint(10, (256,)), torch.randn(256, 1)
opt = torch.optim.Adam([*trunk.parameters(), *one.parameters(), *two.parameters()])
def step():
    opt.zero_grad()
    h = trunk(x)
    loss = F.cross_entropy(one(h), y) + F.mse_loss(two(h), z)
    loss.backward()
    opt.step()
debug(step)
""",
    "batches of a list, one for each step": LAYERS
    + """
net, batches, count = layers(128, 3), [torch.randn(512, 128) for _ in range(12)], [0]
opt = torch.optim.SGD(net.parameters(), 0.1)
def step():
    x = batches[count[0] % len(batches)]
    count[0] += 1
    opt.zero_grad()
    net(x).square().mean().backward()
    opt.step()
debug(step)
""",
    "a transformer layer of PyTorch": """
net, x = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, dropout=0.0), torch.randn(8, 32, 64)
opt = torch.optim.Adam(net.parameters())
def step():
    opt.zero_grad()
    net(x).square().mean().backward()
    opt.step()
debug(step)
""",
    "a recurrent language model with a loader": """
from torch.utils.data import DataLoader, TensorDataset
loader = DataLoader(TensorDataset(torch.randint(100, (64, 21))), batch_size=16)
emb, lstm, head = nn.Embedding(100, 32), nn.LSTM(32, 64, batch_first=True), nn.Linear(64, 100)
opt = torch.optim.Adam([*emb.parameters(), *lstm.parameters(), *head.parameters()])
def epoch():
    for (words,) in loader:
        opt.zero_grad()
        h, _ = lstm(emb(words[:, :-1]))
        F.cross_entropy(head(h).flatten(0, 1), words[:, 1:].flatten()).backward()
        opt.step()
debug(epoch)
""",
    "evaluation while the optimizer's state exists": LAYERS
    + """
net, x = layers(128, 4), torch.randn(512, 128)
opt = torch.optim.Adam(net.parameters())
net(x).square().mean().backward(); opt.step(); opt.zero_grad()
@torch.no_grad()
def evaluate():
    return net(x).square().mean().item()
debug(evaluate)
""",
    "a step of the discriminator while the generator's optimizer exists": CONVS
    + """
G, D = convs(3, 16, 3), convs(3, 16, 16, 1)
og, od = torch.optim.Adam(G.parameters()), torch.optim.Adam(D.parameters())
z, real = torch.randn(4, 3, 32, 32), torch.randn(4, 3, 32, 32)
D(G(z)).mean().backward(); og.step(); og.zero_grad(); od.zero_grad()
def step():
    od.zero_grad()
    with torch.no_grad():
        fake = G(z)
    (D(real).mean() - D(fake).mean()).backward()
    od.step()
debug(step)
""",
    "an ensemble of models with one loss": LAYERS
    + """
nets, x = nn.ModuleList(layers(128, 2) for _ in range(4)), torch.randn(256, 128)
opt = torch.optim.Adam(nets.parameters())
def step():
    opt.zero_grad()
    loss = sum(F.mse_loss(net(x), x) for net in nets)
    loss.backward()
    opt.step()
debug(step)
""",
    "log-softmax and nll_loss": """
net = nn.Sequential(nn.Embedding(2000, 64), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2000))
ids = torch.randint(2000, (8, 33))
opt = torch.optim.AdamW(net.parameters())
def step():
    opt.zero_grad()
    logp = F.log_softmax(net(ids[:, :-1]).flatten(0, 1), -1)
    F.nll_loss(logp, ids[:, 1:].flatten()).backward()
    opt.step()
debug(step)
""",
    "a bounded history of numbers and a hook that records means": LAYERS
    + """
from collections import deque
net, x, recent, means = layers(128, 3), torch.randn(256, 128), deque(maxlen=20), {}
opt = torch.optim.SGD(net.parameters(), 0.1)
for name, m in net.named_children():
    m.register_forward_hook(lambda m, i, o, name=name: means.update({name: o.detach().mean().item()}))
def step():
    opt.zero_grad()
    loss = net(x).square().mean()
    loss.backward()
    opt.step()
    recent.append(loss.item())
debug(step)
""",
    "a gradient penalty": LAYERS
    + """
net, x = layers(64, 3), torch.randn(256, 64)
opt = torch.optim.Adam(net.parameters())
def step():
    opt.zero_grad()
    data = x.clone().requires_grad_()
    score = net(data).mean(1)
    grad, = torch.autograd.grad(score.sum(), data, create_graph=True)
    loss = score.mean() + (grad.norm(dim=1) - 1).square().mean()
    loss.backward()
    opt.step()
debug(step)
""",
    "bad batches are skipped by except": LAYERS
    + """
net, batches, skipped = layers(128, 4), [torch.randn(256, 128) for _ in range(4)], []
opt = torch.optim.SGD(net.parameters(), 0.1)
def epoch():
    for i, x in enumerate(batches):
        opt.zero_grad()
        try:
            if i == 1:
                raise ValueError("a bad batch")
            net(x).square().mean().backward()
        except ValueError as error:
            skipped.append(str(error))
            continue
        opt.step()
debug(epoch)
""",
    "adapters on frozen layers": """
class Adapted(nn.Module):
    def __init__(self, base, r=4):
        super().__init__()
        self.base, self.down, self.up = base.requires_grad_(False), nn.Linear(base.in_features, r, bias=False), nn.Linear(r, base.out_features, bias=False)
    def forward(self, x):
        return self.base(x) + self.up(self.down(x))
net = nn.Sequential(*[m for _ in range(3) for m in (Adapted(nn.Linear(256, 256)), nn.ReLU())])
x = torch.randn(64, 256)
opt = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad])
def step():
    opt.zero_grad()
    net(x).square().mean().backward()
    opt.step()
debug(step)
""",
    "Q-learning with a target network and a full replay buffer": LAYERS
    + """
from collections import deque
import copy, random
q = nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 4))
target = copy.deepcopy(q).requires_grad_(False)
buffer = deque((torch.randn(64, 16) for _ in range(50)), maxlen=50)
opt = torch.optim.Adam(q.parameters())
def step():
    buffer.append(torch.randn(64, 16))
    s, n = random.choice(buffer), random.choice(buffer)
    with torch.no_grad():
        goal = 0.99 * target(n).max(1).values
    loss = F.mse_loss(q(s).max(1).values, goal)
    opt.zero_grad(); loss.backward(); opt.step()
debug(step)
""",
    "positions of a cached function": """
from functools import lru_cache
@lru_cache(maxsize=None)
def positions(length):
    return torch.sin(torch.arange(length)[:, None] / 10 ** (torch.arange(64) / 16))
net, x = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64)), torch.randn(8, 128, 64)
opt = torch.optim.Adam(net.parameters())
def step():
    opt.zero_grad()
    net(x + positions(128)).square().mean().backward()
    opt.step()
debug(step)
""",
    "anomaly detection": LAYERS
    + """
net, x = layers(128, 3), torch.randn(256, 128)
opt = torch.optim.SGD(net.parameters(), 0.1)
def step():
    opt.zero_grad()
    with torch.autograd.detect_anomaly(check_nan=False):
        loss = net(x).square().mean()
        loss.backward()
    opt.step()
debug(step)
""",
    "gradients accumulated over steps on purpose": LAYERS
    + """
net, x, count = layers(128, 4), torch.randn(256, 128), [0]
opt = torch.optim.SGD(net.parameters(), 0.1)
def step():
    count[0] += 1
    (net(x).square().mean() / 4).backward()
    if count[0] % 4 == 0:
        opt.step(); opt.zero_grad()
debug(step)
""",
    "a masked language model with label smoothing and dropout": """
net = nn.Sequential(nn.Embedding(400, 64), nn.Dropout(0.1), nn.Linear(64, 128), nn.GELU(), nn.LayerNorm(128), nn.Linear(128, 400))
words, mask = torch.randint(400, (16, 32)), torch.rand(16, 32) < 0.15
opt = torch.optim.AdamW(net.parameters())
def step():
    opt.zero_grad(set_to_none=True)
    logits = net(words.masked_fill(mask, 3))
    F.cross_entropy(logits[mask], words[mask], label_smoothing=0.1).backward()
    opt.step()
debug(step)
""",
    "conflicting gradients of two tasks, from one retained graph": """
trunk, a, b = nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh()), nn.Linear(256, 4), nn.Linear(256, 1)
x, y, z = torch.randn(256, 64), torch.randint(4, (256,)), torch.randn(256, 1)
shared, opt = list(trunk.parameters()), torch.optim.SGD([*trunk.parameters(), *a.parameters(), *b.parameters()], 0.1)
def step():
    opt.zero_grad()
    h = trunk(x)
    la, lb = F.cross_entropy(a(h), y), F.mse_loss(b(h), z)
    ga = torch.autograd.grad(la, shared, retain_graph=True)
    gb = torch.autograd.grad(lb, shared, retain_graph=True)
    dot = sum((u * v).sum() for u, v in zip(ga, gb))
    (la + lb if dot > 0 else la).backward()
    opt.step()
debug(step)
""",
    "a checkpoint around each transformer layer": """
from torch.utils.checkpoint import checkpoint
layers = nn.ModuleList([nn.TransformerEncoderLayer(64, 4, 256, batch_first=True) for _ in range(3)])
emb, head, ids = nn.Embedding(200, 64), nn.Linear(64, 200), torch.randint(200, (8, 64))
opt = torch.optim.AdamW([*layers.parameters(), *emb.parameters(), *head.parameters()])
def step():
    h = emb(ids)
    for layer in layers:
        h = checkpoint(layer, h, use_reentrant=False)
    loss = F.cross_entropy(head(h).flatten(0, 1), ids.flatten())
    opt.zero_grad(); loss.backward(); opt.step()
debug(step)
""",
    "second-order gradients of inner steps (MAML)": """
net = nn.Sequential(nn.Linear(16, 128), nn.Tanh(), nn.Linear(128, 1))
opt = torch.optim.Adam(net.parameters())
tasks = [(torch.randn(64, 16), torch.randn(64, 1), torch.randn(64, 16), torch.randn(64, 1)) for _ in range(3)]
def step():
    opt.zero_grad()
    for x, y, new_x, new_y in tasks:
        fast = dict(net.named_parameters())
        for _ in range(3):
            loss = F.mse_loss(torch.func.functional_call(net, fast, (x,)), y)
            grads = torch.autograd.grad(loss, list(fast.values()), create_graph=True)
            fast = {n: p - 0.1 * g for (n, p), g in zip(fast.items(), grads)}
        (F.mse_loss(torch.func.functional_call(net, fast, (new_x,)), new_y) / len(tasks)).backward()
    opt.step()
debug(step)
""",
    "three tasks take their backward passes through one trunk": LAYERS
    + """
trunk, heads, x = layers(128, 4), nn.ModuleList([nn.Linear(128, 4) for _ in range(3)]), torch.randn(256, 128)
def step():
    h = trunk(x)
    for head in heads:
        head(h).square().mean().backward(retain_graph=head is not heads[-1])
    trunk.zero_grad(); heads.zero_grad()
debug(step)
""",
    "momentum contrast with a queue of keys": """
import copy
q = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64))
k = copy.deepcopy(q).requires_grad_(False)
keys, at = F.normalize(torch.randn(2048, 64), dim=1), 0
opt, x = torch.optim.SGD(q.parameters(), 0.1, momentum=0.9), torch.randn(256, 64)
def step():
    global at
    with torch.no_grad():
        for a, b in zip(q.parameters(), k.parameters()): b.lerp_(a, 0.01)
        new = F.normalize(k(x + 0.1 * torch.randn_like(x)), dim=1)
    z = F.normalize(q(x), dim=1)
    logits = torch.cat([(z * new).sum(1, keepdim=True), z @ keys.t()], 1) / 0.2
    loss = F.cross_entropy(logits, torch.zeros(256, dtype=torch.long))
    opt.zero_grad(); loss.backward(); opt.step()
    keys[at : at + 256] = new
    at = (at + 256) % 2048
debug(step)
""",
    "a data set in memory, read through a loader": """
from torch.utils.data import TensorDataset, DataLoader
loader = iter(DataLoader(TensorDataset(torch.randn(6000, 3, 16, 16), torch.randint(10, (6000,))), batch_size=32, shuffle=True))
net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 64, 10))
opt = torch.optim.AdamW(net.parameters())
def step():
    x, y = next(loader)
    opt.zero_grad()
    F.cross_entropy(net(x), y).backward()
    opt.step()
debug(step)
""",
    "caches of keys and values grow by cat, and the peak is reached at their final length": """
layers = nn.ModuleList([nn.Linear(128, 3 * 128) for _ in range(4)])
@torch.no_grad()
def generate():
    cache, x = [[None, None] for _ in layers], torch.randn(64, 1, 128)
    for t in range(12):
        for i, layer in enumerate(layers):
            q, *parts = layer(x).chunk(3, -1)
            for j, part in enumerate(parts):
                cache[i][j] = part.clone() if t == 0 else torch.cat([cache[i][j], part], 1)
            x = F.scaled_dot_product_attention(q, cache[i][0], cache[i][1])
    return x.mean().item()
debug(generate)
""",
}

HEALTHY = tuple(Script(name, source) for name, source in _SOURCES.items())

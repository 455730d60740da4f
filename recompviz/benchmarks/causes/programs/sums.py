"""Planted programs: losses that are summed before one backward pass."""

# ruff: noqa: E501 - lines of programs in texts
from __future__ import annotations

from recompviz.benchmarks.causes.programs.named_causes import SUMMED
from recompviz.benchmarks.causes.programs.parts import CONVS, LAYERS
from recompviz.benchmarks.causes.scripts import Script

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

"""Planted programs: evaluations and metrics that build or keep a graph."""

from __future__ import annotations

from recompviz.benchmarks.causes.programs.named_causes import UNUSED
from recompviz.benchmarks.causes.programs.parts import CONVS, LAYERS
from recompviz.benchmarks.causes.scripts import Script

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

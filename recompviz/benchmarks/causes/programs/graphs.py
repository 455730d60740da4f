"""Planted programs: graphs that are kept after the backward pass."""

# ruff: noqa: E501 - lines of programs in texts
from __future__ import annotations

from recompviz.benchmarks.causes.programs.named_causes import FAILED, GRAPH, RETAINED, UNSTEPPED, UNUSED
from recompviz.benchmarks.causes.programs.parts import CONVS, LAYERS
from recompviz.benchmarks.causes.scripts import Script

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

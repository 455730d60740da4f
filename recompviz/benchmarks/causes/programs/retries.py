"""Planted programs: tensors of a failed attempt that an exception keeps alive."""

from __future__ import annotations

from recompviz.benchmarks.causes.programs.named_causes import FAILED
from recompviz.benchmarks.causes.programs.parts import CONVS, LAYERS
from recompviz.benchmarks.causes.scripts import Script

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

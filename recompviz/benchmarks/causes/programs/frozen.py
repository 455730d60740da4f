"""Planted programs: gradients that nothing uses."""

# ruff: noqa: E501 - lines of programs in texts
from __future__ import annotations

from recompviz.benchmarks.causes.programs.named_causes import UNSTEPPED
from recompviz.benchmarks.causes.programs.parts import CONVS, LAYERS
from recompviz.benchmarks.causes.scripts import Script

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

"""Texts that many planted programs begin with: functions that build small networks."""

LAYERS = """
def layers(width, depth, act=nn.Tanh):
    return nn.Sequential(*(one for _ in range(depth) for one in (nn.Linear(width, width), act())))
"""
CONVS = """
def convs(*channels):
    pairs = zip(channels, channels[1:])
    return nn.Sequential(*(one for a, b in pairs for one in (nn.Conv2d(a, b, 3, padding=1), nn.ReLU())))
"""

"""The functions of ``import recompviz`` open no connection and listen on no address."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

# An audit hook sees the sockets of all Python code of the process, and cannot be removed: hence the process of its own.
HOOK = """
    import sys

    def refuse(event, arguments):
        if event in ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo"):
            raise ConnectionRefusedError(event)

    sys.addaudithook(refuse)
"""
USE = """
    import sys
    import torch, recompviz as rv
    from torch import nn

    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    x, y = torch.randn(4, 8), torch.randn(4, 1)
    step = {"targets": (y,), "loss": nn.functional.mse_loss}
    trace = rv.calibrate(rv.trace(model, x, **step))
    plan = trace.plans("live").plans[0]
    planned = rv.apply(trace, plan)
    rv.measure(planned, x, targets=(y,))
    rv.certify(trace, plan)
    rv.debug(model, x, **step)
    rv.fit_in(model, x, **step, total="1 GiB")(x, y).backward()
    compiled = rv.compile(model, total="1 GiB")
    for _ in range(4):
        step["loss"](compiled(x), y).backward()
    explorer = rv.explore(model, x, **step)
    explorer.to_html(sys.argv[1])
    explorer.close()
"""


def run(*parts: str, argument: Path) -> subprocess.CompletedProcess[str]:
    code = "".join(textwrap.dedent(part) for part in parts)
    return subprocess.run([sys.executable, "-c", code, str(argument)], capture_output=True, text=True, check=False)


def test_the_hook_refuses_a_connection(tmp_path):
    ended = run(HOOK, 'import socket\nsocket.create_connection(("127.0.0.1", 9))', argument=tmp_path)
    assert ended.returncode == 1
    assert "ConnectionRefusedError: socket.getaddrinfo" in ended.stderr


@pytest.mark.slow
def test_no_function_uses_a_socket(tmp_path):
    ended = run(HOOK, USE, argument=tmp_path / "page.html")
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert (tmp_path / "page.html").exists()

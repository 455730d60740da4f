"""The profiler runs in threads of the Explorer, and its library writes nothing to the output of the cell."""

import subprocess
import sys

import pytest

USE = """
import torch, recompviz as rv
from torch import nn
from recompviz.pytorch.internals.profiler import prepare_profiler

model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
step = {"targets": (torch.randn(4, 1),), "loss": nn.functional.mse_loss}
explorer = rv.explore(model, torch.randn(4, 8), **step, background=True)
explorer.run()
explorer.wait()
assert len(explorer.runs) == 1
with torch.profiler.profile():
    prepare_profiler()  # leaves the profiler of the user alone
"""


@pytest.mark.slow
def test_a_step_measured_in_another_thread_leaves_no_message_on_stderr():
    ended = subprocess.run([sys.executable, "-c", USE], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")

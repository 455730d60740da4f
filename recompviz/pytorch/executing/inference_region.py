"""A captured graph without a backward pass, for example of a frozen model under ``torch.no_grad``, or of a validation.

Such a graph saves nothing, so there is nothing to plan. Its program runs the operators once, and frees each value after
its last use. The bytes that the graph takes while it runs, its parameters and its outputs count in the totals of the
models that train.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from recompviz.pytorch.executing.joint_at_sizes import at_sizes
from recompviz.pytorch.executing.region import Region, Run
from recompviz.pytorch.internals.autograd import autocast_off, below_autograd

# The most sizes of the inputs for which the peak is cached.
MOST_SIZES = 512


class InferenceRegion(Region):
    """A captured graph without a backward pass. Parameters and attributes are those of :class:`Region`."""

    @cached_property
    def _peaks(self) -> dict[tuple[Any, ...], int]:
        return {}

    def peak(self, sizes: tuple[Any, ...]) -> int:
        """Return the predicted peak of a run: the largest number of bytes that the run has allocated at one time.

        Outputs count. Inputs and the workspace of operators do not count. The result is cached.

        Parameters
        ----------
        sizes : tuple
            The dynamic sizes of the inputs.
        """
        if sizes not in self._peaks:
            joint = at_sizes(self, self.folded.joint, sizes)
            if len(self._peaks) >= MOST_SIZES:
                self._peaks.clear()
            timeline = simulate_schedule(make_schedule(joint, self.keep_all.tolist()))
            self._peaks[sizes] = timeline.transient_peak
        return self._peaks[sizes]

    def infer(self, arguments: list[Any]) -> list[Any]:
        """Run the graph, and return its outputs. The list of arguments is emptied."""
        given = list(arguments)
        arguments.clear()
        run = Run(self, given)
        self.chooser.note_inference(run, self.peak(run.sizes))
        run.arguments = None
        with autocast_off(), below_autograd(), self._modes_off():
            outputs, _ = self.program().program.forward(given)
        self.note_outputs(outputs)
        return outputs

"""Models with control flow, side effects, and unusual inputs or outputs. Importing a module registers its cases."""

from recompviz.benchmarks.loops.models import control_flow, gradients, layers, recurrent, state, values

__all__ = ["control_flow", "gradients", "layers", "recurrent", "state", "values"]

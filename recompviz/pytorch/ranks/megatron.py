"""``rv.megatron_recompute`` finds settings of Megatron-Core's recomputation that fit a total, and predicts the peak.

Megatron-Core recomputes whole layers (``recompute_method="block"``: the first layers of each pipeline stage), or named
modules of every layer (``recompute_modules``). Each such setting is a plan of the traced step. The plan recomputes the
values inside these layers or modules, except the values that code outside reads. Some named modules also free their
outputs; the plan recomputes these, too. The peak of each setting is simulated as for any plan. Among the settings that
fit, the one with the least recomputation is returned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from recompviz.core.base.arguments import expect
from recompviz.core.base.errors import InfeasibleBudget
from recompviz.core.base.units import parse_total
from recompviz.core.plans.baselines import checkpoint_plan
from recompviz.core.plans.plan import Plan
from recompviz.pytorch.ranks.trace_sharding import units_of
from recompviz.pytorch.tracing.traced_step import Trace, expect_trace, simulate

# names in recompute_modules whose output Megatron-Core frees after its forward use and recomputes in the backward pass
OUTPUT_DISCARDING = ("layernorm", "mla_up_proj", "moe_act")


@dataclass(frozen=True, eq=False)
class MegatronRecompute:
    """Settings of Megatron-Core's recomputation; made by :func:`megatron_recompute`.

    Attributes
    ----------
    settings : dict
        Arguments of ``TransformerConfig``; empty if nothing is recomputed.
    plan : Plan
        The plan that recomputes the values that Megatron-Core recomputes with these settings.
    peak : int
        The predicted peak of the training step with these settings, in total bytes.
    overhead : float
        The time of recomputation with these settings, in the unit of ``graph.time``.
    """

    settings: dict[str, Any]
    plan: Plan
    peak: int
    overhead: float


def megatron_recompute(
    trace: Trace, layers: str, *, total: int | float | str, modules: Mapping[str, str] | None = None
) -> MegatronRecompute:
    """Return the settings of Megatron-Core that recompute least among those whose predicted peak fits a total.

    Parameters
    ----------
    trace : Trace
        The training step of one rank (or of one stage of a pipeline).
    layers : str
        A pattern of the layers' dotted paths in the traced model, such as ``"layers.*"``.
    total : int, float or str
        The most bytes that the training step may take, such as ``"10 GiB"``.
    modules : mapping from str to str, optional
        For each name that ``recompute_modules`` may contain, a pattern of the dotted paths of these modules in the
        traced model, for example ``{"mlp": "layers.*.mlp", "core_attn": "layers.*.attention"}``. If left out, only
        whole layers are recomputed.

    Returns
    -------
    MegatronRecompute

    Raises
    ------
    InfeasibleBudget
        If no setting fits. Plans that Megatron-Core has no settings for usually fit far smaller totals; see
        :meth:`Planner.plan`.
    TypeError
        If ``trace`` is not a trace, ``layers`` is not a string, or ``total`` is neither a number nor a string.
    ValueError
        If ``total`` is not a size, or is 0. Also if a pattern fits no module.

    Notes
    -----
    A GPT-2 with PyTorch's own checkpoints around the same modules had the predicted peak within 0.1 %. A small GPT of
    Megatron-Core 0.16.1 had peaks 0.3 to 17.7 % above the predicted peaks, because the checkpoints and the attention of
    Megatron-Core keep a few more tensors of one layer in the backward pass. So measure the settings before a long run.
    The names in ``modules`` are not checked here. Megatron-Core refuses names that it does not know.

    Examples
    --------
    >>> import torch, recompviz as rv
    >>> block = lambda: torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.Tanh(), torch.nn.Linear(64, 8))
    >>> model = torch.nn.Sequential(block(), block(), block())
    >>> trace = rv.trace(model, torch.ones(32, 8), loss=torch.sum)
    >>> found = rv.megatron_recompute(trace, "*", total=0.9 * rv.simulate(trace).peak)
    >>> found.settings
    {'recompute_granularity': 'full', 'recompute_method': 'block', 'recompute_num_layers': 1}
    """
    expect_trace(trace, 'rv.megatron_recompute(trace, "layers.*", total="10 GiB")')
    expect(layers, str, "layers", "a pattern of dotted paths", 'write for example "layers.*"')
    limit = parse_total(total)
    found = [
        MegatronRecompute(settings, plan, simulate(trace, plan).peak, plan.overhead)
        for settings, plan in _settings(trace, layers, modules or {})
    ]
    fitting = [one for one in found if one.peak <= limit]
    if not fitting:
        raise InfeasibleBudget(limit, min(one.peak for one in found), "total")
    return min(fitting, key=lambda one: (one.overhead, one.peak))


def _settings(trace: Trace, layers: str, modules: Mapping[str, str]) -> Iterator[tuple[dict[str, Any], Plan]]:
    """Yield all settings, each with its plan: nothing, the first layers, and sets of named modules."""
    yield {}, Plan.keep_all(trace.graph)
    names = _paths(trace, layers)
    for count in range(1, len(names) + 1):
        settings = {"recompute_granularity": "full", "recompute_method": "block", "recompute_num_layers": count}
        yield settings, checkpoint_plan(trace.graph, names[:count], "megatron")
    paths = {name: _paths(trace, pattern) for name, pattern in modules.items()}
    for count in range(1, len(paths) + 1):
        for chosen in combinations(paths, count):
            settings = {"recompute_granularity": "selective", "recompute_modules": list(chosen)}
            inside = [path for name in chosen for path in paths[name]]
            discarding = [path for name in chosen if name in OUTPUT_DISCARDING for path in paths[name]]
            yield settings, checkpoint_plan(trace.graph, inside, "megatron", discarding)


def _paths(trace: Trace, pattern: str) -> list[str]:
    return [unit.name for unit in units_of(trace, [pattern])[1:]]

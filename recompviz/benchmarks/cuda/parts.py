"""The parts of the command, the most important ones first. The times reserved for them sum to 430 s."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A part of the command; frozen.

    Attributes
    ----------
    name : str
        The name of the part and of its files.
    function : str
        Module and name of the function that yields its rows.
    seconds : float
        The most time that the part may take when the whole command has 8 minutes, in seconds.
    reserved : float
        The time that earlier parts leave for this part when the whole command has 8 minutes, in seconds.
    stand_in : bool
        Whether the rehearsal runs the part with the stand-in for CUDA.
    beside : bool
        Whether the part runs at the same time as the parts after it, because it uses no device.
    plans : bool
        Whether the part searches for plans. Such a part waits for the part that compiles the solvers.
    """

    name: str
    function: str
    seconds: float
    reserved: float
    stand_in: bool = False
    beside: bool = False
    plans: bool = True


PARTS = (
    Part("environment", "environment:environment", 30, 10, stand_in=True, plans=False),
    Part("kernels", "environment:kernels", 120, 40, beside=True, plans=False),
    Part("snapshot", "allocator:snapshot", 40, 15, stand_in=True, plans=False),
    Part("peaks", "predictions:peaks", 100, 50, stand_in=True),
    Part("certificates", "predictions:certificates", 80, 35),
    Part("out-of-memory", "allocator:out_of_memory", 60, 30, stand_in=True),
    Part("compile", "compilers:compiled", 90, 40),
    Part("timeline", "predictions:timeline", 50, 25),
    Part("times", "predictions:times", 60, 25),
    Part("budgets", "predictions:budgets", 50, 25),
    Part("workspace", "allocator:workspace", 50, 20, stand_in=True),
    Part("fit-in", "compilers:fit_in", 50, 25),
    Part("inductor", "compilers:inductor", 90, 60),
    Part("paper", "predictions:paper", 240, 30),
)

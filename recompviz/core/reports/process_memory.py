"""The memory that the process takes, and the part of it that is in tensors."""

from __future__ import annotations

from dataclasses import dataclass

from recompviz.core.base.units import format_bytes


@dataclass(frozen=True)
class ProcessMemory:
    """Bytes in use before the first step.

    Attributes
    ----------
    used : int
        On the CPU, the resident memory of the process. On another device, the bytes that all processes use there.
    tensors : int
        The part of ``used`` that PyTorch accounts for. On the CPU, the bytes of the tensors that were found. On another
        device, the bytes that PyTorch reserves.
    device : str
        The name of the device; empty for the CPU.
    """

    used: int
    tensors: int
    device: str = ""

    @property
    def other(self) -> int:
        """``used`` minus ``tensors``, at least 0: the bytes in use that PyTorch does not account for."""
        return max(self.used - self.tensors, 0)

    @property
    def text(self) -> str:
        """The figures as one sentence.

        Examples
        --------
        >>> ProcessMemory(900 << 20, 100 << 20).text[:80]
        'before the steps the process takes 900 MiB: 100 MiB in tensors, and 800 MiB in P'
        """
        other = format_bytes(self.other)
        if self.device:
            return (
                f"before the steps {format_bytes(self.used)} of {self.device} are in use: {format_bytes(self.tensors)} "
                f"reserved by PyTorch, and {other} by the driver, other libraries and other processes"
            )
        return (
            f"before the steps the process takes {format_bytes(self.used)}: {format_bytes(self.tensors)} in tensors, "
            f"and {other} in Python, libraries, arrays of NumPy and memory kept for later"
        )

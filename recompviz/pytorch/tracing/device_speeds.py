"""The speed of a device, looked up by its name, so that times can be estimated without a measurement.

The figures of GPUs come from the vendor's data sheets, without sparsity. Half precision uses tensor cores, and single
precision does not. The figures of all CPUs were measured on one core of a server (AMD EPYC, AVX-512).
"""

from __future__ import annotations

import re
from typing import NamedTuple

import torch

from recompviz.pytorch.internals.devices.runtimes import runtime


class Speed(NamedTuple):
    """The speed figures of a device.

    Attributes
    ----------
    single, half : float
        Floating-point operations per second in single precision (4 bytes) and in half precision (2 bytes).
    traffic : float
        Bytes read and written per second.
    launch : float
        Seconds to launch a call.
    draw : float
        Additional seconds for each random number that a call draws; 0 on a GPU.
    """

    single: float
    half: float
    traffic: float
    launch: float
    draw: float = 0.0

    def flops_per_second(self, dtype: torch.dtype) -> float:
        """Return the floating-point operations per second in a dtype.

        Dtypes of less than 4 bytes have the figure of half precision. Dtypes of more than 4 bytes have half the figure
        of single precision.

        Examples
        --------
        >>> GPUS["A100"].flops_per_second(torch.bfloat16)
        312000000000000.0
        """
        return self.half if dtype.itemsize < 4 else self.single if dtype.itemsize == 4 else self.single / 2


CPU = Speed(5e10, 5e10, 1e10, 2e-6, 7e-9)
LAUNCH = 5e-6  # seconds from one eager call to the next on a GPU
# A device has the figures of the first key that is in its name, without a digit after it.
GPUS = {
    "B200": Speed(80e12, 2250e12, 8.0e12, LAUNCH),
    "H200": Speed(67e12, 989e12, 4.8e12, LAUNCH),
    "H100 PCIe": Speed(51e12, 756e12, 2.0e12, LAUNCH),
    "H100": Speed(67e12, 989e12, 3.35e12, LAUNCH),
    "A100": Speed(19.5e12, 312e12, 2.04e12, LAUNCH),
    "L40S": Speed(91.6e12, 362e12, 0.86e12, LAUNCH),
    "L4": Speed(30.3e12, 121e12, 0.3e12, LAUNCH),
    "A10": Speed(31.2e12, 125e12, 0.6e12, LAUNCH),
    "V100": Speed(15.7e12, 125e12, 0.9e12, LAUNCH),
    "T4": Speed(8.1e12, 65e12, 0.32e12, LAUNCH),
    "RTX 4090": Speed(82.6e12, 165e12, 1.01e12, LAUNCH),
    "RTX 3090": Speed(35.6e12, 71e12, 0.94e12, LAUNCH),
}
# For a GPU that is not here, and for one without a known name.
TYPICAL = GPUS["A100"]


def speed_of(device: torch.device) -> Speed:
    """Return the speed figures of a device. All CPUs have the same figures.

    A CUDA device in this machine gets the figures of the first entry of ``GPUS`` whose key occurs in the device's name,
    not followed by a digit. If there is none, the figures are computed from the number of multiprocessors, the clock
    and the memory bus. A CUDA device that is not in this machine, and any other accelerator, gets the figures of an
    A100.

    Examples
    --------
    >>> speed_of(torch.device("cpu")).traffic
    10000000000.0
    """
    if device.type == "cpu":
        return CPU
    found = runtime(device).properties()
    if found is None:
        return TYPICAL
    named = next((speed for name, speed in GPUS.items() if re.search(rf"{name}(?!\d)", found.name)), None)
    return named or _speed_from(found)


def _speed_from(properties: object) -> Speed:
    """Compute speed figures from the properties of a CUDA device.

    Older versions of PyTorch do not report clocks; a typical value replaces a missing property.
    """

    def read(name: str, otherwise: float) -> float:
        return float(getattr(properties, name, 0) or otherwise)

    lanes = 128 * read("multi_processor_count", 100)
    single = 2 * lanes * 1e3 * read("clock_rate", 1.5e6)  # kHz; a multiplication and an addition
    # kHz and bits; two transfers per clock
    traffic = 2 * 1e3 * read("memory_clock_rate", 1.2e6) * read("memory_bus_width", 2560) / 8
    return Speed(single, 4 * single, traffic, LAUNCH)

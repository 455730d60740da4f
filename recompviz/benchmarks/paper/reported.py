"""The peaks that the paper reports, in GB (10⁹ bytes), parameters included, for Chainer on an NVIDIA K40c.

Source: Kusumoto et al. 2019 (arXiv 1905.11722), Table 1, with liveness analysis.
"""

from __future__ import annotations

from dataclasses import dataclass

# The memory of the paper's device, bytes.
K40C = 11_400_000_000


@dataclass(frozen=True)
class Reported:
    """The peaks of one network, in GB.

    Attributes
    ----------
    title : str
        Name of the network in the paper.
    image : str
        Size of one input: channels × height × width.
    vanilla : float
        Peak without recomputation.
    chen : float
        Peak of Chen's algorithm.
    approximate, exact : float
        Peaks of the memory-centric plans of the approximate and the exact dynamic programme.
    goal : int
        The reduction by the better of these two plans, in percent of ``vanilla``.
    """

    title: str
    image: str
    vanilla: float
    chen: float
    approximate: float
    exact: float
    goal: int


REPORTED: dict[str, Reported] = {
    "pspnet": Reported("PSPNet", "3×713×713", 9.4, 4.0, 2.7, 2.8, 71),
    "unet": Reported("U-Net", "1×572×572", 9.1, 7.4, 5.0, 4.7, 48),
    "resnet50": Reported("ResNet50", "3×224×224", 8.9, 3.7, 3.4, 3.4, 62),
    "resnet152": Reported("ResNet152", "3×224×224", 9.2, 2.4, 2.3, 2.3, 75),
    "vgg19": Reported("VGG19", "3×224×224", 7.0, 4.7, 4.5, 4.5, 36),
    "densenet161": Reported("DenseNet161", "3×224×224", 8.5, 1.8, 1.6, 1.7, 81),
    "googlenet": Reported("GoogLeNet", "3×224×224", 8.5, 6.5, 5.2, 5.2, 39),
}

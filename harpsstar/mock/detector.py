"""The mock detector: photon and read noise of an extracted pixel, for files, training and judging.

The electrons E of a pixel have the variance E + r, where r is the variance of the read noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from harpsstar.instruments import Instrument

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["TRAINING_READ_NOISE", "Detector"]

Array = npt.NDArray[np.float64]
#: A number, an array or a tensor, and the same again.
N = TypeVar("N", float, npt.NDArray[Any], "Tensor")

#: Read noise [electrons] of a pixel of a training spectrum, and of a spectrum by which ``fit`` is
#: judged. The packaged networks were trained and calibrated with it, so that another value needs
#: new ones. A pixel of a mock file has more: that of its spectrograph, √6 · 4 = 9.8 for HARPS-N.
TRAINING_READ_NOISE = 7.0


@dataclass(frozen=True)
class Detector:
    """Noise of an extracted pixel.

    Attributes
    ----------
    read_variance : float
        Variance of the read noise in one extracted pixel [electrons²].
    """

    read_variance: float

    @classmethod
    def of(cls, instrument: Instrument) -> Detector:
        """Detector of a spectrograph: the read noise of all raw pixels of an extracted one."""
        return cls(instrument.extraction_pixels * instrument.read_noise**2)

    @property
    def read_noise(self) -> float:
        """Standard deviation of the read noise in one extracted pixel [electrons]."""
        return float(np.sqrt(self.read_variance))

    def electrons(self, snr: N) -> N:
        """Electrons E with a signal-to-noise ratio: the solution of snr² = E² / (E + r)."""
        square = snr**2
        found: N = 0.5 * (square + (square**2 + 4 * square * self.read_variance) ** 0.5)
        return found

    def variance(self, expected: N) -> N:
        """Variance of a pixel [electrons²] that expects so many electrons."""
        found: N = expected + self.read_variance
        return found

    def suggested_variance(self, counts: Tensor) -> Tensor:
        """Variance [electrons²] that noisy counts suggest; a count below zero has no photons."""
        return self.variance(counts.clamp_min(0.0))

    def count(self, expected: Array, rng: np.random.Generator) -> Array:
        """Count electrons: Poisson noise of photons, then Gaussian read noise."""
        return rng.poisson(expected) + self.dark(expected.shape, rng)

    def dark(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Count what is read where no light falls: Gaussian read noise."""
        return rng.normal(0.0, self.read_noise, shape)

    def count_many(self, expected: Tensor, generator: torch.Generator) -> Tensor:
        """Count electrons with one Gaussian of the whole variance, on any device.

        Mean and variance are those of :meth:`count`; the shape differs where the electrons are few.
        """
        return gaussian(expected, self.variance(expected), generator)


def gaussian(expected: Tensor, variance: Tensor, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise of a variance, drawn where `generator` is, in the type of `expected`."""
    import torch

    normal = torch.randn(
        expected.shape, generator=generator, dtype=expected.dtype, device=expected.device
    )
    return expected + variance.sqrt() * normal

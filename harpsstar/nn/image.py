"""What the networks on spectral images share: the image, its convolutions, the way to a Gaussian.

Source: Hüttel & Clemmensen (2021), sections 2.1 and 3.2. A spectrum of eight orders is an image of
one channel, (B, 1, orders, pixels). All kernels are 1 × 7 with zero padding: they lie along an
order and never mix two.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harpsstar.nn.heads import HEADS, Gaussian

#: Pixels of a convolution along an order.
KERNEL = 7
#: Deviation from the continuum, in its units, that a network is shown at most.
_LARGEST = 2.0
# 1/sigma of a uniform distribution over -1 to 1 is 1.7: where training starts.
_LOG_PRECISION = 0.55


class SpectralImage(nn.Module):
    """Makes the image: depth of the lines, zero where there is no information.

    Parameters
    ----------
    shape : tuple of int
        (orders, pixels).

    Attributes
    ----------
    window : Tensor of bool
        (orders, pixels) pixels that the network may see; all of them until training says which.
    """

    window: Tensor

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("window", torch.ones(tuple(shape), dtype=torch.bool))

    def forward(self, flux: Tensor, ivar: Tensor) -> Tensor:
        """Normalised flux and inverse variance (B, orders, pixels) to (B, 1, orders, pixels).

        The continuum becomes zero, as the padding of the convolutions and every pixel without
        weight or outside the window are. What no line and no noise makes, such as a cosmic ray, is
        cut.
        """
        used = (ivar > 0) & self.window
        depth = (flux - 1).clamp(-_LARGEST, _LARGEST)
        return torch.where(used, depth, torch.zeros_like(flux)).unsqueeze(1)

    def log_noise(self, ivar: Tensor) -> Tensor:
        """(B,) natural log of the median noise of the pixels used, from (B, orders, pixels)."""
        used = torch.where((ivar > 0) & self.window, ivar, torch.full_like(ivar, torch.nan))
        median = used.flatten(1).nanmedian(1).values
        return -0.5 * median.nan_to_num(1.0).log()


class ImageNetwork(nn.Module):
    """A network whose only input is the spectral image.

    Parameters
    ----------
    shape : tuple of int
        (orders, pixels).
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = shape
        self.image = SpectralImage(shape)

    def from_image(self, image: Tensor) -> Gaussian:
        """Gaussian over scaled labels from images (B, 1, orders, pixels)."""
        raise NotImplementedError

    def forward(self, flux: Tensor, model: Tensor, ivar: Tensor) -> Gaussian:
        """Gaussian over scaled labels.

        Parameters
        ----------
        flux, model, ivar : Tensor
            (B, orders, pixels) normalised flux, the model used to normalise it (not looked at:
            it is an argument because every network of the zoo is called alike) and inverse
            variance, 0 where there is no information.
        """
        return self.from_image(self.image(flux, ivar))

    def attention_maps(self, image: Tensor) -> list[Tensor]:
        """Attention (B, orders, pixels) of each attention block; none where there are no blocks."""
        return []

    def attention_over(self, flux: Tensor, ivar: Tensor) -> list[Tensor]:
        """Where each attention block looks in spectra (B, orders, pixels), as :meth:`forward`.

        Each map, (B, orders, pixels), is zero outside the window of the network and sums to one.
        """
        seen = [m * self.image.window for m in self.attention_maps(self.image(flux, ivar))]
        return [m / m.sum((-2, -1), keepdim=True) for m in seen]

    def log_noise(self, ivar: Tensor) -> Tensor:
        """(B,) natural log of the noise of a pixel; see :meth:`SpectralImage.log_noise`."""
        return self.image.log_noise(ivar)


def convolution(n_in: int, n_out: int, stride: int = 1) -> nn.Sequential:
    """1 × 7 convolution along the orders, zero padded, then batch normalisation; no activation.

    Shapes: (B, n_in, orders, pixels) to (B, n_out, orders, ⌈pixels / stride⌉).
    """
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, (1, KERNEL), stride=(1, stride), padding=(0, KERNEL // 2),
                  bias=False),
        nn.BatchNorm2d(n_out),
    )  # fmt: skip


def head(covariance: str, n_features: int, n_labels: int) -> nn.Module:
    """Make the last fully connected layer: see :data:`harpsstar.nn.heads.HEADS`."""
    return HEADS[covariance](n_features, n_labels, _LOG_PRECISION)

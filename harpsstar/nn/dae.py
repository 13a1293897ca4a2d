"""The denoising auto-encoder, and a network that looks through it.

Source: Hüttel & Clemmensen (2021), section 3.3, eq. 4, after Vincent et al. (2008).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harpsstar.nn.heads import Gaussian
from harpsstar.nn.image import ImageNetwork, convolution
from harpsstar.nn.principal import principal_components


class LinearAutoEncoder(nn.Module):
    """z = (x′ − m) Pᵀ / s and back, m + z s P: the best auto-encoder of straight lines.

    Rows of P are principal components of noise-free images, m their mean, s the spread of each
    component. It is set by :meth:`fit` and not trained: eq. 4 has its minimum there in closed form,
    but for the noise that is left in z (Baldi & Hornik 1989).

    Parameters
    ----------
    latent : int
        Length of z.
    shape : tuple of int
        (orders, pixels).
    """

    mean: Tensor
    basis: Tensor
    spread: Tensor

    def __init__(self, latent: int, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = shape
        n_pixels = shape[0] * shape[1]
        self.register_buffer("mean", torch.zeros(n_pixels))
        self.register_buffer("basis", torch.zeros(latent, n_pixels))
        self.register_buffer("spread", torch.ones(latent))

    @torch.no_grad()
    def fit(self, images: Tensor) -> Tensor:
        """Set it from noise-free images (N, 1, orders, pixels), N ≥ latent.

        Returns
        -------
        Tensor
            (latent,) share of the variance in each component.
        """
        flat = images.flatten(1)
        mean = flat.mean(0)
        basis, share = principal_components(flat - mean, len(self.spread))
        self.mean.copy_(mean)
        self.basis.copy_(basis)
        self.spread.copy_(((flat - mean) @ basis.T).std(0).clamp_min(1e-6))
        return share

    def encode(self, image: Tensor) -> Tensor:
        """Code (B, latent) of images (B, 1, orders, pixels)."""
        return (image.flatten(1) - self.mean) @ self.basis.T / self.spread

    def decode(self, code: Tensor) -> Tensor:
        """Images (B, 1, orders, pixels) of codes (B, latent)."""
        flat = self.mean + (code * self.spread) @ self.basis
        return flat.view(-1, 1, *self.shape)


class DenoisingAutoEncoder(nn.Module):
    """g_θ(f_φ(x′)): from a noisy image to the image without noise.

    The encoder f_φ halves or quarters the pixels with each 1 × 7 convolution and ends in a fully
    connected layer, whose output is the latent code z; the decoder g_θ is its mirror image, with
    pixels repeated where the encoder strides. z sees all lines at once: noise is removed by what
    spectra can look like, not by smoothing.

    With ``linear`` the principal components of noise-free spectra stand beside the convolutions
    (ours: the paper does not say how long the code takes to learn, and it is long). z is the sum of
    what both make of a spectrum, the image the sum of what both make of z; the convolutions begin
    at nothing and learn what the straight lines leave.

    Parameters
    ----------
    channels : sequence of int
        Output channels of each convolution of the encoder.
    strides : sequence of int
        Their strides.
    latent : int
        Length of z.
    shape : tuple of int
        (orders, pixels); pixels a multiple of the product of the strides.
    linear : bool
        Put a :class:`LinearAutoEncoder` beside the convolutions.

    Raises
    ------
    ValueError
        When pixels are no such multiple.
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 16, 16),
        strides: Sequence[int] = (4, 4, 2),
        latent: int = 256,
        shape: tuple[int, int] = (8, 4096),
        linear: bool = False,
    ) -> None:
        super().__init__()
        total = 1
        encoder, n_in = [], 1
        for n_out, stride in zip(channels, strides, strict=True):
            encoder += [convolution(n_in, n_out, stride), nn.ReLU()]
            n_in, total = n_out, total * stride
        if shape[1] % total:
            raise ValueError(f"{shape[1]} pixels do not divide into strides of {total} in all")
        inner = (n_in, shape[0], shape[1] // total)
        size = inner[0] * inner[1] * inner[2]
        self.encoder = nn.Sequential(*encoder, nn.Flatten(), nn.Linear(size, latent))
        decoder: list[nn.Module] = [nn.Linear(latent, size), nn.Unflatten(1, inner), nn.ReLU()]
        for n_out, stride in zip([*reversed(channels[:-1]), channels[0]], strides[::-1],
                                 strict=True):  # fmt: skip
            decoder += [nn.Upsample(scale_factor=(1, stride)), convolution(n_in, n_out), nn.ReLU()]
            n_in = n_out
        self.decoder = nn.Sequential(*decoder, nn.Conv2d(n_in, 1, (1, 7), padding=(0, 3)))
        self.linear = LinearAutoEncoder(latent, shape) if linear else None
        if linear:
            for last in (self.encoder[-1], self.decoder[-1]):
                for parameter in last.parameters():
                    nn.init.zeros_(parameter)

    def encode(self, image: Tensor) -> Tensor:
        """z = f_φ(x′), (B, latent), of images (B, 1, orders, pixels)."""
        code: Tensor = self.encoder(image)
        return code if self.linear is None else code + self.linear.encode(image)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, orders, pixels) noisy to (B, 1, orders, pixels) without noise."""
        code = self.encode(image)
        denoised: Tensor = self.decoder(code)
        return denoised if self.linear is None else denoised + self.linear.decode(code)

    def loss(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """Eq. 4 per pixel, a scalar: mean of |x − g_θ(f_φ(x′))|²; both (B, 1, orders, pixels)."""
        return nn.functional.mse_loss(self(noisy).float(), clean)


class Denoised(ImageNetwork):
    """A network that is shown what the auto-encoder makes of a spectrum.

    Parameters
    ----------
    denoiser : DenoisingAutoEncoder
        Trained before the network and left alone while the network is trained.
    network : ImageNetwork
    """

    def __init__(self, denoiser: DenoisingAutoEncoder, network: ImageNetwork) -> None:
        super().__init__(network.shape)
        self.denoiser = denoiser
        self.network = network
        # one window is enough: nothing reaches the network but through this one
        self.network.image = self.image

    def train(self, mode: bool = True) -> Denoised:
        """Training mode for the network alone: the auto-encoder's normalisation stays as it is."""
        super().train(mode)
        self.denoiser.eval()
        return self

    def denoise(self, image: Tensor) -> Tensor:
        """Image without noise, (B, 1, orders, pixels), zero outside the window."""
        return torch.where(self.image.window, self.denoiser(image), 0.0)

    def attention_maps(self, image: Tensor) -> list[Tensor]:
        """Those of the network behind the auto-encoder, over what it is shown."""
        return self.network.attention_maps(self.denoise(image))

    def from_image(self, image: Tensor) -> Gaussian:
        """Gaussian over scaled labels from images (B, 1, orders, pixels)."""
        return self.network.from_image(self.denoise(image))

"""A fixed low-rank projection of the spectrum in front of a small network.

The projection is the principal components of training spectra, weighted by the mean information
of each pixel. What it sees in an unusable pixel is the model spectrum given with the data, so the
value that the detector recorded there cannot matter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harpsstar.nn.heads import FullCovariance, Gaussian
from harpsstar.nn.principal import principal_components

_LARGEST_INPUT = 15.0


class Projector(nn.Module):
    """a = B W^½ (f − f̄): features of a spectrum.

    Parameters
    ----------
    n_features : int
        Number of components K.
    shape : tuple of int
        (orders, pixels) of a spectrum.

    Notes
    -----
    The basis is kept as int8 with one scale a row: rounding changes the directions by about 1 %,
    which no later step can notice because everything is trained behind the rounded basis.
    """

    basis: Tensor
    basis_scale: Tensor
    mean: Tensor
    root_weight: Tensor
    spread: Tensor

    def __init__(self, n_features: int, shape: tuple[int, int]) -> None:
        super().__init__()
        n_pixels = shape[0] * shape[1]
        self.shape = shape
        self.register_buffer("basis", torch.zeros(n_features, n_pixels, dtype=torch.int8))
        self.register_buffer("basis_scale", torch.ones(n_features))
        self.register_buffer("mean", torch.zeros(n_pixels, dtype=torch.float16))
        self.register_buffer("root_weight", torch.ones(n_pixels, dtype=torch.float16))
        self.register_buffer("spread", torch.ones(n_features))
        self._matrix: Tensor | None = None

    @torch.no_grad()
    def fit(self, spectra: Tensor, weight: Tensor) -> Tensor:
        """Set the basis to the principal components of noise-free spectra.

        Parameters
        ----------
        spectra : Tensor
            (N, orders, pixels), N ≥ K.
        weight : Tensor
            (orders, pixels) mean inverse variance of a pixel, any unit.

        Returns
        -------
        Tensor
            (K,) share of the weighted variance in each component.
        """
        n_features = len(self.basis_scale)
        flat = spectra.flatten(1)
        root = (weight.flatten() / weight.mean()).sqrt()
        mean = flat.mean(0)
        centred = (flat - mean) * root
        basis, share = principal_components(centred, n_features)
        scale = basis.abs().amax(1, keepdim=True) / 127
        self.basis.copy_((basis / scale).round().to(torch.int8))
        self.basis_scale.copy_(scale.squeeze(1))
        self.mean.copy_(mean)
        self.root_weight.copy_(root)
        self._matrix = None
        self.spread.copy_(self(spectra, spectra, torch.ones_like(spectra)).std(0).clamp_min(1e-6))
        return share

    def matrix(self) -> Tensor:
        """(n_pixels, K) the projection with weights and scales multiplied in, made once."""
        if self._matrix is None or self._matrix.device != self.basis.device:
            basis = self.basis.float() * self.basis_scale[:, None]
            self._matrix = (basis * self.root_weight.float()).T.contiguous()
        return self._matrix

    def forward(self, flux: Tensor, model: Tensor, ivar: Tensor) -> Tensor:
        """Project spectra onto the components.

        Parameters
        ----------
        flux, model, ivar : Tensor
            (B, orders, pixels) normalised flux, the model spectrum used to normalise it, and
            inverse variance; the model stands in where ivar is 0.

        Returns
        -------
        Tensor
            (B, K)
        """
        filled = torch.where(ivar > 0, flux, model).flatten(1)
        return (filled - self.mean.float()) @ self.matrix()

    def log_noise(self, ivar: Tensor) -> Tensor:
        """(B,) natural log of the noise of a feature, from (B, orders, pixels) inverse variance."""
        flat = ivar.flatten(1)
        used = flat > 0
        weight = self.root_weight.float().square() * used
        variance = weight / flat.clamp_min(1e-12)
        mean = (variance * weight).sum(1) / weight.square().sum(1).clamp_min(1e-12)
        return 0.5 * mean.clamp_min(1e-12).log()

    def coverage(self, ivar: Tensor) -> Tensor:
        """(B, orders) share of each order's usual information that is there, 0 to 1."""
        weight = self.root_weight.float().square().reshape(self.shape)
        return ((ivar > 0) * weight).sum(-1) / weight.sum(-1)


class ProjectorNetwork(nn.Module):
    """Projector, then a residual perceptron, then a Gaussian with full covariance.

    Parameters
    ----------
    n_features : int
        Components of the projector.
    width, depth : int
        Width and number of the perceptron's residual layers.
    n_labels : int
        Labels.
    shape : tuple of int
        (orders, pixels).
    """

    def __init__(
        self,
        n_features: int = 320,
        width: int = 512,
        depth: int = 4,
        n_labels: int = 4,
        shape: tuple[int, int] = (8, 4096),
    ) -> None:
        super().__init__()
        self.projector = Projector(n_features, shape)
        self.enter = nn.Linear(n_features + 1 + shape[0], width)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(),
                          nn.Linear(width, width))
            for _ in range(depth)
        )  # fmt: skip
        self.head = FullCovariance(width, n_labels)

    def log_noise(self, ivar: Tensor) -> Tensor:
        """(B,) natural log of the noise; see :meth:`Projector.log_noise`."""
        return self.projector.log_noise(ivar)

    def features(self, flux: Tensor, model: Tensor, ivar: Tensor) -> Tensor:
        """(B, K + 1 + orders): components, log noise and coverage; see :class:`Projector`."""
        return torch.cat(
            [
                self.projector(flux, model, ivar),
                self.projector.log_noise(ivar)[:, None],
                self.projector.coverage(ivar),
            ],
            dim=1,
        )

    def from_features(self, features: Tensor) -> Gaussian:
        """Gaussian over scaled labels from what :meth:`features` returns."""
        n = len(self.projector.spread)
        components, log_noise, coverage = features[:, :n], features[:, n], features[:, n + 1 :]
        # unit variance at every noise level: signal and noise added in quadrature
        scale = (self.projector.spread.square() + (2 * log_noise[:, None]).exp()).sqrt()
        # nothing a star can do exceeds the limit; a spectrum gone wrong must not, either
        components = (components / scale).clamp(-_LARGEST_INPUT, _LARGEST_INPUT)
        inputs = [components, (log_noise[:, None] + 3.5) / 1.5, (coverage - 0.9) * 5]
        hidden = nn.functional.silu(self.enter(torch.cat(inputs, dim=1)))
        for layer in self.layers:
            hidden = hidden + layer(hidden)
        return self.head(hidden, log_noise)

    def forward(self, flux: Tensor, model: Tensor, ivar: Tensor) -> Gaussian:
        """Gaussian over scaled labels; arguments as for :meth:`Projector.forward`."""
        return self.from_features(self.features(flux, model, ivar))

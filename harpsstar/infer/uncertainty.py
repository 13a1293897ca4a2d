"""The errors of the labels: one model of them for ``predict``, ``fit``, tables and priors.

A spectrum leaves a label uncertain for three reasons, each with a covariance matrix of its own:

1. **Noise**, which differs from exposure to exposure and averages out.
2. **What the spectrum does not tell apart**: microturbulence, macroturbulence and the like are
   known from relations only to within their scatter. A star that lies off a relation does so in
   every exposure.
3. **The error of the physics**, which is the same in every exposure, too.

Least squares with the information F of the pixels and the precision P of the priors has the
posterior covariance H⁻¹, H = F + P. From exposure to exposure the result scatters by H⁻¹ F H⁻¹
only; the rest, H⁻¹ P H⁻¹, is what a star off its relations does. So the first two parts add up to
the posterior. A row of a table has the noise (1) and the total (1 + 2 + 3); :mod:`.epochs` combines
rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harpsstar.labels import NAMES
from harpsstar.model.mismatch import ModelError
from harpsstar.spectra.noise import MAD_TO_SIGMA

if TYPE_CHECKING:
    from harpsstar.infer.estimated import Estimate

FloatArray = npt.NDArray[np.float64]

#: Error of the physics that no residual shows, 1 sigma: K, dex, dex, km/s. Typical differences of
#: full-likelihood fits of FGK stars from their reference values.
FLOOR = (70.0, 0.10, 0.09, 1.5)
#: Smallest eigenvalue of a matrix of correlations: rounding must not make one negative.
_LEAST = 1e-6


@dataclass(frozen=True)
class Uncertainty:
    """Errors of the labels of one spectrum, or of one star.

    Attributes
    ----------
    noise : ndarray (4, 4)
        Covariance of what differs from exposure to exposure; K, dex, dex, km/s.
    total : ndarray (4, 4)
        Covariance of everything: noise, what the spectrum does not tell apart, and the error of
        the physics. Both are positive definite; rows and columns of a label that was fixed are 0.
    """

    noise: FloatArray
    total: FloatArray

    @classmethod
    def of(cls, estimate: Estimate, *, physics: bool = True) -> Self:
        """Return the uncertainty of an estimate of one spectrum.

        Parameters
        ----------
        estimate : Estimate
            Of one spectrum (B = 1).
        physics : bool
            Whether the total has the error of the physics. Only spectra made by the emulator
            itself lack it.
        """
        noise, posterior, systematic = (
            x[0].double().numpy()
            for x in (estimate.noise, estimate.covariance, estimate.systematic)
        )
        return cls.made_of(noise, posterior, systematic * physics)

    @classmethod
    def made_of(cls, noise: FloatArray, posterior: FloatArray, systematic: FloatArray) -> Self:
        """Return the sum of posterior (4, 4) and physics (4, 4), with the noise (4, 4) in it."""
        noise = positive_definite(noise)
        return cls(noise, positive_definite(posterior + systematic))

    def columns(self) -> dict[str, Any]:
        """Return the columns of a table that hold errors, by name."""
        found: dict[str, Any] = {"covariance": self.total, "covariance_noise": self.noise}
        for suffix, matrix in (("_err", self.total), ("_err_noise", self.noise)):
            sigma = np.sqrt(np.diag(matrix)).tolist()
            found |= {f"{name}{suffix}": value for name, value in zip(NAMES, sigma, strict=True)}
        return found


def systematic(spurious: Tensor, misfit: Tensor, error: ModelError | None) -> Tensor:
    """Covariance (B, 4, 4) of the labels from the error of the models, :data:`FLOOR` included.

    Residuals of the size that the star itself shows, but no smaller than those of the star that
    the pattern was learnt on, go through the information of this star: where few lines tell the
    labels apart, or where the model fits worse, they cost more.

    Parameters
    ----------
    spurious : Tensor
        (B, 4, 4) of :class:`harpsstar.infer.refine.Refined`, in physical units.
    misfit : Tensor
        (B,) scatter beyond the noise, units of the continuum.
    error : ModelError, optional
        Only the floor without.
    """
    floor = torch.diag(torch.tensor(FLOOR).square()).expand_as(spurious)
    if error is None:
        return floor
    size = torch.maximum(misfit, torch.full_like(misfit, MAD_TO_SIGMA * error.level))
    return floor + error.correlation * size.square()[:, None, None] * spurious


def noise_in(posterior: Tensor, gaussian: Tensor, noise: Tensor) -> Tensor:
    """Part of a posterior covariance that differs from exposure to exposure, (..., n, n).

    The posterior of least squares is H⁻¹, and its noise H⁻¹ F H⁻¹; limits of the grid and a
    calibration change the former. With the Cholesky factors L of H⁻¹ and K of the changed
    posterior, the noise becomes K L⁻¹ (H⁻¹ F H⁻¹) L⁻ᵀ Kᵀ: positive definite, and never larger than
    the posterior.

    Parameters
    ----------
    posterior : Tensor
        (..., n, n) with limits and calibration.
    gaussian, noise : Tensor
        (..., n, n) H⁻¹ and H⁻¹ F H⁻¹, the block of the labels; in any units that differ from those
        of `posterior` by factors for each label.
    """
    outer, inner = _root(posterior), _root(gaussian)
    half = torch.linalg.solve_triangular(inner, noise.double(), upper=False)
    share = torch.linalg.solve_triangular(inner, half.mT, upper=False)
    return outer @ (0.5 * (share + share.mT)) @ outer.mT


def _root(matrix: Tensor) -> Tensor:
    """Cholesky factor (..., n, n), float64; a little is added where rounding would be too much."""
    matrix = matrix.double()
    sigma = matrix.diagonal(dim1=-2, dim2=-1).clamp_min(1e-30).sqrt()
    correlation = matrix / (sigma[..., :, None] * sigma[..., None, :])
    correlation = correlation + _LEAST * torch.eye(matrix.shape[-1], dtype=torch.float64)
    return sigma[..., :, None] * torch.linalg.cholesky(correlation)


def positive_definite(matrix: FloatArray) -> FloatArray:
    """Return a covariance (n, n) without what rounding did to it: symmetric, positive definite.

    Labels without variance (fixed ones) keep none. A matrix with unknown elements is returned as
    it is.
    """
    matrix = 0.5 * (matrix + matrix.T)
    variance = np.diag(matrix)
    free = variance > 0
    if not free.any() or not np.isfinite(matrix).all():
        return matrix
    sigma = np.sqrt(variance[free])
    values, vectors = np.linalg.eigh(matrix[np.ix_(free, free)] / np.outer(sigma, sigma))
    if values[0] >= _LEAST:
        return matrix
    correlation = (vectors * np.maximum(values, _LEAST)) @ vectors.T
    scale = sigma / np.sqrt(np.diag(correlation))
    matrix = np.zeros_like(matrix)
    matrix[np.ix_(free, free)] = correlation * np.outer(scale, scale)
    return matrix

"""What is known of spectra after inference."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """What is known of B spectra, and the spectra as they were compared.

    Attributes
    ----------
    labels : Tensor
        (B, 4) teff K, logg, m_h, vsini km/s: median of the posterior.
    covariance : Tensor
        (B, 4, 4) posterior under the emulator, calibrated: noise and nuisances.
    noise : Tensor
        (B, 4, 4) the part of it that differs from exposure to exposure, float64.
    systematic : Tensor
        (B, 4, 4) from the error of the models, see :func:`harpsstar.infer.uncertainty.systematic`.
    nuisances : Tensor
        (B, n) in the order of :data:`harpsstar.labels.NUISANCES`; rv is what remains of it.
    rv_err : Tensor
        (B,) error of rv, km/s.
    flux, ivar, model : Tensor
        (B, 8, 4096) normalised flux, inverse variance, emulator at the best parameters.
    chi2_red : Tensor
        (B,) reduced chi-squared of flux against model.
    misfit : Tensor
        (B,) scatter of flux about model beyond the noise, in units of the continuum.
    """

    labels: Tensor
    covariance: Tensor
    noise: Tensor
    systematic: Tensor
    nuisances: Tensor
    rv_err: Tensor
    flux: Tensor
    ivar: Tensor
    model: Tensor
    chi2_red: Tensor
    misfit: Tensor

    def __getitem__(self, rows: slice) -> Estimate:
        """Return some of the spectra."""
        return Estimate(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

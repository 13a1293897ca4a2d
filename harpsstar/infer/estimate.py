"""Labels from canonical spectra: network and continuum, in turn, until they agree.

The continuum can only be fitted against a model of the star, and the star is only known once the
continuum is. So the labels of one pass choose the model of the next; three or four passes suffice,
and the result no longer depends on the first guess or on any smooth response of the instrument.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy.typing as npt
import torch
from torch import Tensor, nn

from harpsstar.labels import LABELS
from harpsstar.nn.zoo import Model, unscale_covariance, unscale_labels
from harpsstar.spectra import continuum
from harpsstar.synth.emulator import Emulator
from harpsstar.synth.relations import vmac_relation, vmic_relation

#: Passes of continuum and network.
N_PASSES = 4


@dataclass(frozen=True)
class Estimate:
    """What the network says of B spectra, and the spectra as it saw them.

    Attributes
    ----------
    labels : Tensor
        (B, 4) teff K, logg, m_h, vsini km/s.
    covariance : Tensor
        (B, 4, 4) from noise alone, calibrated.
    flux, ivar, model : Tensor
        (B, 8, 4096) normalised flux, inverse variance, emulator at the labels.
    chi2_red : Tensor
        (B,) reduced chi-squared of flux against model.
    misfit : Tensor
        (B,) scatter of flux about model beyond the noise, in units of the continuum.
    """

    labels: Tensor
    covariance: Tensor
    flux: Tensor
    ivar: Tensor
    model: Tensor
    chi2_red: Tensor
    misfit: Tensor


class Estimator:
    """A model and an emulator, ready for batches of canonical spectra.

    Parameters
    ----------
    model : Model
    emulator : Emulator
    wave : ndarray
        (8, 4096) air Å.
    """

    def __init__(
        self, model: Model, emulator: Emulator, wave: npt.ArrayLike
    ) -> None:
        self.model = model
        self.emulator = emulator
        self._sampler = emulator.sampler(wave)

    @classmethod
    def uncalibrated(
        cls, network: nn.Module, emulator: Emulator, wave: npt.ArrayLike
    ) -> Estimator:
        """Make an estimator of a network whose errors have not been calibrated yet."""
        one = torch.ones(2, len(LABELS))
        return cls(Model("", network, one, torch.tensor([0.0, 1.0]), {}), emulator, wave)

    @torch.no_grad()
    def spectra(self, labels: Tensor, resolution: float, rv: float = 0.0) -> Tensor:
        """Emulator spectra (B, 8, 4096) at labels (B, 4), nuisances on their relations."""
        grid = self.emulator(
            labels,
            vmic=vmic_relation(*labels[:, :3].T),
            vmac=vmac_relation(labels[:, 0], labels[:, 1]),
            resolution=resolution,
            rv=rv,
        )
        return self._sampler(grid)

    @torch.no_grad()
    def __call__(
        self,
        flux: Tensor,
        ivar: Tensor,
        start: Tensor,
        resolution: float,
        n_passes: int = N_PASSES,
    ) -> Estimate:
        """Estimate the labels of spectra in the rest frame, continuum still in them.

        Parameters
        ----------
        flux, ivar : Tensor
            (B, 8, 4096), ivar 0 where there is no information.
        start : Tensor
            (B, 4) first guess, from the velocity template.
        resolution : float
            Resolving power of the spectrograph.
        n_passes : int
            Passes of continuum and network.
        """
        labels = self.emulator.grid.nearest(start)
        for _ in range(n_passes):
            model = self.spectra(labels, resolution)
            normal, weight = continuum.normalise(flux, ivar, model)
            features = self.model.network.features(normal, model, weight)
            answer = self.model.network.from_features(features)
            labels = self.emulator.grid.nearest(unscale_labels(answer.mean))
        model = self.spectra(labels, resolution)
        normal, weight = continuum.normalise(flux, ivar, model)
        chi2_red, misfit = goodness(normal, model, weight)
        # where the model is worse than the noise, its residual is the noise that counts
        softened = weight / chi2_red.clamp_min(1.0)[:, None, None]
        answer = self.model.network(normal, model, softened)
        covariance = self._calibrated(unscale_covariance(answer.covariance), softened)
        labels = self.emulator.grid.nearest(unscale_labels(answer.mean))
        return Estimate(labels, covariance, normal, weight, model, chi2_red, misfit)

    def _calibrated(self, covariance: Tensor, ivar: Tensor) -> Tensor:
        """Multiply errors by the factors found on held-out spectra, at each spectrum's SNR."""
        log_snr = -self.model.network.projector.log_noise(ivar)
        nodes, table = self.model.log_snr, self.model.scale
        place = torch.searchsorted(nodes, log_snr).clamp(1, len(nodes) - 1)
        low, high = nodes[place - 1], nodes[place]
        share = ((log_snr - low) / (high - low)).clamp(0, 1)[:, None]
        scale = table[place - 1] * (1 - share) + table[place] * share
        return covariance * scale[:, :, None] * scale[:, None, :]


def goodness(flux: Tensor, model: Tensor, ivar: Tensor) -> tuple[Tensor, Tensor]:
    """Reduced chi-squared and misfit beyond the noise, each (B,), of (B, 8, 4096) spectra.

    The misfit is robust: the normal-consistent median of |flux − model|, with the median noise
    subtracted in quadrature.
    """
    used = ivar > 0
    n = used.flatten(1).sum(1).clamp_min(1)
    residual = torch.where(used, flux - model, torch.zeros(()))
    chi2_red = (residual.square() * ivar).flatten(1).sum(1) / n
    hole = torch.full((), torch.nan)
    middle = torch.where(used, residual.abs(), hole).flatten(1).nanmedian(1).values
    noise = torch.where(used, ivar.clamp_min(1e-12).rsqrt(), hole).flatten(1).nanmedian(1).values
    misfit = ((1.4826 * middle).square() - noise.square()).clamp_min(0).sqrt()
    return chi2_red, misfit.nan_to_num(0.0)

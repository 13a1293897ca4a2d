"""Labels from canonical spectra: network and continuum in turn, then least squares.

The continuum can only be fitted against a model of the star, and the star is only known once the
continuum is. So the labels of one pass of the network choose the model of the next, and the result
no longer depends on the first guess or on any smooth response of the instrument. From there
:mod:`harpsstar.infer.refine` takes the last steps on the emulator itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy.typing as npt
import torch
from torch import Tensor

from harpsstar.infer.mismatch import load_mismatch
from harpsstar.infer.refine import goodness, posterior_inside, refine, spectra_at
from harpsstar.labels import LABELS
from harpsstar.nn.projector import ProjectorNetwork
from harpsstar.nn.zoo import Model, unscale_labels
from harpsstar.spectra import continuum
from harpsstar.synth.emulator import Emulator
from harpsstar.synth.relations import vmac_relation, vmic_relation

#: Passes of continuum and network.
N_PASSES = 3


@dataclass(frozen=True)
class Estimate:
    """What is known of B spectra, and the spectra as they were compared.

    Attributes
    ----------
    labels : Tensor
        (B, 4) teff K, logg, m_h, vsini km/s: median of the posterior.
    covariance : Tensor
        (B, 4, 4) from noise alone, calibrated.
    nuisances : Tensor
        (B, 3) vmic, vmac and remaining rv, km/s.
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
    nuisances: Tensor
    rv_err: Tensor
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
    mismatch : Tensor, optional
        (8, 4096) relative error of the physics in each pixel; the packaged one by default.
    """

    def __init__(
        self,
        model: Model,
        emulator: Emulator,
        wave: npt.ArrayLike,
        mismatch: Tensor | None = None,
    ) -> None:
        self.mismatch = load_mismatch() if mismatch is None else mismatch
        self.model = model
        self.emulator = emulator
        self._sampler = emulator.sampler(wave)

    @classmethod
    def uncalibrated(
        cls, network: ProjectorNetwork, emulator: Emulator, wave: npt.ArrayLike
    ) -> Estimator:
        """Make an estimator of a network whose errors have not been calibrated yet."""
        one = torch.ones(2, len(LABELS))
        return cls(Model("", network, one, torch.tensor([0.0, 1.0]), {}), emulator, wave)

    @torch.no_grad()
    def spectra(self, labels: Tensor, resolution: float) -> Tensor:
        """Emulator spectra (B, 8, 4096) at labels (B, 4), nuisances on their relations."""
        grid = self.emulator(
            labels,
            vmic=vmic_relation(*labels[:, :3].T),
            vmac=vmac_relation(labels[:, 0], labels[:, 1]),
            resolution=resolution,
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
        labels = start = self.emulator.grid.nearest(start)
        for _ in range(n_passes):
            model = self.spectra(labels, resolution)
            normal, weight = continuum.normalise(flux, ivar, model)
            answer = self.model.network(normal, model, weight)
            labels = self.emulator.grid.nearest(unscale_labels(answer.mean))
        labels = self._better(flux, ivar, resolution, labels, start)
        best = refine(
            self.emulator, self._sampler, flux, ivar, labels, resolution, self.mismatch
        )
        model = spectra_at(self.emulator, self._sampler, best.parameters, resolution)
        normal, weight = continuum.normalise(flux, ivar, model)
        chi2_red, misfit = goodness(normal, model, weight)
        labels, covariance = posterior_inside(self.emulator, best)
        covariance = self._calibrated(covariance, weight)
        n = len(LABELS)
        return Estimate(
            labels=labels,
            covariance=covariance,
            nuisances=best.parameters[:, n:],
            rv_err=best.covariance[:, -1, -1].sqrt(),
            flux=normal,
            ivar=weight,
            model=model,
            chi2_red=chi2_red,
            misfit=misfit,
        )

    def _better(
        self, flux: Tensor, ivar: Tensor, resolution: float, first: Tensor, second: Tensor
    ) -> Tensor:
        """Of two sets of labels (B, 4), the one whose spectrum is nearer, spectrum by spectrum.

        A network that meets a spectrum unlike its training can answer anything.
        """
        distance = []
        for labels in (first, second):
            model = self.spectra(labels, resolution)
            normal, weight = continuum.normalise(flux, ivar, model)
            chi2_red, misfit = goodness(normal, model, weight)
            distance.append(misfit + 1e-6 * chi2_red)
        return torch.where((distance[0] <= distance[1])[:, None], first, second)

    def _calibrated(self, covariance: Tensor, ivar: Tensor) -> Tensor:
        """Multiply errors by the factors found on held-out spectra, at each spectrum's SNR."""
        log_snr = -self.model.network.projector.log_noise(ivar)
        nodes, table = self.model.log_snr, self.model.scale
        place = torch.searchsorted(nodes, log_snr).clamp(1, len(nodes) - 1)
        low, high = nodes[place - 1], nodes[place]
        share = ((log_snr - low) / (high - low)).clamp(0, 1)[:, None]
        scale = table[place - 1] * (1 - share) + table[place] * share
        return covariance * scale[:, :, None] * scale[:, None, :]

"""Labels from canonical spectra: network and continuum in turn, then least squares.

The continuum can only be fitted against a model of the star, and the star is only known once the
continuum is. So the labels of one pass of the network choose the model of the next, and the result
no longer depends on the first guess or on any smooth response of the instrument. From there
:mod:`harpsstar.infer.refine` takes the last steps on the emulator itself.
"""

from __future__ import annotations

import numpy.typing as npt
import torch
from torch import Tensor

from harpsstar.infer import parameters as space
from harpsstar.infer.estimated import Estimate
from harpsstar.infer.posterior import posterior_inside
from harpsstar.infer.refine import Refined, goodness, refine, without_cosmics
from harpsstar.infer.slopes import spectra_at
from harpsstar.infer.uncertainty import noise_in, systematic
from harpsstar.labels import LABELS
from harpsstar.model.emulator import Emulator
from harpsstar.model.fourier import in_blocks
from harpsstar.model.mismatch import load_mismatch, load_model_error
from harpsstar.nn.projector import ProjectorNetwork
from harpsstar.nn.zoo import Model, unscale_labels
from harpsstar.spectra import continuum

#: Passes of continuum and network.
N_PASSES = 2
#: Temperatures (K) between which the factors of the calibration are interpolated.
TEFF_NODES = (3500.0, 5000.0, 6500.0, 9750.0)
#: Spectra at once: bounds the memory, and keeps the arrays in the processor's cache.
_AT_ONCE = 32
#: Pixels to either side whose mean is the level of the noise, and the deepest line it is scaled to.
_NEAR, _DARKEST = 32, 0.02


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
    known : bool
        See :func:`harpsstar.infer.refine.refine`.
    """

    def __init__(
        self,
        model: Model,
        emulator: Emulator,
        wave: npt.ArrayLike,
        mismatch: Tensor | None = None,
        *,
        known: bool = False,
    ) -> None:
        self.known = known
        self._model_error = load_model_error()
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
    def spectra(self, labels: Tensor, resolution: float | Tensor) -> Tensor:
        """Emulator spectra (B, 8, 4096) at labels (B, 4), nuisances on their relations."""
        parameters = space.inside(
            self.emulator, torch.cat([labels, space.expected(labels)], dim=1)
        )
        return spectra_at(self.emulator, self._sampler, parameters, resolution)

    @torch.no_grad()
    def __call__(
        self,
        flux: Tensor,
        ivar: Tensor,
        start: Tensor,
        resolution: float | Tensor,
        n_passes: int = N_PASSES,
    ) -> Estimate:
        """Estimate the labels of spectra in the rest frame, continuum still in them.

        The result for a spectrum does not depend on what else is in the batch.

        Parameters
        ----------
        flux, ivar : Tensor
            (B, 8, 4096), ivar 0 where there is no information.
        start : Tensor
            (B, 4) first guess, from the velocity template.
        resolution : float or Tensor
            Resolving power of the spectrograph, one or (B,).
        n_passes : int
            Passes of continuum and network.
        """
        resolution = torch.as_tensor(resolution, dtype=torch.float64).expand(len(flux))
        columns = (x.split(_AT_ONCE) for x in (flux, ivar, start, resolution))
        parts = [self._estimate(f, i, s, r, n_passes) for f, i, s, r in zip(*columns, strict=True)]
        if len(parts) == 1:
            return parts[0]
        return Estimate(*(
            torch.cat([getattr(part, name) for part in parts])
            for name in Estimate.__dataclass_fields__
        ))  # fmt: skip

    def _estimate(
        self, flux: Tensor, ivar: Tensor, start: Tensor, resolution: Tensor, n_passes: int
    ) -> Estimate:
        labels, normal, weight = self._pointed(flux, ivar, start, resolution, n_passes)
        if self.known:
            normal, weight = flux, expected_ivar(ivar, self.spectra(labels, resolution))
        best = refine(
            self.emulator, self._sampler, normal, weight, labels, resolution, self.mismatch,
            known=self.known,
        )  # fmt: skip
        chi2_red, misfit = goodness(best.flux, best.model, best.ivar)
        labels, covariance = posterior_inside(self.emulator, best)
        covariance = self._calibrated(labels, covariance, best.ivar)
        rv, n = space.PARAMETER_NAMES.index("rv"), space.N_LABELS
        return Estimate(
            labels=labels,
            covariance=covariance,
            noise=noise_in(covariance, best.covariance[:, :n, :n], best.noise[:, :n, :n]),
            systematic=systematic(_physical(best), misfit, self._model_error),
            nuisances=best.parameters[:, space.N_LABELS :],
            rv_err=best.covariance[:, rv, rv].sqrt().float(),
            flux=best.flux,
            ivar=best.ivar,
            model=best.model,
            chi2_red=chi2_red,
            misfit=misfit,
        )

    def _pointed(
        self, flux: Tensor, ivar: Tensor, start: Tensor, resolution: Tensor, n_passes: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Labels where least squares begin, and the spectra divided by the continuum for them.

        A network that meets a spectrum unlike its training can answer anything, so it has to
        bring the model nearer to the spectrum than the velocity template was. What looks like
        a cosmic ray to the model of a wrong star is given back in the end.
        """
        labels, given = self.emulator.grid.nearest(start), ivar
        nearest = (labels, flux, ivar)
        least = torch.full((len(flux),), torch.inf)
        for _ in range(n_passes):
            model = self.spectra(labels, resolution)
            normal, weight = continuum.normalise(flux, ivar, model)
            distance = _distance(normal, model, weight)
            answer = self.model.network(*(in_blocks(x) for x in (normal, model, weight)))
            nearer = distance <= least
            least = torch.where(nearer, distance, least)
            nearest = _chosen(nearer, (labels, normal, weight), nearest)
            labels = self.emulator.grid.nearest(unscale_labels(answer.mean[: len(flux)]))
            # a hit bends the continuum of its order and confuses the network
            ivar = torch.where(without_cosmics(normal, weight, model) > 0, ivar, torch.zeros(()))
        labels, normal, weight = _chosen(nearer, (labels, normal, weight), nearest)
        hit = (ivar != given).flatten(1).any(1)
        if bool(hit.any()):
            model = self.spectra(labels[hit], resolution[hit])
            normal[hit], weight[hit] = continuum.normalise(flux[hit], given[hit], model)
        return labels, normal, weight

    def _calibrated(self, labels: Tensor, covariance: Tensor, ivar: Tensor) -> Tensor:
        """Multiply errors by the factors found on held-out spectra, at this SNR and teff."""
        log_snr = -self.model.network.log_noise(ivar)
        table = self.model.scale if self.model.scale.ndim == 3 else self.model.scale[:, None]
        nodes = torch.tensor(TEFF_NODES) if table.shape[1] > 1 else torch.zeros(1)
        by_snr, by_teff = hats(self.model.log_snr, log_snr), hats(nodes, labels[:, 0])
        scale = torch.einsum("bs,bt,stl->bl", by_snr, by_teff, table)
        return covariance * scale[:, :, None] * scale[:, None, :]


def expected_ivar(ivar: Tensor, model: Tensor) -> Tensor:
    """Inverse variance that the photons of a model would have, (B, orders, pixels).

    Weights from the counts of each pixel favour pixels that came out low, by 1/SNR² of the
    continuum. A continuum that is solved for takes that up; one that is held cannot, and the lines
    seem deeper. Here the variance is proportional to the model, and its level is the mean of the
    neighbours'. Read noise and white noise, the same in lines and between them, are taken for
    photon noise.

    Parameters
    ----------
    ivar : Tensor
        (B, orders, pixels) from the counts, 0 where there is no information, as in the result.
    model : Tensor
        (B, orders, pixels) relative to the continuum.
    """
    used = ivar > 0
    shape = model.clamp_min(_DARKEST)
    level = torch.where(used, 1 / (ivar.clamp_min(1e-12) * shape), torch.zeros(()))
    # sums over the pixels used, whose shares of the window cancel in the ratio
    total, share = (
        torch.nn.functional.avg_pool1d(x, 2 * _NEAR + 1, 1, _NEAR)
        for x in (level, used.to(level))
    )
    level = total / share.clamp_min(1e-12)
    return torch.where(used, 1 / (level * shape).clamp_min(1e-12), torch.zeros(()))


def _physical(best: Refined) -> Tensor:
    """Labels' part of ``spurious``, (B, 4, 4), in physical units."""
    n, vsini = space.N_LABELS, space.PARAMETER_NAMES.index("vsini")
    scale = torch.ones(len(best.parameters), n)
    scale[:, vsini] = space.stretch(best.parameters[:, vsini].clamp_min(1.0))
    return best.spurious[:, :n, :n].float() * scale[:, :, None] * scale[:, None, :]


def _distance(flux: Tensor, model: Tensor, ivar: Tensor) -> Tensor:
    chi2_red, misfit = goodness(flux, model, ivar, stride=4)
    return misfit + 1e-6 * chi2_red


def _chosen(
    which: Tensor, one: tuple[Tensor, ...], other: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Labels and spectra of `one` where `which` (B,) is true, else of `other`."""
    labels, flux, ivar = (
        torch.where(which.reshape(-1, *(1,) * (a.ndim - 1)), a, b)
        for a, b in zip(one, other, strict=True)
    )
    return labels, flux, ivar


def hats(nodes: Tensor, x: Tensor) -> Tensor:
    """Weights (B, n) of n increasing nodes in linear interpolation, constant beyond the ends."""
    if len(nodes) == 1:
        return torch.ones(len(x), 1)
    place = torch.searchsorted(nodes, x.contiguous()).clamp(1, len(nodes) - 1)
    share = ((x - nodes[place - 1]) / (nodes[place] - nodes[place - 1])).clamp(0, 1)
    weights = torch.zeros(len(x), len(nodes))
    weights.scatter_(1, (place - 1)[:, None], (1 - share)[:, None])
    return weights.scatter_(1, place[:, None], share[:, None])

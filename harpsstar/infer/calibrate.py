"""Calibration: how large the errors of held-out spectra really are, against what was claimed.

Who draws the held-out spectra is handed in, so that this room need not know how training does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from harpsstar.constants import ONE_SIGMA
from harpsstar.infer.estimate import TEFF_NODES, Estimator, hats
from harpsstar.infer.estimated import Estimate
from harpsstar.labels import NAMES

#: Standard deviation of the first guess about the truth: K, dex, dex, km/s. Wider than the spacing
#: of the velocity templates.
FIRST_GUESS = (300.0, 0.4, 0.25, 3.0)
#: By how much the logarithms of neighbouring factors are expected to differ.
_NEIGHBOURS_DIFFER = 0.1
#: The loss of a quantile regression, in units of which it is a negative log likelihood near its
#: minimum: the density of ln |z| at 1 sigma for a Gaussian z, over p (1 − p).
_LOSS_SCALE = 0.4839 / (ONE_SIGMA * (1 - ONE_SIGMA))


class Stars(Protocol):
    """Stars whose labels (n, 4) are known."""

    @property
    def labels(self) -> Tensor:
        """(n, 4) teff K, logg, m_h, vsini km/s."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice) -> Any: ...


class Exposure(Protocol):
    """Their spectra."""

    @property
    def flux(self) -> Tensor:
        """(n, 8, 4096)"""

    @property
    def ivar(self) -> Tensor:
        """(n, 8, 4096)"""


class Observer(Protocol):
    """Draws stars and observes them; :class:`harpsstar.mock.simulate.Simulator` is one."""

    resolution: float
    priors: Any
    generator: torch.Generator

    def draw(self, n: int) -> Any:
        """`n` :class:`Stars` from the priors."""

    def spectra(self, stars: Any, rv: Tensor | None = None) -> Tensor:
        """Noise-free spectra (n, 8, 4096)."""

    def expose(self, spectra: Tensor, snr: Tensor) -> Any:
        """An :class:`Exposure`."""


@dataclass(frozen=True)
class Trial:
    """Stars (B,), their exposures, and what inference made of them."""

    stars: Stars
    exposure: Exposure
    estimate: Estimate

    @property
    def error(self) -> Tensor:
        """Measured minus true labels, (B, 4)."""
        return self.estimate.labels - self.stars.labels

    @property
    def sigma(self) -> Tensor:
        """Claimed standard deviations, (B, 4)."""
        return self.estimate.covariance.diagonal(dim1=-2, dim2=-1).sqrt()


@torch.no_grad()
def trials(
    estimator: Estimator,
    observer: Observer,
    snr: float,
    n: int,
    batch: int = 64,
    draw: Callable[[int], Any] | None = None,
) -> Iterator[Trial]:
    """Put `n` fresh spectra through the whole of inference, a batch at a time.

    Parameters
    ----------
    estimator : Estimator
    observer : Observer
        Draws stars and exposes them.
    snr : float
        Per pixel.
    n, batch : int
        Spectra in all, and at a time.
    draw : callable, optional
        Gives that many stars; ``observer.draw`` if not given.

    Yields
    ------
    Trial
    """
    for start in range(0, n, batch):
        size = min(batch, n - start)
        stars = observer.draw(size) if draw is None else draw(size)
        rv = observer.priors.rv_error * torch.randn(size, generator=observer.generator)
        exposure = observer.expose(observer.spectra(stars, rv), torch.full((size,), snr))
        guess = torch.tensor(FIRST_GUESS) * torch.randn(size, 4, generator=observer.generator)
        answer = estimator(
            exposure.flux, exposure.ivar, stars.labels + guess, observer.resolution
        )
        yield Trial(stars, exposure, answer)


def residuals(
    estimator: Estimator, observer: Observer, snr: float, n: int, batch: int = 64
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Truth, measured labels, claimed errors, each (n, 4), and log SNR as inference saw it (n,)."""
    parts = []
    for trial in trials(estimator, observer, snr, n, batch):
        log_snr = -estimator.model.network.log_noise(trial.estimate.ivar)
        parts.append((trial.stars.labels, trial.estimate.labels, trial.sigma, log_snr))
    truth, labels, sigma, log_snr = (torch.cat(column) for column in zip(*parts, strict=True))
    return truth, labels, sigma, log_snr


def calibrate(
    estimator: Estimator,
    observer_of: Callable[[int], Observer],
    snr: tuple[float, ...],
    n: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Find the factors that make 68.27 % of held-out errors lie within one claimed sigma.

    Parameters
    ----------
    estimator : Estimator
        Uncalibrated.
    observer_of : callable
        Place of an SNR in `snr` to its observer, with a seed of its own that training never used.
    snr : tuple of float
        Increasing.
    n : int
        Spectra per SNR.
    progress : callable, optional
        Called with (SNR done, SNR in all).

    Returns
    -------
    log_snr : Tensor
        (len(snr),)
    scale : Tensor
        (len(snr), len(TEFF_NODES), 4) factors on the errors, smooth in both directions: a few
        hundred spectra know a single factor to 5 % only.
    metrics : dict
        Mean absolute errors, raw coverage and raw factors per SNR, for the card.
    """
    rows, metrics = [], {}
    for done, value in enumerate(snr):
        if progress is not None:
            progress(done, len(snr))
        truth, labels, sigma, log_snr = residuals(estimator, observer_of(done), value, n)
        rows.append((labels, (labels - truth).abs() / sigma, log_snr))
        metrics[f"snr {value:g}"] = _metrics(labels - truth, rows[-1][1])
    nodes = torch.tensor(snr).log()
    labels, pull, log_snr = (torch.cat(column) for column in zip(*rows, strict=True))
    return nodes, fit_factors(nodes, log_snr, labels[:, 0], pull), metrics


def fit_factors(nodes: Tensor, log_snr: Tensor, teff: Tensor, pull: Tensor) -> Tensor:
    """Table of factors (s, t, 4) from absolute pulls (n, 4) of spectra of known SNR and teff.

    A quantile regression of log |pull| on the hat functions of a table, by Newton steps on its
    smoothed loss, with a Gaussian prior on the differences of neighbours: few spectra are helped by
    it, many are not held back.
    """
    by_snr, by_teff = hats(nodes, log_snr), hats(torch.tensor(TEFF_NODES), teff)
    design = (by_snr[:, :, None] * by_teff[:, None, :]).flatten(1).double()
    shape = (len(nodes), len(TEFF_NODES))
    roughness = _roughness(shape)
    factors = []
    for column in pull.double().clamp_min(1e-6).log().T:
        level = torch.quantile(column, ONE_SIGMA)
        q = level.repeat(design.shape[1])
        for width in (1.0, 0.5, 0.25, 0.25, 0.15, 0.15, 0.15):
            above = torch.sigmoid((column - design @ q) / width)
            gradient = design.T @ (above - (1 - ONE_SIGMA))
            curvature = (design * (above * (1 - above) / width)[:, None]).T @ design
            penalty = roughness / (_LOSS_SCALE * _NEIGHBOURS_DIFFER**2)
            q = q + torch.linalg.solve(
                curvature + penalty + 1e-6 * torch.eye(len(q)), gradient - penalty @ q
            ).clamp(-0.5, 0.5)
        # the smoothed loss is off by a little, the same everywhere
        q = q + torch.quantile(column - design @ q, ONE_SIGMA)
        factors.append(q.exp().reshape(shape))
    return torch.stack(factors, dim=-1).float()


def _roughness(shape: tuple[int, int]) -> Tensor:
    """Matrix (s t, s t) of the squared differences between neighbours of a table."""
    index = torch.arange(shape[0] * shape[1]).reshape(shape)
    pairs = torch.cat([
        torch.stack([index[1:].flatten(), index[:-1].flatten()], dim=1),
        torch.stack([index[:, 1:].flatten(), index[:, :-1].flatten()], dim=1),
    ])  # fmt: skip
    steps = torch.zeros(len(pairs), index.numel(), dtype=torch.float64)
    steps[torch.arange(len(pairs)), pairs[:, 0]] = 1.0
    steps[torch.arange(len(pairs)), pairs[:, 1]] = -1.0
    return steps.T @ steps


def _metrics(error: Tensor, pull: Tensor) -> dict[str, dict[str, float]]:
    """Statistics of errors and absolute pulls (n, 4), by name of the label."""
    columns = {
        "mae": error.abs().mean(0),
        "median_error": error.abs().median(0).values,
        "coverage_before": (pull < 1).float().mean(0),
        "factor": torch.quantile(pull, ONE_SIGMA, dim=0),
    }
    return {
        name: dict(zip(NAMES, values.tolist(), strict=True)) for name, values in columns.items()
    }

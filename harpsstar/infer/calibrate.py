"""Calibration: how large the errors of held-out spectra really are, against what was claimed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harpsstar.infer.estimate import Estimate, Estimator
from harpsstar.labels import NAMES

if TYPE_CHECKING:
    from harpsstar.train.simulate import Exposure, Simulator, Stars

#: Standard deviation of the first guess about the truth: K, dex, dex, km/s. Wider than the spacing
#: of the velocity templates.
FIRST_GUESS = (300.0, 0.4, 0.25, 3.0)
#: Share of a Gaussian within one standard deviation.
ONE_SIGMA = 0.6827


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
    simulator: Simulator,
    snr: float,
    n: int,
    batch: int = 64,
    draw: Callable[[int], Stars] | None = None,
) -> Iterator[Trial]:
    """Put `n` fresh spectra through the whole of inference, a batch at a time.

    Parameters
    ----------
    estimator : Estimator
    simulator : Simulator
        Draws stars and exposes them.
    snr : float
        Per pixel.
    n, batch : int
        Spectra in all, and at a time.
    draw : callable, optional
        Gives that many stars; ``simulator.draw`` if not given.

    Yields
    ------
    Trial
    """
    for start in range(0, n, batch):
        size = min(batch, n - start)
        stars = simulator.draw(size) if draw is None else draw(size)
        rv = simulator.priors.rv_error * torch.randn(size, generator=simulator.generator)
        exposure = simulator.expose(simulator.spectra(stars, rv), torch.full((size,), snr))
        guess = torch.tensor(FIRST_GUESS) * torch.randn(size, 4, generator=simulator.generator)
        answer = estimator(
            exposure.flux, exposure.ivar, stars.labels + guess, simulator.resolution
        )
        yield Trial(stars, exposure, answer)


def residuals(
    estimator: Estimator, simulator: Simulator, snr: float, n: int, batch: int = 64
) -> tuple[Tensor, Tensor, Tensor]:
    """Truth, error and claimed error of :func:`trials`, each (n, 4), physical units."""
    parts = [
        (trial.stars.labels, trial.error, trial.sigma)
        for trial in trials(estimator, simulator, snr, n, batch)
    ]
    truth, error, sigma = (torch.cat(column) for column in zip(*parts, strict=True))
    return truth, error, sigma


def calibrate(
    estimator: Estimator,
    simulator: Simulator,
    snr: tuple[float, ...],
    n: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Find the factors that make 68.27 % of held-out errors lie within one claimed sigma.

    Parameters
    ----------
    estimator : Estimator
        Uncalibrated.
    simulator : Simulator
        With a seed that training never used.
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
        (len(snr), 4) a power law of SNR through the factors of each label: a few hundred spectra
        know a factor to 3 %, all of them together know its trend better.
    metrics : dict
        Mean absolute errors, raw coverage and raw factors per SNR, for the card.
    """
    rows, metrics = [], {}
    for done, value in enumerate(snr):
        if progress is not None:
            progress(done, len(snr))
        _, error, sigma = residuals(estimator, simulator, value, n)
        pull = (error / sigma).abs()
        rows.append(torch.quantile(pull, ONE_SIGMA, dim=0))
        metrics[f"snr {value:g}"] = {
            "mae": dict(zip(NAMES, error.abs().mean(0).tolist(), strict=True)),
            "median_error": dict(zip(NAMES, error.abs().median(0).values.tolist(), strict=True)),
            "coverage_before": dict(zip(NAMES, (pull < 1).float().mean(0).tolist(), strict=True)),
            "factor": dict(zip(NAMES, rows[-1].tolist(), strict=True)),
        }
    log_snr = torch.tensor(snr).log()
    design = torch.stack([torch.ones_like(log_snr), log_snr], dim=1)
    trend = torch.linalg.lstsq(design, torch.stack(rows).log()).solution
    return log_snr, (design @ trend).exp(), metrics

"""Robustness: by how many sigmas labels move when a spectrum is not as the training had it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from harpsstar.evaluate.accuracy import fresh_stars, recipe_of
from harpsstar.infer.calibrate import FIRST_GUESS
from harpsstar.infer.estimate import Estimator
from harpsstar.labels import NAMES
from harpsstar.mock.simulate import Exposure, Simulator, Stars
from harpsstar.model.emulator import Emulator
from harpsstar.nn.zoo import Model
from harpsstar.spectra.frame import canonical_wavelengths

#: Overlap of neighbouring orders that is cut off at each end, pixels.
_OVERLAP = 480
#: HARPS has no detector there, air Å.
_GAP = (5304.0, 5337.5)

Spoil = Callable[[Exposure, torch.Generator], Exposure]


@dataclass(frozen=True)
class Disturbance:
    """What is done to spectra: on the way to the detector, and to what was recorded.

    ``rv`` in km/s is a velocity that nobody has removed; ``resolution`` is that of the
    spectrograph, and inference is told.
    """

    name: str
    rv: float = 0.0
    resolution: float | None = None
    spoil: Spoil = lambda exposure, generator: exposure


def _tilted(exposure: Exposure, generator: torch.Generator) -> Exposure:
    sign = torch.where(torch.rand(len(exposure.flux), 8, 1, generator=generator) < 0.5, -1.0, 1.0)
    tilt = 1 + 0.05 * sign * torch.linspace(-1, 1, exposure.flux.shape[-1])
    return Exposure(exposure.flux * tilt, exposure.ivar / tilt.square())


def _hit(exposure: Exposure, generator: torch.Generator) -> Exposure:
    hit = torch.rand(exposure.flux.shape, generator=generator) < 0.05
    height = 10 ** (2 * torch.rand(exposure.flux.shape, generator=generator) - 1)
    return Exposure(exposure.flux + hit * height, exposure.ivar)


def _without(where: Tensor) -> Spoil:
    return lambda exposure, _: Exposure(exposure.flux, exposure.ivar.masked_fill(where, 0.0))


def _an_order_lost(exposure: Exposure, generator: torch.Generator) -> Exposure:
    lost = torch.randint(8, (len(exposure.flux),), generator=generator)
    ivar = exposure.ivar.clone()
    ivar[torch.arange(len(lost)), lost] = 0.0
    return Exposure(exposure.flux, ivar)


def _snr_wrong(factor: float) -> Spoil:
    return lambda exposure, _: Exposure(exposure.flux, exposure.ivar * factor**2)


def disturbances() -> tuple[Disturbance, ...]:
    """All of them, nothing first."""
    wave = torch.from_numpy(canonical_wavelengths().copy())
    x = torch.arange(wave.shape[1]).expand(wave.shape)
    gap = (wave > _GAP[0]) & (wave < _GAP[1])
    overlap = (x < _OVERLAP) | (x >= wave.shape[1] - _OVERLAP)
    return (
        Disturbance("nothing"),
        Disturbance("velocity +0.5 km/s", rv=0.5),
        Disturbance("velocity -0.5 km/s", rv=-0.5),
        Disturbance("blaze tilt 10 % per order", spoil=_tilted),
        Disturbance("5 % cosmics", spoil=_hit),
        Disturbance("one order lost", spoil=_an_order_lost),
        Disturbance("gap of HARPS", spoil=_without(gap)),
        Disturbance("SNR taken 30 % too high", spoil=_snr_wrong(1.3)),
        Disturbance("SNR taken 30 % too low", spoil=_snr_wrong(0.7)),
        Disturbance("overlap of orders cut", spoil=_without(overlap)),
        Disturbance("resolution 100,000", resolution=100000.0),
    )


@dataclass(frozen=True)
class Effect:
    """What a disturbance does: median pull of each label, and coverage at one sigma."""

    name: str
    bias: dict[str, float]
    coverage: dict[str, float]


@dataclass(frozen=True)
class Robustness:
    """Result of :func:`robustness` on `n` spectra at one SNR."""

    model: str
    grid: str
    snr: float
    n: int
    seed: int
    effects: tuple[Effect, ...]


def robustness(
    model: Model,
    *,
    snr: float = 100.0,
    n: int = 500,
    seed: int = 0,
    emulator: Emulator | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Robustness:
    """Measure the same stars under every disturbance.

    Parameters
    ----------
    model, snr, n, seed, emulator
        As of :func:`~harpsstar.evaluate.accuracy.accuracy`.
    progress : callable, optional
        Called with (disturbances done, disturbances in all).

    Raises
    ------
    ConfigError
        A model without a recipe.
    """
    emulator, simulator = fresh_stars(recipe_of(model), seed, emulator)
    estimator = Estimator(model, emulator, canonical_wavelengths())
    stars = simulator.draw(n)
    guess = stars.labels + torch.tensor(FIRST_GUESS) * torch.randn(
        n, 4, generator=simulator.generator
    )
    effects, cases = [], disturbances()
    for done, case in enumerate(cases):
        effects.append(_effect(case, estimator, simulator, stars, guess, snr))
        if progress is not None:
            progress(done + 1, len(cases))
    return Robustness(
        model.sha256[:8], emulator.metadata.get("sha256", "")[:8], snr, n, seed, tuple(effects)
    )


def _effect(
    case: Disturbance,
    estimator: Estimator,
    simulator: Simulator,
    stars: Stars,
    guess: Tensor,
    snr: float,
) -> Effect:
    usual, generator = simulator.resolution, simulator.generator
    resolution = case.resolution or usual
    pulls = []
    try:
        simulator.resolution = resolution
        for part, start in zip(_parts(stars), guess.split(_BATCH), strict=True):
            spectra = simulator.spectra(part, torch.full((len(part),), case.rv))
            exposure = case.spoil(
                simulator.expose(spectra, torch.full((len(part),), snr)), generator
            )
            answer = estimator(exposure.flux, exposure.ivar, start, resolution)
            sigma = answer.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
            pulls.append((answer.labels - part.labels) / sigma)
    finally:
        simulator.resolution = usual
    pull = torch.cat(pulls)
    bias, coverage = pull.median(0).values, (pull.abs() < 1).float().mean(0)
    return Effect(case.name, *(dict(zip(NAMES, x.tolist(), strict=True)) for x in (bias, coverage)))


_BATCH = 64


def _parts(stars: Stars) -> list[Stars]:
    return [stars[i : i + _BATCH] for i in range(0, len(stars), _BATCH)]

"""How good the posteriors of ``fit`` are: efficiency, coverage, simulation-based calibration.

Stars are drawn from the very prior of the fit and observed with the noise of a spectrograph; each
goes through the whole of :func:`harpsstar.fit`, start included. If the posterior is right, the
truth is distributed in it as its draws are: the rank of the truth among them is uniform (Talts et
al. 2018, arXiv:1804.06788).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from astropy import units as u
from astropy.nddata import StdDevUncertainty
from scipy import stats
from specutils import SpectrumCollection
from torch import Tensor

from harpsstar.constants import ONE_SIGMA, TWO_SIGMA
from harpsstar.errors import ConfigError
from harpsstar.infer.fit.engine import Fitter
from harpsstar.infer.fit.laplace import Draws, quantile, summary
from harpsstar.infer.fit.likelihood import Posterior
from harpsstar.infer.fit.options import Options, Uniform
from harpsstar.infer.fit.result import FitResult
from harpsstar.infer.fit.space import Space
from harpsstar.instruments import get_instrument
from harpsstar.mock.detector import TRAINING_READ_NOISE, Detector
from harpsstar.model.emulator import Emulator
from harpsstar.outputs import check_file
from harpsstar.outputs.kinds import TRIALS
from harpsstar.plotting import BLUE, new_figure, save, style
from harpsstar.spectra.frame import C_KM_S, ROWS, canonical_wavelengths

FloatArray = npt.NDArray[np.float64]

#: Central shares of the posterior whose coverage is counted.
SHARES = (ONE_SIGMA, TWO_SIGMA)
#: Draws among which a rank is counted: about as many as are independent.
N_RANKS = 99
#: Bins of the test of uniformity.
_N_BINS = 10
_DETECTOR = Detector(TRAINING_READ_NOISE**2)
#: Share of pixels that every mock spectrum lacks.
_MASKED = 0.01


@dataclass(frozen=True)
class Settings:
    """What is simulated; a journal is only ever continued with the same.

    ``snr`` per pixel, median over the orders; ``teff_range`` in K; ``sampler`` as in
    :class:`harpsstar.infer.fit.options.Options`; ``grid`` the first digits of the grid's SHA-256.
    """

    snr: float
    teff_range: tuple[float, float]
    sampler: str
    seed: int
    grid: str = ""


@dataclass(frozen=True)
class Trial:
    """One star: truth and posterior of each free parameter, by name.

    ``bound`` is the Bayesian Cramér-Rao bound on the standard deviation with the same nuisances
    free; ``inside`` whether the central 68 and 95 % hold the truth; ``rank`` that of the truth
    among 99 draws of the sampler, and ``ratio`` the standard deviation of Laplace over the
    sampler's, both empty without one; ``seconds`` and ``cpu`` are wall and processor time of start
    and fit.
    """

    number: int
    truth: dict[str, float]
    median: dict[str, float]
    sigma: dict[str, float]
    bound: dict[str, float]
    inside: dict[str, list[bool]]
    rank: dict[str, int]
    ratio: dict[str, float]
    efficiency: float
    converged: bool
    flags: str
    rhat: float
    ess: float
    seconds: float
    cpu: float


@dataclass(frozen=True)
class ParameterQuality:
    """How well one parameter is known.

    Attributes
    ----------
    mae, bound, ratio : float
        Mean absolute error, its bound (sqrt(2/pi) times that on sigma), and their ratio.
    ratio_error : float
        Standard error of the ratio, from the scatter of the errors in units of the bound.
    coverage_1, coverage_2 : float
        Share of truths in the central 68.27 and 95.45 %.
    uniform : float
        p-value of a chi-squared test that ranks are uniform; nan without a sampler.
    agreement : float
        Share of stars in which Laplace and sampler agree to 10 % in sigma; nan without.
    ranks : list of int
        Of each truth among 99 draws of the sampler; empty without.
    """

    mae: float
    bound: float
    ratio: float
    ratio_error: float
    coverage_1: float
    coverage_2: float
    uniform: float
    agreement: float
    ranks: list[int]


@dataclass(frozen=True)
class FitQuality:
    """Result of :func:`fit_quality`."""

    settings: Settings
    n: int
    n_flagged: int
    n_unconverged: int
    median_seconds: float
    median_cpu: float
    median_efficiency: float
    lowest_efficiency: float
    parameters: dict[str, ParameterQuality] = field(default_factory=dict)


def fit_quality(
    *,
    snr: float = 100.0,
    n: int = 300,
    seed: int = 0,
    sampler: str = "laplace",
    teff_range: tuple[float, float] = (4000.0, 7000.0),
    model: str | Path | None = None,
    journal: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FitQuality:
    """Fit `n` simulated stars and compare with the truth.

    Parameters
    ----------
    snr : float
        Per pixel.
    n, seed : int
        Stars; each is a function of the seed and its number.
    sampler : str
        ``"laplace"``, or ``"emcee"`` for simulation-based calibration.
    teff_range : tuple of float
        K; the other labels have the whole grid.
    model : str or Path, optional
        What gives the start.
    journal : Path, optional
        File of finished stars: the same command goes on from there.
    progress : callable, optional
        Called with (stars done, stars in all).

    Raises
    ------
    ConfigError
        Numbers out of range, or a journal of other settings.
    """
    if not snr > 0 or n < 2:
        raise ConfigError(f"{n} spectra of SNR {snr:g}", expected="at least 2, a positive SNR")
    options = Options(priors={"teff": Uniform(*teff_range)}, sampler=sampler, seed=seed)
    fitter = Fitter(options, model=model)
    grid = fitter.emulator.metadata.get("sha256", "")[:8]
    settings = Settings(snr, teff_range, sampler, seed, grid)
    trials = _read(journal, settings)
    wanted = [number for number in range(n) if number not in trials]
    for done, number in enumerate(wanted, start=n - len(wanted) + 1):
        trials[number] = run_trial(fitter, settings, number)
        _append(journal, settings, trials[number])
        if progress is not None:
            progress(done, n)
    return summarise([trials[number] for number in range(n)], settings)


def run_trial(fitter: Fitter, settings: Settings, number: int) -> Trial:
    """Draw, observe and fit star `number`."""
    generator = torch.Generator().manual_seed(1_000_003 * (settings.seed + 1) + number)
    space = Space(fitter.options, fitter.emulator, [0.0])
    truth = space.draw(1, generator)
    spectrum = observe(fitter.emulator, space, truth, settings.snr, generator)
    begin = time.perf_counter(), time.process_time()
    result = fitter([spectrum])
    spent = time.perf_counter() - begin[0], time.process_time() - begin[1]
    return _trial(number, dict(zip(space.names, truth[0].tolist(), strict=True)), result, spent)


def observe(
    emulator: Emulator, space: Space, truth: Tensor, snr: float, generator: torch.Generator
) -> SpectrumCollection:
    """Eight orders of HARPS-N of a star (1, P), whose rv counts from zero.

    Photon and read noise under the blaze; one pixel in a hundred masked; fluxes per Å without
    blaze, as the readers give them, with a slope along each order and the variance that the noisy
    counts suggest.
    """
    rest = canonical_wavelengths()
    star, rv = space.star(truth), float(space.rv(truth)[0, 0])
    with torch.no_grad():
        spectrum = emulator.at(
            rest, star.labels.float(), check=False,
            **{name: value.float() for name, value in star.nuisances.items()},
        )[0].double()  # fmt: skip
    blaze = torch.from_numpy(get_instrument("HARPS-N").blaze(ROWS).copy())
    # electrons under the blaze's maximum, so that the median pixel has this signal to noise
    level = _DETECTOR.electrons(snr) / float((blaze * spectrum).median())
    slope = 1 + 0.3 * torch.rand(len(rest), 1, generator=generator) * torch.linspace(
        -1, 1, rest.shape[1]
    )
    counts = _DETECTOR.count_many(level * blaze * spectrum, generator)
    sigma = _DETECTOR.suggested_variance(counts).sqrt()
    mask = torch.rand(counts.shape, generator=generator) < _MASKED
    response = slope / blaze
    unit = u.electron / u.AA
    return SpectrumCollection(
        flux=(counts * response).numpy() * unit,
        spectral_axis=rest * (1 + rv / C_KM_S) * u.AA,
        uncertainty=StdDevUncertainty((sigma * response).numpy(), unit=unit),
        mask=mask.numpy(),
        meta={},
    )


def _trial(
    number: int, true: dict[str, float], result: FitResult, spent: tuple[float, float]
) -> Trial:
    solution = result.solution
    names = solution.names
    columns = torch.stack([solution.everything[name] for name in names], 1)
    draws = Draws(columns, solution.draws.weight)
    median, covariance = summary(draws)
    limits = [(quantile(draws, 0.5 - s / 2), quantile(draws, 0.5 + s / 2)) for s in SHARES]
    rank: dict[str, int] = {}
    ratio: dict[str, float] = {}
    sigma = covariance.diagonal().sqrt()
    if solution.chains is not None:
        chosen = columns[torch.linspace(0, len(columns) - 1, N_RANKS).long()]
        laplace = summary(solution.laplace)[1].diagonal().sqrt()
        for i, name in enumerate(names):
            rank[name] = int((chosen[:, i] < true[name]).sum())
            ratio[name] = float(laplace[i] / sigma[i])
    row, extra = result.rows[0], result.extras[0]
    return Trial(
        number=number, truth=true, median=dict(zip(names, median.tolist(), strict=True)),
        sigma=dict(zip(names, sigma.tolist(), strict=True)),
        bound=bound_of(solution.posterior, [true[name] for name in names], solution.data[0].rv0),
        inside={name: [bool(low[i] <= true[name] <= high[i]) for low, high in limits]
                for i, name in enumerate(names)},
        rank=rank, ratio=ratio, efficiency=solution.efficiency, converged=solution.converged,
        flags=row.flag_text, rhat=float(extra["rhat"]), ess=float(extra["ess"]),
        seconds=spent[0], cpu=spent[1],
    )  # fmt: skip


def bound_of(posterior: Posterior, truth: Sequence[float], rv0: float) -> dict[str, float]:
    """Bayesian Cramér-Rao bound on the standard deviation of each free parameter, at the truth.

    Van Trees (1968), sect. 2.4: the inverse of Fisher information and prior precision together;
    a flat prior counts as a Gaussian of its variance. ``truth`` is natural, rv in km/s.
    """
    space = posterior.space
    natural = torch.tensor(list(truth), dtype=torch.float64)
    natural[-1] = (natural[-1] - rv0) / (1 + rv0 / C_KM_S)
    # The spectrum does not depend on a width of zero to first order.
    natural = torch.where(space.squared, natural.clamp_min(0.5), natural)
    likelihood, prior = posterior.expand(space.square(natural))
    slope = torch.where(space.squared, 2 * natural, torch.ones_like(natural))
    information = (likelihood.information + prior.information) * slope * slope[:, None]
    flat = 12 / (space.high - space.low).square()
    covariance = torch.linalg.inv(information + torch.diag(flat))
    return dict(zip(space.names, covariance.diagonal().sqrt().tolist(), strict=True))


def summarise(trials: Sequence[Trial], settings: Settings) -> FitQuality:
    """Statistics of trials."""
    efficiency = np.array([trial.efficiency for trial in trials])
    return FitQuality(
        settings=settings,
        n=len(trials),
        n_flagged=sum(bool(trial.flags) for trial in trials),
        n_unconverged=sum(not trial.converged for trial in trials),
        median_seconds=float(np.median([trial.seconds for trial in trials])),
        median_cpu=float(np.median([trial.cpu for trial in trials])),
        median_efficiency=float(np.median(efficiency)),
        lowest_efficiency=float(efficiency.min()),
        parameters={name: _quality(trials, name) for name in trials[0].truth},
    )


def _quality(trials: Sequence[Trial], name: str) -> ParameterQuality:
    error = np.array([abs(trial.median[name] - trial.truth[name]) for trial in trials])
    bound = math.sqrt(2 / math.pi) * np.array([trial.bound[name] for trial in trials])
    inside = np.array([trial.inside[name] for trial in trials])
    # Of the ratio of two means over the same stars.
    ratio = error.mean() / bound.mean()
    spread = np.std(error - ratio * bound, ddof=1) / bound.mean() / math.sqrt(len(trials))
    ranks = np.array([trial.rank[name] for trial in trials if name in trial.rank])
    ratios = np.array([trial.ratio[name] for trial in trials if name in trial.ratio])
    return ParameterQuality(
        mae=float(error.mean()), bound=float(bound.mean()), ratio=float(ratio),
        ratio_error=float(spread), coverage_1=float(inside[:, 0].mean()),
        coverage_2=float(inside[:, 1].mean()), uniform=uniformity(ranks),
        agreement=float((np.abs(ratios - 1) < 0.1).mean()) if len(ratios) else math.nan,
        ranks=ranks.tolist(),
    )  # fmt: skip


def uniformity(ranks: npt.NDArray[np.int_]) -> float:
    """p-value of a chi-squared test that ranks 0 to N_RANKS are uniform; nan for fewer than 20."""
    if len(ranks) < 2 * _N_BINS:
        return math.nan
    counts = np.bincount(ranks * _N_BINS // (N_RANKS + 1), minlength=_N_BINS)
    return float(stats.chisquare(counts).pvalue)


def _read(journal: Path | None, settings: Settings) -> dict[int, Trial]:
    if journal is None or not journal.exists():
        return {}
    lines = journal.read_text(encoding="utf-8").split("\n")
    # What follows the last line break was cut off by a kill.
    records: list[Mapping[str, Any]] = [json.loads(line) for line in lines[:-1] if line]
    wanted = json.loads(json.dumps(asdict(settings)))
    if not records or records[0] != wanted:
        raise ConfigError(
            f"a journal of other settings ({records[0] if records else 'empty'})",
            expected=str(wanted), hint="name another journal", path=journal,
        )  # fmt: skip
    return {record["number"]: Trial(**record) for record in records[1:]}


def _append(journal: Path | None, settings: Settings, trial: Trial) -> None:
    if journal is None:
        return
    text = "" if journal.exists() else json.dumps(asdict(settings)) + "\n"
    check_file(journal, TRIALS)
    with journal.open("a", encoding="utf-8") as stream:
        stream.write(text + json.dumps(asdict(trial)) + "\n")


def draw_ranks(result: FitQuality, path: Path) -> Path:
    """Draw the histogram of ranks of each parameter, with the band that holds 95 % of them.

    Raises
    ------
    ConfigError
        There are no ranks, for there was no sampler.
    InputsMissingError
        matplotlib is not installed.
    """
    if result.settings.sampler == "laplace":
        raise ConfigError("no ranks without a sampler", expected="a calibration (--sbc)")
    figure = new_figure(2.6 * len(result.parameters), 2.8)
    axes = figure.subplots(1, len(result.parameters), squeeze=False)[0]
    style(*axes)
    expected = stats.binom(result.n, 1 / _N_BINS)
    for axis, (name, quality) in zip(axes, result.parameters.items(), strict=True):
        axis.hist(quality.ranks, bins=_N_BINS, range=(0, N_RANKS + 1), color="0.6")
        axis.axhspan(expected.ppf(0.025), expected.ppf(0.975), color=BLUE, alpha=0.2)
        axis.set_xlabel(f"rank of {name}")
    return save(figure, path, dpi=120)

"""``fit``: from spectra of one star to a posterior."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from specutils import Spectrum, SpectrumCollection
from torch import Tensor

from harpsstar._optional import load
from harpsstar.errors import ConfigError
from harpsstar.infer.fit.data import DEGREE, DEGREE_ESTIMATED, Data, make_data
from harpsstar.infer.fit.known import Weighed, contradictions, star_of, weigh, with_prior
from harpsstar.infer.fit.laplace import Draws, Laplace, check
from harpsstar.infer.fit.likelihood import Likelihood, Posterior
from harpsstar.infer.fit.noise import Noise, fit_noise
from harpsstar.infer.fit.optimise import Optimum, maximise
from harpsstar.infer.fit.options import Options, plain_priors, plain_values
from harpsstar.infer.fit.result import FitResult
from harpsstar.infer.fit.sampler import load_arviz, sample
from harpsstar.infer.fit.solution import Solution, label_moments
from harpsstar.infer.fit.space import Space, nuisances_of, without_axis
from harpsstar.infer.predict import Measurement, Predictor, predictor
from harpsstar.infer.prepare import Source, is_file, observation_of, one_by_one
from harpsstar.infer.quality import MAX_MISFIT
from harpsstar.io.blaze import check_blaze_dir
from harpsstar.io.containers import container
from harpsstar.io.files import source_name
from harpsstar.io.given import NOTHING, Given
from harpsstar.io.products import read_arrays
from harpsstar.labels import NAMES
from harpsstar.model.emulator import Emulator
from harpsstar.spectra.frame import pixels_from

#: Rounds of parameters and noise in turn, and the relative change that ends them.
_ROUNDS, _SETTLED = 4, 0.01
#: Draws of Laplace's approximation, and evaluations of the true posterior that judge it.
_N_DRAWS, _N_CHECK = 4096, 96
#: Other starts, where the first leads nowhere: changes of teff K, logg, m_h, vsini km/s.
_STARTS = ((400.0, 0.0, 0.2, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, -1.0, 0.0, 0.0))
#: A later start must gain this much in ln p.
_BETTER = 1.0


def fit(
    spectra: Source | Iterable[Source],
    *,
    fixed: Mapping[str, Any] | None = None,
    priors: Mapping[str, Any] | None = None,
    tied: Iterable[str] = (),
    sampler: str = "laplace",
    seed: int = 0,
    model: str | Path | None = None,
    blaze_dir: str | Path | None = None,
    resolution: float | None = None,
    medium: str = "",
    frame: str = "",
) -> FitResult:
    """Fit the labels of one star to the pixels of its spectra.

    Parameters
    ----------
    spectra : path, open file, HDUList, Spectrum, SpectrumCollection, or an iterable of them
        Several are fitted together: one star, each with a velocity and continua of its own.
    fixed : mapping, optional
        Values of parameters that are not fitted, as ``{"logg": 4.44, "teff": 5772 * u.K}``.
    priors : mapping, optional
        As ``{"teff": (5772, 50)}``, mean and sigma with or without units, ``{"teff": "5772±50"}``
        or ``{"teff": "5000..6000"}``. A Gaussian one of a label is weighed against the whole error
        of the spectrum, see :mod:`harpsstar.infer.fit.known`.
    tied : iterable of str, optional
        Parameters that follow their empirical relation exactly: vmic, vmac, alpha.
    sampler : str
        ``"laplace"`` or ``"emcee"``.
    seed : int
        Of every random number.
    model, blaze_dir
        As in :func:`harpsstar.predict`, which gives the start.
    resolution, medium, frame
        As in :func:`harpsstar.read`.

    Returns
    -------
    FitResult

    Raises
    ------
    ConfigError
        Options that make no sense or contradict each other; before any file is opened.
    HarpsstarError
        What :func:`harpsstar.read` and :func:`harpsstar.predict` raise of a bad spectrum.
    """
    options = Options(plain_values(fixed or {}), plain_priors(priors or {}), frozenset(tied),
                      sampler, seed)  # fmt: skip
    given = Given(resolution, medium, frame)
    check_blaze_dir(blaze_dir)
    sources = list(one_by_one(spectra))
    return Fitter(options, model=model, blaze_dir=blaze_dir, given=given)(sources)


@dataclasses.dataclass(frozen=True)
class Start:
    """A spectrum, the file it came from (or nothing), and what ``predict`` says of it."""

    file: str
    spectrum: Spectrum | SpectrumCollection
    measurement: Measurement


class Fitter:
    """Ready to fit stars with the same options.

    Parameters
    ----------
    options : Options
    model, blaze_dir
        As in :func:`fit`.
    given : Given
        What the user says of files that do not say it.

    Raises
    ------
    InputsMissingError
        The sampler is not installed.
    OutsideGridError
        The fixed labels lie where the grid has no atmospheres.
    """

    def __init__(
        self,
        options: Options,
        *,
        model: str | Path | None = None,
        blaze_dir: str | Path | None = None,
        given: Given = NOTHING,
    ) -> None:
        if options.sampler == "emcee":
            load("emcee", "fit"), load_arviz()
        self.options = options
        self._blaze_dir, self._given = blaze_dir, given
        self._predictor: Predictor = predictor(model or "default")
        self.emulator: Emulator = self._predictor.emulator
        _check_axes(options, self.emulator)
        _check_fixed(options, self.emulator)

    @property
    def card(self) -> Mapping[str, object]:
        """The card of the model that gives the start."""
        return self._predictor.model.identity

    @property
    def nuisances(self) -> tuple[str, ...]:
        """Parameters besides the labels that the spectra of the grid depend on."""
        return nuisances_of(self.emulator)

    @property
    def model_name(self) -> str:
        """Name and first digits of the weights that give the start."""
        return f"{self._predictor.model.name} {self._predictor.model.sha256[:8]}"

    def __call__(self, sources: Sequence[Source]) -> FitResult:
        """Fit one star; see :func:`fit`."""
        return self.solve([self.prepare(source) for source in sources])

    def prepare(self, source: Source) -> Start:
        """Read a spectrum and find where its fit starts."""
        spectrum: Any = source
        name = ""
        if is_file(source):
            name = source_name(spectrum)
            read = read_arrays(spectrum, blaze_dir=self._blaze_dir, given=self._given)
            spectrum = container(read)
        return Start(name, spectrum, self._predictor.measure(spectrum))

    def solve(self, starts: Sequence[Start]) -> FitResult:
        """Fit one star, given where each of its spectra starts."""
        if not starts:
            raise ConfigError("no spectrum to fit", expected="at least one")
        solution = solve(self.emulator, starts, self.options)
        return FitResult(solution, tuple(start.spectrum for start in starts),
                         tuple(start.file for start in starts),
                         tuple(start.measurement for start in starts), self.model_name)  # fmt: skip


def _check_axes(options: Options, emulator: Emulator) -> None:
    """Refuse to fix, tie or give a prior to what no spectrum of the grid depends on."""
    for name, value in without_axis(emulator).items():
        if name in {*options.fixed, *options.priors, *options.tied}:
            raise ConfigError(
                f"{name} cannot be fixed, tied or given a prior: the grid has the single value "
                f"{value:g}, and no spectrum of it depends on {name}",
                expected=f"one of {', '.join((*NAMES, *nuisances_of(emulator), 'rv'))}",
            )


def _check_fixed(options: Options, emulator: Emulator) -> None:
    """Refuse a fixed teff and logg where there are no atmospheres."""
    if not {"teff", "logg"} <= set(options.fixed):
        return
    lowest = float(emulator.grid.lowest_logg(torch.tensor([options.fixed["teff"]]))[0])
    if options.fixed["logg"] < lowest - 1e-6:
        raise ConfigError(
            f"logg fixed at {options.fixed['logg']:g} lies outside the grid",
            expected=f"{lowest:.2f} or more at teff {options.fixed['teff']:g} K",
        )


def solve(emulator: Emulator, starts: Sequence[Start], options: Options) -> Solution:
    """Fit one star, given where each of its spectra starts; see :func:`fit`."""
    measured = [start.measurement for start in starts]
    data = [data_of(start.spectrum, start.measurement.rv) for start in starts]
    value, sigma, physics = star_of(measured)
    weighed = _weighed(emulator, data, measured, options, physics)
    space = Space(options, emulator, [each.rv0 for each in data], weighed.priors)
    posterior, optimum, noises, n_starts = _search(space, emulator, data, measured)
    laplace, draws = _laplace(space, optimum)
    judged = check(posterior, laplace, draws, _N_CHECK, options.seed)
    chains = None
    if options.sampler == "emcee":
        chains = sample(posterior, optimum, draws, options.seed)
    told = tuple(contradictions(options, value, sigma))
    return Solution(posterior, tuple(data), optimum, tuple(noises), draws, judged.efficiency,
                    chains, n_starts, physics, weighed, told)  # fmt: skip


def _weighed(
    emulator: Emulator,
    data: Sequence[Data],
    measured: Sequence[Measurement],
    options: Options,
    physics: npt.NDArray[np.float64],
) -> Weighed:
    """Fit without the Gaussian priors of labels, and weigh them against the whole error."""
    names = with_prior(options)
    if not names:
        return Weighed()
    others = {name: prior for name, prior in options.priors.items() if name not in names}
    free = dataclasses.replace(options, priors=others)
    space = Space(free, emulator, [each.rv0 for each in data])
    _, optimum, _, _ = _search(space, emulator, data, measured)
    _, draws = _laplace(space, optimum)
    return weigh(options, *label_moments(space, draws), physics)


def _search(
    space: Space, emulator: Emulator, data: Sequence[Data], measured: Sequence[Measurement]
) -> tuple[Posterior, Optimum, list[Noise], int]:
    """Climb from where ``predict`` is, and from elsewhere where that leads nowhere."""
    posterior = Posterior(space, [Likelihood(emulator, each) for each in data])
    best = max(measured, key=lambda found: found.snr)
    guesses = [_guess(best.estimate.labels[0])]
    posterior, optimum, noises = climb(posterior, data, space.start(guesses[0]))
    if _doubtful(optimum, noises, space.options):
        guesses += [dict(zip(NAMES, best.prepared.velocity.labels, strict=True))]
        guesses += [_guess(best.estimate.labels[0] + torch.tensor(move)) for move in _STARTS]
        posterior, optimum, noises = _best_of(posterior, optimum, noises, data, guesses[1:])
    return posterior, optimum, noises, len(guesses)


def _laplace(space: Space, optimum: Optimum) -> tuple[Laplace, Draws]:
    """Laplace's approximation about an optimum, and draws from it."""
    generator = torch.Generator().manual_seed(space.options.seed)
    laplace = Laplace(space, optimum)
    return laplace, laplace.draw(_N_DRAWS, generator)


def data_of(spectrum: Spectrum | SpectrumCollection, rv: float) -> Data:
    """Pixels of a spectrum; what is left of a blaze that was only estimated needs more freedom."""
    seen = observation_of(spectrum)
    degree = DEGREE_ESTIMATED if seen.blaze == "estimated" else DEGREE
    return make_data(pixels_from(spectrum), rv, seen.resolution, degree)


def _guess(labels: Tensor) -> dict[str, float]:
    return dict(zip(NAMES, labels.double().tolist(), strict=True))


def climb(
    posterior: Posterior, data: Sequence[Data], natural: Tensor
) -> tuple[Posterior, Optimum, list[Noise]]:
    """Find parameters and noise in turn until both have settled, from a natural point (P,)."""
    space = posterior.space
    noises = _noises(posterior, data, natural)
    for _ in range(_ROUNDS):
        posterior = _reweighted(posterior, data, noises)
        optimum = maximise(posterior, natural)
        natural = space.natural(optimum.square)
        before, noises = noises, _noises(posterior, data, natural)
        if _settled(before, noises):
            break
    return posterior, optimum, before


def _noises(posterior: Posterior, data: Sequence[Data], natural: Tensor) -> list[Noise]:
    found = []
    spectra = posterior.spectra(natural[None])
    for part, each, spectrum in zip(posterior.parts, data, spectra, strict=True):
        continuum = part.continuum(spectrum)[0]
        residual = each.flux - spectrum[0] * continuum
        known = torch.where(part.covered, each.ivar, torch.zeros(()))
        found.append(fit_noise(residual, known, each.photon, each.pattern * continuum))
    return found


def _reweighted(posterior: Posterior, data: Sequence[Data], noises: Sequence[Noise]) -> Posterior:
    parts = []
    for part, each, noise in zip(posterior.parts, data, noises, strict=True):
        ivar = torch.where(noise.outlier, torch.zeros(()), each.ivar)
        parts.append(part.reweighted(dataclasses.replace(each, ivar=ivar), noise.variance))
    return posterior.reweighted(parts)


def _settled(before: Sequence[Noise], after: Sequence[Noise]) -> bool:
    """Whether no variance would change by more than a per cent or so, and no pixel in or out."""
    for old, new in zip(before, after, strict=True):
        if abs(new.jitter - old.jitter) > _SETTLED * (1 + old.jitter):
            return False
        if abs(new.misfit - old.misfit) > _SETTLED * max(old.misfit, 1e-3):
            return False
        if not torch.equal(old.outlier, new.outlier):
            return False
    return True


def _doubtful(optimum: Optimum, noises: Sequence[Noise], options: Options) -> bool:
    """Whether to look elsewhere: a limit that the user has set is reached on purpose."""
    poor = any(noise.misfit > MAX_MISFIT for noise in noises)
    return poor or not optimum.converged or bool(set(optimum.at_edge) - set(options.priors))


def _best_of(
    posterior: Posterior,
    optimum: Optimum,
    noises: list[Noise],
    data: Sequence[Data],
    guesses: Sequence[Mapping[str, float]],
) -> tuple[Posterior, Optimum, list[Noise]]:
    """Start elsewhere, too; with the same weights, so that densities can be compared."""
    better = optimum
    for guess in guesses:
        trial = maximise(posterior, posterior.space.start(guess))
        if trial.value > better.value + _BETTER:
            better = trial
    if better is optimum:
        return posterior, optimum, noises
    return climb(posterior, data, posterior.space.natural(better.square))

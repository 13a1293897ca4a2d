"""Tables 2 and 3 of Hüttel & Clemmensen (2021), measured again, beside the paper's numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harpsstar.constants import ONE_SIGMA, TWO_SIGMA
from harpsstar.errors import ConfigError
from harpsstar.evaluate.accuracy import N_BOUND
from harpsstar.labels import NAMES
from harpsstar.model.emulator import Emulator
from harpsstar.nn.zoo import Model
from harpsstar.paper.judge import Judged, bound, interval, judge
from harpsstar.paper.published import N_TEST, TABLE2, TABLE3, PaperRow, row_of


@dataclass(frozen=True)
class Mae:
    """Mean absolute error of one label; nan where there is no number.

    Attributes
    ----------
    mae, low, high : float
        On all spectra, with its bootstrap 95 % interval.
    paper : float
        The paper's.
    bound : float
        Bayesian Cramér-Rao bound of the first ``n_bound`` spectra.
    ratio : float
        Mean absolute error of the same spectra over the bound.
    short : float
        How far the error is above the paper's, as a share of it; negative where it is below.
    """

    mae: float = math.nan
    low: float = math.nan
    high: float = math.nan
    paper: float = math.nan
    bound: float = math.nan
    ratio: float = math.nan
    short: float = math.nan


@dataclass(frozen=True)
class Table2Row:
    """One row: a row of the paper, a model, or both.

    Attributes
    ----------
    paper : str
        The paper's name of the model; empty for a model that is not in the paper.
    model, sha256 : str
        Ours; empty where no model was given.
    network, covariance : str
    snr : float
    teff : tuple of float
        Temperatures of training and test, K.
    preset : str
        Spectra that it was trained on: ``"paper"`` or ``"ours"``.
    n, n_bound : int
        Test spectra, and those that the bound was computed for.
    samples, denoiser_samples : int
        Spectra seen in training by the network and by its auto-encoder.
    hours : float
        Of training, all processes together counted once.
    device : str
    labels : dict of str to Mae
    """

    paper: str
    model: str
    sha256: str
    network: str
    covariance: str
    snr: float
    teff: tuple[float, float]
    preset: str
    n: int
    n_bound: int
    samples: int
    denoiser_samples: int
    hours: float
    device: str
    labels: dict[str, Mae]


def table2(
    models: Sequence[Model],
    *,
    n: int = N_TEST,
    seed: int = 0,
    n_bound: int = N_BOUND,
    emulator: Emulator | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Table2Row]:
    """Mean absolute errors of models, row by row of the paper, and of models beyond it.

    Parameters
    ----------
    models : sequence of Model
        Networks of spectral images.
    n : int
        Test spectra; the paper has 5,667.
    seed : int
        Of the test set.
    n_bound : int
        Compute the bound for the first so many.
    emulator : Emulator, optional
        The packaged grid with linear interpolation by default.
    progress : callable, optional
        Called with (model, spectra done, spectra in all).
    """
    _check(n, n_bound)
    emulator = Emulator.load(interpolation="linear") if emulator is None else emulator
    limits: dict[tuple[Any, ...], Tensor] = {}
    answered: dict[int, list[Table2Row]] = {}
    for model in models:
        judged = judge(model, n=n, seed=seed, emulator=emulator, tell=_teller(progress, model, n))
        data = judged.recipe.data
        key = (data.snr, data.teff, data.wavelengths, judged.recipe.seed)
        if key not in limits:
            limits[key] = bound(judged.recipe, judged.truth[: min(n, n_bound)], emulator)
        row, paper = _table2_row(judged, limits[key])
        place = TABLE2.index(paper) if paper is not None else len(TABLE2)
        answered.setdefault(place, []).append(row)
    rows = [row for i, paper in enumerate(TABLE2) for row in answered.get(i, [_unanswered(paper)])]
    return rows + answered.get(len(TABLE2), [])


def _check(n: int, n_bound: int) -> None:
    if n < 2 or n_bound < 1:
        raise ConfigError(
            f"{n} spectra, the bound of {n_bound}", expected="at least 2, and the bound of 1"
        )


def _teller(
    progress: Callable[[str, int, int], None] | None, model: Model, n: int
) -> Callable[[int], None] | None:
    if progress is None:
        return None
    return lambda done: progress(model.name, done, n)


def _table2_row(judged: Judged, limit: Tensor) -> tuple[Table2Row, PaperRow | None]:
    recipe, card = judged.recipe, judged.model.card
    network, covariance = card["network"], recipe.network.covariance
    data, effort = recipe.data, card.get("training", {})
    paper = row_of(network, covariance, data.snr, data.teff) if data.preset == "paper" else None
    size = judged.error.abs()
    low, high = interval(size)
    mae, same, best = size.mean(0), size[: len(limit)].mean(0), limit.mean(0)
    labels = {}
    for i, name in enumerate(NAMES):
        theirs = _number(paper.mae[i]) if paper is not None else math.nan
        labels[name] = Mae(
            float(mae[i]), float(low[i]), float(high[i]), theirs, float(best[i]),
            float(same[i] / best[i]), float(mae[i]) / theirs - 1,
        )  # fmt: skip
    row = Table2Row(
        paper.model if paper is not None else "", judged.model.name, judged.model.sha256[:8],
        network, covariance, data.snr, data.teff, data.preset, len(size), len(limit),
        effort.get("samples", 0), effort.get("denoiser", {}).get("samples", 0),
        effort.get("hours", math.nan), effort.get("device", ""), labels,
    )  # fmt: skip
    return row, paper


def _unanswered(paper: PaperRow) -> Table2Row:
    labels = {name: Mae(paper=_number(x)) for name, x in zip(NAMES, paper.mae, strict=True)}
    return Table2Row(
        paper.model, "", "", paper.network, paper.covariance, paper.snr, paper.teff, "",
        0, 0, 0, 0, math.nan, "", labels,
    )  # fmt: skip


def _number(value: float | None) -> float:
    return math.nan if value is None else value


@dataclass(frozen=True)
class Coverage:
    """Shares of spectra within one and two sigmas, each with its 95 % interval.

    Attributes
    ----------
    one, two : float
    one_interval, two_interval : tuple of float
    before : tuple of float
        The same two shares without calibration.
    """

    one: float
    two: float
    one_interval: tuple[float, float]
    two_interval: tuple[float, float]
    before: tuple[float, float]


@dataclass(frozen=True)
class Table3Row:
    """One model, or the paper alone.

    Attributes
    ----------
    model, sha256, network, covariance : str
    snr : float
    n : int
        Test spectra.
    paper : tuple of float
        The paper's shares (nan where it has none).
    labels : dict of str to Coverage
        Of each label; of ``"all"`` labels together, which is what the paper's one number must be;
        and ``"joint"``, within the ellipsoid that holds as much of a Gaussian.
    """

    model: str
    sha256: str
    network: str
    covariance: str
    snr: float
    n: int
    paper: tuple[float, float]
    labels: dict[str, Coverage]


def table3(
    models: Sequence[Model],
    *,
    n: int = N_TEST,
    seed: int = 0,
    emulator: Emulator | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Table3Row]:
    """Coverage of the errors that models claim; arguments as of :func:`table2`."""
    _check(n, 1)
    emulator = Emulator.load(interpolation="linear") if emulator is None else emulator
    rows = []
    for model in models:
        judged = judge(model, n=n, seed=seed, emulator=emulator, tell=_teller(progress, model, n))
        rows.append(_table3_row(judged))
    return rows


def _table3_row(judged: Judged) -> Table3Row:
    pull = (judged.error / judged.sigma).abs()
    raw = pull * judged.scale
    labels = {
        name: _coverage(pull[:, i : i + 1], raw[:, i : i + 1], (1.0, 2.0))
        for i, name in enumerate(NAMES)
    }
    labels["all"] = _coverage(pull, raw, (1.0, 2.0))
    outer = judged.scale[:, None] * judged.scale
    distances = [
        _mahalanobis(judged.error, covariance)[:, None]
        for covariance in (judged.covariance, judged.covariance / outer)
    ]
    labels["joint"] = _coverage(distances[0], distances[1], _radii(len(NAMES)))
    card = judged.model.card
    return Table3Row(
        judged.model.name, judged.model.sha256[:8], card["network"],
        judged.recipe.network.covariance, judged.recipe.data.snr, len(pull),
        TABLE3.get(card["network"], (math.nan, math.nan)), labels,
    )  # fmt: skip


def _mahalanobis(error: Tensor, covariance: Tensor) -> Tensor:
    """√(eᵀ Σ⁻¹ e), (n,)."""
    return (error * torch.linalg.solve(covariance, error)).sum(-1).clamp_min(0).sqrt()


def _radii(dimensions: int) -> tuple[float, float]:
    """Radii of the ellipsoids that hold as much of a Gaussian as one and two sigmas of a line."""
    from scipy.stats import chi2

    one, two = (math.sqrt(chi2.ppf(share, dimensions)) for share in (ONE_SIGMA, TWO_SIGMA))
    return one, two


def _coverage(pull: Tensor, raw: Tensor, radii: tuple[float, float]) -> Coverage:
    """Shares of (n, k) pulls within radii; spectra are resampled, not their labels."""
    inside = [(pull < radius).double().mean(1, keepdim=True) for radius in radii]
    ends = [interval(share) for share in inside]
    return Coverage(
        float(inside[0].mean()), float(inside[1].mean()),
        (float(ends[0][0][0]), float(ends[0][1][0])), (float(ends[1][0][0]), float(ends[1][1][0])),
        (float((raw < radii[0]).double().mean()), float((raw < radii[1]).double().mean())),
    )  # fmt: skip

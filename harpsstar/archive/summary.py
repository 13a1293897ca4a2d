"""All epochs of a star together: weighted means, scatter against the noise, outliers.

The errors of the epochs have two parts. Noise is independent from exposure to exposure and averages
out; the error of the model is the same for all spectra of a star and stays.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harpsstar._version import __version__
from harpsstar.errors import OutputError
from harpsstar.labels import LABELS, NAMES, RV
from harpsstar.outputs import replacing
from harpsstar.outputs.kinds import CREATOR, SUMMARY

if TYPE_CHECKING:
    from astropy.table import QTable

FloatArray = npt.NDArray[np.float64]

#: Standard deviations from the median of all epochs beyond which an epoch is an outlier.
OUTLIER = 5.0
#: Fewer epochs cannot say which of them is the outlier.
_LEAST_EPOCHS = 3
_MAD = 1.4826
#: Of a Julian date: a tenth of a second tells two exposures apart.
_DIGITS = 6
_FORMATS = {".ecsv": "ascii.ecsv", ".fits": "fits", ".vot": "votable"}


@dataclass(frozen=True)
class Star:
    """What all epochs of a star say together.

    Attributes
    ----------
    target : str
        Its name.
    epochs : int
        Spectra with labels that were used.
    flagged, failed : int
        Spectra left out because they were flagged, and without labels.
    copies : int
        Spectra left out because another one is of the same exposure.
    outliers : tuple of str
        Files of epochs that were left out because they disagree with the others.
    first, last : float
        Barycentric Julian dates of the first and the last epoch used.
    labels : ndarray (4,)
        Weighted mean of teff K, logg, m_h, vsini km/s.
    covariance : ndarray (4, 4)
        Of the mean: noise, raised by the scatter where that exceeds it, and model.
    scatter, expected : ndarray (4,)
        Root mean square about the mean, and what noise alone lets expect.
    chi2_red : float
        Of all labels about their means, per degree of freedom; nan for a single epoch.
    rv, rv_err, rv_scatter : float
        Weighted mean velocity, its error and the root mean square about it, km/s.
    """

    target: str
    epochs: int
    flagged: int
    failed: int
    copies: int
    outliers: tuple[str, ...]
    first: float
    last: float
    labels: FloatArray
    covariance: FloatArray
    scatter: FloatArray
    expected: FloatArray
    chi2_red: float
    rv: float
    rv_err: float
    rv_scatter: float


def summarise(table: QTable, *, flagged: bool = False) -> list[Star]:
    """Combine the epochs of every star in a table of results.

    Parameters
    ----------
    table : QTable
        From :func:`harpsstar.archive.export.read_results`.
    flagged : bool
        Use rows that are flagged, too.

    Returns
    -------
    list of Star
        In the order of their names. Rows without a target are left out.
    """
    names = np.asarray(table["target"])
    return [
        _star(name, table[names == name], use_flagged=flagged)
        for name in sorted(set(names.tolist()) - {""})
    ]


def combine(values: FloatArray, covariances: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Mean of vectors weighted by their inverse covariances (the best linear unbiased one).

    Parameters
    ----------
    values : ndarray (n, k)
    covariances : ndarray (n, k, k)

    Returns
    -------
    mean : ndarray (k,)
    covariance : ndarray (k, k)
        Of the mean, times the reduced χ² where that exceeds one (Birge 1932, Phys. Rev. 40, 207).
    chi2_red : float
        nan for n = 1.
    """
    weights = np.linalg.inv(covariances)
    covariance = np.linalg.inv(weights.sum(axis=0))
    mean = covariance @ np.einsum("nij,nj->i", weights, values)
    if len(values) == 1:
        return mean, covariance, math.nan
    residual = values - mean
    chi2 = float(np.einsum("ni,nij,nj->", residual, weights, residual))
    chi2_red = chi2 / (residual.size - mean.size)
    return mean, covariance * max(1.0, chi2_red), chi2_red


def _star(name: str, rows: QTable, *, use_flagged: bool) -> Star:
    status = np.asarray(rows["status"])
    usable = (status == "ok") | (use_flagged & (status == "flagged"))
    values = np.stack([_bare(rows[label]) for label in NAMES], axis=-1)
    total = np.asarray(rows["covariance"], dtype=float)
    model = _model_variance(rows)
    noise = total - model[:, :, None] * np.eye(len(NAMES))
    usable &= np.isfinite(values).all(axis=1) & np.isfinite(noise).all(axis=(1, 2))
    copies = usable & _again(rows)
    usable &= ~copies
    outlying = np.zeros(len(rows), dtype=bool)
    outlying[usable] = _outlying(values[usable], np.sqrt(np.einsum("nii->ni", noise[usable])))
    used = usable & ~outlying
    files = tuple(str(file) for file in rows["file"][outlying])
    facts: dict[str, Any] = {
        "flagged": 0 if use_flagged else int((status == "flagged").sum()),
        "failed": int((status == "failed").sum()),
        "copies": int(copies.sum()),
        **_dates(_bare(rows["bjd"])[used]),
        **_labels(values[used], noise[used], model[used]),
        **_velocity(_bare(rows["rv"])[used], _bare(rows["rv_err"])[used]),
    }
    return Star(target=name, epochs=int(used.sum()), outliers=files, **facts)


def _again(rows: QTable) -> npt.NDArray[np.bool_]:
    """Tell which rows (n,) have an exposure that a row before them has."""
    seen: set[tuple[str, float]] = set()
    again = []
    for instrument, bjd in zip(rows["instrument"], _bare(rows["bjd"]), strict=True):
        exposure = str(instrument), round(float(bjd), _DIGITS)
        again.append(math.isfinite(bjd) and exposure in seen)
        seen.add(exposure)
    return np.array(again, dtype=bool)


def _bare(column: Any) -> FloatArray:
    return np.asarray(getattr(column, "value", column), dtype=float)


def _model_variance(rows: QTable) -> FloatArray:
    """Part of the variances (n, 4) that is not noise."""
    pairs = [(_bare(rows[f"{name}_err"]), _bare(rows[f"{name}_err_noise"])) for name in NAMES]
    return np.stack([np.maximum(whole**2 - noise**2, 0.0) for whole, noise in pairs], axis=-1)


def _outlying(values: FloatArray, sigma: FloatArray) -> npt.NDArray[np.bool_]:
    """Epochs (n,) with a label further from the median than noise and scatter explain."""
    if len(values) < _LEAST_EPOCHS:
        return np.zeros(len(values), dtype=bool)
    distance = np.abs(values - np.median(values, axis=0))
    scatter = _MAD * np.median(distance, axis=0)
    return np.any(distance > OUTLIER * np.maximum(sigma, scatter), axis=1)


def _dates(bjd: FloatArray) -> dict[str, float]:
    known = bjd[np.isfinite(bjd)]
    first, last = (known.min(), known.max()) if known.size else (math.nan, math.nan)
    return {"first": float(first), "last": float(last)}


def _labels(values: FloatArray, noise: FloatArray, model: FloatArray) -> dict[str, Any]:
    if not len(values):
        unknown = np.full(len(NAMES), np.nan)
        return {"labels": unknown, "covariance": np.full((4, 4), np.nan), "scatter": unknown,
                "expected": unknown, "chi2_red": math.nan}
    mean, covariance, chi2_red = combine(values, noise)
    return {
        "labels": mean,
        "covariance": covariance + np.diag(model.mean(axis=0)),
        "scatter": _rms(values - mean),
        "expected": np.sqrt(np.einsum("nii->ni", noise).mean(axis=0)),
        "chi2_red": chi2_red,
    }


def _velocity(rv: FloatArray, error: FloatArray) -> dict[str, float]:
    known = np.isfinite(rv) & np.isfinite(error) & (error > 0)
    rv, error = rv[known], error[known]
    if not rv.size:
        return {"rv": math.nan, "rv_err": math.nan, "rv_scatter": math.nan}
    mean, covariance, _ = combine(rv[:, None], error[:, None, None] ** 2)
    return {"rv": float(mean[0]), "rv_err": float(np.sqrt(covariance[0, 0])),
            "rv_scatter": float(_rms((rv - mean[0])[:, None])[0])}


def _rms(residual: FloatArray) -> FloatArray:
    """Root mean square about a fitted mean, nan for a single epoch."""
    n = len(residual)
    if n < 2:
        return np.full(residual.shape[1], np.nan)
    rms: FloatArray = np.sqrt((residual**2).sum(axis=0) / (n - 1))
    return rms


def to_summary_table(stars: Iterable[Star]) -> QTable:
    """Return a row for each star, with units, descriptions and UCDs."""
    from astropy import units as u
    from astropy.table import Column, QTable

    stars = list(stars)
    table = QTable()

    def add(name: str, values: list[Any], unit: str, ucd: str, text: str) -> None:
        array = np.array(values)
        table[name] = array.astype(float) << u.Unit(unit) if unit else Column(array)
        table[name].info.description = text
        table[name].info.meta = {"ucd": ucd}

    add("target", [s.target for s in stars], "", "meta.id;meta.main", "Name of the star")
    add("epochs", [s.epochs for s in stars], "", "meta.number", "Spectra used")
    add("flagged", [s.flagged for s in stars], "", "meta.number", "Flagged spectra left out")
    add("failed", [s.failed for s in stars], "", "meta.number", "Spectra without labels")
    add("copies", [s.copies for s in stars], "", "meta.number", "Other spectra of an exposure")
    add("outliers", [" ".join(s.outliers) for s in stars], "", "meta.note",
        "Files left out because they disagree with the others")
    add("first", [s.first for s in stars], "d", "time.start;obs", "First epoch, BJD")
    add("last", [s.last for s in stars], "d", "time.end;obs", "Last epoch, BJD")
    for i, label in enumerate(LABELS):
        name, unit, ucd = label.name, label.unit, label.ucd
        add(name, [s.labels[i] for s in stars], unit, f"{ucd};stat.mean", label.description)
        add(f"{name}_err", [math.sqrt(s.covariance[i, i]) for s in stars], unit,
            f"stat.error;{ucd}", f"1-sigma uncertainty of {name}: noise and model together")
        add(f"{name}_scatter", [s.scatter[i] for s in stars], unit, f"stat.stdev;{ucd}",
            f"Standard deviation of {name} from epoch to epoch")
        add(f"{name}_expected", [s.expected[i] for s in stars], unit, f"stat.stdev;{ucd}",
            f"Standard deviation of {name} that noise lets expect")
    add("covariance", [s.covariance for s in stars], "", "stat.covariance",
        "Covariance of teff, logg, m_h, vsini in this order")
    add("chi2_red", [s.chi2_red for s in stars], "", "stat.fit.chi2",
        "Reduced chi-squared of the epochs about their mean")
    add("rv", [s.rv for s in stars], "km/s", f"{RV.ucd}", RV.description)
    add("rv_err", [s.rv_err for s in stars], "km/s", f"stat.error;{RV.ucd}",
        "1-sigma uncertainty of rv")
    add("rv_scatter", [s.rv_scatter for s in stars], "km/s", f"stat.stdev;{RV.ucd}",
        "Standard deviation of rv from epoch to epoch")
    return table


def write_summary(stars: Iterable[Star], path: Path) -> None:
    """Write a row for each star as .ecsv, .fits or .vot; a file is only ever replaced whole.

    Raises
    ------
    OutputError
        Unknown extension, missing folder, no permission, full disk.
    """
    format = _FORMATS.get(path.suffix.lower())
    if format is None:
        raise OutputError(f"unknown extension {path.suffix!r}", path=path,
                          expected=f"one of {', '.join(_FORMATS)}")
    table = to_summary_table(stars)
    if format == "fits":
        # FITS text is ASCII.
        for name in ("target", "outliers"):
            table[name] = np.char.encode(table[name], "ascii", "backslashreplace")
    # By this the table is known again as one that may be replaced; VOTable keeps descriptions only.
    key = "description" if format == "votable" else "creator"
    table.meta[key] = f"{CREATOR} {__version__}" if key == "creator" else "Stars, by harpsstar"
    with replacing(path, SUMMARY) as temporary:
        table.write(temporary, format=format, overwrite=True)

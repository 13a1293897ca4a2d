"""All epochs of a star together: weighted means, scatter against the noise, outliers.

:mod:`harpsstar.infer.epochs` combines them; here is which rows take part, and the table of stars.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harpsstar._version import __version__
from harpsstar.constants import MAD_TO_SIGMA
from harpsstar.errors import OutputError
from harpsstar.infer.epochs import are_alike, mean_velocity, weighted_mean
from harpsstar.io.observation import star_names
from harpsstar.labels import LABELS, NAMES, RV
from harpsstar.outputs import replacing
from harpsstar.outputs.kinds import CREATOR, SUMMARY

if TYPE_CHECKING:
    from astropy.table import QTable

FloatArray = npt.NDArray[np.float64]
_log = logging.getLogger(__name__)

#: Standard deviations from the median of all epochs beyond which an epoch is an outlier.
OUTLIER = 5.0
#: Fewer epochs cannot say which of them is the outlier.
_LEAST_EPOCHS = 3

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
    without_noise : int
        Spectra left out because their rows are of an earlier version, without covariance_noise.
    outliers : tuple of str
        Files of epochs that were left out because they disagree with the others.
    first, last : float
        Barycentric Julian dates of the first and the last epoch used.
    alike : bool
        Whether the spectra used can be of one star.
    labels : ndarray (4,)
        Weighted mean of teff K, logg, m_h, vsini km/s.
    covariance, covariance_noise : ndarray (4, 4)
        Of the mean: everything, and noise alone, raised by the scatter where that exceeds it.
    scatter, expected : ndarray (4,)
        Root mean square about the mean, and that expected from noise.
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
    without_noise: int
    outliers: tuple[str, ...]
    first: float
    last: float
    alike: bool
    labels: FloatArray
    covariance: FloatArray
    covariance_noise: FloatArray
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
        In the order of their names, each in its most frequent spelling, see
        :func:`harpsstar.io.observation.star_key`. Rows without a target are left out.
    """
    names = np.array(star_names(np.asarray(table["target"]).tolist()), dtype=str)
    return [
        _star_or_none(name, table[names == name], use_flagged=flagged)
        for name in sorted(set(names.tolist()) - {""})
    ]


def _star_or_none(name: str, rows: QTable, *, use_flagged: bool) -> Star:
    """Combine the epochs of a star; where that cannot be done, nothing is known of this star."""
    try:
        star = _star(name, rows, use_flagged=use_flagged)
        if star.epochs and not (np.linalg.eigvalsh(star.covariance)[0] > 0
                                and not star.chi2_red < 0):  # fmt: skip
            raise ValueError("their covariances are not positive definite")
        return star
    # numpy's LinAlgError is a ValueError.
    except (ArithmeticError, ValueError) as error:
        _log.warning("the spectra of %s cannot be combined: %s", name, error)
        status = np.asarray(rows["status"])
        return Star(
            target=name, epochs=0, flagged=int((status == "flagged").sum()),
            failed=int((status == "failed").sum()), copies=0, outliers=(), without_noise=0,
            first=math.nan, last=math.nan, rv=math.nan, rv_err=math.nan, rv_scatter=math.nan,
            **_UNKNOWN,
        )


def _star(name: str, rows: QTable, *, use_flagged: bool) -> Star:
    status = np.asarray(rows["status"])
    usable = (status == "ok") | (use_flagged & (status == "flagged"))
    values = np.stack([_bare(rows[label]) for label in NAMES], axis=-1)
    total = np.asarray(rows["covariance"], dtype=float)
    noise = np.asarray(rows["covariance_noise"], dtype=float)
    usable &= np.isfinite(values).all(axis=1) & np.isfinite(total).all(axis=(1, 2))
    without_noise = usable & ~np.isfinite(noise).all(axis=(1, 2))
    usable &= ~without_noise
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
        "without_noise": int(without_noise.sum()),
        **_dates(_bare(rows["bjd"])[used]),
        **_labels(values[used], noise[used], total[used]),
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


def _outlying(values: FloatArray, sigma: FloatArray) -> npt.NDArray[np.bool_]:
    """Epochs (n,) with a label further from the median than noise and scatter explain."""
    if len(values) < _LEAST_EPOCHS:
        return np.zeros(len(values), dtype=bool)
    distance = np.abs(values - np.median(values, axis=0))
    scatter = MAD_TO_SIGMA * np.median(distance, axis=0)
    return np.any(distance > OUTLIER * np.maximum(sigma, scatter), axis=1)


def _dates(bjd: FloatArray) -> dict[str, float]:
    known = bjd[np.isfinite(bjd)]
    first, last = (known.min(), known.max()) if known.size else (math.nan, math.nan)
    return {"first": float(first), "last": float(last)}


_NO_LABELS, _NO_MATRIX = np.full(len(NAMES), np.nan), np.full((len(NAMES),) * 2, np.nan)
#: Of a star of which no epoch is usable.
_UNKNOWN: dict[str, Any] = {
    "labels": _NO_LABELS, "covariance": _NO_MATRIX, "covariance_noise": _NO_MATRIX,
    "scatter": _NO_LABELS, "expected": _NO_LABELS, "chi2_red": math.nan, "alike": True,
}  # fmt: skip


def _labels(values: FloatArray, noise: FloatArray, total: FloatArray) -> dict[str, Any]:
    if not len(values):
        return _UNKNOWN
    mean = weighted_mean(values, noise, total)
    return {
        "labels": mean.values,
        "covariance": mean.covariance,
        "covariance_noise": mean.noise,
        "scatter": mean.scatter,
        "expected": mean.expected,
        "chi2_red": mean.chi2_red,
        "alike": are_alike(values, noise),
    }


def _velocity(rv: FloatArray, error: FloatArray) -> dict[str, float]:
    mean = mean_velocity(rv, error)
    if mean is None:
        return {"rv": math.nan, "rv_err": math.nan, "rv_scatter": math.nan}
    return {"rv": float(mean.values[0]), "rv_err": math.sqrt(mean.covariance[0, 0]),
            "rv_scatter": float(mean.scatter[0])}


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
    add("epochs", [s.epochs for s in stars], "", "meta.number", "Number of spectra used")
    add("flagged", [s.flagged for s in stars], "", "meta.number",
        "Number of flagged spectra left out")
    add("failed", [s.failed for s in stars], "", "meta.number", "Number of failed spectra")
    add("copies", [s.copies for s in stars], "", "meta.number",
        "Number of further spectra of the same exposures, left out")
    add("without_noise", [s.without_noise for s in stars], "", "meta.number",
        "Number of spectra left out because they have no covariance_noise")
    add("outliers", [" ".join(s.outliers) for s in stars], "", "meta.note",
        "Files left out because they disagree with the others")
    add("first", [s.first for s in stars], "d", "time.start;obs", "First epoch, BJD")
    add("last", [s.last for s in stars], "d", "time.end;obs", "Last epoch, BJD")
    add("alike", [s.alike for s in stars], "", "meta.code",
        "Whether the spectra used are consistent with one star")
    for i, label in enumerate(LABELS):
        name, unit, ucd = label.name, label.unit, label.ucd
        add(name, [s.labels[i] for s in stars], unit, f"{ucd};stat.mean", label.description)
        add(f"{name}_err", [math.sqrt(s.covariance[i, i]) for s in stars], unit,
            f"stat.error;{ucd}", f"1-sigma uncertainty of {name}: noise and error of the physics")
        add(f"{name}_scatter", [s.scatter[i] for s in stars], unit, f"stat.stdev;{ucd}",
            f"Standard deviation of {name} from epoch to epoch")
        add(f"{name}_expected", [s.expected[i] for s in stars], unit, f"stat.stdev;{ucd}",
            f"Standard deviation of {name} expected from noise")
    add("covariance", [s.covariance for s in stars], "", "stat.covariance",
        "Covariance of teff, logg, m_h, vsini in this order")
    add("covariance_noise", [s.covariance_noise for s in stars], "", "stat.covariance",
        "Covariance of teff, logg, m_h, vsini from noise alone")
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

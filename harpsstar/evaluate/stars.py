"""Real stars with known labels: differences from the literature, and pulls."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Any

from harpsstar.config import from_mapping
from harpsstar.errors import ConfigError
from harpsstar.infer.predict import predict_rows
from harpsstar.io.observation import star_key
from harpsstar.io.results import Row
from harpsstar.labels import NAMES


@dataclass(frozen=True)
class Reference:
    """Labels of a star from the literature; each is (value, standard error) or not known.

    Attributes
    ----------
    targets, files : tuple of str
        Names in headers, and patterns of file names, by which its spectra are found.
    source : str
        Where the labels are from.
    teff, logg, m_h, vsini : tuple of float, optional
        K, dex, dex, km/s.
    inside : bool
        Whether grid and line list can describe the star; otherwise a flag is the right answer.
    """

    targets: tuple[str, ...]
    source: str
    files: tuple[str, ...] = ()
    teff: tuple[float, float] | None = None
    logg: tuple[float, float] | None = None
    m_h: tuple[float, float] | None = None
    vsini: tuple[float, float] | None = None
    inside: bool = True


@dataclass(frozen=True)
class Comparison:
    """One label of one spectrum against the literature.

    Attributes
    ----------
    value, reference, difference : float
        Measured, literature, and the former minus the latter; nan when not known.
    pull : float
        Difference over the errors of both, in quadrature.
    """

    value: float
    reference: float
    difference: float
    pull: float


@dataclass(frozen=True)
class StarResult:
    """One spectrum: the star it is of (empty when unknown) and its labels by name."""

    file: str
    star: str
    status: str
    flag_text: str
    message: str
    right: bool | None
    labels: dict[str, Comparison]


def evaluate_stars(
    files: Iterable[str | Path],
    *,
    model: str | Path | None = None,
    blaze_dir: str | Path | None = None,
    references: str | Path | None = None,
) -> list[StarResult]:
    """Measure spectra and compare them with the literature.

    Parameters
    ----------
    files : iterable of path
        Spectra; one that cannot be read or belongs to no known star still has a result.
    model, blaze_dir
        See :func:`harpsstar.predict`.
    references : path, optional
        TOML file laid out as the packaged ``stars.toml``, instead of it.

    Returns
    -------
    list of StarResult
        In the order of the files.

    Raises
    ------
    ConfigError
        The references cannot be read.
    ModelError
        The model cannot be used.
    """
    known = read_references(references)
    return [compare(row, known) for row in predict_rows(files, model=model, blaze_dir=blaze_dir)]


def read_references(path: str | Path | None = None) -> dict[str, Reference]:
    """Reference labels by the name of the star.

    Raises
    ------
    ConfigError
        No such file, not TOML, an unknown key or a value of the wrong type.
    """
    where = "harpsstar/evaluate/stars.toml" if path is None else str(path)
    packaged = resources.files("harpsstar.evaluate").joinpath("stars.toml")
    try:
        source = packaged if path is None else Path(path)
        table = tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"cannot be read ({error})", expected="a TOML file with a table per star", path=where
        ) from error
    return {name: from_mapping(Reference, _table(name, item, where), path=where)
            for name, item in table.items()}  # fmt: skip


def _table(name: str, item: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(item, Mapping):
        raise ConfigError(f"{name} is {item!r}", expected="a table per star", path=where)
    return item


def identify_star(row: Row, known: Mapping[str, Reference]) -> str:
    """Name of the star that a row is of, by its target, else by its file; empty if unknown."""
    target, file = star_key(row.target), Path(row.file).name.casefold()
    for name, reference in known.items():
        if target and target in map(star_key, reference.targets):
            return name
    for name, reference in known.items():
        if any(fnmatchcase(file, pattern.casefold()) for pattern in reference.files):
            return name
    return ""


def compare(row: Row, known: Mapping[str, Reference]) -> StarResult:
    """Compare one row with the literature.

    Returns
    -------
    StarResult
        ``right`` is True when a star that can be described is ``ok`` or one that cannot is
        flagged, None when the star is unknown or its file failed.
    """
    star = identify_star(row, known)
    reference = known.get(star)
    right = None
    if reference is not None and row.status != "failed":
        right = (row.status == "ok") == reference.inside
    labels = {name: _compare(row, reference, name) for name in NAMES}
    return StarResult(row.file, star, row.status, row.flag_text, row.message, right, labels)


def _compare(row: Row, reference: Reference | None, name: str) -> Comparison:
    value, sigma = getattr(row, name), getattr(row, f"{name}_err")
    wanted = getattr(reference, name) if reference is not None else None
    expected, error = wanted or (math.nan, math.nan)
    difference = value - expected
    return Comparison(value, expected, difference, difference / math.hypot(sigma, error))

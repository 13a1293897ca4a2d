"""Reader of spectra in text files: two or three columns with blanks, commas, tabs or semicolons."""

from __future__ import annotations

import io
import re
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from harpsstar.errors import ReadError, WrongProductError
from harpsstar.io.axis import in_angstrom
from harpsstar.io.build import Array, Reading
from harpsstar.io.columns import Column, has_wavelength, roles_of
from harpsstar.io.given import Given
from harpsstar.io.plain import MIN_PIXELS, facts_of, plain_reading
from harpsstar.io.tables import arrays_of

__all__ = ["looks_like_spectrum", "looks_like_text", "read_text"]

_COMMENTS = ("#", "%", "!", ";", "//", "\\")
_NUMBER = re.compile(
    r"[-+]?(\d+\.?\d*|\.\d+)([eEdD][-+]?\d+)?|[-+]?(nan|inf(inity)?)|null|--", re.IGNORECASE
)
#: Characters from which the layout is told.
_BEGINNING = 65536
#: A third column is an error where it is smaller than this part of the flux.
_ERROR_SHARE = 0.5
_EXPECTED = "two or three columns: wavelength, flux and, if known, its error"


@dataclass(frozen=True)
class _Layout:
    """``delimiter`` is None for blanks; ``skip`` counts lines before the data."""

    delimiter: str | None
    skip: int
    columns: int
    names: tuple[str, ...]
    comma: bool = False


def looks_like_text(data: bytes) -> bool:
    """Whether the beginning of a file is readable text."""
    beginning = data[:4096]
    if not beginning.strip() or b"\0" in beginning:
        return False
    printable = sum(byte >= 32 or byte in b"\t\r\n\f" for byte in beginning)
    return printable / len(beginning) > 0.98


def looks_like_spectrum(data: bytes) -> bool:
    """Whether the beginning of a text file can be that of a spectrum: columns that fit, rising."""
    try:
        lines = _decoded(data[:_BEGINNING]).splitlines()
        layout = _layout(lines, "")
        table = _numbers(lines[:-1] if len(data) >= _BEGINNING else lines, layout, "")
    except ReadError:
        return False
    if layout.names:
        return has_wavelength([Column(name) for name in layout.names])
    steps = np.diff(table[:, 0])
    return len(table) > 10 and bool((steps >= 0).mean() > 0.8 or (steps <= 0).mean() > 0.8)


def read_text(data: bytes, path: str, given: Given) -> Reading:
    """Read a spectrum from a text file.

    Lines that begin with ``#``, ``%``, ``!``, ``;`` or ``//`` are comments. A line of names says
    which columns are what; without one they are wavelength, flux and, where the numbers fit, error.

    Parameters
    ----------
    data : bytes
        The whole file.
    path : str
        Its path, for messages.
    given : Given
        What the user says.

    Raises
    ------
    ReadError
        No columns of numbers, or no usable pixel.
    WrongProductError
        A table without wavelengths.
    """
    lines = _decoded(data).splitlines()
    layout = _layout(lines, path)
    table = _numbers(lines, layout, path)
    if len(table) < MIN_PIXELS:
        raise ReadError(f"a text file with {len(table)} rows of numbers",
                        expected=f"{_EXPECTED}, at least {MIN_PIXELS} rows", path=path)  # fmt: skip
    names = [Column(name, _unit_of(name)) for name in layout.names]
    if names and not has_wavelength(names):
        raise WrongProductError(
            f"a table with the columns {', '.join(layout.names)[:120]}",
            expected=_EXPECTED, hint="leave this file out", path=path or None,
        )  # fmt: skip
    frame = ""
    if names:
        found = arrays_of({i: table[:, i] for i in roles_of(names).values()}, names, path)
        wave, flux, sigma, mask = found.wave, found.flux, found.sigma, found.mask
        notes, medium, frame = list(found.notes), found.medium, found.frame
    else:
        wave, flux, sigma, notes = _by_position(table)
        mask, medium = ~np.isfinite(flux), ""
    said = replace(facts_of({}, "text", path), medium=medium, frame=frame,
                   notes=tuple(notes))  # fmt: skip
    return plain_reading(wave, flux, sigma, mask, {}, said, given)


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _split(line: str, delimiter: str | None) -> list[str]:
    return [word.strip() for word in line.split(delimiter)]


def _layout(lines: list[str], path: str) -> _Layout:
    """Find the first lines of numbers, what separates their columns, and the names above them."""
    for number, line in enumerate(lines[:2000]):
        if not line.strip() or line.lstrip().startswith(_COMMENTS):
            continue
        for delimiter, comma in (("\t", False), (";", True), (",", False), (None, False)):
            words = _split(line, delimiter)
            if comma:
                words = [word.replace(",", ".") for word in words]
            if len(words) >= 2 and all(_NUMBER.fullmatch(word) for word in words if word):
                if sum(bool(word) for word in words) < 2:
                    continue
                names = _names_above(lines[:number], len(words), delimiter)
                return _Layout(delimiter, number, len(words), names, comma)
    ecsv = bool(lines) and lines[0].upper().startswith("# %ECSV")
    what = "an ECSV table without wavelengths and fluxes" if ecsv else (
        "not a FITS file, and text without columns of numbers")
    raise WrongProductError(what, expected=_EXPECTED, hint="leave this file out", path=path or None)


def _names_above(lines: list[str], count: int, delimiter: str | None) -> tuple[str, ...]:
    """Names of the columns from the last line with text above the numbers, commented or not."""
    for line in reversed([line for line in lines if line.strip()][-3:]):
        text = line.strip().lstrip("#%!;/\\").strip()
        for separator in dict.fromkeys((delimiter, ",", None)):
            words = [word.strip("\"' ") for word in _split(text, separator)]
            columns = [Column(word, _unit_of(word)) for word in words]
            if len(words) == count and has_wavelength(columns):
                return tuple(words)
        if not line.lstrip().startswith(_COMMENTS):
            words = [word.strip("\"' ") for word in _split(text, delimiter)]
            return tuple(words) if len(words) == count else ()
    return ()


def _unit_of(name: str) -> str:
    found = re.search(r"[\[(]\s*([^\])]+?)\s*[\])]", name)
    return found.group(1) if found else ""


def _numbers(lines: list[str], layout: _Layout, path: str) -> Array:
    """Numbers of all lines, (n, columns); lines with another number of words are left out."""
    rows = [line for line in lines[layout.skip :]
            if line.strip() and not line.lstrip().startswith(_COMMENTS)]  # fmt: skip
    if layout.comma:
        rows = [line.replace(",", ".") for line in rows]
    try:
        return np.loadtxt(io.StringIO("\n".join(rows)), delimiter=layout.delimiter, ndmin=2)
    except ValueError:
        pass
    kept = [words for row in rows if len(words := _split(row, layout.delimiter)) == layout.columns]
    values = np.array([[_number(word) for word in words] for words in kept], dtype=float)
    if len(kept) < 0.9 * len(rows) or not len(kept):
        common = Counter(len(_split(row, layout.delimiter)) for row in rows).most_common(1)
        raise ReadError(
            f"a text file whose lines differ: {len(kept)} of {len(rows)} have "
            f"{layout.columns} columns (most have {common[0][0] if common else 0})",
            expected=_EXPECTED, path=path,
        )  # fmt: skip
    return values


def _number(word: str) -> float:
    try:
        return float(word.replace("D", "E").replace("d", "e"))
    except ValueError:
        return float("nan")


def _by_position(table: Array) -> tuple[Array, Array, Array | None, list[str]]:
    """Wavelength, flux and error of a table whose columns have no names."""
    notes = []
    wave, guessed = in_angstrom(table[:, 0], "")
    if guessed:
        notes.append(guessed)
    flux = table[:, 1]
    if table.shape[1] == 2:
        return wave, flux, None, notes
    third = table[:, 2]
    level = np.nanmedian(np.abs(flux))
    if np.nanmin(third) >= 0 and 0 < np.nanmedian(third) < _ERROR_SHARE * level:
        notes.append("third column used as the error of the flux")
        return wave, flux, third, notes
    notes.append("third column not used: its numbers cannot be errors of the flux")
    return wave, flux, None, notes

"""A line list of the user's own: an extract of VALD3 as it comes by mail or from its pages.

"Extract stellar", "all" or "element", in the short or the long format, wavelengths in air or in
vacuum, energies in eV or cm⁻¹, oscillator strengths scaled by the solar isotopic ratios or not: all
this is read from the header and the footnotes of the file, never guessed.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np

from harpsstar.errors import ReadError
from harpsstar.model.linelist import DTYPE, LineArray, air_from_vacuum, configuration

__all__ = ["NEEDED", "grid_lines", "read_vald"]

#: Air wavelengths [Å] that an extract has to reach for the grid.
NEEDED = (5010.0, 5410.0)
#: Value of the field ``source``.
SOURCE = "vald"
# An extract whose first and last line lie this near to the ends of what is needed may be complete.
_SLACK = 10.0
_CM_PER_EV = 8065.544
_HINT = "send for the extract again, and save it as it is"

_HEADER = re.compile(r"WL_(air|vac)\((A|nm|cm\^-1)\)")
_ENERGY = re.compile(r"(?:Excit|E_low)\((eV|cm\^-1)\)")
_COUNT = re.compile(r"\s*[\d.]+\s*,\s*[\d.]+\s*,\s*(\d+)\s*,")
_LINE = re.compile(r"'\s*([A-Z][A-Za-z0-9]*)\s+(\d+)\s*'\s*,(.*)")
_ISOTOPE = re.compile(r"\((\d{1,3})\)([A-Z][a-z]?)")
_SCALED = re.compile(r"oscillator strengths were (NOT )?scaled by the solar isotopic ratios", re.I)


@dataclass(frozen=True)
class _Layout:
    """What the header says.

    Attributes
    ----------
    long : bool
        Four lines of text for each spectral line instead of one.
    columns : tuple of str
        Numbers after the species; those without a name of :data:`DTYPE` are passed over.
    vacuum : bool
        Wavelengths in vacuum.
    wave_unit, energy_unit : str
        ``A``, ``nm`` or ``cm^-1``; ``eV`` or ``cm^-1``.
    first : int
        Where lines begin, index into the file's lines.
    count : int or None
        How many there should be; extracts of "all" do not say.
    """

    long: bool
    columns: tuple[str, ...]
    vacuum: bool
    wave_unit: str
    energy_unit: str
    first: int
    count: int | None


def read_vald(path: str | Path, needed: tuple[float, float] = NEEDED) -> LineArray:
    """Read an extract of VALD.

    Parameters
    ----------
    path : str or Path
        The file.
    needed : (float, float)
        Air wavelengths [Å] that it has to cover.

    Returns
    -------
    ndarray of :data:`harpsstar.model.linelist.DTYPE`
        All its lines, sorted by air wavelength, with oscillator strengths scaled by isotopic
        shares.

    Raises
    ------
    ReadError
        No extract of VALD, truncated, a line that cannot be read, or other wavelengths.
    """
    path = Path(path)
    lines = _text(path)
    layout = _layout(lines, path)
    stop = _end(lines, layout, path)
    scaled = _is_scaled(lines[stop:], path)
    rows = [
        _record(lines, i, layout, scaled, path)
        for i in range(layout.first, stop, 4 if layout.long else 1)
    ]
    extract = np.array(rows, dtype=DTYPE)
    if layout.vacuum or layout.wave_unit == "cm^-1":
        extract["wavelength"] = air_from_vacuum(extract["wavelength"])
    extract = extract[np.argsort(extract["wavelength"], kind="stable")]
    low, high = (float(extract["wavelength"][i]) for i in (0, -1))
    if low > needed[0] + _SLACK or high < needed[1] - _SLACK:
        raise ReadError(
            f"lines from {low:.1f} to {high:.1f} Å (air)", path=path,
            expected=f"an extract of {needed[0]:.0f} to {needed[1]:.0f} Å or more",
        )  # fmt: skip
    return extract


def grid_lines(path: str | Path) -> LineArray:
    """Read those lines of an extract that the grid is computed from, as :func:`read_vald`."""
    lines = read_vald(path)
    ends = configuration()["range"]
    wave = lines["wavelength"]
    return lines[(wave > ends["low"]) & (wave < ends["high"])]


def _text(path: Path) -> list[str]:
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except OSError as error:
        raise ReadError(
            f"cannot be read ({error.strerror})", expected="an extract of VALD", path=path
        ) from None
    for number, text in enumerate(lines[:3], 1):
        if "WARNING" in text:
            raise ReadError(
                f"line {number} says {text.strip()!r}", expected="a complete extract", path=path,
                hint="ask VALD for fewer wavelengths or a higher limit of depth",
            )  # fmt: skip
    return lines


def _layout(lines: list[str], path: Path) -> _Layout:
    """Read the header.

    Raises
    ------
    ReadError
        There is none of the kinds known.
    """
    index = next((i for i, text in enumerate(lines[:6]) if _HEADER.search(text)), None)
    if index is None:
        raise ReadError(
            "no header in the first lines", path=path, hint=_HINT,
            expected="a line with the columns of VALD: Spec Ion, WL_air(A) or WL_vac(A), …",
        )  # fmt: skip
    text = lines[index]
    wave, energy = _HEADER.search(text), _ENERGY.search(text)
    assert wave is not None
    if energy is None:
        raise ReadError(
            f"line {index + 1}: no energy of the lower level", path=path,
            expected="a column Excit(eV), E_low(eV) or the same in cm^-1",
        )  # fmt: skip
    long, depth = "J lo" in text, ("depth",) * ("depth" in text)
    damping = ("gamma_rad", "gamma_stark", "gamma_vdw")
    if long:
        columns = ("wavelength", "log_gf", "excitation", "j_low", "e_up", "j_up", "lande_low",
                   "lande_up", "lande", *damping, *depth)  # fmt: skip
    else:
        columns = ("wavelength", "excitation", *("vmic",) * ("Vmic" in text), "log_gf", *damping,
                   "lande", *depth)  # fmt: skip
    count = _COUNT.match(lines[0]) if index else None
    return _Layout(
        long, columns, wave[1] == "vac", wave[2], energy[1], index + 1,
        int(count[1]) if count else None,
    )  # fmt: skip


def _end(lines: list[str], layout: _Layout, path: Path) -> int:
    """Index after the last line of data.

    Raises
    ------
    ReadError
        There are none, too few, or something else among them.
    """
    step = 4 if layout.long else 1
    index = layout.first
    while index < len(lines) and _LINE.match(lines[index]):
        index += step
    found = (index - layout.first) // step
    later = next((i for i in range(index, len(lines)) if _LINE.match(lines[i])), None)
    if later is not None or index > len(lines):
        at = min(index, len(lines))
        raise ReadError(
            f"line {at + 1}: {_shown(lines, at)}", path=path, hint=_HINT,
            expected=f"{_example(layout)}, as before",
        )  # fmt: skip
    if found == 0 or (layout.count is not None and found != layout.count):
        raise ReadError(
            f"line {index + 1}: the lines end after {found}", path=path, hint=_HINT,
            expected=f"{layout.count or 'some'} lines, each like {_example(layout)}",
        )  # fmt: skip
    return index


def _shown(lines: list[str], index: int) -> str:
    return repr(lines[index][:60]) if index < len(lines) else "the end of the file"


def _example(layout: _Layout) -> str:
    return f"'Fe 1', followed by {len(layout.columns)} numbers"


def _is_scaled(footnotes: list[str], path: Path) -> bool:
    """Whether log gf contains the isotopic shares already.

    Raises
    ------
    ReadError
        The footnotes do not say.
    """
    for text in footnotes:
        match = _SCALED.search(text)
        if match:
            return match[1] is None
    raise ReadError(
        "no footnote on isotopic scaling: the file is not complete",
        path=path,
        hint=_HINT,
        expected="'* oscillator strengths were (NOT) scaled by the solar isotopic ratios.'",
    )


def _record(
    lines: list[str], index: int, layout: _Layout, scaled: bool, path: Path
) -> tuple[str | float, ...]:
    """One spectral line, as :data:`DTYPE` takes it; wavelength in Å of the file's medium."""
    match = _LINE.match(lines[index])
    assert match is not None  # _end has looked
    fields = match[3].split(",", len(layout.columns))
    try:
        numbers = [float(field) for field in fields[: len(layout.columns)]]
    except ValueError as error:
        raise _unreadable(index, str(error), layout, path) from None
    if len(numbers) < len(layout.columns):
        raise _unreadable(index, f"{len(numbers)} numbers", layout, path)
    value = dict(zip(layout.columns, numbers, strict=True))
    wave, energy = value["wavelength"], value["excitation"]
    if not (wave > 0 and energy >= 0):
        raise _unreadable(index, f"wavelength {wave:g}, energy {energy:g}", layout, path)
    wave = {"A": wave, "nm": 10 * wave, "cm^-1": 1e8 / wave}[layout.wave_unit]
    if layout.energy_unit == "cm^-1":
        energy /= _CM_PER_EV
    log_gf = value["log_gf"]
    if not scaled:
        where = index + 3 if layout.long else index
        reference = lines[where] if layout.long else fields[-1]
        log_gf += float(np.log10(_share(reference, where, path)))
    return (f"{match[1]} {match[2]}", wave, energy, log_gf, value["gamma_rad"],
            value["gamma_stark"], value["gamma_vdw"], SOURCE)  # fmt: skip


def _unreadable(index: int, found: str, layout: _Layout, path: Path) -> ReadError:
    return ReadError(f"line {index + 1}: {found}", expected=_example(layout), hint=_HINT, path=path)


def _share(reference: str, index: int, path: Path) -> float:
    """Share of the isotopologue that a reference names, such as ``(48)Ti(16)O``; 1 without one.

    A molecule of two different isotopes of one element can be put together in two ways.

    Raises
    ------
    ReadError
        An isotope that does not occur.
    """
    isotopes = [(element, mass) for mass, element in _ISOTOPE.findall(reference)]
    share = 1.0
    for element, mass in isotopes:
        known = _shares().get(element, {mass: 1.0})  # an element of one isotope is not listed
        if mass not in known:
            raise ReadError(
                f"line {index + 1}: isotope ({mass}){element}", path=path,
                expected=f"one of {', '.join(f'({m}){element}' for m in known)}",
            )  # fmt: skip
        share *= known[mass]
    twins = len(isotopes) == 2 and isotopes[0][0] == isotopes[1][0]
    return share * (2.0 if twins and isotopes[0] != isotopes[1] else 1.0)


@cache
def _shares() -> dict[str, dict[str, float]]:
    """Shares of ``isotopes.toml`` by element and mass number."""
    text = resources.files("harpsstar.grid").joinpath("isotopes.toml").read_text("utf-8")
    return tomllib.loads(text)

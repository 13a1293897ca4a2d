"""Wavelengths of a pixel axis from the cards of a FITS image."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits

from harpsstar.errors import ReadError
from harpsstar.io.build import Array
from harpsstar.io.cards import as_written
from harpsstar.io.headers import number

__all__ = ["in_angstrom", "is_wavelength_axis", "linear_axis", "unit_factor"]

#: Spectral types and algorithms of FITS paper III (Greisen et al. 2006, A&A 446, 747).
_PAPER_3 = re.compile(r"(WAVE|AWAV|FREQ|ENER|WAVN)(-(LOG|TAB|GRI|GRA|[FWAV]2[FWAV]))?")
#: What axes of other kinds are called.
_OTHER = re.compile(r"(KM|M)/S.*|V(ELO|RAD|OPT).*|PIXEL.*|RA-.*|DEC-.*|.LON-.*|.LAT-.*|TIME.*")
#: Starts of logarithmic axes that nothing declares: of log10 and of ln of 2000 to 10,000 Å.
_LOG10, _LN = (3.3, 4.0), (7.6, 9.22)


def is_wavelength_axis(cards: Mapping[str, Any]) -> bool:
    """Whether the first axis can be one of wavelengths, as far as its cards say."""
    kind = str(cards.get("CTYPE1", "")).strip().upper()
    declared = "CRVAL1" in cards or "WAT1_001" in cards or "WAT2_001" in cards
    return declared and not _OTHER.fullmatch(kind)


def linear_axis(header: Mapping[str, Any], size: int, path: str) -> tuple[Array, str, list[str]]:
    """Wavelengths of a linear, logarithmic or otherwise computed axis.

    Parameters
    ----------
    header : mapping
        With CRVAL1, CDELT1 or CD1_1, CRPIX1; CTYPE1 and CUNIT1 or IRAF's DC-FLAG where needed.
    size : int
        Pixels.
    path : str
        For messages.

    Returns
    -------
    wave : ndarray (size,)
        Å.
    medium : str
        ``"air"`` or ``"vacuum"`` where CTYPE1 says it (AWAV, or any other type of paper III).
    notes : list of str

    Raises
    ------
    ReadError
        No rising or falling axis of optical wavelengths.
    """
    kind = str(header.get("CTYPE1", "")).strip().upper()
    values = _values(header, size)
    medium, notes = "", []
    if _PAPER_3.fullmatch(kind):
        wave = _computed(header, size, path)
        medium = "air" if kind.startswith("AWAV") else "vacuum"
    else:
        values, note = _logarithms(header, values)
        notes += [note] if note else []
        wave, guessed = in_angstrom(values, _named_unit(header))
        notes += [guessed] if guessed else []
    steps = np.diff(wave)
    monotonic = steps.size > 0 and ((steps > 0).all() or (steps < 0).all())
    if not (np.isfinite(wave).all() and monotonic and wave.min() > 1000 and wave.max() < 100_000):
        raise ReadError(
            f"no wavelength axis ({_told(header)})",
            expected="rising optical wavelengths",
            path=path,
        )
    return wave, medium, notes


def _values(header: Mapping[str, Any], size: int) -> Array:
    start = number(header.get("CRVAL1"))
    step = number(header.get("CDELT1", header.get("CD1_1")))
    reference = number(header.get("CRPIX1", 1.0 if not as_written(header, "CRPIX1") else None))
    return np.asarray(start + step * (np.arange(size) + 1.0 - reference), dtype=float)


def _told(header: Mapping[str, Any]) -> str:
    """The cards of an axis as they stand in the header."""
    names = ("CRVAL1", "CDELT1", "CD1_1", "CRPIX1", "CTYPE1")
    found = {name: as_written(header, name) for name in names}
    return ", ".join(f"{name} = {text}" for name, text in found.items() if text) or "no CRVAL1"


def _logarithms(header: Mapping[str, Any], values: Array) -> tuple[Array, str]:
    """Powers where the axis is logarithmic, and a note where only the numbers say so."""
    declared = str(header.get("DC-FLAG", "0")).strip() == "1"
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = (values.min(), values.max()) if values.size else (np.nan, np.nan)
        if declared or (low > _LOG10[0] and high < _LOG10[1]):
            return 10.0**values, "" if declared else "axis taken for log10 of wavelength in Å"
        if low > _LN[0] and high < _LN[1]:
            return np.exp(values), "axis taken for ln of wavelength in Å"
    return values, ""


def _computed(header: Mapping[str, Any], size: int, path: str) -> Array:
    """Wavelengths by astropy.wcs, Å."""
    from astropy.wcs import WCS

    cards = fits.Header()
    for name in ("CTYPE1", "CUNIT1", "CRVAL1", "CDELT1", "CD1_1", "CRPIX1", "PV1_0", "PV1_1",
                 "PV1_2", "RESTFRQ", "RESTWAV"):  # fmt: skip
        if name in header:
            cards[name] = header[name]
    if not str(cards.get("CUNIT1", "")).strip() and str(cards["CTYPE1"])[:4] in ("WAVE", "AWAV"):
        # Paper III: metres. Whoever leaves the unit out writes Å.
        cards["CUNIT1"] = "Angstrom" if float(cards.get("CRVAL1", 0.0)) > 1000 else "m"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wcs = WCS(cards, naxis=1)
            world = wcs.all_pix2world(np.arange(size, dtype=float), 0)[0]
            unit = wcs.wcs.cunit[0]
        wave: Array = u.Quantity(world, unit).to_value(u.AA, equivalencies=u.spectral())
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise ReadError(
            f"no wavelength axis (CTYPE1 = {header.get('CTYPE1')!r}: {str(error).strip()[:100]})",
            expected="rising optical wavelengths", path=path,
        ) from error  # fmt: skip
    return wave


def _named_unit(header: Mapping[str, Any]) -> str:
    for name in ("CUNIT1", "CTYPE1"):
        text = str(header.get(name, "")).strip()
        if unit_factor(text) is not None:
            return text
    # IRAF: wtype=linear label=Wavelength units=nanometers
    found = re.search(r"units=(\w+)", str(header.get("WAT1_001", "")))
    return found.group(1) if found else ""


def unit_factor(text: str) -> float | None:
    """Å in a unit of length, in any usual spelling; None where the text is none."""
    text = text.strip()
    for candidate in (text, text.lower(), text.lower().rstrip("s"), text.capitalize()):
        if not candidate:
            return None
        try:
            return float(u.Unit(candidate).to(u.AA))
        except (ValueError, TypeError, u.UnitConversionError):
            continue
    return None


def in_angstrom(values: Array, unit: str) -> tuple[Array, str]:
    """Wavelengths in Å by a unit, or by their numbers; then the second value is a note."""
    factor = unit_factor(unit)
    if factor is not None:
        return values * factor, ""
    known = values[np.isfinite(values)]
    middle = float(np.median(known)) if known.size else np.nan
    if 250.0 < middle < 1200.0:
        return values * 10.0, f"wavelengths of {known.min():.0f} to {known.max():.0f} taken for nm"
    if 0.25 < middle < 1.2:
        return values * 1e4, f"wavelengths of {known.min():.3f} to {known.max():.3f} taken for µm"
    if 2.5e-7 < middle < 1.2e-6:
        return values * 1e10, "wavelengths taken for metres"
    return values, ""

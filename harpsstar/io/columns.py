"""Which columns of a table are wavelength, flux, error and quality: by name, unit or UCD."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Column", "columns_of_header", "find", "has_wavelength", "is_barycentric",
           "roles_of"]

_NAMES: dict[str, re.Pattern[str]] = {
    "wave": re.compile(
        r"(wave(length|obs|len)?s?|lambdas?|lam|wl|wvl|ll|spectral_axis|awav|bary_wavelength)"
        r"(_?(air|vac(uum)?|bary|angstroms?|aa|nm|um|obs|rest))*"
    ),
    "logwave": re.compile(r"log_?(10_?)?(lam(bda)?|wave(length)?|wl)"),
    "flux": re.compile(
        r"(flux(es)?|spec(trum)?|intensity|counts|f_?lambda|signal|norm(alised|alized)?_?flux|"
        r"flux_?(norm|cal|el|reduced|corr)|flx|i|f)"
    ),
    "error": re.compile(
        r"(e_?flux|err(or)?s?|(flux_?)?(err(or)?|sigma|unc(ertainty)?|std)|sig(ma)?|e|d_?flux|"
        r"uncertaint(y|ies)|noise|err(or)?_?(flux|norm|cal|el|reduced)|s_?flux|rms)"
    ),
    "ivar": re.compile(r"(ivar|inv_?var(iance)?|weight)s?"),
    "variance": re.compile(r"var(iance)?s?"),
    "quality": re.compile(r"(qual(ity)?|flags?|(pixel_?)?mask|dq|bad(_?pix(els?)?)?|qual_el)"),
}  # fmt: skip
#: Role by the beginning of a UCD (IVOA UCD1+; ESO Science Data Products Standard).
_UCDS = (("em.wl", "wave"), ("stat.error;phot.flux", "error"), ("meta.code.qual", "quality"),
         ("phot.flux", "flux"), ("arith.ratio;phot.flux", "flux"))  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column as its file describes it."""

    name: str
    unit: str = ""
    ucd: str = ""


def is_barycentric(column: Column) -> bool:
    """Whether the name of a column of wavelengths says that they are barycentric."""
    return "bary" in column.name.lower()


def columns_of_header(cards: Mapping[str, Any]) -> list[Column]:
    """Columns of a FITS table from its header."""
    try:
        count = min(int(cards.get("TFIELDS", 0)), 999)
    except (TypeError, ValueError):
        count = 0
    return [
        Column(*(str(cards.get(f"{word}{i}", "")).strip() for word in ("TTYPE", "TUNIT", "TUCD")))
        for i in range(1, count + 1)
    ]


def find(columns: Sequence[Column], role: str) -> int | None:
    """Index of the first column with a role (a key of the names above); None if there is none.

    A name decides before a UCD, and a UCD before a unit of length, which makes a wavelength.
    """
    named = [i for i, column in enumerate(columns) if _NAMES[role].fullmatch(_plain(column.name))]
    if named:
        # Of two wavelengths the barycentric one.
        return min(named, key=lambda i: not is_barycentric(columns[i]))
    for i, column in enumerate(columns):
        if _by_ucd(column.ucd) == role:
            return i
    if role == "wave":
        from harpsstar.io.axis import unit_factor

        for i, column in enumerate(columns):
            if column.unit and unit_factor(column.unit) is not None:
                return i
    return None


def roles_of(columns: Sequence[Column]) -> dict[str, int]:
    """Index of the column of every role that is there."""
    found = {role: find(columns, role) for role in _NAMES}
    return {role: index for role, index in found.items() if index is not None}


def has_wavelength(columns: Sequence[Column]) -> bool:
    """Whether a table can be a spectrum: it has wavelengths and fluxes."""
    roles = roles_of(columns)
    return "flux" in roles and ("wave" in roles or "logwave" in roles)


def _plain(name: str) -> str:
    """Lower case, without a unit in brackets and with underscores for what separates words."""
    name = re.sub(r"[\[(].*?[\])]", "", name.strip().lower())
    return re.sub(r"[\s.\-]+", "_", name).strip("_ \"'#")


def _by_ucd(ucd: str) -> str:
    text = ucd.replace(" ", "").lower()
    return next((role for start, role in _UCDS if text.startswith(start)), "")

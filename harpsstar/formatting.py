"""Numbers as people read them: with the digits that their errors leave, everywhere the same."""

from __future__ import annotations

import math
from typing import Any

#: What is written where nothing is known.
UNKNOWN = "–"
#: Digits of an error.
_DIGITS = 2
#: Decimals where there is no error, and quantities that are written with their sign.
_DECIMALS = {"teff": 0, "logg": 2, "m_h": 2, "vsini": 1, "rv": 3, "vmic": 2, "vmac": 2,
             "alpha": 2, "snr": 0}  # fmt: skip
_SIGNED = frozenset(("m_h",))


def plain(value: float, form: str = ".3g") -> str:
    """Return a number without an error in a format, and a dash for one that is not known.

    >>> plain(0.0123456), plain(math.nan), plain(2.0, "+.2f")
    ('0.0123', '–', '+2.00')
    """
    return f"{value:{form}}" if math.isfinite(value) else UNKNOWN


def with_error(
    name: str, value: float, error: float = math.nan, *, sign: bool | None = None
) -> str:
    """Return a value with its error, which has two digits, and the value as many decimals.

    Parameters
    ----------
    name : str
        A label, ``rv``, ``snr`` or any other quantity.
    value, error : float
        In the same unit; an error that is unknown or zero is left out.
    sign : bool, optional
        Whether a positive value has its sign; by default m_h alone.

    >>> with_error("rv", 12.30118, 0.00112)
    '12.3012 ± 0.0011'
    >>> with_error("teff", 5771.6, 70.2), with_error("m_h", 0.0004, 0.0907)
    ('5772 ± 70', '+0.000 ± 0.091')
    """
    if not math.isfinite(value):
        return UNKNOWN
    plus = "+" if (name in _SIGNED if sign is None else sign) else ""
    if not (math.isfinite(error) and error > 0):
        return _unsigned_zero(f"{value:{plus}.{_DECIMALS.get(name, 2)}f}")
    places = decimals(error)
    return _unsigned_zero(f"{value:{plus}.{places}f}") + f" ± {error:.{places}f}"


def decimals(error: float) -> int:
    """Return how many decimals show two digits of an error; 0 for one of 10 or more."""
    # Rounded first: 0.0999 is 0.10, not 0.100.
    exponent = int(f"{error:.{_DIGITS - 1}e}".partition("e")[2])
    return max(0, _DIGITS - 1 - exponent)


def _unsigned_zero(text: str) -> str:
    """Return a number without the minus that rounding to zero from below leaves."""
    return text.removeprefix("-") if not text.strip("-0.") else text


def printable(value: Any) -> str:
    """Return text that every format can hold.

    Control characters and undecoded bytes are escaped; blanks at the ends, which FITS and VOTable
    lose, are taken off.
    """
    text = "" if value is None else str(value).strip()
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )

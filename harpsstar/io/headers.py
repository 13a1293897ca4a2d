"""What a header says: which product, which instrument, and single values with good errors."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harpsstar.errors import ReadError, UnknownInstrumentError, WrongProductError
from harpsstar.instruments import Instrument, prefixes
from harpsstar.io.cards import as_written

__all__ = ["EXPECTED", "Cards", "canonical_snr", "classify", "is_pipeline_spectrum", "number",
           "refuse_calibration"]

#: First word of DPR TYPE (what fibre A saw) of frames that hold no star.
_CALIBRATIONS = frozenset(
    ("BIAS", "CONTAM", "DARK", "DOME", "EFF", "FLAT", "FP", "LAMP", "LED", "LFC", "ORDERDEF")
    + ("THAR", "TUN", "WAVE")
)
#: A number of FITS; Python would also take "nan", "inf" and "1_000" for one.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([EeDd][+-]?\d+)?", re.ASCII)
_SPECTRUM = re.compile(r"((S2D_BLAZE|S2D|S1D)(_SKYSUB|_TELL_CORR|_FLUXCAL)*)(_FINAL)?_A")
EXPECTED = "a star's spectrum: a pipeline product of fibre A, or any with wavelength and flux"
_OLD_NAMES = {"LAMP": "blaze or flat-field frame", "WAVE": "wavelength calibration"}
#: Between which wavelengths [Å] the centres of the eight canonical rows lie.
_CANONICAL = (5030.0, 5400.0)


def classify(cards: Mapping[str, Any], path: str = "") -> str:
    """Tell from a primary header which product a file is.

    Parameters
    ----------
    cards : mapping
        Keyword to value, ``HIERARCH`` left out.

    Returns
    -------
    str
        ``"e2ds"``, ``"s1d"``, ``"S2D"``, ``"S2D_BLAZE"`` or ``"S1D"``; those of the new pipeline
        with what was done to them, as ``"S1D_SKYSUB"``.

    Raises
    ------
    WrongProductError
        A product without a stellar spectrum of fibre A.
    """
    category = _first(cards, "PRO CATG")
    if category:
        return _new(category, cards, path)
    return _old(cards, path)


def is_pipeline_spectrum(cards: Mapping[str, Any]) -> bool:
    """Tell whether a header names a spectrum of the new pipeline."""
    return bool(_SPECTRUM.fullmatch(_first(cards, "PRO CATG")))


def _new(category: str, cards: Mapping[str, Any], path: str) -> str:
    match = _SPECTRUM.fullmatch(category)
    if match:
        refuse_calibration(cards, path)
        return match.group(1)
    raise _wrong(f"product {category}", path)


def _old(cards: Mapping[str, Any], path: str) -> str:
    axes = str(cards.get("NAXIS", "0"))
    unit = str(cards.get("CTYPE1", "")).lower()
    if unit.startswith("km"):
        raise _wrong("cross-correlation function (ccf) or bisector", path)
    refuse_calibration(cards, path)
    blaze = _first(cards, "DRS BLAZE FILE")
    if re.search(r"_B\b", blaze.partition("blaze")[2]):
        raise _wrong("spectrum of fibre B", path)
    if axes == "1" or (axes == "2" and str(cards.get("NAXIS2", "")) == "1"):
        return "s1d"
    if axes == "2":
        return "e2ds"
    raise _wrong("raw frame or unknown product (no PRO CATG card)", path)


def refuse_calibration(cards: Mapping[str, Any], path: str) -> None:
    """Refuse what no star was seen in.

    Raises
    ------
    WrongProductError
        A calibration frame.
    """
    kind = _first(cards, "DPR TYPE")
    source = kind.upper().partition(",")[0]
    if source in _CALIBRATIONS:
        name = _OLD_NAMES.get(source, "calibration frame")
        raise _wrong(f"{name} (DPR TYPE = {kind})", path)


def _wrong(found: str, path: str) -> WrongProductError:
    return WrongProductError(
        found, expected=EXPECTED, hint="leave this file out", path=path or None
    )


def _first(cards: Mapping[str, Any], ending: str) -> str:
    for prefix in dict.fromkeys(("ESO", *prefixes())):
        value = cards.get(f"{prefix} {ending}")
        if value is not None:
            return str(value).strip()
    return ""


@dataclass(frozen=True)
class Cards:
    """A header read through an instrument's card names.

    Attributes
    ----------
    header : mapping
        The primary header.
    names : mapping
        Meaning to card name, of one pipeline generation.
    path : str
        For error messages.
    """

    header: Mapping[str, Any]
    names: Mapping[str, Any]
    path: str = ""

    @classmethod
    def of(cls, header: Mapping[str, Any], instrument: Instrument, kind: str, path: str) -> Cards:
        """Choose the card names of one pipeline generation (``"old"`` or ``"new"``).

        Raises
        ------
        UnknownInstrumentError
            This pipeline generation is not described for the instrument.
        """
        if kind not in instrument.cards:
            raise UnknownInstrumentError(
                f"a product of the {kind} pipeline of {instrument.name}",
                expected=f"products of the {', '.join(instrument.cards)} pipeline",
                path=path,
            )
        return cls(header, instrument.cards[kind], path)

    def name(self, meaning: str, **numbers: int) -> str:
        """Card name with this meaning; empty when this instrument has none."""
        return str(self.names.get(meaning, "")).format(**numbers)

    def text(self, meaning: str, **numbers: int) -> str:
        """Text of the first card present among those with this meaning, else empty."""
        for name in _listed(self.names.get(meaning, ())):
            value = self.header.get(name.format(**numbers))
            if isinstance(value, str | int | float) and str(value).strip():
                return str(value).strip()
        return ""

    def number(self, meaning: str, default: float = np.nan, **numbers: int) -> float:
        """Value of the first finite card among those with this meaning, else the default."""
        for name in _listed(self.names.get(meaning, ())):
            value = number(self.header.get(name.format(**numbers)))
            if np.isfinite(value):
                return value
        return default

    def required(self, meaning: str, what: str, **numbers: int) -> float:
        """Value of a card without which the file is of no use.

        Raises
        ------
        ReadError
            The card is missing or no finite number.
        """
        value = self.number(meaning, **numbers)
        if not np.isfinite(value):
            name = self.name(meaning, **numbers)
            found = as_written(self.header, name)
            raise ReadError(
                f"no usable card {name!r} ({what})" + (f": {found!r}" if found else ""),
                expected="the whole header of the pipeline product",
                hint="fetch the product again",
                path=self.path,
            )
        return value

    def snr(self, n_orders: int) -> tuple[float, ...]:
        """Signal to noise of every order, empty when the header has none."""
        values = [self.number("snr", row=i, order=i + 1) for i in range(n_orders)]
        return tuple(values) if np.isfinite(values).any() else ()


def canonical_snr(snr_orders: tuple[float, ...], instrument: Instrument) -> float:
    """Median signal to noise of the orders around 5200 Å, nan when unknown."""
    if not snr_orders:
        return float("nan")
    low, high = _CANONICAL
    pairs = zip(snr_orders, instrument.blaze_constant / instrument.order_m, strict=False)
    values = [s for s, centre in pairs if low < centre < high and np.isfinite(s) and s > 0]
    return float(np.median(values)) if values else float("nan")


def _listed(names: str | Iterable[str]) -> Iterable[str]:
    return (names,) if isinstance(names, str) else names


def number(value: Any) -> float:
    """Return the value of a card as a finite number; nan when it is none, or is unreadable."""
    if isinstance(value, str):
        text = value.strip()
        value = text.upper().replace("D", "E") if _NUMBER.fullmatch(text) else None
    if isinstance(value, bool):
        return math.nan
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return result if math.isfinite(result) else math.nan

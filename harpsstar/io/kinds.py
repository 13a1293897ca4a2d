"""What a FITS file is, told from its primary header and the first extension's.

Used on the headers that astropy reads and on those of the fast scan alike, so every value may be
text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harpsstar.errors import ReadError, UnknownInstrumentError, WrongProductError
from harpsstar.instruments import Instrument, from_header
from harpsstar.io.axis import is_wavelength_axis
from harpsstar.io.columns import columns_of_header, has_wavelength
from harpsstar.io.headers import EXPECTED, classify, is_pipeline_spectrum, refuse_calibration
from harpsstar.io.iraf import is_multispec
from harpsstar.io.phase3 import is_phase3

__all__ = ["OLD", "ORDERS", "is_old", "kind_of", "uncompressed"]

#: Products of the old pipeline, whose card names are its own.
OLD = ("e2ds", "s1d")
#: Beginnings of the products that hold orders; the others hold one dimension.
ORDERS = ("e2ds", "S2D")
_DRS = " DRS CAL TH DEG LL"
#: Columns that harpsstar's own tables have.
_RESULTS = {"teff", "logg", "m_h", "vsini"}
Cards = Mapping[str, Any]


def is_old(product: str) -> bool:
    """Whether a product is one of the old pipeline."""
    return product in OLD


def kind_of(primary: Cards, extension: Cards | None = None, path: str = "") -> str:
    """Tell which product a file is; see :class:`~harpsstar.io.Observation` for the names.

    Parameters
    ----------
    primary : mapping
        Keyword to value of the primary header, ``HIERARCH`` left out.
    extension : mapping, optional
        That of the first extension, where the primary header has no data.
    path : str
        For messages.

    Raises
    ------
    WrongProductError
        No stellar spectrum of fibre A; the message says what it is.
    ReadError
        Nothing in the file at all.
    """
    extension = extension or {}
    if extension.get("ZIMAGE") and not _axes(primary):
        primary, extension = uncompressed(primary, extension), {}
    instrument = _described(primary)
    if is_phase3(primary, extension):
        refuse_calibration(primary, path)
        return "ADP"
    if is_pipeline_spectrum(primary) and (instrument is not None or "INSTRUME" not in primary):
        return classify(primary, path)
    if str(primary.get("PRODCATG", "")).strip():
        raise _wrong(f"ESO phase 3 product {str(primary['PRODCATG']).strip()}", path)
    axes = _axes(primary)
    if axes:
        return _image(primary, axes, instrument, path)
    return _extension(primary, extension, instrument, path)


def uncompressed(primary: Cards, extension: Cards) -> dict[str, Any]:
    """The header of the image that a tile-compressed table holds."""
    cards = {name: value for name, value in extension.items() if not name.startswith("NAXIS")}
    for name, value in extension.items():
        if name == "ZBITPIX" or name.startswith("ZNAXIS"):
            cards[name[1:]] = value
    return {**primary, **cards}


def _image(cards: Cards, axes: list[int], instrument: Instrument | None, path: str) -> str:
    kind = str(cards.get("CTYPE1", "")).strip().lower()
    if kind.startswith(("km", "m/s")):
        raise _wrong("cross-correlation function (ccf) or bisector", path)
    long = [length for length in axes if length > 1]
    if is_multispec(cards) or (len(long) > 1 and _equispec(cards)):
        refuse_calibration(cards, path)
        return "multispec" if len(long) > 1 else "image"
    if any(str(name).endswith(_DRS) for name in cards) and len(long) == 2:
        return classify(cards, path)
    if instrument is not None and ("old" in instrument.cards or len(long) == 2):
        return classify(cards, path)
    refuse_calibration(cards, path)
    if len(long) == 1 and is_wavelength_axis(cards):
        return "image"
    if not long:
        raise ReadError("no data: an image without pixels", expected=EXPECTED, path=path or None)
    size = " × ".join(map(str, axes))
    where = "" if len(long) == 1 else ", such as a raw frame"
    raise _wrong(f"an image of {size} pixels without a wavelength axis{where}", path)


def _extension(
    primary: Cards, extension: Cards, instrument: Instrument | None, path: str
) -> str:
    xtension = str(extension.get("XTENSION", "")).strip()
    if instrument is not None and xtension != "BINTABLE":
        return classify(primary, path)
    refuse_calibration(primary, path)
    if xtension in ("BINTABLE", "TABLE") and not extension.get("ZIMAGE"):
        columns = columns_of_header(extension)
        if has_wavelength(columns):
            return "table"
        names = [column.name for column in columns]
        if {name.lower() for name in names} >= _RESULTS:
            raise _wrong("a table of results", path)
        raise _wrong(f"a table with the columns {', '.join(names)[:100] or '(none)'}", path)
    if xtension == "IMAGE" and _axes(extension) and is_wavelength_axis(extension):
        return _image({**primary, **extension}, _axes(extension), None, path)
    if not xtension:
        raise ReadError("no data: a primary header and nothing else", expected=EXPECTED,
                        path=path or None)  # fmt: skip
    raise _wrong("no spectrum in the primary HDU or the first extension", path)


def _equispec(cards: Cards) -> bool:
    """IRAF: all rows of an image on one linear axis."""
    return "equispec" in str(cards.get("WAT0_001", "")).lower()


def _axes(cards: Cards) -> list[int]:
    """Lengths of the axes; empty where there are no data."""
    try:
        count = int(str(cards.get("NAXIS", "0")))
        return [int(str(cards.get(f"NAXIS{i + 1}", "0"))) for i in range(min(count, 9))]
    except ValueError:
        return []


def _described(cards: Cards) -> Instrument | None:
    try:
        return from_header(cards)
    except UnknownInstrumentError:
        return None


def _wrong(found: str, path: str) -> WrongProductError:
    return WrongProductError(
        found, expected=EXPECTED, hint="leave this file out", path=path or None
    )

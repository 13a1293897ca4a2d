"""What the beginning of a file says: enough to choose files without reading their spectra."""

from __future__ import annotations

import datetime
import gzip
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

from harpsstar.errors import ReadError, UnknownInstrumentError, WrongProductError
from harpsstar.instruments import from_header
from harpsstar.io.contents import foreign
from harpsstar.io.files import MAX_CARDS, is_fits, scan_headers
from harpsstar.io.headers import Cards, canonical_snr
from harpsstar.io.kinds import is_old, kind_of, uncompressed
from harpsstar.io.observation import star_key
from harpsstar.io.plain import facts_of
from harpsstar.io.text import looks_like_spectrum, looks_like_text
from harpsstar.outputs.kinds import product_of

#: What a table of harpsstar among spectra is called.
OWN_TABLE = "table written by harpsstar"
_PIECE = 64 * 2**10
_LONGEST = (MAX_CARDS + 1) * 80
#: Noon of 2000-01-01 as Julian date: an integer date begins a night.
_NOON_2000 = 2451545
_START_2000 = datetime.datetime(2000, 1, 1, 12)
#: Julian dates (1858 to 2406) beyond which no spectrum was taken.
_FIRST, _LAST = 2.4e6, 2.6e6


@dataclass(frozen=True)
class Facts:
    """What a header says about a file.

    Attributes
    ----------
    product : str
        As in :class:`harpsstar.io.Observation`; empty when the file is no spectrum of fibre A.
    skip : str
        What it is instead (``"spectrum of fibre B"`` ...); empty when it is a spectrum, or when
        the header could not be read, of which the reader will give the reason.
    instrument, target : str
        Empty when unknown.
    start : str
        ``DATE-OBS``, UT, as ISO 8601.
    bjd, snr : float
        nan when unknown.
    """

    product: str = ""
    skip: str = ""
    instrument: str = ""
    target: str = ""
    start: str = ""
    bjd: float = math.nan
    snr: float = math.nan

    @property
    def night(self) -> str:
        """The night, see :func:`night_of`."""
        return night_of(self.bjd, self.start)

    @property
    def exposure(self) -> tuple[str, str, str, float] | None:
        """What all products of one exposure have in common; None when too little is known."""
        if not (self.product and self.start):
            return None
        # Two pipelines compute the date of mid-exposure slightly differently.
        day = round(self.bjd, 3) if math.isfinite(self.bjd) else -1.0
        return self.instrument, self.start, star_key(self.target), day


def night_of(bjd: float, start: str = "") -> str:
    """Date of the evening of a night at a European or Chilean observatory.

    Parameters
    ----------
    bjd : float
        Barycentric Julian date: its integer part changes at noon UT.
    start : str
        ISO date and time, used when ``bjd`` is unknown.

    Returns
    -------
    str
        ``"2016-01-07"``, or ``"unknown"``, also of a date that no spectrograph has seen. Nothing
        is raised.

    Examples
    --------
    >>> night_of(2457395.6)
    '2016-01-07'
    """
    moment = moment_of(bjd) or moment_of(_julian(start))
    return "unknown" if moment is None else str((moment - datetime.timedelta(hours=12)).date())


def moment_of(julian: float) -> datetime.datetime | None:
    """Date and time (UT, as far as the date is) of a Julian date; None where it cannot be one."""
    if not _FIRST < julian < _LAST:
        return None
    return _START_2000 + datetime.timedelta(days=julian - _NOON_2000)


def _julian(text: str) -> float:
    """Julian date of an ISO date and time; nan when the text is none."""
    try:
        moment = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        return math.nan
    # A difference of two dates has no limits, as a shifted date has.
    zone = moment.utcoffset() or datetime.timedelta(0)
    passed = moment.replace(tzinfo=None) - _START_2000 - zone
    return _NOON_2000 + passed / datetime.timedelta(days=1)


def read_facts(path: str | os.PathLike[str]) -> Facts:
    """Read the facts of one file; of a file that cannot be read nothing is known.

    Nothing is raised: the reader, which meets the same file later, gives the reason in its row.
    What harpsstar wrote itself, a table of results, is told by its content.
    """
    return facts_now(path) or Facts()


def facts_now(path: str | os.PathLike[str]) -> Facts | None:
    """:func:`read_facts`, or None where the system is to blame, which may know better later."""
    try:
        cards, extension = _headers(os.fspath(path))
        product = "text" if cards is None else kind_of(cards, extension)
        return Facts(product) if cards is None else _facts(product, cards)
    except WrongProductError as error:
        if "table" in error.found or "text" in error.found:
            return Facts(skip=_own(path) or error.found)
        return Facts(skip=error.found.partition(" (DPR TYPE")[0])
    except gzip.BadGzipFile:
        return Facts()
    except (OSError, MemoryError):
        return None
    except Exception:  # noqa: BLE001  another file's row must not be lost
        return Facts(skip=_own(path))


def _own(path: str | os.PathLike[str]) -> str:
    return OWN_TABLE if product_of(path) == "table" else ""


def _headers(path: str) -> tuple[dict[str, str] | None, dict[str, str] | None]:
    """Primary header and, where it has no data, the first extension's; None for a text file."""
    if not os.path.isfile(path):
        raise ReadError("is not a regular file")
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not packed:
            return _scan(file)
        with gzip.GzipFile(fileobj=file) as unpacked:
            return _scan(unpacked)


def _scan(
    file: IO[bytes] | gzip.GzipFile,
) -> tuple[dict[str, str] | None, dict[str, str] | None]:
    data = file.read(_PIECE)
    if not is_fits(data):
        problem = foreign(data, "")
        if problem is None and looks_like_text(data):
            if looks_like_spectrum(data):
                return None, None
            if ".fit" not in os.path.basename(str(file.name)).lower():
                raise WrongProductError("text without a spectrum")
        raise problem or ReadError("not a FITS file")
    while len(data) < 2 * _LONGEST:
        piece = file.read(_PIECE)
        data += piece
        try:
            primary, extension = scan_headers(data)
        except ReadError:
            if not piece:
                raise
            continue
        if extension is not None and extension.get("ZIMAGE") == "T":
            return uncompressed(primary, extension), None
        if extension is not None or not piece or primary.get("NAXIS", "0") != "0":
            return primary, extension
    raise ReadError(f"a header of more than {MAX_CARDS} cards")


def _facts(product: str, header: Mapping[str, str]) -> Facts:
    start = header.get("DATE-OBS", "")
    try:
        instrument = from_header(header)
    except UnknownInstrumentError:
        said = facts_of(header, product, "")
        return Facts(product=product, instrument=said.instrument, target=said.target, start=start)
    kind = "old" if is_old(product) else "new" if product.startswith(("S1D", "S2D")) else ""
    cards = Cards.of(header, instrument, kind, "") if kind in instrument.cards else (
        facts_of(header, product, "").cards or Cards(header, {}))
    return Facts(
        product=product,
        instrument=instrument.name,
        target=cards.text("target"),
        start=start,
        bjd=cards.number("bjd"),
        snr=canonical_snr(cards.snr(instrument.n_orders), instrument),
    )

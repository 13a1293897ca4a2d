"""Bytes of a FITS file, checked before astropy sees them.

A damaged or hostile file has to end in one sentence, so sizes, truncation and the header's length
are checked on the raw bytes, and everything that astropy may raise or warn is translated here.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from harpsstar.errors import HarpsstarError, ReadError
from harpsstar.io.contents import foreign
from harpsstar.io.headers import number as to_number

__all__ = ["Source", "check_sizes", "is_fits", "load_bytes", "open_content", "open_fits",
           "scan_header", "scan_headers", "source_name"]

#: What a spectrum can be read from.
Source: TypeAlias = "str | os.PathLike[str] | IO[bytes] | fits.HDUList"

#: The largest product of the pipelines (an ESPRESSO S2D) holds 70 MB.
MAX_BYTES = 256 * 2**20
#: The longest header seen holds some 4,000 cards.
MAX_CARDS = 20_000

#: The largest image of a product (ESPRESSO) has 1.6 million pixels; every one becomes several
#: double-precision numbers.
MAX_PIXELS = 4_000_000

_CARD, _BLOCK = 80, 2880
_BITS = (8, 16, 32, 64)
_END = b"END".ljust(_CARD)
#: Values without quotes: numbers and flags as Python reads them, and other ways to write numbers.
_PLAIN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(E[-+]?\d+)?|[TF]|\(.*\)")
_NUMBER = re.compile(r"[-+]? *(\.\d+|\d+(\.\d*)?) *([deDE] *[-+]? *\d+)?")
_COMMENTARY = ("COMMENT ", "HISTORY ", "CONTINUE", " " * 8)
_STRING = re.compile(r"'((?:[^']|'')*)' *(?:/.*)?")
_PRODUCTS = "a spectrum in a FITS file or in columns of text"
_AGAIN = "fetch or copy the file again"


def source_name(source: Source) -> str:
    """Path of a source, empty where it has none."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, fits.HDUList):
        return source.filename() or ""
    name = getattr(source, "name", "")
    return name if isinstance(name, str) else ""


def load_bytes(source: Source) -> bytes:
    """Read a whole FITS or text file, unpacked where it is gzipped.

    Raises
    ------
    ReadError
        Missing, unreadable, empty, too large, neither FITS nor text, truncated, or a header
        without an end.
    """
    path = source_name(source)
    if isinstance(source, fits.HDUList):
        buffer = io.BytesIO()
        source.writeto(buffer, output_verify="silentfix", checksum=False)
        return buffer.getvalue()
    if isinstance(source, str | os.PathLike):
        data = _read_path(Path(source))
    else:
        data = _read_open(source, path)
    if data[:2] == b"\x1f\x8b":
        data = _unpack(data, path)
    if len(data) > MAX_BYTES:
        raise ReadError(
            f"more than {MAX_BYTES >> 20} MB of data", expected="one exposure", path=path
        )
    _check(data, path)
    return data


def _read_path(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise ReadError("is a folder", expected=_PRODUCTS, path=path,
                            hint="predict takes folders that hold spectra")  # fmt: skip
        if not path.is_file() and path.exists():
            raise ReadError("is not a regular file", expected=_PRODUCTS, path=path)
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ReadError(
            "no such file", expected=_PRODUCTS, hint="check the spelling of the path", path=path
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ReadError(
            f"cannot be opened ({reason})", hint="check its permissions", path=path
        ) from error


def _read_open(source: IO[bytes], path: str) -> bytes:
    try:
        source.seek(0)
        data = source.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ReadError(f"cannot be read ({error})", expected="an open binary file",
                        path=path) from None  # fmt: skip
    if not isinstance(data, bytes):
        raise ReadError("opened as text", expected="a file opened in binary mode",
                        hint='open it with open(path, "rb")', path=path)  # fmt: skip
    return data


def is_fits(data: bytes) -> bool:
    """Whether bytes are the beginning of a FITS file."""
    return data.startswith(b"SIMPLE  =")


def _unpack(data: bytes, path: str) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ReadError(
            f"damaged gzip file ({error})", expected="a whole .fits.gz", hint=_AGAIN, path=path
        ) from None


def scan_header(data: bytes, start: int = 0, path: str = "") -> tuple[dict[str, str], int]:
    """Cards of one header as text, without interpreting them, and where its data begin.

    Parameters
    ----------
    data : bytes
        A FITS file or its beginning.
    start : int
        Offset of the header.

    Returns
    -------
    cards : dict
        Keyword (without ``HIERARCH``) to value as text; the first of repeated keywords.
    stop : int
        Offset of the first byte after the header's last block.

    Raises
    ------
    ReadError
        No END card within the data or within the longest header accepted.
    """
    cards, _, stop = _scanned(data, start, path)
    return cards, stop


def _scanned(data: bytes, start: int, path: str) -> tuple[dict[str, str], dict[str, str], int]:
    """:func:`scan_header`, and in between what stands in cards without a value of FITS."""
    limit = start + MAX_CARDS * _CARD
    end = data.find(_END, start, limit)
    while end >= 0 and (end - start) % _CARD:
        end = data.find(_END, end + 1, limit)
    if end < 0 and len(data) >= limit:
        raise ReadError(
            f"a header of more than {MAX_CARDS} cards", expected="some 3,000 cards", path=path
        )
    if end < 0:
        raise ReadError(
            "truncated within a header", expected="an END card", hint=_AGAIN, path=path
        )
    stop = start + math.ceil((end + _CARD - start) / _BLOCK) * _BLOCK
    return *_cards(data[start:end]), stop


def scan_headers(data: bytes) -> tuple[dict[str, str], dict[str, str] | None]:
    """Cards of the primary header and, where it has no data, of the first extension's.

    Parameters
    ----------
    data : bytes
        The beginning of a FITS file.

    Returns
    -------
    primary, extension : dict
        As :func:`scan_header`; the extension is None where there is none or its header is cut.

    Raises
    ------
    ReadError
        As :func:`scan_header`, for the primary header.
    """
    primary, stop = scan_header(data)
    if primary.get("NAXIS", "0") != "0" or not data.startswith(b"XTENSION", stop):
        return primary, None
    try:
        return primary, scan_header(data, stop)[0]
    except ReadError:
        return primary, None


def _cards(header: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """Keyword to value as text, and to what stands in its place where it is no value of FITS.

    Long strings are joined (FITS standard 4.0, section 4.2.1).
    """
    cards: dict[str, str] = {}
    damaged: dict[str, str] = {}
    # As astropy does it.
    text = header.decode("ascii", "replace").replace("\ufffd", "?")
    unfinished = ""
    for offset in range(0, len(text), _CARD):
        card = text[offset : offset + _CARD]
        if unfinished:
            if card.startswith("CONTINUE  "):
                whole = cards[unfinished].removesuffix("&") + (_value(card[10:]) or "")
                cards[unfinished] = whole
                unfinished = unfinished if whole.endswith("&") else ""
                continue
            unfinished = ""
        keyword, found, rest = card.partition("=")
        if not found or card[:8] in _COMMENTARY:
            continue
        name = keyword.strip().upper()
        name = name[9:].strip() if name.startswith("HIERARCH ") else name
        # A damaged card hides a later one of the same name, at which astropy does not look either.
        if not name or name in cards or name in damaged:
            continue
        hierarch = card.startswith("HIERARCH ")
        # Without the blank after it, the sign is part of what astropy takes for text.
        value = _value(rest) if hierarch or card[8:10] == "= " else card[8:].strip()
        if value is None:
            damaged[name] = rest.strip()
            continue
        cards[name] = value
        if value.endswith("&") and rest.lstrip().startswith("'"):
            unfinished = name
    return cards, damaged


def _value(text: str) -> str | None:
    """Value without quotes and comment; None where the FITS standard knows no such value.

    A doubled quote within quotes is one, blanks at the end are none, and a number is written as
    Python reads it.
    """
    text = text.strip()
    if not text.startswith("'"):
        value = text.partition("/")[0].strip()
        if not value or _PLAIN.fullmatch(value):
            return value
        number = _NUMBER.fullmatch(value)
        return value.replace(" ", "").upper().replace("D", "E") if number else None
    if text.find("''", 1) < 0:
        inside, closed, after = text[1:].partition("'")
        whole = bool(closed) and after.lstrip()[:1] in ("", "/")
        return inside.rstrip() if whole and inside.isprintable() else None
    found = _STRING.fullmatch(text)
    if found is None or not found.group(1).isprintable():
        return None
    return found.group(1).replace("''", "'").rstrip()


def _check(data: bytes, path: str) -> None:
    if not data:
        raise ReadError("empty file", expected=_PRODUCTS, hint=_AGAIN, path=path)
    if not is_fits(data):
        _check_text(data, path)
        return
    start, number = 0, 0
    while start == 0 or data.startswith(b"XTENSION", start):
        known, damaged, start = _scanned(data, start, path)
        cards = known | damaged
        size = _data_size(cards, number, path)
        _check_scale(cards, path)
        if start + size > len(data):
            raise ReadError(
                f"truncated: {len(data)} bytes",
                expected=f"at least {start + size} bytes (HDU {number})",
                hint=_AGAIN,
                path=path,
            )
        start += math.ceil(size / _BLOCK) * _BLOCK
        number += 1


def _check_scale(cards: Mapping[str, str], path: str) -> None:
    """Name the card for which astropy would call the whole file corrupt."""
    for name in ("BSCALE", "BZERO", "BLANK"):
        if name in cards and not math.isfinite(to_number(cards[name])):
            raise ReadError(f"the card {name} = {cards[name]} cannot be read",
                            expected="a number", hint=_AGAIN, path=path)  # fmt: skip


def _whole(cards: Mapping[str, str], name: str, default: str | None = None) -> int:
    text = cards[name] if default is None else cards.get(name, default)
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} = {text}") from None


def _check_text(data: bytes, path: str) -> None:
    """Refuse what is neither FITS nor text, by what it is."""
    problem = foreign(data, path)
    if problem is not None:
        raise problem
    beginning = data[:4096]
    odd = sum(byte < 32 and byte not in b"\t\r\n\f" for byte in beginning)
    if odd > 0.02 * len(beginning) or b"SIMPLE" in beginning[:6]:
        raise ReadError("not a FITS file or text", expected=_PRODUCTS, path=path)


def _data_size(cards: Mapping[str, str], number: int, path: str) -> int:
    try:
        dimensions = min(_whole(cards, "NAXIS"), 999)
        axes = [_whole(cards, f"NAXIS{i + 1}") for i in range(dimensions)]
        bits = abs(_whole(cards, "BITPIX"))
        if bits not in _BITS:
            raise ValueError(f"BITPIX {bits}")
        extra, groups = _whole(cards, "PCOUNT", "0"), _whole(cards, "GCOUNT", "1")
        size = bits // 8 * groups * (extra + math.prod(axes)) if axes else 0
        if size < 0:
            raise ValueError("negative size")
    except (KeyError, ValueError) as error:
        raise ReadError(
            f"the size of HDU {number} is not in its header ({error})",
            expected="BITPIX, NAXIS and NAXISn cards",
            path=path,
        ) from None
    return size


def check_sizes(hdus: fits.HDUList, path: str) -> None:
    """Refuse images and tables that no spectrograph makes, before any of them is unpacked.

    Raises
    ------
    ReadError
        More than :data:`MAX_PIXELS` pixels, or rows.
    """
    for number, hdu in enumerate(hdus):
        size = _pixels(hdu.header, image=bool(hdu.is_image))
        if size > MAX_PIXELS:
            raise ReadError(
                f"{size} pixels in HDU {number} ({hdu.name or 'unnamed'})",
                expected=f"a spectrum of at most {MAX_PIXELS}",
                path=path,
            )


def _pixels(header: Mapping[str, Any], *, image: bool) -> int:
    if not image:
        return int(header.get("NAXIS2", 0))
    axes = [int(header.get(f"NAXIS{i + 1}", 0)) for i in range(int(header.get("NAXIS", 0)))]
    return math.prod(axes) if axes else 0


@contextmanager
def open_fits(source: Source) -> Iterator[fits.HDUList]:
    """Open a FITS file in memory; whatever fails inside becomes a :class:`ReadError`.

    Raises
    ------
    ReadError
        See :func:`load_bytes`; also for any error that astropy raises on damaged content.
    """
    path = source_name(source)
    data = load_bytes(source)
    if not is_fits(data):
        raise ReadError("not a FITS file", expected="a FITS file", path=path)
    with open_content(data, path) as hdus:
        yield hdus


@contextmanager
def open_content(data: bytes, path: str) -> Iterator[fits.HDUList]:
    """:func:`open_fits` of bytes that were checked; a compressed primary image is the first HDU."""
    with warnings.catch_warnings():
        # Nonstandard cards are common in these files and no user can do anything about them.
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            with fits.open(io.BytesIO(data), memmap=False) as hdus:
                yield _first_image_first(hdus, path)
        except HarpsstarError:
            raise
        except (MemoryError, KeyboardInterrupt):
            raise
        except fits.VerifyError as error:
            # Only astropy's own access ends here, to cards that the data depend on.
            card = re.search(r"Unparsable card \((.+?)\)", str(error))
            raise ReadError(
                f"the card {card.group(1)} cannot be read" if card else _short(error),
                expected="a number, or a text in quotes", hint=_AGAIN, path=path,
            ) from error
        except Exception as error:
            # astropy meets damaged content with almost any exception type.
            raise ReadError(
                f"cannot be interpreted ({type(error).__name__}: {_short(error)})",
                expected=_PRODUCTS,
                hint=_AGAIN,
                path=path,
            ) from error


def _first_image_first(hdus: fits.HDUList, path: str) -> fits.HDUList:
    """What fpack made of a file: its primary image lies, compressed, in the first extension."""
    if len(hdus) < 2 or hdus[0].header.get("NAXIS", 0):
        return hdus
    if not isinstance(hdus[1], fits.CompImageHDU):
        return hdus
    if hdus[1].name not in ("", "COMPRESSED_IMAGE", "PRIMARY"):
        return hdus
    check_sizes(hdus, path)
    header = hdus[1].header
    return fits.HDUList([fits.PrimaryHDU(hdus[1].data, header), *hdus[2:]])


def _short(error: Any) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else ""

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
from harpsstar.io.headers import number as to_number

__all__ = ["Header", "Source", "check_sizes", "load_bytes", "open_fits", "scan_header",
           "source_name"]

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
#: A string of FITS, in which two quotes stand for one.
_STRING = re.compile(r"'((?:[^']|'')*)'")
_PRODUCTS = "a FITS file with an e2ds, s1d, S2D or S1D spectrum"
_AGAIN = "fetch or copy the file again"


def source_name(source: Source) -> str:
    """Path of a source, empty where it has none."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, fits.HDUList):
        return ""
    name = getattr(source, "name", "")
    return name if isinstance(name, str) else ""


def load_bytes(source: Source) -> bytes:
    """Read a whole FITS file, unpacked where it is gzipped.

    Raises
    ------
    ReadError
        Missing, unreadable, empty, too large, not FITS, truncated, or a header without an end.
    """
    path = source_name(source)
    if isinstance(source, fits.HDUList):
        buffer = io.BytesIO()
        source.writeto(buffer, output_verify="silentfix", checksum=False)
        return buffer.getvalue()
    if isinstance(source, str | os.PathLike):
        data = _read_path(Path(source))
    else:
        source.seek(0)
        data = source.read(MAX_BYTES + 1)
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
            raise ReadError("is a folder", expected=_PRODUCTS, path=path)
        if not path.is_file() and path.exists():
            raise ReadError("is no regular file", expected=_PRODUCTS, path=path)
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
    cards: dict[str, str] = {}
    for offset in range(start, end, _CARD):
        card = data[offset : offset + _CARD]
        keyword, found, value = card.partition(b"=")
        if found:
            name = keyword.strip().removeprefix(b"HIERARCH ").decode("latin-1")
            cards.setdefault(name, _value(value.decode("latin-1")))
    return cards, start + math.ceil((end + _CARD - start) / _BLOCK) * _BLOCK


def _value(text: str) -> str:
    text = text.strip()
    if string := _STRING.match(text):
        return string.group(1).replace("''", "'").strip()
    return text.partition("/")[0].strip()


def _check(data: bytes, path: str) -> None:
    if not data:
        raise ReadError("empty file", expected=_PRODUCTS, hint=_AGAIN, path=path)
    if not data.startswith(b"SIMPLE  ="):
        raise ReadError("not a FITS file", expected=_PRODUCTS, path=path)
    start, number = 0, 0
    while start == 0 or data.startswith(b"XTENSION", start):
        cards, start = scan_header(data, start, path)
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
        image = isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU)
        size = math.prod(hdu.shape) if image else int(hdu.header.get("NAXIS2", 0))
        if size > MAX_PIXELS:
            raise ReadError(
                f"{size} pixels in HDU {number}",
                expected=f"a spectrum of at most {MAX_PIXELS}",
                path=path,
            )


class Header(Mapping[str, Any]):
    """A FITS header in which a card that cannot be read costs only its own value.

    astropy raises an error for a card such as ``BJD = nan`` or ``BERV = 12,5``. Here its value is
    the text that stands there, as :func:`scan_header` has it too, or None where that is no text.
    """

    def __init__(self, header: fits.Header) -> None:
        self._header = header

    def __getitem__(self, name: str) -> Any:
        try:
            return self._header[name]
        except fits.VerifyError:
            card = self._header.cards[name]
        try:
            # Makes a quoted text of what is no value.
            card.verify("silentfix")
            return card.value
        except (fits.VerifyError, ValueError):
            return None

    def __contains__(self, name: object) -> bool:
        return name in self._header

    def __iter__(self) -> Iterator[str]:
        return iter(self._header)

    def __len__(self) -> int:
        return len(self._header)


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
    with warnings.catch_warnings():
        # Nonstandard cards are common in these files and no user can do anything about them.
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            with fits.open(
                io.BytesIO(data), memmap=False, disable_image_compression=True
            ) as hdus:
                yield hdus
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


def _short(error: Any) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else ""

"""Files as archives have them: one good spectrum, and what can be wrong with one."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable

import numpy as np
from astropy.io import fits

from harpsstar.io.files import MAX_BYTES, MAX_CARDS, MAX_PIXELS
from harpsstar.mock import observe_star


def good(seed: int = 0, format: str = "s1d", **changes) -> bytes:
    """A mock observation of a star like the Sun."""
    options = {"rv": 12.0, "berv": -5.0, "snr": 80.0, "target": "HD 1"} | changes
    return content(observe_star(5772.0, 4.44, 0.0, 2.0, format=format, seed=seed, **options))


def content(hdus: fits.HDUList) -> bytes:
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    return buffer.getvalue()


def edited(change: Callable[[fits.PrimaryHDU], None]) -> Callable[[bytes], bytes]:
    def fault(data: bytes) -> bytes:
        with fits.open(io.BytesIO(data)) as hdus:
            change(hdus[0])
            return content(hdus)

    return fault


def card(name: str, value: object) -> Callable[[bytes], bytes]:
    return edited(lambda hdu: hdu.header.__setitem__(name, value))


def without(name: str) -> Callable[[bytes], bytes]:
    return edited(lambda hdu: hdu.header.__delitem__(name))


def data(values: Callable[[np.ndarray], np.ndarray]) -> Callable[[bytes], bytes]:
    return edited(lambda hdu: setattr(hdu, "data", values(hdu.data)))


def raw(name: bytes, value: bytes) -> Callable[[bytes], bytes]:
    """Another value of a card, without astropy's consent."""

    def fault(content: bytes) -> bytes:
        place = content.index(name.ljust(8) + b"=")
        return content[:place] + (name.ljust(8) + b"= " + value).ljust(80) + content[place + 80 :]

    return fault


def bomb(content: bytes) -> bytes:
    """More than is ever unpacked, in a fraction of it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    pieces = [packer.compress(b"SIMPLE  =                    T".ljust(80))]
    pieces += [packer.compress(bytes(2**22)) for _ in range(MAX_BYTES // 2**22 + 1)]
    return b"".join([*pieces, packer.flush()])


def endless(content: bytes) -> bytes:
    """A header of a million cards."""
    return b"SIMPLE  =                    T".ljust(80) + b"COMMENT".ljust(80) * 1_000_000


#: What is wrong, how to make it of a good s1d, and what the row has to say about it.
FAULTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda content: b"", "empty file"),
    "text": (lambda content: b"night of the 7th: clouds\n" * 99, "not a FITS file"),
    "cut in the header": (lambda content: content[:1000], "truncated within a header"),
    "cut in the data": (lambda content: content[: len(content) // 2], "truncated: "),
    "half a gzip": (lambda content: gzip.compress(content, 1)[:9999], "damaged gzip file"),
    "gzip bomb": (bomb, f"more than {MAX_BYTES >> 20} MB"),
    "endless header": (endless, f"more than {MAX_CARDS} cards"),
    "only zeros": (data(np.zeros_like), "no usable pixel"),
    "no numbers": (data(lambda flux: flux * np.nan), "no usable pixel"),
    "no wavelengths": (without("CRVAL1"), "no wavelength axis"),
    "elsewhere": (card("CRVAL1", 6000.0), "no usable pixel in the analysed range"),
    "short": (data(lambda flux: flux[:50]), "an image of shape (50,)"),
    "terabytes": (raw(b"NAXIS1", b"9999999999999"), "truncated: "),
    "no size": (raw(b"NAXIS1", b"'many'"), "the size of HDU 0 is not in its header"),
    "giant": (data(lambda flux: np.ones(MAX_PIXELS + 1, np.uint8)), f"{MAX_PIXELS + 1} pixels"),
    "depth": (raw(b"BITPIX", b"17"), "BITPIX"),
}
assert MAX_CARDS < 1_000_000

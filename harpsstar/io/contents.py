"""What a file is that is neither FITS nor text, by its first bytes, and what to do about it."""

from __future__ import annotations

from harpsstar.errors import ReadError

__all__ = ["foreign"]

_UNPACK = "unpack it and give the files in it"
_CONVERT = "save the spectrum as FITS or text"
#: First bytes, offset, what it is, what to do.
_MAGIC: tuple[tuple[bytes, int, str, str], ...] = (
    (b"\x1f\x9d", 0, "compressed by Unix compress", "unpack it with uncompress"),
    (b"BZh", 0, "compressed by bzip2", "unpack it with bunzip2"),
    (b"\xfd7zXZ", 0, "compressed by xz", "unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", 0, "compressed by zstd", "unpack it with unzstd"),
    (b"ustar", 257, "a tar archive", _UNPACK),
    (b"PK\x03\x04", 0, "a zip archive (or an .npz or .xlsx file)", _UNPACK),
    (b"Rar!", 0, "a rar archive", _UNPACK),
    (b"\x89HDF", 0, "an HDF5 file", _CONVERT),
    (b"CDF\x01", 0, "a NetCDF file", _CONVERT),
    (b"\x93NUMPY", 0, "a NumPy file", "give its arrays to harpsstar.from_arrays"),
    (b"PAR1", 0, "a Parquet table", "leave this file out"),
    (b"SQLite format 3", 0, "an SQLite database, such as a journal", "leave this file out"),
    (b"\x89PNG", 0, "a PNG picture", "leave this file out"),
    (b"\xff\xd8\xff", 0, "a JPEG picture", "leave this file out"),
    (b"GIF8", 0, "a GIF picture", "leave this file out"),
    (b"%PDF", 0, "a PDF document", "leave this file out"),
    (b"\x80\x04\x95", 0, "a Python pickle", _CONVERT),
    (b"\x80\x05\x95", 0, "a Python pickle", _CONVERT),
    (b"SR\x00\x04", 0, "an IDL save file", _CONVERT),
)
#: Beginnings of text that is no columns of numbers.
_MARKUP: tuple[tuple[bytes, str, str], ...] = (
    (b"<!doctype html", "a web page", "download the file itself again"),
    (b"<html", "a web page", "download the file itself again"),
    (b"<?xml", "an XML document, such as a VOTable", "save the spectrum as FITS or text"),
    (b"<votable", "a VOTable", "save the spectrum as FITS or text"),
    (b"{", "a JSON document", "save the spectrum as FITS or text"),
)


def foreign(data: bytes, path: str) -> ReadError | None:
    """Say what a file is; None where it may be FITS or text with columns."""
    for magic, offset, what, hint in _MAGIC:
        if data[offset : offset + len(magic)] == magic:
            return _error(what, hint, path)
    beginning = data[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for start, what, hint in _MARKUP:
        if beginning.startswith(start):
            return _error(what, hint, path)
    return None


def _error(what: str, hint: str, path: str) -> ReadError:
    return ReadError(
        f"{what}, not a FITS file or text",
        expected="a spectrum in a FITS file or in columns of text", hint=hint, path=path or None,
    )  # fmt: skip

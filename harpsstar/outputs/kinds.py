"""The kinds of files that harpsstar writes, and how each is told by its content.

A file is a product of harpsstar when its content says so, whatever its name: tables by a remark in
their metadata or by the columns that only a table of results has, pictures, pages and weights by
their metadata, logs and journals by how they begin.
"""

from __future__ import annotations

import gzip
import json
import mmap
import os
import re
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

__all__ = [
    "ARCHIVE", "CREATOR", "DATASET", "ECSV", "JOURNAL", "LOG", "MOCK", "PAGE", "PICTURE", "SAMPLES",
    "SUMMARY", "TABLE", "TENSORS", "TRIALS", "Kind", "product_of",
]  # fmt: skip

#: What metadata of every kind say about who wrote a file.
CREATOR = "harpsstar"
#: Columns that only a table of results has, in every format.
_COLUMNS = (b"m_h_err", b"vsini_err", b"flag_text")
_HEAD = 2**20
_CARD, _BLOCK = 80, 2880
_LOG = re.compile(rb'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ \{"event": ')


@dataclass(frozen=True)
class Kind:
    """A kind of output.

    Attributes
    ----------
    name : str
        For messages, with its article.
    suffixes : tuple of str
        What the name of a file may end in, in lower case; empty for any name.
    family : str
        What :func:`product_of` calls such a file; outputs of one family may replace each other.
    appended : bool
        Whether it is added to what is there, which is never replaced.
    """

    name: str
    suffixes: tuple[str, ...]
    family: str
    appended: bool = False

    def fits(self, path: str | os.PathLike[str]) -> bool:
        """Tell whether a name ends as this kind's do."""
        return not self.suffixes or os.fspath(path).lower().endswith(self.suffixes)


TABLE = Kind("a table", (".ecsv", ".fits", ".vot", ".xml", ".parquet", ".csv"), "table")
ECSV = Kind("a table", (".ecsv",), "table")
SUMMARY = Kind("a table", (".ecsv", ".fits", ".vot"), "table")
PICTURE = Kind("a picture", (".png", ".pdf", ".svg"), "picture")
PAGE = Kind("a page", (".html", ".htm"), "page")
LOG = Kind("a log", (), "log", appended=True)
TENSORS = Kind("a model or grid", (".safetensors",), "tensors")
MOCK = Kind("a mock product", (".fits", ".fits.gz"), "mock")
DATASET = Kind("a data set", (".h5", ".hdf5"), "dataset")
SAMPLES = Kind("samples", (".nc",), "samples")
ARCHIVE = Kind("an archive of inputs", (".zip",), "archive")
JOURNAL = Kind("a journal", (), "journal")
TRIALS = Kind("a journal of an evaluation", (), "trials", appended=True)


def product_of(path: str | os.PathLike[str]) -> str:
    """Return which family of products a file belongs to, by its content.

    Returns
    -------
    str
        ``"table"``, ``"picture"`` ...; ``"nothing"`` for an empty file, which holds nothing that
        could be lost; empty for what harpsstar did not write or what cannot be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return ""
        with open(path, "rb") as file:
            head = file.read(_HEAD)
        if not head:
            return "nothing"
        found = next((test(head, path) for begin, test in _TESTS if begin.match(head)), "")
    except (OSError, EOFError, ValueError, struct.error, zlib.error):
        return ""
    return found or _text(head)


def _is_table(text: bytes) -> bool:
    """Tell from the part of a table that describes it."""
    return CREATOR.encode() in text or all(name in text for name in _COLUMNS)


def _ecsv(head: bytes, path: str | os.PathLike[str]) -> str:
    lines = head.split(b"\n")
    described = next((i for i, line in enumerate(lines) if not line.startswith(b"#")), len(lines))
    return "table" if _is_table(b"\n".join(lines[:described])) else ""


def _fits(head: bytes, path: str | os.PathLike[str]) -> str:
    if head[:2] == b"\x1f\x8b":
        with gzip.open(path) as file:
            head = file.read(_HEAD)
    cards = list(_cards(head))
    if any(card.startswith(b"ORIGIN  = 'harpsstar mock observer") for card in cards):
        return "mock"
    marks = (b"EXTNAME = 'HARPSSTAR'", b"CREATOR = 'harpsstar")
    names = b" ".join(card for card in cards if card.startswith(b"TTYPE"))
    own = any(card.startswith(marks) for card in cards) or all(name in names for name in _COLUMNS)
    return "table" if own else ""


def _cards(head: bytes) -> Iterator[bytes]:
    """Yield the cards of the first header, and of the second if no data lie between."""
    start = 0
    for _ in range(2):
        empty = False
        for start in range(start, len(head), _CARD):  # noqa: B020  goes on where it stopped
            card = head[start : start + _CARD]
            empty = empty or card.startswith(b"NAXIS   =                    0")
            if card.startswith(b"END" + 10 * b" "):
                break
            yield card
        if not empty:
            return
        start = -(-(start + _CARD) // _BLOCK) * _BLOCK


def _xml(head: bytes, path: str | os.PathLike[str]) -> str:
    if b"<svg" in head:
        return "picture" if b"<dc:title>harpsstar" in head else ""
    # What a table of VOTable says about itself may stand behind its data.
    return "table" if b"<VOTABLE" in head and _is_table(_whole(path)) else ""


def _whole(path: str | os.PathLike[str]) -> bytes:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        marks = [b'name="harpsstar"', b"by harpsstar", *_COLUMNS]
        return b" ".join(mark for mark in marks if content.find(mark) >= 0)


def _parquet(head: bytes, path: str | os.PathLike[str]) -> str:
    with open(path, "rb") as file:
        file.seek(-8, os.SEEK_END)
        (size,) = struct.unpack("<I", file.read(4))
        file.seek(-8 - size, os.SEEK_END)
        return "table" if _is_table(file.read(size)) else ""


def _png(head: bytes, path: str | os.PathLike[str]) -> str:
    return "picture" if b"tEXtSoftware\0harpsstar" in head else ""


def _pdf(head: bytes, path: str | os.PathLike[str]) -> str:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return "picture" if content.find(b"/Creator (harpsstar") >= 0 else ""


def _html(head: bytes, path: str | os.PathLike[str]) -> str:
    return "page" if b'<meta name="generator" content="harpsstar' in head else ""


def _safetensors(head: bytes, path: str | os.PathLike[str]) -> str:
    (size,) = struct.unpack("<Q", head[:8])
    with open(path, "rb") as file:
        file.seek(8)
        described = json.loads(file.read(min(size, 2**26)))
    facts = described.get("__metadata__")
    facts = facts.values() if isinstance(facts, dict) else ()
    return "tensors" if any(str(fact).startswith(CREATOR) for fact in facts) else ""


def _hdf5(head: bytes, path: str | os.PathLike[str]) -> str:
    if b"harpsstar-spectra-" in head:
        return "dataset"
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return "samples" if content.find(b"harpsstar_version") >= 0 else ""


def _zip(head: bytes, path: str | os.PathLike[str]) -> str:
    with open(path, "rb") as file:
        file.seek(max(0, os.stat(path).st_size - 100))
        return "archive" if file.read().endswith(b"inputs of harpsstar") else ""


def _sqlite(head: bytes, path: str | os.PathLike[str]) -> str:
    # What was written last may not have moved from the log to the main file yet.
    with suppress(OSError), open(os.fspath(path) + "-wal", "rb") as file:
        head += file.read(_HEAD)
    return "journal" if b"harpsstar-journal-" in head else ""


def _text(head: bytes) -> str:
    """Return the family of a file that nothing but its first line tells of."""
    first, _, _ = head.partition(b"\n")
    if _LOG.match(first):
        return "log"
    if first.startswith(b"{") and b'"sampler"' in first and b'"teff_range"' in first:
        return "trials"
    return "table" if b"," in first and all(name in first for name in _COLUMNS) else ""


_TESTS: tuple[tuple[re.Pattern[bytes], Callable[[bytes, str | os.PathLike[str]], str]], ...] = (
    (re.compile(rb"# %ECSV"), _ecsv),
    (re.compile(rb"SIMPLE  =|\x1f\x8b"), _fits),
    (re.compile(rb"\s*<\?xml"), _xml),
    (re.compile(rb"PAR1"), _parquet),
    (re.compile(rb"\x89PNG"), _png),
    (re.compile(rb"%PDF"), _pdf),
    (re.compile(rb"\s*<!doctype html", re.IGNORECASE), _html),
    (re.compile(rb".{7}\x00\{", re.DOTALL), _safetensors),
    (re.compile(rb"\x89HDF|CDF[\x01\x02\x05]"), _hdf5),
    (re.compile(rb"PK\x03\x04"), _zip),
    (re.compile(rb"SQLite format 3"), _sqlite),
)

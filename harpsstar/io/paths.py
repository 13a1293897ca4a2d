"""From what a user names (files, folders, patterns) to a list of files."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from harpsstar.errors import ReadError
from harpsstar.outputs import Policy, policy

#: What the name of a file ends with, in lower case, to be taken from a folder.
ENDINGS: tuple[str, ...] = (
    ".fits", ".fit", ".fits.gz", ".fit.gz", ".fits.fz", ".fit.fz",
    ".txt", ".dat", ".csv", ".asc", ".txt.gz", ".dat.gz", ".csv.gz", ".asc.gz",
)  # fmt: skip


#: Size, and the times of the last change of content and of the file itself, in nanoseconds.
Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Found:
    """One input: a file, or a name behind which there is none.

    Attributes
    ----------
    path : Path
        As the user named it, or as found in the folder or by the pattern that the user named.
    problem : ReadError or None
        Why there is nothing to read; None for a regular file.
    named : bool
        Whether the user named this very file (a pattern names what it matches), rather than a
        folder in which it was found.
    """

    path: Path
    problem: ReadError | None = None
    named: bool = True

    @property
    def key(self) -> str:
        """The file however it is named: its absolute path without links."""
        return os.path.realpath(self.path)


def stamp_of(path: str | Path) -> Stamp | None:
    """Return what changes when a file is written to; None when there is no such file.

    The time of the last change of the file itself cannot be set back by copying tools.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def digest_of(path: str | Path) -> str:
    """Return the SHA-256 of a regular file; empty when it cannot be read."""
    try:
        # Opening anything else, such as a pipe, may wait for ever.
        if not os.path.isfile(path):
            return ""
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def find(inputs: Iterable[str | Path]) -> list[Found]:
    """Expand files, folders and patterns into files.

    Folders are searched to every depth, sorted, for names with one of :data:`ENDINGS`; hidden
    names are left out; links are followed, each folder once, so that a loop of links ends.
    Patterns are those of :mod:`glob` with ``**``. A name that exists is never a pattern.

    Parameters
    ----------
    inputs : iterable of str or Path
        What the user named.

    Returns
    -------
    list of Found
        In the order of ``inputs``, each file once, where it first appears. An input that leads to
        no file is an element with a ``problem``; nothing is raised.
    """
    unique: dict[str, Found] = {}
    for name in inputs:
        for found in _expand(os.fspath(name)):
            first = unique.setdefault(found.key, found)
            if found.named and not first.named:
                unique[found.key] = replace(first, named=True)
    return list(unique.values())


def policy_of(inputs: Iterable[str | Path], *, overwrite: bool | None = None) -> Policy:
    """Return what a run over these inputs may write, beside what an outer policy says of it."""
    names = tuple(inputs)
    return replace(policy(), inputs=names, found=lambda: _read_with(names),
                   overwrite=overwrite is True)  # fmt: skip


def _read_with(names: Iterable[str | Path]) -> Iterator[Path]:
    """Yield the files behind names, and the blaze files beside them, which are read with them."""
    from harpsstar.io.facts import read_facts

    folders: set[Path] = set()
    for item in find(names):
        yield item.path
        if item.problem is None and item.named:
            folders.add(item.path.parent)
    for folder in folders:
        for path in folder.iterdir():
            if path.name.lower().endswith(ENDINGS) and "blaze" in read_facts(path).skip.lower():
                yield path


def _expand(name: str) -> Iterator[Found]:
    if os.path.lexists(name):
        yield from _existing(name)
    elif glob.has_magic(name):
        matches = sorted(glob.glob(name, recursive=True))
        for match in matches:
            yield from _existing(match)
        if not matches:
            yield _problem(name, "no file matches this pattern", "check the folder and the quotes")
    else:
        yield _problem(name, "no such file or folder", "check the name")


def _existing(name: str) -> Iterator[Found]:
    if os.path.isdir(name):
        yield from _folder(name)
    elif os.path.isfile(name):
        yield Found(Path(name))
    elif os.path.islink(name):
        yield _problem(name, "is a broken link", "correct or remove the link")
    else:
        yield _problem(name, "is not a regular file", "name the file itself")


def _folder(folder: str) -> Iterator[Found]:
    unreadable: list[OSError] = []
    empty = True
    seen: set[tuple[int, int]] = set()
    _first_visit(folder, seen)
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=unreadable.append):
        folders[:] = [
            name for name in sorted(folders)
            if not name.startswith(".") and _first_visit(os.path.join(parent, name), seen)
        ]
        for name in sorted(names):
            if name.lower().endswith(ENDINGS) and not name.startswith("."):
                empty = False
                for found in _existing(os.path.join(parent, name)):
                    yield replace(found, named=False)
    for error in unreadable:
        yield _problem(str(error.filename), f"cannot be opened ({error.strerror})",
                       "check the permissions")
    if empty and not unreadable:
        yield _problem(folder, "holds no FITS or text file", "name files or other folders")


def _first_visit(folder: str, seen: set[tuple[int, int]]) -> bool:
    try:
        status = os.stat(folder)
    except OSError:
        # The walk itself will say why it cannot be opened.
        return True
    identity = (status.st_dev, status.st_ino)
    if identity in seen:
        return False
    seen.add(identity)
    return True


def _problem(name: str, found: str, hint: str) -> Found:
    expected = "an existing file, a folder or a pattern"
    return Found(Path(name), ReadError(found, expected=expected, hint=hint, path=name))

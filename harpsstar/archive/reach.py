"""Rows of files that may only be out of reach, as on a disk that is not mounted.

Where a disk is not mounted stands an empty folder, or none. A row whose file is gone together with
everything around it is therefore kept; a file that is gone from among others has been taken away.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from harpsstar.io.paths import Found


def out_of_reach(
    gone: Iterable[tuple[str, str]], inputs: Iterable[str | Path], found: Sequence[Found]
) -> list[tuple[str, str]]:
    """Return the rows whose files may be there again tomorrow.

    Parameters
    ----------
    gone : iterable of (str, str)
        Key and name of files that have a row in the table and were not found this time.
    inputs : iterable of str or Path
        What the user named: files, folders and patterns.
    found : sequence of Found
        What that led to.

    Returns
    -------
    list of (str, str)
        Those under an input that led to no file, and those under an input in whose folder there
        is nothing at all any more.
    """
    roots = {place for name in inputs for place in _places(_folder_of(os.fspath(name)))}
    dark = {place for item in found if item.problem is not None
            for place in _places(_folder_of(str(item.path)))}

    @cache
    def is_dark(folder: str) -> bool:
        if folder in dark:
            return True
        if os.path.isdir(folder) and _is_empty(folder):
            return True
        above = os.path.dirname(folder)
        outside = folder in roots or above == folder
        # Of a folder that is gone its surroundings decide; below an unreadable one all is dark.
        return not outside and is_dark(above)

    return [(key, name) for key, name in gone if not os.path.lexists(key)
            and any(_is_under(place, roots) and is_dark(os.path.dirname(place))
                    for place in {key, os.path.abspath(name)})]  # fmt: skip


def _places(folder: str) -> tuple[str, str]:
    """A folder as it is named, and without links: as keys are."""
    return os.path.abspath(folder), os.path.realpath(folder)


def _folder_of(name: str) -> str:
    """The input itself, or the folder in which a pattern is looked for."""
    if os.path.lexists(name):
        return name
    while glob.has_magic(name):
        name = os.path.dirname(name)
    return name or os.curdir


def _is_under(path: str, roots: set[str]) -> bool:
    return any(str(parent) in roots for parent in Path(path).parents)


def _is_empty(folder: str) -> bool:
    try:
        with os.scandir(folder) as entries:
            return all(entry.name.startswith(".") for entry in entries)
    except OSError:
        return True

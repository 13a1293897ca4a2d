"""From a journal to tables: one file, or one for each night."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harpsstar.archive.journal import Journal, StorageError, journal_of
from harpsstar.errors import OutputError, ReadError, UnwritableError
from harpsstar.io.results import check_output, read_table, to_table, write_table
from harpsstar.outputs import check_folder, policy, under

if TYPE_CHECKING:
    from astropy.table import QTable

#: Name of a night's file; pandas, pyarrow and Dask take the folder's name as a column.
_PART = "rows.parquet"
_KEY = "night="
_EXPORTED = "exported nights"
#: Note of the journal: the metadata of its table.
META = "metadata"


def export(
    journal: Journal, output: Path, meta: Mapping[str, Any], *, by_night: bool = False
) -> None:
    """Write the table of a journal, replacing files whole.

    Parameters
    ----------
    journal : Journal
    output : Path
        A file, whose extension chooses the format; by night, a folder that is made.
    meta : mapping
        See :func:`harpsstar.io.results.provenance`.
    by_night : bool
        Parquet files ``night=YYYY-MM-DD/rows.parquet`` in a folder; only nights that have changed
        are written, one at a time, so that memory does not grow with the archive.

    Raises
    ------
    StorageError
        A full disk, or no permission. The journal keeps the rows.
    """
    try:
        if by_night:
            _export_nights(journal, output, meta)
        else:
            write_table(to_table(journal.rows(), meta), output)
    except UnwritableError as error:
        hint = "make room or choose another folder; the finished rows are in the journal"
        raise StorageError(error.found, expected=error.expected, hint=hint,
                           path=error.path) from error


def _export_nights(journal: Journal, output: Path, meta: Mapping[str, Any]) -> None:
    nights = journal.nights()
    place = f"{_EXPORTED} {output.resolve()}"
    described = journal.note(place)
    before: dict[str, str] = json.loads(described) if described else {}
    try:
        output.mkdir(exist_ok=True)
        for night, content in nights.items():
            part = output / f"{_KEY}{night}" / _PART
            if before.get(night) == content and part.is_file():
                continue
            part.parent.mkdir(exist_ok=True)
            write_table(to_table(journal.rows(night), meta), part)
        for folder in output.glob(f"{_KEY}*"):
            if folder.name.removeprefix(_KEY) not in nights:
                shutil.rmtree(folder)
    except OSError as error:
        raise UnwritableError(f"cannot be written ({error.strerror})", path=output) from error
    journal.put_note(place, json.dumps(nights))


def export_journal(table: Path, output: Path, *, by_night: bool = False) -> int:
    """Write the rows in the journal of a table to another one, and return how many there are.

    Raises
    ------
    ReadError
        There is no journal.
    OutputError
        As :func:`export`, or the journal is in use.
    """
    path = journal_of(table)
    if not path.is_file():
        raise ReadError("no such journal", path=path,
                        expected="the output of a harpsstar predict that has begun")
    if by_night and output.resolve() == table.resolve():
        raise OutputError("is the table itself", path=output, hint="choose another name")
    with under(replace(policy(), inputs=(*policy().inputs, table, path))), Journal(path) as journal:
        check_place(output, by_night=by_night)
        export(journal, output, json.loads(journal.note(META) or "{}"), by_night=by_night)
        return sum(journal.counts().values())


def check_place(
    output: Path, *, by_night: bool = False, overwrite: bool | None = None
) -> Path:
    """Return the output if it can probably be written.

    Raises
    ------
    OutputError
        See :func:`harpsstar.io.results.check_output`; by night, also a file in the folder's place.
    """
    if not by_night:
        return check_output(output, overwrite=overwrite)
    check_output(check_folder(output).with_name("x.parquet"))
    return output


def read_results(path: str | Path) -> QTable:
    """Read a table of results: a file, or a folder with a file for each night.

    Raises
    ------
    ReadError
        Not there, damaged, or no results.
    """
    path = Path(path)
    if not path.is_dir():
        return read_table(path)
    from astropy.table import vstack

    parts = [read_table(part) for part in sorted(path.glob(f"{_KEY}*/{_PART}"))]
    if not parts:
        raise ReadError("holds no table", expected=f"{_KEY}YYYY-MM-DD/{_PART}", path=path)
    return vstack(parts, metadata_conflicts="silent")


def remove_leftovers(output: Path) -> None:
    """Remove what a killed run has left of a table that it was writing; needs the journal's lock.

    Such files are named ``.<12 hexadecimal digits>.<name>``, see
    :func:`harpsstar.io.results.write_table`.
    """
    output = Path(os.path.realpath(output))
    folders = [output.parent, *output.glob(f"{_KEY}*")] if output.is_dir() else [output.parent]
    for folder in folders:
        name = output.name if folder == output.parent else _PART
        for leftover in folder.glob(f".{'[0-9a-f]' * 12}.{name}"):
            with suppress(OSError):
                leftover.unlink()

"""From a journal to tables: one file, or one for each night."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harpsstar.archive.journal import Journal, StorageError, journal_of
from harpsstar.errors import OutputError, ReadError, UnwritableError
from harpsstar.io.paths import digest_of
from harpsstar.io.results import check_output, read_table, to_table, write_table
from harpsstar.outputs import check_file, check_folder, policy, under
from harpsstar.outputs.kinds import TABLE

if TYPE_CHECKING:
    from astropy.table import QTable

#: Name of a night's file; pandas, pyarrow and Dask take the folder's name as a column.
_PART = "rows.parquet"
_KEY = "night="
_EXPORTED = "exported nights"
#: Note of the journal: the metadata of its table.
META = "metadata"
#: Note of the journal: some inputs could not be looked at, so that no night may be taken away.
INCOMPLETE = "incomplete"


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
        are written, one at a time, so that memory does not grow with the archive. A night without
        rows is taken away, if this journal has written its file and nobody has changed it since,
        and if the last run could look at all of its inputs (:data:`INCOMPLETE`).

    Raises
    ------
    StorageError
        A full disk, no permission, or a file of somebody else in the place of a night's. The
        journal keeps the rows.
    """
    try:
        if by_night:
            _export_nights(journal, output, meta)
        else:
            write_table(to_table(journal.rows(), meta), output)
    except UnwritableError as error:
        hint = "free disk space or choose another folder; the finished rows are in the journal"
        raise StorageError(error.found, expected=error.expected, hint=hint,
                           path=error.path) from error


def _export_nights(journal: Journal, output: Path, meta: Mapping[str, Any]) -> None:
    nights = journal.nights()
    place = f"{_EXPORTED} {output.resolve()}"
    written = _written(journal.note(place))
    try:
        output.mkdir(exist_ok=True)
        for night, content in nights.items():
            part = _part(output, night)
            if written.get(night, _NONE)[0] == content and part.is_file():
                continue
            _refuse_foreign(part)
            part.parent.mkdir(exist_ok=True)
            write_table(to_table(journal.rows(night), meta), part)
            written[night] = content, digest_of(part)
        if not journal.note(INCOMPLETE):
            for night in set(written) - set(nights):
                _take_away(_part(output, night), written.pop(night)[1])
    except OSError as error:
        raise UnwritableError(f"cannot be written ({error.strerror})", path=output) from error
    finally:
        journal.put_note(place, json.dumps(written))


#: Of a night of which nothing was written.
_NONE = "", ""


def _written(note: str) -> dict[str, tuple[str, str]]:
    """What each night's file held when it was written, and its SHA-256, by night."""
    entries = json.loads(note) if note else {}
    # A journal of an earlier version has no digests: its nights are written anew.
    return {night: tuple(entry) if isinstance(entry, list) else _NONE
            for night, entry in entries.items()}  # fmt: skip


def _part(output: Path, night: str) -> Path:
    return output / f"{_KEY}{night}" / _PART


def _refuse_foreign(part: Path) -> None:
    """Refuse a night's file that may not be replaced; at the end of a run, its rows wait."""
    try:
        check_file(part, TABLE)
    except OutputError as error:
        raise UnwritableError(error.found, expected=error.expected, hint=error.hint,
                              path=error.path) from error


def _take_away(part: Path, digest: str) -> None:
    """Delete a night's file, if it is as it was written, and its folder, if that is empty."""
    if digest and digest_of(part) == digest:
        part.unlink()
        # Other files in it, or a link in its place, are somebody else's.
        with suppress(OSError):
            part.parent.rmdir()


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
                        expected="the output of a harpsstar predict that was started")
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
        raise ReadError("contains no table", expected=f"{_KEY}YYYY-MM-DD/{_PART}", path=path)
    return vstack(parts, metadata_conflicts="silent")


def remove_leftovers(output: Path, nights: Iterable[str] = ()) -> None:
    """Remove what a killed run has left of a table that it was writing; needs the journal's lock.

    In a folder, it is looked for in the ``nights`` of the journal and nowhere else.

    Such files are named ``.<12 hexadecimal digits>.<name>``, see
    :func:`harpsstar.io.results.write_table`.
    """
    output = Path(os.path.realpath(output))
    folders = [_part(output, night).parent for night in nights] if output.is_dir() else []
    for folder in (output.parent, *folders):
        name = output.name if folder == output.parent else _PART
        for leftover in folder.glob(f".{'[0-9a-f]' * 12}.{name}"):
            with suppress(OSError):
                leftover.unlink()

"""The journal beside a table: every finished row, safe on disk before it is told.

It is an SQLite database with a write-ahead log. The connection holds its lock for as long as the
process lives, so that two runs on one output are refused and a killed run leaves nothing locked;
as no other process may look in meanwhile, no shared memory is needed and network file systems do.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from harpsstar._version import __version__
from harpsstar.errors import ReadError, UnwritableError
from harpsstar.io.facts import Facts
from harpsstar.io.paths import Found, Stamp
from harpsstar.io.results import Row, without_noise

#: Added to the name of a table.
SUFFIX = ".journal"
_FORMAT = "harpsstar-journal-1"
_MATRICES = ("covariance", "covariance_noise")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS facts (
    path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, ctime INTEGER, facts TEXT);
CREATE TABLE IF NOT EXISTS inputs (
    position INTEGER PRIMARY KEY, path TEXT UNIQUE, name TEXT);
CREATE TABLE IF NOT EXISTS rows (
    path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, ctime INTEGER, digest TEXT,
    model TEXT, version TEXT, night TEXT, status TEXT, final INTEGER, serial INTEGER,
    row TEXT, picture BLOB);
CREATE INDEX IF NOT EXISTS nights ON rows (night);
"""


class BusyError(UnwritableError):
    """Another run is writing to this output."""


class StorageError(UnwritableError):
    """The journal or the table cannot be written: a full disk, or no permission."""


@dataclass(frozen=True)
class Known:
    """What the journal has of a file.

    Attributes
    ----------
    stamp : Stamp or None
        Of the file when it was read.
    digest : str
        SHA-256 of the file; empty when it could not be read.
    model : str
        Name and hash of the model that made the row.
    status : str
        Of the row.
    final : bool
        Whether the row holds as long as the file does; not so when a worker died over it.
    serial : int
        Rises with every row that is recorded.
    """

    stamp: Stamp | None
    digest: str
    model: str
    status: str
    final: bool
    serial: int


@dataclass(frozen=True)
class Record:
    """A finished row with what it was made from; fields as in :class:`Known`."""

    path: str
    row: Row
    stamp: Stamp | None = None
    digest: str = ""
    model: str = ""
    night: str = "unknown"
    final: bool = True


class Journal:
    """All rows ever made for one table.

    Parameters
    ----------
    path : Path or None
        The database file, made when it is missing; None keeps everything in memory.

    Attributes
    ----------
    serial : int
        Of the row that was recorded last.

    Raises
    ------
    BusyError
        Another process has it open.
    StorageError
        It cannot be opened or made.
    ReadError
        The file is no journal.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.serial = 0
        with self._translated():
            self._db = sqlite3.connect(
                ":memory:" if path is None else path, timeout=0, isolation_level=None
            )
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise

    def _open(self) -> None:
        # Before the journal mode: then the log needs no memory shared with other processes.
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("BEGIN EXCLUSIVE")
        self._db.execute("COMMIT")
        known = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if known and self.note("format") != _FORMAT:
            raise ReadError("is not a journal of this version of harpsstar", path=self.path,
                            expected=_FORMAT, hint="move it away to start a new one")
        if not known:
            # In one transaction: a run killed in between leaves no journal without its format.
            note = f"INSERT INTO meta (key, value) VALUES ('format', '{_FORMAT}');"
            self._db.executescript(f"BEGIN; {_SCHEMA}; {note} COMMIT;")
        self.serial = self._db.execute("SELECT coalesce(max(serial), 0) FROM rows").fetchone()[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and give up its lock."""
        # What is in the log is safe; a full disk only keeps it from moving to the main file.
        with suppress(sqlite3.Error):
            self._db.close()

    def note(self, key: str) -> str:
        """Return a remark kept under a name; empty when there is none."""
        try:
            found = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        except sqlite3.OperationalError:
            return ""
        return str(found[0]) if found else ""

    def put_note(self, key: str, value: str) -> None:
        """Keep a remark under a name."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def facts(self, path: str, stamp: Stamp) -> Facts | None:
        """Return what the header of this file said; None when it has changed since."""
        found = self._db.execute(
            "SELECT facts FROM facts WHERE path = ? AND size = ? AND mtime = ? AND ctime = ?",
            (_text(path), *stamp),
        ).fetchone()
        return Facts(**json.loads(found[0])) if found else None

    def remember(self, facts: Iterable[tuple[str, Stamp, Facts]]) -> None:
        """Keep what headers said."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?, ?)",
                ((_text(path), *stamp, json.dumps(dataclasses.asdict(item)))
                 for path, stamp, item in facts),
            )

    def set_inputs(
        self,
        found: Iterable[Found],
        *,
        append: bool = False,
        keep: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Say which rows make the table, and in which order: first those to ``keep``."""
        named = [(item.key, str(item.path)) for item in found]
        with self._transaction():
            if not append:
                self._db.execute("DELETE FROM inputs")
            self._db.executemany(
                "INSERT INTO inputs (path, name) VALUES (?, ?)"
                " ON CONFLICT (path) DO UPDATE SET name = excluded.name",
                ((_text(path), _text(name)) for path, name in (*keep, *named)),
            )

    def inputs_beside(self, paths: Iterable[str]) -> list[tuple[str, str]]:
        """Return path and name of the table's other inputs."""
        known = {_text(path) for path in paths}
        rows = self._db.execute("SELECT path, name FROM inputs ORDER BY position")
        return [(path, name) for path, name in rows if path not in known]

    def drop_inputs(self, paths: Iterable[str]) -> None:
        """Leave rows out of the table, which stay in the journal."""
        with self._transaction():
            self._db.executemany("DELETE FROM inputs WHERE path = ?",
                                 ((_text(path),) for path in paths))

    def known(self, path: str) -> Known | None:
        """Return what there is of this file."""
        found = self._db.execute(
            "SELECT size, mtime, ctime, digest, model, status, final, serial FROM rows"
            " WHERE path = ?",
            (_text(path),),
        ).fetchone()
        if found is None:
            return None
        *stamp, digest, model, status, final, serial = found
        whole = None if stamp[0] is None else (stamp[0], stamp[1], stamp[2])
        return Known(whole, digest, model, status, bool(final), serial)

    def record(self, records: Iterable[Record]) -> None:
        """Add rows; they are on disk when this returns."""
        with self._transaction():
            for item in records:
                self.serial += 1
                self._db.execute(
                    "INSERT OR REPLACE INTO rows VALUES (?,?,?,?,?,?,?,?,?,?,?,?,NULL)",
                    (_text(item.path), *(item.stamp or (None, None, None)), item.digest, item.model,
                     __version__, item.night, item.row.status, item.final, self.serial,
                     _pack(item.row)),
                )

    def confirm(self, path: str, stamp: Stamp | None) -> Row:
        """Note that a file which looks new has the old content, and return its row."""
        with self._transaction():
            self._db.execute("UPDATE rows SET size = ?, mtime = ?, ctime = ? WHERE path = ?",
                             (*(stamp or (None, None, None)), _text(path)))
        (text,) = self._db.execute("SELECT row FROM rows WHERE path = ?",
                                   (_text(path),)).fetchone()
        return _unpack(path, text)

    def add_pictures(self, pictures: Iterable[tuple[str, bytes]]) -> None:
        """Keep pictures of spectra, by path."""
        with self._transaction():
            self._db.executemany("UPDATE rows SET picture = ? WHERE path = ?",
                                 ((picture, _text(path)) for path, picture in pictures))

    def picture(self, path: str) -> bytes | None:
        """Return the picture of a spectrum, if there is one."""
        found = self._db.execute("SELECT picture FROM rows WHERE path = ?",
                                 (_text(path),)).fetchone()
        return found[0] if found else None

    def rows(self, night: str | None = None) -> Iterator[Row]:
        """Yield the rows of the table, in its order; of one night only when it is given."""
        for _, row in self.paths_and_rows(night):
            yield row

    def paths_and_rows(self, night: str | None = None) -> Iterator[tuple[str, Row]]:
        """Yield path and row as :meth:`rows` does."""
        which = "" if night is None else " WHERE night = ?"
        for path, name, text in self._db.execute(
            f"SELECT path, name, row FROM inputs JOIN rows USING (path){which} ORDER BY position",
            () if night is None else (night,),
        ):
            yield path, _unpack(name, text)

    def nights(self) -> dict[str, str]:
        """Return the nights of the table, each with a text that changes with its rows."""
        found = self._db.execute(
            "SELECT night, count(*), max(serial), sum(serial) FROM inputs JOIN rows USING (path)"
            " GROUP BY night ORDER BY night"
        )
        return {night: "-".join(map(str, rest)) for night, *rest in found}

    def counts(self) -> dict[str, int]:
        """Return how many rows of the table have each status."""
        return dict(self._db.execute(
            "SELECT status, count(*) FROM inputs JOIN rows USING (path) GROUP BY status"
        ))

    def models(self) -> dict[str, int]:
        """Return how many rows of the table each model has made."""
        return dict(self._db.execute(
            "SELECT model, count(*) FROM inputs JOIN rows USING (path) WHERE model != ''"
            " GROUP BY model"
        ))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise BusyError(
                    "another run is writing to this output", path=self.path,
                    hint="wait for it, or choose another output",
                ) from error
            raise StorageError(
                f"cannot be written ({error})", path=self.path,
                hint="free disk space or choose a writable folder; the same command then continues",
            ) from error
        except sqlite3.DatabaseError as error:
            raise ReadError(f"is not a journal, or is damaged ({error})", path=self.path,
                            hint="move it away to start a new one") from error


def journal_of(output: str | Path) -> Path:
    """Return the journal of a table: beside it, with its name and :data:`SUFFIX`.

    Through links it lies beside the table itself, so that all names of a table have one journal.
    """
    output = Path(os.path.realpath(output))
    return output.with_name(output.name + SUFFIX)


def _pack(row: Row) -> str:
    values = {field.name: getattr(row, field.name) for field in dataclasses.fields(Row)}
    del values["file"]
    for name in _MATRICES:
        values[name] = np.asarray(getattr(row, name)).tolist()
    kept = {name: value for name, value in values.items()
            if not (value == "" or (isinstance(value, float) and math.isnan(value)))}
    return json.dumps(kept)


def _unpack(file: str, text: str) -> Row:
    values: dict[str, Any] = json.loads(text)
    if "covariance_noise" not in values and "teff" in values:
        # Written by a version that did not keep it.
        values["message"] = without_noise(values.get("message", ""))
    matrices = {name: np.array(values[name]) for name in _MATRICES if name in values}
    return Row(file=file, **(values | matrices))


def _text(name: str) -> str:
    """Return a file name as text that UTF-8 holds: names may be any bytes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

"""Which parameters of the commands name files, and what is done about it before a command begins.

Every parameter that names a file says in its annotation whether the file is read or written. From
that the program itself finds out, for all commands alike, whether an output is an input, a file of
somebody else, or cannot be written at all: before anything is read.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from harpsstar.outputs import check_file, check_folder, check_room, refuse_twice, under
from harpsstar.outputs.kinds import JOURNAL, Kind


@dataclass(frozen=True)
class Reads:
    """The parameter names files, folders or patterns that are read, or something packaged."""


class Writes:
    """The parameter names a file that is written.

    Parameters
    ----------
    *kinds : Kind
        What the file is; the end of its name decides. None: it is a folder.
    folder_if : str
        Name of a parameter that makes it a folder when it is given.
    journal : bool
        Whether a journal is written beside it.
    or_stdout : bool
        Whether "-" is no file but standard output.
    """

    def __init__(
        self, *kinds: Kind, folder_if: str = "", journal: bool = False, or_stdout: bool = False
    ) -> None:
        self.kinds, self.folder_if, self.journal = kinds, folder_if, journal
        self.or_stdout = or_stdout

    def files(self, value: Any) -> Iterator[Path]:
        """Yield the files, or folders, that the value of the parameter names."""
        return (path for path in _paths(value) if not (self.or_stdout and path == Path("-")))

    def check(self, path: Path, values: Mapping[str, Any], overwrite: bool | None) -> None:
        """Refuse what may not, or cannot, be written there."""
        if not self.kinds or values.get(self.folder_if):
            check_folder(path)
        else:
            resumed = self.journal and os.path.isfile(_journal(path))
            check_file(path, *self.kinds, overwrite=None if resumed else overwrite)
            check_room(path)
        if self.journal and os.path.isfile(_journal(path)):
            check_file(_journal(path), JOURNAL)


def _journal(path: Path) -> Path:
    from harpsstar.archive.journal import journal_of

    return journal_of(path)


def roles(command: Callable[..., Any]) -> dict[str, Reads | Writes]:
    """Return the parameters of a command that name files, each with what is done to them."""
    found: dict[str, Reads | Writes] = {}
    for name, hint in get_type_hints(command, include_extras=True).items():
        marks = get_args(hint) if get_origin(hint) is Annotated else ()
        for mark in marks:
            if isinstance(mark, Reads | Writes):
                found[name] = mark
    return found


def guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command that finds out first whether its outputs may and can be written."""
    files = roles(command)
    if not any(isinstance(role, Writes) for role in files.values()):
        return command

    @functools.wraps(command)
    def run(**values: Any) -> Any:
        from harpsstar.io.paths import policy_of

        reads = [path for name, role in files.items() if isinstance(role, Reads)
                 for path in _paths(values.get(name))]  # fmt: skip
        overwrite = values.get("overwrite")
        rules = replace(policy_of(reads, overwrite=overwrite),
                        asked_by="--overwrite" if "overwrite" in values else "")  # fmt: skip
        with under(rules):
            written = []
            for name, role in files.items():
                if not isinstance(role, Writes):
                    continue
                for path in role.files(values.get(name)):
                    # Only the main output is meant by --no-overwrite.
                    never = False if overwrite is False and name == "output" else None
                    role.check(path, values, never)
                    written.append(path)
            refuse_twice(written)
            return command(**values)

    return run


def _paths(value: Any) -> Iterator[Path]:
    """Yield the paths in the value of a parameter."""
    if isinstance(value, str | Path):
        yield Path(value)
    elif isinstance(value, Iterable):
        yield from map(Path, value)


def guard(app: typer.Typer) -> None:
    """Guard all commands of a program, and those of its groups."""
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = guarded(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            guard(group.typer_instance)

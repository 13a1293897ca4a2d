"""What may be written, where, and how: every file that harpsstar writes goes through this room.

An input is sacred. A file that is read in a run is never replaced, by whatever name or link it is
called; a file that harpsstar did not write is replaced only where the user asked for it. Files are
replaced whole.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from harpsstar.errors import OutputError, UnwritableError
from harpsstar.outputs.kinds import TABLE, Kind, product_of

__all__ = [
    "Policy", "check_file", "check_folder", "check_room", "make_folder", "policy", "product_of",
    "refuse_twice", "replacing", "under",
]  # fmt: skip

Name: TypeAlias = str | os.PathLike[str]


def _nothing() -> Iterable[Name]:
    return ()


@dataclass(frozen=True)
class Policy:
    """What a run reads, and what its user allows.

    Attributes
    ----------
    inputs : tuple of str or path
        Files that are read, as they were named; folders and patterns among them stand for nothing.
    found : callable
        Returns the files behind folders and patterns, too. As that takes a search, it is called
        only when an output exists that harpsstar did not write.
    overwrite : bool
        Whether the user asked to replace files that harpsstar did not write.
    asked_by : str
        How a user asks for that, for messages; empty where it cannot be asked.
    """

    inputs: tuple[Name, ...] = ()
    found: Callable[[], Iterable[Name]] = field(default=_nothing)
    overwrite: bool = False
    asked_by: str = "overwrite=True"


#: Nothing is read, and nothing is allowed but to replace own products.
_BARE = Policy()
_POLICY: ContextVar[Policy] = ContextVar("harpsstar.outputs", default=_BARE)


def policy() -> Policy:
    """Return the policy of the present run; by default nothing is read, and nothing allowed."""
    return _POLICY.get()


@contextmanager
def under(rules: Policy) -> Iterator[None]:
    """Hold every file that is written in the block to a policy."""
    token = _POLICY.set(rules)
    try:
        yield
    finally:
        _POLICY.reset(token)


def check_file(path: Name, *kinds: Kind, overwrite: bool | None = None) -> Path:
    """Return a path if a file of one of some kinds may be written there.

    Parameters
    ----------
    path : str or Path
    *kinds : Kind
        What the file is to be; the end of its name decides.
    overwrite : bool, optional
        True: the user asked to replace whatever is there. False: nothing may be replaced. By
        default the policy of the run says whether a file that harpsstar did not write may be.

    Raises
    ------
    OutputError
        The name ends in something else; it is a folder, an input of this run, or a file that is no
        product of harpsstar of this kind.
    UnwritableError
        What is there cannot even be looked at, as a loop of links.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise OutputError("is a folder", expected="a file name", path=path)
    kind = next((kind for kind in kinds if kind.fits(path)), None)
    if kind is None:
        known = ", ".join(dict.fromkeys(suffix for kind in kinds for suffix in kind.suffixes))
        raise OutputError(f"unknown extension {path.suffix!r}", path=path,
                          expected=f"one of {known}" if "," in known else known,
                          hint="the extension chooses the format" if "," in known else "")
    mode = _mode(path)
    if kind.appended and mode is not None and not stat.S_ISREG(mode):
        return path  # a terminal or a pipe, in which nothing is lost
    rules = policy()
    _refuse_input(path, rules.inputs)
    if mode is not None:
        allowed = rules.overwrite if overwrite is None else overwrite
        _refuse_existing(path, kind, stat.S_ISREG(mode), overwrite is False, allowed, rules)
    return path


def _refuse_existing(
    path: Path, kind: Kind, regular: bool, never: bool, allowed: bool, rules: Policy
) -> None:
    if never:
        hint = f"choose another name{_or(rules.asked_by)}"
        raise OutputError("exists already", path=path, hint=hint)
    if not regular:
        raise OutputError("is not a regular file", expected="the name of a file", path=path)
    if product_of(path) in (kind.family, "nothing"):
        return
    _refuse_input(path, rules.found())
    if kind.appended or not allowed:
        hint = "choose another name; perhaps the one after -o was forgotten"
        hint = "choose another name" if kind.appended else hint + _or(rules.asked_by)
        raise OutputError(f"exists, and harpsstar did not write it as {kind.name}", path=path,
                          hint=hint)  # fmt: skip


def _or(asked_by: str) -> str:
    return f"; {asked_by} replaces the existing file" if asked_by else "; or move the file away"


def _refuse_input(path: Path, inputs: Iterable[Name]) -> None:
    real, identity = os.path.realpath(path), _identity(path)
    for name in inputs:
        same = identity is not None and identity == _identity(name)
        if same or os.path.realpath(name) == real:
            raise OutputError(
                "is an input of this run, which is never replaced", path=path,
                hint="choose another name; perhaps the one after -o was forgotten",
            )  # fmt: skip


def _identity(path: Name) -> tuple[int, int] | None:
    """What all links to a file have in common; None where there is no file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _mode(path: Path) -> int | None:
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unwritable(path, error) from error


def check_folder(path: Name) -> Path:
    """Return a path if a folder of outputs can be there; nothing is made yet.

    Raises
    ------
    OutputError
        There is a file in its place.
    UnwritableError
        Nothing can be written there.
    """
    path = Path(path)
    _refuse_input(path, (name for name in policy().inputs if os.path.isfile(name)))
    mode = _mode(path)
    if mode is not None and not stat.S_ISDIR(mode):
        raise OutputError("is a file", expected="a folder", path=path)
    place = Path(os.path.realpath(path))
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    _try(place, path, name=path.name if place.name != path.name else "")
    return path


def check_room(path: Name) -> Path:
    """Return a path if a file can be made, or replaced, at that place; nothing is left there.

    Raises
    ------
    OutputError
        Its folder does not exist.
    UnwritableError
        No permission, no room, no folder but a file, or a name that is too long.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    if not os.path.lexists(target.parent):
        raise OutputError(f"the folder {path.parent} does not exist", path=path,
                          hint="create it first")  # fmt: skip
    if os.path.islink(target):
        raise _unwritable(path, OSError(errno.ELOOP, os.strerror(errno.ELOOP)))
    _try(target.parent, path, name=target.name)
    return path


def _try(folder: Path, path: Path, *, name: str) -> None:
    """Make a file in a folder and remove it: no look at permissions tells as much."""
    trial = _beside(folder / (name or "x"))
    try:
        os.close(os.open(trial, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.unlink(trial)
    except OSError as error:
        raise _unwritable(path, error) from error


def _beside(target: Path) -> Path:
    return target.with_name(f".{secrets.token_hex(6)}.{target.name}")


def _unwritable(path: Name, error: OSError) -> UnwritableError:
    return UnwritableError(f"cannot be written ({error.strerror or error})", path=os.fspath(path),
                           hint="choose a folder that can be written and has room")  # fmt: skip


@contextmanager
def replacing(
    path: Path, *kinds: Kind, overwrite: bool | None = None
) -> Iterator[Path]:
    """Give a file to write, which takes the place of ``path`` when the block ends well.

    Its name is ``.<12 hexadecimal digits>.<name>``, in the same folder.

    Parameters
    ----------
    path, *kinds, overwrite
        See :func:`check_file`, which has the say; a table without kinds.

    Raises
    ------
    OutputError
        The file may not be replaced.
    UnwritableError
        No permission, full disk. An existing file is untouched.
    """
    check_file(path, *(kinds or (TABLE,)), overwrite=overwrite)
    # Through a link, its target is replaced and the link stays.
    target = Path(os.path.realpath(path))
    temporary = _beside(target)
    try:
        # Created here, not by a format's writer, so that the user's umask decides on the mode.
        temporary.touch(exist_ok=False)
        yield temporary
        _synchronise(temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _synchronise(path: Path) -> None:
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())


def make_folder(path: Name) -> Path:
    """Return a folder for outputs, made if need be, before any long work.

    Raises
    ------
    OutputError
        There is a file in its place.
    UnwritableError
        It cannot be made.
    """
    path = check_folder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableError(f"cannot be made ({error.strerror})", expected="a folder",
                              path=path) from error  # fmt: skip
    return path


def refuse_twice(outputs: Sequence[Name]) -> None:
    """Refuse two outputs of one run at the same place.

    Raises
    ------
    OutputError
        Two of them are one file.
    """
    seen: set[str] = set()
    for path in outputs:
        real = os.path.realpath(path)
        if real in seen:
            raise OutputError("is named for two outputs", path=os.fspath(path),
                              hint="choose another name")  # fmt: skip
        seen.add(real)

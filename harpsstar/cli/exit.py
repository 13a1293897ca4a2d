"""How a command ended, for scripts."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harpsstar.archive.batch import Outcome
    from harpsstar.infer.fit.batch import Outcome as FitOutcome


class ExitCode(enum.IntEnum):
    """Exit codes of every command."""

    OK = 0
    UNEXPECTED = 1
    NOTHING_DONE = 2
    SOME_FAILED = 3
    NOT_WRITTEN = 4
    INTERRUPTED = 130


_MEANING = {
    ExitCode.OK: "every input has a result (flagged ones included)",
    ExitCode.UNEXPECTED: "an unexpected error, which is a bug",
    ExitCode.NOTHING_DONE: "wrong usage, or no input gave a result",
    ExitCode.SOME_FAILED: "some inputs failed",
    ExitCode.NOT_WRITTEN: "the output could not be written (full disk, no permission, in use)",
    ExitCode.INTERRUPTED: "interrupted",
}


def describe_codes() -> str:
    """Return one line for the help that says what each code means."""
    return "Exit codes: " + "; ".join(f"{code:d} {text}" for code, text in _MEANING.items()) + "."


def code_of(outcome: Outcome | FitOutcome) -> ExitCode:
    """Return the code of a batch."""
    failed = outcome.count("failed")
    if outcome.interrupted:
        return ExitCode.INTERRUPTED
    if failed == outcome.total:
        return ExitCode.NOTHING_DONE
    return ExitCode.SOME_FAILED if failed else ExitCode.OK

"""Standard output and error where the terminal does not know every character."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata
import warnings
from typing import TextIO

from harpsstar.errors import HarpsstarWarning

_NAME = "harpsstar"
#: How characters are written that commands print and old encodings lack.
_PLAIN = {
    "±": "+-", "σ": " sigma", "Σ": "Sigma", "–": "-", "—": "-", "−": "-", "…": "...", "×": "x",
    "µ": "u", "μ": "u", "χ": "chi", "α": "alpha", "λ": "lambda", "Å": "A", "·": "*", "≤": "<=",
    "≥": ">=", "≈": "~", "→": "->", "‘": "'", "’": "'", "“": "'", "”": "'",
}  # fmt: skip


def be_lenient() -> None:
    """Let standard output and error write in plain letters what their encoding lacks.

    A character that cannot be shown must not cost the result of a run.
    """
    codecs.register_error(_NAME, _in_plain_letters)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_NAME)


def show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int,
    file: TextIO | None = None, line: str | None = None,
) -> None:  # fmt: skip
    """Print the package's own warnings as its other messages, without a line of its code."""
    if issubclass(category, HarpsstarWarning):
        print(f"harpsstar: {message}", file=sys.stderr)
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        print(text, file=file or sys.stderr, end="")


def _in_plain_letters(error: UnicodeError) -> tuple[str, int]:
    """Replace what cannot be encoded: by a known spelling, without its accent, or by "?"."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(map(_plain, text)), error.end


def _plain(character: str) -> str:
    if character in _PLAIN:
        return _PLAIN[character]
    base = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    # Quotes and backslashes would break JSON.
    return base if base and not set(base) & set('"\\') else "?"

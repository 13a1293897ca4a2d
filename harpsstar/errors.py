"""The package's own errors: what was expected, what was found, where, and what to do."""

from __future__ import annotations

from pathlib import Path


class HarpsstarError(Exception):
    """Base of every error that harpsstar raises on purpose.

    Parameters
    ----------
    found : str
        What is wrong, as found.
    expected : str, optional
        What was expected instead.
    hint : str, optional
        What the user can do about it.
    path : str or Path, optional
        The file concerned.
    """

    def __init__(
        self,
        found: str,
        *,
        expected: str = "",
        hint: str = "",
        path: str | Path | None = None,
    ) -> None:
        self.found = found
        self.expected = expected
        self.hint = hint
        self.path = None if path is None else str(path)
        parts = [f"{self.path}: {found}" if self.path else found]
        if expected:
            parts.append(f"expected {expected}")
        if hint:
            parts.append(hint)
        super().__init__("; ".join(parts))

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the trip between worker processes with every part."""
        return (_rebuild, (type(self), self.found, self.expected, self.hint, self.path))


def _rebuild(
    kind: type[HarpsstarError], found: str, expected: str, hint: str, path: str | None
) -> HarpsstarError:
    return kind(found, expected=expected, hint=hint, path=path)


class ReadError(HarpsstarError):
    """A file cannot be read as a spectrum (truncated, not FITS, empty, cards missing)."""


class WrongProductError(ReadError):
    """A readable product that holds no stellar spectrum (ccf, blaze, wave, calibration)."""


class UnknownInstrumentError(ReadError):
    """The header names no instrument that harpsstar has a description of."""


class CoverageError(HarpsstarError):
    """The spectrum has no usable pixel in the wavelengths that harpsstar analyses."""


class OutsideGridError(HarpsstarError, ValueError):
    """Labels outside the convex set of existing grid nodes."""


class ConfigError(HarpsstarError, ValueError):
    """A configuration or recipe with an unknown key or an impossible value."""


class InputsMissingError(HarpsstarError):
    """Decks, line lists or an optional dependency needed for synthesis are not there."""


class OutputError(HarpsstarError):
    """An output that may not be written, or not under this name (unknown extension, an input)."""


class UnwritableError(OutputError):
    """The place of an output cannot be written to (no permission, full disk, in use)."""


class ModelError(HarpsstarError):
    """A weights file or packaged grid that cannot be used."""


class TrainingError(HarpsstarError):
    """Training cannot continue (a loss that is not finite, an incompatible checkpoint)."""


#: How a message begins that tells of an error which harpsstar did not raise on purpose.
UNEXPECTED = "unexpected "


def unexpected(error: BaseException) -> str:
    """Say what a bug looks like from outside, and ask for a report."""
    return f"{UNEXPECTED}{type(error).__name__}: {error}; please report it"


class HarpsstarWarning(UserWarning):
    """Something a user should know that does not stop the work."""

"""What a user says about spectra whose files do not say it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harpsstar.errors import ConfigError

__all__ = ["FRAMES", "MEDIA", "NOTHING", "Given"]

MEDIA = ("air", "vacuum")
FRAMES = ("barycentric", "topocentric", "rest")
#: Resolving powers that an échelle spectrograph can have.
_RESOLUTIONS = (1_000.0, 1_000_000.0)


@dataclass(frozen=True)
class Given:
    """Facts that complete a file; what the file itself says about medium and frame comes first.

    Attributes
    ----------
    resolution : float or None
        Resolving power λ/Δλ; takes the place of what header and instrument say.
    medium : str
        ``"air"`` or ``"vacuum"``; empty when not given.
    frame : str
        ``"barycentric"``, ``"topocentric"`` or ``"rest"``; empty when not given.

    Raises
    ------
    ConfigError
        A value that is none of these.
    """

    resolution: float | None = None
    medium: str = ""
    frame: str = ""

    def __post_init__(self) -> None:
        """Refuse what no spectrum can have."""
        low, high = _RESOLUTIONS
        if self.resolution is not None:
            number = math.isfinite(self.resolution)
            if not (number and low <= self.resolution <= high):
                raise ConfigError(
                    f"a resolving power of {self.resolution:g}",
                    expected=f"λ/Δλ between {low:,.0f} and {high:,.0f}",
                )
        for name, value, allowed in (
            ("medium", self.medium, MEDIA),
            ("frame", self.frame, FRAMES),
        ):
            if value and value not in allowed:
                raise ConfigError(f"{name} {value!r}", expected=f"one of {', '.join(allowed)}")

    def __str__(self) -> str:
        """As options of the command line; empty when nothing is given."""
        parts = [f"--resolution {self.resolution:g}"] if self.resolution is not None else []
        parts += [f"--medium {self.medium}"] if self.medium else []
        parts += [f"--frame {self.frame}"] if self.frame else []
        return " ".join(parts)


#: The user says nothing.
NOTHING = Given()

"""What a data set is made of: presets as TOML, read into a strict dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harpsstar._packaged import FORMER, PAPER, Packaged
from harpsstar.config import from_toml, to_mapping
from harpsstar.errors import ConfigError
from harpsstar.mock.simulate import Priors

__all__ = ["Preset", "packaged", "read_preset", "recorded"]

_PRESETS = Packaged("harpsstar.mock.dataset", "preset", "a TOML file", ConfigError)


@dataclass(frozen=True)
class Preset:
    """Everything that a data set depends on but the emulator.

    Attributes
    ----------
    name, description : str
        One line each.
    source : {"nodes", "stars"}
        Every node of the grid at each ``vsini``, noise-free; or ``spectra`` stars drawn from
        ``priors`` and observed with noise.
    seed : int
        Of the split, and of the stars and their noise.
    test_share : float
        Share of the spectra that is kept for tests, rounded down to whole spectra.
    vsini : tuple of float
        Rotation velocities of nodes [km/s].
    vmic, vmac : float
        Micro- and macroturbulence of nodes [km/s].
    spectra : int
        How many stars.
    resolution : float
        Resolving power.
    wavelengths : (float, float)
        Air wavelengths [Å] outside of which pixels are 0.
    response : {"slant", "blaze"}
        What multiplies the spectrum along an order: a straight line from 1 − ``slant`` to
        1 + ``slant``, or HARPS-N's blaze (median 1).
    slant : float
        See there.
    priors : Priors
        What stars and their exposures are drawn from.
    """

    name: str
    source: Literal["nodes", "stars"]
    seed: int
    wavelengths: tuple[float, float]
    response: Literal["slant", "blaze"]
    description: str = ""
    test_share: float = 0.2
    vsini: tuple[float, ...] = ()
    vmic: float = 2.0
    vmac: float = 0.0
    spectra: int = 0
    resolution: float = 115000.0
    slant: float = 0.0
    priors: Priors = field(default_factory=Priors)

    def __post_init__(self) -> None:
        """Refuse what no data set can be made of."""
        if not 0 <= self.test_share < 1:
            raise ValueError("test_share must be at least 0 and below 1")
        if self.source == "nodes" and (not self.vsini or len(set(self.vsini)) < len(self.vsini)):
            raise ValueError("nodes need at least one vsini, each once")
        if self.source == "stars" and self.spectra < 1:
            raise ValueError("spectra must be positive")
        if not 0 <= self.slant < 1:
            raise ValueError("slant must be at least 0 and below 1")
        if self.source == "stars" and self.response == "slant":
            raise ValueError('stars are observed with their blaze; set response to "blaze"')
        if not self.wavelengths[0] < self.wavelengths[1]:
            raise ValueError("wavelengths must be the lower and the upper end")


def recorded(preset: Preset) -> dict[str, Any]:
    """Return what a data set records of its preset: all of its keys.

    The preset ``paper`` is recorded under the name that it had first: a set is the same to the
    byte in every version, and one that was interrupted before the change is continued after it.
    """
    name = FORMER if preset.name == PAPER else preset.name
    return to_mapping(preset) | {"name": name}


def packaged() -> list[str]:
    """Names of the presets that come with the package."""
    return _PRESETS.names()


def read_preset(name: str | Path) -> Preset:
    """Read a packaged preset by name, or a TOML file by path.

    Raises
    ------
    ConfigError
        No such preset, an unknown key (those that exist are named) or an impossible value.
    """
    return from_toml(Preset, _PRESETS.locate(name))

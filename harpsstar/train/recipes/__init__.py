"""Recipes: everything a training depends on, as TOML read into strict dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from harpsstar.config import from_toml
from harpsstar.errors import ConfigError
from harpsstar.train.simulate import Priors


@dataclass(frozen=True)
class NetworkOptions:
    """Which network, and how large."""

    name: str = "projector"
    n_features: int = 320
    width: int = 512
    depth: int = 4


@dataclass(frozen=True)
class DataOptions:
    """How many spectra are made; see ``default.toml`` for the meaning of each key."""

    projector_spectra: int = 4000
    spectra: int = 60000
    exposures: int = 4
    validation: int = 3000
    batch: int = 64


@dataclass(frozen=True)
class OptimiserOptions:
    """AdamW with one learning-rate cycle."""

    epochs: int = 40
    batch: int = 512
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4


@dataclass(frozen=True)
class CalibrationOptions:
    """Held-out spectra on which the errors are scaled."""

    snr: tuple[float, ...] = (7.0, 20.0, 50.0, 100.0, 200.0, 400.0)
    spectra: int = 600


@dataclass(frozen=True)
class Recipe:
    """Everything that a training depends on."""

    name: str
    description: str = ""
    seed: int = 0
    resolution: float = 115000.0
    network: NetworkOptions = field(default_factory=NetworkOptions)
    data: DataOptions = field(default_factory=DataOptions)
    optimiser: OptimiserOptions = field(default_factory=OptimiserOptions)
    calibration: CalibrationOptions = field(default_factory=CalibrationOptions)
    priors: Priors = field(default_factory=Priors)

    def __post_init__(self) -> None:
        """Refuse numbers that no training can use."""
        if self.data.projector_spectra < self.network.n_features:
            raise ValueError("data.projector_spectra must be at least network.n_features")
        if min(self.data.spectra, self.data.exposures, self.data.validation) < 1:
            raise ValueError("data.spectra, data.exposures and data.validation must be positive")
        if len(self.calibration.snr) < 2 or list(self.calibration.snr) != sorted(
            set(self.calibration.snr)
        ):
            raise ValueError("calibration.snr must be at least two increasing values")


def packaged() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("harpsstar.train.recipes")
    return sorted(e.name[:-5] for e in folder.iterdir() if e.name.endswith(".toml"))


def read_recipe(name: str | Path) -> Recipe:
    """Read a packaged recipe by name, or a TOML file by path.

    Raises
    ------
    ConfigError
        No such recipe, an unknown key (those that exist are named) or an impossible value.
    """
    if str(name) in packaged():
        name = Path(str(resources.files("harpsstar.train.recipes").joinpath(f"{name}.toml")))
    elif not Path(name).is_file():
        raise ConfigError(
            "no such recipe",
            path=name,
            expected=f"a TOML file or one of the packaged recipes: {', '.join(packaged())}",
        )
    return from_toml(Recipe, name)

"""Recipes: everything a training depends on, as TOML read into strict dataclasses.

A recipe may begin with ``extends = "other"``: it then is the other one (packaged, or a file beside
it) with its own keys on top. Which keys a recipe may have depends on ``network.name``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from harpsstar._packaged import FORMER, PAPER, Packaged, warn_of_former_name
from harpsstar.config import from_mapping
from harpsstar.errors import ConfigError
from harpsstar.labels import TEFF
from harpsstar.mock.simulate import Priors

Covariance: TypeAlias = Literal["diagonal", "full"]
#: Spectra without noise that the linear part of an auto-encoder is found from, of an epoch's.
COMPONENTS_FROM = 2048


@dataclass(frozen=True)
class NetworkOptions:
    """Which network, and how large."""

    name: str = "projector"
    n_features: int = 320
    width: int = 512
    depth: int = 4


@dataclass(frozen=True)
class ResNetOptions:
    """Arguments of :class:`harpsstar.nn.resnet.ResNet`."""

    name: Literal["resnet"] = "resnet"
    covariance: Covariance = "diagonal"
    channels: tuple[int, int, int, int, int] = (16, 16, 32, 32, 64)
    strides: tuple[int, int, int, int, int] = (4, 2, 2, 2, 2)
    hidden: tuple[int, int] = (256, 128)
    dropout: float = 0.1


@dataclass(frozen=True)
class AttentionOptions:
    """Arguments of :class:`harpsstar.nn.attention.AttentionNetwork`."""

    name: Literal["attention"] = "attention"
    covariance: Covariance = "diagonal"
    channels: tuple[int, int, int, int] = (16, 32, 64, 64)
    bins: int = 128
    hidden: int = 128
    dropout: float = 0.0


@dataclass(frozen=True)
class DataOptions:
    """How many spectra are made; see ``default.toml`` for the meaning of each key."""

    projector_spectra: int = 4000
    spectra: int = 60000
    exposures: int = 4
    validation: int = 3000
    batch: int = 64


@dataclass(frozen=True)
class SpectraOptions:
    """Training spectra of a network of images, made while it is trained.

    Attributes
    ----------
    preset : {"paper", "ours"}
        ``"paper"``: the paper's spectra (vmic 2 km/s, no macroturbulence, linear interpolation
        between nodes, white noise). ``"ours"``: those of the default network (nuisances from
        their priors, blaze, photon noise, masks and a fitted continuum).
    snr : float
        Signal-to-noise ratio per pixel, the same for every spectrum.
    teff : tuple of float
        Temperatures, K.
    wavelengths : tuple of float
        The network sees no others, Å in air.
    spectra : int
        Spectra in an epoch.
    fresh : bool
        Draw other stars in every epoch; otherwise the same stars with other noise.
    validation : int
        Spectra by which the best weights are chosen.
    model_error : float
        Of ``"ours"``: how wrong the spectra are, in units of how wrong the models of the Sun are,
        so that a network learns which pixels of a real star to trust, and how far.
    """

    preset: Literal["paper", "ours"] = "paper"
    snr: float = 20.0
    teff: tuple[float, float] = (TEFF.low, TEFF.high)
    wavelengths: tuple[float, float] = (5050.0, 5350.0)
    spectra: int = 22669
    fresh: bool = False
    validation: int = 2048
    model_error: float = 0.0

    def __post_init__(self) -> None:
        """Refuse numbers that no training can use."""
        if min(self.spectra, self.validation) < 1 or not self.snr > 0:
            raise ValueError("spectra, validation and snr must be positive")
        if self.model_error < 0 or (self.model_error and self.preset == "paper"):
            raise ValueError("model_error must not be negative, and needs the preset ours")
        if not TEFF.low <= self.teff[0] < self.teff[1] <= TEFF.high:
            raise ValueError(f"teff must increase within {TEFF.low:g} to {TEFF.high:g} K")
        if not self.wavelengths[0] < self.wavelengths[1]:
            raise ValueError("wavelengths must increase")


@dataclass(frozen=True)
class OptimiserOptions:
    """How a loss is minimised.

    Attributes
    ----------
    algorithm : {"adamw", "adam"}
        Decoupled weight decay or none worth the name.
    schedule : {"one-cycle", "step"}
        One cycle of the learning rate over the whole training, or a constant rate that is
        multiplied by ``gamma`` for the last ``last_epochs`` epochs.
    precision : {"float32", "bfloat16"}
        Of convolutions and matrix products; heads and losses are always float32.
    channels_last : bool
        Lay kernels out with their channels last. What they compute stays; processors without
        matrix units (``amx``) train attention networks 1.7 times faster so. On an accelerator it
        is always done.
    """

    epochs: int = 40
    batch: int = 512
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    algorithm: Literal["adamw", "adam"] = "adamw"
    schedule: Literal["one-cycle", "step"] = "one-cycle"
    gamma: float = 0.1
    last_epochs: int = 50
    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that no training can use."""
        if self.epochs < 1 or self.batch < 1 or not self.learning_rate > 0:
            raise ValueError("epochs, batch and learning_rate must be positive")


@dataclass(frozen=True)
class DenoiserOptions:
    """Arguments of :class:`harpsstar.nn.dae.DenoisingAutoEncoder`, and how it is trained."""

    channels: tuple[int, ...] = (16, 16, 16)
    strides: tuple[int, ...] = (4, 4, 2)
    latent: int = 256
    linear: bool = False
    optimiser: OptimiserOptions = field(default_factory=OptimiserOptions)

    def __post_init__(self) -> None:
        """Refuse an auto-encoder that cannot be built."""
        if not self.channels or len(self.channels) != len(self.strides):
            raise ValueError("channels and strides must have the same length")


@dataclass(frozen=True)
class CalibrationOptions:
    """Held-out spectra on which the errors are scaled."""

    snr: tuple[float, ...] = (7.0, 20.0, 50.0, 100.0, 200.0, 400.0)
    spectra: int = 600


@dataclass(frozen=True)
class HeldOutOptions:
    """Held-out spectra, at the SNR of the training, on which the errors are scaled."""

    spectra: int = 4096


@dataclass(frozen=True)
class Recipe:
    """Everything that a training of the projector network depends on."""

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


@dataclass(frozen=True)
class ImageRecipe:
    """Everything that a training of a network of spectral images depends on.

    ``denoiser`` puts an auto-encoder in front; it is trained first, on the same spectra.
    """

    name: str
    description: str = ""
    seed: int = 0
    resolution: float = 115000.0
    network: ResNetOptions | AttentionOptions = field(default_factory=ResNetOptions)
    denoiser: DenoiserOptions | None = None
    data: SpectraOptions = field(default_factory=SpectraOptions)
    optimiser: OptimiserOptions = field(default_factory=OptimiserOptions)
    calibration: HeldOutOptions = field(default_factory=HeldOutOptions)
    priors: Priors = field(default_factory=Priors)

    def __post_init__(self) -> None:
        """Refuse what torch cannot do, and more components than there are spectra."""
        if self.optimiser.channels_last and isinstance(self.network, ResNetOptions):
            raise ValueError(
                "optimiser.channels_last is for attention networks: torch crashes on the strides "
                "of a residual one (an accelerator lays its kernels out so without being told)"
            )
        if self.denoiser is None or not self.denoiser.linear:
            return
        if min(self.data.spectra, COMPONENTS_FROM) < self.denoiser.latent:
            raise ValueError(
                "with denoiser.linear, denoiser.latent must be at most data.spectra and "
                f"{COMPONENTS_FROM}"
            )


@dataclass(frozen=True)
class ResNetRecipe(ImageRecipe):
    """An :class:`ImageRecipe` of the residual network."""

    network: ResNetOptions = field(default_factory=ResNetOptions)


@dataclass(frozen=True)
class AttentionRecipe(ImageRecipe):
    """An :class:`ImageRecipe` of the attention network."""

    network: AttentionOptions = field(default_factory=AttentionOptions)


#: The kind of recipe that a network needs.
KINDS: dict[str, type[Recipe] | type[ImageRecipe]] = {
    "projector": Recipe,
    "resnet": ResNetRecipe,
    "attention": AttentionRecipe,
}
_RECIPES = Packaged("harpsstar.train.recipes", "recipe", "a TOML file", ConfigError)


def packaged() -> list[str]:
    """Names of the recipes that come with the package."""
    return _RECIPES.names()


def read_recipe(name: str | Path, changes: tuple[str, ...] = ()) -> Recipe | ImageRecipe:
    """Read a packaged recipe by name, or a TOML file by path.

    Parameters
    ----------
    name : str or Path
    changes : tuple of str
        Lines of TOML such as ``"optimiser.epochs = 10"`` that go on top.

    Raises
    ------
    ConfigError
        No such recipe, an unknown key (those that exist are named) or an impossible value.
    """
    path = _RECIPES.locate(name)
    mapping = _whole(path, ())
    for line in changes:
        mapping = _merged(mapping, _parse(line, None))
    if present_names(mapping)["data"] != mapping.get("data", {}):
        warn_of_former_name("preset", mapping["data"]["preset"])
    return recipe_from(mapping, path)


def recipe_from(mapping: Mapping[str, Any], path: str | Path | None = None) -> Recipe | ImageRecipe:
    """Make the recipe of nested mappings, as a model's card holds it, with names old or new.

    Raises
    ------
    ConfigError
        An unknown network or key, a missing key or an impossible value.
    """
    network = mapping.get("network", {})
    kind = network.get("name", "projector") if isinstance(network, Mapping) else "projector"
    if kind not in KINDS:
        raise ConfigError(
            f"network.name is {kind!r}", expected=f"one of {', '.join(map(repr, KINDS))}", path=path
        )
    return from_mapping(KINDS[kind], present_names(mapping), path=path)


def present_names(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mapping of a recipe with the present name of the paper's preset."""
    data = mapping.get("data", {})
    if isinstance(data, Mapping) and data.get("preset") == FORMER:
        data = {**data, "preset": PAPER}
    return {**mapping, "data": data}


def _whole(path: Path, below: tuple[Path, ...]) -> dict[str, Any]:
    """Read a recipe and what it extends."""
    if path in below:
        raise ConfigError("extends itself", expected="another recipe", path=path)
    try:
        mapping = _parse(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", expected="a TOML file", path=path) from error
    base = mapping.pop("extends", None)
    if base is None:
        return mapping
    if not isinstance(base, str):
        raise ConfigError(f"extends is {base!r}", expected="the name of a recipe", path=path)
    return _merged(_whole(_RECIPES.locate(base, path.parent), (*below, path)), mapping)


def _parse(text: str, path: Path | None) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = "" if path else f" ({text!r})"
        raise ConfigError(f"is not TOML: {error}{where}", path=path) from error


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Tables key by key, everything else replaced."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return result

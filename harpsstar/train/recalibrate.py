"""A new calibration of a model that is trained already."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor

from harpsstar.config import from_mapping, to_mapping
from harpsstar.errors import ModelError
from harpsstar.model.emulator import Emulator
from harpsstar.nn.image import ImageNetwork
from harpsstar.nn.projector import ProjectorNetwork
from harpsstar.nn.zoo import Model, load, save
from harpsstar.train.images import calibrate_image
from harpsstar.train.loop import Progress
from harpsstar.train.projector import calibrate_network
from harpsstar.train.recipes import CalibrationOptions, ImageRecipe, Recipe, recipe_from
from harpsstar.train.stream import stream_for

#: Log SNR, factors and metrics, as :class:`harpsstar.nn.zoo.Model` and its card hold them.
Calibration: TypeAlias = tuple[Tensor, Tensor, dict[str, Any]]


def recalibrate(
    model: str | Path, output: Path, options: CalibrationOptions, *, progress: Progress
) -> Model:
    """Calibrate the errors of a model again and write it; its weights stay as they are.

    Parameters
    ----------
    model : str or Path
        Name or file.
    output : Path
        The safetensors file.
    options : CalibrationOptions
        Signal-to-noise ratios, and held-out spectra of each; a network of images knows one ratio
        only, that of its recipe.
    progress : callable
        Called with (stage, done, total, remark).

    Raises
    ------
    ConfigError
        Signal-to-noise ratios that do not increase.
    ModelError
        It is of neither kind, or refines its answers on a grid and was trained on another one.
    """
    old = load(model)
    start = time.monotonic()
    if isinstance(old.network, ProjectorNetwork):
        recipe, found = _projector(old, old.network, options, model, progress)
    elif isinstance(old.network, ImageNetwork):
        recipe, found = _images(old, old.network, options, progress)
    else:
        raise ModelError(
            f"a network of the kind {old.card.get('network')}", path=model,
            expected="projector, resnet or attention",
        )  # fmt: skip
    log_snr, scale, metrics = found
    hours = round((time.monotonic() - start) / 3600, 3)
    card = old.card | {
        "recipe": recipe,
        "metrics": metrics,
        "training": old.card["training"] | {"calibration_hours": hours},
    }
    new = dataclasses.replace(old, scale=scale, log_snr=log_snr, card=card)
    return dataclasses.replace(new, sha256=save(new, output))


def _projector(
    old: Model,
    network: ProjectorNetwork,
    options: CalibrationOptions,
    model: str | Path,
    progress: Progress,
) -> tuple[dict[str, Any], Calibration]:
    emulator = Emulator.load()
    if old.card.get("grid", {}).get("sha256") != emulator.metadata["sha256"]:
        raise ModelError("it was trained on another grid", path=model, hint="train it again")
    recipe = from_mapping(Recipe, old.card["recipe"] | {"calibration": to_mapping(options)})
    return to_mapping(recipe), calibrate_network(recipe, network, emulator, progress)


def _images(
    old: Model, network: ImageNetwork, options: CalibrationOptions, progress: Progress
) -> tuple[dict[str, Any], Calibration]:
    """Calibrate on spectra of the packaged grid, whatever grid the network was trained on."""
    recipe = recipe_from(
        old.card["recipe"] | {"calibration": {"spectra": options.spectra}}
    )
    assert isinstance(recipe, ImageRecipe)  # the kind of network follows from the recipe
    progress("calibrating", 0, 1, "")
    found = calibrate_image(network, stream_for(recipe), recipe)
    progress("calibrating", 1, 1, "")
    return to_mapping(recipe), found

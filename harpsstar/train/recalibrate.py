"""A new calibration of a model that is trained already."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from harpsstar.config import from_mapping, to_mapping
from harpsstar.errors import ModelError
from harpsstar.nn.projector import ProjectorNetwork
from harpsstar.nn.zoo import Model, load, save
from harpsstar.synth.emulator import Emulator
from harpsstar.train.fit import Progress
from harpsstar.train.projector import calibrate_network
from harpsstar.train.recipes import CalibrationOptions, Recipe


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
        Signal-to-noise ratios, and held-out spectra of each.
    progress : callable
        Called with (stage, done, total, remark).

    Raises
    ------
    ConfigError
        Signal-to-noise ratios that do not increase.
    ModelError
        It is not one of those that ``predict`` takes, or was trained on another grid.
    """
    old = load(model)
    emulator = Emulator.load()
    if not isinstance(old.network, ProjectorNetwork):
        raise ModelError(
            f"a network of the kind {old.card.get('network')}", path=model, expected="projector"
        )
    grid = old.card.get("grid", {}).get("sha256")
    if grid != emulator.metadata["sha256"]:
        raise ModelError("it was trained on another grid", path=model, hint="train it again")
    recipe = from_mapping(Recipe, old.card["recipe"] | {"calibration": to_mapping(options)})
    start = time.monotonic()
    log_snr, scale, metrics = calibrate_network(recipe, old.network, emulator, progress)
    hours = round((time.monotonic() - start) / 3600, 3)
    card = old.card | {
        "recipe": to_mapping(recipe),
        "metrics": metrics,
        "training": old.card["training"] | {"calibration_hours": hours},
    }
    new = dataclasses.replace(old, scale=scale, log_snr=log_snr, card=card)
    return dataclasses.replace(new, sha256=save(new, output))

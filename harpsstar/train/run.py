"""From a recipe to a model: work folder, network, card, file."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import torch

from harpsstar._packaged import present_name
from harpsstar._version import __version__
from harpsstar.config import to_mapping
from harpsstar.errors import TrainingError
from harpsstar.labels import NAMES
from harpsstar.model.emulator import Emulator
from harpsstar.nn.image import ImageNetwork
from harpsstar.nn.projector import ProjectorNetwork
from harpsstar.nn.zoo import Model, build, save
from harpsstar.outputs import make_folder
from harpsstar.train.images import train_images
from harpsstar.train.loop import Progress
from harpsstar.train.projector import train_projector
from harpsstar.train.recipes import ImageRecipe, Recipe, present_names
from harpsstar.train.result import Trained
from harpsstar.train.samples import simulator_for
from harpsstar.train.world import World

__all__ = ["network_options", "simulator_for", "train"]


def train(
    recipe: Recipe | ImageRecipe,
    output: Path,
    *,
    folder: Path,
    emulator: Emulator | None = None,
    progress: Progress | None = None,
    world: World | None = None,
    finish: bool = False,
) -> Model:
    """Train what a recipe describes and write the model.

    Parameters
    ----------
    recipe : Recipe or ImageRecipe
    output : Path
        The safetensors file.
    folder : Path
        Work in progress: shards, checkpoint, ``log.csv``. The same recipe and folder resume.
    emulator : Emulator, optional
        The packaged grid by default.
    progress : callable, optional
        Called with (stage, done, total, remark).
    world : World, optional
        Device and processes; one process on the processor by default.
    finish : bool
        Do not train further: take the best weights of the checkpoint.

    Returns
    -------
    Model

    Raises
    ------
    TrainingError
        A loss is not finite, the work folder is another training's, there is nothing to finish,
        or the network cannot be trained by several processes.
    """
    world = World() if world is None else world
    _check(recipe, folder, world, finish)
    clock = _Clock(folder / "seconds")
    emulator = _emulator(recipe) if emulator is None else emulator
    if world.first:
        _claim(folder, recipe, emulator)
    world.wait()
    tell = _teller(progress if world.first else None, clock if world.first else None)
    torch.manual_seed(recipe.seed)
    name, options = network_options(recipe)
    network = build(name, options)
    if isinstance(recipe, Recipe):
        assert isinstance(network, ProjectorNetwork)  # the kind of recipe follows from the network
        trained = train_projector(recipe, network, emulator, folder, tell, finish=finish)
    else:
        assert isinstance(network, ImageNetwork)
        trained = train_images(
            recipe, network, folder, tell, world=world, emulator=emulator, finish=finish
        )
    card = _card(recipe, emulator, trained, clock, world)
    model = Model(recipe.name, trained.network, trained.scale, trained.log_snr, card)
    if not world.first:
        return model
    return dataclasses.replace(model, sha256=save(model, output))


def _renamed(mark: str) -> str:
    """Return the mark of a work folder with the present names, so that old work is continued."""
    try:
        held = json.loads(mark)
        recipe = present_names(held["recipe"])
        return json.dumps({**held, "recipe": {**recipe, "name": present_name(recipe["name"])}},
                          indent=1)  # fmt: skip
    except (ValueError, TypeError, KeyError):
        return mark


def network_options(recipe: Recipe | ImageRecipe) -> tuple[str, dict[str, Any]]:
    """Name and options of a recipe's network, as :func:`harpsstar.nn.zoo.build` takes them."""
    options = to_mapping(recipe.network)
    name = options.pop("name")
    if isinstance(recipe, Recipe) or recipe.denoiser is None:
        return name, options
    denoiser = to_mapping(recipe.denoiser)
    del denoiser["optimiser"]
    return f"dae-{name}", options | {"denoiser": denoiser}


def _emulator(recipe: Recipe | ImageRecipe) -> Emulator:
    """Return the packaged grid, interpolated as the recipe's spectra are."""
    paper = isinstance(recipe, ImageRecipe) and recipe.data.preset == "paper"
    return Emulator.load(interpolation="linear" if paper else "cubic")


def _check(recipe: Recipe | ImageRecipe, folder: Path, world: World, finish: bool) -> None:
    if world.size > 1 and isinstance(recipe, Recipe):
        raise TrainingError(
            f"{recipe.network.name} is trained by one process, and this is one of {world.size}",
            hint="start it without torchrun",
        )
    if finish and not (folder / "checkpoint.safetensors").exists():
        raise TrainingError(
            "there is no checkpoint to finish", path=folder, hint="train without --finish first"
        )


def _card(
    recipe: Recipe | ImageRecipe,
    emulator: Emulator,
    trained: Trained,
    clock: _Clock,
    world: World,
) -> dict[str, Any]:
    name, options = network_options(recipe)
    return {
        "name": recipe.name,
        "description": recipe.description,
        "labels": list(NAMES),
        "network": name,
        "network_options": options,
        "frame": "HARPS-N rows 36-43, stellar rest frame, 8 x 4096, air",
        "recipe": to_mapping(recipe),
        "grid": {k: v for k, v in emulator.metadata.items() if k != "nodes"},
        **trained.extra,
        "training": trained.training
        | {
            "hours": round(clock.save() / 3600, 3),
            "device": world.describe(),
            "processes": world.size,
            "torch": torch.__version__,
            "harpsstar": __version__,
        },
        "metrics": trained.metrics,
    }


class _Clock:
    """Seconds of work on a training, those of interrupted runs included."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = float(path.read_text()) if path.exists() else 0.0
        self._start = time.monotonic()

    def save(self) -> float:
        """Write and return the seconds so far."""
        seconds = self._before + time.monotonic() - self._start
        self._path.write_text(f"{seconds:.1f}")
        return seconds


def _teller(progress: Progress | None, clock: _Clock | None) -> Progress:
    """Keep the clock's file fresh whenever something is told."""

    def tell(stage: str, done: int, total: int, remark: str) -> None:
        if clock is not None:
            clock.save()
        if progress is not None:
            progress(stage, done, total, remark)

    return tell


def _claim(folder: Path, recipe: Recipe | ImageRecipe, emulator: Emulator) -> None:
    """Mark a work folder as belonging to a recipe and a grid, or refuse one that does not."""
    mine = json.dumps(
        {"recipe": to_mapping(recipe), "grid": emulator.metadata.get("sha256", "")}, indent=1
    )
    folder = make_folder(folder)
    mark = folder / "recipe.json"
    if not mark.exists() and next(folder.iterdir(), None) is not None:
        raise TrainingError("the work folder contains other files", path=folder,
                            expected="work in progress, or an empty folder",
                            hint="choose another --work folder")  # fmt: skip
    if mark.exists() and _renamed(mark.read_text(encoding="utf-8")) != mine:
        raise TrainingError(
            "the work folder belongs to another training",
            path=folder,
            expected="work in progress of the same recipe and grid",
            hint="choose another --work folder, or delete this one",
        )
    mark.write_text(mine, encoding="utf-8")

"""Training a network: samples, optimiser, checkpoints, calibration, card."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harpsstar._tensors import write_tensors
from harpsstar._version import __version__
from harpsstar.errors import TrainingError
from harpsstar.infer.calibrate import calibrate
from harpsstar.infer.estimate import Estimator
from harpsstar.instruments import get_instrument
from harpsstar.labels import NAMES
from harpsstar.nn.projector import ProjectorNetwork
from harpsstar.nn.zoo import Model, build, save
from harpsstar.spectra.frame import ROWS, canonical_wavelengths
from harpsstar.synth.emulator import Emulator
from harpsstar.train.recipes import Recipe
from harpsstar.train.samples import fit_projector, make_samples
from harpsstar.train.simulate import Simulator

Progress = Callable[[str, int, int, str], None]


def simulator_for(recipe: Recipe, emulator: Emulator, seed: int) -> Simulator:
    """Make the simulator that a recipe asks for."""
    instrument = get_instrument("HARPS-N")
    wave = torch.from_numpy(canonical_wavelengths().copy())
    blaze = torch.from_numpy(instrument.blaze(list(ROWS))).float()
    blaze = blaze / blaze.median()
    return Simulator(emulator, wave, blaze, recipe.resolution, recipe.priors, seed)


def _one_epoch(
    network: ProjectorNetwork,
    features: Tensor,
    labels: Tensor,
    batch: int,
    generator: torch.Generator,
) -> Iterator[Tensor]:
    """Yield the loss (eq. 2) of each batch, in random order."""
    order = torch.randperm(len(labels), generator=generator)
    for index in order.split(batch):
        if len(index) == batch or len(order) < batch:
            gaussian = network.from_features(features[index])
            yield gaussian.negative_log_likelihood(labels[index]).mean()


def _check_finite(loss: Tensor, epoch: int, step: int) -> None:
    if not math.isfinite(loss.item()):
        raise TrainingError(
            f"the loss became {loss.item()} at epoch {epoch}, step {step}",
            hint="lower optimiser.learning_rate; the best weights so far are in the checkpoint",
        )


def fit_network(
    network: ProjectorNetwork,
    samples: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    recipe: Recipe,
    folder: Path,
    progress: Progress | None = None,
) -> float:
    """Minimise eq. 2 over samples; resume from ``folder/checkpoint.pt``; keep the best weights.

    Returns
    -------
    float
        Validation loss of the weights kept.

    Raises
    ------
    TrainingError
        When a loss is not finite.
    """
    options = recipe.optimiser
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters, lr=options.learning_rate, weight_decay=options.weight_decay
    )
    steps = max(1, len(samples[1]) // options.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, options.learning_rate, total_steps=options.epochs * steps + 1, pct_start=0.15
    )
    checkpoint = folder / "checkpoint.pt"
    first, best, best_state = 0, math.inf, network.state_dict()
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        first, best, best_state = state["epoch"] + 1, state["best"], state["best_state"]
    with (folder / "log.csv").open("a", newline="") as stream:
        log = csv.writer(stream)
        for epoch in range(first, options.epochs):
            generator = torch.Generator().manual_seed(recipe.seed + epoch)
            total = 0.0
            network.train()
            for step, loss in enumerate(
                _one_epoch(network, *samples, options.batch, generator)
            ):
                _check_finite(loss, epoch, step)
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, 10.0)
                optimiser.step()
                schedule.step()
                total += loss.item()
            network.eval()
            with torch.no_grad():
                score = float(
                    network.from_features(validation[0])
                    .negative_log_likelihood(validation[1])
                    .mean()
                )
            if score < best:
                best = score
                best_state = {k: v.clone() for k, v in network.state_dict().items()}
            log.writerow([epoch, total / steps, score])
            stream.flush()
            _save_checkpoint(checkpoint, network, optimiser, schedule, epoch, best, best_state)
            if progress is not None:
                progress("training", epoch + 1, options.epochs, f"validation {score:.3f}")
    network.load_state_dict(best_state)
    network.eval()
    return best


def _save_checkpoint(
    path: Path,
    network: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: Any,
    epoch: int,
    best: float,
    best_state: dict[str, Tensor],
) -> None:
    scratch = path.with_suffix(".part")
    torch.save(
        {
            "network": network.state_dict(),
            "optimiser": optimiser.state_dict(),
            "schedule": schedule.state_dict(),
            "epoch": epoch,
            "best": best,
            "best_state": best_state,
        },
        scratch,
    )
    scratch.replace(path)


def train(
    recipe: Recipe,
    output: Path,
    *,
    folder: Path,
    emulator: Emulator | None = None,
    progress: Progress | None = None,
) -> Model:
    """Train what a recipe describes and write the model.

    Parameters
    ----------
    recipe : Recipe
    output : Path
        The safetensors file.
    folder : Path
        Work in progress: projector, shards, checkpoint, ``log.csv``. The same recipe and folder
        resume.
    emulator : Emulator, optional
        The packaged grid by default.
    progress : callable, optional
        Called with (stage, done, total, remark).

    Returns
    -------
    Model
    """
    clock = _Clock(folder / "seconds")
    emulator = Emulator.load() if emulator is None else emulator
    _claim(folder, recipe, emulator)
    options = dataclasses.asdict(recipe.network)
    torch.manual_seed(recipe.seed)
    network = build(options.pop("name"), options)
    data = recipe.data

    def report(stage: str) -> Callable[[int, int], None]:
        def tell(done: int, total: int) -> None:
            clock.save()
            if progress is not None:
                progress(stage, done, total, "")

        return tell

    report("fitting the projector")(0, 1)
    kept = _projector(network, recipe, emulator, folder)
    report("fitting the projector")(1, 1)

    samples = make_samples(
        network,
        lambda index: simulator_for(recipe, emulator, recipe.seed + 1000 + index),
        folder / "training",
        n=data.spectra,
        exposures=data.exposures,
        batch=data.batch,
        progress=report("making spectra"),
    )
    validation = make_samples(
        network,
        lambda index: simulator_for(recipe, emulator, recipe.seed + 500 - index),
        folder / "validation",
        n=data.validation,
        exposures=1,
        batch=data.batch,
        progress=report("making validation spectra"),
    )
    loss = fit_network(network, samples, validation, recipe, folder, progress)
    estimator = Estimator.uncalibrated(network, emulator, canonical_wavelengths())
    log_snr, scale, metrics = calibrate(
        estimator,
        simulator_for(recipe, emulator, recipe.seed + 1),
        recipe.calibration.snr,
        recipe.calibration.spectra,
        progress=report("calibrating"),
    )
    card = {
        "name": recipe.name,
        "description": recipe.description,
        "labels": list(NAMES),
        "network": recipe.network.name,
        "network_options": options,
        "frame": "HARPS-N rows 36-43, stellar rest frame, 8 x 4096, air",
        "recipe": dataclasses.asdict(recipe),
        "grid": {k: v for k, v in emulator.metadata.items() if k != "nodes"},
        "variance_kept": kept,
        "training": {
            "stars": data.spectra,
            "spectra": data.spectra * data.exposures,
            "epochs": recipe.optimiser.epochs,
            "hours": round(clock.save() / 3600, 3),
            "threads": torch.get_num_threads(),
            "validation_loss": loss,
            "torch": torch.__version__,
            "harpsstar": __version__,
        },
        "metrics": metrics,
    }
    model = Model(recipe.name, network, scale, log_snr, card)
    return dataclasses.replace(model, sha256=save(model, output))


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


def _claim(folder: Path, recipe: Recipe, emulator: Emulator) -> None:
    """Mark a work folder as belonging to a recipe and a grid, or refuse one that does not."""
    mine = json.dumps(
        {"recipe": dataclasses.asdict(recipe), "grid": emulator.metadata.get("sha256", "")},
        indent=1,
    )
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / "recipe.json"
    if mark.exists() and mark.read_text(encoding="utf-8") != mine:
        raise TrainingError(
            "the work folder holds another training",
            path=folder,
            expected="work in progress of the same recipe and grid",
            hint="choose another --work folder, or delete this one",
        )
    mark.write_text(mine, encoding="utf-8")


def _projector(
    network: ProjectorNetwork, recipe: Recipe, emulator: Emulator, folder: Path
) -> float:
    """Fit the projector, or take the one an interrupted run has left."""
    from safetensors.torch import load_file

    path = folder / "projector.safetensors"
    if path.exists():
        state = load_file(path)
        kept = float(state.pop("kept"))
        network.projector.load_state_dict(state)
        return kept
    simulator = simulator_for(recipe, emulator, recipe.seed)
    kept = fit_projector(network, simulator, recipe.data.projector_spectra)
    write_tensors(network.projector.state_dict() | {"kept": torch.tensor(kept)}, path)
    return kept

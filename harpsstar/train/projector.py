"""Training of the projector network: features once, then a perceptron on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from harpsstar.infer.calibrate import calibrate
from harpsstar.infer.estimate import Estimator
from harpsstar.model.emulator import Emulator
from harpsstar.nn.projector import ProjectorNetwork
from harpsstar.nn.rounding import rounded
from harpsstar.outputs.tensors import write_tensors
from harpsstar.spectra.frame import canonical_wavelengths
from harpsstar.train.loop import Batch, Fit, Progress, Task
from harpsstar.train.recipes import Recipe
from harpsstar.train.result import Trained
from harpsstar.train.samples import fit_projector, make_samples, simulator_for

# Seeds of shards and of calibration, counted from the recipe's own.
_TRAINING, _VALIDATION, _CALIBRATION = 1000, 500, 1


class _FeatureLikelihood(nn.Module):
    """Eq. 2 of features (B, K + 9) and scaled labels (B, 4): their mean, ()."""

    def __init__(self, network: ProjectorNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        gaussian = self.network.from_features(features)
        return gaussian.negative_log_likelihood(labels).mean()


def train_projector(
    recipe: Recipe,
    network: ProjectorNetwork,
    emulator: Emulator,
    folder: Path,
    progress: Progress,
    *,
    finish: bool = False,
) -> Trained:
    """Fit the projector, make samples, train the perceptron and calibrate; see :mod:`.loop`."""
    progress("fitting the projector", 0, 1, "")
    kept = _projector(network, recipe, emulator, folder)
    progress("fitting the projector", 1, 1, "")
    samples, validation = _samples(recipe, network, emulator, folder, progress)
    fit = Fit(_task(network, samples, validation, recipe), recipe.optimiser, folder)
    loss = fit.take_best() if finish else fit.run(progress)
    rounded(network)
    log_snr, scale, metrics = calibrate_network(recipe, network, emulator, progress)
    training = {
        "stars": recipe.data.spectra,
        "spectra": recipe.data.spectra * recipe.data.exposures,
        "samples": fit.state.samples,
        "epochs": fit.state.epoch,
        "validation_loss": loss,
    }
    return Trained(network, scale, log_snr, training, metrics, {"variance_kept": kept})


def calibrate_network(
    recipe: Recipe, network: ProjectorNetwork, emulator: Emulator, progress: Progress
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Calibrate the errors that inference claims with a network, as its recipe says.

    Returns
    -------
    log_snr, scale, metrics
        See :func:`harpsstar.infer.calibrate.calibrate`.
    """
    return calibrate(
        Estimator.uncalibrated(network, emulator, canonical_wavelengths()),
        lambda index: simulator_for(recipe, emulator, recipe.seed + _CALIBRATION + index),
        recipe.calibration.snr,
        recipe.calibration.spectra,
        progress=_stage(progress, "calibrating"),
    )


def _task(
    network: ProjectorNetwork,
    samples: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    recipe: Recipe,
) -> Task:
    batch = recipe.optimiser.batch
    steps = max(1, len(samples[1]) // batch)

    def batches(epoch: int) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(recipe.seed + epoch)
        order = torch.randperm(len(samples[1]), generator=generator)
        for index in order.split(batch)[:steps]:
            yield tuple(column[index] for column in samples)

    return Task(
        _FeatureLikelihood(network), batches, lambda: iter([validation]),
        steps, steps * min(batch, len(samples[1])), recipe.seed,
    )  # fmt: skip


def _samples(
    recipe: Recipe, network: ProjectorNetwork, emulator: Emulator, folder: Path, progress: Progress
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Features and labels for training and for validation."""
    data = recipe.data
    training = make_samples(
        network,
        lambda index: simulator_for(recipe, emulator, recipe.seed + _TRAINING + index),
        folder / "training",
        n=data.spectra,
        exposures=data.exposures,
        batch=data.batch,
        progress=_stage(progress, "making spectra"),
    )
    validation = make_samples(
        network,
        lambda index: simulator_for(recipe, emulator, recipe.seed + _VALIDATION - index),
        folder / "validation",
        n=data.validation,
        exposures=1,
        batch=data.batch,
        progress=_stage(progress, "making validation spectra"),
    )
    return training, validation


def _stage(progress: Progress, name: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(name, done, total, "")


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
    state = cast(dict[str, Tensor], network.projector.state_dict())
    write_tensors(state | {"kept": torch.tensor(kept)}, path)
    return kept

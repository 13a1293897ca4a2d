"""Training of the networks of spectral images: auto-encoder, network, calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harpsstar.constants import ONE_SIGMA
from harpsstar.labels import NAMES
from harpsstar.model.emulator import Emulator
from harpsstar.nn.dae import Denoised, DenoisingAutoEncoder
from harpsstar.nn.heads import Gaussian
from harpsstar.nn.image import ImageNetwork, SpectralImage
from harpsstar.nn.rounding import rounded
from harpsstar.nn.zoo import unscale_covariance, unscale_labels
from harpsstar.train.loop import Batch, Fit, Progress, Task
from harpsstar.train.recipes import COMPONENTS_FROM, ImageRecipe, OptimiserOptions
from harpsstar.train.result import Trained
from harpsstar.train.stream import Stream, stream_for, window
from harpsstar.train.world import World


class Likelihood(nn.Module):
    """Eq. 2 of spectra (B, 8, 4096) with scaled labels (B, 4): its mean, ()."""

    def __init__(self, network: ImageNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, flux: Tensor, ivar: Tensor, labels: Tensor, clean: Tensor) -> Tensor:
        """Loss of a batch of a :class:`~harpsstar.train.stream.Stream`."""
        gaussian: Gaussian = self.network(flux, flux, ivar)
        return gaussian.negative_log_likelihood(labels).mean()


class Reconstruction(nn.Module):
    """Eq. 4 per pixel of noisy and clean spectra (B, 8, 4096), ()."""

    def __init__(self, denoiser: DenoisingAutoEncoder, image: SpectralImage) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.image = image

    def forward(self, flux: Tensor, ivar: Tensor, labels: Tensor, clean: Tensor) -> Tensor:
        """Loss of a batch of a :class:`~harpsstar.train.stream.Stream`."""
        target = self.image(clean, torch.ones_like(clean))
        return self.denoiser.loss(self.image(flux, ivar), target)


def train_images(
    recipe: ImageRecipe,
    network: ImageNetwork,
    folder: Path,
    progress: Progress,
    *,
    world: World,
    emulator: Emulator | None = None,
    finish: bool = False,
) -> Trained:
    """Train the auto-encoder if there is one, then the network, and calibrate; see :mod:`.loop`."""
    stream = stream_for(recipe, world, emulator)
    network.image.window.copy_(window(recipe))
    network.to(world.device)
    lay_out_for_training(network, recipe, world.device)
    training: dict[str, Any] = {}
    if isinstance(network, Denoised):
        training["denoiser"] = _train_denoiser(recipe, network, stream, folder, progress, world,
                                               finish)  # fmt: skip
    fit = Fit(
        _task(Likelihood(network), recipe, recipe.optimiser, stream, world), recipe.optimiser,
        folder, world,
    )  # fmt: skip
    loss = fit.take_best() if finish else fit.run(progress)
    training |= _effort(fit, loss)
    rounded(network)
    log_snr, scale, metrics = calibrate_image(network, stream, recipe)
    lay_out(network.cpu(), torch.contiguous_format)
    return Trained(network, scale, log_snr, training, metrics)


def lay_out(network: nn.Module, memory_format: torch.memory_format) -> None:
    """Put the kernels of a network into another order in memory; what they compute stays."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=memory_format)


def lay_out_for_training(
    network: nn.Module, recipe: ImageRecipe, device: torch.device
) -> None:
    """Put kernels with their channels last on an accelerator, and where a recipe asks for it.

    Otherwise most of a step goes to batch normalisation of few channels of long rows.
    """
    if device.type == "cuda" or recipe.optimiser.channels_last:
        lay_out(network, torch.channels_last)


def _train_denoiser(
    recipe: ImageRecipe,
    network: Denoised,
    stream: Stream,
    folder: Path,
    progress: Progress,
    world: World,
    finish: bool,
) -> dict[str, Any]:
    """Train the auto-encoder in front of a network; then it is left alone."""
    assert recipe.denoiser is not None  # a Denoised network is made of such a recipe only
    options = recipe.denoiser.optimiser
    folder = folder / "denoiser"
    folder.mkdir(exist_ok=True)
    objective = Reconstruction(network.denoiser, network.image)
    task = _task(objective, recipe, options, stream, world)
    fit = Fit(task, options, folder, world, "training the auto-encoder")
    if network.denoiser.linear is not None and fit.state.epoch == 0:  # else it is in the checkpoint
        network.denoiser.linear.fit(_clean(network.image, stream, options.batch))
    loss = fit.take_best() if finish else fit.run(progress)
    network.denoiser.requires_grad_(False)
    return _effort(fit, loss)


def _clean(image: SpectralImage, stream: Stream, batch: int) -> Tensor:
    """Images without noise, (COMPONENTS_FROM, 1, orders, pixels), of the first epoch's stars."""
    clean: list[Tensor] = []
    for batch_of in stream.training(0, batch):
        clean.append(image(batch_of[-1], torch.ones_like(batch_of[-1])))
        if sum(map(len, clean)) >= COMPONENTS_FROM:
            break
    return torch.cat(clean)[:COMPONENTS_FROM]


def _effort(fit: Fit, loss: float) -> dict[str, Any]:
    return {
        "samples": fit.state.samples,
        "epochs": fit.state.epoch,
        "hours": round(fit.state.seconds / 3600, 4),
        "validation_loss": loss,
    }


def _task(
    objective: nn.Module,
    recipe: ImageRecipe,
    options: OptimiserOptions,
    stream: Stream,
    world: World,
) -> Task:
    def batches(epoch: int) -> Iterator[Batch]:
        return stream.training(epoch, options.batch)

    def validation() -> Iterator[Batch]:
        return stream.validation(options.batch)

    size = max(1, options.batch // world.size)
    steps = max(1, recipe.data.spectra // world.size // size)
    samples = min(steps * size * world.size, recipe.data.spectra)
    return Task(objective, batches, validation, steps, samples, recipe.seed)


@torch.no_grad()
def answers(
    network: ImageNetwork, batches: Iterator[Batch], tell: Callable[[int], None] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """What a network makes of spectra, in physical units.

    Parameters
    ----------
    network : ImageNetwork
    batches : iterator
        As a :class:`~harpsstar.train.stream.Stream` gives them.
    tell : callable, optional
        Called with the number of spectra done.

    Returns
    -------
    truth, mean : Tensor
        (n, 4) K, dex, dex, km/s.
    covariance : Tensor
        (n, 4, 4), not calibrated.
    """
    network.eval()
    parts, done = [], 0
    for flux, ivar, labels, _ in batches:
        gaussian = network(flux, flux, ivar)
        parts.append((
            unscale_labels(labels), unscale_labels(gaussian.mean),
            unscale_covariance(gaussian.covariance),
        ))  # fmt: skip
        done += len(labels)
        if tell is not None:
            tell(done)
    truth, mean, covariance = (torch.cat(column).cpu() for column in zip(*parts, strict=True))
    return truth, mean, covariance


def calibrate_image(
    network: ImageNetwork, stream: Stream, recipe: ImageRecipe
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Find the factors that make 68.27 % of held-out errors lie within one sigma.

    Returns
    -------
    log_snr : Tensor
        (2,) about the SNR of the training.
    scale : Tensor
        (2, 4) the same factors at both: a network of one SNR knows no other.
    metrics : dict
        Of the held-out spectra, for the card.
    """
    n, snr = recipe.calibration.spectra, recipe.data.snr
    truth, mean, covariance = answers(network, stream.held_out(n, recipe.optimiser.batch))
    error = (mean - truth).abs()
    pull = error / covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    factor = torch.quantile(pull, ONE_SIGMA, dim=0)
    columns = {
        "mae": error.mean(0),
        "median_error": error.median(0).values,
        "coverage_before": (pull < 1).float().mean(0),
        "factor": factor,
    }
    metrics = {
        f"snr {snr:g}": {
            key: dict(zip(NAMES, column.tolist(), strict=True)) for key, column in columns.items()
        }
    }
    log_snr = torch.tensor([snr, snr]).log() + torch.tensor([-1.0, 1.0])
    return log_snr, factor.expand(2, -1).clone(), metrics

"""Features of training spectra, made once and kept in shards, so that a killed run resumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from harpsstar.instruments import get_instrument
from harpsstar.mock.simulate import Exposure, Simulator
from harpsstar.model.emulator import Emulator
from harpsstar.nn.projector import ProjectorNetwork
from harpsstar.nn.zoo import scale_labels
from harpsstar.outputs.tensors import write_tensors
from harpsstar.spectra.frame import ROWS, canonical_wavelengths
from harpsstar.train.recipes import ImageRecipe, Recipe

#: Spectra (stars) in a shard.
SHARD = 1024


def simulator_for(
    recipe: Recipe | ImageRecipe,
    emulator: Emulator,
    seed: int,
    maker: Emulator | None = None,
) -> Simulator:
    """Make the simulator that a recipe asks for; see :class:`~.simulate.Simulator`."""
    instrument = get_instrument("HARPS-N")
    wave = torch.from_numpy(canonical_wavelengths().copy())
    blaze = torch.from_numpy(instrument.blaze(list(ROWS))).float()
    blaze = blaze / blaze.median()
    return Simulator(emulator, wave, blaze, recipe.resolution, recipe.priors, seed, maker)


@torch.no_grad()
def fit_projector(network: ProjectorNetwork, simulator: Simulator, n: int) -> float:
    """Set the network's projector from `n` spectra; return the share of variance it keeps."""
    parts = [simulator.spectra(simulator.draw(m)) for m in [256] * (n // 256) + [n % 256] if m]
    share = network.projector.fit(torch.cat(parts), simulator.blaze)
    return float(share.sum())


@torch.no_grad()
def make_shard(
    network: ProjectorNetwork, simulator: Simulator, n: int, exposures: int, batch: int
) -> dict[str, Tensor]:
    """Features (n·exposures, K+9) and scaled labels (n·exposures, 4) of freshly drawn stars."""
    features, truth = [], []
    for start in range(0, n, batch):
        stars = simulator.draw(min(batch, n - start))
        rv = simulator.priors.rv_error * torch.randn(len(stars), generator=simulator.generator)
        spectra = simulator.spectra(stars, rv)
        for _ in range(exposures):
            snr = simulator.draw_snr(len(stars))
            exposure: Exposure = simulator.expose(spectra, snr)
            flux, model, ivar = simulator.normalise(exposure, simulator.nearby(stars, snr))
            features.append(network.features(flux, model, ivar))
            truth.append(scale_labels(stars.labels))
    return {"features": torch.cat(features), "labels": torch.cat(truth)}


def make_samples(
    network: ProjectorNetwork,
    simulator_of: Callable[[int], Simulator],
    folder: Path,
    *,
    n: int,
    exposures: int,
    batch: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Make or resume all shards and return features and labels.

    Parameters
    ----------
    network : ProjectorNetwork
        With its projector fitted.
    simulator_of : callable
        Seed to a simulator: each shard has its own, so shards do not depend on one another.
    folder : Path
        Where shards are kept.
    n : int
        Stars.
    exposures, batch : int
        Exposures of each star; stars made at a time.
    progress : callable, optional
        Called with (stars done, stars in all).

    Returns
    -------
    features, labels : Tensor
        (n·exposures, …)
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for index, start in enumerate(range(0, n, SHARD)):
        path = folder / f"{index:05d}.safetensors"
        if not path.exists():
            shard = make_shard(
                network, simulator_of(index), min(SHARD, n - start), exposures, batch
            )
            write_tensors(shard, path)
        shards.append(load_file(path))
        if progress is not None:
            progress(min(start + SHARD, n), n)
    return (
        torch.cat([shard["features"] for shard in shards]),
        torch.cat([shard["labels"] for shard in shards]),
    )

"""Table 4 of Hüttel & Clemmensen (2021): observed spectra of the Sun, by networks alone.

A network of one SNR that knows only whole spectra is shown what it was trained on: see
:func:`as_trained`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from harpsstar.infer.estimate import Estimator
from harpsstar.infer.prepare import Prepared, prepare
from harpsstar.labels import NAMES
from harpsstar.model.emulator import Emulator
from harpsstar.model.templates import bank_of
from harpsstar.nn.zoo import Model, unscale_covariance, unscale_labels
from harpsstar.paper.judge import recipe_of
from harpsstar.paper.published import TABLE4
from harpsstar.spectra import continuum
from harpsstar.spectra.frame import canonical_wavelengths

#: The Sun (IAU 2015 Resolution B3; vsini: 1993, Kinem. Fiz. Nebesn. Tel 9, 37).
SUN = (5772.0, 4.438, 0.0, 1.71)
#: Passes of continuum and network on an observed spectrum.
N_PASSES = 3
#: Draws of the noise that is put on a spectrum of a higher SNR than a network knows.
N_DRAWS = 16


@dataclass(frozen=True)
class SunLabel:
    """One label of an observed Sun.

    Attributes
    ----------
    value, sigma : float
        Of the network, calibrated.
    truth : float
    pull : float
        (value − truth) / sigma.
    paper, paper_sigma : float
        What the paper's network of this kind gave; nan where it has none.
    """

    value: float
    sigma: float
    truth: float
    pull: float
    paper: float
    paper_sigma: float


@dataclass(frozen=True)
class Table4Row:
    """One model on one spectrum of the Sun."""

    file: str
    model: str
    sha256: str
    network: str
    preset: str
    snr: float
    labels: dict[str, SunLabel]


def table4(
    models: Sequence[Model],
    files: Sequence[str | Path],
    *,
    blaze_dir: str | Path | None = None,
    emulator: Emulator | None = None,
) -> list[Table4Row]:
    """Let networks alone, without least squares, measure observed spectra of the Sun.

    Parameters
    ----------
    models : sequence of Model
    files : sequence of path
        As :func:`harpsstar.predict` takes them.
    blaze_dir : path, optional
        Folder with blaze files.
    emulator : Emulator, optional
        Gives the templates of velocity and continuum; the packaged grid by default.

    Raises
    ------
    HarpsstarError
        When a file cannot be read as a spectrum.
    """
    emulator = Emulator.load() if emulator is None else emulator
    bank = bank_of(emulator)
    rows = []
    for file in files:
        prepared = prepare(file, bank, blaze_dir=blaze_dir)
        rows += [_table4_row(model, prepared, emulator) for model in models]
    return rows


def _table4_row(model: Model, prepared: Prepared, emulator: Emulator) -> Table4Row:
    recipe = recipe_of(model)
    value, covariance = network_labels(model, prepared, emulator)
    sigma = covariance.diagonal().sqrt()
    paper = TABLE4.get(model.card["network"], ((math.nan, math.nan),) * len(NAMES))
    labels = {
        name: SunLabel(
            float(value[i]), float(sigma[i]), SUN[i], float((value[i] - SUN[i]) / sigma[i]),
            *paper[i],
        )
        for i, name in enumerate(NAMES)
    }  # fmt: skip
    return Table4Row(
        prepared.file, model.name, model.sha256[:8], model.card["network"], recipe.data.preset,
        recipe.data.snr, labels,
    )  # fmt: skip


@torch.no_grad()
def network_labels(model: Model, prepared: Prepared, emulator: Emulator) -> tuple[Tensor, Tensor]:
    """Labels (4,) and calibrated covariance (4, 4) of a network alone.

    The continuum is fitted against the emulator at the labels of the pass before, the first time
    at those of the velocity template. Labels and covariance are means over :data:`N_DRAWS` draws
    of the noise of :func:`as_trained`.
    """
    nothing = torch.zeros(canonical_wavelengths().shape)
    estimator = Estimator(model, emulator, canonical_wavelengths(), mismatch=nothing)
    flux, ivar = (
        torch.from_numpy(values)[None] for values in (prepared.canonical.flux,
                                                      prepared.canonical.ivar)
    )  # fmt: skip
    labels = torch.tensor([prepared.velocity.labels], dtype=torch.float32)
    generator, snr = torch.Generator().manual_seed(0), recipe_of(model).data.snr
    for _ in range(N_PASSES):
        spectrum = estimator.spectra(emulator.grid.nearest(labels), prepared.observation.resolution)
        normal, weight = continuum.normalise(flux, ivar, spectrum)
        shown = as_trained(normal[0], weight[0], spectrum[0], snr, N_DRAWS, generator)
        answer = model.network(shown[0], spectrum.expand_as(shown[0]), shown[1])
        labels = unscale_labels(answer.mean).mean(0, keepdim=True)
    covariance = unscale_covariance(answer.covariance).mean(0)
    return labels[0], covariance * model.scale[0][:, None] * model.scale[0]


def as_trained(
    flux: Tensor, ivar: Tensor, model: Tensor, snr: float, n: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Make of a spectrum what a network of whole spectra of one SNR was trained on.

    Where a pixel has no weight (the gap of HARPS's detectors is a tenth of what the paper's
    networks look at) the model stands in. Where noise is less than 1 / `snr`, more is added, for
    the maximum of noisy neighbours, which pooling takes, is not that of quiet ones.

    Parameters
    ----------
    flux, ivar, model : Tensor
        (orders, pixels) normalised flux, its inverse variance and the model of the star.
    snr : float
        Of the training, per pixel.
    n : int
        Draws of the noise.
    generator : torch.Generator

    Returns
    -------
    flux, ivar : Tensor
        (n, orders, pixels)
    """
    there = ivar > 0
    variance = torch.where(there, 1 / torch.where(there, ivar, torch.ones_like(ivar)), 0.0)
    wanted = snr**-2
    noise = torch.randn(n, *flux.shape, generator=generator)
    more = (wanted - variance).clamp_min(0.0).sqrt()
    shown = torch.where(there, flux, model) + more * noise
    return shown, (1 / variance.clamp_min(wanted)).expand_as(shown)

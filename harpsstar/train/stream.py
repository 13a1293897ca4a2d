"""Training spectra made while a network trains, on its device; none is ever stored.

A stream is a function of seed and epoch, so that a resumed training sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, cast

import torch
from torch import Tensor

from harpsstar.labels import LABELS
from harpsstar.mock.simulate import Simulator, Stars
from harpsstar.model.emulator import Emulator
from harpsstar.model.mismatch import draw_errors
from harpsstar.nn.zoo import scale_labels
from harpsstar.spectra.frame import canonical_wavelengths
from harpsstar.train.loop import Batch
from harpsstar.train.recipes import ImageRecipe
from harpsstar.train.samples import simulator_for
from harpsstar.train.world import World

#: Microturbulence of the paper's spectra, km/s.
PAPER_VMIC = 2.0
#: Seeds of a training lie within some millions of the recipe's own: those of an evaluation do not.
_TRAINING, _VALIDATION, _HELD_OUT = 1_000, -1_000, -2_000


class Stream(Protocol):
    """Where batches (flux, ivar, scaled labels, spectrum without noise) come from.

    Shapes (B, 8, 4096), (B, 8, 4096), (B, 4), (B, 8, 4096).
    """

    def training(self, epoch: int, batch: int) -> Iterator[Batch]:
        """Batches of one epoch for this process, in random order."""

    def validation(self, batch: int) -> Iterator[Batch]:
        """Batches for choosing the best weights, always the same."""

    def held_out(self, n: int, batch: int) -> Iterator[Batch]:
        """`n` spectra that neither training nor choice has seen, for calibration."""


def window(recipe: ImageRecipe) -> Tensor:
    """(8, 4096) which pixels a network of a recipe sees."""
    wave = torch.from_numpy(canonical_wavelengths().copy())
    low, high = recipe.data.wavelengths
    return (wave >= low) & (wave <= high)


def draw_labels(
    emulator: Emulator, n: int, teff: tuple[float, float], vmic: float, seed: int
) -> Tensor:
    """Labels (n, 4) of stars drawn uniformly over the region of the grid.

    Parameters
    ----------
    emulator : Emulator
        On the processor: the stars of a seed are then the same on every machine.
    n : int
    teff : tuple of float
        Temperatures, K.
    vmic : float
        Microturbulence, km/s.
    seed : int
    """
    generator = torch.Generator().manual_seed(seed)
    low, high = (torch.tensor([getattr(label, end) for label in LABELS]) for end in ("low", "high"))
    low[0], high[0] = teff
    kept: list[Tensor] = []
    while sum(map(len, kept)) < n:
        trial = low + (high - low) * torch.rand(2 * n, len(LABELS), generator=generator)
        temperature, logg, m_h, _ = trial.T
        there = emulator.contains(temperature, logg, m_h, torch.full((2 * n,), vmic))
        kept.append(trial[there])
    return torch.cat(kept)[:n]


class PaperStream:
    """The paper's spectra: vmic 2 km/s, no macroturbulence, white noise, continuum known.

    Parameters
    ----------
    recipe : ImageRecipe
    world : World, optional
    emulator : Emulator, optional
        The packaged grid, interpolated linearly as in the paper, by default.
    """

    def __init__(
        self, recipe: ImageRecipe, world: World | None = None, emulator: Emulator | None = None
    ) -> None:
        self.recipe, self.world = recipe, World() if world is None else world
        self._stars = Emulator.load(interpolation="linear") if emulator is None else emulator
        self.emulator = self._stars.on(self.world.device)
        self._sampler = self.emulator.sampler(canonical_wavelengths())

    def labels(self, n: int, seed: int) -> Tensor:
        """Labels (n, 4) of stars of the recipe."""
        return draw_labels(self._stars, n, self.recipe.data.teff, PAPER_VMIC, seed)

    @torch.no_grad()
    def spectra(self, labels: Tensor) -> Tensor:
        """Spectra without noise, (B, 8, 4096), of labels (B, 4) on the stream's device."""
        return cast(Tensor, self._sampler(
            self.emulator(labels, vmic=PAPER_VMIC, resolution=self.recipe.resolution, check=False)
        ))  # fmt: skip

    def training(self, epoch: int, batch: int) -> Iterator[Batch]:
        """Batches of one epoch for this process; see :class:`Stream`."""
        data, world = self.recipe.data, self.world
        base = self.recipe.seed + _TRAINING
        labels = self.labels(data.spectra, base + 2 * (epoch + 1) if data.fresh else base)
        seed = base + 2 * (epoch + 1) + 1
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        mine = labels[order[world.rank :: world.size]]
        size = max(1, batch // world.size)
        whole = max(size, len(mine) // size * size)
        yield from self._noisy(mine[:whole], size, seed + 2 * world.rank * 1_000_000)

    def validation(self, batch: int) -> Iterator[Batch]:
        """Batches for choosing the best weights; see :class:`Stream`."""
        seed = self.recipe.seed + _VALIDATION
        yield from self._noisy(self.labels(self.recipe.data.validation, seed), batch, seed - 1)

    def held_out(self, n: int, batch: int) -> Iterator[Batch]:
        """`n` spectra for calibration; see :class:`Stream`."""
        seed = self.recipe.seed + _HELD_OUT
        yield from self._noisy(self.labels(n, seed), batch, seed - 1)

    def _noisy(self, labels: Tensor, batch: int, seed: int) -> Iterator[Batch]:
        device, snr = self.world.device, self.recipe.data.snr
        generator = torch.Generator(device).manual_seed(seed)
        for part in labels.split(batch):
            mine = part.to(device)
            clean = self.spectra(mine)
            noise = torch.randn(clean.shape, generator=generator, device=device)
            ivar = torch.full((), snr**2, device=device).expand_as(clean)
            yield clean + noise / snr, ivar, scale_labels(mine), clean


class OursStream:
    """Spectra as the default network sees them, at one SNR: see :class:`~.simulate.Simulator`.

    Every star is seen once. With ``data.model_error`` the spectra are also wrong by what the models
    of real stars are, see :func:`harpsstar.model.mismatch.draw_errors`.

    Parameters
    ----------
    recipe : ImageRecipe
    world : World, optional
    emulator : Emulator, optional
        The packaged grid by default.
    """

    def __init__(
        self, recipe: ImageRecipe, world: World | None = None, emulator: Emulator | None = None
    ) -> None:
        self.recipe, self.world = recipe, World() if world is None else world
        self.emulator = Emulator.load() if emulator is None else emulator
        self._maker = self.emulator.on(self.world.device)

    def training(self, epoch: int, batch: int) -> Iterator[Batch]:
        """Batches of one epoch for this process; see :class:`Stream`."""
        world, n = self.world, self.recipe.data.spectra // self.world.size
        size = max(1, batch // world.size)
        seed = self.recipe.seed + _TRAINING + epoch * world.size + world.rank
        yield from self._observed(max(size, n // size * size), size, seed)

    def validation(self, batch: int) -> Iterator[Batch]:
        """Batches for choosing the best weights; see :class:`Stream`."""
        seed = self.recipe.seed + _VALIDATION
        yield from self._observed(self.recipe.data.validation, batch, seed)

    def held_out(self, n: int, batch: int) -> Iterator[Batch]:
        """`n` spectra for calibration; see :class:`Stream`."""
        yield from self._observed(n, batch, self.recipe.seed + _HELD_OUT)

    @torch.no_grad()
    def _observed(self, n: int, batch: int, seed: int) -> Iterator[Batch]:
        device, wrong = self.world.device, self.recipe.data.model_error
        simulator = simulator_for(self.recipe, self.emulator, seed, self._maker)
        for start in range(0, n, batch):
            stars = self._draw(simulator, min(batch, n - start))
            rv = simulator.priors.rv_error * torch.randn(len(stars), generator=simulator.generator)
            clean = simulator.spectra(stars, rv)
            real = clean
            if wrong:
                error = wrong * draw_errors(len(stars), simulator.noise)
                real = (clean + error).clamp_min(0.0)  # no line is deeper than the continuum
            snr = torch.full((len(stars),), self.recipe.data.snr)
            exposure = simulator.expose(real, snr)
            flux, _, ivar = simulator.normalise(exposure, simulator.nearby(stars, snr))
            yield flux, ivar, scale_labels(stars.labels).to(device), clean

    def _draw(self, simulator: Simulator, n: int) -> Stars:
        """Draw `n` stars of the recipe's temperatures."""
        low, high = self.recipe.data.teff
        return simulator.draw_where(n, lambda at: (at[:, 0] >= low) & (at[:, 0] <= high))


def stream_for(
    recipe: ImageRecipe, world: World | None = None, emulator: Emulator | None = None
) -> PaperStream | OursStream:
    """Make the stream of a recipe's preset."""
    kind = PaperStream if recipe.data.preset == "paper" else OursStream
    return kind(recipe, world, emulator)

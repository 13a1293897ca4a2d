"""Training spectra, made on the fly: the emulator behind a detector.

What happens to an observed spectrum happens here too: photon and read noise under a blaze,
missing pixels, then the continuum fitted against a model whose labels are only nearly right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harpsstar.labels import ALPHA, LABELS, VMAC, VMIC, Label
from harpsstar.mock.detector import TRAINING_READ_NOISE, Detector, gaussian
from harpsstar.model.emulator import Emulator
from harpsstar.model.relations import SCATTER, relation
from harpsstar.spectra import continuum


@dataclass(frozen=True)
class Priors:
    """What training spectra are drawn from.

    Labels are uniform over the grid's own region. ``snr`` is log-uniform, per pixel, median over
    the orders. Scatters are those of Gaussians about the relations, in km/s and dex, cut at the
    ends of the ranges. ``template_error`` are the standard deviations of
    the labels of the model that the continuum is fitted against (K, dex, dex, km/s), at SNR 100;
    they grow as 1/SNR.
    """

    snr: tuple[float, ...] = (5.0, 500.0)
    vmic_scatter: float = SCATTER["vmic"]
    vmac_scatter: float = SCATTER["vmac"]
    alpha_scatter: float = SCATTER["alpha"]
    rv_error: float = 0.05
    read_noise: float = TRAINING_READ_NOISE
    blaze_share: float = 0.7
    masked_share: float = 0.4
    template_error: tuple[float, ...] = (25.0, 0.04, 0.02, 0.4)


@dataclass(frozen=True)
class Stars:
    """Labels (n, 4) and nuisances (n,) of simulated stars, in physical units.

    ``alpha`` is 0 where it is not given.
    """

    labels: Tensor
    vmic: Tensor
    vmac: Tensor
    alpha: Tensor | None = None

    def __post_init__(self) -> None:
        if self.alpha is None:
            object.__setattr__(self, "alpha", torch.zeros_like(self.vmic))

    def __len__(self) -> int:
        """Return the number of stars."""
        return len(self.labels)

    def __getitem__(self, index: slice | Tensor) -> Stars:
        """Return some of the stars."""
        return Stars(*(column[index] for column in self.columns))

    @property
    def columns(self) -> tuple[Tensor, ...]:
        """All that there is, in the order of the fields."""
        assert self.alpha is not None
        return self.labels, self.vmic, self.vmac, self.alpha

    @staticmethod
    def joined(parts: Sequence[Stars]) -> Stars:
        """Stars of all parts, in order."""
        return Stars(*(torch.cat(c) for c in zip(*(p.columns for p in parts), strict=True)))


@dataclass(frozen=True)
class Exposure:
    """Observed spectra before normalisation: flux and inverse variance, both (n, 8, 4096)."""

    flux: Tensor
    ivar: Tensor


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)


def draw_stars(
    emulator: Emulator, n: int, priors: Priors, generator: torch.Generator
) -> Stars:
    """Draw labels uniformly over the region of the grid, nuisances about their relations."""
    kept: list[Tensor] = []
    while sum(map(len, kept)) < n:
        trial = torch.stack(
            [_uniform(2 * n, label.low, label.high, generator) for label in LABELS], dim=1
        )
        inside = emulator.grid.nearest(trial) == trial
        kept.append(trial[inside.all(1)])
    labels = torch.cat(kept)[:n]
    return stars_at(labels, priors, generator)


def stars_at(labels: Tensor, priors: Priors, generator: torch.Generator) -> Stars:
    """Draw vmic, vmac and alpha for given labels (n, 4)."""
    relations = on_relations(labels)
    wanted = (
        (relations.vmic, priors.vmic_scatter, VMIC),
        (relations.vmac, priors.vmac_scatter, VMAC),
        (relations.columns[3], priors.alpha_scatter, ALPHA),
    )
    return Stars(labels, *(_scattered(*one, generator) for one in wanted))


def on_relations(labels: Tensor) -> Stars:
    """Stars whose nuisances are exactly on their relations."""
    return Stars(labels, *(relation(name, *labels[:, :3].T) for name in SCATTER))


def _scattered(
    centre: Tensor, scatter: float, label: Label, generator: torch.Generator
) -> Tensor:
    """Gaussian about `centre`, cut at the ends of the label's range, by its inverse."""
    u = torch.rand(len(centre), dtype=torch.float64, generator=generator)
    if scatter == 0:
        return centre.clamp(label.low, label.high)
    low, high = (
        torch.special.ndtr((end - centre.double()) / scatter) for end in (label.low, label.high)
    )
    deviate = torch.special.ndtri((low + u * (high - low)).clamp(1e-9, 1 - 1e-9))
    return (centre + scatter * deviate.float()).clamp(label.low, label.high)


class Simulator:
    """Draws stars and observes them.

    Parameters
    ----------
    emulator : Emulator
    wave : ndarray or Tensor
        (8, 4096) air Å, the canonical frame.
    blaze : Tensor
        (8, 4096) the instrument's efficiency along each order, median 1 over all.
    resolution : float
        Resolving power.
    priors : Priors
    seed : int
        The whole stream is a function of it.
    maker : Emulator, optional
        The same emulator on the device where spectra are made, `emulator` by default. Stars and
        masks are drawn on the processor, alike for every device; noise is drawn where it is needed.
    """

    def __init__(
        self,
        emulator: Emulator,
        wave: Tensor,
        blaze: Tensor,
        resolution: float,
        priors: Priors,
        seed: int,
        maker: Emulator | None = None,
    ) -> None:
        self.emulator = emulator
        self._maker = emulator if maker is None else maker
        self.device = self._maker.device
        self.sampler = emulator.sampler(wave)
        self.blaze = blaze.to(self.device)
        self.resolution = resolution
        self.priors = priors
        self.generator = self.noise = torch.Generator().manual_seed(seed)
        if self.device != self.generator.device:
            self.noise = torch.Generator(self.device).manual_seed(seed)

    def draw(self, n: int) -> Stars:
        """Draw `n` stars from the priors."""
        return draw_stars(self.emulator, n, self.priors, self.generator)

    def draw_where(self, n: int, wanted: Callable[[Tensor], Tensor], surplus: int = 4) -> Stars:
        """Draw `n` stars of a kind, without touching how the others are distributed.

        Parameters
        ----------
        n : int
        wanted : callable
            Labels (m, 4) to whether each star is of the kind, (m,).
        surplus : int
            Stars drawn at a time, in units of `n`.
        """
        kept: list[Stars] = []
        while sum(map(len, kept)) < n:
            stars = self.draw(surplus * n)
            kept.append(stars[wanted(stars.labels)])
        return Stars.joined(kept)[:n]

    @torch.no_grad()
    def spectra(self, stars: Stars, rv: Tensor | None = None) -> Tensor:
        """Noise-free normalised spectra, (n, 8, 4096)."""
        labels, vmic, vmac, alpha = (column.to(self.device) for column in stars.columns)
        grid = self._maker(
            labels,
            vmic=vmic,
            vmac=vmac,
            alpha=alpha,
            resolution=self.resolution,
            rv=0.0 if rv is None else rv.to(self.device),
            check=False,  # drawn inside; a grid with one alpha holds for all
        )
        return self.sampler(grid)

    def draw_snr(self, n: int) -> Tensor:
        """Draw (n,) SNR from the prior, log-uniform."""
        low, high = self.priors.snr
        log = torch.log(torch.tensor([low, high]))
        return _uniform(n, float(log[0]), float(log[1]), self.generator).exp()

    @torch.no_grad()
    def expose(self, spectra: Tensor, snr: Tensor) -> Exposure:
        """Put normalised spectra through detector and blaze.

        A share ``blaze_share`` has photon noise under the blaze plus read noise; the rest (1-D
        products, the paper's preset) has white noise. Means of pixels: half of the spectra lose
        some (see :meth:`_mask`).
        """
        n = len(spectra)
        gen, device = self.generator, self.device
        photon = (torch.rand(n, 1, 1, generator=gen) < self.priors.blaze_share).to(device)
        snr = snr[:, None, None].to(device)
        blaze = torch.where(photon, self.blaze, torch.ones((), device=device))
        # under the continuum where the blaze is 1: photon and read noise make `snr`
        detector = Detector(self.priors.read_noise**2)
        electrons = detector.electrons(snr)
        signal = electrons * blaze * spectra
        white = (electrons**2 / snr**2).expand_as(signal)
        noisy = gaussian(
            signal, torch.where(photon, detector.variance(signal), white), self.noise
        )
        estimate = torch.where(photon, detector.suggested_variance(noisy), white)
        ivar = (electrons * blaze) ** 2 / estimate
        return Exposure(noisy / (electrons * blaze), ivar * self._mask(n).to(device))

    def _mask(self, n: int) -> Tensor:
        """(n, 8, 4096) ones and zeros: cosmics, order edges, gaps, a missing order."""
        gen = self.generator
        keep = torch.ones(n, *self.blaze.shape)
        x = torch.arange(self.blaze.shape[1])
        spoilt = torch.rand(n, generator=gen) < self.priors.masked_share
        for i in torch.nonzero(spoilt).flatten().tolist():
            kind = torch.rand(4, generator=gen)
            share = float(0.08 * kind[0] ** 2)
            keep[i] *= torch.rand(keep[i].shape, generator=gen) >= share
            # velocity moves one end of every order off the detector
            lost = int(420 * (kind[1] - 0.5).abs() * 2 * float(kind[1] > 0.3))
            keep[i] *= (x >= lost) if kind[2] < 0.5 else (x < len(x) - lost)
            if kind[3] < 0.15:
                row = int(torch.randint(len(keep[i]), (1,), generator=gen))
                start = int(torch.randint(-2000, len(x), (1,), generator=gen))
                keep[i, row, max(start, 0) : start + 4096] = 0
            elif kind[3] < 0.3:  # the gap of HARPS, 5304-5337 Å, in the canonical rows
                keep[i, 6, : int(0.85 * len(x))] = 0
        return keep

    def nearby(self, stars: Stars, snr: Tensor) -> Stars:
        """Draw the nearly right stars (n,) that the continuum is fitted against."""
        n, gen = len(stars), self.generator
        error = torch.tensor(self.priors.template_error) * torch.randn(n, 4, generator=gen)
        width = (100.0 / snr).clamp(0.7, 6.0) * torch.exp(0.7 * torch.randn(n, generator=gen))
        return on_relations(self.emulator.grid.nearest(stars.labels + error * width[:, None]))

    @torch.no_grad()
    def normalise(self, exposure: Exposure, near: Stars) -> tuple[Tensor, Tensor, Tensor]:
        """Divide by the continuum fitted against the spectra of `near`.

        Returns
        -------
        flux, model, ivar : Tensor
            Each (n, 8, 4096), as :class:`harpsstar.nn.projector.ProjectorNetwork` takes them.
        """
        model = self.spectra(near)
        flux, ivar = continuum.normalise(exposure.flux, exposure.ivar, model)
        return flux, model, ivar

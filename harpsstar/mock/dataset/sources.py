"""The spectra of a data set, chunk by chunk; each chunk depends on its number only.

So a chunk can be made again, at any time and in any order, and comes out the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from harpsstar.instruments import get_instrument
from harpsstar.mock.dataset.presets import Preset
from harpsstar.mock.simulate import Simulator
from harpsstar.model.emulator import Emulator
from harpsstar.spectra.frame import N_PIXELS, ROWS, canonical_wavelengths

__all__ = ["CHUNK", "Column", "Source", "source_of"]

Array = npt.NDArray[np.float64]

#: Spectra in a chunk.
CHUNK = 64


@dataclass(frozen=True)
class Column:
    """An array with one entry for each spectrum."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    unit: str
    description: str


_PIXELS = (len(ROWS), N_PIXELS)
_FLUX = Column("flux", "<f2", _PIXELS, "", "response times flux over continuum; 0 where unused")
_LABELS = Column("labels", "<f8", (4,), "K, dex, dex, km/s", "teff, logg, m_h, vsini")
_NUISANCES = (
    Column("vmic", "<f4", (), "km/s", "microturbulence"),
    Column("vmac", "<f4", (), "km/s", "radial-tangential macroturbulence"),
    Column("alpha", "<f4", (), "dex", "[alpha/Fe]"),
)


class Source(Protocol):
    """Where the spectra of a data set come from."""

    #: How many spectra.
    n: int
    #: What is stored of each.
    columns: tuple[Column, ...]
    #: (8, 4096) what multiplies the spectrum along each order, 0 where no pixel is used.
    response: Array

    def chunk(self, index: int) -> dict[str, npt.NDArray[np.generic]]:
        """Arrays by column for spectra ``CHUNK * index`` and the following."""
        ...


def source_of(preset: Preset, emulator: Emulator, limit: int | None = None) -> Source:
    """Return the source that a preset asks for.

    Parameters
    ----------
    preset : Preset
    emulator : Emulator
    limit : int, optional
        At most about so many spectra, spread over the whole set.
    """
    if preset.source == "nodes":
        return _Nodes(preset, emulator, limit)
    return _Stars(preset, emulator, limit)


def _used(preset: Preset) -> npt.NDArray[np.bool_]:
    low, high = preset.wavelengths
    wave = canonical_wavelengths()
    return (wave >= low) & (wave <= high)


class _Nodes:
    """Every atmosphere of the grid at every vsini, in the order teff, logg, m_h, vsini."""

    columns: tuple[Column, ...] = (_FLUX, _LABELS, *_NUISANCES)

    def __init__(self, preset: Preset, emulator: Emulator, limit: int | None) -> None:
        atmospheres = nodes(emulator, preset.vmic)
        if limit is not None:
            kept = min(max(1, limit // len(preset.vsini)), len(atmospheres))
            atmospheres = atmospheres[np.arange(kept) * len(atmospheres) // kept]
        vsini = np.array(preset.vsini)
        self._labels = np.hstack(
            [np.repeat(atmospheres, len(vsini), axis=0),
             np.tile(vsini, len(atmospheres))[:, None]]
        )  # fmt: skip
        self.n = len(self._labels)
        slant = 1.0 + preset.slant * np.linspace(-1.0, 1.0, N_PIXELS)
        self.response = np.where(_used(preset), slant, 0.0)
        self._preset, self._emulator = preset, emulator
        self._sampler = emulator.sampler(canonical_wavelengths())

    def chunk(self, index: int) -> dict[str, npt.NDArray[np.generic]]:
        labels = self._labels[CHUNK * index : CHUNK * (index + 1)]
        with torch.no_grad():
            flux = self._emulator.at(
                self._sampler,
                torch.from_numpy(labels).float(),
                vmic=self._preset.vmic,
                vmac=self._preset.vmac,
                resolution=self._preset.resolution,
            ).numpy()
        ones = np.ones(len(labels))
        return {
            "flux": flux * self.response, "labels": labels,
            "vmic": self._preset.vmic * ones, "vmac": self._preset.vmac * ones,
            "alpha": 0.0 * ones,
        }  # fmt: skip


def nodes(emulator: Emulator, vmic: float) -> Array:
    """(n, 3) teff, logg, m_h of every atmosphere in the grid, sorted by them."""
    teff, logg, m_h = torch.meshgrid(*emulator.grid.axes[:3], indexing="ij")
    points = torch.stack([teff.flatten(), logg.flatten(), m_h.flatten()], dim=1)
    speed = torch.full_like(points[:, 0], vmic)
    there = emulator.contains(points[:, 0], points[:, 1], points[:, 2], speed)
    return points[there].double().numpy()


class _Stars:
    """Stars drawn from priors, each behind its own detector."""

    columns: tuple[Column, ...] = (
        _FLUX,
        Column("sigma", "<f2", _PIXELS, "", "standard deviation of flux; infinite where missing"),
        _LABELS,
        *_NUISANCES,
        Column("rv", "<f4", (), "km/s", "velocity that is left in the rest frame"),
        Column("snr", "<f4", (), "", "signal to noise per pixel where the response is 1"),
    )

    def __init__(self, preset: Preset, emulator: Emulator, limit: int | None) -> None:
        self.n = preset.spectra if limit is None else min(limit, preset.spectra)
        blaze = get_instrument("HARPS-N").blaze(list(ROWS))
        self._blaze = blaze / np.median(blaze)
        self.response = np.where(_used(preset), self._blaze, 0.0)
        self._preset, self._emulator = preset, emulator

    def chunk(self, index: int) -> dict[str, npt.NDArray[np.generic]]:
        n = min(CHUNK, self.n - CHUNK * index)
        preset = self._preset
        simulator = Simulator(
            self._emulator, torch.from_numpy(canonical_wavelengths().copy()),
            torch.from_numpy(self._blaze).float(), preset.resolution, preset.priors,
            seed=preset.seed + 1 + index,
        )  # fmt: skip
        stars = simulator.draw(n)
        _, vmic, vmac, alpha = stars.columns
        rv = preset.priors.rv_error * torch.randn(n, generator=simulator.generator)
        snr = simulator.draw_snr(n)
        exposure = simulator.expose(simulator.spectra(stars, rv), snr)
        ivar = exposure.ivar.numpy()
        there = (ivar > 0) & (self.response > 0)
        with np.errstate(divide="ignore"):
            sigma = np.where(there, self.response / np.sqrt(ivar), np.inf)
        return {
            "flux": np.where(there, exposure.flux.numpy() * self.response, 0.0), "sigma": sigma,
            "labels": stars.labels.double().numpy(), "vmic": vmic.numpy(), "vmac": vmac.numpy(),
            "alpha": alpha.numpy(), "rv": rv.numpy(), "snr": snr.numpy(),
        }  # fmt: skip

"""Templates of velocities: spectra of the emulator, divided by their rough continuum."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
from scipy.fft import rfft

from harpsstar.labels import VMIC
from harpsstar.spectra.continuum import rough_continuum
from harpsstar.spectra.frame import Pixels
from harpsstar.spectra.velocity import DECIMATION, Bank

if TYPE_CHECKING:
    from harpsstar.model.emulator import Emulator

#: Stars of the bank: teff, logg, m_h.
STARS: tuple[tuple[float, float, float], ...] = (
    (3750, 1.0, 0.0), (3750, 4.5, 0.0), (4250, 1.5, -0.5), (4250, 4.5, 0.0),
    (4250, 1.0, -2.0), (4750, 2.5, 0.0), (4750, 2.5, -1.0), (4750, 2.0, -2.0),
    (4750, 4.5, 0.0), (5250, 3.0, -1.5), (5250, 4.5, 0.0), (5250, 4.5, -1.0),
    (5750, 4.5, 0.0), (5750, 4.5, -0.5), (5750, 4.5, -1.5), (5750, 4.0, -2.5),
    (6250, 4.0, 0.0), (6250, 4.0, -0.5), (6250, 4.0, -1.5), (6750, 4.0, 0.0),
    (6750, 4.0, -1.0), (7500, 4.0, 0.0), (8250, 4.0, 0.0), (9250, 4.0, 0.0),
)  # fmt: skip
#: Rotation velocities of the bank, km/s.
ROTATIONS: tuple[float, ...] = (2.0, 6.0, 13.0, 28.0)

_VMAC = 3.0  # km/s, of all templates
_RANK = 40  # principal components of the bank: rms 1e-3 of the continuum is left out

_banks: WeakKeyDictionary[Emulator, Bank] = WeakKeyDictionary()


def bank_of(emulator: Emulator) -> Bank:
    """Templates of an emulator, computed at the first call and kept."""
    if emulator not in _banks:
        _banks[emulator] = _build_bank(emulator)
    return _banks[emulator]


def _build_bank(emulator: Emulator) -> Bank:
    import torch

    stars = np.array(STARS)
    # Giants and hot stars have more microturbulence; either end of the grid is near enough.
    vmic = np.where((stars[:, 0] > 6500) | (stars[:, 1] < 3), VMIC.high, VMIC.low)
    labels = np.array([(*star, v) for v in ROTATIONS for star in stars])
    vmics = np.tile(vmic, len(ROTATIONS))
    with torch.no_grad():
        known = emulator.contains(
            *(torch.tensor(x, dtype=torch.float32) for x in (*labels[:, :3].T, vmics))
        ).numpy()
        labels, vmics = labels[known], vmics[known]
        flux = emulator(
            torch.tensor(labels, dtype=torch.float32),
            vmic=torch.tensor(vmics, dtype=torch.float32),
            vmac=torch.full((len(vmics),), _VMAC),
        ).numpy()
        log_wave = emulator.log_wave.numpy()
    # An envelope is smooth: what it needs is one pixel in four.
    sparse = flux[:, DECIMATION // 2 :: DECIMATION].astype(np.float64)
    wave = np.broadcast_to(np.exp(log_wave[DECIMATION // 2 :: DECIMATION]), sparse.shape)
    envelope = rough_continuum(Pixels(wave, sparse, np.ones_like(sparse)))
    templates = np.empty_like(flux)
    for row, (spectrum, level) in enumerate(zip(flux, envelope, strict=True)):
        templates[row] = 1.0 - spectrum / np.interp(log_wave, np.log(wave[row]), level)
    n = templates.shape[1] // DECIMATION
    coarse = templates[:, : n * DECIMATION].reshape(len(templates), n, DECIMATION).mean(axis=-1)
    shares, components = zip(*(_compressed(x) for x in (coarse, coarse**2)), strict=True)
    return Bank(
        log_wave0=float(log_wave[0]),
        log_step=float((log_wave[-1] - log_wave[0]) / (log_wave.size - 1)),
        labels=labels,
        vmic=vmics,
        templates=templates,
        coarse=rfft(np.stack(components), axis=-1),
        shares=np.stack(shares),
    )


def _compressed(
    rows: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Shares (k, r) and components (r, n) whose product is nearly `rows` (k, n)."""
    value, vector = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    basis = vector[:, -_RANK:].astype(np.float32)
    return basis, basis.T @ rows

"""Stars observed by arithmetic alone: emulator, continuum, noise; no file, no reader."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from harpsstar.model.emulator import Emulator
from harpsstar.spectra.frame import Pixels, canonical_wavelengths

#: teff, logg, m_h, vsini, vmic, vmac
STARS = {
    "G dwarf": (5700.0, 4.4, -0.1, 2.0, 1.0, 3.5),
    "K dwarf": (4600.0, 4.6, 0.1, 1.5, 1.0, 2.0),
    "K giant": (4400.0, 1.7, -0.3, 3.0, 1.5, 4.0),
    "F dwarf": (6350.0, 4.1, -0.2, 4.0, 1.5, 5.0),
    "metal-poor giant": (5200.0, 2.8, -2.3, 2.0, 1.5, 4.0),
}


@pytest.fixture(scope="session")
def emulator() -> Emulator:
    return Emulator.load()


@pytest.fixture(scope="session")
def one_dimensional() -> np.ndarray:
    return np.arange(5012.0, 5408.0, 0.01)[None]


@pytest.fixture(scope="session")
def normalised(emulator: Emulator) -> Callable[..., np.ndarray]:
    """(star, wave, rv) → normalised noise-free flux of the shape of wave."""

    @torch.no_grad()
    def spectrum(star: str, wave: np.ndarray, rv: float = 0.0) -> np.ndarray:
        *labels, vmic, vmac = STARS[star]
        shift = torch.tensor([rv])
        flux = emulator.at(np.array(wave), torch.tensor([labels]), vmic=vmic, vmac=vmac, rv=shift)
        return flux[0].double().numpy()

    return spectrum


@pytest.fixture(scope="session")
def observe(normalised: Callable[..., np.ndarray]) -> Callable[..., Pixels]:
    """(star, rv, snr, seed, wave) → Pixels with a sloping continuum and noise falling to edges."""

    def observation(
        star: str, rv: float, snr: float, seed: int = 0, wave: np.ndarray | None = None
    ) -> Pixels:
        wave = canonical_wavelengths() if wave is None else wave
        x = np.linspace(-1.0, 1.0, wave.shape[1])
        continuum = 1.0 + 0.1 * x - 0.2 * x**2
        sigma = continuum / snr * (1.0 + 2.0 * x**4 if len(wave) > 1 else 1.0)
        noise = np.random.default_rng(seed).normal(size=wave.shape) * sigma
        flux = np.nan_to_num(normalised(star, wave, rv), nan=1.0) * continuum + noise
        return Pixels(wave, flux, np.broadcast_to(sigma**-2.0, wave.shape).copy(), star)

    return observation


@pytest.fixture(scope="session")
def real_data() -> Path:
    default = Path(__file__).resolve().parents[3] / "shared"
    folder = Path(os.environ.get("HARPSSTAR_SHARED", default)) / "data" / "real"
    if not folder.is_dir():
        pytest.skip(f"no real spectra in {folder}")
    return folder

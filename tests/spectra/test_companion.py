"""A second set of lines is found where there is one, with its velocity, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from harpsstar.model.emulator import Emulator
from harpsstar.model.templates import bank_of
from harpsstar.spectra.companion import find_companion
from harpsstar.spectra.frame import canonical_wavelengths

Normalised = Callable[..., np.ndarray]


def residuals(
    normalised: Normalised, *, share: float, velocity: float, seed: int, snr: float = 80.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flux, ivar and model of a G dwarf with a K dwarf beside it, of which the model knows not."""
    model = normalised("G dwarf", canonical_wavelengths())
    other = normalised("K dwarf", canonical_wavelengths(), velocity)
    noise = np.random.default_rng(seed).normal(size=model.shape) / snr
    return (1 - share) * model + share * other + noise, np.full(model.shape, snr**2), model


@pytest.mark.parametrize("velocity", [-180.0, -40.0, 25.0, 111.0])
def test_the_velocity_of_a_companion_is_found(
    emulator: Emulator, normalised: Normalised, velocity: float
) -> None:
    spectra = residuals(normalised, share=0.2, velocity=velocity, seed=1)
    found = find_companion(*spectra, 2.0, bank_of(emulator))
    # two steps of the grid of velocities, 2.4 km/s each
    assert found.velocity == pytest.approx(velocity, abs=4.8)
    assert found.significance > 15


def test_twice_the_light_is_twice_the_share(emulator: Emulator, normalised: Normalised) -> None:
    bank = bank_of(emulator)
    half, whole = (
        find_companion(
            *residuals(normalised, share=share, velocity=70.0, seed=3, snr=500.0), 2.0, bank
        ).share for share in (0.05, 0.1)
    )  # fmt: skip
    assert whole / half == pytest.approx(2.0, rel=0.05)


def test_one_star_has_no_companion(emulator: Emulator, normalised: Normalised) -> None:
    bank = bank_of(emulator)
    highest = max(
        find_companion(*residuals(normalised, share=0.0, velocity=0.0, seed=seed), 2.0, bank)
        .significance for seed in range(20)
    )  # fmt: skip
    assert highest < 6


def test_a_masked_pixel_does_not_matter(emulator: Emulator, normalised: Normalised) -> None:
    flux, ivar, model = residuals(normalised, share=0.2, velocity=60.0, seed=2)
    ivar[:, ::7] = 0.0
    bank = bank_of(emulator)
    one = find_companion(flux, ivar, model, 2.0, bank)
    flux[:, ::7] = -1e6
    assert find_companion(flux, ivar, model, 2.0, bank) == one


def test_without_pixels_there_is_nothing(emulator: Emulator) -> None:
    empty = np.zeros((8, 4096))
    assert find_companion(empty, empty, empty, 2.0, bank_of(emulator)).significance == 0.0

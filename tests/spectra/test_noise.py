from __future__ import annotations

import numpy as np
import pytest

from harpsstar.spectra.noise import clip_cosmics, ivar_from_flux, plateaus, snr_per_pixel


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("snr", [5.0, 80.0])
def test_snr_is_found(rng: np.random.Generator, snr: float) -> None:
    flux = 1.0 + rng.normal(size=(8, 4096)) / snr
    ivar = np.full(flux.shape, snr**2)
    assert snr_per_pixel(flux, ivar) == pytest.approx(snr, rel=0.01)
    assert snr_per_pixel(300 * flux, ivar / 300**2) == pytest.approx(snr, rel=0.01)


def test_snr_ignores_what_has_no_weight(rng: np.random.Generator) -> None:
    flux = 1.0 + rng.normal(size=(8, 4096)) / 50
    ivar = np.full(flux.shape, 2500.0)
    ivar[2], flux[2], ivar[:, :500], flux[:, :500] = 0.0, np.nan, 0.0, 1e9
    assert snr_per_pixel(flux, ivar) == pytest.approx(50, rel=0.02)
    assert np.isnan(snr_per_pixel(flux, np.zeros(flux.shape)))


@pytest.mark.parametrize("sigma", [0.002, 0.1])
def test_noise_is_told_from_lines(rng: np.random.Generator, sigma: float) -> None:
    pixel = np.arange(8192)
    lines = 1.0 - 0.6 * np.exp(-0.5 * ((pixel % 80 - 40) / 6.0) ** 2)
    flux = (lines + rng.normal(size=pixel.size) * sigma)[None]
    usable = rng.random(flux.shape) > 0.05
    ivar = ivar_from_flux(np.where(usable, flux, np.nan), usable)
    assert np.all(ivar[~usable] == 0)
    assert ivar[usable].mean() == pytest.approx(sigma**-2, rel=0.15)


def test_only_upward_outliers_are_clipped(rng: np.random.Generator) -> None:
    model = np.full((8, 4096), 0.8)
    flux = model + rng.normal(size=model.shape) * 0.01
    flux[3, 100], flux[4, 200], flux[5, 300] = 2.0, -1.0, 0.8
    ivar = np.full(model.shape, 1e4)
    clipped, count = clip_cosmics(flux, ivar, model)
    assert count == 1
    assert np.argwhere(clipped == 0).tolist() == [[3, i] for i in range(98, 103)]
    assert np.all(ivar == 1e4)


def test_a_model_that_does_not_fit_makes_no_cosmics(rng: np.random.Generator) -> None:
    pixel = np.arange(4096)
    model = np.tile(1 - 0.5 * np.exp(-0.5 * ((pixel % 60 - 30) / 8.0) ** 2), (8, 1))
    flux = 1 - 0.8 * (1 - model) + rng.normal(size=model.shape) * 1e-3
    ivar = np.full(model.shape, 1e6)
    assert clip_cosmics(flux, ivar, model)[1] == 0
    flux[0, 500] += 2.0
    assert clip_cosmics(flux, ivar, model)[1] == 1


def test_values_without_weight_make_no_cosmics(rng: np.random.Generator) -> None:
    flux = 1 + rng.normal(size=(8, 4096)) * 0.01
    ivar = np.full(flux.shape, 1e4)
    ivar[1], flux[1] = 0.0, np.inf
    clipped, count = clip_cosmics(flux, ivar, np.ones(flux.shape))
    assert count == 0
    assert np.array_equal(clipped, ivar)


def test_a_clipped_spectrum_has_plateaus_and_no_other(rng: np.random.Generator) -> None:
    flux = 1.0 + rng.normal(size=(4, 4096)) / 300
    usable = np.ones(flux.shape, dtype=bool)
    assert not plateaus(flux, usable, 3).any()
    flat = flux.copy()
    flat[1, 100:116], flat[2, 500:515] = 0.98, 0.98
    usable[0] = False
    flat[0] = 1.0
    expected = np.zeros(flux.shape, dtype=bool)
    expected[1, 100:116] = True
    assert np.array_equal(plateaus(flat, usable, 16), expected)

"""Observed pixels become data: which of them, and what is known of their noise."""

from __future__ import annotations

import numpy as np
import pytest

from harpsstar.errors import CoverageError
from harpsstar.infer.fit.data import make_data, pattern_at, photon_slope
from harpsstar.model.mismatch import load_mismatch
from harpsstar.spectra.frame import Pixels, canonical_wavelengths


def pixels(wave, value=2.0):
    rng = np.random.default_rng(0)
    flux = value * (1 + 0.01 * rng.standard_normal(wave.shape))
    return Pixels(wave, flux, np.full(wave.shape, (0.01 * value) ** -2))


def test_orders_count_whose_centre_is_in_the_range():
    canonical = canonical_wavelengths()
    outside = np.linspace(4990.0, 5030.0, canonical.shape[1])
    data = make_data(pixels(np.vstack([outside, canonical])), 0.0, 1e5)
    np.testing.assert_array_equal(data.wave, canonical)


def test_a_merged_spectrum_is_cut_into_pieces_without_loss():
    wave = np.arange(5000.0, 5420.0, 0.01)[None]
    data = make_data(pixels(wave), 30.0, 1e5)
    low, high = canonical_wavelengths().min(), canonical_wavelengths().max()
    rest = wave / (1 + 30.0 / 299792.458)
    assert len(data.wave) == 8
    assert int(data.used.sum()) == np.count_nonzero((rest >= low) & (rest <= high))


def test_scale_of_the_flux_changes_only_the_level():
    one, ten = (make_data(pixels(canonical_wavelengths(), v), 0.0, 1e5) for v in (1.0, 10.0))
    np.testing.assert_allclose(one.flux, ten.flux, rtol=1e-5)
    np.testing.assert_allclose(one.ivar, ten.ivar, rtol=1e-5)
    np.testing.assert_allclose(ten.level, 10 * one.level, rtol=1e-5)


def test_nothing_usable_is_refused():
    wave = canonical_wavelengths()
    dark = Pixels(wave, np.ones(wave.shape), np.zeros(wave.shape), "dark.fits")
    with pytest.raises(CoverageError, match="dark.fits"):
        make_data(dark, 0.0, 1e5)


def test_photon_noise_is_recognised_from_variances():
    rng = np.random.default_rng(1)
    response = 0.5 + np.linspace(0, 1, 4096) ** 2
    counts = rng.uniform(2000.0, 1e4, (1, 4096))
    slope = photon_slope(counts * response, 1 / ((counts + 49.0) * response**2))
    np.testing.assert_allclose(slope[0], response, rtol=0.03)


def test_white_noise_does_not_follow_the_flux():
    flux = np.random.default_rng(2).uniform(0.2, 1.0, (1, 4096))
    np.testing.assert_allclose(photon_slope(flux, np.full(flux.shape, 1e4)), 0.0, atol=1e-9)


def test_variances_that_nothing_explains_have_no_slope():
    rng = np.random.default_rng(3)
    flux, ivar = rng.uniform(0.2, 1.0, (1, 4096)), rng.uniform(1.0, 9.0, (1, 4096))
    assert not photon_slope(flux, ivar).any()


def test_pattern_is_the_packaged_one_in_the_middle_of_orders():
    wave = canonical_wavelengths()
    middle = slice(1800, 2200)
    expected = load_mismatch().double().numpy()[:, middle]
    np.testing.assert_allclose(pattern_at(wave[:, middle]), expected, rtol=1e-6)
    assert pattern_at(np.array([4000.0, 7000.0])).tolist() == [1.0, 1.0]

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import StdDevUncertainty
from specutils import Spectrum, SpectrumCollection

from harpsstar.errors import CoverageError
from harpsstar.spectra.frame import (
    C_KM_S,
    N_PIXELS,
    Pixels,
    canonical_wavelengths,
    pixels_from,
    to_canonical,
)


def collection(wave, flux, sigma, mask=None) -> SpectrumCollection:
    return SpectrumCollection(
        flux=flux * u.electron,
        spectral_axis=wave * u.AA,
        uncertainty=StdDevUncertainty(sigma),
        mask=np.zeros(flux.shape, dtype=bool) if mask is None else mask,
    )


def smooth(wave: np.ndarray) -> np.ndarray:
    """A spectrum without structure below 0.3 Å, in the rest frame."""
    return 2.0 + np.sin(wave / 0.3) + 0.5 * np.cos(wave / 7.0)


@pytest.fixture
def orders() -> Pixels:
    wave = canonical_wavelengths().copy()
    return Pixels(wave, smooth(wave), np.full(wave.shape, 400.0))


def test_canonical_orders_are_those_of_harps_n() -> None:
    wave = canonical_wavelengths()
    assert wave.shape == (8, N_PIXELS)
    assert np.all(np.diff(wave, axis=1) > 0)
    assert np.allclose(np.median(wave, axis=1) * np.arange(121, 113, -1), 611_700, rtol=1e-3)
    assert wave.min() == pytest.approx(5025, abs=1)
    assert wave.max() == pytest.approx(5393, abs=1)
    overlaps = wave[:-1, -1] - wave[1:, 0]
    assert np.all((overlaps > 12) & (overlaps < 16))
    with pytest.raises(ValueError, match="read-only"):
        wave[0, 0] = 0.0


def test_own_frame_is_returned_unchanged(orders: Pixels) -> None:
    canonical = to_canonical(orders, 0.0)
    assert np.allclose(canonical.flux, orders.flux, rtol=1e-6)
    assert np.allclose(canonical.ivar, orders.ivar, rtol=1e-6)


@pytest.mark.parametrize("rv", [-300.0, -17.3, 0.4, 300.0])
def test_velocity_is_removed(orders: Pixels, rv: float) -> None:
    flux = smooth(orders.wave / (1 + rv / C_KM_S))
    canonical = to_canonical(Pixels(orders.wave, flux, orders.ivar), rv)
    good = canonical.ivar > 0
    assert good.mean() > 0.85  # 5 Å of an order shift out at 300 km/s
    assert np.allclose(canonical.flux[good], smooth(canonical_wavelengths())[good], atol=2e-4)
    assert np.all(canonical.flux[~good] == 0)


def test_values_of_unusable_pixels_never_matter(orders: Pixels) -> None:
    rng = np.random.default_rng(0)
    ivar = np.where(rng.random(orders.ivar.shape) < 0.05, 0.0, orders.ivar)
    results = []
    for junk in (0.0, 1e30, -np.inf, np.nan):
        flux = np.where(ivar > 0, orders.flux, junk)
        results.append(to_canonical(Pixels(orders.wave, flux, ivar), 12.3))
    for other in results[1:]:
        assert np.array_equal(results[0].flux, other.flux)
        assert np.array_equal(results[0].ivar, other.ivar)
    assert np.all(np.isfinite(results[0].flux))


def test_pixel_next_to_an_unusable_one_has_no_weight(orders: Pixels) -> None:
    ivar = orders.ivar.copy()
    ivar[3, 2000] = 0.0
    lost = np.flatnonzero(to_canonical(Pixels(orders.wave, orders.flux, ivar), 0.4).ivar[3] == 0)
    assert {1999, 2000} <= set(lost)
    interior = lost[(lost > 5) & (lost < N_PIXELS - 5)]
    assert np.all(np.abs(interior - 2000) <= 3)


def test_missing_order_is_a_row_without_weight(orders: Pixels) -> None:
    keep = np.arange(8) != 5
    partial = Pixels(orders.wave[keep], orders.flux[keep], orders.ivar[keep])
    ivar = to_canonical(partial, 0.0).ivar
    assert np.all(ivar[5] == 0)
    assert np.all(ivar[keep] > 0)


def test_one_dimension_fills_all_rows_and_shares_the_weight_of_overlaps() -> None:
    # Two products of one exposure: pixels as wide as the orders', so weights compare directly.
    wave = 5010.0 * np.exp(2.76e-6 * np.arange(27_500))[None]
    flat = Pixels(wave, smooth(wave), np.full(wave.shape, 100.0))
    canonical = to_canonical(flat, 0.0)
    assert np.all(canonical.ivar > 0)
    assert np.allclose(canonical.flux, smooth(canonical_wavelengths()), atol=2e-4)
    total = np.sum(canonical.ivar, dtype=np.float64)
    inside = (wave >= canonical_wavelengths().min()) & (wave <= canonical_wavelengths().max())
    assert total <= np.sum(flat.ivar[inside])
    assert total > 0.9 * np.sum(flat.ivar[inside])


def test_finer_sampling_does_not_invent_information() -> None:
    coarse = np.arange(5010.0, 5410.0, 0.05)[None]
    canonical = to_canonical(Pixels(coarse, smooth(coarse), np.full(coarse.shape, 100.0)), 0.0)
    low, high = canonical_wavelengths().min(), canonical_wavelengths().max()
    available = 100.0 * np.count_nonzero((coarse > low) & (coarse < high))
    assert np.sum(canonical.ivar, dtype=np.float64) == pytest.approx(available, rel=0.02)


def test_bad_pixels_of_a_collection_become_weights(orders: Pixels) -> None:
    flux, sigma = orders.flux * 1000.0, np.full(orders.flux.shape, 50.0)
    mask = np.zeros(flux.shape, dtype=bool)
    mask[0, 10], flux[1, 11], sigma[2, 12], sigma[3, 13] = True, np.nan, 0.0, np.nan
    pixels = pixels_from(collection(orders.wave, flux, sigma, mask))
    bad = np.argwhere(pixels.ivar == 0)
    assert bad.tolist() == [[0, 10], [1, 11], [2, 12], [3, 13]]
    assert np.all(np.isfinite(pixels.flux))
    good = pixels.ivar > 0
    snr = pixels.flux * np.sqrt(pixels.ivar)
    assert np.allclose(snr[good], (orders.flux * 20.0)[good], rtol=1e-6)


@pytest.mark.parametrize("factor", [1e-15, 1.0, 1e7])
def test_flux_scale_is_taken_out(orders: Pixels, factor: float) -> None:
    sigma = np.full(orders.flux.shape, 0.02)
    reference = pixels_from(collection(orders.wave, orders.flux, sigma))
    scaled = pixels_from(collection(orders.wave, orders.flux * factor, sigma * factor))
    assert np.allclose(scaled.flux, reference.flux, rtol=1e-9)
    assert np.allclose(scaled.ivar, reference.ivar, rtol=1e-9)
    assert np.all(np.isfinite(to_canonical(scaled, 0.0).ivar))


def test_orders_in_any_sequence_and_direction_are_the_same(orders: Pixels) -> None:
    sigma = np.full(orders.flux.shape, 0.05)
    reference = pixels_from(collection(orders.wave, orders.flux, sigma))
    turned = pixels_from(collection(orders.wave[::-1, ::-1], orders.flux[::-1, ::-1], sigma))
    assert np.array_equal(reference.wave, turned.wave)
    assert np.array_equal(reference.flux, turned.flux)


def test_far_orders_are_left_out(orders: Pixels) -> None:
    far = orders.wave[:3] + 1000.0
    wave = np.concatenate([far, orders.wave])
    flux = np.concatenate([np.ones(far.shape), orders.flux])
    pixels = pixels_from(collection(wave, flux, np.ones(flux.shape)))
    assert pixels.wave.shape == orders.wave.shape


def test_one_dimensional_spectrum_without_errors_gets_its_scatter() -> None:
    wave = np.arange(4990.0, 5450.0, 0.015)
    noise = np.random.default_rng(3).normal(size=wave.size) * 0.02
    flux = 2.0 + 0.1 * np.sin(wave / 3.0) + noise
    pixels = pixels_from(Spectrum(flux=flux * u.one, spectral_axis=wave * u.AA))
    assert pixels.wave.shape[0] == 1
    assert pixels.wave.min() > 5009
    assert pixels.wave.max() < 5411
    snr = np.median(pixels.flux * np.sqrt(pixels.ivar))
    assert snr == pytest.approx(100.0, rel=0.05)


@pytest.mark.parametrize("shift", [1000.0, 330.0])
def test_spectrum_elsewhere_is_refused(orders: Pixels, shift: float) -> None:
    spectrum = collection(orders.wave + shift, orders.flux, np.ones(orders.flux.shape))
    with pytest.raises(CoverageError, match="expected at least 20% of 5025–5393"):
        pixels_from(spectrum)


def test_spectrum_without_a_good_pixel_is_refused(orders: Pixels) -> None:
    mask = np.ones(orders.flux.shape, dtype=bool)
    with pytest.raises(CoverageError, match="no usable pixel"):
        pixels_from(collection(orders.wave, orders.flux, np.ones(orders.flux.shape), mask))

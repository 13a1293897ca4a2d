from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harpsstar.errors import CoverageError
from harpsstar.model.emulator import Emulator
from harpsstar.model.templates import bank_of
from harpsstar.spectra.frame import Pixels, canonical_wavelengths, pixels_from
from harpsstar.spectra.velocity import Velocity, measure_velocity

Measure = Callable[..., Velocity]


@pytest.fixture(scope="module")
def measure(emulator: Emulator) -> Measure:
    return lambda pixels, **options: measure_velocity(pixels, bank_of(emulator), **options)


@pytest.mark.parametrize("rv", [-299.0, -123.4, -3.21, 0.0, 40.7, 211.1, 299.0])
def test_shifted_spectrum_has_the_shifted_velocity(
    observe: Callable[..., Pixels], measure: Measure, rv: float
) -> None:
    found = measure(observe("G dwarf", rv, 50.0))
    assert found.rv == pytest.approx(rv, abs=0.05)
    assert found.rv_err < 0.05
    assert found.significance > 1000
    assert found.peak_ratio < 0.4


@pytest.mark.parametrize("star", ["G dwarf", "K dwarf", "K giant", "F dwarf", "metal-poor giant"])
def test_slow_rotators_at_snr_50_are_right_to_300_m_s(
    observe: Callable[..., Pixels], measure: Measure, star: str
) -> None:
    velocities = np.random.default_rng(1).uniform(-300, 300, 8)
    found = [measure(observe(star, rv, 50.0, seed)) for seed, rv in enumerate(velocities)]
    errors = np.array([v.rv for v in found]) - velocities
    assert np.abs(errors).max() < 0.3
    # The template differs from the star; that too must not be much more than the error says.
    assert np.sqrt(np.mean(errors**2)) < 4 * np.mean([v.rv_err for v in found])


def test_scatter_is_what_the_error_says(observe: Callable[..., Pixels], measure: Measure) -> None:
    found = [measure(observe("G dwarf", 17.0, 25.0, seed)) for seed in range(60)]
    scatter = np.std([v.rv for v in found], ddof=1)
    # 60 draws know their scatter to 9 %.
    assert scatter / np.mean([v.rv_err for v in found]) == pytest.approx(1.0, abs=0.35)


def test_twice_the_noise_doubles_the_error(
    observe: Callable[..., Pixels], measure: Measure
) -> None:
    errors = [
        np.mean([measure(observe("G dwarf", 5.0, snr, s)).rv_err for s in range(6)])
        for snr in (40.0, 20.0)
    ]
    assert errors[1] / errors[0] == pytest.approx(2.0, rel=0.25)


def test_flux_scale_changes_nothing(observe: Callable[..., Pixels], measure: Measure) -> None:
    pixels = observe("K dwarf", -60.0, 50.0)
    scaled = Pixels(pixels.wave, 1e6 * pixels.flux, 1e-12 * pixels.ivar)
    one, other = measure(pixels), measure(scaled)
    assert other.rv == pytest.approx(one.rv, abs=1e-4)
    assert other.rv_err == pytest.approx(one.rv_err, rel=1e-4)
    assert other.labels == one.labels


def test_smooth_response_changes_little(observe: Callable[..., Pixels], measure: Measure) -> None:
    pixels = observe("G dwarf", 33.0, 50.0)
    blaze = np.sinc(np.linspace(-0.6, 0.6, 4096)) ** 2
    one = measure(pixels)
    other = measure(Pixels(pixels.wave, pixels.flux * blaze, pixels.ivar / blaze**2))
    assert abs(other.rv - one.rv) < one.rv_err


def test_values_of_masked_pixels_never_matter(
    observe: Callable[..., Pixels], measure: Measure
) -> None:
    pixels = observe("G dwarf", 12.0, 50.0)
    ivar = np.where(np.random.default_rng(0).random(pixels.ivar.shape) < 0.05, 0.0, pixels.ivar)
    found = [
        measure(Pixels(pixels.wave, np.where(ivar > 0, pixels.flux, junk), ivar))
        for junk in (0.0, 1e20, np.nan)
    ]
    assert found[0].rv == found[1].rv == found[2].rv
    assert found[0].rv_err == found[1].rv_err == found[2].rv_err
    assert found[0].rv == pytest.approx(12.0, abs=0.05)


def test_what_is_missing_only_costs_precision(
    observe: Callable[..., Pixels], measure: Measure
) -> None:
    pixels = observe("G dwarf", 77.0, 30.0)
    full = measure(pixels)
    gap = np.where((pixels.wave > 5304) & (pixels.wave < 5337), 0.0, pixels.ivar)
    half = np.where(np.arange(8)[:, None] % 2 == 0, pixels.ivar, 0.0)
    rest = np.arange(8) != 3
    without = Pixels(pixels.wave[rest], pixels.flux[rest], pixels.ivar[rest])
    for partial in (
        Pixels(pixels.wave, pixels.flux, gap),
        Pixels(pixels.wave, pixels.flux, half),
        without,
    ):
        found = measure(partial)
        assert found.rv == pytest.approx(77.0, abs=6 * full.rv_err)
        assert found.n_pixels < full.n_pixels
        assert full.rv_err < found.rv_err < 3 * full.rv_err


@pytest.mark.parametrize("rv", [-280.0, 3.0, 280.0])
def test_one_dimension_works_as_orders_do(
    observe: Callable[..., Pixels], measure: Measure, one_dimensional: np.ndarray, rv: float
) -> None:
    found = measure(observe("F dwarf", rv, 60.0, wave=one_dimensional))
    assert found.rv == pytest.approx(rv, abs=0.1)
    assert found.rv_err < 0.1


def test_cosmics_do_no_harm(observe: Callable[..., Pixels], measure: Measure) -> None:
    pixels = observe("G dwarf", -8.0, 50.0)
    flux = pixels.flux.copy()
    rng = np.random.default_rng(2)
    flux[rng.integers(0, 8, 60), rng.integers(0, 4096, 60)] += rng.uniform(1, 100, 60)
    clean, hit = measure(pixels), measure(Pixels(pixels.wave, flux, pixels.ivar))
    assert abs(hit.rv - clean.rv) < 2 * clean.rv_err


def test_fast_rotation_is_seen(
    emulator: Emulator, observe: Callable[..., Pixels], measure: Measure
) -> None:
    import torch

    wave = canonical_wavelengths()
    with torch.no_grad():
        labels = torch.tensor([[6000.0, 4.3, 0.0, 27.0]])
        flux = emulator.at(wave.copy(), labels, vmic=1.3, vmac=3.0, rv=torch.tensor([50.0]))
    noise = np.random.default_rng(0).normal(size=wave.shape) / 50
    found = measure(Pixels(wave, flux[0].numpy() + noise, np.full(wave.shape, 2500.0)))
    assert found.labels[3] == 28.0
    assert found.rv == pytest.approx(50.0, abs=0.5)


def test_labels_are_those_of_a_near_template(
    observe: Callable[..., Pixels], measure: Measure
) -> None:
    teff, logg, m_h, vsini = measure(observe("G dwarf", 0.0, 50.0)).labels
    assert abs(teff - 5700) <= 500
    assert abs(logg - 4.4) <= 1
    assert abs(m_h + 0.1) <= 0.5
    assert vsini == 2.0


def test_two_stars_show_two_peaks(observe: Callable[..., Pixels], measure: Measure) -> None:
    one, other = observe("G dwarf", -40.0, 80.0, 1), observe("G dwarf", 40.0, 80.0, 2)
    both = Pixels(one.wave, 0.52 * one.flux + 0.48 * other.flux, 2.0 * one.ivar)
    single, double = measure(one), measure(both)
    assert double.peak_ratio > 0.7
    assert single.peak_ratio < 0.3
    assert double.significance < single.significance


def test_noise_alone_has_no_significance(measure: Measure) -> None:
    wave = canonical_wavelengths()
    flux = 1 + np.random.default_rng(4).normal(size=wave.shape) / 20
    found = measure(Pixels(wave, flux, np.full(wave.shape, 400.0)))
    assert found.significance < 25
    assert found.peak_ratio > 0.4
    assert found.contrast < 0.2


def test_guess_narrows_the_search(observe: Callable[..., Pixels], measure: Measure) -> None:
    pixels = observe("G dwarf", 120.0, 50.0)
    assert measure(pixels, guess=118.0, width=20.0).rv == pytest.approx(120.0, abs=0.05)
    assert np.ptp(measure(pixels, guess=118.0, width=20.0).velocities) < 45


def test_nothing_to_measure_is_refused(observe: Callable[..., Pixels], measure: Measure) -> None:
    pixels = observe("G dwarf", 0.0, 50.0)
    with pytest.raises(CoverageError, match="expected at least 100"):
        measure(Pixels(pixels.wave, pixels.flux, np.zeros(pixels.ivar.shape)))


@pytest.mark.parametrize(
    ("path", "rv"),
    [
        ("viper/HARPS.2006-09-08T02:12:38.604_s1d_A.fits", -2.4),
        ("ACTIN/HARPS.2003-12-13T06:19:48.371_e2ds_A.fits", 18.402),
        ("FASMA-synthesis/Sun_HARPS.fits", 0.0),
    ],
    ids=["HD 189733", "Gl 273", "Sun"],
)
def test_real_stars_have_their_velocities(
    real_data: Path, measure: Measure, path: str, rv: float
) -> None:
    from harpsstar.io import read

    found = measure(pixels_from(read(real_data / path)))
    # Gravitational redshift, convection and the pipelines' masks make up to half a km/s.
    assert found.rv == pytest.approx(rv, abs=0.6)
    assert found.significance > 1000

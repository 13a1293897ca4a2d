"""What mock light suffers: telluric lines, other light, cosmics, gaps, drift, a wrong header."""

from __future__ import annotations

import numpy as np
import pytest

from harpsstar.errors import ConfigError, OutsideGridError
from harpsstar.io import read
from harpsstar.io.build import barycentric_factor
from harpsstar.mock import Contaminant, Effects, expose, moonlight, observe, observe_star
from harpsstar.mock.frames import ccf_frame
from harpsstar.mock.tellurics import transmission
from harpsstar.spectra.frame import C_KM_S

ROW = 40
BRIGHT = {"snr": 3000.0, "seed": 1}


def flat(wave):
    return np.where((wave > 5000) & (wave < 5420), 1.0, np.nan)


def line_at(centre, depth=0.5):
    return lambda wave: flat(wave) - depth * np.exp(-0.5 * ((wave - centre) / 0.05) ** 2)


def relative(exposure, reference):
    """Electrons of two exposures with the same seed, divided."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(exposure.covered, exposure.electrons / reference.electrons, np.nan)


def depth_and_centre(exposure, near, row=ROW):
    reference = expose(flat, berv=exposure.berv, **BRIGHT)
    wave, dip = exposure.wave[row], 1 - relative(exposure, reference)[row]
    inside = abs(wave - near) < 0.3
    dip = np.clip(dip[inside] - 0.1 * dip[inside].max(), 0, None)
    return dip.max() / 0.9, np.sum(wave[inside] * dip) / np.sum(dip)


class TestTellurics:
    wave = np.linspace(5010.0, 5410.0, 200_000)

    def test_no_water_no_lines_and_never_more_than_all_light(self):
        assert np.all(transmission(self.wave, water=0.0) == 1.0)
        passed = transmission(self.wave, airmass=2.0, water=10.0)
        assert passed.min() > 0.8
        assert passed.max() <= 1.0

    def test_lines_are_few_and_weak_but_there(self):
        depth = 1 - transmission(self.wave, water=5.0)
        assert 0.005 < depth.max() < 0.05
        assert 0.002 < np.mean(depth > 0.001) < 0.1

    def test_airmass_and_water_multiply_the_optical_depth(self):
        one = np.log(transmission(self.wave, airmass=1.0, water=4.0))
        slant = np.log(transmission(self.wave, airmass=2.5, water=4.0))
        wetter = np.log(transmission(self.wave, airmass=1.0, water=8.0))
        np.testing.assert_allclose(slant, 2.5 * one, atol=1e-14)
        np.testing.assert_allclose(wetter, 2.0 * one, atol=1e-14)

    def test_resolution_widens_lines_and_keeps_their_area(self):
        sharp, blurred = (1 - transmission(self.wave, resolution=r) for r in (150e3, 50e3))
        assert blurred.sum() == pytest.approx(sharp.sum(), rel=0.01)
        assert blurred.max() < 0.7 * sharp.max()

    @pytest.mark.parametrize("options", [{"airmass": 0.5}, {"airmass": np.nan}, {"water": -1.0}])
    def test_impossible_atmospheres_are_refused(self, options):
        with pytest.raises(ConfigError, match="expected"):
            transmission(self.wave, **options)

    @pytest.mark.parametrize("berv", [-25.0, 0.0, 20.0])
    def test_lines_rest_at_the_observatory(self, berv):
        """Seen from the barycentre they move with the Earth, whatever the star does."""
        wet = expose(flat, berv=berv, rv=60.0, effects=Effects(airmass=1.5, water=8.0), **BRIGHT)
        dry = expose(flat, berv=berv, rv=60.0, **BRIGHT)
        expected = transmission(wet.wave / barycentric_factor(berv), airmass=1.5, water=8.0)
        rows = slice(36, 44)
        got, expected = relative(wet, dry)[rows], expected[rows]
        strong = expected < 0.995
        assert strong.sum() > 50
        np.testing.assert_allclose(got[strong], expected[strong], atol=0.004)


class TestOtherLight:
    def test_a_companion_fills_lines_in_and_adds_its_own(self):
        star, other = line_at(5200.0), line_at(5200.0)
        effects = Effects(contaminants=(Contaminant(other, 40.0, 0.25),))
        exposure = expose(star, effects=effects, **BRIGHT)
        depth, centre = depth_and_centre(exposure, 5200.0)
        assert depth == pytest.approx(0.5 / 1.25, abs=0.01)
        assert centre == pytest.approx(5200.0, abs=0.002)
        shifted = 5200.0 * (1 + 40.0 / C_KM_S)
        depth, centre = depth_and_centre(exposure, shifted)
        assert depth == pytest.approx(0.5 * 0.25 / 1.25, abs=0.01)
        assert centre == pytest.approx(shifted, abs=0.002)

    def test_the_signal_asked_for_is_that_of_all_light(self):
        effects = Effects(contaminants=(Contaminant(flat, 0.0, 0.5),))
        exposure = expose(flat, snr=50.0, effects=effects)
        np.testing.assert_array_equal(exposure.electrons, expose(flat, snr=50.0).electrons)

    @pytest.mark.parametrize("berv", [-28.0, 17.0])
    def test_moonlight_does_not_follow_the_star(self, berv):
        """Sunlight by way of the Moon has the Sun's wavelengths at the observatory."""
        moon = moonlight(0.3, berv=berv, velocity=0.8, resolution=115000.0)
        at_barycentre = 5200.0 * (1 + moon.rv / C_KM_S)
        at_earth = at_barycentre / barycentric_factor(berv)
        assert at_earth / 5200.0 - 1 == pytest.approx(0.8 / C_KM_S, rel=1e-6)

    def test_companion_and_moon_of_the_emulator_change_the_spectrum(self):
        spectra = [
            read(observe_star(5500.0, 4.4, 0.0, 2.0, snr=300.0, **options)).flux.value[36:44]
            for options in ({}, {"companion": (4500.0, 4.6, 60.0, 0.2)}, {"moon": 0.2})
        ]
        for other in spectra[1:]:
            assert np.nanmax(np.abs(other / spectra[0] - 1)) > 0.1
        with pytest.raises(OutsideGridError, match="rv 900"):
            observe_star(5500.0, 4.4, 0.0, 2.0, companion=(4500.0, 4.6, 900.0, 0.2))


class TestDetector:
    def test_cosmics_are_added_to_the_same_noise(self):
        clean = expose(flat, snr=50.0, seed=7)
        hit = expose(flat, snr=50.0, seed=7, effects=Effects(cosmics=5.0))
        excess = hit.electrons - clean.electrons
        assert np.all(excess >= 0)
        touched = (excess > 0).any(axis=0).sum()
        number = np.count_nonzero(excess[clean.covered])
        expected = 5.0 * clean.covered.sum() / clean.covered.shape[1] * 2
        assert touched > 1
        assert number == pytest.approx(expected, rel=0.5)
        np.testing.assert_array_equal(hit.variance, clean.variance)

    @pytest.mark.parametrize("format", ["e2ds", "s2d", "s1d", "s1d_table"])
    def test_nothing_is_read_from_a_gap(self, format):
        hdus = observe(flat, format=format, effects=Effects(gaps=((5304.0, 5337.0),)))
        spectrum = read(hdus)
        wave = spectrum.spectral_axis.value[~spectrum.mask]
        assert not np.any((wave > 5304.5) & (wave < 5336.5))
        assert np.any((wave > 5338.0) & (wave < 5345.0))

    @pytest.mark.parametrize("drift", [-200.0, 500.0])
    def test_a_drift_moves_star_and_telluric_lines_alike(self, drift):
        exposure = expose(line_at(5200.0), effects=Effects(drift=drift), **BRIGHT)
        _, centre = depth_and_centre(exposure, 5200.0)
        velocity = (centre / 5200.0 - 1) * C_KM_S * 1000
        assert velocity == pytest.approx(drift, abs=40.0)
        hdus = observe(flat, effects=Effects(drift=drift))
        assert hdus[0].header["TNG DRS DRIFT RV USED"] == drift


def test_a_wrong_velocity_is_in_the_header_only():
    effects = Effects(header_rv_error=25.0)
    right, wrong = (
        observe(line_at(5200.0), format="s2d", rv=10.0, effects=e) for e in (None, effects)
    )
    assert read(right).meta["observation"].rv_header == pytest.approx(10.0)
    assert read(wrong).meta["observation"].rv_header == pytest.approx(35.0)
    np.testing.assert_array_equal(right["SCIDATA"].data, wrong["SCIDATA"].data)
    exposure = expose(line_at(5200.0), rv=10.0, effects=effects)
    assert ccf_frame(exposure)[0].header["TNG DRS CCF RVC"] == pytest.approx(35.0)


@pytest.mark.parametrize("options", [
    {"airmass": 0.0}, {"water": 1e3}, {"cosmics": -1.0}, {"drift": 1e6}, {"gaps": ((2.0, 1.0),)},
    {"header_rv_error": float("nan")}, {"contaminants": (Contaminant(flat, 0.0, -0.1),)},
])  # fmt: skip
def test_impossible_effects_are_refused(options):
    with pytest.raises(ConfigError, match="expected"):
        Effects(**options)

"""One spectrum is one spectrum, however its masks and units are given."""

from __future__ import annotations

import os

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import (
    InverseVariance,
    StdDevUncertainty,
    UnknownUncertainty,
    VarianceUncertainty,
)
from astropy.table import Column, MaskedColumn
from astropy.utils.masked import Masked
from hypothesis import given, settings
from hypothesis import strategies as st
from specutils import Spectrum, SpectrumCollection

import harpsstar as hs
from harpsstar.errors import ConfigError
from harpsstar.infer.predict import predictor
from harpsstar.infer.quality import MAX_NOISE_RATIO, Flag
from harpsstar.labels import NAMES
from harpsstar.spectra.frame import pixels_from, to_canonical

UNIT = u.Unit("erg / (s cm2 AA)")
#: The same flux in other words.
UNITS = [UNIT, u.Unit("W / (m2 um)"), u.Unit("W / (m2 nm)")]


@pytest.fixture(scope="module")
def star():
    """Wavelengths (n,), flux and errors of a merged spectrum of a star at SNR 60."""
    import torch

    wave = np.arange(5015.0, 5405.0, 0.015)
    with torch.no_grad():
        flux = hs.Emulator.load().at(wave[None], torch.tensor([[5600.0, 4.4, 0.0, 3.0]]),
                                     vmic=1.0, vmac=3.0)  # fmt: skip
    values = flux.double().numpy().ravel()
    sigma = np.full(wave.shape, 1 / 60)
    return wave, values + np.random.default_rng(3).normal(size=wave.shape) * sigma, sigma


def canonical(spectrum):
    return to_canonical(pixels_from(spectrum), 0.0)


def masks(size):
    """Runs of pixels, long and short, anywhere."""
    runs = st.tuples(st.integers(0, size - 1), st.sampled_from([1, 2, 5, 40, 900]))

    def made(found):
        mask = np.zeros(size, dtype=bool)
        for start, length in found:
            mask[start : start + length] = True
        return mask

    return st.lists(runs, min_size=1, max_size=8).map(made)


#: Ways to say that pixels are masked: of (wave, flux, sigma, mask) the arguments of from_arrays.
WAYS = {
    "masked array": lambda w, f, s, m: ((w, np.ma.array(f, mask=m), s), {}),
    "masked wavelengths": lambda w, f, s, m: ((np.ma.array(w, mask=m), f, s), {}),
    "masked errors": lambda w, f, s, m: ((w, f, np.ma.array(s, mask=m)), {}),
    "Masked quantity": lambda w, f, s, m: ((w * u.AA, Masked(f * UNIT, mask=m), s * UNIT), {}),
    "Masked array": lambda w, f, s, m: ((w, Masked(f, mask=m), s), {}),
    "MaskedColumn": lambda w, f, s, m: (
        (MaskedColumn(w, mask=m), MaskedColumn(f, mask=m), MaskedColumn(s, mask=m)), {}),
    "MaskedColumn with units": lambda w, f, s, m: (
        (Column(w / 10, unit="nm"), MaskedColumn(f, mask=m, unit=UNIT), Column(s, unit=UNIT)), {}),
    "Column": lambda w, f, s, m: ((Column(w), Column(f), Column(s)), {"mask": Column(m)}),
    "masked mask": lambda w, f, s, m: ((w, f, s), {"mask": np.ma.array(m & False, mask=m)}),
    "NaN flux": lambda w, f, s, m: ((w, np.where(m, np.nan, f), s), {}),
    "NaN errors": lambda w, f, s, m: ((w, f, np.where(m, np.nan, s)), {}),
    "infinite errors": lambda w, f, s, m: ((w, f, np.where(m, np.inf, s)), {}),
    "NaN wavelengths": lambda w, f, s, m: ((np.where(m, np.nan, w), f, s), {}),
    "lists": lambda w, f, s, m: ((w.tolist(), f.tolist(), s.tolist()), {"mask": m.tolist()}),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_masked_pixel_is_masked_however_it_is_said(star, way, data):
    """And what stands below the mask, NaN or 1e30, changes nothing."""
    wave, flux, sigma = star
    mask = data.draw(masks(wave.size))
    below = data.draw(st.sampled_from([0.0, -999.0, 1e30, 1.0, np.nan]))
    expected = canonical(hs.from_arrays(wave, flux, sigma, mask=mask))
    given_flux = np.where(mask, below, flux)
    arguments, options = WAYS[way](wave, given_flux, sigma, mask)
    seen = canonical(hs.from_arrays(*arguments, **options))
    tolerance = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(seen.flux, expected.flux, **tolerance)
    np.testing.assert_allclose(seen.ivar, expected.ivar, rtol=1e-3, atol=1e-6)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(data=st.data())
def test_containers_of_specutils_say_the_same_as_arrays(star, data):
    wave, flux, sigma = star
    mask = data.draw(masks(wave.size))
    expected = canonical(hs.from_arrays(wave, flux, sigma, mask=mask))
    kind = data.draw(st.sampled_from([Spectrum, SpectrumCollection]))
    rows = (lambda x: x[None]) if kind is SpectrumCollection else (lambda x: x)
    unit, other = data.draw(st.tuples(st.sampled_from(UNITS), st.sampled_from(UNITS)))
    error = (sigma * unit).to(other)
    uncertainty = data.draw(st.sampled_from([
        StdDevUncertainty(rows(error.value), unit=other),
        VarianceUncertainty(rows(error.value**2), unit=other**2),
        InverseVariance(rows(error.value**-2), unit=other**-2),
        StdDevUncertainty(rows(sigma)),
    ]))  # fmt: skip
    spoilt = np.where(mask, 1e6, flux)
    seen = canonical(kind(flux=rows(spoilt) * unit, spectral_axis=rows(wave) * u.AA,
                          uncertainty=uncertainty, mask=rows(mask)))  # fmt: skip
    np.testing.assert_allclose(seen.flux, expected.flux, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen.ivar, expected.ivar, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("flux_unit", UNITS)
@pytest.mark.parametrize("sigma_unit", UNITS)
def test_units_of_flux_and_errors_may_differ(star, flux_unit, sigma_unit):
    wave, flux, sigma = star
    known = hs.from_arrays(wave, flux * UNIT.to(flux_unit) * flux_unit,
                           sigma * UNIT.to(sigma_unit) * sigma_unit)  # fmt: skip
    expected = canonical(hs.from_arrays(wave, flux, sigma))
    np.testing.assert_allclose(canonical(known).ivar, expected.ivar, rtol=1e-4)
    assert known.meta["observation"].snr == pytest.approx(np.median(flux / sigma), rel=0.01)


def test_what_has_no_meaning_is_refused_in_a_sentence(star):
    wave, flux, sigma = star
    with pytest.raises(ConfigError, match="sigma in W"):
        hs.from_arrays(wave, flux, sigma * u.W)
    with pytest.raises(ConfigError, match="sigma in W"):
        hs.from_arrays(wave, flux * UNIT, sigma * u.W)
    with pytest.raises(ConfigError, match="neither increase nor decrease"):
        hs.from_arrays(np.random.default_rng(0).permutation(wave), flux, sigma)
    with pytest.raises(ConfigError, match="UnknownUncertainty"):
        pixels_from(Spectrum(flux=flux * UNIT, spectral_axis=wave * u.AA,
                             uncertainty=UnknownUncertainty(sigma)))  # fmt: skip
    with pytest.raises(ConfigError, match="by itself"):
        pixels_from(Spectrum(flux=np.array([flux, flux]) * UNIT, spectral_axis=wave * u.AA))


def test_the_remains_of_a_gap_are_no_lines(star):
    """Zeros masked by the user leave the slopes beside them; left-out pixels leave a jump."""
    wave, flux, sigma = star
    flux, sigma = flux.copy(), sigma.copy()
    gap = np.flatnonzero((wave > 5304.2) & (wave < 5337.1))
    flux[gap] = 0.0
    for step in range(8):
        for place in (gap[0] - 1 - step, gap[-1] + 1 + step):
            flux[place] = 0.05 * (step + 1) / 8
            sigma[place] = flux[place] / 20
    whole = hs.from_arrays(wave, flux, sigma, mask=flux == 0)
    left = hs.from_arrays(*(x[flux != 0] for x in (wave, flux, sigma)))
    rows = predictor().rows([whole, left])
    for row in rows:
        assert not row.flags & (Flag.DOUBLE_LINED | Flag.EMISSION), row.flag_text
        assert row.status == "ok"
        assert row.teff == pytest.approx(5600, abs=60)
    np.testing.assert_allclose(rows[0].teff, rows[1].teff, atol=0.5)


@pytest.mark.parametrize("wrong", [0.1, 1e-3, 1e-6])
def test_errors_that_cannot_be_true_are_flagged(star, wrong):
    wave, flux, sigma = star
    (row,) = predictor().rows([hs.from_arrays(wave, flux, wrong * sigma)])
    assert row.flags & Flag.WRONG_ERRORS
    assert row.status == "flagged"
    (right,) = predictor().rows([hs.from_arrays(wave, flux, sigma)])
    assert not right.flags & Flag.WRONG_ERRORS


@pytest.mark.parametrize("level", [1.0, 3.7e5])
def test_a_smooth_curve_is_no_spectrum(level):
    wave = np.arange(5000.0, 5420.0, 0.01)
    curve = hs.from_arrays(wave, level * (1 + 0.3 * np.sin(wave / 80)))
    (row,) = predictor().rows([curve])
    assert row.status == "failed"
    assert "without lines" in row.message
    assert np.isnan([getattr(row, name) for name in NAMES]).all()


def test_a_hot_star_that_rotates_fast_is_a_spectrum():
    import torch

    wave = np.arange(5011.0, 5409.0, 0.01)
    with torch.no_grad():
        flux = hs.Emulator.load().at(wave[None], torch.tensor([[9700.0, 4.0, -2.4, 30.0]]),
                                     vmic=1.0, vmac=3.0)  # fmt: skip
    (row,) = predictor().rows([hs.from_arrays(wave, flux.double().numpy().ravel())])
    assert row.status != "failed", row.message


def test_real_files_that_are_none(real, tmp_path):
    paths = {name: real / place for name, place in {
        "curve": "archive/harpsn/not-a-spectrum_norm_poly.fits",
        "topocentric": "../faults/e2ds_no_BERV.fits",
        "rest": "archive/rest-frame/iotHor_HARPS.2004-01-30T01-51-05.686_s1d_rest.fits",
        "good": "archive/alf-cen-b/HARPS.2010-03-23T05.34.00.274_s1d_A.fits",
    }.items()}  # fmt: skip
    if not all(os.path.exists(path) for path in paths.values()):
        pytest.skip("not all of the real spectra are there")
    rows = dict(zip(paths, predictor().rows(list(paths.values())), strict=True))
    assert rows["curve"].status == "failed"
    assert "without lines" in rows["curve"].message
    for name in ("topocentric", "rest"):
        assert np.isnan(rows[name].rv), name
        assert np.isnan(rows[name].rv_err), name
        assert "no barycentric velocity" in rows[name].message
        assert np.isfinite(rows[name].teff), name
    assert np.isfinite(rows["good"].rv)
    ratio = predictor().measure(paths["good"]).evidence.noise_ratio
    assert 0.1 < ratio < 0.5 * MAX_NOISE_RATIO

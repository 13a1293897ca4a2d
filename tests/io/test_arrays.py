"""Arrays become the spectrum that they are, and what does not fit together is refused."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from specutils.utils.wcs_utils import air_to_vac

import harpsstar as hs
from harpsstar.errors import ConfigError, ReadError
from harpsstar.infer.predict import predictor
from harpsstar.spectra.frame import canonical_wavelengths

LABELS = ("teff", "logg", "m_h", "vsini")


@pytest.fixture(scope="module")
def star():
    """Wavelengths, flux and errors of a star at SNR 80, by order."""
    emulator = hs.Emulator.load()
    wave = canonical_wavelengths().copy()
    import torch

    with torch.no_grad():
        flux = emulator.at(wave, torch.tensor([[5400.0, 4.2, -0.4, 6.0]]), vmic=1.0, vmac=3.0)[0]
    noise = np.random.default_rng(4).normal(size=wave.shape) / 80
    return wave, flux.double().numpy() + noise, np.full(wave.shape, 1 / 80)


def labels(spectrum):
    row = predictor().rows([spectrum])[0]
    assert row.status == "ok", row.message
    return np.array([getattr(row, name) for name in LABELS])


def test_units_and_medium_change_nothing(star):
    wave, flux, sigma = star
    plain = labels(hs.from_arrays(wave, flux, sigma))
    assert plain[0] == pytest.approx(5400, abs=60)
    unit = u.erg / u.s / u.cm**2 / u.AA
    other = labels(hs.from_arrays((wave / 10) * u.nm, 3e-12 * flux * unit, 3e-12 * sigma * unit))
    np.testing.assert_allclose(other, plain, rtol=1e-4)
    vacuum = air_to_vac(wave.ravel() * u.AA, method="Morton2000").to_value(u.AA)
    again = labels(hs.from_arrays(vacuum.reshape(wave.shape), flux, sigma, medium="vacuum"))
    np.testing.assert_allclose(again, plain, rtol=1e-3)


def test_without_errors_the_scatter_tells_them(star):
    wave, flux, sigma = star
    spectrum = hs.from_arrays(wave, flux)
    assert np.median(spectrum.uncertainty.array) == pytest.approx(sigma[0, 0], rel=0.05)
    assert spectrum.meta["observation"].snr == pytest.approx(80, rel=0.15)


def test_a_masked_value_does_not_matter(star):
    wave, flux, sigma = star
    mask = np.zeros(flux.shape, dtype=bool)
    mask[:, 100::50] = True
    spoilt = np.where(mask, 1e6, flux)
    np.testing.assert_array_equal(
        labels(hs.from_arrays(wave, spoilt, sigma, mask=mask)),
        labels(hs.from_arrays(wave, flux, sigma, mask=mask)),
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"wave": np.ones(5)}, "wave of shape"),
        ({"sigma": np.ones(5)}, "sigma of shape"),
        ({"mask": np.ones(5, dtype=bool)}, "mask of shape"),
        ({"wave": np.ones((8, 4096)) * u.kg}, "unit of length"),
        ({"flux": np.ones((2, 3, 4))}, "flux of shape"),
        ({"medium": "water"}, "medium"),
        ({"resolution": 0.0}, "resolving power"),
    ],
)
def test_what_does_not_fit_is_refused(star, change, words):
    given = dict(zip(("wave", "flux", "sigma"), star, strict=True)) | change
    with pytest.raises(ConfigError, match=words):
        hs.from_arrays(**given)


def test_no_usable_pixel_is_no_spectrum(star):
    wave, flux, sigma = star
    with pytest.raises(ReadError, match="no usable pixel"):
        hs.from_arrays(wave, np.full(flux.shape, np.nan), sigma)

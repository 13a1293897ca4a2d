"""What Python users give to predict, fit and specutils, and what they are told."""

from __future__ import annotations

import io

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import StdDevUncertainty
from specutils import Spectrum, SpectrumCollection, SpectrumList

import harpsstar as hs
from harpsstar.errors import ConfigError, WrongProductError
from harpsstar.infer.fit.options import Gaussian, Uniform, plain_priors, plain_values
from harpsstar.mock import model_star, observe, write

LABELS = (5772.0, 4.44, 0.0, 5.0)


@pytest.fixture(scope="module")
def sun():
    model = model_star(*LABELS, resolution=115000.0)
    return lambda format, **more: observe(
        model, **{"format": format, "rv": 12.0, "berv": 5.0, "snr": 100.0, "seed": 1} | more
    )


@pytest.fixture(scope="module")
def path(sun, tmp_path_factory):
    return write(sun("s1d_table"), tmp_path_factory.mktemp("sun") / "sun.fits")


@pytest.fixture(scope="module")
def teff(path):
    return hs.predict(path)["teff"][0]


def is_the_sun(table, teff, rows=1):
    assert len(table) == rows
    assert set(table["status"]) == {"ok"}
    assert np.all(np.abs(table["teff"] - teff) < 3 * u.K)


def test_files_in_every_guise_are_one_source(path, teff):
    is_the_sun(hs.predict(path), teff)
    is_the_sun(hs.predict(str(path).encode()), teff)
    is_the_sun(hs.predict([path, str(path)]), teff, rows=2)
    is_the_sun(hs.predict(np.array([str(path)])), teff)
    with fits.open(path) as hdus:
        is_the_sun(hs.predict(hdus), teff)
    with open(path, "rb") as file:
        is_the_sun(hs.predict([file]), teff)
        is_the_sun(hs.predict(file), teff)
    is_the_sun(hs.predict(io.BytesIO(path.read_bytes())), teff)


def test_folders_and_patterns_hold_the_best_product_of_each_exposure(sun, teff, tmp_path):
    write(sun("s1d_table"), tmp_path / "a.fits")
    other = sun("s1d_table")
    other[0].header["HIERARCH ESO PRO CATG"] = "S1D_SKYSUB_A"
    write(other, tmp_path / "b.fits")
    (tmp_path / "notes.txt").write_text("nothing\n")
    found = hs.predict(tmp_path)
    is_the_sun(found, teff)
    assert found["product"][0] == "S1D"
    is_the_sun(hs.predict(str(tmp_path / "*.fits")), teff, rows=2)


def test_containers_made_in_any_way(path, teff):
    spectrum = hs.read(path)
    is_the_sun(hs.predict(spectrum), teff)
    is_the_sun(hs.predict(SpectrumList([spectrum, spectrum])), teff, rows=2)
    wave, flux, error = (x[spectrum.mask == 0] for x in (
        spectrum.spectral_axis, spectrum.flux, spectrum.uncertainty.array))  # fmt: skip
    half = len(wave) // 2
    parts = [Spectrum(flux=flux[s].value * u.adu, spectral_axis=wave[s],
                      uncertainty=StdDevUncertainty(error[s], unit=u.adu))
             for s in (slice(0, half), slice(half, 2 * half))]  # fmt: skip
    made = SpectrumCollection.from_spectra(parts)
    row = hs.predict(made)[0]
    assert row["status"] == "ok"
    assert "RESOLUTION_ASSUMED" in row["flag_text"]
    assert abs(row["teff"] - teff) < row["teff_err"]
    both = Spectrum(flux=np.array([flux.value, flux.value]) * u.adu, spectral_axis=wave)
    row = hs.predict(both)[0]
    assert (row["status"], "one wavelength axis" in row["message"]) == ("failed", True)


@pytest.mark.parametrize("what", [
    np.ones(50), np.ones(50) * u.adu, 5.0, None, (np.ones(50), np.ones(50)), [[1.0, 2.0]],
])  # fmt: skip
def test_arrays_are_told_where_to_go(what):
    with pytest.raises(TypeError) as caught:
        hs.predict(what)
    assert "harpsstar.from_arrays" in str(caught.value) or what is None
    with pytest.raises(TypeError):
        hs.fit(what)


def test_wrong_facts_are_refused_before_any_file(path):
    for option in ({"resolution": -1}, {"resolution": np.nan}, {"medium": "water"},
                   {"frame": "galactic"}, {"blaze_dir": "no/such/folder"}):  # fmt: skip
        with pytest.raises(ConfigError):
            hs.predict("nothing.fits", **option)
        with pytest.raises(ConfigError):
            hs.read(path, **option)


def test_quantities_and_pairs_for_a_fit():
    fixed = {"teff": 5772 * u.K, "vsini": 2500 * u.m / u.s, "logg": 4.44 * u.dex, "m_h": 0}
    assert plain_values(fixed) == {"teff": 5772, "vsini": 2.5, "logg": 4.44, "m_h": 0}
    assert plain_priors({"teff": (5772 * u.K, 50 * u.K), "logg": "4.4±0.1", "m_h": Uniform(-1, 0),
                         "vsini": [3, 1]}) == {
        "teff": Gaussian(5772, 50), "logg": Gaussian(4.4, 0.1), "m_h": Uniform(-1, 0),
        "vsini": Gaussian(3, 1)}  # fmt: skip
    for wrong in ({"teff": 5 * u.km}, {"teff": "warm"}, {"tef": 5772}):
        with pytest.raises(ConfigError):
            plain_values(wrong)
    for wrong in ({"teff": (1, 2, 3)}, {"teff": 5.0}, {"teff": (5772, 5 * u.m)}):
        with pytest.raises(ConfigError):
            plain_priors(wrong)


@pytest.mark.parametrize(("format", "kind"), [
    ("e2ds", SpectrumCollection), ("s2d", SpectrumCollection), ("s1d", Spectrum),
    ("s1d_table", Spectrum),
])  # fmt: skip
def test_specutils_finds_each_product_without_a_name(sun, tmp_path, format, kind):
    path = write(sun(format), tmp_path / "file.fits")
    spectrum = kind.read(path)
    assert spectrum.meta["observation"].instrument == "HARPS-N"
    assert isinstance(spectrum.uncertainty, StdDevUncertainty)
    several = SpectrumList.read(path)
    assert all(isinstance(each, Spectrum) for each in several)
    if kind is Spectrum:
        assert len(several) == 1
        return
    assert len(several) == len(spectrum.flux)
    for i in (40, 41):
        np.testing.assert_array_equal(several[i].flux, spectrum.flux[i])
        np.testing.assert_array_equal(several[i].mask, spectrum.mask[i])
        np.testing.assert_array_equal(several[i].uncertainty.array, spectrum.uncertainty.array[i])
    with pytest.raises(WrongProductError, match=r"SpectrumCollection\.read"):
        Spectrum.read(path)


def test_what_is_said_of_the_frame_decides_on_the_velocity(path, sun):
    spectrum = hs.read(path)
    good = ~spectrum.mask
    table = np.column_stack([spectrum.spectral_axis.value[good], spectrum.flux.value[good]])
    text = io.StringIO()
    np.savetxt(text, table)
    data = text.getvalue().encode()
    row = hs.predict(io.BytesIO(data), resolution=115000)[0]
    assert row["status"] == "ok"
    assert np.isnan(row["rv"])
    assert "RESOLUTION_ASSUMED" not in row["flag_text"]
    assert "--frame" in row["message"]
    row = hs.predict(io.BytesIO(data), resolution=115000, frame="barycentric")[0]
    assert abs(row["rv"] - 12 * u.km / u.s) < 0.1 * u.km / u.s
    hdus = sun("e2ds")
    del hdus[0].header["TNG DRS BERV"]
    assert np.isnan(hs.predict(hdus)[0]["rv"])

"""Reading mock observations gives back the star that was observed."""

from __future__ import annotations

import gzip
import shutil

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import StdDevUncertainty
from specutils import Spectrum, SpectrumCollection

from harpsstar.io import identify, read
from harpsstar.io.products import read_arrays
from harpsstar.mock import blaze_frame, write
from harpsstar.spectra.frame import pixels_from, pixels_of

FILES = {
    "e2ds": "e2ds.fits",
    "S2D": "s2d.fits.gz",
    "S2D_BLAZE": "s2d_blaze.fits",
    "s1d": "s1d.fits.gz",
    "S1D": "s1d_table.fits.gz",
}


def residuals(spectrum, model, degree=4):
    """(Flux - continuum × model) / error of all usable pixels, continuum a polynomial per order."""
    arrays = (spectrum.spectral_axis.value, spectrum.flux.value, spectrum.uncertainty.array)
    wave, flux, sigma = (np.atleast_2d(array) for array in arrays)
    good = ~np.atleast_2d(spectrum.mask)
    expected = model(wave)
    out = []
    for row in range(len(wave)):
        use = good[row] & np.isfinite(expected[row])
        use &= (wave[row] > 5025) & (wave[row] < 5395)
        if use.sum() < 500:
            continue
        w, f, e, t = (array[row][use] for array in (wave, flux, sigma, expected))
        continuum = np.polynomial.Legendre.fit(w, f / t, degree, w=t / e)
        out.append((f - continuum(w) * t) / e)
    return np.concatenate(out)


@pytest.mark.parametrize("product", FILES)
def test_the_star_comes_back_within_its_noise(night, model, product):
    spectrum = read(night / FILES[product])
    z = residuals(spectrum, model, degree=8 if spectrum.flux.ndim == 1 else 4)
    assert abs(z.mean()) < 0.05
    # Interpolated pixels scatter less than the error of an extracted pixel that they are given.
    low, high = (0.97, 1.03) if spectrum.flux.ndim == 2 else (0.75, 1.0)
    assert low < z.std() < high


@pytest.mark.parametrize("product", FILES)
def test_what_is_known_of_the_exposure_comes_along(night, product):
    spectrum = read(night / FILES[product])
    known = spectrum.meta["observation"]
    assert (known.product, known.instrument, known.target) == (product, "HARPS-N", "HD 1")
    assert known.berv == pytest.approx(-12.0)
    assert known.bjd == pytest.approx(2457395.6)
    assert known.snr == pytest.approx(100.0, rel=0.05)
    assert known.resolution == 115000
    assert spectrum.meta["header"]["INSTRUME"] == "HARPN"
    assert spectrum.spectral_axis.unit == u.AA
    assert isinstance(spectrum.uncertainty, StdDevUncertainty)
    assert spectrum.mask.shape == spectrum.flux.shape
    assert np.all(spectrum.uncertainty.array[~spectrum.mask] > 0)
    new = product in ("S2D", "S2D_BLAZE", "S1D")
    assert known.rv_header == pytest.approx(33.0) if new else np.isnan(known.rv_header)


@pytest.mark.parametrize("product", FILES)
def test_predict_sees_the_same_with_and_without_specutils(night, product):
    bare = read_arrays(night / FILES[product])
    with_specutils = pixels_from(read(night / FILES[product]))
    without = pixels_of(bare.wave, bare.flux, bare.sigma, bare.mask, bare.observation.file)
    assert without.name == with_specutils.name
    for name in ("wave", "flux", "ivar"):
        np.testing.assert_allclose(
            getattr(without, name), getattr(with_specutils, name), rtol=1e-14
        )


@pytest.mark.parametrize("product", FILES)
def test_specutils_finds_the_reader_by_the_header(night, tmp_path, product):
    container = Spectrum if product.lower() == "s1d" else SpectrumCollection
    # Neither name nor ending says what it is.
    path = tmp_path / "anything.dat"
    data = (night / FILES[product]).read_bytes()
    path.write_bytes(gzip.decompress(data) if FILES[product].endswith("gz") else data)
    spectrum = container.read(path)
    assert spectrum.meta["observation"].product == product
    assert identify(path) == (product, "HARPS-N")


@pytest.mark.parametrize("product", ["e2ds", "S2D_BLAZE"])
def test_the_blaze_file_is_found_beside_the_file_or_in_its_folder(night, tmp_path, product, model):
    name = read(night / FILES[product]).meta["observation"].blaze
    assert name.startswith("file ")
    alone = tmp_path / "alone.fits"
    shutil.copy(night / FILES[product], alone)
    assert read(alone).meta["observation"].blaze == "estimated"
    given = read(alone, blaze_dir=night)
    assert given.meta["observation"].blaze == name
    assert np.std(residuals(given, model)) == pytest.approx(1.0, abs=0.03)


def test_a_blaze_file_with_an_archive_spelling_is_found(tmp_path, mock):
    hdus = mock("e2ds")
    hdus[0].header["HIERARCH TNG DRS BLAZE FILE"] = "N.2016-01-08T16:00:00.000_blaze_A.fits"
    write(hdus, tmp_path / "star.fits")
    write(blaze_frame(), tmp_path / "N.2016-01-08T16-00-00.000_blaze_A.fits.gz")
    known = read(tmp_path / "star.fits").meta["observation"]
    assert known.blaze.startswith("file N.2016")


def test_a_missing_blaze_is_estimated_and_said_so(tmp_path, mock, model):
    write(mock("e2ds"), tmp_path / "star.fits")
    spectrum = read(tmp_path / "star.fits")
    known = spectrum.meta["observation"]
    assert known.blaze == "estimated"
    assert any("blaze estimated" in note and "_blaze_A.fits" in note for note in known.notes)
    # What is left of it is smooth enough for a continuum fit.
    assert np.std(residuals(spectrum, model)) == pytest.approx(1.0, abs=0.05)
    assert overlap_ratios(spectrum) == pytest.approx(1.0, abs=0.04)


@pytest.mark.parametrize("product", ["e2ds", "S2D", "S2D_BLAZE"])
def test_orders_agree_where_they_overlap(night, product):
    assert overlap_ratios(read(night / FILES[product])) == pytest.approx(1.0, abs=0.01)


def overlap_ratios(spectrum):
    """Flux of each order over that of the next one where they overlap, around 5200 Å."""
    wave, flux = spectrum.spectral_axis.value, spectrum.flux.value
    ratios = []
    for row in range(len(wave) - 1):
        shared = (wave[row] > wave[row + 1, 0]) & (wave[row] < wave[row + 1, -1])
        if spectrum.mask[row : row + 2].mean() > 0.1 or shared.sum() < 100:
            continue
        at = wave[row, shared]
        other = np.interp(at, wave[row + 1], flux[row + 1])
        ratios.append(flux[row, shared].sum() / other.sum())
    assert len(ratios) >= 7
    return np.array(ratios)


def test_a_wrong_blaze_file_is_not_used(tmp_path, mock):
    hdus = mock("e2ds")
    for data, reason in (
        (np.ones((10, 4096), dtype=np.float32), "shape"),
        (np.full((69, 4096), np.nan, dtype=np.float32), "not positive"),
        (np.random.default_rng(1).uniform(0.1, 1, (69, 4096)).astype(np.float32), "not smooth"),
    ):
        blaze = blaze_frame()
        blaze[0].data = data
        write(hdus, tmp_path / "star.fits", overwrite=True, blaze=blaze)
        known = read(tmp_path / "star.fits").meta["observation"]
        assert known.blaze == "estimated"
        assert any(reason in note for note in known.notes), known.notes
    (tmp_path / hdus[0].header["TNG DRS BLAZE FILE"]).write_bytes(b"no FITS")
    notes = read(tmp_path / "star.fits").meta["observation"].notes
    assert any("not a FITS" in note for note in notes)


def test_the_header_cannot_name_a_blaze_elsewhere(tmp_path, mock):
    (tmp_path / "in").mkdir()
    hdus = mock("e2ds")
    hdus[0].header["HIERARCH TNG DRS BLAZE FILE"] = "../b.fits"
    write(hdus, tmp_path / "in" / "star.fits")
    shutil.copy(write(blaze_frame(), tmp_path / "b.fits"), tmp_path / "c.fits")
    assert read(tmp_path / "in" / "star.fits").meta["observation"].blaze == "estimated"


def test_scaling_the_flux_scales_flux_and_nothing_else(mock, tmp_path):
    """A lamp of another brightness in the blaze is a scale; so is a longer slit."""
    write(mock("e2ds"), tmp_path / "star.fits", blaze=blaze_frame())
    before = read(tmp_path / "star.fits")
    blaze = blaze_frame()
    blaze[0].data *= np.float32(0.5)
    write(mock("e2ds"), tmp_path / "star.fits", blaze=blaze, overwrite=True)
    after = read(tmp_path / "star.fits")
    good = ~before.mask
    np.testing.assert_array_equal(good, ~after.mask)
    np.testing.assert_allclose(after.flux[good], 2 * before.flux[good])
    np.testing.assert_allclose(after.uncertainty.array[good], 2 * before.uncertainty.array[good])


def test_bad_pixels_are_masked_wherever_they_are(mock):
    hdus = mock("e2ds")
    data = hdus[0].data
    data[40, 100] = np.nan
    data[40, 101] = np.inf
    data[40, 102] = -50.0
    data[40, 103] = 4e5
    data[41] = 0.0
    spectrum = read(hdus)
    assert spectrum.mask[40, 100:104].tolist() == [True, True, False, True]
    assert spectrum.mask[41].all()
    notes = spectrum.meta["observation"].notes
    assert "1 saturated pixels left out" in notes
    assert any("1 of the 8 orders" in note for note in notes)
    assert np.isfinite(spectrum.flux.value[~spectrum.mask]).all()


def test_quality_flags_of_the_pipeline_are_kept(mock):
    hdus = mock("s2d")
    hdus["QUALDATA"].data[40, 7] = 4
    hdus["ERRDATA"].data[40, 8] = 0.0
    hdus["SCIDATA"].data[40, 9] = np.nan
    spectrum = read(hdus)
    assert spectrum.mask[40, 7:11].tolist() == [True, True, True, False]


@pytest.mark.parametrize("format", ["s2d", "s1d_table"])
def test_vacuum_wavelengths_become_air(mock, format):
    whole, bare = mock(format), mock(format)
    if format == "s2d":
        for name in ("WAVEDATA_AIR_BARY", "DLLDATA_AIR_BARY"):
            del bare[name]
    else:
        bare[1].columns.del_col("wavelength_air")
    expected, got = read(whole), read(bare)
    np.testing.assert_allclose(
        got.spectral_axis.value, expected.spectral_axis.value, atol=1e-4, rtol=0
    )


def test_pixel_widths_follow_from_wavelengths_where_they_are_missing(mock):
    bare = mock("s2d")
    for name in ("DLLDATA_AIR_BARY", "DLLDATA_VAC_BARY"):
        del bare[name]
    good = slice(1, -1)
    np.testing.assert_allclose(
        read(bare).flux.value[40, good], read(mock("s2d")).flux.value[40, good], rtol=1e-6
    )


def test_the_barycentric_shift_is_that_of_the_header(mock):
    still, moving = read(mock("e2ds", berv=0.0)), read(mock("e2ds", berv=30.0))
    ratio = moving.spectral_axis.value / still.spectral_axis.value
    np.testing.assert_allclose(ratio, 1 + 30.0 / 299792.458, rtol=1e-12)


def test_without_a_velocity_of_the_earth_wavelengths_are_left_and_that_is_said(mock):
    for value in (None, 1e9):
        hdus = mock("e2ds")
        hdus[0].header["TNG DRS BERV"] = value
        known = read(hdus).meta["observation"]
        assert np.isnan(known.berv) or value == 1e9
        assert any("BERV" in note for note in known.notes)


def test_the_gap_of_harps_is_masked_in_its_s1d(mock):
    spectrum = read(mock("s1d", instrument="HARPS", berv=0.0))
    wave = spectrum.spectral_axis.value
    assert spectrum.mask[(wave > 5304.5) & (wave < 5337.0)].all()
    assert not spectrum.mask[(wave > 5250) & (wave < 5300)].any()


def test_a_spectrum_of_no_instrument_is_read_with_a_note(mock):
    hdus = mock("s1d")
    for name in [name for name in hdus[0].header if "TNG" in name] + ["INSTRUME"]:
        del hdus[0].header[name]
    spectrum = read(hdus)
    known = spectrum.meta["observation"]
    assert known.instrument == ""
    assert any("INSTRUME" in note for note in known.notes)
    assert any("scatter" in note for note in known.notes)
    # How far interpolation lowers the noise is not known: right within a factor of 1.6.
    assert 100 / 1.6 < known.snr < 100 * 1.6


def test_logarithmic_and_nanometre_axes(mock):
    hdus = mock("s1d")
    wave = read(hdus).spectral_axis.value
    header = hdus[0].header
    header["CUNIT1"] = "nm"
    header["CRVAL1"], header["CDELT1"] = header["CRVAL1"] / 10, header["CDELT1"] / 10
    np.testing.assert_allclose(read(hdus).spectral_axis.value, wave, rtol=1e-12)
    step = np.log10(wave[-1] / wave[0]) / (wave.size - 1)
    header["CUNIT1"] = "Angstrom"
    header["DC-FLAG"], header["CRVAL1"], header["CDELT1"] = 1, np.log10(wave[0]), step
    got = read(hdus).spectral_axis.value
    np.testing.assert_allclose(got[[0, -1]], wave[[0, -1]], rtol=1e-9)
    np.testing.assert_allclose(np.diff(np.log(got)), step * np.log(10), rtol=1e-6)


def test_scatter_follows_the_noise(mock):
    ratio = []
    for snr in (40.0, 80.0):
        hdus = mock("s1d", snr=snr)
        for name in [n for n in hdus[0].header if "SPE EXT SN" in n]:
            del hdus[0].header[name]
        ratio.append(read(hdus).meta["observation"].snr)
    assert ratio[1] / ratio[0] == pytest.approx(2.0, rel=0.15)

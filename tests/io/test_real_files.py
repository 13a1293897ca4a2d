"""Real products, where they are at hand."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from astropy.io import fits
from specutils import Spectrum, SpectrumCollection

from harpsstar.errors import WrongProductError
from harpsstar.instruments import get_instrument
from harpsstar.io import read
from harpsstar.io.build import barycentric_factor

E2DS = "ACTIN/HARPS.2003-12-13T06:19:48.371_e2ds_A.fits"
WAVE = "ACTIN/HARPS.2003-12-12T21:47:59.366_wave_A.fits"


def overlaps(spectrum):
    """Per pair of neighbouring orders: wavelength, flux ratio, robust scatter over noise.

    The second order is interpolated linearly, which lowers its noise by a factor of about 0.8.
    """
    wave, flux = spectrum.spectral_axis.value, spectrum.flux.value
    sigma, bad = spectrum.uncertainty.array, spectrum.mask
    rows = []
    for i in range(len(wave) - 1):
        shared = (wave[i] > wave[i + 1, 0]) & (wave[i] < wave[i + 1, -1]) & ~bad[i]
        at = wave[i, shared]
        shared[shared] = np.interp(at, wave[i + 1], bad[i + 1]) == 0
        at = wave[i, shared]
        if at.size < 100:
            continue
        other = np.interp(at, wave[i + 1], flux[i + 1])
        noise = np.hypot(sigma[i, shared], 0.8 * np.interp(at, wave[i + 1], sigma[i + 1]))
        scatter = 1.4826 * np.median(np.abs(flux[i, shared] - other) / noise)
        rows.append((at.mean(), flux[i, shared].sum() / other.sum(), scatter))
    return np.array(rows).T


def test_an_e2ds_is_read_without_naming_a_format(real):
    spectrum = SpectrumCollection.read(real / E2DS)
    known = spectrum.meta["observation"]
    assert (known.product, known.instrument, known.target) == ("e2ds", "HARPS", "Gl273")
    assert known.berv == pytest.approx(15.2577, abs=1e-4)
    assert known.blaze == "file HARPS.2003-12-12T21:42:45.093_blaze_A.fits"
    assert known.notes == ()
    assert 20 < known.snr < 30
    assert len(spectrum.meta["header"]) > 3000


def test_wavelengths_are_those_of_the_wave_file(real):
    spectrum = read(real / E2DS)
    header = fits.getheader(real / WAVE)
    x = np.arange(4096.0)
    expected = [
        sum(header[f"ESO DRS CAL TH COEFF LL{4 * row + i}"] * x**i for i in range(4))
        for row in range(72)
    ]
    berv = spectrum.meta["observation"].berv
    got = spectrum.spectral_axis.value / barycentric_factor(berv)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    # The file's own image has single precision.
    np.testing.assert_allclose(got, fits.getdata(real / WAVE), rtol=0, atol=3e-4)


def test_overlaps_agree_within_the_noise(real):
    wave, ratio, scatter = overlaps(read(real / E2DS))
    near = (wave > 4800) & (wave < 5600)
    assert near.sum() > 10
    assert np.median(np.abs(ratio[near] - 1)) < 0.004
    assert np.max(np.abs(ratio[near] - 1)) < 0.01
    assert np.median(scatter[near]) == pytest.approx(1.0, abs=0.06)
    assert np.median(scatter) == pytest.approx(1.0, abs=0.08)


def test_overlaps_agree_with_an_estimated_blaze(real, tmp_path):
    shutil.copy(real / E2DS, tmp_path / "e2ds.fits")
    spectrum = read(tmp_path / "e2ds.fits")
    assert spectrum.meta["observation"].blaze == "estimated"
    wave, ratio, scatter = overlaps(spectrum)
    near = (wave > 4800) & (wave < 5600)
    assert np.median(np.abs(ratio[near] - 1)) < 0.03
    assert np.median(scatter[near]) < 1.4


def test_the_noise_model_is_that_of_the_header(real):
    """Signal to noise in the middle of each order, against the pipeline's own."""
    spectrum = read(real / E2DS)
    middle = slice(2048 - 25, 2048 + 25)
    got = np.median(spectrum.flux.value[:, middle], axis=1)
    got = got / np.median(spectrum.uncertainty.array[:, middle], axis=1)
    expected = np.array(spectrum.meta["observation"].snr_orders)
    bright = expected > 10
    assert np.median(got[bright] / expected[bright]) == pytest.approx(1.0, abs=0.02)


def test_the_read_noise_of_an_extracted_pixel_is_that_of_six(real):
    """From faint orders, whose signal to noise the header has: S = E / sqrt(E + n r2)."""
    with fits.open(real / E2DS) as hdus:
        header, electrons = hdus[0].header, np.median(hdus[0].data[:, 2023:2073], axis=1)
    snr = np.array([header[f"ESO DRS SPE EXT SN{row}"] for row in range(72)])
    faint = (snr > 2) & (snr < 10)
    assert faint.sum() > 10
    pixels = (electrons**2 / snr**2 - electrons) / header["ESO DRS CCD SIGDET"] ** 2
    expected = get_instrument("HARPS").extraction_pixels
    assert np.median(pixels[faint]) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize(
    ("name", "target", "snr"),
    [
        ("ACTIN/HARPS.2010-09-18T23:42:36.178_s1d_A.fits", "Gl581", 29),
        ("viper/HARPS.2006-09-08T02:12:38.604_s1d_A.fits", "HD189733", 170),
        ("FASMA-synthesis/Sun_HARPS.fits", "Ganymede", 321),
    ],
)
def test_s1d(real, name, target, snr):
    spectrum = Spectrum.read(real / name)
    known = spectrum.meta["observation"]
    assert (known.product, known.instrument, known.target) == ("s1d", "HARPS", target)
    assert known.snr == pytest.approx(snr, rel=0.02)
    wave = spectrum.spectral_axis.value
    assert spectrum.mask[(wave > 5305.0) & (wave < 5336.5)].all()
    assert spectrum.mask[(wave > 5030) & (wave < 5300)].mean() < 1e-3
    high = (wave > 5150) & (wave < 5250) & ~spectrum.mask
    ratio = np.percentile(spectrum.flux.value[high] / spectrum.uncertainty.array[high], 95)
    assert ratio == pytest.approx(snr, rel=0.3)


def test_scatter_agrees_with_the_header(real, tmp_path):
    """The estimate for files without errors, where the header knows better."""
    for name in ("ACTIN/HARPS.2010-09-18T23:42:36.178_s1d_A.fits",
                 "viper/HARPS.2006-09-08T02:12:38.604_s1d_A.fits",
                 "FASMA-synthesis/Sun_HARPS.fits"):
        expected = read(real / name)
        with fits.open(real / name, memmap=False) as hdus:
            for card in [card for card in hdus[0].header if "SPE EXT SN" in card]:
                del hdus[0].header[card]
            estimated = read(hdus)
        wave = expected.spectral_axis.value
        near = (wave > 5050) & (wave < 5300) & ~expected.mask
        ratio = estimated.uncertainty.array[near] / expected.uncertainty.array[near]
        assert 0.6 < np.median(ratio) < 1.5, name


def test_a_spectrum_that_was_shifted_says_so(real):
    notes = read(real / "FASMA-synthesis/Sun_HARPS.fits").meta["observation"].notes
    assert any("2.011E-5" in note for note in notes)


def test_a_file_of_ispec(real):
    spectrum = read(real / "FASMA-synthesis/HARPS.GBOG_alfTau.fits")
    known = spectrum.meta["observation"]
    assert known.instrument == ""
    assert known.snr > 30
    wave, flux = spectrum.spectral_axis.value, spectrum.flux.value
    # The strongest of the Mg b lines lies where it should in air at rest.
    near = (wave > 5182.6) & (wave < 5184.6)
    assert wave[near][np.argmin(flux[near])] == pytest.approx(5183.60, abs=0.05)


@pytest.mark.parametrize(
    "name",
    [
        "ACTIN/HARPS.2003-12-12T21:42:45.093_blaze_A.fits",
        WAVE,
        "ACTIN/HARPS.2003-12-13T06:19:48.371_ccf_M2_A.fits",
        "ACTIN/HARPS.2006-07-05T03:52:40.071_ccf_G2_A.fits",
        "harpsn-ccf/r.HARPN.2015-08-03T14-17-24.899_CCF_A.fits",
    ],
)
def test_other_products_are_named(real, name):
    with pytest.raises(WrongProductError) as caught:
        read(real / name)
    assert any(word in caught.value.found.lower() for word in ("blaze", "wave", "ccf"))


def test_the_mock_header_has_the_cards_of_the_genuine_one(real, mock):
    """Card names of the new DRS of HARPS-N, as a real file spells them."""
    genuine = fits.getheader(real / "harpsn-ccf/r.HARPN.2015-08-03T14-17-24.899_CCF_A.fits")
    made = mock("s2d")[0].header
    assert [card for card in made if card not in genuine and card != "ORIGIN"] == []


@pytest.mark.parametrize(("name", "target", "instrument", "resolution", "frame"), [
    ("archive/eso-phase3/ADP.2014-09-16T11:04:45.123.fits", "IC4651No9122", "HARPS", 115000,
     "barycentric"),
    ("archive/eso-phase3/ADP.2017-04-07T01_04_41.632.fits", "Beta_Pic", "HARPS", 115000,
     "barycentric"),
    ("benchmarks/ADP_deleri_snr262_UVES_52.794g.fits", "HD_23249", "UVES", 74450, "barycentric"),
    ("archive/rest-frame/iotHor_HARPS.2004-01-30T01-51-05.686_s1d_rest.fits", "HD17051", "HARPS",
     115000, "rest"),
    ("archive/coadded/TOI_5624_HARPS_N_CoAdded.fits", "", "", 115000, "unknown"),
    ("benchmarks/KIC10006158_spec.txt.gz", "", "", 115000, "unknown"),
])  # fmt: skip
def test_what_archives_and_users_hand_out(real, name, target, instrument, resolution, frame):
    known = read(real / name).meta["observation"]
    assert (known.target, known.instrument) == (target, instrument)
    assert (known.resolution, known.frame) == (resolution, frame)
    assert known.resolution_assumed == (instrument == "")


def test_a_smooth_curve_is_no_spectrum(real):
    with pytest.raises(WrongProductError, match="smooth curve"):
        read(real / "archive/harpsn/not-a-spectrum_norm_poly.fits")

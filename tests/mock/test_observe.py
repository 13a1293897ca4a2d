"""Mock observations: what goes in comes out, noise and all."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from astropy.io import fits

from harpsstar.errors import ConfigError, OutputError, UnknownInstrumentError
from harpsstar.instruments import get_instrument
from harpsstar.io import read
from harpsstar.mock import FORMATS, blaze_frame, expose, observe, write


def flat(wave):
    """No lines between 5010 and 5410 Å, nothing elsewhere."""
    return np.where((wave > 5010) & (wave < 5410), 1.0, np.nan)


def one_line(wave):
    """One Gaussian line at 5200 Å."""
    return flat(wave) - 0.5 * np.exp(-0.5 * ((wave - 5200.0) / 0.05) ** 2)


@pytest.mark.parametrize("instrument", ["HARPS-N", "HARPS"])
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_of_every_instrument_is_read(format, instrument):
    spectrum = read(observe(flat, format=format, instrument=instrument, snr=50.0))
    known = spectrum.meta["observation"]
    assert known.instrument == instrument
    assert known.snr == pytest.approx(50.0, rel=0.05)
    wave = spectrum.spectral_axis.value[~spectrum.mask]
    assert wave.min() == pytest.approx(5010.0, abs=1.0)
    assert wave.max() == pytest.approx(5410.0, abs=1.0)


@pytest.mark.parametrize("snr", [5.0, 20.0, 100.0])
def test_the_noise_is_that_of_the_signal_to_noise_asked_for(snr):
    exposure = expose(flat, snr=snr, seed=4)
    difference = exposure.electrons - expose(flat, snr=snr, seed=5).electrons
    middle = (slice(38, 42), slice(2048 - 100, 2048 + 100))
    noise = difference[middle].std() / np.sqrt(2)
    assert exposure.electrons[middle].mean() / noise == pytest.approx(snr, rel=0.08)
    z = difference[exposure.covered] / np.sqrt(2 * exposure.variance[exposure.covered])
    assert z.std() == pytest.approx(1.0, abs=0.01)


def test_a_seed_gives_the_same_noise_again():
    one, two, three = (expose(flat, seed=seed).electrons for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, three)


@pytest.mark.parametrize(("rv", "berv"), [(0.0, 0.0), (150.0, 20.0), (-80.0, -29.0)])
@pytest.mark.parametrize("format", ["e2ds", "s2d", "s1d"])
def test_a_line_lies_at_the_velocity_of_the_star(format, rv, berv):
    spectrum = read(observe(one_line, format=format, rv=rv, berv=berv, snr=300.0))
    expected = 5200.0 * (1 + rv / 299792.458)
    wave, flux = np.atleast_2d(spectrum.spectral_axis.value), np.atleast_2d(spectrum.flux.value)
    row = int(np.argmin(np.abs(np.median(wave, axis=1) - expected)))
    near = np.abs(wave[row] - expected) < 0.3
    w, depth = wave[row, near], np.median(flux[row, near]) - flux[row, near]
    depth = np.clip(depth, 0.1 * depth.max(), None) - 0.1 * depth.max()
    assert np.sum(w * depth) / np.sum(depth) == pytest.approx(expected, abs=0.003)


def test_where_the_model_ends_nothing_is_observed():
    exposure = expose(flat)
    assert np.all(exposure.electrons[~exposure.covered] == 0)
    assert not exposure.covered[:34].any()
    assert exposure.covered[36:44].all()


def test_the_e2ds_carries_the_polynomials_of_the_instrument():
    header = observe(flat, format="e2ds")[0].header
    table = get_instrument("HARPS-N").wave_polynomials
    got = [header[f"TNG DRS CAL TH COEFF LL{i}"] for i in range(table.size)]
    np.testing.assert_array_equal(got, table.ravel())


def test_a_tilted_blaze_needs_its_own_blaze_file(tmp_path):
    """With it orders are flat, with another one they are not."""
    slopes = []
    for tilt in (0.3, 0.0):
        hdus = observe(flat, tilt=0.3, snr=300.0)
        write(hdus, tmp_path / "e2ds.fits", overwrite=True, blaze=blaze_frame(tilt=tilt))
        flux = read(tmp_path / "e2ds.fits").flux.value[40]
        slopes.append(np.median(flux[2500:3500]) / np.median(flux[500:1500]))
    assert slopes[0] == pytest.approx(1.0, abs=0.01)
    assert slopes[1] == pytest.approx(1.35, abs=0.08)


def test_files_are_written_whole_and_reproducibly(tmp_path):
    first = write(observe(flat, format="s1d"), tmp_path / "a.fits.gz")
    second = write(observe(flat, format="s1d"), tmp_path / "b.fits.gz")
    assert first.read_bytes() == second.read_bytes()
    with gzip.open(first) as file, fits.open(file) as hdus:
        assert hdus[0].header["ORIGIN"] == "harpsstar mock observer"
    with pytest.raises(OutputError, match="exists"):
        write(observe(flat, format="s1d"), first)
    with pytest.raises(OutputError, match="cannot be written"):
        write(observe(flat, format="s1d"), tmp_path / "none" / "a.fits")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.fits.gz", "b.fits.gz"]


def test_impossible_requests_are_refused():
    with pytest.raises(ConfigError, match="e2ds, s1d, s2d"):
        observe(flat, format="jpeg")
    with pytest.raises(ConfigError, match="positive"):
        observe(flat, snr=0.0)
    with pytest.raises(UnknownInstrumentError):
        observe(flat, instrument="UVES")
    with pytest.raises(ConfigError, match="ESPRESSO"):
        observe(flat, instrument="ESPRESSO")

"""Spectrographs of other observatories, in the layouts of their pipelines."""

from __future__ import annotations

import io

import numpy as np
import pytest
from astropy.io import fits

from harpsstar.instruments import from_header, get_instrument
from harpsstar.io.products import read_arrays
from harpsstar.mock import model_star, observe
from tests.io.layouts import Star, content, image


@pytest.fixture(scope="module")
def star():
    model = model_star(5772.0, 4.44, 0.0, 5.0, resolution=75000.0)
    return Star(lambda format: observe(model, format=format, rv=20.0, berv=-12.0, seed=1))


@pytest.mark.parametrize(("header", "resolution", "orders"), [
    ({"INSTRUME": "HARPS", "ESO INS MODE": "HARPS"}, 115000, 72),
    ({"INSTRUME": "HARPS", "ESO INS MODE": "EGGS"}, 80000, 72),
    ({"INSTRUME": "ESPRESSO", "ESO INS MODE": "SINGLEHR"}, 140000, 170),
    ({"INSTRUME": "ESPRESSO", "ESO INS MODE": "multimr"}, 70000, 85),
    ({"INSTRUME": "ESPRESSO", "ESO INS MODE": "SINGLEUHR"}, 190000, 170),
    ({"INSTRUME": "SOPHIE", "OHP INS FIBER": "HE"}, 40000, 39),
    ({"INSTRUME": "FIES", "FIFMSKNM": "F3 MedRes"}, 46000, 1),
    ({"INSTRUME": "FIES"}, 67000, 1),
])  # fmt: skip
def test_the_mode_decides_on_resolution_and_rows(header, resolution, orders):
    instrument = from_header(header)
    assert (instrument.resolution, instrument.n_orders) == (resolution, orders)
    assert instrument.order_m.shape == (orders,)


def test_orders_of_a_mode_without_slices_come_once():
    whole, plain = get_instrument("ESPRESSO"), from_header(
        {"INSTRUME": "ESPRESSO", "ESO INS MODE": "MULTIMR"})  # fmt: skip
    np.testing.assert_array_equal(plain.order_m, whole.order_m[::2])


def test_an_s1d_of_sophie(star):
    wave = np.arange(5030.0, 5390.0, 0.01)
    cards = {"CTYPE1": "AWAV", "CUNIT1": "Angstrom", "CRPIX1": 1.0, "CRVAL1": 5030.0,
             "CDELT1": 0.01, "INSTRUME": "SOPHIE"}  # fmt: skip
    data = fits.open(io.BytesIO(image(star.even(wave), cards)))
    for name, value in (("TARG NAME", "HD 1"), ("DRS BERV", -12.0), ("DRS BJD", 2457395.6),
                        ("INS FIBER", "HR"), ("DPR TYPE", "STAR,DARK,G2")):  # fmt: skip
        data[0].header[f"HIERARCH OHP {name}"] = value
    for row in range(39):
        data[0].header[f"HIERARCH OHP DRS CAL EXT SN{row}"] = 90.0
    seen = read_arrays(data).observation
    assert (seen.product, seen.instrument, seen.target) == ("s1d", "SOPHIE", "HD 1")
    assert (seen.resolution, seen.frame, seen.berv, seen.bjd) == (
        75000.0, "barycentric", -12.0, 2457395.6)  # fmt: skip
    assert seen.snr == pytest.approx(90.0)


def test_orders_of_expres(star):
    """A row for each order, two wavelength scales, and a mask that is true for good pixels."""
    n = 2000
    at = np.linspace(0, star.wave.size - n, 12).astype(int)
    pick = [slice(i, i + n) for i in at]
    arrays = {"wavelength": [star.vacuum[s] / 1.00004 for s in pick],
              "bary_wavelength": [star.vacuum[s] for s in pick],
              "spectrum": [star.flux[s] for s in pick],
              "uncertainty": [star.error[s] for s in pick]}  # fmt: skip
    columns = [fits.Column(name=name, format=f"{n}D", array=np.array(values))
               for name, values in arrays.items()]  # fmt: skip
    good = np.ones((len(at), n), dtype=bool)
    good[:, :50] = False
    columns.append(fits.Column(name="pixel_mask", format=f"{n}L", array=good))
    primary = fits.PrimaryHDU()
    primary.header["INSTRUME"], primary.header["OBJECT"] = "EXPRES", "HD 1"
    table = fits.BinTableHDU.from_columns(columns, name="optimal")
    read = read_arrays(io.BytesIO(content(fits.HDUList([primary, table]))))
    seen = read.observation
    assert (seen.product, seen.instrument, seen.resolution) == ("table", "EXPRES", 137500.0)
    assert seen.frame == "barycentric"
    assert read.flux.shape == (len(at), n)
    np.testing.assert_allclose(read.wave[3], star.wave[pick[3]], atol=1e-3)
    assert read.mask[:, :50].all()
    assert not read.mask[:, 60:].all(axis=1).any()


def test_fies_is_of_the_observatory_and_its_velocity_unknown(star):
    wave = np.arange(5030.0, 5390.0, 0.01)
    data = image(star.even(wave), {"CRVAL1": 5030.0, "CDELT1": 0.01, "INSTRUME": "FIES",
                                   "FIFMSKNM": "F4 HiRes", "TCSTGT": "HD 1"})  # fmt: skip
    seen = read_arrays(io.BytesIO(data)).observation
    assert (seen.instrument, seen.target, seen.resolution) == ("FIES", "HD 1", 67000.0)
    assert (seen.frame, seen.resolution_assumed) == ("topocentric", False)

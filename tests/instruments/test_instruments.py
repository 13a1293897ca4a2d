"""The spectrographs: their files agree with what is known of them."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from harpsstar.errors import ConfigError, UnknownInstrumentError
from harpsstar.instruments import available, from_header, get_instrument


@pytest.mark.parametrize("name", available())
def test_rows_and_physical_orders_fit(name):
    instrument = get_instrument(name)
    m = instrument.order_m
    assert m.shape == (instrument.n_orders,)
    assert m[0] == instrument.m_first
    assert set(np.diff(m)) <= {0, -1, -2}
    assert not set(m) & set(instrument.missing_m)


@pytest.mark.parametrize("name", ["HARPS-N", "HARPS"])
def test_wavelengths_obey_the_grating_equation(name):
    instrument = get_instrument(name)
    wave = instrument.wavelengths
    assert wave.shape == (instrument.n_orders, instrument.n_pixels)
    assert np.all(np.diff(wave, axis=1) > 0)
    product = instrument.order_m * wave[:, instrument.n_pixels // 2]
    np.testing.assert_allclose(product, 612000.0, rtol=1e-3)


def test_canonical_rows_of_harpsn_lie_where_the_project_says():
    centres = get_instrument("HARPS-N").wavelengths[36:44, 2047:2049].mean(axis=1)
    expected = [5055.4, 5097.5, 5140.4, 5183.9, 5228.2, 5273.2, 5319.1, 5365.7]
    np.testing.assert_allclose(centres, expected, atol=0.06)


def test_no_order_of_harps_covers_its_gap():
    instrument = get_instrument("HARPS")
    (low, high), = instrument.gaps
    inside = (instrument.wavelengths > low + 0.5) & (instrument.wavelengths < high - 0.5)
    assert not inside.any()


@pytest.mark.parametrize(("card", "name"), [("HARPN", "HARPS-N"), ("HARPS", "HARPS")])
def test_the_header_names_the_instrument(card, name):
    assert from_header({"INSTRUME": card}).name == name


@pytest.mark.parametrize("header", [{}, {"INSTRUME": "UVES"}, {"INSTRUME": ""}])
def test_unknown_instruments_are_named(header):
    with pytest.raises(UnknownInstrumentError, match="HARPS-N, HARPS, ESPRESSO") as caught:
        from_header(header, "night.fits")
    assert caught.value.path == "night.fits"
    assert str(header.get("INSTRUME", "no INSTRUME card")) in str(caught.value)


def test_an_instrument_without_wavelengths_says_so():
    with pytest.raises(ConfigError, match="ESPRESSO"):
        _ = get_instrument("ESPRESSO").wavelengths


def test_instruments_travel_between_processes():
    instrument = get_instrument("HARPS-N")
    twin = pickle.loads(pickle.dumps(copy.copy(instrument)))
    np.testing.assert_array_equal(twin.wavelengths, instrument.wavelengths)

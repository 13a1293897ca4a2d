"""A number has the digits that its error leaves it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harpsstar.formatting import UNKNOWN, decimals, plain, with_error
from harpsstar.labels import LOGG, TEFF


@pytest.mark.parametrize(
    ("name", "value", "error", "text"),
    [
        ("rv", 12.30118, 0.00112, "12.3012 ± 0.0011"),
        ("rv", -0.00001, 0.00112, "0.0000 ± 0.0011"),
        ("teff", 5771.6, 70.2, "5772 ± 70"),
        ("teff", 5771.6, 9.96, "5772 ± 10"),
        ("teff", 5771.6, 1234.0, "5772 ± 1234"),
        ("logg", 4.4412, 0.0999, "4.44 ± 0.10"),
        ("m_h", 0.0004, 0.0907, "+0.000 ± 0.091"),
        ("m_h", -0.25, math.nan, "-0.25"),
        ("vsini", 3.0, 0.0, "3.0"),
        ("rv", 3.0, math.inf, "3.000"),
        ("rv", math.nan, 0.1, UNKNOWN),
        ("snr", 120.3, math.nan, "120"),
    ],
)
def test_examples(name, value, error, text):
    assert with_error(name, value, error) == text


@settings(derandomize=True)
@given(error=st.floats(1e-6, 9.9), value=st.floats(-1e4, 1e4))
def test_an_error_has_two_digits_and_its_value_as_many_decimals(error, value):
    first, _, second = with_error("rv", value, error).partition(" ± ")
    assert len(first.partition(".")[2]) == len(second.partition(".")[2]) == decimals(error)
    assert float(second) == pytest.approx(error, rel=0.051)
    assert len(second.replace(".", "").lstrip("0")) == 2
    assert float(first) == pytest.approx(value, abs=0.51 * 10 ** -decimals(error))


def test_a_difference_has_its_sign_whatever_it_is():
    assert with_error("teff", 12.3, sign=True) == "+12"
    assert with_error("teff", -0.2, sign=True) == "0"
    assert with_error("m_h", 0.1, 0.02, sign=False) == "0.100 ± 0.020"


def test_a_plain_number_has_its_format_or_a_dash():
    assert plain(5772.0) == "5.77e+03"
    assert plain(1.0, "+.2f") == "+1.00"
    assert plain(math.nan) == plain(math.inf, ".1f") == UNKNOWN


def test_headings_have_a_unit_where_there_is_one():
    assert (TEFF.heading, LOGG.heading) == ("teff [K]", "logg")
    assert (TEFF.axis, LOGG.axis) == (TEFF.symbol + " [K]", LOGG.symbol)

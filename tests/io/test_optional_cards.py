"""A card that cannot be read makes its own value unknown, and nothing else.

Files are written as bytes: astropy would not write such cards.
"""

from __future__ import annotations

import dataclasses
import io
import re

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from harpsstar.errors import ReadError
from harpsstar.io import read
from harpsstar.io.cards import ReadableCards
from harpsstar.io.facts import read_facts
from harpsstar.io.files import scan_header
from harpsstar.io.headers import number
from harpsstar.io.products import read_arrays

#: Which fields of an observation may become unknown with a card, where any may.
FIELDS = {
    "TNG DRS BJD": {"bjd"},
    "TNG DRS BERV": {"berv", "frame", "notes"},
    "TNG DRS SPE EXT SN40": {"snr", "snr_orders"},
    "TNG DRS CCF RVC": {"rv_header", "rv_header_err"},
    "TNG DRS DVRMS": {"rv_header_err"},
    "TNG DRS BLAZE FILE": {"notes"},
    "TNG QC BJD": {"bjd"},
    "TNG QC BERV": {"berv"},
    "TNG QC ORDER42 SNR": {"snr", "snr_orders"},
    "TNG QC CCF RV": {"rv_header"},
    "TNG QC CCF RV ERROR": {"rv_header_err"},
    "TNG OBS TARG NAME": {"target"},
}
#: Without these there is no spectrum; all other cards are tried.
NEEDED = {"SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "EXTEND", "INSTRUME", "CRVAL1",
          "CDELT1", "CRPIX1", "CTYPE1", "ESO PRO CATG"}  # fmt: skip
FORMATS = ("e2ds", "s1d", "s2d", "s1d_table")
STRANGE = ["nan", "NaN", "-nan", "inf", "12,5", "1.2.3", "--", "", "'", "'open", "(1,2", "0x1F",
           "1_000", "HD 10700", "T", "+", "1e999", "- / no value", "&", "\x01", "\xff\xfe"]


def rewritten(data, name, text):
    """The first header with the text of one value exchanged."""
    _, stop = scan_header(data)
    for start in range(0, stop, 80):
        keyword = data[start : start + 80].partition(b"=")[0]
        if keyword.strip().removeprefix(b"HIERARCH ") == name.encode():
            # The equals sign of a short keyword has a fixed place.
            card = (keyword + b"= " + text.encode("latin-1")).ljust(80)[:80]
            return data[:start] + card + data[start + 80 :]
    raise KeyError(name)


@pytest.fixture(scope="module")
def files(mock):
    """Each format as bytes, what it says as it is, and the cards that it could do without."""
    found = {}
    for format in FORMATS:
        hdus, buffer = mock(format), io.BytesIO()
        if format in ("e2ds", "s1d"):
            hdus[0].header["HIERARCH TNG DRS CCF RVC"] = 33.0
            hdus[0].header["HIERARCH TNG DRS DVRMS"] = 1.5
        hdus.writeto(buffer)
        cards = [
            name for name in hdus[0].header
            if name in FIELDS or not (name in NEEDED or re.search(r"CAL TH|SN\d|ORDER\d", name))
        ]
        found[format] = buffer.getvalue(), read_arrays(io.BytesIO(buffer.getvalue())), cards
    return found


def same(first, second):
    return first == second or (first != first and second != second)


def check(files, folder, format, card, text):
    data, whole, _ = files[format]
    path = folder / "file.fits"
    path.write_bytes(rewritten(data, card, text))
    reading = read_arrays(path)
    assert reading.flux.shape == whole.flux.shape
    if card != "TNG DRS BERV":
        np.testing.assert_array_equal(reading.wave, whole.wave)
    for field in dataclasses.fields(reading.observation):
        value, before = (getattr(item.observation, field.name) for item in (reading, whole))
        if field.name not in {"file", "snr", "snr_orders"} | FIELDS.get(card, set()):
            assert same(value, before), field.name
        elif field.name in ("bjd", "berv", "rv_header"):
            assert same(value, number(text.partition("/")[0]))
        elif field.name == "rv_header_err":
            assert same(value, before) or np.isnan(value) or np.isfinite(number(text))
    # What chooses files reads the header in another way, and finds the same.
    facts = read_facts(path)
    assert facts.product == reading.observation.product
    assert same(facts.bjd, reading.observation.bjd)
    assert not np.isfinite(facts.snr) or facts.snr == reading.observation.snr


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("text", ["nan", "12,5", "\xff\xfe"])
def test_an_unreadable_card_costs_its_own_value(files, tmp_path, format, text):
    tried = files[format][2]
    assert len(tried) > 10
    for card in tried:
        check(files, tmp_path, format, card, text)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    format=st.sampled_from(FORMATS),
    which=st.integers(min_value=0),
    text=st.one_of(
        st.sampled_from(STRANGE),
        # Quotes and slashes have a meaning in FITS.
        st.text(st.characters(max_codepoint=255, exclude_characters="'/"), max_size=40),
        st.floats(allow_subnormal=False).map(repr),
    ),
)
def test_no_value_of_an_optional_card_is_an_error(work, format, which, text):
    files, folder = work
    cards = files[format][2]
    check(files, folder, format, cards[which % len(cards)], text)


@pytest.fixture(scope="module")
def work(files, tmp_path_factory):
    class Work(tuple):
        """Short in hypothesis' reports, unlike its megabytes."""

        def __repr__(self):
            return "work"

    return Work((files, tmp_path_factory.mktemp("cards")))


@pytest.mark.parametrize(("format", "card", "text", "told"), [
    ("e2ds", "TNG DRS CAL TH DEG LL", "nan", "TNG DRS CAL TH DEG LL"),
    ("e2ds", "TNG DRS CAL TH COEFF LL7", "1,5", "TNG DRS CAL TH COEFF LL7.*1,5"),
    ("s1d", "CRVAL1", "nan", "CRVAL1 = nan"),
    ("s1d", "CDELT1", "0,01", "CDELT1 = 0,01"),
    ("s1d", "NAXIS1", "many", "NAXIS1 = many"),
    ("e2ds", "INSTRUME", "12,5", "INSTRUME"),
])  # fmt: skip
def test_a_card_that_is_needed_is_named(files, tmp_path, format, card, text, told):
    path = tmp_path / "file.fits"
    path.write_bytes(rewritten(files[format][0], card, text))
    with pytest.raises(ReadError, match=told):
        read_arrays(path)


def test_a_scale_that_cannot_be_read_is_named(tmp_path):
    hdu = fits.PrimaryHDU(np.ones(5000, np.int16))
    hdu.header["INSTRUME"], hdu.header["BZERO"] = "HARPN", 1.0
    buffer = io.BytesIO()
    hdu.writeto(buffer)
    data = buffer.getvalue()
    path = tmp_path / "file.fits"
    path.write_bytes(rewritten(data, "BZERO", "1,5"))
    with pytest.raises(ReadError, match="BZERO"):
        read_arrays(path)


def test_the_containers_are_made_of_such_files_too(files, tmp_path):
    path = tmp_path / "file.fits"
    path.write_bytes(rewritten(files["s1d_table"][0], "TNG QC ORDER42 SNR", "nan"))
    spectrum = read(path)
    assert np.isnan(spectrum.meta["observation"].snr_orders[41])
    with fits.open(path) as hdus:
        assert read(hdus).flux.shape == spectrum.flux.shape


@pytest.mark.parametrize("text", [*STRANGE, "'HD 10700'", "'O''Brien'", "1.5D+03", "-7", ".5 / x"])
def test_two_ways_to_read_a_card_agree(text):
    card = f"BERV    = {text}".ljust(80)[:80].encode("latin-1")
    data = b"SIMPLE  =                    T".ljust(80) + card + b"END".ljust(80)
    quick = scan_header(data.ljust(2880))[0].get("BERV")
    slow = ReadableCards(fits.Header.fromstring(data.ljust(2880))).get("BERV")
    assert same(number(quick), number(slow))
    if isinstance(slow, str):
        assert slow.strip() == quick

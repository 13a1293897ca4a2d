"""The fast scan of headers and astropy agree on what a header says, however strange it is."""

from __future__ import annotations

import io

import numpy as np
import pytest
from astropy.io import fits

from harpsstar.io.cards import ReadableCards
from harpsstar.io.files import open_content, scan_header
from harpsstar.io.headers import Cards

#: Beginnings of cards and of values, right and wrong, as they were seen in archives.
KEYWORDS = (
    "OBJECT", "INSTRUME", "DATE-OBS", "SNR", "HIERARCH ESO DRS BERV", "HIERARCH TNG DRS BJD",
    "HIERARCH ESO QC ORDER42 SNR", "HIERARCH ESO OBS TARG NAME", "EXPTIME", "CTYPE1",
    "HIERARCH ESO INS MODE", "HIERARCH ESO TEL TARG EPOCHSYSTEM",
)  # fmt: skip
VALUES = (
    "1", "-1.5", "+3.", ".5", "1E5", "1.5D-3", "1.5d2", "- 2", "nan", "NaN", "inf", "1,5", "1.5.2",
    "0x10", "1_000", "T", "F", "(1.0, 2.0)", "", "'HD 1'", "'HD 1   '", "'  HD 1'", "'O''Brien'",
    "'a/b'", "'a / b' / a comment", "''", "' '", "'it''s / so' / yes", "'unclosed", "unquoted text",
    "'HD=1'", "'1.5'", "'nan'", "12 / a comment", "12/a comment", "'x'trailing", "1.5 km/s",
    "'" + "x" * 60 + "'", "'é'", "'tab\tin it'", "'\x1b[31m'", "\"double\"", "2016-01-08",
    "'2016-01-08T02:30:21' / UT", "TRUE", "1.0e", "++1", "1e400", "00012", "'' / nothing", "/ only",
)  # fmt: skip


def header_of(cards):
    lines = ["SIMPLE  =                    T", "BITPIX  =                    8",
             "NAXIS   =                    0", *cards, "END"]  # fmt: skip
    text = "".join(line[:80].ljust(80) for line in lines).encode("latin-1")
    return text.ljust(-(-len(text) // 2880) * 2880)


def strange(rng):
    """Cards of one header: some twice, some continued, with comments between."""
    cards = []
    for keyword in rng.choice(KEYWORDS, size=rng.integers(3, 10)):
        name = keyword if keyword.startswith("HIERARCH") else keyword.ljust(8)
        sign = rng.choice(["= ", "= ", "= ", "="])
        cards.append(f"{name}{sign if ' ' not in keyword else ' = '}{rng.choice(VALUES)}")
        extra = rng.integers(0, 12)
        if extra == 0:
            cards.append("COMMENT  OBJECT = 'not this'")
        elif extra == 1:
            cards.append("HISTORY INSTRUME= 'nor this'")
        elif extra == 2:
            cards += ["LONGSTR = 'a long string that goes &'", "CONTINUE  'on and on&'",
                      "CONTINUE  ' to its end' / done"]  # fmt: skip
        elif extra == 3:
            cards.append("")
    return cards


def differences(data):
    """Keywords of which the two readers say different things through an instrument's card names."""
    scanned, _ = scan_header(data)
    names = [name.removeprefix("HIERARCH ") for name in (*KEYWORDS, "LONGSTR")]
    found = []
    with open_content(data, "") as hdus:
        header = ReadableCards(hdus[0].header)
        for name in names:
            texts, numbers = [], []
            for mapping in (header, scanned):
                cards = Cards(mapping, {"it": (name,)})
                texts.append(cards.text("it"))
                numbers.append(cards.number("it"))
            same = texts[0] == texts[1] or _both(float, texts) or set(texts) <= {"True", "T"} or (
                set(texts) <= {"False", "F"})
            if not (same and np.array_equal(*np.atleast_1d(numbers), equal_nan=True)
                    or set(texts) <= {"True", "T", "False", "F"}):  # fmt: skip
                found.append((name, texts, numbers))
    return found


def _both(kind, texts):
    """Whether texts are the same number, or complex numbers, which nothing here has."""
    try:
        return kind(texts[0]) == kind(texts[1])
    except ValueError:
        return texts[0].startswith("(") or texts[1].startswith("(")


@pytest.mark.parametrize("value", VALUES)
def test_both_readers_read_a_value_alike(value):
    data = header_of([f"OBJECT  = {value}", f"HIERARCH ESO DRS BERV = {value}"])
    assert differences(data) == []


def test_both_readers_read_five_hundred_strange_headers_alike():
    rng = np.random.default_rng(3)
    for _ in range(500):
        cards = strange(rng)
        assert differences(header_of(cards)) == [], cards


def test_a_header_that_is_scanned_is_joined_where_it_is_continued():
    data = header_of(["LONGSTR = 'one &'", "CONTINUE  'two&'", "CONTINUE  ' three' / done"])
    assert scan_header(data)[0]["LONGSTR"] == "one two three"
    assert fits.open(io.BytesIO(data))[0].header["LONGSTR"] == "one two three"

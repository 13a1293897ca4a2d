"""A spectrograph that harpsstar has never heard of, from a TOML file alone."""

from __future__ import annotations

import os

import numpy as np
import pytest

import harpsstar
from harpsstar.errors import ConfigError, UnknownInstrumentError
from harpsstar.instruments import VARIABLE, available, get_instrument, read_instrument
from harpsstar.io.facts import read_facts
from harpsstar.mock import blaze_frame, observe_star, write

#: Orders 100 to 131 of an invented echelle with fewer pixels, another dispersion and other cards.
M_FIRST, N_ORDERS, N_PIXELS, BLAZE = 131, 32, 3000, 612500.0

TEXT = """
name = "FICTUS"
instrume = ["FICTUS", "FIC2"]
prefix = "OBS"
resolution = 90000.0
n_orders = {n_orders}
n_pixels = {n_pixels}
m_first = {m_first}
blaze_constant = {blaze}

[detector]
read_noise = 3.0
gain = 1.1

[cards.old]
target = ["OBS OBS TARG NAME", "OBJECT"]
type = "OBS DPR TYPE"
category = "OBS DPR CATG"
degree = "OBS DRS CAL TH DEG LL"
coefficient = "OBS DRS CAL TH COEFF LL{{index}}"
n_orders = "OBS DRS CAL LOC NBO"
wave_file = "OBS DRS CAL TH FILE"
blaze = "OBS DRS BLAZE FILE"
read_noise = "OBS DRS CCD SIGDET"
gain = "OBS DRS CCD CONAD"
snr = "OBS DRS SPE EXT SN{{row}}"
berv = "OBS DRS BERV"
bjd = "OBS DRS BJD"
rv = ["OBS DRS CCF RVC", "OBS DRS CCF RV"]
rv_err = ["OBS DRS DVRMS"]

[wave]
polynomials = {polynomials}
"""


def description(**changes):
    """The file's text: orders of 1.2 % of their wavelength, a little curved."""
    m = M_FIRST - np.arange(N_ORDERS)
    centre, step = BLAZE / m, 0.012 * BLAZE / m / N_PIXELS
    half = N_PIXELS / 2
    rows = [[c - s * half, s * 1.02, -s * 0.02 / N_PIXELS] for c, s in
            zip(centre.tolist(), step.tolist(), strict=True)]
    values = {"m_first": M_FIRST, "n_orders": N_ORDERS, "n_pixels": N_PIXELS, "blaze": BLAZE,
              "polynomials": rows}
    return TEXT.format(**values | changes)


@pytest.fixture
def fictus(tmp_path, monkeypatch):
    """The fictitious spectrograph, known to harpsstar during a test."""
    path = tmp_path / "fictus.toml"
    path.write_text(description(), encoding="utf-8")
    monkeypatch.setenv(VARIABLE, str(path))
    return path


def test_it_predicts_on_its_mock_file(fictus, tmp_path):
    truth = {"teff": 5772.0, "logg": 4.44, "m_h": 0.0, "vsini": 4.0}
    hdus = observe_star(**truth, rv=21.0, berv=-9.0, snr=120.0, seed=4, instrument="FICTUS",
                        target="HD 4")
    path = write(hdus, tmp_path / "star_e2ds_A.fits", blaze=blaze_frame("FICTUS"))
    row = harpsstar.predict(path)[0]
    assert (row["status"], row["instrument"], row["target"]) == ("ok", "FICTUS", "HD 4")
    assert row["rv"].value == pytest.approx(21.0, abs=0.1)
    for name, value in truth.items():
        found, error = (float(getattr(row[key], "value", row[key]))
                        for key in (name, f"{name}_err"))
        assert abs(found - value) < 3 * error, name
    assert read_facts(str(path)).product == "e2ds"


def test_its_fibre_b_is_told_by_its_own_cards(fictus, tmp_path):
    hdus = observe_star(5772.0, 4.44, 0.0, 2.0, instrument="FICTUS")
    hdus[0].header["HIERARCH OBS DRS BLAZE FILE"] = "FICTUS_blaze_B.fits"
    hdus.writeto(tmp_path / "b.fits")
    assert read_facts(str(tmp_path / "b.fits")).skip == "spectrum of fibre B"


def test_a_folder_and_a_list_are_read(fictus, tmp_path, monkeypatch):
    other = tmp_path / "more" / "other.toml"
    other.parent.mkdir()
    text = description().replace('"FICTUS", "FIC2"', '"OTHER"').replace("FICTUS", "OTHER")
    other.write_text(text, encoding="utf-8")
    monkeypatch.setenv(VARIABLE, os.pathsep.join([str(fictus), str(other.parent)]))
    assert available()[-2:] == ("FICTUS", "OTHER")
    assert get_instrument("fic2").name == "FICTUS"
    monkeypatch.delenv(VARIABLE)
    assert "FICTUS" not in available()
    with pytest.raises(UnknownInstrumentError, match="HARPS-N, HARPS, ESPRESSO"):
        get_instrument("FICTUS")


@pytest.mark.parametrize(("before", "after", "message"), [
    ("gain = 1.1", "gian = 1.1", "unknown key detector.gian.*did you mean detector.gain"),
    ("resolution = 90000.0", "", "the key resolution is missing"),
    ('"FICTUS", "FIC2"', '"HARPS"', "describes HARPS, which"),
    ("[cards.old]", "[cards.ancient]", "must have old, new, plain"),
    (f"n_orders = {N_ORDERS}", "n_orders = 3", f"has {N_ORDERS} rows; n_orders is 3"),
    ("m_first = 131", "m_first = 0", "order numbers are positive"),
    ("resolution = 90000.0", "resolution = -1.0", "must be positive"),
    ("resolution = 90000.0", "resolution =", "is not TOML"),
])
def test_what_is_wrong_is_said_with_the_file(fictus, before, after, message, monkeypatch):
    bad = fictus.with_name("bad.toml")
    bad.write_text(description().replace(before, after, 1), encoding="utf-8")
    monkeypatch.setenv(VARIABLE, str(bad))
    with pytest.raises(ConfigError, match=message) as caught:
        available()
    assert str(bad) in str(caught.value)


def test_a_missing_file_and_an_empty_folder_are_said(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(ConfigError, match="holds no TOML file"):
        available()
    with pytest.raises(ConfigError, match="cannot be read"):
        read_instrument(tmp_path / "none.toml")

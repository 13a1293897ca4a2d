"""Which files are taken: by what their headers say, never by their names."""

from __future__ import annotations

import gzip
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harpsstar.archive.discover import Selection, survey
from harpsstar.archive.journal import Journal
from harpsstar.errors import ConfigError
from harpsstar.io import facts
from harpsstar.io.facts import Facts, night_of, read_facts
from harpsstar.io.observation import star_key, star_names
from harpsstar.io.paths import find
from harpsstar.mock import blaze_frame
from tests.archive.faults import card, content, good


@pytest.fixture(scope="module")
def e2ds() -> bytes:
    return good(format="e2ds")


def look(*inputs, journal=None, **selection):
    with Journal() as fresh:
        return survey(find(inputs), Selection(**selection), journal or fresh)


def taken(seen):
    return [item.found.path.name for item in seen.chosen]


def left_out(seen):
    return {item.found.path.name: item.skip for item in seen.left_out}


@pytest.fixture
def folder(tmp_path, e2ds, spectrum):
    """An e2ds and its s1d, and what else a pipeline leaves in a folder; names say nothing."""
    folder = tmp_path / "folder"
    folder.mkdir()
    files = {
        "1.fits": e2ds,
        "2.fits": spectrum,
        "3.fits": card("TNG DRS BLAZE FILE", "x_blaze_B.fits")(e2ds),
        "4.fits": card("CTYPE1", "km/s")(e2ds),
        "5.fits": card("TNG DPR TYPE", "WAVE,WAVE,THAR2")(e2ds),
        "6.fits": content(blaze_frame()),
        "7.fits": b"rubbish",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_science_frames_of_fibre_a_are_taken_from_a_folder(folder):
    seen = look(folder)
    assert taken(seen) == ["1.fits", "7.fits"]
    out = left_out(seen)
    assert out["2.fits"] == "another product of an exposure whose e2ds is taken"
    assert out["3.fits"] == "spectrum of fibre B"
    assert "ccf" in out["4.fits"]
    assert "wavelength" in out["5.fits"]
    assert "blaze" in out["6.fits"]
    assert sum(seen.reasons().values()) == len(out) == 5


def test_files_that_are_named_are_always_taken(folder):
    files = sorted(folder.iterdir())
    assert taken(look(*files)) == [path.name for path in files]
    assert taken(look(folder, *files)) == [path.name for path in files]


def test_all_products_can_be_kept(folder):
    assert taken(look(folder, keep_all=True)) == ["1.fits", "2.fits", "7.fits"]


def test_variants_of_one_exposure_are_one_row_named_and_in_an_order(tmp_path):
    data = good(format="s1d_table")
    variants = ("S1D_SKYSUB", "S1D_TELL_CORR", "S1D_FLUXCAL", "S1D")
    for name in variants:
        (tmp_path / f"{name}.fits").write_bytes(card("ESO PRO CATG", f"{name}_A")(data))
    assert [item.facts.product for item in look(tmp_path).chosen] == ["S1D"]
    seen = look(tmp_path, keep_all=True)
    assert {item.facts.product for item in seen.chosen} == set(variants)
    (tmp_path / "S1D.fits").unlink()
    assert taken(look(tmp_path)) == ["S1D_TELL_CORR.fits"]


def test_text_in_a_folder_is_taken_when_it_is_a_spectrum(tmp_path):
    rows = "".join(f"{5000 + 0.01 * i:.2f} 1.0 0.01\n" for i in range(5000))
    (tmp_path / "star.txt").write_text("# wavelength flux error\n" + rows)
    (tmp_path / "README.txt").write_text("Spectra of the night, 3 of 5 good.\n")
    (tmp_path / "results.csv").write_text("file,teff,logg\na.fits,5772,4.44\nb.fits,5000,4.5\n")
    seen = look(tmp_path)
    assert taken(seen) == ["star.txt"]
    assert left_out(seen) == {"README.txt": "text without a spectrum",
                              "results.csv": "text without a spectrum"}  # fmt: skip


def test_other_exposures_are_no_twins(tmp_path, e2ds, spectrum):
    (tmp_path / "a.fits").write_bytes(e2ds)
    (tmp_path / "b.fits").write_bytes(card("DATE-OBS", "2016-01-08T03:30:21.236")(spectrum))
    (tmp_path / "c.fits").write_bytes(card("TNG DRS BJD", 2457396.6)(spectrum))
    assert taken(look(tmp_path)) == ["a.fits", "b.fits", "c.fits"]


def test_selections(tmp_path, spectrum):
    (tmp_path / "a.fits").write_bytes(spectrum)
    (tmp_path / "unreadable.fits").touch()
    night = read_facts(tmp_path / "a.fits").night
    every = ["a.fits", "unreadable.fits"]
    assert taken(look(tmp_path, since=night, targets=("hd-1",), min_snr=50.0)) == every
    for selection in ({"since": "2100-01-01"}, {"targets": ("HD 11",)}, {"min_snr": 500.0}):
        seen = look(tmp_path, **selection)
        assert taken(seen) == ["unreadable.fits"]
        assert len(seen.left_out) == 1
    with pytest.raises(ConfigError, match="not a date"):
        Selection(since="yesterday")


def test_headers_are_read_again_when_a_file_changes(tmp_path, spectrum):
    path = tmp_path / "a.fits"
    path.write_bytes(spectrum)
    with Journal() as journal:
        assert taken(look(tmp_path, journal=journal)) == ["a.fits"]
        path.write_bytes(card("TNG DPR TYPE", "BIAS")(spectrum))
        assert taken(look(tmp_path, journal=journal)) == []


def test_facts_of_a_packed_file_are_those_of_the_file(tmp_path, e2ds):
    (tmp_path / "a").write_bytes(e2ds)
    (tmp_path / "b").write_bytes(gzip.compress(e2ds, 1))
    said = read_facts(tmp_path / "a")
    assert read_facts(tmp_path / "b") == said
    assert (said.product, said.instrument, said.target) == ("e2ds", "HARPS-N", "HD 1")
    assert 60 < said.snr < 100
    assert said.night == night_of(said.bjd) == night_of(math.nan, said.start)


@given(st.binary(max_size=400), st.booleans())
def test_facts_of_rubbish_are_nothing(tmp_path_factory, data, beginning):
    path = tmp_path_factory.getbasetemp() / "rubbish.fits"
    path.write_bytes(b"SIMPLE  =" + data if beginning else data)
    said = read_facts(path)
    assert not (said.product and said.skip)
    assert repr(Facts()) == repr(said) or said.skip


def test_a_night_begins_at_noon():
    noon = 2457396.0
    assert night_of(noon) == "2016-01-08" == night_of(noon + 0.99)
    assert night_of(noon - 0.01) == "2016-01-07"
    assert night_of(math.nan, "2016-01-08T11:59:59") == "2016-01-07"
    assert night_of(math.nan, "2016-01-08T12:00:01") == "2016-01-08"
    assert night_of(math.nan, "long ago") == "unknown"


@pytest.mark.parametrize("name", ["HD10700", "HD 10700", "HD_10700", "hd-10700", "HD010700"])
def test_a_target_is_found_in_every_spelling(tmp_path, spectrum, name):
    (tmp_path / "a.fits").write_bytes(card("TNG OBS TARG NAME", name)(spectrum))
    for wanted in ("HD 10700", "hd10700"):
        assert taken(look(tmp_path, targets=(wanted,))) == ["a.fits"]
    assert taken(look(tmp_path, targets=("HD 1070", "HD 107001"))) == []


@pytest.mark.parametrize(("first", "second", "same"), [
    ("HD 10700", "HD_010700 ", True),
    ("alf Cen B", "alfcenb", True),
    ("Gl 581", "GJ581", True),
    ("TOI-123", "TOI-1-23", False),
    ("TYC 1234-567-1", "TYC 123-4567-1", False),
    ("TYC 1234-567-1", "tyc_1234_567_1", True),
    ("BD-20 1790", "BD+20 1790", False),
    ("BD-20 1790", "bd-20_1790", True),
    ("HD 100", "HD 10", False),
])  # fmt: skip
def test_spellings_of_a_name_have_one_key(first, second, same):
    assert (star_key(first) == star_key(second)) == same


@given(st.lists(st.text(), max_size=8))
def test_a_star_has_one_of_its_own_spellings(names):
    chosen = star_names(names)
    for name, shown in zip(names, chosen, strict=True):
        assert star_key(name) == star_key(shown)
        assert shown in names or not star_key(name)
    assert len(set(chosen)) == len({star_key(name) for name in names})


def test_a_header_that_cannot_be_read_now_is_asked_again(tmp_path, spectrum, monkeypatch):
    path = tmp_path / "a.fits"
    path.write_bytes(card("TNG DPR TYPE", "BIAS")(spectrum))

    def no_handles(path):
        raise OSError(24, "Too many open files")

    with Journal() as journal:
        with monkeypatch.context() as patch:
            patch.setattr(facts, "_headers", no_handles)
            assert taken(look(tmp_path, journal=journal)) == ["a.fits"]
        assert taken(look(tmp_path, journal=journal)) == []

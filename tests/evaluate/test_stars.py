"""Stars with known labels: found by target or file, compared, and judged by their status."""

from __future__ import annotations

import math

import pytest

from harpsstar.errors import ConfigError
from harpsstar.evaluate.stars import compare, evaluate_stars, identify_star, read_references
from harpsstar.io.results import Row
from harpsstar.labels import LABELS

KNOWN = read_references()


def row(**changes):
    values = {"file": "night/a.fits", "target": "HD189733", "teff": 5060.0, "teff_err": 40.0,
              "logg": 4.5, "logg_err": 0.1, "m_h": 0.0, "m_h_err": 0.05, "vsini": 3.0,
              "vsini_err": 0.5}  # fmt: skip
    return Row(**(values | changes))


def test_the_packaged_references_are_complete():
    assert set(KNOWN) == {"Sun", "HD 189733", "alpha Tau", "Gl 273", "Gl 581"}
    for reference in KNOWN.values():
        assert reference.source
        assert reference.targets
        for name in ("teff", "logg", "m_h"):
            value, error = getattr(reference, name)
            assert math.isfinite(value)
            assert error > 0
    described = [KNOWN[name] for name in KNOWN if KNOWN[name].inside]
    for reference in described:
        for label in LABELS:
            known = getattr(reference, label.name)
            assert known is None or label.low <= known[0] <= label.high


@pytest.mark.parametrize(
    ("target", "file", "star"),
    [
        ("HD189733", "a.fits", "HD 189733"),
        ("hd_189733", "a.fits", "HD 189733"),
        ("GANYMEDE", "a.fits", "Sun"),
        ("", "x/Sun_HARPS.fits", "Sun"),
        ("", "HARPS.GBOG_alfTau.fits", "alpha Tau"),
        ("Gl273", "Sun.fits", "Gl 273"),
        ("HD 18973", "a.fits", ""),
        ("", "Sunday/a.fits", ""),
    ],
)
def test_a_star_is_known_by_its_target_then_by_its_file(target, file, star):
    assert identify_star(row(target=target, file=file), KNOWN) == star


def test_differences_and_pulls():
    result = compare(row(), KNOWN)
    teff = result.labels["teff"]
    assert (teff.value, teff.reference, teff.difference) == (5060.0, 5050.0, 10.0)
    assert teff.pull == pytest.approx(10.0 / math.hypot(40.0, 50.0))
    unknown = compare(row(target="HD 1"), KNOWN)
    assert unknown.star == ""
    assert math.isnan(unknown.labels["teff"].difference)


@pytest.mark.parametrize(
    ("target", "status", "right"),
    [
        ("Sun", "ok", True), ("Sun", "flagged", False), ("Gl 581", "flagged", True),
        ("Gl 581", "ok", False), ("HD 1", "ok", None), ("Sun", "failed", None),
    ],
)
def test_the_right_answer_for_what_cannot_be_described_is_a_flag(target, status, right):
    assert compare(row(target=target, status=status), KNOWN).right is right


def test_a_file_that_is_no_spectrum_still_has_a_result(tmp_path):
    path = tmp_path / "sun.fits"
    path.touch()
    (result,) = evaluate_stars([path])
    assert (result.file, result.status) == (str(path), "failed")
    assert "empty" in result.message
    assert math.isnan(result.labels["teff"].value)


@pytest.mark.parametrize(
    ("text", "word"),
    [("[Sun]\ntargets = ['Sun']\nsource = 'x'\ntef = [1.0, 2.0]", "teff"), ("Sun = 1", "table"),
     ("[Sun", "TOML"), ("[Sun]\ntargets = ['Sun']\nsource = 'x'\nteff = [1.0]", "2 values")],
)  # fmt: skip
def test_bad_references_are_refused(tmp_path, text, word):
    path = tmp_path / "stars.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=word) as caught:
        read_references(path)
    assert str(path) in str(caught.value)
    with pytest.raises(ConfigError):
        read_references(tmp_path / "none.toml")

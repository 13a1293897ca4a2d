"""Model atmospheres: which there are, and what a deck says of itself."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from harpsstar.errors import InputsMissingError, OutsideGridError, ReadError
from harpsstar.grid import atlas9
from harpsstar.grid.atlas9 import (
    HELD_OUT_CODES,
    METALLICITY_CODES,
    Deck,
    digest,
    find_decks,
    find_family,
    read_deck,
)
from harpsstar.labels import LOGG, M_H, TEFF


def write(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(("code", "m_h"), (METALLICITY_CODES | HELD_OUT_CODES).items())
def test_there_are_253_models_of_each_metallicity(code, m_h, inputs_root):
    found = find_decks(inputs_root, {code: m_h})
    assert len(found) == 253
    assert {deck.m_h for deck in found} == {m_h}
    for deck in found:  # the file's own card against its name
        assert deck.name == f"{code}_{deck.teff:.0f}_{deck.logg:.1f}"


def test_the_models_of_all_metallicities_are_the_same_nodes_of_table_1(inputs_root):
    found = find_decks(inputs_root)
    assert found == sorted(found)
    by_m_h = {
        m_h: {(deck.teff, deck.logg) for deck in found if deck.m_h == m_h}
        for m_h in METALLICITY_CODES.values()
    }
    assert len(by_m_h) == 7
    assert len(set(map(frozenset, by_m_h.values()))) == 1
    nodes = by_m_h[0.0]
    assert {teff for teff, _ in nodes} == {TEFF.low + 250 * i for i in range(26)}
    assert {logg for _, logg in nodes} == {LOGG.low + 0.5 * i for i in range(11)}
    assert (min(by_m_h), max(by_m_h)) == (M_H.low, M_H.high)
    # every gravity above the lowest that exists at a temperature: the emulator relies on it
    for teff, logg in itertools.product({teff for teff, _ in nodes}, [0.5 * i for i in range(10)]):
        assert (teff, logg) not in nodes or (teff, logg + 0.5) in nodes


def test_a_deck_says_its_temperature_and_gravity(tmp_path):
    path = write(tmp_path, "p00_5750_4.5.dat", "TEFF   5750.  GRAVITY 4.50000 LTE \nTITLE x\n")
    assert read_deck(path, 0.0) == Deck(5750.0, 4.5, 0.0, path)
    assert read_deck(path, 0.0).name == "p00_5750_4.5"


@pytest.mark.parametrize("text", ["", "TITLE [0.0] VTURB=2\n", "TEFF GRAVITY\n"])
def test_what_is_no_deck_is_refused(text, tmp_path):
    path = write(tmp_path, "p00_5750_4.5.dat", text)
    with pytest.raises(ReadError, match="TEFF") as caught:
        read_deck(path, 0.0)
    assert caught.value.path == str(path)


def test_missing_decks_are_told_with_what_to_do(tmp_path):
    with pytest.raises(InputsMissingError, match="harpsstar synth inputs") as caught:
        find_decks(tmp_path)
    assert "gridm25odfnew" in caught.value.path


def test_the_digest_is_that_of_names_and_contents(tmp_path):
    texts = {name: f"TEFF 5000. GRAVITY {g}\n" for name, g in (("a", 4.0), ("b", 4.5))}
    decks = [read_deck(write(tmp_path, f"{name}.dat", text), 0.0) for name, text in texts.items()]
    original = digest(decks)
    assert digest(decks) == original
    assert digest(decks[:1]) != original
    assert digest(decks[::-1]) != original
    decks[0].path.write_text("TEFF 5000. GRAVITY 4.1\n")
    assert digest(decks) != original


class TestBetweenTheDecks:
    """Structures are interpolated layer by layer."""

    def test_at_a_deck_it_is_the_deck(self, inputs_root):
        pytest.importorskip("pysme")
        decks = atlas9.find_decks(inputs_root)
        deck = next(d for d in decks if (d.teff, d.logg, d.m_h) == (5750.0, 4.5, 0.0))
        found = atlas9.interpolate(decks, 5750.0, 4.5, 0.0)
        for name, row in zip(atlas9.COLUMNS, np.exp(atlas9.structure(deck)), strict=True):
            np.testing.assert_allclose(found.columns[name], row, rtol=1e-9)
        assert found.path == deck.path

    def test_between_decks_a_hotter_star_is_hotter_in_every_layer(self, inputs_root):
        pytest.importorskip("pysme")
        decks = atlas9.find_decks(inputs_root)
        stars = [atlas9.interpolate(decks, teff, 4.3, -0.7) for teff in (5800, 5850, 5900)]
        layers = [star.columns["temp"] for star in stars]
        assert np.all(np.diff(layers, axis=0) > 0)

    @pytest.mark.parametrize(("teff", "logg", "m_h"), [(9700.0, 1.0, 0.0), (5250.0, 0.0, 0.5)])
    def test_where_a_deck_is_missing_or_short_it_is_refused(self, inputs_root, teff, logg, m_h):
        pytest.importorskip("pysme")
        with pytest.raises(OutsideGridError, match="deck|layers"):
            atlas9.interpolate(atlas9.find_decks(inputs_root), teff, logg, m_h)


@pytest.fixture(scope="module")
def family(inputs_root):
    pytest.importorskip("pysme")
    return find_family(inputs_root)


class TestTheFamily:
    """Atmospheres of all metallicities that were computed alike."""

    def test_it_has_the_nodes_of_the_decks(self, family, inputs_root):
        assert [(d.teff, d.logg, d.m_h) for d in family] == [
            (d.teff, d.logg, d.m_h) for d in find_decks(inputs_root)
        ]
        assert family == sorted(family)
        assert len({deck.name for deck in family}) == len(family)

    def test_only_solar_metallicity_is_interpolated(self, family):
        assert {deck.m_h for deck in family if deck.columns is not None} == {0.0}
        assert not any(deck.name.startswith("p00") for deck in family)

    def test_it_does_not_bend_where_the_decks_do(self, family, inputs_root):
        """Temperature between −0.5 and +0.5, against the mean of its neighbours."""

        def bend(decks, teff):
            log_t = {d.m_h: atlas9.structure(d)[1] for d in decks if (d.teff, d.logg) == (teff, 4)}
            return log_t[0.0] - (log_t[-0.5] + log_t[0.5]) / 2

        for teff in (4500, 5250, 6000, 6500):
            real = bend(find_decks(inputs_root), teff)[30:60]
            assert abs(bend(family, teff)[30:60]).max() < abs(real).max()

    def test_its_digest_knows_the_interpolated_ones(self, family):
        mixed = [deck for deck in family if deck.columns is not None][:3]
        warmer = dataclasses.replace(
            mixed[0], columns=mixed[0].columns | {"temp": 1.001 * mixed[0].columns["temp"]}
        )
        assert digest(mixed) == digest(list(mixed)) != digest([warmer, *mixed[1:]])

"""The line list: every rule of linelist.toml has been applied, on real sources and made-up ones."""

from __future__ import annotations

import re

import numpy as np
import pytest
from astropy import units as u
from specutils.utils.wcs_utils import vac_to_air

from harpsstar.errors import InputsMissingError
from harpsstar.model.linelist import (
    DTYPE,
    SOLAR,
    air_from_vacuum,
    assemble,
    configuration,
    digest,
    relevant,
)

VALD = "'{species}', {wave:.5f}, {energy:.4f}, 1.0, {gf:.3f}, 8.2, -6.1, -7.5, 1.2, 0.4, 'ref'\n"


@pytest.fixture(scope="module")
def lines(inputs_root):
    """The list as its rules make it, before the Sun has its say."""
    return assemble(inputs_root, calibrated=False)


class TestThePackagedList:
    """Assembled from the real sources."""

    def test_it_is_sorted_within_its_range_and_finite(self, lines):
        assert len(lines) > 5000
        limits = configuration()["range"]
        assert np.all(np.diff(lines["wavelength"]) >= 0)
        assert limits["low"] < lines["wavelength"][0] < 5010
        assert 5410 < lines["wavelength"][-1] < limits["high"]
        for name in ("excitation", "log_gf", "gamma_rad", "gamma_stark", "gamma_vdw"):
            assert np.isfinite(lines[name]).all()
        assert relevant(lines, 8000.0)["excitation"].min() >= 0

    def test_every_source_gives_lines(self, lines):
        assert set(lines["source"]) == {source["name"] for source in configuration()["source"]}

    def test_no_line_comes_from_two_sources(self, lines):
        match = configuration()["match"]
        for species in np.unique(lines["species"]):
            mine = lines[lines["species"] == species]
            for step in range(1, len(mine)):
                near = mine["wavelength"][step:] - mine["wavelength"][:-step] < match["wavelength"]
                if not near.any():
                    break
                gap = abs(mine["excitation"][step:] - mine["excitation"][:-step])
                twice = near & (gap < match["energy"])
                assert np.all(mine["source"][step:][twice] == mine["source"][:-step][twice])

    def test_lines_that_do_not_exist_are_gone(self, lines):
        for rule in configuration()["remove"]:
            suspects = lines[lines["species"] == rule["species"]]
            if "source" in rule:
                suspects = suspects[suspects["source"] == rule["source"]]
            offset = abs(suspects["wavelength"][:, None] - np.array(rule["wavelengths"]))
            assert offset.min() > 0.01

    def test_each_of_them_was_in_a_source(self, inputs_root, lines):
        rules = configuration() | {"remove": []}
        everything = assemble(inputs_root, rules, calibrated=False)
        removed = sum(len(rule["wavelengths"]) for rule in configuration()["remove"])
        assert len(everything) - len(lines) >= removed

    def test_groups_are_shifted_by_what_the_rules_say(self, inputs_root, lines):
        plain = assemble(inputs_root, calibrated=False, config=configuration() | {"shift": []})
        expected = np.zeros(len(lines))
        expected[(lines["species"] == "CH 1") & (lines["source"] == "hydrides")] = -0.4
        expected[lines["source"] == "kurucz"] = -0.2
        assert len(np.unique(expected)) == 3
        before = lines.copy()
        before["log_gf"] -= expected
        key = ["species", "wavelength", "excitation", "source"]
        known, found = (
            set(zip(some[key].tolist(), some["log_gf"].round(6), strict=True))
            for some in (plain, before)
        )
        assert found <= known

    def test_every_line_can_matter_somewhere(self, lines):
        config = configuration()
        abundance = SOLAR | {
            species.split()[0]: value
            for species, value in config["solar_abundance_of_molecules"].items()
        }
        solar = np.array([abundance[species.split()[0]] for species in lines["species"]])
        theta = 5040.0 / np.array(config["cut"]["temperatures"])
        strength = (lines["log_gf"] + solar - 7.5)[:, None] - lines["excitation"][:, None] * theta
        assert strength.max(axis=1).min() > config["cut"]["threshold"]

    def test_molecules_can_be_left_out(self, lines):
        atoms = relevant(lines, 8000.0)
        left_out = set(lines["species"]) - set(atoms["species"])
        assert left_out == {"MgH 1", "CH 1", "C2 1", "TiO 1"}
        warm = set(relevant(lines, 5500.0)["species"])
        assert set(lines["species"]) - warm == {"TiO 1"}
        assert len(atoms) == sum(species not in left_out for species in lines["species"])

    def test_it_is_the_same_every_time(self, inputs_root, lines):
        assert digest(assemble(inputs_root, calibrated=False)) == digest(lines)


def test_wavelengths_in_air_agree_with_another_formula():
    vacuum = np.linspace(4900, 5500, 50)
    other = vac_to_air(vacuum * u.AA, method="Morton2000").to_value(u.AA)
    np.testing.assert_allclose(air_from_vacuum(vacuum), other, rtol=0, atol=1e-3)


class TestTheDigest:
    lines = np.array([("Fe 1", 5200.0, 2.0, -1.0, 8.0, -6.0, -7.5, "a"),
                      ("Mg 1", 5183.6, 2.7, -0.2, 8.0, -6.0, -7.2, "b")], dtype=DTYPE)

    @pytest.mark.parametrize("field", ["wavelength", "excitation", "log_gf", "gamma_rad",
                                       "gamma_stark", "gamma_vdw"])  # fmt: skip
    def test_it_changes_with_every_number(self, field):
        changed = self.lines.copy()
        changed[field][1] += 0.01
        assert digest(changed) != digest(self.lines)

    def test_it_does_not_change_with_where_a_line_was_found(self):
        changed = self.lines.copy()
        changed["source"] = "c"
        assert digest(changed) == digest(self.lines)


class TestMadeUpSources:
    """Small files in the formats of the real ones."""

    def assemble(self, root, sources, **changes):
        for number, source in enumerate(sources):
            source.setdefault("name", f"source {number}")
            source.setdefault("medium", "air")
        config = configuration() | {"source": sources, "shift": [], "remove": []} | changes
        return assemble(root, config)

    def vald(self, root, name, *rows):
        text = "".join(
            VALD.format(species=species, wave=wave, energy=energy, gf=gf)
            for species, wave, energy, gf in rows
        )
        (root / name).write_text("VALD header\n" + text + "* a footnote\n")
        return {"file": name, "format": "vald-short"}

    def moog(self, root, name, text, **options):
        (root / name).write_text(text)
        return {"file": name, "format": "moog"} | options

    def test_a_vald_line_is_read_whole(self, tmp_path):
        source = self.vald(tmp_path, "v", ("Fe 1", 5200.5, 2.25, -1.5))
        (line,) = self.assemble(tmp_path, [source])
        assert line.tolist() == ("Fe 1", 5200.5, 2.25, -1.5, 8.2, -6.1, -7.5, "source 0")

    def test_vacuum_wavelengths_become_those_of_air(self, tmp_path):
        source = self.vald(tmp_path, "v", ("Fe 1", 5200.5, 2.25, -1.5)) | {"medium": "vacuum"}
        (line,) = self.assemble(tmp_path, [source])
        assert line["wavelength"] == pytest.approx(5200.5 - 1.448, abs=1e-3)

    def test_the_first_source_that_has_a_line_wins(self, tmp_path):
        first = self.vald(tmp_path, "a", ("Fe 1", 5200.5, 2.25, -1.5))
        second = self.vald(tmp_path, "b",
            ("Fe 1", 5200.51, 2.26, -9.0),  # the same line
            ("Fe 1", 5200.53, 2.25, -1.6),  # too far away
            ("Fe 1", 5200.5, 2.30, -1.7),  # another level
            ("Fe 2", 5200.5, 2.25, -1.8),  # another species
        )  # fmt: skip
        lines = self.assemble(tmp_path, [first, second])
        assert sorted(lines["log_gf"]) == [-1.8, -1.7, -1.6, -1.5]

    def test_two_lines_of_one_source_are_both_kept(self, tmp_path):
        rows = [("Fe 1", 5200.5, 2.25, -1.5), ("Fe 1", 5200.5, 2.25, -1.6)]
        assert len(self.assemble(tmp_path, [self.vald(tmp_path, "a", *rows)])) == 2

    def test_lines_outside_the_range_are_left_out(self, tmp_path):
        rows = [("Fe 1", wave, 2.25, -1.5) for wave in (5003.9, 5004.1, 5415.9, 5416.1)]
        lines = self.assemble(tmp_path, [self.vald(tmp_path, "a", *rows)])
        assert lines["wavelength"].tolist() == [5004.1, 5415.9]

    @pytest.mark.parametrize(("energy", "gf", "kept"), [
        (0.0, -7.8, True), (0.0, -8.0, False),  # iron: A - 7.5 is 0
        (5.0, -4.6, True), (5.0, -4.9, False),  # populated at 8000 K only
    ])  # fmt: skip
    def test_lines_that_are_weak_everywhere_are_cut(self, energy, gf, kept, tmp_path):
        source = self.vald(tmp_path, "a", ("Fe 1", 5200.5, energy, gf))
        assert len(self.assemble(tmp_path, [source])) == kept

    def test_moog_species_are_those_of_vald(self, tmp_path):
        text = "a title\n5200.5 26.0 2.25 -1.5\n5201.5 22.1 1.0 -1.2 -7.8\n"
        lines = self.assemble(tmp_path, [self.moog(tmp_path, "m", text)])
        assert lines["species"].tolist() == ["Fe 1", "Ti 2"]
        assert lines["gamma_vdw"].tolist() == [0.0, -7.8]

    def test_a_fifth_column_that_is_no_damping_is_not_read(self, tmp_path):
        text = "5201.5 22.1 1.0 -1.2 7.8\n"
        (line,) = self.assemble(tmp_path, [self.moog(tmp_path, "m", text, damping=False)])
        assert line["gamma_vdw"] == 0.0

    def test_components_of_hyperfine_structure_are_left_to_their_sum(self, tmp_path):
        text = "5201.5 25.0 1.0 -1.2\n5201.6 25.0055 1.0 -1.2\n5201.7 63.1151 1.0 -1.2\n"
        lines = self.assemble(tmp_path, [self.moog(tmp_path, "m", text)])
        assert lines["wavelength"].tolist() == [5201.5]

    def test_isotopologues_get_their_share(self, tmp_path):
        text = ("5201.5 112.00124 1.0 -1.0\n5201.6 112.00126 1.0 -1.0\n"
                "5201.7 106.00112 1.0 -1.0\n5201.8 822.01646 1.0 -1.0\n")  # fmt: skip
        source = self.moog(tmp_path, "m", text, species=["MgH 1"])
        lines = self.assemble(tmp_path, [source])
        assert lines["species"].tolist() == ["MgH 1", "MgH 1"]
        shares = 10 ** (lines["log_gf"] + 1.0)
        np.testing.assert_allclose(shares, [0.7899, 0.1101], rtol=1e-6)

    def test_a_rule_touches_only_what_it_names(self, tmp_path):
        rows = [("Fe 1", 5200.5, 2.25, -1.5), ("Fe 1", 5210.5, 2.25, -1.5),
                ("Fe 2", 5200.5, 2.25, -1.5)]  # fmt: skip
        source = self.vald(tmp_path, "a", *rows)
        rule = {"species": "Fe 1", "wavelengths": [5200.505]}
        gone = self.assemble(tmp_path, [source], remove=[rule])
        assert gone[["species", "wavelength"]].tolist() == [("Fe 2", 5200.5), ("Fe 1", 5210.5)]
        moved = self.assemble(tmp_path, [source], shift=[{"source": "source 0", "log_gf": 0.5}])
        assert set(moved["log_gf"]) == {-1.0}

    def test_a_missing_source_is_told_with_what_to_do(self, tmp_path):
        source = {"file": "none.txt", "format": "moog", "name": "mine"}
        message = re.escape(str(tmp_path / "none.txt")) + ".*'mine'.*harpsstar synth inputs"
        with pytest.raises(InputsMissingError, match=message):
            self.assemble(tmp_path, [source])

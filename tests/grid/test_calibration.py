"""Calibration on the Sun: what was changed on purpose is found again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from harpsstar.errors import ReadError
from harpsstar.grid import atlas9, calibration, synthesis
from harpsstar.grid.calibration import SUN, Observed
from harpsstar.model import linelist


class TestGroups:
    """Lines that are moved in one synthesis do not touch each other."""

    centres = np.random.default_rng(3).uniform(5010, 5030, 300)
    reach = np.random.default_rng(4).uniform(0.1, 0.8, 300)

    def test_every_line_is_in_one_group(self):
        found = np.concatenate(calibration.groups(self.centres, self.reach))
        assert sorted(found) == list(range(300))

    def test_no_two_windows_of_a_group_overlap(self):
        for members in calibration.groups(self.centres, self.reach):
            low = self.centres[members] - self.reach[members]
            high = self.centres[members] + self.reach[members]
            assert np.all(low[1:] > high[:-1])

    def test_lines_far_apart_need_one_group(self):
        assert len(calibration.groups(np.arange(0.0, 50.0), np.full(50, 0.4))) == 1


class TestDeltas:
    """Corrections go to the lines they were made for, and nowhere else."""

    @pytest.fixture(scope="class")
    def before(self, inputs_root):
        return linelist.assemble(inputs_root, calibrated=False)

    def test_a_file_gives_back_what_was_written(self, before, tmp_path):
        deltas = np.zeros(5, linelist.DELTA_DTYPE)
        for name in ("species", "wavelength", "excitation", "source", "log_gf"):
            deltas[name] = before[name][:5]
        deltas["delta_log_gf"] = [0.1, -0.2, 0.3, 0.0, -0.05]
        linelist.write_deltas(deltas, tmp_path / "d.ecsv", {"what": "a test"})
        back = linelist.read_deltas(tmp_path / "d.ecsv")
        assert back["species"].tolist() == deltas["species"].tolist()
        np.testing.assert_allclose(back["delta_log_gf"], deltas["delta_log_gf"], atol=1e-4)
        moved = linelist.apply_deltas(before, back)
        assert (moved["log_gf"].sum() - before["log_gf"].sum()) == pytest.approx(0.15, abs=1e-6)

    def test_the_packaged_ones_all_find_their_line(self, before):
        deltas = linelist.solar_deltas()
        assert set(linelist.keys(deltas)) <= set(linelist.keys(before))
        assert len(set(linelist.keys(deltas))) == len(deltas)

    def test_damping_of_a_line_without_any_stays_away(self, before):
        moved = linelist.shifted(before, 0.0, 0.0, 0.1)
        none = before["gamma_vdw"] == 0
        assert none.any()
        assert np.all(moved["gamma_vdw"][none] == 0)
        given = before["gamma_vdw"] < 0
        np.testing.assert_allclose(moved["gamma_vdw"][given] - before["gamma_vdw"][given], 0.1)

    def test_abo_widths_keep_their_exponent(self, before):
        abo = before["gamma_vdw"] > 0
        moved = linelist.shifted(before, 0.0, 0.0, np.log10(2.0))["gamma_vdw"][abo]
        old = before["gamma_vdw"][abo]
        np.testing.assert_allclose(moved % 1, old % 1, atol=1e-6)
        np.testing.assert_allclose(moved // 1, 2 * (old // 1), atol=1)


def test_a_text_file_must_come_with_its_resolving_power(tmp_path):
    (tmp_path / "sun.txt").write_text("5100 1\n5100.01 1\n")
    with pytest.raises(ReadError, match="--gap-resolution"):
        calibration.solar_spectrum(tmp_path / "sun.txt")
    (tmp_path / "bad.txt").write_text("5100 one\n")
    with pytest.raises(ReadError, match="two columns"):
        calibration.solar_spectrum(tmp_path / "bad.txt", 90000.0)


@pytest.mark.slow
def test_a_strength_and_a_wavelength_that_were_changed_are_found(inputs_root):
    """A Sun made with other line data than the list has, and a sloping continuum."""
    pytest.importorskip("pysme")
    every = linelist.assemble(inputs_root, calibrated=False)
    iron = every[(every["species"] == "Fe 1") & (every["source"] == "korg-vald")]
    strong = np.argsort(-(iron["log_gf"] - 0.9 * iron["excitation"]))
    # weak enough that theory does not hold their strengths
    lines = np.sort(iron[strong[[200, 240, 280]]], order="wavelength")
    sun = atlas9.interpolate(
        atlas9.find_decks(inputs_root), SUN["teff"], SUN["logg"], SUN["m_h"]
    )
    truth = linelist.shifted(lines, [0.15, 0.0, -0.1], [0.0, 0.004, 0.0], 0.0)
    flux = synthesis.synthesize(sun, truth, vmic=SUN["vmic"]).astype(float)
    wave = np.arange(5011.0, 5409.0, 0.01)
    blank = Observed(wave, np.ones_like(wave), np.full_like(wave, 0.002), 115000.0, "mock")
    view = calibration._View(blank, calibration.configuration())
    seen = (1 - view.absorb((1 - flux)[None])[0]) * (2 + (wave - 5200) / 400)
    observed = Observed(wave, seen, np.full_like(wave, 0.002), 115000.0, "mock")
    with ThreadPoolExecutor(1) as pool:
        done = calibration.calibrate(lines, sun, [observed], pool)
    found = np.sort(done.deltas, order="wavelength")
    np.testing.assert_allclose(found["delta_log_gf"], [0.15, 0.0, -0.1], atol=0.03)
    # the velocity is fitted as well: with three lines only, what they share could be either
    moved = found["delta_wavelength"] - found["delta_wavelength"][0]
    better = linelist.shifted(lines, found["delta_log_gf"], moved, found["delta_log_vdw"])
    wrong, left = (
        np.std(synthesis.synthesize(sun, these, vmic=vmic) - flux)
        for these, vmic in ((lines, SUN["vmic"]), (better, done.vmic))
    )
    assert left < 0.2 * wrong
    np.testing.assert_allclose(moved, [0.0, 0.004, 0.0], atol=0.001)

"""Where the model fails: what was taken out of a made-up spectrum is found, measured and named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.table import Table
from typer.testing import CliRunner

from harpsstar import plotting
from harpsstar.cli import app
from harpsstar.errors import InputsMissingError, OutputError
from harpsstar.evaluate import line_plots, line_tables, lines
from harpsstar.infer.prepare import _UNKNOWN, Prepared
from harpsstar.labels import NAMES
from harpsstar.model import linelist, opacity
from harpsstar.model.emulator import Emulator
from harpsstar.spectra.frame import C_KM_S, Canonical, canonical_wavelengths
from harpsstar.spectra.velocity import Velocity

LOG0, STEP, N_WAVE = float(np.log(5010.0)), 2e-6, 38400
GRID_WAVE = np.exp(LOG0 + STEP * np.arange(N_WAVE))
#: Lines that every star has, Å, and their depth without broadening.
CENTRES, DEPTH = np.arange(5028.0, 5392.0, 1.7), 0.4
STAR = {"teff": 5800.0, "logg": 4.4, "m_h": 0.0, "vsini": 2.0, "vmic": 1.2, "vmac": 3.0,
        "alpha": 0.0}  # fmt: skip
RV = 0.15
EXAMPLE = Path(__file__).parents[2] / "docs/examples/HARPN.mock-g2v_e2ds_A.fits"


def spectrum_of(centres, depth=DEPTH):
    """Gaussian lines of 2 km/s on the emulator's grid."""
    flux = np.ones(N_WAVE)
    for centre in np.atleast_1d(centres):
        flux -= depth * np.exp(-0.5 * ((GRID_WAVE / centre - 1) * C_KM_S / 2.0) ** 2)
    return flux


def width_of(depth=DEPTH, centre=5200.0):
    """Equivalent width of one such line, mÅ."""
    return 1e3 * depth * np.sqrt(2 * np.pi) * 2.0 / C_KM_S * centre


def emulator_of(flux):
    """An emulator of two temperatures with nearly the same spectrum."""
    axes = torch.cartesian_prod(
        torch.tensor([5500.0, 6000.0]), torch.tensor([4.0, 4.5]), torch.tensor([-0.5, 0.5]),
        torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.4]),
    )  # fmt: skip
    coefficients = 1e-6 * axes[:, :1]
    return Emulator(
        axes, torch.from_numpy(flux).float(), torch.ones(1, N_WAVE), coefficients,
        log_wave0=LOG0, log_step=STEP,
    )  # fmt: skip


def observed(centres, *, snr=500.0, seed=0, rv=RV, lost=()):
    """A prepared spectrum with lines at `centres`, a bent continuum and noise."""
    wave = canonical_wavelengths()
    star = emulator_of(spectrum_of(centres))
    labels = torch.tensor([[STAR[name] for name in NAMES]])
    with torch.no_grad():
        flux = star.at(wave, labels, vmic=1.2, vmac=3.0, rv=torch.tensor([rv]))[0].numpy()
    x = np.linspace(-1, 1, wave.shape[1])
    level = 2.0 * np.exp(0.4 * x - 0.3 * x**2)
    noise = np.random.default_rng(seed).normal(0, 1 / snr, wave.shape)
    ivar = np.broadcast_to((snr / level) ** 2, wave.shape).copy()
    for low, high in lost:
        ivar[(wave > low) & (wave < high)] = 0.0
    flux = np.where(ivar > 0, (flux + noise) * level, 0.0)
    velocity = Velocity(10.0, 0.1, (5800.0, 4.4, 0.0, 2.0), 1.2, 1.0, 1.0, 0.0, 99.0, 1.0, 9,
                        np.zeros(1), np.zeros(1))  # fmt: skip
    canonical = Canonical(flux.astype(np.float32), ivar.astype(np.float32), 10.0)
    return Prepared("a/star.fits", _UNKNOWN, velocity, canonical)


def list_of(centres, species="Fe 1", log_gf=-1.0):
    out = np.zeros(len(centres), dtype=lines.LINE_DTYPE)
    out["species"], out["wavelength"], out["log_gf"] = species, centres, log_gf
    out["excitation"], out["delta_log_gf"], out["source"] = 4.0, 0.1, "made-up"
    return out


@pytest.fixture(scope="module")
def emulator():
    return emulator_of(spectrum_of(CENTRES))


MISSING, EXTRA = CENTRES[[40, 120]], np.array([5101.95])


@pytest.fixture(scope="module")
def result(emulator):
    """The star lacks two of the model's lines and has one that the model lacks."""
    seen = np.append(np.setdiff1d(CENTRES, MISSING), EXTRA)
    known = np.sort(np.concatenate([
        list_of(CENTRES), list_of(EXTRA, "Ti 2"), list_of(CENTRES + 0.3, "Nd 1", -6.0)
    ]), order="wavelength")  # fmt: skip
    return lines.compare(observed(seen), emulator, STAR, known, list_name="a list")


def test_what_differs_is_found_and_measured(result):
    assert len(result.stretches) == 3
    for centre, sign in ((MISSING[0], -1), (MISSING[1], -1), (EXTRA[0], 1)):
        (found,) = (s for s in result.stretches if s.low < centre < s.high)
        assert found.wavelength == pytest.approx(centre, abs=0.03)
        assert found.width == pytest.approx(sign * width_of(centre=centre), rel=0.1)
        assert np.sign(found.residual) == -sign
        assert 0 < found.width_err < 0.02 * abs(found.width)
    widths = [abs(s.width) for s in result.stretches]
    assert widths == sorted(widths, reverse=True)


def test_and_named(result):
    for stretch in result.stretches:
        best = stretch.lines[0]
        assert abs(best["wavelength"] - stretch.wavelength) < 0.03
        assert str(best["species"]) == ("Ti 2" if stretch.width > 0 else "Fe 1")
    assert opacity.name_of(list_of(EXTRA, "Ti 2")[0]) == "Ti II 5101.95"
    assert opacity.name_of(list_of(EXTRA, "MgH 1")[0]) == "MgH 5101.95"


def test_velocity_and_continuum_are_fitted_too(result):
    assert result.star["rv"] == pytest.approx(10.0 + RV, abs=0.02)
    assert result.median < 0.003
    assert np.nanmedian(abs(result.flux - result.model)) == pytest.approx(result.median)


def test_noise_alone_is_nothing(emulator):
    for snr in (30.0, 300.0):
        found = lines.compare(observed(CENTRES, snr=snr), emulator, STAR, list_of(CENTRES),
                              threshold=3.0)  # fmt: skip
        assert found.stretches == ()
        assert found.scatter < 1 / snr


def test_what_was_lost_is_not_compared(emulator):
    gap = (MISSING[0] - 2.0, MISSING[0] + 2.0)
    found = lines.compare(
        observed(np.setdiff1d(CENTRES, MISSING), lost=[gap]), emulator, STAR, list_of(CENTRES)
    )
    inside = (found.wave > gap[0]) & (found.wave < gap[1])
    assert np.isnan(found.flux[inside]).all()
    assert not any(gap[0] < s.wavelength < gap[1] for s in found.stretches)
    assert any(s.low < MISSING[1] < s.high for s in found.stretches)


def test_every_wavelength_belongs_to_one_order():
    wave = canonical_wavelengths()
    owned = [row[mine] for row, mine in zip(wave, lines._owned(wave), strict=True)]
    for first, second in zip(owned[:-1], owned[1:], strict=True):
        assert 0 < second[0] - first[-1] < 0.04
    assert (owned[0][0], owned[-1][-1]) == (wave.min(), wave.max())


def test_a_higher_threshold_finds_less(emulator):
    seen = observed(np.setdiff1d(CENTRES, MISSING), snr=100.0)
    counts = [len(lines.compare(seen, emulator, STAR, list_of(CENTRES), threshold=k).stretches)
              for k in (2.0, 4.0, 1e6)]  # fmt: skip
    assert counts[0] >= counts[1] >= counts[2] == 0
    assert counts[1] == len(MISSING)


def test_strength_follows_temperature_and_ionisation():
    some = np.concatenate([list_of([5100.0], name) for name in ("Fe 1", "Fe 2", "C2 1")])
    cool, warm = (lines.strength(some, teff, 4.4) for teff in (4500.0, 6500.0))
    assert warm[1] - warm[0] > cool[1] - cool[0]
    assert warm[2] - warm[0] < cool[2] - cool[0]
    dwarf, giant = (lines.strength(some, 4800.0, logg) for logg in (4.5, 2.0))
    assert giant[1] - giant[0] > dwarf[1] - dwarf[0]
    stronger = list_of([5100.0], log_gf=0.0)
    assert lines.strength(stronger, 5800.0, 4.4) - lines.strength(some[:1], 5800.0, 4.4) == (
        pytest.approx(1.0)
    )


def test_molecules_that_a_star_dissociates_are_not_named(emulator):
    seen = observed(np.append(CENTRES, EXTRA))
    known = np.concatenate([list_of(EXTRA, "TiO 1", 1.0), list_of(EXTRA, "Y 2", -3.0)])
    (found,) = lines.compare(seen, emulator, STAR, known).stretches
    assert [str(line["species"]) for line in found.lines] == ["Y 2"]


def test_lines_meet_their_calibration():
    raw = np.zeros(3, dtype=linelist.DTYPE)
    raw["species"], raw["wavelength"] = "Fe 1", [5100.0, 5101.0, 5102.0]
    raw["log_gf"], raw["excitation"] = -2.0, 3.0
    deltas = np.zeros(1, dtype=linelist.DELTA_DTYPE)
    deltas["species"], deltas["wavelength"], deltas["excitation"] = "Fe 1", 5101.0, 3.0
    deltas["delta_log_gf"], deltas["delta_wavelength"] = 0.3, -0.004
    found = lines.calibrated_lines(raw, deltas)
    np.testing.assert_allclose(found["delta_log_gf"], [np.nan, 0.3, np.nan])
    np.testing.assert_allclose(found["log_gf"], [-2.0, -1.7, -2.0])
    np.testing.assert_allclose(found["wavelength"], [5100.0, 5100.996, 5102.0])
    applied = linelist.apply_deltas(raw, deltas)
    np.testing.assert_allclose(found["log_gf"], applied["log_gf"])


def test_the_table_has_units_and_says_what_it_is_of(result, tmp_path):
    line_tables.write(result, tmp_path / "lines.ecsv")
    table = Table.read(tmp_path / "lines.ecsv")
    assert table.colnames == [name for name, *_ in line_tables.COLUMNS]
    assert {name: str(table[name].unit) for name in ("wavelength", "width", "log_gf")} == {
        "wavelength": "Angstrom", "width": "mAngstrom", "log_gf": "dex",
    }  # fmt: skip
    np.testing.assert_allclose(table["width"], [s.width for s in result.stretches])
    assert set(table["species"]) == {"Fe 1", "Ti 2"}
    assert table.meta["file"] == "star.fits"
    assert table.meta["star"]["teff"] == 5800.0
    line_tables.write(dataclasses.replace(result, stretches=()), tmp_path / "lines.ecsv")
    assert len(Table.read(tmp_path / "lines.ecsv")) == 0


@pytest.mark.parametrize("suffix", plotting.FORMATS)
def test_the_picture(result, tmp_path, suffix):
    pytest.importorskip("matplotlib")
    first = np.where(np.arange(len(result.wave))[:, None] == 0, result.flux, np.nan)
    one = dataclasses.replace(result, flux=first)
    line_plots.draw(one, tmp_path / f"lines{suffix}", n_named=2)
    head = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}[suffix]
    assert (tmp_path / f"lines{suffix}").read_bytes().startswith(head)


def test_every_place_is_in_the_picture(result):
    pytest.importorskip("matplotlib")
    figure = line_plots.figure(result)
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert len(texts) == len(result.stretches)
    assert any(text.startswith("Ti II 5101.95") for text in texts)
    assert len(figure.axes) == 2 * len(result.wave)


def test_names_are_moved_apart():
    wanted = np.sort(np.random.default_rng(3).uniform(0, 10, 25))
    for n, least in ((25, 0.2), (25, 5.0), (1, 0.5), (0, 0.5)):
        places = plotting.apart(wanted[:n], least, 0.0, 10.0)
        assert len(places) == n
        assert (np.diff(places) >= min(least, 10.0 / (n + 1)) - 1e-9).all()
        assert ((places >= 0) & (places <= 10)).all()
    np.testing.assert_allclose(plotting.apart(np.array([2.0, 5.0]), 0.5, 0, 10), [2.0, 5.0])


def test_outputs_that_cannot_be_are_refused_before_the_work(tmp_path):
    for output, plot in (
        (tmp_path / "a.txt", None), (tmp_path / "none" / "a.ecsv", None),
        (None, tmp_path / "a.gif"), (None, tmp_path / "none" / "a.png"),
    ):  # fmt: skip
        with pytest.raises((OutputError, InputsMissingError)):
            line_tables.check_and_write("none.fits", tmp_path, output=output, plot=plot)


class TestCommand:
    def run(self, *arguments):
        return CliRunner().invoke(app, ["synth", "lines", *map(str, arguments)])

    def test_summary_without_inputs(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HARPSSTAR_CACHE", str(tmp_path))
        result = self.run()
        assert result.exit_code == 0
        n = len(linelist.solar_deltas())
        assert f"{n} lines, {n} with a solar correction" in result.stdout
        assert "harpsstar synth inputs" in result.stdout

    @pytest.mark.slow
    def test_a_mock_spectrum_agrees_with_the_emulator(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HARPSSTAR_CACHE", str(tmp_path))
        output = tmp_path / "lines.ecsv"
        result = self.run("--check", EXAMPLE, "--teff", 5000, "--logg", 4.0, "--m-h", 0.0,
                          "--vsini", 3.0, "-o", output, "-n", 2)  # fmt: skip
        assert result.exit_code == 0, result.stderr
        assert "only the lines with solar corrections" in result.stdout
        assert "the 2 largest of" in result.stdout
        assert len(Table.read(output)) > 2

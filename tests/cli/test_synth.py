"""``harpsstar synth``: inputs, the grid, mock observations."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from harpsstar.cli import _progress, app
from harpsstar.cli.exit import ExitCode
from harpsstar.grid import build, inputs
from harpsstar.io import read
from harpsstar.labels import LABELS
from harpsstar.mock import FORMATS, observe, observe_star
from harpsstar.model.emulator import Emulator
from harpsstar.model.relations import vmac_relation, vmic_relation
from tests.grid.server import serve

SUN = ("--teff", 5772, "--logg", 4.44)


def synth(*arguments):
    return CliRunner().invoke(app, ["synth", *map(str, arguments)])


class Clock:
    """Seconds that pass when told."""

    now = 0.0

    def __call__(self):
        return self.now


class TestProgress:
    """Lines where there is no terminal."""

    def lines(self, reports, capsys, every=30.0):
        clock = Clock()
        with _progress.Stages(every=every, clock=clock) as progress:
            for seconds, *report in reports:
                clock.now = seconds
                progress(*report)
        return capsys.readouterr().err.splitlines()

    def test_rate_and_time_left_are_those_since_the_last_line(self, capsys):
        reports = [(0, "nodes", 100, 1771), (10, "nodes", 110, 1771), (60, "nodes", 130, 1771)]
        assert self.lines(reports, capsys) == [
            "nodes 100/1771", "nodes 130/1771, 2.0 s each, 55 min left"
        ]  # fmt: skip

    def test_a_stage_begins_and_ends_with_a_line(self, capsys):
        reports = [(i, stage, i, 4, "fine") for stage in ("a", "b") for i in range(5)]
        assert self.lines(reports, capsys) == [
            f"{stage} {end}, fine" for stage in ("a", "b") for end in ("0/4", "4/4, 1.0/s")
        ]

    def test_long_times_are_told_in_hours(self, capsys):
        reports = [(0, "nodes", 0, 3542), (60, "nodes", 20, 3542)]
        assert self.lines(reports, capsys)[1].endswith("3.0 s each, 2 h 56 min left")

    def test_ctrl_c_says_how_to_go_on(self, capsys):
        import typer

        with pytest.raises(typer.Exit) as caught, _progress.Stages():
            raise KeyboardInterrupt
        assert caught.value.exit_code == ExitCode.INTERRUPTED
        assert "run the same command again to continue" in capsys.readouterr().err

    def test_other_errors_pass(self):
        with pytest.raises(ZeroDivisionError), _progress.Stages():
            raise ZeroDivisionError


class TestInputs:
    @pytest.fixture
    def served(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HARPSSTAR_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(inputs, "_RETRIES", 0)
        with serve(tmp_path / "web") as running:
            monkeypatch.setattr(inputs, "registry", lambda: running.inputs)
            yield running

    def test_they_are_fetched_and_listed(self, served, tmp_path):
        result = synth("inputs")
        assert result.exit_code == ExitCode.OK
        assert "fetching 12/12" in result.stderr
        assert "12 of 12 files" in result.stdout
        assert (tmp_path / "cache/lines/a list.txt").is_file()

    def test_listing_fetches_nothing(self, served, tmp_path):
        result = synth("inputs", "--list")
        assert result.exit_code == ExitCode.OK
        assert served.asked == []
        assert not (tmp_path / "cache").exists()
        for text in ("decks/grid0", "0/6", "decks/grid1", "0/5", "lines", "0/1",
                     "someone/something@0", "MIT", "Someone 2020", served.inputs[-1].sha256,
                     f"in {tmp_path / 'cache'}: 0 of 12 files"):  # fmt: skip
            assert text in result.stdout

    def test_they_move_to_another_computer_as_one_archive(self, served, tmp_path, monkeypatch):
        assert synth("inputs", "--archive", tmp_path / "all.zip").exit_code == ExitCode.OK
        served.asked.clear()
        monkeypatch.setenv("HARPSSTAR_CACHE", str(tmp_path / "elsewhere"))
        result = synth("inputs", "--from", tmp_path / "all.zip")
        assert result.exit_code == ExitCode.OK
        assert "12 of 12 files" in result.stdout
        assert served.asked == []
        result = synth("inputs", "--from", tmp_path / "none", "--list")
        assert result.exit_code == ExitCode.OK

    def test_what_cannot_be_had_is_code_2_and_no_traceback(self, served):
        (served.folder / "decks/grid0/4.dat").unlink()
        result = synth("inputs")
        assert result.exit_code == ExitCode.NOTHING_DONE
        assert "4.dat: cannot be fetched (404" in result.stderr
        assert "it resumes" in result.stderr

    def test_the_packaged_registry_is_listed_by_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HARPSSTAR_CACHE", str(tmp_path))
        result = synth("inputs", "--list")
        assert result.stdout.count("0/253") == 8
        for source in inputs.sources():
            assert source.citation in result.stdout
            assert source.origin in result.stdout


class TestGrid:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HARPSSTAR_CACHE", str(tmp_path / "cache"))
        monkeypatch.chdir(tmp_path)

    def run(self, monkeypatch, compute, *arguments):
        """Run with a stand-in for the hours of computing."""
        told = {}

        def compress(root, folder, output, *, vmic, alpha, **options):
            told.update(root=root, nodes=folder, output=output, compressed=(vmic, alpha))
            return {"residual_rms": "5.0e-04"}

        def stand_in(root, folder, **options):
            told.update(options, folder=folder)
            return compute(folder, **options)

        monkeypatch.setattr(build, "compute", stand_in)
        monkeypatch.setattr(build, "compress", compress)
        return synth("grid", *arguments), told

    def test_options_reach_the_computation(self, monkeypatch, tmp_path):
        def compute(folder, progress, **options):
            progress(3, 4)
            progress(4, 4)
            return folder / "nodes"

        result, told = self.run(monkeypatch, compute, "-o", "mine.safetensors", "--jobs", 3)
        assert result.exit_code == ExitCode.OK
        assert (told["vmic"], told["alpha"], told["jobs"]) == (build.VMIC, build.ALPHA, 3)
        assert told["compressed"] == (build.VMIC, build.ALPHA)
        assert told["folder"] == Path("work-mine")
        assert told["nodes"] == Path("work-mine/nodes")
        assert told["root"] == tmp_path / "cache"
        assert "nodes 4/4" in result.stderr
        assert "wrote mine.safetensors" in result.stderr
        result, told = self.run(monkeypatch, compute, "--vmic", 2, "--vmic", 1, "--vmic", 2,
                                "--alpha", 0.4, "--work", "there")  # fmt: skip
        assert told["compressed"] == (told["vmic"], told["alpha"]) == ((1.0, 2.0), (0.4,))
        assert told["output"] == Path("grid.safetensors")
        assert told["folder"] == Path("there")

    def test_ctrl_c_says_that_the_same_command_resumes(self, monkeypatch):
        def compute(folder, progress, **options):
            raise KeyboardInterrupt

        result, told = self.run(monkeypatch, compute)
        assert result.exit_code == ExitCode.INTERRUPTED
        assert "run the same command again to continue" in result.stderr
        assert "output" not in told

    @pytest.mark.parametrize("output", ["none/grid.safetensors", "."])
    def test_an_output_that_cannot_be_is_told_before_the_work(self, output, monkeypatch):
        def compute(folder, progress, **options):
            raise AssertionError("too late")

        result, _ = self.run(monkeypatch, compute, "-o", output)
        assert result.exit_code == ExitCode.NOTHING_DONE
        assert "folder" in result.stderr

    def test_missing_inputs_are_told_with_what_to_do(self):
        pytest.importorskip("pysme")
        result = synth("grid")
        assert result.exit_code == ExitCode.NOTHING_DONE
        assert "harpsstar synth inputs" in result.stderr


class TestObserve:
    @pytest.mark.parametrize("format", FORMATS)
    def test_every_format_is_what_the_readers_take(self, format, tmp_path):
        path = tmp_path / "star.fits"
        result = synth("observe", *SUN, "--format", format, "--snr", 60, "--target", "HD 1",
                       "--berv", -12.5, "-o", path)  # fmt: skip
        assert result.exit_code == ExitCode.OK
        assert str(path) in result.stderr.replace("\n", "")
        known = read(path).meta["observation"]
        assert (known.target, known.instrument) == ("HD 1", "HARPS-N")
        assert known.berv == pytest.approx(-12.5)
        assert known.snr == pytest.approx(60, rel=0.15)

    def test_it_is_the_emulators_star(self, tmp_path):
        """The file is that of the library with the relations' vmic and vmac."""
        labels = torch.tensor([[6000.0, 4.0, -0.5, 7.0]])
        emulator = Emulator.load()

        def star(wave):
            micro, macro = vmic_relation(*labels[:, :3].T), vmac_relation(*labels[:, :2].T)
            return emulator.at(wave, labels, vmic=micro, vmac=macro, resolution=115000.0)[0].numpy()

        path = tmp_path / "star.fits"
        synth("observe", "--teff", 6000, "--logg", 4, "--m-h", -0.5, "--vsini", 7, "--rv", -30,
              "--seed", 5, "-o", path)  # fmt: skip
        expected = read(observe(star, rv=-30.0, seed=5))
        np.testing.assert_allclose(read(path).flux.value, expected.flux.value, rtol=1e-4, atol=1e-3)

    def test_turbulence_can_be_given(self):
        spectra = [read(observe_star(5500.0, 4.5, 0.0, 1.0, vmic=vmic, vmac=vmac)).flux.value
                   for vmic, vmac in ((None, None), (2.0, None), (None, 9.0))]  # fmt: skip
        assert not np.allclose(spectra[0], spectra[1], rtol=1e-4, equal_nan=True)
        assert not np.allclose(spectra[0], spectra[2], rtol=1e-4, equal_nan=True)

    @pytest.mark.parametrize("format", ["e2ds", "s2d_blaze"])
    def test_its_blaze_file_is_written_beside_it(self, format, tmp_path):
        synth("observe", *SUN, "--format", format, "--blaze", "-o", tmp_path / "star.fits")
        assert len(list(tmp_path.iterdir())) == 2
        assert read(tmp_path / "star.fits").meta["observation"].blaze.startswith("file ")

    @pytest.mark.parametrize(("arguments", "message"), [
        (["--teff", 12000, "--logg", 4], "teff 3500 to 9750 K"),
        (["--teff", 9750, "--logg", 1], r"logg [12](\.5)? to 5 \(at teff 9750 K\)"),
        (["--teff", 5772, "--logg", "nan"], "logg 0 to 5"),
        ([*SUN, "--m-h", 0.8], "m_h -2.5 to 0.5"),
        ([*SUN, "--vmic", 9], r"vmic 0.5 to \d km/s"),
        ([*SUN, "--vsini", 31], "vsini 31 km/s; expected 0 to 30 km/s"),
        ([*SUN, "--vsini", -1], "expected 0 to 30 km/s"),
        ([*SUN, "--vmac", -1], "vmac -1 km/s; expected 0 to 10 km/s"),
        ([*SUN, "--rv", 900], "rv 900 km/s; expected -300 to 300 km/s"),
        ([*SUN, "--snr", 0], "signal to noise 0"),
        ([*SUN, "--format", "jpeg"], "e2ds, s1d, s2d"),
        ([*SUN, "--instrument", "UVES"], "UVES"),
        ([*SUN, "--instrument", "ESPRESSO"], "use HARPS-N or HARPS"),
        (["--teff", 5772], "--logg of the star, or --night"),
        ([*SUN, "--water", 99], "water 99; expected 0 to 50"),
        ([*SUN, "--airmass", 0.5], "airmass 0.5; expected 1 to 5"),
        ([*SUN, "--companion", 4500, 4.6, 900, 0.1], "rv 900 km/s"),
        ([*SUN, "--companion", 1500, 4.6, 0, 0.1], "teff 3500 to 9750 K"),
    ])  # fmt: skip
    def test_impossible_stars_are_refused_with_the_range(self, arguments, message, tmp_path):
        result = synth("observe", *arguments, "-o", tmp_path / "star.fits")
        assert result.exit_code == ExitCode.NOTHING_DONE
        assert re.search(message, result.stderr)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("arguments", [
        ("--water", 20, "--airmass", 2), ("--cosmics", 3), ("--moon", 0.2), ("--drift", 300),
        ("--companion", 4500, 4.6, 50, 0.2),
    ])  # fmt: skip
    def test_what_light_suffers_changes_the_spectrum_and_nothing_else(self, arguments, tmp_path):
        plain, other = tmp_path / "plain.fits", tmp_path / "other.fits"
        assert synth("observe", *SUN, "--snr", 300, "-o", plain).exit_code == ExitCode.OK
        assert synth("observe", *SUN, "--snr", 300, *arguments, "-o", other).exit_code == 0
        one, two = read(plain), read(other)
        assert not np.allclose(one.flux.value, two.flux.value, rtol=0.01, equal_nan=True)
        np.testing.assert_array_equal(one.spectral_axis.value, two.spectral_axis.value)
        assert one.meta["observation"].snr == two.meta["observation"].snr

    def test_a_gap_is_a_gap(self, tmp_path):
        path = tmp_path / "star.fits"
        synth("observe", *SUN, "--gap", 5304, 5337, "-o", path)
        spectrum = read(path)
        wave = spectrum.spectral_axis.value[~spectrum.mask]
        assert not np.any((wave > 5304) & (wave < 5337))

    def test_a_night_goes_into_a_folder_of_its_own(self, tmp_path):
        arguments = ("observe", "--night", 1, "--seed", 7, "-o", tmp_path / "archive")
        result = synth(*arguments)
        assert result.exit_code == ExitCode.OK
        assert "exposures 1/1" in result.stderr
        (night,) = (tmp_path / "archive").iterdir()
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", night.name)
        assert (night / "truth.ecsv").is_file()
        assert str(night) in result.stderr.replace("\n", "")
        result = synth(*arguments)
        assert result.exit_code == ExitCode.NOTHING_DONE
        assert "holds files already" in result.stderr
        assert synth(*arguments, "--overwrite").exit_code == ExitCode.OK

    def test_the_edges_of_the_ranges_are_allowed(self):
        low, high = ([getattr(label, end) for label in LABELS] for end in ("low", "high"))
        for labels in ([low[0], low[1], *low[2:]], high):
            assert len(observe_star(*labels, rv=300.0, vmac=10.0)) == 1

    def test_a_file_is_replaced_only_on_request(self, tmp_path):
        path = tmp_path / "star.fits"
        path.write_bytes(b"precious")
        arguments = ["observe", *SUN, "-o", path]
        assert synth(*arguments).exit_code == ExitCode.NOTHING_DONE
        assert path.read_bytes() == b"precious"
        assert synth(*arguments, "--overwrite").exit_code == ExitCode.OK
        assert path.read_bytes().startswith(b"SIMPLE")


class TestDataset:
    @pytest.fixture(autouse=True)
    def library(self):
        pytest.importorskip("h5py")

    def test_it_is_made_and_shown(self, tmp_path):
        path = tmp_path / "few.h5"
        result = synth("dataset", "--preset", "paper", "--limit", 80, "-o", path)
        assert result.exit_code == ExitCode.OK
        assert "80 spectra, 0.01 GB" in result.stderr
        assert "spectra 80/80" in result.stderr
        assert "64 to train and 16 to test, 0 duplicate labels" in result.stderr
        pytest.importorskip("matplotlib")
        picture = tmp_path / "picture.png"
        result = synth("show", path, "-o", picture, "--row", 3)
        assert result.exit_code == ExitCode.OK
        assert "spectrum 3 of" in result.stderr
        assert picture.read_bytes().startswith(b"\x89PNG")

    def test_what_cannot_be_done_is_code_2(self, tmp_path):
        path = tmp_path / "few.h5"
        path.write_bytes(b"precious")
        cases = (
            (("dataset", "-o", path), "exists"),
            (("dataset", "--preset", "papre", "-o", tmp_path / "a.h5"), "harpsn, paper"),
            (("dataset", "-o", tmp_path / "none" / "a.h5"), "does not exist"),
            (("show", path, "-o", tmp_path / "a.png"), "not HDF5"),
            (("show", path, "-o", tmp_path / "a.gif"), ".png, .pdf, .svg"),
        )
        for arguments, message in cases:
            result = synth(*arguments)
            assert result.exit_code == ExitCode.NOTHING_DONE
            assert message in result.stderr.replace("\n", " ")
        assert [item.name for item in tmp_path.iterdir()] == ["few.h5"]

"""A mock night: reproducible, readable where it should be, and its truth is true."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from astropy.table import Table

from harpsstar.errors import ConfigError, OutputError, WrongProductError
from harpsstar.io import identify, read
from harpsstar.mock.night import TRUTH, observe_night, plan
from harpsstar.model.emulator import Emulator

SPECTRA = {"e2ds": "e2ds", "s1d": "s1d", "s2d": "S2D", "s2d_blaze": "S2D_BLAZE", "s1d_table": "S1D"}


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    return observe_night(8, tmp_path_factory.mktemp("archive"), seed=4)


@pytest.fixture(scope="module")
def truth(night):
    return Table.read(night / TRUTH)


def hashes(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    nights = {"a": 1, "b": 1, "c": 2}
    first, second, other = (
        observe_night(2, tmp_path / name, seed=seed) for name, seed in nights.items()
    )
    assert hashes(first) == hashes(second)
    assert first.name == second.name
    assert hashes(first) != hashes(other)


def test_every_file_has_a_row_and_every_row_a_file(night, truth):
    on_disk = {path.name for path in night.iterdir()} - {TRUTH}
    assert set(truth["file"]) == on_disk
    assert len(truth) == len(on_disk)
    assert np.sum(truth["kind"] == "e2ds") == 8
    assert {"blaze", "wave", "lamp", "ccf", "fibre B", *SPECTRA} == set(truth["kind"])


def test_spectra_are_read_and_all_else_is_refused(night, truth):
    for row in truth:
        if row["kind"] in SPECTRA:
            assert identify(night / row["file"]) == (SPECTRA[row["kind"]], "HARPS-N")
        else:
            with pytest.raises(WrongProductError):
                identify(night / row["file"])


def test_headers_tell_the_truth_but_for_what_is_said_to_be_wrong(night, truth):
    for row in truth[[kind in SPECTRA for kind in truth["kind"]]][::3]:
        known = read(night / row["file"]).meta["observation"]
        assert known.target == row["target"]
        assert known.berv == pytest.approx(row["berv"], abs=1e-4)
        assert known.snr == pytest.approx(row["snr"], rel=0.2, abs=1.0)
        if row["kind"] in ("s2d", "s2d_blaze", "s1d_table"):
            expected = row["rv"] + row["header_rv_error"]
            assert known.rv_header == pytest.approx(expected, abs=1e-4)


def test_the_blaze_files_of_both_pipelines_are_found(night, truth):
    for kind in ("e2ds", "s2d_blaze"):
        file = truth["file"][truth["kind"] == kind][0]
        assert read(night / file).meta["observation"].blaze.startswith("file ")


def test_a_night_of_any_length_is_drawn_within_the_grid_and_the_night():
    emulator = Emulator.load()
    for n in (1, 7, 300):
        plans = plan(n, 5, emulator)
        assert len(plans) == n
        times = [item.when.start for item in plans]
        assert times == sorted(set(times))
        assert (np.datetime64(times[-1]) - np.datetime64(times[0])) < np.timedelta64(10, "h")
        assert all(abs(item.berv) < 31 for item in plans)
    kinds = {"moon": 0, "companion": 0, "formats": 0}
    for item in plans:
        kinds["moon"] += item.moon > 0
        kinds["companion"] += item.companion > 0
        kinds["formats"] += bool(item.formats)
    assert min(kinds.values()) > 30


def test_a_night_is_not_mixed_with_another(night, tmp_path):
    with pytest.raises(OutputError, match="holds files already"):
        observe_night(8, night.parent, seed=4)
    for n in (0, 2001):
        with pytest.raises(ConfigError, match="1 to 2000"):
            observe_night(n, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_harps_has_nights_too(tmp_path):
    night = observe_night(1, tmp_path, seed=1, instrument="HARPS")
    truth = Table.read(night / TRUTH)
    file = truth["file"][truth["kind"] == "e2ds"][0]
    assert file.startswith("HARPS.")
    assert read(night / file).meta["observation"].instrument == "HARPS"

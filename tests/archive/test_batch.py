"""A run gives one row for each input, in order, and one table, whatever happens."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from harpsstar.archive import batch
from harpsstar.archive.batch import Options, plan_files
from harpsstar.archive.discover import Selection
from harpsstar.archive.export import export_journal, read_results
from harpsstar.archive.journal import Journal, StorageError, journal_of
from harpsstar.errors import ConfigError, OutputError, ReadError
from harpsstar.io.given import Given
from harpsstar.io.results import read_table, to_table
from tests.archive.compare import difference
from tests.archive.faults import FAULTS, good


def names(table):
    return [os.path.basename(file) for file in table["file"]]


def same(first, second):
    # products of matrices of another size round differently in single precision
    assert difference(first, second) < 1e-5


def test_rows_come_in_the_order_of_the_inputs(night, predict, tmp_path):
    output = tmp_path / "t.ecsv"
    outcome = predict(night / "c.fits", "none", night, output=output, command="the command")
    table = read_table(output)
    assert names(table) == ["c.fits", "none", "a.fits", "b.fits", "bad.fits"]
    assert table["status"].tolist() == ["ok", "failed", "ok", "ok", "failed"]
    assert (outcome.count("ok"), outcome.count("flagged"), outcome.count("failed")) == (3, 0, 2)
    assert (outcome.total, outcome.output, outcome.resumed) == (5, output, 0)
    assert table.meta["command"] == "the command"


def test_rows_are_told_and_returned_without_an_output(night, predict):
    told = []
    outcome = predict(night, on_event=told.append)
    rows = [event.row for event in told if event.row is not None]
    assert sorted(row.file for row in rows) == [row.file for row in outcome.rows]
    assert [event.facts["number"] for event in told if event.row is not None] == [1, 2, 3, 4]
    assert [event.kind for event in told][-1] == "end"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_a_row_with_the_right_reason(fault, spectrum, predict, tmp_path):
    make, reason = FAULTS[fault]
    (tmp_path / "file.fits").write_bytes(make(spectrum))
    (row,) = predict(tmp_path).rows
    assert row.status == "failed"
    assert reason in row.message
    assert "unexpected" not in row.message


def test_the_batch_size_and_the_order_do_not_matter(predict, tmp_path):
    stars = [{"snr": 20.0}, {"snr": 300.0}, {"rv": 90.0}, {"snr": 50.0, "rv": -60.0}]
    files = [tmp_path / f"{i}.fits" for i in range(len(stars))]
    for path, changes in zip(files, stars, strict=True):
        path.write_bytes(good(seed=1, **changes))
    first = predict(*files, batch=4).rows
    for second in (predict(*files, batch=1).rows, predict(*reversed(files), batch=3).rows[::-1]):
        same(to_table(first), to_table(second))


class TestResume:
    """The same command again does what is left, and nothing else."""

    def counted(self, monkeypatch):
        """Count the files that workers are given."""
        given = []

        def process(inputs, *rest):
            inputs = list(inputs)
            given.extend(item.name for item in inputs)
            return original(inputs, *rest)

        original = batch.process
        monkeypatch.setattr(batch, "process", process)
        return given

    def test_nothing_is_done_twice(self, night, predict, tmp_path, monkeypatch):
        output = tmp_path / "t.ecsv"
        predict(night, output=output)
        first = output.read_bytes()
        given = self.counted(monkeypatch)
        outcome = predict(night, output=output)
        assert given == []
        assert outcome.resumed == outcome.total == 4
        assert outcome.count("failed") == 1
        assert output.read_bytes() == first

    def test_an_interruption_keeps_the_old_table_and_every_row(
        self, night, predict, tmp_path, monkeypatch
    ):
        whole, output = tmp_path / "whole.ecsv", tmp_path / "t.ecsv"
        predict(night, output=whole)
        output.write_bytes(b"precious")

        def stop(event):
            if event.kind == "row" and event.facts["number"] == 2:
                raise KeyboardInterrupt

        outcome = predict(night, output=output, on_event=stop, batch=1, overwrite=True)
        assert outcome.interrupted
        assert outcome.output is None
        assert output.read_bytes() == b"precious"
        assert export_journal(output, tmp_path / "part.fits") == 2
        given = self.counted(monkeypatch)
        predict(night, output=output, overwrite=True)
        assert len(given) == 2
        same(read_table(output), read_table(whole))

    def test_a_file_with_new_content_is_done_again(self, night, predict, tmp_path, monkeypatch):
        output = tmp_path / "t.ecsv"
        predict(night, output=output)
        os.utime(night / "a.fits")
        (night / "bad.fits").write_bytes(good(rv=99.0))
        given = self.counted(monkeypatch)
        outcome = predict(night, output=output)
        # All links of a file are touched with it; their content is what it was.
        assert len(given) == 4
        assert outcome.count("ok") == 4
        assert read_table(output)["rv"][2].value == pytest.approx(99.0, abs=0.5)
        given.clear()
        assert predict(night, output=output).resumed == 4
        assert given == []

    def test_another_model_is_said_and_refresh_redoes(self, night, predict, tmp_path, monkeypatch):
        output = tmp_path / "t.ecsv"
        predict(night, output=output)
        with Journal(journal_of(output)) as journal:
            (version,) = journal.models()
            with journal._transaction():
                journal._db.execute("UPDATE rows SET model = 'older 1234'")
        outcome = predict(night, output=output)
        assert outcome.stale == {"older 1234": 4}
        given = self.counted(monkeypatch)

        def stop(event):
            if event.kind == "row" and event.facts["number"] == 2:
                raise KeyboardInterrupt

        assert predict(night, output=output, refresh=True, on_event=stop, batch=1).interrupted
        given.clear()
        outcome = predict(night, output=output, refresh=True)
        assert len(given) == 2
        assert outcome.stale == {}
        with Journal(journal_of(output)) as journal:
            assert journal.models() == {version: 4}
        predict(night, output=output, refresh=True)
        assert len(given) == 2 + 4

    def test_the_table_is_of_the_inputs_and_append_keeps_the_others(
        self, night, predict, tmp_path, monkeypatch
    ):
        output = tmp_path / "t.ecsv"
        predict(night, output=output)
        predict(night / "b.fits", output=output)
        assert names(read_table(output)) == ["b.fits"]
        given = self.counted(monkeypatch)
        predict(night / "a.fits", output=output, append=True)
        assert names(read_table(output)) == ["b.fits", "a.fits"]
        assert given == []


def test_a_plan_changes_nothing(night, predict, tmp_path):
    output = tmp_path / "t.ecsv"
    predict(night / "a.fits", output=output)
    before = output.read_bytes()
    plan = plan_files([night], output, selection=Selection(min_snr=1e9), options=Options(jobs=0))
    whats = {item.found.path.name: what for item, what in plan}
    assert whats["bad.fits"] == "predict"
    assert whats["a.fits"] == whats["b.fits"] == "leave out: signal to noise below 1e+09"
    plan = plan_files([night], output, options=Options(jobs=0))
    assert {what for _, what in plan} == {"predict", "keep the row"}
    assert output.read_bytes() == before
    with Journal(journal_of(output)) as journal:
        assert names({"file": [row.file for row in journal.rows()]}) == ["a.fits"]


class TestOutputs:
    """The table is an export of the journal, in any format, and whole or not there."""

    def test_nights(self, night, predict, tmp_path):
        output, single = tmp_path / "nights", tmp_path / "t.parquet"
        (night / "c.fits").unlink()
        (night / "c.fits").write_bytes(good(bjd=2457500.9))
        predict(night, output=output, by_night=True)
        export_journal(output, single)
        folders = sorted(path.name for path in output.iterdir())
        assert folders == ["night=2016-01-07", "night=2016-04-21", "night=unknown"]
        table = read_results(output)
        order = np.argsort(np.asarray(table["file"]))
        same(table[order], read_table(single))
        times = {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")}
        (night / "bad.fits").unlink()
        time.sleep(0.01)
        predict(night, output=output, by_night=True)
        assert not (output / "night=unknown").exists()
        assert all(path.stat().st_mtime_ns == times[path] for path in output.rglob("*.parquet"))

    def test_nights_open_elsewhere(self, night, predict, tmp_path):
        dataset = pytest.importorskip("pyarrow.dataset")
        predict(night, output=tmp_path / "nights", by_night=True)
        table = dataset.dataset(tmp_path / "nights", partitioning="hive").to_table()
        assert table.num_rows == 4
        assert set(table["night"].to_pylist()) == {"2016-01-07", "unknown"}

    def test_a_full_disk_is_said_and_nothing_is_lost(self, night, predict, tmp_path, small_disk):
        output = small_disk / "t.ecsv"
        predict(night / "a.fits", output=output)
        before = output.read_bytes()
        (small_disk / "ballast").write_bytes(bytes(2**20 - 2**13 - sum(
            path.stat().st_size for path in small_disk.iterdir())))
        with pytest.raises(StorageError, match="journal|room"):
            predict(night, *(f"none {i}" for i in range(300)), output=output)
        assert output.read_bytes() == before
        (small_disk / "ballast").unlink()
        outcome = predict(night, output=output)
        assert outcome.total == len(read_table(output)) == 4

    def test_leftovers_of_a_killed_run_are_removed(self, night, predict, tmp_path):
        leftover, other = tmp_path / ".0123456789ab.t.ecsv", tmp_path / ".hidden.t.ecsv"
        leftover.touch()
        other.touch()
        predict(night / "bad.fits", output=tmp_path / "t.ecsv")
        assert not leftover.exists()
        assert other.exists()

    def test_what_cannot_be_written_is_told_before_any_work(self, night, predict, tmp_path):
        with pytest.raises(OutputError, match="does not exist"):
            predict(night, output=tmp_path / "none" / "t.ecsv")
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="is a file"):
            predict(night, output=tmp_path / "file", by_night=True)
        with pytest.raises(ReadError, match="no such journal"):
            export_journal(tmp_path / "file", tmp_path / "t.ecsv")


def test_rows_made_with_another_resolving_power_are_made_again(night, predict, tmp_path):
    """What a user says of the files is part of the result; kept rows would be wrong in silence."""
    output = tmp_path / "t.ecsv"
    assert predict(night / "a.fits", output=output).resumed == 0
    assert predict(night / "a.fits", output=output).resumed == 1
    said = Given(resolution=90000.0)
    assert predict(night / "a.fits", output=output, given=said).resumed == 0
    assert "90000" in read_table(output)["message"][0]
    assert predict(night / "a.fits", output=output, given=said).resumed == 1
    assert predict(night / "a.fits", output=output).resumed == 0
    assert "90000" not in read_table(output)["message"][0]


def test_a_folder_for_blaze_files_must_exist(night, predict):
    with pytest.raises(ConfigError, match="no such folder"):
        predict(night, blaze_dir=night / "blazes")

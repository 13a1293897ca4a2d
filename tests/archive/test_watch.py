"""Files are done when they are complete, once, whenever they come."""

from __future__ import annotations

import os

import pytest

from harpsstar.archive import watch
from harpsstar.archive.batch import Options
from harpsstar.archive.watch import watch_files
from harpsstar.io.results import read_table
from tests.archive.faults import good


class Night:
    """What happens between two looks, one thing after the other; then the user stops."""

    def __init__(self, *steps):
        self.steps = list(steps)

    def __call__(self, seconds):
        if not self.steps:
            raise KeyboardInterrupt
        step = self.steps.pop(0)
        if step is not None:
            step()


@pytest.fixture
def observe(tmp_path):
    """Watch a folder while a night goes on; which files have rows after each look."""
    folder, output = tmp_path / "tonight", tmp_path / "t.ecsv"

    def run(*steps):
        done = []

        def on_event(event):
            if event.row is not None:
                done.append(os.path.basename(event.row.file))

        outcome = watch_files([folder], output, selection=None, options=Options(jobs=0),
                              on_event=on_event, pause=Night(*steps))
        assert outcome.interrupted
        return done

    run.folder, run.output = folder, output
    return run


def names(path):
    return [os.path.basename(file) for file in read_table(path)["file"]]


def test_a_night(observe, spectrum):
    folder = observe.folder

    def begin():
        folder.mkdir()
        (folder / "notes.txt").touch()

    def half():
        (folder / "a.fits").write_bytes(spectrum[:100_000])

    def whole():
        (folder / "a.fits").write_bytes(spectrum)

    # Half a file waits; a whole one is taken when it has not changed between two looks.
    assert observe(begin, half, None, None) == []
    assert observe(None, whole) == []
    assert observe(None) == ["a.fits"]
    assert names(observe.output) == ["a.fits"]

    def next_one():
        (folder / "deep").mkdir()
        (folder / "deep" / "b.fits").write_bytes(good(seed=2))

    # After a restart what is done is done, and later rows come below.
    assert observe(None, next_one, None, None) == ["b.fits"]
    assert names(observe.output) == ["a.fits", "b.fits"]
    (folder / "a.fits").unlink()
    assert observe(None, None) == []
    assert names(observe.output) == ["a.fits", "b.fits"]


def test_a_better_product_replaces_the_first(observe, spectrum):
    observe.folder.mkdir()
    (observe.folder / "a_s1d.fits").write_bytes(spectrum)

    def better():
        (observe.folder / "a_e2ds.fits").write_bytes(good(format="e2ds"))

    assert observe(None, better, None, None) == ["a_s1d.fits", "a_e2ds.fits"]
    assert names(observe.output) == ["a_e2ds.fits"]


def test_a_file_that_stays_half_gets_a_row_at_last(observe, spectrum, monkeypatch):
    observe.folder.mkdir()
    (observe.folder / "half.fits").write_bytes(spectrum[:100_000])
    (observe.folder / "text.fits").write_text("no spectrum, and never will be")
    assert observe(None, None) == ["text.fits"]
    monkeypatch.setattr(watch, "PATIENCE", 0.0)
    assert observe(None, None) == ["half.fits"]
    assert read_table(observe.output)["status"].tolist() == ["failed", "failed"]

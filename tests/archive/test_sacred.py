"""What a run leaves as it is: tables when it finds nothing, and its own products among spectra."""

import os

import pytest

from harpsstar import read_table
from harpsstar.archive.batch import Options, plan_files, predict_files
from harpsstar.archive.discover import Selection
from harpsstar.archive.journal import BusyError, Journal, journal_of
from harpsstar.archive.watch import watch_files
from harpsstar.errors import OutputError
from harpsstar.io.facts import OWN_TABLE
from harpsstar.io.results import Row, to_table, write_table
from harpsstar.mock import blaze_frame, observe_star, write


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("arguments", [
    {"inputs": ["nigth"]}, {"inputs": ["empty"]}, {"inputs": ["night"], "target": "nobdy"},
    {"inputs": ["nigth", "*.fits.fz"]},
])  # fmt: skip
@pytest.mark.parametrize("by_night", [False, True])
def test_a_run_that_finds_nothing_leaves_the_table_as_it_is(
    arguments, by_night, night, predict, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (night / "bad.fits").unlink()
    (tmp_path / "empty").mkdir()
    output = tmp_path / ("nights" if by_night else "t.ecsv")
    predict(night, output=output, by_night=by_night)
    before = content(tmp_path)
    selection = Selection(targets=(arguments["target"],)) if "target" in arguments else None
    outcome = predict(*arguments["inputs"], output=output, selection=selection, by_night=by_night)
    after = content(tmp_path)
    # Headers that were looked at are remembered.
    after.pop(journal_of(output)), before.pop(journal_of(output))
    assert after == before
    assert outcome.output is None
    assert any("is unchanged" in note for note in outcome.notes)
    if selection is not None:
        assert any("no spectrum of nobdy" in note and "HD 1" in note for note in outcome.notes)
    again = predict(night, output=output, by_night=by_night)
    assert again.resumed == 3


def test_a_target_among_others_that_is_not_there_is_told(night, predict, tmp_path):
    chosen = Selection(targets=("hd_1", "nobdy"))
    outcome = predict(night, output=tmp_path / "t.ecsv", selection=chosen)
    assert outcome.output is not None
    assert outcome.notes == ("no spectrum of nobdy; the targets are: HD 1",)


def test_a_first_run_that_finds_nothing_says_so_in_a_table(predict, tmp_path):
    outcome = predict("none.fits", output=tmp_path / "t.ecsv")
    assert outcome.count("failed") == 1
    assert read_table(tmp_path / "t.ecsv")["status"].tolist() == ["failed"]


def test_own_tables_among_the_spectra_are_no_inputs(night, predict, tmp_path):
    (night / "bad.fits").unlink()
    write_table(to_table([Row(file="x")]), night / "yesterday.fits")
    output = night / "today.fits"
    for _ in range(2):
        outcome = predict(night, output=output)
        assert (outcome.total, outcome.count("failed")) == (3, 0)
        assert outcome.left_out == {OWN_TABLE: 1}
    # A pattern leads to it, too.
    assert predict(str(night / "*.fits"), output=output).total == 4
    plan = plan_files([night], output, options=Options(jobs=0))
    assert [what for item, what in plan if item.found.path.name == "yesterday.fits"] == [
        f"leave out: {OWN_TABLE}"
    ]


def test_watch_never_reads_its_own_table(night, tmp_path):
    (night / "bad.fits").unlink()
    output, looks = night / "tonight.fits", []

    def pause(seconds):
        looks.append(output.stat().st_mtime_ns if output.exists() else 0)
        if len(looks) == 8:
            raise KeyboardInterrupt

    watch_files([night], output, options=Options(jobs=0), pause=pause)
    assert len(read_table(output)) == 3
    # Two looks until the files have settled; after the third the table rests.
    assert len(set(looks[3:])) == 1


def test_an_input_is_refused_from_python_too(night, tmp_path):
    (tmp_path / "link.fits").hardlink_to(night / "a.fits")
    before = content(tmp_path)
    for options in (Options(jobs=0), Options(jobs=0, overwrite=True)):
        for inputs, output in (([night / "a.fits"], night / "a.fits"),
                               ([night], tmp_path / "link.fits")):  # fmt: skip
            with pytest.raises(OutputError, match="is an input of this run"):
                predict_files(inputs, output, options=options)
            with pytest.raises(OutputError, match="is an input of this run"):
                watch_files(inputs, output, options=options)
    assert content(tmp_path) == before


def test_the_blaze_file_beside_a_spectrum_is_an_input(tmp_path):
    hdus = observe_star(5772.0, 4.44, 0.0, 2.0, format="e2ds", seed=1)
    write(hdus, tmp_path / "a.fits", blaze=blaze_frame())
    (blaze,) = tmp_path.glob("*blaze*")
    before = content(tmp_path)
    with pytest.raises(OutputError, match="is an input of this run"):
        predict_files([tmp_path / "a.fits"], blaze, options=Options(jobs=0, overwrite=True))
    assert content(tmp_path) == before


class TestOneRunPerOutput:
    """However it is named."""

    @pytest.mark.parametrize("link", ["link.ecsv", "folder/real.ecsv"])
    def test_the_lock_is_that_of_the_real_file(self, link, night, predict, tmp_path):
        (tmp_path / "there").mkdir()
        real = tmp_path / "there" / "real.ecsv"
        os.symlink(real, tmp_path / "link.ecsv")
        os.symlink("there", tmp_path / "folder")
        with Journal(journal_of(real)), pytest.raises(BusyError):
            predict(night, output=tmp_path / link)
        predict(night, output=tmp_path / link)
        assert (tmp_path / "link.ecsv").is_symlink()
        assert sorted(path.name for path in real.parent.iterdir()) == [
            "real.ecsv", "real.ecsv.journal"
        ]
        assert predict(night, output=real).resumed == 4

    def test_leftovers_of_a_killed_run_are_removed_behind_the_link(self, night, predict, tmp_path):
        (tmp_path / "there").mkdir()
        os.symlink(tmp_path / "there" / "real.ecsv", tmp_path / "link.ecsv")
        (tmp_path / "there" / ".0123456789ab.real.ecsv").touch()
        predict(night, output=tmp_path / "link.ecsv")
        assert not list((tmp_path / "there").glob(".*"))

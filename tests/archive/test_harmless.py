"""Nothing of anybody else is deleted, and no input costs another one its row."""

from __future__ import annotations

import json
import math
import os
import shutil

import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harpsstar.archive.batch import Options
from harpsstar.archive.discover import Selection
from harpsstar.archive.export import export_journal, read_results
from harpsstar.archive.journal import Journal, StorageError, journal_of
from harpsstar.archive.pool import Inline
from harpsstar.archive.report import write_report
from harpsstar.archive.summary import summarise
from harpsstar.archive.watch import watch_files
from harpsstar.infer.fit.batch import Job, fit_files
from harpsstar.infer.fit.options import Options as FitOptions
from harpsstar.io.facts import moment_of, night_of
from harpsstar.io.results import EXTENSIONS, read_table
from tests.archive.faults import card, good

NEVER = "0001-01-01T00:00:00"


def names(table):
    return [os.path.basename(file) for file in table["file"]]


def contents(folder):
    """Every file with its bytes; folders too, so that an empty one is missed."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
            for path in folder.rglob("*")}  # fmt: skip


@pytest.fixture(scope="module")
def years(spectrum):
    """The spectrum, and another one of another night."""
    return spectrum, good(bjd=2457500.9)


@pytest.fixture
def archive(years, tmp_path):
    """A disk with a folder for each of two nights, and a file that is no spectrum."""
    folder = tmp_path / "disk" / "archive"
    for name, data in zip("ab", years, strict=True):
        (folder / name).mkdir(parents=True)
        (folder / name / f"{name}.fits").write_bytes(data)
    (folder / "a" / "bad.fits").write_bytes(b"rubbish")
    return folder


class TestNights:
    """``--by-night`` and ``archive export`` delete what they made, and nothing else."""

    OURS = ("night=2016-01-07", "night=2016-04-21", "night=unknown")

    def test_what_others_put_there_survives(self, archive, predict, tmp_path):
        output = tmp_path / "nights"
        foreign = {
            "night=2001-01-01/rows.parquet": "of somebody else",
            "night=2002-02-02/deep/notes.txt": "clouds",
            "night=unknown/.0123456789ab.rows.parquet.bak": "a copy",
            "night=unknown/notes.txt": "wind",
            "night=x": "a file",
            "readme": "hello",
        }
        for name, text in foreign.items():
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            (output / name).write_text(text)
        (output / "night=2003-03-03").mkdir()
        before = contents(output)
        for overwrite in (True, False):
            predict(archive, output=output, by_night=True, overwrite=overwrite)
        export_journal(output, tmp_path / "again", by_night=True)
        for night in self.OURS:
            assert (output / night / "rows.parquet").is_file()
        (archive / "a" / "bad.fits").unlink()
        predict(archive, output=output, by_night=True)
        export_journal(output, tmp_path / "again", by_night=True)
        assert not (tmp_path / "again" / "night=unknown").exists()
        assert not (output / "night=unknown" / "rows.parquet").exists()
        after = contents(output)
        assert {name: after[name] for name in before} == before
        assert len(after) == len(before) + 2 * 2

    def test_a_night_that_was_changed_is_not_ours_any_more(self, archive, predict, tmp_path):
        output = tmp_path / "nights"
        predict(archive, output=output, by_night=True)
        part = output / "night=unknown" / "rows.parquet"
        part.write_text("my own")
        (archive / "a" / "bad.fits").unlink()
        predict(archive, output=output, by_night=True)
        assert part.read_text() == "my own"

    def test_a_file_in_the_place_of_a_night_is_not_replaced(self, archive, predict, tmp_path):
        output = tmp_path / "nights"
        part = output / "night=2016-01-07" / "rows.parquet"
        part.parent.mkdir(parents=True)
        part.write_text("my own")
        with pytest.raises(StorageError, match="harpsstar did not write it as a table"):
            predict(archive, output=output, by_night=True)
        assert part.read_text() == "my own"

    def test_nights_written_by_an_earlier_version_are_kept(self, archive, predict, tmp_path):
        output = tmp_path / "nights"
        predict(archive, output=output, by_night=True)
        with Journal(journal_of(output)) as journal:
            place = f"exported nights {output.resolve()}"
            journal.put_note(place, json.dumps(journal.nights()))
        (archive / "a" / "bad.fits").unlink()
        predict(archive, output=output, by_night=True)
        assert sorted(path.name for path in output.iterdir()) == list(self.OURS)

    @pytest.mark.parametrize(("named", "gone"), [
        ("folder", "empty"), ("folder", "part"), ("folder", "unreadable"),
        ("pattern", "part"), ("pattern", "vanished"), ("files", "empty"),
    ])  # fmt: skip
    def test_nights_of_a_disk_that_is_not_mounted_survive(
        self, archive, predict, tmp_path, named, gone
    ):
        output, single = tmp_path / "nights", tmp_path / "t.ecsv"
        inputs = {
            "folder": [archive],
            "pattern": [f"{archive}/**/*.fits"],
            "files": sorted(archive.rglob("*.fits")),
        }[named]
        for options in ({"output": output, "by_night": True}, {"output": single}):
            predict(*inputs, **options)
        before = contents(output)
        away, place = tmp_path / "away", archive / "b" if gone == "part" else archive
        place.rename(away)
        if gone == "unreadable":
            # Not by permissions, which do not stop root: a link that leads to itself.
            place.symlink_to(place)
        elif gone != "vanished":
            place.mkdir()
        for options in ({"output": output, "by_night": True}, {"output": single}):
            outcome = predict(*inputs, **options)
            export_journal(output, tmp_path / "exported", by_night=True)
        after = contents(output)
        assert set(before) <= set(after)
        for name in before:
            if name.startswith(self.OURS[:2]):
                assert after[name] == before[name], name
        if named != "files":
            assert {"a.fits", "b.fits", "bad.fits"} <= set(names(read_table(single)))
            assert outcome.out_of_reach == (1 if gone == "part" else 3)
            assert outcome.count("ok") == 2
        if place.is_symlink():
            place.unlink()
        elif gone != "vanished":
            place.rmdir()
        away.rename(place)
        outcome = predict(*inputs, output=single)
        assert names(read_table(single)) == ["a.fits", "bad.fits", "b.fits"]
        assert outcome.out_of_reach == 0
        if named != "files":
            assert outcome.resumed == 3

    def test_files_that_were_taken_away_leave_the_table(self, archive, predict, tmp_path):
        output = tmp_path / "t.ecsv"
        predict(archive, output=output)
        shutil.rmtree(archive / "b")
        outcome = predict(archive, output=output)
        assert outcome.out_of_reach == 0
        assert names(read_table(output)) == ["a.fits", "bad.fits"]

    def test_what_is_not_named_any_more_is_not_kept(self, archive, predict, tmp_path):
        output = tmp_path / "t.ecsv"
        predict(archive, output=output)
        (archive / "b" / "b.fits").unlink()
        assert predict(archive / "a", output=output).out_of_reach == 0
        assert names(read_table(output)) == ["a.fits", "bad.fits"]


@pytest.fixture(scope="module")
def strange(spectrum, tmp_path_factory):
    """A good file among those of impossible dates and names."""
    folder = tmp_path_factory.mktemp("strange")
    empty = fits.PrimaryHDU()
    empty.header["DATE-OBS"] = NEVER
    empty.writeto(folder / "nothing.fits")
    never = card("TNG DRS BJD", -5.0)(card("DATE-OBS", NEVER)(spectrum))
    files = {
        "good.fits": spectrum,
        "never.fits": never,
        "la$t_{.fits": card("DATE-OBS", "9999-12-31T23:59:59.999")(
            card("TNG DRS BJD", 5373484.5)(spectrum)),
        "huge.fits": card("TNG DRS BJD", 1e300)(spectrum),
        "text.fits": card("TNG OBS TARG NAME", "<&>'\" =1+1")(never),
        "n\udcff\x1b[31m\n.fits": card("TNG OBS TARG NAME", "--")(never),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def write(spectrum):
    """Write the spectrum with another value of a card, which may be no value of FITS."""

    def run(path, name, value):
        text = repr(value) if isinstance(value, float) else f"'{value}'"
        place = spectrum.index(name.encode() + b" ") if len(name) != 8 else spectrum.index(
            name.encode() + b"=")
        start = place - place % 80
        keyword = spectrum[start : start + 80].partition(b"=")[0]
        line = (keyword + b"= " + text.encode()).ljust(80)[:80]
        path.write_bytes(spectrum[:start] + line + spectrum[start + 80 :])

    return run


class TestOneInput:
    """A date, a name or a picture can end its own row only."""

    COUNT = 7

    def test_pictures_of_files_with_odd_names(self, strange, predict, tmp_path):
        odd = [path for path in strange.iterdir() if set(path.name) & {"$", "\x1b"}]
        predict(*odd, plots=tmp_path / "plots")
        assert len(odd) == len(list((tmp_path / "plots").iterdir())) == 2

    def test_predict_with_a_page_and_every_format(self, strange, predict, tmp_path):
        output, report = tmp_path / "nights", tmp_path / "r.html"
        outcome = predict(strange, output=output, by_night=True, report=report, batch=3)
        assert (outcome.total, outcome.count("failed")) == (self.COUNT, 1)
        assert predict(strange, output=output, by_night=True, report=report).resumed == self.COUNT
        assert report.read_text(encoding="utf-8").count("<circle") == self.COUNT - 1
        nights = sorted(path.name for path in output.iterdir())
        assert nights == ["night=2016-01-07", "night=unknown"]
        for ending in EXTENSIONS:
            assert export_journal(output, tmp_path / f"t{ending}") == self.COUNT
            table = read_table(tmp_path / f"t{ending}")
            assert len(table) == self.COUNT
            stars = {star.target: star for star in summarise(table)}
            assert "HD 1" in stars
            # Its key is empty: it names no star.
            assert "--" not in stars

    def test_watch_lives_and_starts_again(self, strange, tmp_path):
        output = tmp_path / "w.ecsv"
        for rounds in (3, 1):
            left = iter(range(rounds))

            def pause(seconds, left=left):
                if next(left, None) is None:
                    raise KeyboardInterrupt

            watch_files([strange], output, every=0.0, pause=pause,
                        options=Options(jobs=0, report=tmp_path / "w.html"))
            assert len(read_table(output)) == self.COUNT
        assert (tmp_path / "w.html").stat().st_size > 0

    def test_fit(self, strange, tmp_path):
        paths = [strange / name for name in ("nothing.fits", "good.fits", "never.fits")]
        output = tmp_path / "f.ecsv"
        outcome = fit_files([(path, None) for path in paths], Job(FitOptions(), output))
        assert [row.status for row in outcome.rows] == ["failed", "ok", "ok"]
        table = read_table(output)
        assert len(table) == 3
        assert [star.target for star in summarise(table)] == ["HD 1"]

    def test_a_file_that_cannot_be_drawn_costs_the_page_only_its_picture(
        self, strange, predict, tmp_path
    ):
        output, report = tmp_path / "t.ecsv", tmp_path / "r.html"
        copies = tmp_path / "copies"
        shutil.copytree(strange, copies)
        predict(copies, output=output)
        (copies / "good.fits").write_bytes(b"rubbish")
        with Journal(journal_of(output)) as journal:
            (path, _), *rest = [pair for pair in journal.paths_and_rows()
                                if pair[1].status != "failed"]
            journal.add_pictures([(path, b"no picture")])
            write_report(journal, Inline(), Options().settings, report)
        page = report.read_text(encoding="utf-8")
        assert page.count("cannot be shown") == 1
        assert page.count("<summary>orders of") in (len(rest) - 1, len(rest))

    @settings(max_examples=4, deadline=None, derandomize=True,
              suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        values=st.lists(
            st.tuples(
                st.sampled_from(["DATE-OBS", "TNG DRS BJD", "TNG OBS TARG NAME", "EXPTIME",
                                 "TNG DRS SPE EXT SN40", "TNG DRS BERV", "MJD-OBS"]),
                st.one_of(
                    st.floats(),
                    st.datetimes().map(lambda moment: moment.isoformat()),
                    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
                ),
            ),
            min_size=4, max_size=4,
        )
    )
    def test_every_file_has_one_row(self, write, predict, tmp_path, values):
        folder = tmp_path / "folder"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for number, (name, value) in enumerate(values):
            write(folder / f"{number}.fits", name, value)
        outcome = predict(folder, output=tmp_path / "t.ecsv", report=tmp_path / "r.html",
                          selection=Selection(keep_all=True))
        assert outcome.total == len(read_table(tmp_path / "t.ecsv")) == len(values)
        assert not any("unexpected" in text for text in read_table(tmp_path / "t.ecsv")["message"])


@settings(derandomize=True)
@given(st.floats(), st.one_of(st.text(), st.datetimes().map(str), st.datetimes(
    timezones=st.timezones()).map(lambda moment: moment.isoformat())))
def test_a_night_is_a_date_or_unknown(bjd, start):
    night = night_of(bjd, start)
    assert night == "unknown" or 1858 <= int(night[:4]) <= 2406
    assert (moment_of(bjd) is None) == (not 2.4e6 < bjd < 2.6e6)


@pytest.mark.parametrize("start", [NEVER, "9999-12-31T23:59:59", "0001-01-01T00:00:00+14:00", ""])
def test_impossible_dates_are_unknown(start):
    assert night_of(math.nan, start) == "unknown"


def test_nights_are_read_as_one_table(archive, predict, tmp_path):
    predict(archive, output=tmp_path / "nights", by_night=True)
    assert len(read_results(tmp_path / "nights")) == 3

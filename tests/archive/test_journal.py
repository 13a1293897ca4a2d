"""The journal: what is in it stays, one process at a time."""

from __future__ import annotations

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harpsstar.archive.journal import BusyError, Journal, Record, StorageError
from harpsstar.errors import ReadError
from harpsstar.io.paths import Found
from harpsstar.io.results import WITHOUT_NOISE, Row

STAMP = (1, 2, 3)


def found(path):
    return Found(path)


def keys(journal):
    return [os.path.basename(row.file) for row in journal.rows()]


@given(
    st.builds(
        Row, file=st.just("x"), target=st.text(), teff=st.floats(), rv=st.floats(),
        message=st.text(), flags=st.integers(0, 511), status=st.sampled_from(["ok", "failed"]),
    ),
    st.lists(st.floats(), min_size=16, max_size=16),
)
def test_rows_come_back_as_they_were(row, covariance):
    row = Row(**{**row.__dict__, "covariance": np.reshape(covariance, (4, 4))})
    with Journal() as journal:
        journal.set_inputs([found("x")])
        journal.record([Record(found("x").key, row)])
        (back,) = journal.rows()
    for name, value in row.__dict__.items():
        np.testing.assert_equal(getattr(back, name), value)


def test_rows_of_an_earlier_version_say_what_they_lack(tmp_path):
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.set_inputs(map(found, "ab"))
        journal.record([Record(found("a").key, Row(file="a", teff=5772.0)),
                        Record(found("b").key, Row.failed("b", "is empty"))])
    with sqlite3.connect(path) as database:
        for name, text in database.execute("SELECT path, row FROM rows").fetchall():
            row = json.loads(text)
            del row["covariance_noise"]
            database.execute("UPDATE rows SET row = ? WHERE path = ?", (json.dumps(row), name))
    database.close()
    with Journal(path) as journal:
        good, bad = journal.rows()
    assert np.isnan(good.covariance_noise).all()
    assert good.message == WITHOUT_NOISE
    assert bad.message == "is empty"


def test_the_table_has_the_inputs_in_their_order(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.set_inputs(map(found, "cab"))
        journal.record(Record(found(name).key, Row(file=name)) for name in "abcd")
        assert keys(journal) == ["c", "a", "b"]
        journal.set_inputs(map(found, "da"), append=True)
        assert keys(journal) == ["c", "a", "b", "d"]
        journal.set_inputs(map(found, "d"))
    with Journal(tmp_path / "j") as journal:
        assert keys(journal) == ["d"]
        assert journal.known(found("a").key) is not None


def test_what_is_known_of_a_file():
    with Journal() as journal:
        assert journal.known("x") is None
        journal.record([Record("x", Row(file="x"), STAMP, "digest", "default 1", "2016-01-08")])
        known = journal.known("x")
        assert (known.stamp, known.digest, known.status) == (STAMP, "digest", "ok")
        assert journal.confirm("x", (4, 5, 6)).status == "ok"
        assert journal.known("x").stamp == (4, 5, 6)
        journal.record([Record("x", Row.failed("x", "no"), final=False)])
        assert (journal.known("x").stamp, journal.known("x").final) == (None, False)
        assert journal.known("x").serial > known.serial


def test_a_second_run_is_refused_until_the_first_ends(tmp_path):
    path = tmp_path / "j"
    with Journal(path), pytest.raises(BusyError, match="another run"):
        Journal(path)
    with Journal(path):
        pass


_HOLDER = """
import sys
from harpsstar.archive.journal import Journal, Record
from harpsstar.io.results import Row
journal = Journal(sys.argv[1])
journal.record([Record("x", Row(file="x"))])
print("recorded", flush=True)
sys.stdin.read()
"""


def test_a_killed_process_leaves_its_rows_and_no_lock(tmp_path):
    path = tmp_path / "j"
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, path], stdout=subprocess.PIPE,
                              stdin=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "recorded\n"
    with pytest.raises(BusyError):
        Journal(path)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with Journal(path) as journal:
        assert journal.known("x").status == "ok"


def test_what_is_no_journal_is_left_alone(tmp_path):
    path = tmp_path / "j"
    path.write_bytes(b"precious " * 999)
    with pytest.raises(ReadError, match="not a journal"):
        Journal(path)
    assert path.read_bytes() == b"precious " * 999


def test_a_journal_that_cannot_be_made_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="cannot be written"):
        Journal(tmp_path / "none" / "j")


def test_a_full_disk_loses_nothing_that_was_told(small_disk):
    path = small_disk / "j"
    told = []
    with pytest.raises(StorageError, match="full"), Journal(path) as journal:
        for number in range(10_000):
            row = Row(file="x", message="x" * 1000, snr=math.nan)
            journal.record([Record(str(number), row)])
            told.append(number)
    assert told
    with Journal(path) as journal:
        assert all(journal.known(str(number)) for number in told)
        assert journal.known(str(told[-1] + 1)) is None

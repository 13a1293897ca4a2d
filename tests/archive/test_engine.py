"""Workers may hang and die: only the file that is to blame has no row."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest

from harpsstar.archive import engine
from harpsstar.archive.engine import call_each, process
from harpsstar.archive.limits import LimitError, fenced
from harpsstar.archive.pool import Inline, Processes
from harpsstar.archive.worker import Input, Settings, work
from harpsstar.errors import ModelError
from tests.archive.faults import edited, good


def obey(settings, inputs):
    """Do what the names of the inputs say; of a batch, once for each."""
    for item in inputs:
        if item.name.startswith("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if item.name.startswith("once") and not os.path.exists(item.key):
            Path(item.key).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if item.name.startswith("sleep"):
            Path(item.key).touch()
            time.sleep(600)
        if item.name.startswith("raise"):
            raise ModelError("by design")
    return [f"did {item.name}" for item in inputs]


def inputs(*names, folder="."):
    return [Input(os.path.join(folder, name), name) for name in names]


@pytest.fixture(scope="module")
def pool():
    pool = Processes(2)
    yield pool
    pool.close()


def together(items, pool, batch, settings=None):
    """Names to results, of the engine's loop."""
    results = {}
    for group, result in engine._called(obey, items, pool, settings or Settings(), batch):
        texts = result if isinstance(result, list) else [result] * len(group)
        results |= {item.name: text for item, text in zip(group, texts, strict=True)}
    return results


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_every_input_has_one_result(pool, batch):
    names = [f"file {i}" for i in range(10)]
    results = together(inputs(*names), pool, batch)
    assert results == {name: f"did {name}" for name in names}


def test_a_file_that_kills_costs_no_other_its_row(pool, caplog):
    results = together(inputs("a", "die", "b", "c", "die too", "d"), pool, 3)
    assert {name: text.startswith("did") for name, text in results.items()} == {
        "a": True, "die": False, "b": True, "c": True, "die too": False, "d": True,
    }  # fmt: skip
    assert "died 2 times on this file" in results["die"]
    assert "died over die" in caplog.text


def test_a_worker_that_dies_by_accident_costs_nothing(pool, tmp_path):
    results = together(inputs("a", "once", "b", folder=tmp_path), pool, 3)
    assert set(results.values()) == {"did a", "did once", "did b"}


def test_a_file_that_hangs_costs_no_other_its_row(pool, monkeypatch, tmp_path):
    """Who sleeps is late; no clock, since any worker is slow to start on a busy machine."""

    def late(task):
        return any(Path(item.key).exists() for item in task.inputs if item.name == "sleep")

    monkeypatch.setattr(engine, "_late", late)
    monkeypatch.setattr(engine, "_LOOK", 0.2)
    results = together(inputs("a", "sleep", "b", folder=tmp_path), pool, 3)
    assert results["a"] == "did a"
    assert results["b"] == "did b"
    assert "no answer in time 2 times" in results["sleep"]


class Stuck:
    """A worker that never answers, and the times at which it was given up."""

    capacity, can_abandon = 1, True

    def __init__(self, clock):
        self.clock, self.begun, self.waited = clock, 0.0, []

    def submit(self, function, *arguments):
        self.begun = self.clock()
        return Future()

    def abandon(self, future):
        self.waited.append(self.clock() - self.begun)


def test_a_worker_has_the_time_of_its_start_and_of_each_of_its_files(monkeypatch):
    clock = itertools.count(0.0, 1.0).__next__
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(engine, "_PATIENCE", 50.0)
    monkeypatch.setattr(engine, "_LOOK", 0.0)
    stuck = Stuck(clock)
    results = together(inputs("a", "b"), stuck, 2, Settings(seconds=10.0))
    assert set(results.values()) == {"no answer in time 2 times on this file"}
    assert stuck.waited == pytest.approx([70.0, 60.0, 60.0], abs=4.0)


@pytest.mark.parametrize("workers", [Inline, lambda: Processes(1)])
def test_an_error_that_is_nobodys_fault_ends_the_run(workers):
    pool = workers()
    try:
        with pytest.raises(ModelError, match="by design"):
            together(inputs("raise"), pool, 1)
    finally:
        pool.close()


def test_what_cannot_be_done_alone_is_left_out(pool):
    done = dict(call_each(obey, inputs("a", "die", "b"), pool, Settings()))
    assert {item.name: text for item, text in done.items()} == {"a": "did a", "b": "did b"}


def test_a_row_of_every_file(cached, tmp_path, pool):
    (tmp_path / "empty").touch()
    items = [Input("1", str(cached)), Input("2", str(tmp_path / "empty")),
             Input("3", str(tmp_path / "none"))]
    done = {item.key: item for batch in process(items, pool, Settings(), 2) for item in batch}
    assert {key: item.row.status for key, item in done.items()} == {
        "1": "ok", "2": "failed", "3": "failed",
    }  # fmt: skip
    assert done["1"].reading > 0
    assert done["1"].final
    assert not done["3"].final
    again = [Input("1", str(cached), done["1"].digest)]
    ((same,),) = process(again, pool, Settings(), 2)
    assert same.row is None


_ABANDONED = """
from harpsstar.archive.pool import Processes
import os, time
pool = Processes(2)
pids = [pool.submit(os.getpid).result(), pool.submit(os.getpid).result()]
first = pool.submit(time.sleep, 600)
second = pool.submit(time.sleep, 600)
third = [lane._pid.result() for lane in pool._lanes]
print(*third, flush=True)
os.kill(os.getpid(), 9)
"""


def test_workers_end_with_a_killed_run():
    run = subprocess.run([sys.executable, "-c", _ABANDONED], capture_output=True, text=True)
    pids = [int(word) for word in run.stdout.split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 300
    while any(_lives(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(_lives(pid) for pid in pids)


def _lives(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


class TestFence:
    """Time and memory of reading one file are limited."""

    def test_time(self):
        start = time.monotonic()
        with pytest.raises(LimitError, match="more than 0.2 s"), fenced("x", 0.2, 0):
            while time.monotonic() < start + 60:
                pass

    def test_memory(self):
        with pytest.raises(LimitError, match="more than 100 MB"), fenced("x", 0, 100 << 20):
            bytearray(200 << 20)
        assert len(bytearray(200 << 20))

    def test_what_is_within_the_limits_passes(self):
        with fenced("x", 600.0, 100 << 20):
            assert len(bytearray(20 << 20))
        with pytest.raises(ZeroDivisionError), fenced("x", 600.0, 100 << 20):
            1 / 0  # noqa: B018


def test_values_too_large_for_the_arithmetic_end_in_a_row_without_a_warning(tmp_path, recwarn):
    path = tmp_path / "huge.fits"
    path.write_bytes(edited(_huge)(good()))
    (done,) = work(Settings(), [Input(str(path), str(path))])
    assert done.row is not None
    assert [str(w.message) for w in recwarn if issubclass(w.category, RuntimeWarning)] == []


def _huge(hdu):
    hdu.data = hdu.data.astype(float)
    hdu.data[..., ::5] *= 1e200


def test_workers_share_the_cores_and_this_process_keeps_its_own():
    code = (
        "import os\n"
        "from contextlib import closing\n"
        "from harpsstar.archive.pool import make_pool\n"
        "with closing(make_pool(1)) as pool:\n"
        "    there = pool.submit(os.getenv, 'OPENBLAS_NUM_THREADS').result()\n"
        "print(there, os.getenv('OPENBLAS_NUM_THREADS'))\n"
    )
    clean = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}
    result = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True,
                            text=True, check=True)  # fmt: skip
    assert result.stdout.split() == ["1", "None"]

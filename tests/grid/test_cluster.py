"""Nodes computed elsewhere: by processes of this machine, by a Dask cluster, whatever happens."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import Executor, Future
from pathlib import Path

import numpy as np
import pytest

from harpsstar.errors import ConfigError
from harpsstar.grid import synthesis
from harpsstar.grid.atlas9 import find_decks
from harpsstar.grid.cluster import Workers, deck_flux, workers
from harpsstar.model import linelist

WAVES = 9


def small_flux(lines, deck, content, vmic, alpha):
    """A stand-in for seconds of synthesis."""
    time.sleep(0.02)
    return np.full(WAVES, lines.sum() + len(content) + vmic + alpha, np.float32)


def dies_once(mark, lines, *rest):
    """Kill the worker that gets here first."""
    if not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return small_flux(lines, *rest)


def refuses(number):
    if number == 3:
        raise ZeroDivisionError("three")
    return number


class Counting(Executor):
    """Works at once, and counts what is submitted and given up."""

    def __init__(self):
        self.submitted = 0

    def submit(self, function, *arguments):
        self.submitted += 1
        future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


def tasks(n, shared):
    return [(i, (shared, None, b"x" * i, 1.0, 0.4)) for i in range(n)]


class TestRun:
    def test_every_task_is_computed_once(self):
        executor = Counting()
        some = Workers(executor, lambda: 2, lambda thing: thing)
        found = dict(some.run(refuses, [(f"node {i}", (i,)) for i in (0, 1, 2, 4, 5, 6, 7, 8)]))
        assert found == {f"node {i}": i for i in (0, 1, 2, 4, 5, 6, 7, 8)}
        assert executor.submitted == 8

    def test_tasks_are_not_asked_for_before_there_is_somebody_for_them(self):
        asked = []

        def endless():
            for i in range(10**9):
                asked.append(i)
                yield i, (i + 100,)

        some = Workers(Counting(), lambda: 2, lambda thing: thing)
        run = some.run(refuses, endless())
        for _ in range(20):
            next(run)
        run.close()
        assert len(asked) < 40

    def test_an_error_ends_it(self):
        some = Workers(Counting(), lambda: 1, lambda thing: thing)
        with pytest.raises(ZeroDivisionError, match="three"):
            list(some.run(refuses, ((i, (i,)) for i in range(100))))

    def test_processes_of_this_machine(self):
        with workers(2) as some:
            shared = some.share(np.arange(4.0))
            found = dict(some.run(small_flux, tasks(7, shared)))
        assert sorted(found) == list(range(7))
        assert all(np.all(flux == np.float32(6 + i + 1.4)) for i, flux in found.items())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    pytest.importorskip("pysme")
    distributed = pytest.importorskip("distributed")
    folder = tmp_path_factory.mktemp("dask")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None,
        local_directory=str(folder),
    ) as running:  # fmt: skip
        yield running


@pytest.mark.slow
class TestDask:
    def test_a_cluster_gives_what_this_machine_gives(self, cluster):
        with workers(1, cluster.scheduler_address) as some:
            assert some.capacity() == 2
            shared = some.share(np.arange(4.0))
            found = dict(some.run(small_flux, tasks(30, shared)))
        assert all(np.all(flux == np.float32(6 + i + 1.4)) for i, flux in found.items())
        assert sorted(found) == list(range(30))

    def test_the_death_of_a_worker_does_not_show(self, cluster, tmp_path):
        mark = str(tmp_path / "died")
        with workers(1, cluster.scheduler_address) as some:
            shared = some.share(np.arange(4.0))
            arguments = [(i, (mark, *rest)) for i, rest in tasks(12, shared)]
            found = dict(some.run(dies_once, arguments))
        assert Path(mark).exists()
        assert sorted(found) == list(range(12))
        assert all(np.all(flux == np.float32(6 + i + 1.4)) for i, flux in found.items())

    def test_an_error_on_a_worker_arrives_as_it_is(self, cluster):
        with (
            workers(1, cluster.scheduler_address) as some,
            pytest.raises(ZeroDivisionError, match="three"),
        ):
            list(some.run(refuses, ((i, (i,)) for i in range(20))))

    def test_nodes_are_those_of_this_machine(self, cluster, two_line_root, inputs_root):
        """With several threads in a worker, and with decks that lie nowhere on it."""
        lines = linelist.assemble(two_line_root, calibrated=False)
        decks = find_decks(inputs_root)[:: 253 * 4][:2]
        with workers(1, cluster.scheduler_address) as some:
            shared = some.share(lines)
            few = np.arange(0, synthesis.N_WAVE, 4)
            wanted = [(1.0, None), (2.0, few)]
            nodes = [
                (deck.name, (shared, deck, deck.path.read_bytes(), 0.0, wanted)) for deck in decks
            ]
            found = dict(some.run(deck_flux, nodes))
        for deck in decks:
            whole, part = found[deck.name]
            expected = synthesis.synthesize(deck, lines, vmic=1.0)
            np.testing.assert_array_equal(whole, expected)
            expected = synthesis.synthesize(deck, lines, vmic=2.0)
            np.testing.assert_array_equal(part, expected[few])

    def test_workers_of_another_version_are_refused(self, cluster, monkeypatch):
        from harpsstar.grid import cluster as module

        monkeypatch.setattr(module, "__version__", "99.0")
        with (
            pytest.raises(ConfigError, match=r"expected harpsstar 99\.0"),
            workers(1, cluster.scheduler_address),
        ):
            pass


@pytest.mark.slow
def test_a_scheduler_without_workers_is_told(monkeypatch):
    distributed = pytest.importorskip("distributed")
    from harpsstar.grid import cluster as module

    # A busy machine may need some of it to answer at all.
    monkeypatch.setattr(module, "_TIMEOUT", 10.0)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=None) as empty,
        pytest.raises(ConfigError, match="has no worker"),
        workers(1, empty.scheduler_address),
    ):
        pass


def test_an_address_where_nobody_answers_is_told(monkeypatch):
    pytest.importorskip("distributed")
    from harpsstar.grid import cluster as module

    monkeypatch.setattr(module, "_TIMEOUT", 1.0)
    with pytest.raises(ConfigError, match="no Dask scheduler"), workers(1, "tcp://127.0.0.1:9"):
        pass

"""Killed at any moment, a run loses at most what was in flight, and goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
import torch

from harpsstar.archive.batch import Options, predict_files
from harpsstar.archive.journal import Journal, journal_of
from harpsstar.io.results import read_table
from tests.archive.compare import difference
from tests.archive.faults import FAULTS, good

TIMES = 20


@pytest.fixture
def archive(tmp_path):
    """Forty files of five spectra, and a few that are none."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for seed in range(5):
        first = folder / f"{seed}0.fits"
        first.write_bytes(good(seed=seed, snr=30.0 + 20.0 * seed))
        for copy in range(1, 8):
            os.link(first, folder / f"{seed}{copy}.fits")
    for name in ("empty", "cut in the data", "only zeros"):
        (folder / f"{name}.fits").write_bytes(FAULTS[name][0](good()))
    return folder


def test_killed_runs_end_with_the_same_table(archive, tmp_path):
    """Twenty times, from a process that is forked: after some rows, and a random moment later."""
    whole, output, told = tmp_path / "whole.ecsv", tmp_path / "t.ecsv", tmp_path / "told"
    options = Options(jobs=0, batch=2)
    predict_files([archive], whole, options=options)
    told.touch()

    def run():
        torch.set_num_threads(1)  # other threads of this process have stayed with its parent
        with told.open("ab", buffering=0) as file:
            predict_files([archive], output, options=options,
                          on_event=lambda event: event.row and file.write(b"."))

    rng = random.Random(1)
    for _ in range(TIMES):
        before, rows = told.stat().st_size, rng.choice([0, 0, 2, 4])
        child = os.fork()
        if child == 0:
            try:
                run()
            finally:
                os._exit(0)
        while told.stat().st_size < before + rows and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.05))
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        if journal_of(output).exists():
            with Journal(journal_of(output)) as journal:
                assert sum(journal.counts().values()) >= told.stat().st_size
    predict_files([archive], output, options=options)
    assert told.stat().st_size > 0
    assert difference(read_table(output), read_table(whole)) < 1e-5
    assert [path.name for path in tmp_path.glob(".*")] == []


def command(archive, output, *options):
    return [sys.executable, "-m", "harpsstar.cli", "predict", archive, "-o", output, "-q",
            "--batch", "2", *options]


@pytest.mark.slow
def test_a_killed_command_goes_on(archive, tmp_path):
    """With worker processes, killed after a third of its rows."""
    whole, output = tmp_path / "whole.ecsv", tmp_path / "t.ecsv"
    subprocess.run(command(archive, whole, "--jobs", "1"), check=False)
    process = subprocess.Popen(command(archive, output, "--jobs", "2", "--json"),
                               stdout=subprocess.PIPE, text=True)
    rows = (line for line in process.stdout if line.startswith('{"event": "row"'))
    told = sum(1 for _, _ in zip(range(14), rows, strict=False))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with Journal(journal_of(output)) as journal:
        assert told <= sum(journal.counts().values()) < 43
    subprocess.run(command(archive, output, "--jobs", "2"), check=False)
    assert difference(read_table(output), read_table(whole)) < 1e-5


@pytest.mark.slow
def test_a_cluster_gives_the_same_table_and_may_lose_a_worker(archive, tmp_path):
    distributed = pytest.importorskip("distributed")
    here, there = tmp_path / "here.ecsv", tmp_path / "there.ecsv"
    subprocess.run(command(archive, here, "--jobs", "1"), check=False)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1,
                                  dashboard_address=None) as cluster:
        process = subprocess.Popen(
            command(archive, there, "--scheduler", cluster.scheduler_address, "--json"),
            stdout=subprocess.PIPE, text=True,
        )
        rows = (line for line in process.stdout if line.startswith('{"event": "row"'))
        for _, _ in zip(rows, range(8), strict=False):
            pass
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
        process.communicate()
    assert difference(read_table(here), read_table(there)) < 1e-5

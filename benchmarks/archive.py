"""What the archive engine is worth: rates, memory, kills, mutations, a cluster.

    python benchmarks/archive.py run --files 10000 --faulty 500 --jobs 2
    python benchmarks/archive.py jobs --files 400
    python benchmarks/archive.py kill --times 20
    python benchmarks/archive.py mutate --files 2000
    python benchmarks/archive.py cluster --files 200

Files are made by the mock observer and hard-linked; everything happens in a temporary folder.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from harpsstar.archive.discover import Selection, survey  # noqa: E402
from harpsstar.archive.journal import Journal  # noqa: E402
from harpsstar.io.paths import find  # noqa: E402
from harpsstar.io.results import read_table  # noqa: E402
from tests.archive.compare import difference  # noqa: E402
from tests.archive.faults import FAULTS, good  # noqa: E402

#: Different spectra in a corpus; the rest are links.
_EXPOSURES, _MERGED = 24, 5
_ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def make_corpus(
    folder: Path, n_files: int, n_faulty: int, *, nights: bool = False
) -> dict[str, str]:
    """Fill a folder with nights of 100 files; return file name to the reason expected, or "".

    Of merged spectra, which are small, or of what whole mock nights leave.
    """
    source = folder / "source"
    good_ones = _of_nights(source) if nights else _merged(source)
    spectrum = good()
    bad_ones = []
    for name, (make, reason) in FAULTS.items():
        path = source / f"{name}.bad"
        path.write_bytes(make(spectrum))
        bad_ones.append((path, reason))
    faulty = set(random.Random(1).sample(range(n_files), n_faulty))
    take_bad, take_good = itertools.cycle(bad_ones), itertools.cycle(good_ones)
    expected = {}
    for number in range(n_files):
        path, reason = next(take_bad) if number in faulty else (next(take_good), "")
        night = folder / "archive" / f"night-{number // 100:04d}"
        night.mkdir(parents=True, exist_ok=True)
        name = f"{number:06d}.fits"
        os.link(path, night / name)
        expected[name] = reason
    return expected


def _merged(source: Path) -> list[Path]:
    source.mkdir(parents=True)
    paths = [source / f"{seed}.fits" for seed in range(_MERGED)]
    for seed, path in enumerate(paths):
        path.write_bytes(good(seed=seed, snr=20.0 + 40.0 * seed, rv=-50.0 + 20.0 * seed))
    return paths


def _of_nights(source: Path) -> list[Path]:
    from harpsstar.mock.night import observe_night

    observe_night(_EXPOSURES, source, seed=1)
    with Journal() as journal:
        chosen = survey(find([source]), Selection(), journal).chosen
    return [item.found.path for item in chosen]


def command(folder: Path, output: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "harpsstar.cli", "predict", str(folder / "archive"),
            "--keep-all", "-q", "-o", str(output), *options]


def memory(pid: int) -> float:
    """Proportional memory of a process and all its children, MB."""
    total = 0.0
    for process in [pid, *_children(pid)]:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return total


def _children(pid: int) -> Iterator[int]:
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, tasks.read_text().split()):
            yield child
            yield from _children(child)


def run(arguments: argparse.Namespace, folder: Path) -> None:
    """Numbered line 1: every file, good and bad, with rates and memory."""
    expected = make_corpus(folder, arguments.files, arguments.faulty, nights=True)
    output = folder / "t.fits"
    begin = time.monotonic()
    process = subprocess.Popen(
        command(folder, output, "--json", "--jobs", str(arguments.jobs)), env=_ENVIRONMENT,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )
    steps: Counter[str] = Counter()
    marks = {}
    early = min(1000, arguments.files // 10)
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "found":
            start = time.monotonic()
        if event["event"] != "row":
            continue
        for step in ("reading", "preparing", "inferring"):
            steps[step] += event[step]
        if event["number"] in (early, arguments.files // 2, arguments.files):
            marks[event["number"]] = memory(process.pid), time.monotonic() - start
    code = process.wait()
    whole = time.monotonic() - begin
    rows = {Path(file).name: (status, message) for file, status, message in
            read_table(output)["file", "status", "message"].iterrows()}
    right = sum(
        (status == "failed" and reason in message) if reason else status != "failed"
        for name, reason in expected.items() for status, message in [rows[name]]
    )
    kinds = len({reason for reason in expected.values() if reason})
    last = marks[arguments.files]
    print(f"{arguments.files} files, {arguments.faulty} faulty of {kinds} kinds,"
          f" {arguments.jobs} jobs, exit code {code}")
    print(f"rows with the right status and reason: {right} of {len(expected)}")
    for number, (megabytes, seconds) in marks.items():
        print(f"after {number} rows: {megabytes:.0f} MB, {seconds:.0f} s")
    print(f"memory from {early} to {arguments.files}: {last[0] / marks[early][0] - 1:+.1%}")
    print(f"rate {arguments.files / last[1]:.1f}/s; {whole:.0f} s with start and table")
    print("time of the workers: " + ", ".join(
        f"{step} {seconds / steps.total():.0%} ({1000 * seconds / arguments.files:.1f} ms a file)"
        for step, seconds in steps.items()))


def jobs(arguments: argparse.Namespace, folder: Path) -> None:
    """Numbered line 3: what a second process brings."""
    make_corpus(folder, arguments.files, 0, nights=True)
    seconds = {}
    for n in (1, 2):
        output = folder / f"{n}.fits"
        process = subprocess.Popen(
            command(folder, output, "--json", "--jobs", str(n)), env=_ENVIRONMENT,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        # From the first row, as the start is the same for both.
        times = [(time.monotonic(), event["number"]) for event in map(json.loads, process.stdout)
                 if event["event"] == "row"]
        process.wait()
        (begin, first), (end, last) = times[0], times[-1]
        done = last - sum(moment - begin < 0.05 for moment, _ in times)
        seconds[n] = (end - begin) / done
        print(f"{n} jobs: {1 / seconds[n]:.1f}/s ({first} to {last})")
    print(f"ratio {seconds[1] / seconds[2]:.2f}")
    print("largest relative difference of the tables"
          f" {difference(read_table(folder / '1.fits'), read_table(folder / '2.fits')):.1e}")


def kill(arguments: argparse.Namespace, folder: Path) -> None:
    """Numbered line 2: killed at random moments, completed, compared."""
    make_corpus(folder, arguments.files, arguments.files // 20)
    whole, output = folder / "whole.fits", folder / "t.fits"
    begin = time.monotonic()
    options = ("--jobs", str(arguments.jobs), "--batch", "4")
    subprocess.run(command(folder, whole, *options), env=_ENVIRONMENT, check=False)
    longest = time.monotonic() - begin
    rng = random.Random(arguments.seed)
    done = []
    for _ in range(arguments.times):
        process = subprocess.Popen(command(folder, output, *options), env=_ENVIRONMENT,
                                   stderr=subprocess.DEVNULL)
        # Also during the start, and while the table is written.
        try:
            process.wait(rng.uniform(0.0, longest * arguments.share))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        done.append(_rows_in_journal(output))
    subprocess.run(command(folder, output, *options), env=_ENVIRONMENT, check=False)
    print(f"rows after each kill: {done}")
    print("largest relative difference from the uninterrupted table"
          f" {difference(read_table(output), read_table(whole)):.1e}")
    print("leftovers:", [path.name for path in folder.glob(".*")])


def _rows_in_journal(output: Path) -> int:
    path = output.with_name(output.name + ".journal")
    if not path.exists():
        return 0
    with Journal(path) as journal:
        return sum(journal.counts().values())


def mutate(arguments: argparse.Namespace, folder: Path) -> None:
    """Numbered line 4: bytes of valid files changed at random, in headers and in data."""
    from harpsstar.archive.engine import process
    from harpsstar.archive.pool import Processes
    from harpsstar.archive.worker import Input, Settings

    rng = random.Random(arguments.seed)
    formats = ("e2ds", "s1d", "s2d", "s1d_table")
    valid = {name: good(format=name) for name in formats}

    def mutants() -> Iterator[Input]:
        for number in range(arguments.files):
            data = bytearray(valid[formats[number % len(formats)]])
            header = data.index(b"END" + b" " * 77)
            for _ in range(rng.choice((1, 3, 30))):
                end = rng.choice((header, len(data) - 1))
                data[rng.randint(0, end)] = rng.randrange(256)
            path = folder / f"{number}.fits"
            path.write_bytes(data)
            yield Input(str(path), str(path))

    pool = Processes(1)
    statuses: Counter[str] = Counter()
    slowest, odd = 0.0, []
    for batch in process(mutants(), pool, Settings(), 16):
        for done in batch:
            assert done.row is not None
            assert done.row.covariance.shape == (4, 4)
            statuses[done.row.status] += 1
            slowest = max(slowest, done.reading + done.preparing + done.inferring)
            if not done.final or "unexpected" in done.row.message:
                odd.append((Path(done.key).name, done.row.message))
            os.unlink(done.key)
    pool.close()
    print(f"{arguments.files} mutants: {dict(statuses)}; the slowest took {slowest:.1f} s")
    print(f"deaths, limits and unexpected errors: {odd}")


def cluster(arguments: argparse.Namespace, folder: Path) -> None:
    """Numbered line 3: the same table from a Dask cluster, one of whose workers is killed."""
    from distributed import LocalCluster

    make_corpus(folder, arguments.files, arguments.files // 20)
    subprocess.run(command(folder, folder / "t.fits", "--jobs", "2"), env=_ENVIRONMENT, check=False)
    os.environ |= _ENVIRONMENT
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as workers:
        process = subprocess.Popen(
            command(folder, folder / "c.fits", "--json", "--batch", "4",
                    "--scheduler", workers.scheduler_address),
            env=_ENVIRONMENT, stdout=subprocess.PIPE, text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "row" and event["number"] == arguments.files // 3:
                victim = next(iter(workers.workers.values()))
                os.kill(victim.pid, signal.SIGKILL)
        print(f"exit code {process.wait()}")
    print("largest relative difference from local processes"
          f" {difference(read_table(folder / 'c.fits'), read_table(folder / 't.fits')):.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "jobs", "kill", "mutate", "cluster"])
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--faulty", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--times", type=int, default=5, help="kills")
    parser.add_argument("--share", type=float, default=0.6,
                        help="of a whole run, within which it is killed")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        globals()[arguments.what](arguments, Path(folder))


if __name__ == "__main__":
    main()

"""How long ``harpsstar predict`` takes, against reading the same files with astropy alone.

Run as ``python benchmarks/throughput.py [--files 200] [--jobs 2] [--template FILE]``. Writes mock
e2ds files with as many header cards as real ones have (or copies of a real file), reads them with
astropy.io.fits in one process, then runs the whole command, and prints wall seconds, the ratio
and the largest memory of the command and its workers together. Reading is measured in two ways:
pixels and header as astropy parses it lazily, and with the value of every card.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from astropy.io import fits

#: Cards of a real e2ds.
CARDS = 3000
#: Different stars; the other files are copies under other names.
STARS = 8


def make(folder: Path, n: int, template: Path | None) -> list[Path]:
    """Files to measure, with their blaze file."""
    originals = [template] if template else mocks(folder)
    paths = []
    for i in range(n):
        path = folder / f"{i:04d}_e2ds_A.fits"
        shutil.copy(originals[i % len(originals)], path)
        paths.append(path)
    for path in originals:
        if template is None:
            path.unlink()
    if template is not None:
        for blaze in template.parent.glob("*blaze*"):
            shutil.copy(blaze, folder.parent / blaze.name)
    return paths


def mocks(folder: Path) -> list[Path]:
    from harpsstar.mock import blaze_frame, observe_star, write
    from harpsstar.model.emulator import Emulator

    emulator, paths = Emulator.load(), []
    for i in range(STARS):
        hdus = observe_star(
            4200.0 + 300 * i, 4.6 - 0.3 * (i % 3), -0.2 * (i % 4), 3.0 + 2 * i,
            rv=15.0 * i - 40, snr=30.0 * (1 + i), emulator=emulator, seed=i,
        )  # fmt: skip
        header = hdus[0].header
        for k in range(CARDS - len(header)):
            header[f"HIERARCH TNG DRS CAL FILL VALUE{k}"] = (1.2345 * k, "as many as a real one")
        path = folder / f"star{i}.fits"
        blaze = blaze_frame()
        paths.append(write(hdus, path, blaze=blaze if i == 0 else None))
    for blaze_file in folder.glob("*blaze*"):
        blaze_file.rename(folder.parent / blaze_file.name)
    return paths


def read(paths: list[Path], *, values: bool) -> float:
    """Wall seconds of astropy for all files."""
    start = time.perf_counter()
    for path in paths:
        with fits.open(path, memmap=False) as hdus:
            header, data = hdus[0].header, hdus[0].data
            if values:
                list(header.values())
            data.sum()
    return time.perf_counter() - start


class Memory(threading.Thread):
    """Largest resident memory of a process and all its descendants, bytes."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self.over = pid, 0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.1):
            self.peak = max(self.peak, sum(map(_resident, _family(self.pid))))


def _family(pid: int) -> list[int]:
    members, todo = [], [pid]
    while todo:
        one = todo.pop()
        members.append(one)
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                todo += map(int, task.read_text().split())
            except OSError:
                continue
    return members


def _resident(pid: int) -> int:
    """Memory of one process, what several share divided among them."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=None)
    parser.add_argument("--template", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "spectra"
        folder.mkdir()
        paths = make(folder, options.files, options.template)
        lazily, wholly = read(paths, values=False), read(paths, values=True)
        command = [sys.executable, "-m", "harpsstar.cli", "predict", str(folder), "--quiet",
                   "-o", str(Path(name) / "results.ecsv"), "--blaze-dir", name]  # fmt: skip
        if options.jobs is not None:
            command += ["--jobs", str(options.jobs)]
        start = time.perf_counter()
        process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
        memory = Memory(process.pid)
        memory.start()
        code = process.wait()
        seconds = time.perf_counter() - start
        memory.over.set()
    print(f"{options.files} files, exit code {code}")
    print(f"astropy, header lazily      {lazily:8.2f} s")
    print(f"astropy, every card's value {wholly:8.2f} s")
    each = 1e3 * seconds / options.files
    print(f"harpsstar predict           {seconds:8.2f} s, {each:.0f} ms each")
    print(f"ratio                       {seconds / wholly:8.2f} (every card), "
          f"{seconds / lazily:.2f} (lazily)")  # fmt: skip
    print(f"largest memory              {memory.peak / 1e6:8.0f} MB")


if __name__ == "__main__":
    main()

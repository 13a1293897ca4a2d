"""harpsstar and its peers on the same spectra: errors, coverage, time.

Run as ``python -m benchmarks.peers -n 2000 --snr 20 100 --work FOLDER --markdown TABLE``. What a
method has measured is kept in the folder, so that the same command goes on where it was stopped.
``pip install thecannon`` first; without it, or without the inputs of the synthesis for PySME, leave
those out with ``--only``. Times are processor seconds a spectrum of one thread, training apart.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.peers.cannon import Cannon
from benchmarks.peers.ours import Fit, Predict
from benchmarks.peers.payne import Payne
from benchmarks.peers.solver import Solver
from benchmarks.peers.starnet import StarNet
from benchmarks.peers.task import Answer, FloatArray, Method, Task, World, make_task, timed
from harpsstar.evaluate.accuracy import least_errors
from harpsstar.evaluate.bound import KNOWN
from harpsstar.io.results import replacing
from harpsstar.spectra.frame import canonical_wavelengths

METHODS: dict[str, type[Method]] = {
    "predict": Predict, "fit": Fit, "payne": Payne, "starnet": StarNet, "cannon": Cannon,
    "pysme": Solver,
}  # fmt: skip
HEADER = ("method", "SNR", "n", "teff, K", "logg", "m_h", "vsini, km/s", "68 % holds", "s/star")


def measure(
    key: str, tasks: list[Task], world: World, folder: Path, tag: str
) -> list[tuple[Task, Answer, float]]:
    """Measure what is not in the folder yet; tasks as given, answers and processor seconds."""
    method, trained = METHODS[key](), False
    results = []
    for task in map(method.given, tasks):
        path = folder / f"{key}-{task.snr:g}-{len(task)}-{tag}.npz"
        if not path.exists():
            if not trained:
                _, seconds = timed(lambda: method.train(world))
                print(f"{method.name}: ready after {seconds:.0f} s", flush=True)
                trained = True
            answer, seconds = timed(lambda task=task: method(task))
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez(file, labels=answer.labels, sigma=answer.sigma, seconds=seconds)
        with np.load(path) as kept:
            results.append((task, Answer(kept["labels"], kept["sigma"]), float(kept["seconds"])))
    return results


def row(name: str, task: Task, answer: Answer, seconds: float) -> list[str]:
    """A row of the table."""
    error = answer.labels - task.labels.double().numpy()
    inside = (np.abs(error) <= answer.sigma).mean(0)
    cover = " ".join(f"{100 * share:.0f}" for share in inside)
    start = [name, f"{task.snr:g}", f"{len(task):,}"]
    return [*start, *_errors(np.abs(error).mean(0)), cover, f"{seconds / len(task):.2g}"]


def bound(world: World, task: Task, n: int) -> FloatArray:
    """Least mean absolute error (4,) of any method, from the first `n` stars."""
    simulator, parts = world.simulator(0), []
    ivar = torch.full((64, *canonical_wavelengths().shape), task.ivar)
    for start in range(0, n, 64):
        stars = world.draw(simulator, 64)
        assert torch.equal(stars.labels, task.labels[start : start + 64])
        parts.append(least_errors(simulator, stars, ivar, KNOWN)[:, 1])
    return torch.cat(parts).mean(0).numpy()


def _errors(values: FloatArray) -> list[str]:
    return [f"{v:.{d}f}" for v, d in zip(values, (1, 4, 4, 3), strict=True)]


def markdown(rows: list[list[str]]) -> str:
    """The table for the documentation."""
    lines = [HEADER, ["---"] * len(HEADER), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("-n", type=int, default=2000, help="spectra (PySME gets fewer)")
    parser.add_argument("--snr", type=float, nargs="+", default=[20.0, 100.0])
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--narrow", action="store_true", help="dwarfs like the Sun only")
    parser.add_argument("--bound-stars", type=int, default=2048, help="in steps of 64")
    parser.add_argument("--work", type=Path, default=Path("peers-work"))
    parser.add_argument("--markdown", type=Path, help="file to write the table to")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    world = World(options.seed, narrow=options.narrow)
    labels, flux = world.noise_free(options.n, stream=0)
    tasks = [make_task(labels, flux, world, snr) for snr in options.snr]
    tag = f"{options.seed}{'-narrow' * options.narrow}"
    rows: list[list[str]] = []
    for key in options.only:
        found = measure(key, tasks, world, options.work, tag)
        rows += [row(METHODS[key].name, *one) for one in found]
    n_bound = min(options.bound_stars, options.n) // 64 * 64
    for task in tasks if n_bound else ():
        least = _errors(bound(world, task, n_bound))
        rows.append(["least possible", f"{task.snr:g}", f"{n_bound:,}", *least, "", ""])
    rows.sort(key=lambda cells: float(cells[1]))
    table = Table(*HEADER, title=f"n = {options.n:,}, seed {options.seed}")
    for cells in rows:
        table.add_row(*cells)
    Console(width=120).print(table)
    for key in options.only:
        print(f"{METHODS[key].name}: {METHODS[key].what}")
    if options.markdown:
        with replacing(options.markdown) as temporary:
            temporary.write_text(markdown(rows), encoding="utf-8")


if __name__ == "__main__":
    main()

"""harpsstar and its peers on the same spectra: errors, coverage, time.

Run as ``python -m benchmarks.peers -n 2000 --snr 20 100 --work FOLDER --markdown TABLE``. What a
method has measured is kept in the folder, so that the same command goes on where it was stopped.
``pip install thecannon`` first; without it, or without the inputs of the synthesis for PySME, leave
those out with ``--only``. Times are processor seconds a spectrum of one thread, training apart.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
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
from harpsstar.evaluate.accuracy import expected_error_inside
from harpsstar.evaluate.bound import KNOWN, cramer_rao, information, mean_absolute_error
from harpsstar.spectra.frame import canonical_wavelengths

METHODS: dict[str, type[Method]] = {
    "predict": Predict, "fit": Fit, "payne": Payne, "starnet": StarNet, "cannon": Cannon,
    "pysme": Solver,
}  # fmt: skip
HEADER = ("method", "SNR", "n", "teff, K", "logg", "m_h", "vsini, km/s", "68 % holds", "s/star")


@dataclass(frozen=True)
class Kept:
    """What a method made of a task."""

    answer: Answer
    seconds: float


def measure(
    key: str, snrs: list[float], n: int, world: World, folder: Path, seed: int
) -> list[tuple[Task, Kept]]:
    """Measure what is not in the folder yet."""
    method, trained = METHODS[key](), False
    results = []
    for snr in snrs:
        task = method.given(make_task(world, snr, n))
        path = folder / f"{key}-{snr:g}-{len(task)}-{seed}{'-narrow' * world.narrow}.npz"
        if not path.exists():
            if not trained:
                begin = time.process_time()
                method.train(world)
                print(f"{method.name}: ready after {time.process_time() - begin:.0f} s", flush=True)
                trained = True
            answer, seconds = timed(lambda task=task: method(task))
            _save(path, answer, seconds)
        results.append((task, _load(path)))
    return results


def _save(path: Path, answer: Answer, seconds: float) -> None:
    part = path.with_suffix(".part.npz")
    np.savez(part, labels=answer.labels, sigma=answer.sigma, seconds=seconds)
    part.replace(path)


def _load(path: Path) -> Kept:
    with np.load(path) as kept:
        return Kept(Answer(kept["labels"], kept["sigma"]), float(kept["seconds"]))


def row(name: str, task: Task, kept: Kept) -> list[str]:
    """A row of the table."""
    error = kept.answer.labels - task.labels.double().numpy()
    inside = (np.abs(error) <= kept.answer.sigma).mean(0)
    cover = " ".join(f"{100 * share:.0f}" for share in inside)
    start = [name, f"{task.snr:g}", f"{len(task):,}"]
    return [*start, *_errors(np.abs(error).mean(0)), cover, f"{kept.seconds / len(task):.2g}"]


def bound(world: World, task: Task, n: int) -> FloatArray:
    """Least mean absolute error (4,) of any method, from the first `n` stars."""
    simulator, parts = world.simulator(0), []
    for start in range(0, n, 64):
        stars = world.draw(simulator, 64)
        assert torch.equal(stars.labels, task.labels[start : start + 64])
        labels, vmic, vmac, alpha = stars.columns
        fisher = information(
            world.emulator, canonical_wavelengths(), labels,
            ivar=torch.full((64, *canonical_wavelengths().shape), task.ivar),
            vmic=vmic, vmac=vmac, alpha=alpha, resolution=simulator.resolution, free=KNOWN,
            related=True,
        )  # fmt: skip
        gaussian = mean_absolute_error(cramer_rao(fisher))
        inside = expected_error_inside(world.emulator, labels, cramer_rao(fisher, prior=False))
        parts.append(torch.minimum(inside, gaussian))
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
    rows: list[list[str]] = []
    for key in options.only:
        found = measure(key, options.snr, options.n, world, options.work, options.seed)
        rows += [row(METHODS[key].name, task, kept) for task, kept in found]
    for snr in options.snr:
        n = min(options.bound_stars, options.n) // 64 * 64
        least = bound(world, make_task(world, snr, n), n) if n else None
        if least is not None:
            rows.append(["least possible", f"{snr:g}", f"{n:,}", *_errors(least), "", ""])
    rows.sort(key=lambda cells: float(cells[1]))
    table = Table(*HEADER, title=f"n = {options.n:,}, seed {options.seed}")
    for cells in rows:
        table.add_row(*cells)
    Console(width=120).print(table)
    for key in options.only:
        print(f"{METHODS[key].name}: {METHODS[key].what}")
    if options.markdown:
        options.markdown.write_text(markdown(rows), encoding="utf-8")


if __name__ == "__main__":
    main()

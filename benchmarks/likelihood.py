"""One likelihood with its gradient: the emulator against PySME synthesising the same pixels.

Run as ``python benchmarks/likelihood.py [--threads 2]``; with HARPSSTAR_CACHE naming a folder of
inputs it times PySME, too, whose gradient takes a synthesis for each parameter besides.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import torch

from harpsstar.evaluate.posterior import observe
from harpsstar.grid import inputs
from harpsstar.infer.fit.engine import Fitter
from harpsstar.infer.fit.likelihood import CHUNK
from harpsstar.infer.fit.options import Options
from harpsstar.infer.fit.space import Space

#: What PySME would have to differentiate by: teff, logg, m_h, vmic and alpha change the synthesis,
#: the velocities do not.
SYNTHESES = 6


def best_of(work: Callable[[], object], repeats: int = 7) -> tuple[float, float]:
    """Shortest wall and processor time in seconds, after a first call that fills caches."""
    if repeats > 1:
        work()
    walls, processors = [], []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return min(walls), min(processors)


def pysme_seconds() -> tuple[float, float]:
    """Wall and processor time of one synthesis of the eight orders, 5010–5410 Å, for the Sun."""
    from harpsstar.grid import atlas9, synthesis
    from harpsstar.model import linelist

    root = inputs.root()
    lines = linelist.assemble(root)
    decks = {(d.teff, d.logg, d.m_h): d for d in atlas9.find_family(root)}
    deck = decks[(5750, 4.5, 0.0)]
    return best_of(lambda: synthesis.synthesize(deck, lines, vmic=1.0), repeats=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    fitter = Fitter(Options())
    space = Space(Options(), fitter.emulator, [0.0])
    truth = space.start({"teff": 5772.0, "logg": 4.44, "m_h": 0.0, "vsini": 3.0})[None]
    spectrum = observe(fitter.emulator, space, truth, 100.0, torch.Generator().manual_seed(0))
    start = fitter.prepare(spectrum)
    solution = fitter.solve([start]).solution
    posterior, square = solution.posterior, solution.optimum.square

    def gradient() -> None:
        # A point that moves, or the derivatives would be remembered.
        square[0] += 1e-6
        posterior.expand(square)

    many = solution.best.repeat(CHUNK, 1)
    rows = {
        "likelihood, alone": best_of(lambda: posterior.log_prob(many[:1])),
        f"likelihood, each of {CHUNK}": best_of(lambda: posterior.log_prob(many)),
        f"likelihood and {len(space)} derivatives": best_of(gradient),
        "predict (the start)": best_of(lambda: fitter.prepare(spectrum)),
        "fit, Laplace, without the start": best_of(lambda: fitter.solve([start]), repeats=3),
    }
    scale = {f"likelihood, each of {CHUNK}": 1 / CHUNK}
    print(f"milliseconds, {options.threads} threads{'':20s}wall processor")
    for name, seconds in rows.items():
        wall, processor = (1e3 * scale.get(name, 1.0) * x for x in seconds)
        print(f"  {name:40s}{wall:9.2f} {processor:9.2f}")
    if inputs.VARIABLE not in os.environ:
        print(f"PySME was not timed: set {inputs.VARIABLE}")
        return
    wall, processor = pysme_seconds()
    ours = rows[f"likelihood and {len(space)} derivatives"]
    print(f"  {'PySME, one synthesis':40s}{1e3 * wall:9.0f} {1e3 * processor:9.0f}")
    ratio = SYNTHESES * processor / ours[1]
    print(f"  with gradient ({SYNTHESES} syntheses) PySME takes {ratio:.0f} times as long")


if __name__ == "__main__":
    main()

"""Choices of synthesis, measured: time and accuracy against PySME's defaults, and the old way.

Run with HARPSSTAR_CACHE naming a folder of inputs:  python benchmarks/synthesis.py
For a few stars it prints the seconds of CPU for each node and the largest difference of any pixel,
first from eight-point quadrature on the fixed grid, then of today's way of making the nodes of one
atmosphere (several microturbulences at a quarter of the pixels) from each node made by itself with
PySME's adaptive steps of the continuum.
"""

from __future__ import annotations

import contextlib
import os
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from harpsstar.grid import atlas9, inputs, sampling, synthesis
from harpsstar.grid.atlas9 import Node
from harpsstar.model import linelist

STARS = [(4000, 4.5, 0.0), (5000, 2.0, -2.0), (5750, 4.5, 0.0), (9000, 4.0, 0.0)]
VMIC = (0.5, 1.0, 1.5, 2.0, 3.0)


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of CPU of a call, and what it returns."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def adaptive(deck: atlas9.Deck, lines: linelist.LineArray, vmic: float) -> np.ndarray:
    """PySME as it comes: adaptive wavelengths, seven equal-area points."""
    pysme = synthesis.load_pysme()
    state = synthesis.state_for(deck, linelist.relevant(lines, deck.teff), vmic)
    state.wave = synthesis.wavelengths()
    pysme.synthesize.Synthesizer().synthesize_spectrum(state)
    return np.asarray(state.synth[0])


def by_itself(deck: atlas9.Deck, lines: linelist.LineArray, vmic: float) -> np.ndarray:
    """One node as it was made before: PySME's own steps of the continuum, all pixels."""
    pysme = synthesis.load_pysme()
    mu, weight = synthesis.disk_quadrature()
    wave = synthesis.wavelengths()
    state = synthesis.state_for(deck, linelist.relevant(lines, deck.teff), vmic)
    state.wave, state.wint = wave, [wave]
    state.normalize_by_continuum, state.specific_intensities_only = False, True
    state.mu = mu
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        pysme.synthesize.Synthesizer().synthesize_spectrum(state)
    return (weight @ state.sint[0]) / (weight @ state.cint[0])


def compare(deck: atlas9.Deck, lines: linelist.LineArray) -> tuple[float, float]:
    """Print old and new side by side, and return seconds a node of each."""
    wave = synthesis.wavelengths()
    own = [sampling.pixels(Node(deck, vmic, 0.0)) for vmic in VMIC]
    wanted = [(vmic, wave[pixels]) for vmic, pixels in zip(VMIC, own, strict=True)]
    old, before = cpu(lambda: [by_itself(deck, lines, vmic) for vmic in VMIC])
    new, after = cpu(lambda: synthesis.synthesize_each(deck, lines, wanted))
    pairs = zip(before, after, own, strict=True)
    worst = max(abs(flux - whole[pixels]).max() for whole, flux, pixels in pairs)
    n = len(VMIC)
    print(f"  each node by itself {old / n:5.2f} s, together at a quarter of the pixels"
          f" {new / n:5.2f} s: {old / new:.1f} times, largest difference {worst:.1e}")
    return old / n, new / n


def main() -> None:
    root = inputs.root()
    lines = linelist.assemble(root)
    decks = {(d.teff, d.logg, d.m_h): d for d in atlas9.find_family(root)}
    synthesis.load_pysme()
    seconds = []
    for star in STARS:
        deck = decks[star]
        truth = synthesis.synthesize(deck, lines, vmic=2.0, n_mu=8)
        print(f"teff {star[0]} logg {star[1]} m_h {star[2]}")
        variants = {
            "fixed grid, 3 points (ours)": lambda d=deck: synthesis.synthesize(d, lines, vmic=2.0),
            "fixed grid, 2 points": lambda d=deck: synthesis.synthesize(
                d, lines, vmic=2.0, n_mu=2
            ),
            "adaptive grid, 7 points (PySME)": lambda d=deck: adaptive(d, lines, 2.0),
        }
        for name, make in variants.items():
            taken, flux = cpu(make)
            difference = np.abs(flux - truth)
            print(
                f"  {name:34s} {taken:5.2f} s   median {np.median(difference):.1e}"
                f"   max {difference.max():.1e}"
            )
        seconds.append(compare(deck, lines))
    old, new = (60 / np.mean(column) for column in zip(*seconds, strict=True))
    print(f"nodes a minute a core: {old:.1f} before, {new:.1f} now, {new / old:.1f} times")


if __name__ == "__main__":
    main()

"""Choices of synthesis, measured: quadrature and wavelength grid against PySME's defaults.

Run with HARPSSTAR_CACHE naming a folder of inputs:  python benchmarks/synthesis.py
Prints, for three stars, the time and the difference from eight-point quadrature on the fixed grid.
"""

from __future__ import annotations

import time

import numpy as np

from harpsstar.synth import atlas9, inputs, linelist, synthesis

STARS = [(4000, 4.5, 0.0), (5750, 4.5, 0.0), (9000, 4.0, 0.0)]


def adaptive(deck: atlas9.Deck, lines: linelist.LineArray, vmic: float) -> np.ndarray:
    """PySME as it comes: adaptive wavelengths, seven equal-area points."""
    pysme = synthesis.load_pysme()
    state = synthesis.state_for(deck, linelist.relevant(lines, deck.teff), vmic)
    state.wave = synthesis.wavelengths()
    pysme.synthesize.Synthesizer().synthesize_spectrum(state)
    return np.asarray(state.synth[0])


def main() -> None:
    root = inputs.root()
    lines = linelist.assemble(root)
    decks = {(d.teff, d.logg, d.m_h): d for d in atlas9.find_family(root)}
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
            start = time.perf_counter()
            flux = make()
            seconds = time.perf_counter() - start
            difference = np.abs(flux - truth)
            print(
                f"  {name:34s} {seconds:5.2f} s   median {np.median(difference):.1e}"
                f"   max {difference.max():.1e}"
            )


if __name__ == "__main__":
    main()

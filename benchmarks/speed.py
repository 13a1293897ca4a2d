"""How fast spectra are made: nodes of the grid, PySME called directly, and the emulator.

Run with HARPSSTAR_CACHE naming a folder of inputs:  python benchmarks/speed.py [--batch 64]
Seconds are those of one core (CPU time), so that other work on the machine does not count. The
emulator makes a batch of different stars; that it makes the same spectrum as PySME is shown too.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from harpsstar.grid import atlas9, inputs, synthesis
from harpsstar.model import linelist
from harpsstar.model.emulator import Emulator
from harpsstar.spectra.frame import canonical_wavelengths

NODES = [(4000, 4.5, 0.0), (5750, 4.5, 0.0), (9000, 4.0, 0.0)]
#: The star of the comparison: labels, km/s, km/s.
STAR, VMIC, VMAC, RESOLUTION = (5750.0, 4.5, 0.0, 5.0), 1.0, 3.0, 115000.0


def cpu(work: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """Smallest CPU time of a call in seconds, and what it returns."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        seconds.append(time.process_time() - start)
    return min(seconds), result


def directly(deck: atlas9.Deck, lines: linelist.LineArray, wave: np.ndarray) -> np.ndarray:
    """The star's normalised spectrum as a user of PySME would ask for it, broadening and all."""
    pysme = synthesis.load_pysme()
    state = synthesis.state_for(deck, linelist.relevant(lines, deck.teff), VMIC)
    state.wave = wave
    state.vsini, state.vmac = STAR[3], VMAC
    state.ipres, state.iptype = RESOLUTION, "gauss"
    pysme.synthesize.Synthesizer().synthesize_spectrum(state)
    return np.asarray(state.synth[0])


def draw(emulator: Emulator, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels (B, 4) and vmic (B,), uniform where there are atmospheres."""
    generator = torch.Generator().manual_seed(1)
    low, high = (torch.stack([axis[i] for axis in emulator.grid.axes[:4]]) for i in (0, -1))
    points = low + (high - low) * torch.rand(8 * size, 4, generator=generator)
    points = points[emulator.contains(*points.unbind(1))][:size]
    vsini = 30 * torch.rand(size, 1, generator=generator)
    return torch.cat([points[:, :3], vsini], 1), points[:, 3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)

    root = inputs.root()
    lines = linelist.assemble(root)
    decks = {(deck.teff, deck.logg, deck.m_h): deck for deck in atlas9.find_family(root)}
    synthesis.load_pysme()
    print("nodes of the grid (5010-5410 Å, no rotation), on one core")
    each = []
    for node in NODES:
        seconds, _ = cpu(lambda n=node: synthesis.synthesize(decks[n], lines, vmic=VMIC))
        each.append(seconds)
        print(f"  teff {node[0]} logg {node[1]} m_h {node[2]:+.1f}  {seconds:6.2f} s")
    print(f"  nodes per minute per core          {60 / np.mean(each):10.1f}")

    frame = canonical_wavelengths()
    wave = np.unique(frame)
    slow, truth = cpu(lambda: directly(decks[STAR[:3]], lines, wave))
    emulator = Emulator.load()
    labels, vmic = draw(emulator, options.batch)
    vmac = torch.full_like(vmic, VMAC)
    sampler = emulator.sampler(frame)
    with torch.no_grad():
        fast, _ = cpu(lambda: emulator.at(sampler, labels, vmic=vmic, vmac=vmac), repeats=6)
        one = emulator.at(wave, torch.tensor([STAR]), vmic=VMIC, vmac=VMAC, resolution=RESOLUTION)
    rate = options.batch / fast
    difference = np.abs(one[0].numpy() - truth)
    print("one spectrum in the eight orders, broadened, on one core")
    print(f"  PySME called directly, s           {slow:10.2f}")
    print(f"  emulator, spectra per s            {rate:10.0f}   (batches of {options.batch})")
    print(f"  times faster                       {slow * rate:10.0f}")
    typical, rare = np.median(difference), np.quantile(difference, 0.99)
    print(f"  they differ, share of continuum    {typical:10.4f}   (99 % of pixels: {rare:.4f})")
    if emulator.metadata.get("linelist_sha256") != linelist.digest(lines):
        print("  (the packaged grid was computed from another line list than this tree's)")


if __name__ == "__main__":
    main()

"""How long the emulator takes for the eight orders, and for their gradients.

Run as ``python benchmarks/emulator.py [--batch 64] [--threads 2] [--grid FILE]``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from harpsstar.evaluate.bound import Nuisances, information
from harpsstar.model.emulator import Emulator


def best_of(work: Callable[[], object], repeats: int = 9) -> float:
    """Shortest wall time in milliseconds, after a first call that fills caches."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def draw(emulator: Emulator, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels (B, 4) and vmic (B,), uniform where there are nodes."""
    generator = torch.Generator().manual_seed(1)
    low, high = (torch.stack([axis[i] for axis in emulator.grid.axes[:4]]) for i in (0, -1))
    points = low + (high - low) * torch.rand(8 * size, 4, generator=generator)
    points = points[emulator.contains(*points.unbind(1))][:size]
    vsini = 30 * torch.rand(len(points), 1, generator=generator)
    return torch.cat([points[:, :3], vsini], 1), points[:, 3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--grid", default=None)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    start = time.perf_counter()
    emulator = Emulator.load(options.grid)
    print(f"load                         {1e3 * (time.perf_counter() - start):8.1f} ms")
    wave = np.linspace(5025.0, 5393.0, 8 * 4096).reshape(8, 4096)
    start = time.perf_counter()
    sampler = emulator.sampler(wave)
    print(f"sampler for 8 x 4096 pixels  {1e3 * (time.perf_counter() - start):8.1f} ms")

    labels, vmic = draw(emulator, options.batch)
    vmac, rv = torch.full_like(vmic, 3.0), torch.linspace(-100, 100, len(vmic))
    leaves = [x.clone().requires_grad_() for x in (labels, vmic, vmac, rv)]

    def spectra(
        labels: torch.Tensor, vmic: torch.Tensor, vmac: torch.Tensor, rv: torch.Tensor
    ) -> torch.Tensor:
        return emulator.at(sampler, labels, vmic=vmic, vmac=vmac, rv=rv)

    def backward() -> None:
        spectra(*leaves).square().mean().backward()

    def fisher() -> None:
        free = Nuisances(vmic=0.3, vmac=1.0, rv=1.0, continuum=2)
        information(emulator, wave, labels, vmic=vmic, vmac=vmac, ivar=1e4, free=free)

    with torch.no_grad():
        rows = {
            "coefficients": best_of(lambda: emulator.coefficients(labels, vmic)),
            "unbroadened": best_of(lambda: emulator.intrinsic(labels, vmic)),
            "broadened, own grid": best_of(lambda: emulator(labels, vmic=vmic, vmac=vmac, rv=rv)),
            "8 x 4096 pixels": best_of(lambda: spectra(labels, vmic, vmac, rv)),
        }
        one = best_of(lambda: spectra(labels[:1], vmic[:1], vmac[:1], rv[:1]))
    rows["8 x 4096 and gradient"] = best_of(backward)
    rows["bound, all nuisances free"] = best_of(fisher, repeats=1)
    print(
        f"ms per spectrum in batches of {len(labels)}, {options.threads} threads, "
        f"{emulator.components.shape[0]} components"
    )
    for name, milliseconds in rows.items():
        print(f"  {name:27s}{milliseconds / len(labels):8.3f}")
    print(f"  {'8 x 4096 pixels, alone':27s}{one:8.3f}")


if __name__ == "__main__":
    main()

"""Where the physics is wrong: the pattern of model errors, learnt from a star that is known.

One-dimensional LTE with an uncalibrated line list misses some lines and has others too strong, and
it does so at the same wavelengths in every star of a kind. The residual of the Sun at the Sun's
own labels therefore says which pixels of a cool star to trust.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from harpsstar._tensors import write_tensors
from harpsstar.io import read
from harpsstar.spectra import continuum
from harpsstar.spectra.frame import (
    N_PIXELS,
    ROWS,
    Canonical,
    canonical_wavelengths,
    pixels_from,
    to_canonical,
)
from harpsstar.spectra.velocity import measure_velocity
from harpsstar.synth.emulator import Emulator

FILE = "mismatch.safetensors"
#: The Sun: IAU nominal teff and logg (Prsa et al. 2016), zero by definition, and 1.8 km/s
#: (Pavlenko et al. 2012); vmic 1.0 and vmac 3.2 km/s (Doyle et al. 2014).
SUN_LABELS = (5772.0, 4.438, 0.0, 1.8)
SUN_VMIC, SUN_VMAC = 1.0, 3.2
#: Pixels over which the residual is smoothed: a line is known by its core and wings together.
_SMOOTHING = 2.0
#: Relative to the median: no pixel is trusted more than this.
_FLOOR = 0.3
_ITERATIONS = 4


@cache
def load_mismatch() -> Tensor:
    """Return the packaged pattern, (8, 4096), median 1; all 1 where the package has none."""
    path = resources.files("harpsstar.data").joinpath(FILE)
    if not path.is_file():
        return torch.ones(len(ROWS), N_PIXELS)
    return load_file(str(path))["mismatch"].float()


def learn_mismatch(
    canonical: Canonical,
    emulator: Emulator,
    resolution: float,
    *,
    labels: tuple[float, ...] = SUN_LABELS,
    vmic: float = SUN_VMIC,
    vmac: float = SUN_VMAC,
) -> Tensor:
    """Learn the pattern from the spectrum of a star with known labels.

    Parameters
    ----------
    canonical : Canonical
        A spectrum whose noise is well below the model's errors.
    emulator : Emulator
    resolution : float
        Resolving power.
    labels, vmic, vmac
        Of the star; the Sun's by default.

    Returns
    -------
    Tensor
        (8, 4096) smoothed absolute residual in units of its median; 1 where there is no
        information. The continuum is fitted again with the pattern as its weight until both agree.
    """
    return _learn(canonical, emulator, resolution, labels, vmic, vmac)[0]


def _learn(
    canonical: Canonical,
    emulator: Emulator,
    resolution: float,
    labels: tuple[float, ...],
    vmic: float,
    vmac: float,
) -> tuple[Tensor, float]:
    """Pattern, and the median absolute residual in units of the continuum."""
    flux, ivar = (torch.from_numpy(a)[None] for a in (canonical.flux, canonical.ivar))
    sampler = emulator.sampler(canonical_wavelengths())
    grid = emulator(torch.tensor([labels]), vmic=vmic, vmac=vmac, resolution=resolution)
    model = sampler(grid)
    weight = (ivar > 0).float()
    pattern = torch.ones_like(flux)
    level = torch.nan
    for _ in range(_ITERATIONS):
        normal, kept = continuum.normalise(flux, weight, model)
        used = kept > 0
        residual = torch.where(used, normal - model, torch.zeros(()))
        smooth = _smoothed(residual.square()).sqrt()
        level = float(residual[used].abs().median())
        median = smooth[used].median()
        pattern = torch.where(used, smooth / median, torch.ones(())).clamp_min(_FLOOR)
        weight = torch.where(used, pattern.square().reciprocal(), torch.zeros(()))
    return pattern[0], level


def _smoothed(values: Tensor) -> Tensor:
    """Gaussian smoothing along the last axis."""
    reach = int(4 * _SMOOTHING)
    x = torch.arange(-reach, reach + 1) / _SMOOTHING
    kernel = torch.exp(-0.5 * x.square())
    rows = values.reshape(-1, 1, values.shape[-1])
    smooth = torch.nn.functional.conv1d(rows, (kernel / kernel.sum())[None, None], padding=reach)
    return smooth.reshape(values.shape)


def save_mismatch(pattern: Tensor, path: Path, source: str) -> None:
    """Write a pattern, saying which spectrum it was learnt from."""
    write_tensors({"mismatch": pattern.half()}, path, {"source": source})


def learn_from_file(spectrum: Path, output: Path) -> float:
    """Learn the pattern from a file with the Sun and write it.

    Returns
    -------
    float
        Median absolute residual of the Sun at its own labels, in units of the continuum.
    """
    emulator = Emulator.load()
    read_spectrum = read(spectrum)
    pixels = pixels_from(read_spectrum)
    canonical = to_canonical(pixels, measure_velocity(pixels, emulator).rv)
    resolution = read_spectrum.meta["observation"].resolution
    pattern, level = _learn(canonical, emulator, resolution, SUN_LABELS, SUN_VMIC, SUN_VMAC)
    save_mismatch(pattern, output, Path(spectrum).name)
    return level

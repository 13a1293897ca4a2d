"""The error of the physics: its pattern over the pixels, learnt from a star that is known.

One-dimensional LTE with an uncalibrated line list misses some lines and has others too strong, and
it does so at the same wavelengths in every star of a kind. The residual of the Sun at the Sun's
own labels therefore says which pixels of a cool star to trust.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from harpsstar import constants
from harpsstar.io.products import read_arrays
from harpsstar.model.emulator import Emulator
from harpsstar.model.templates import bank_of
from harpsstar.outputs.tensors import write_tensors
from harpsstar.spectra import continuum
from harpsstar.spectra.frame import (
    N_PIXELS,
    ROWS,
    Canonical,
    canonical_wavelengths,
    to_canonical,
)
from harpsstar.spectra.noise import MAD_TO_SIGMA
from harpsstar.spectra.velocity import measure_velocity

FILE = "mismatch.safetensors"
#: The Sun, as :mod:`harpsstar.constants` has it; vmic as the calibration of the line list found it.
SUN_LABELS = (constants.SUN_TEFF, constants.SUN_LOGG, constants.SUN_M_H, constants.SUN_VSINI)
SUN_VMIC, SUN_VMAC = 0.77, constants.SUN_VMAC
#: Pixels over which the residual is smoothed: a line is known by its core and wings together.
_SMOOTHING = 2.0
#: Relative to the median: no pixel is trusted more than this.
_FLOOR = 0.3
_ITERATIONS = 4
#: Pixels of the longest correlation that is summed.
_REACH = 30


@cache
def load_mismatch() -> Tensor:
    """Return the packaged pattern, (8, 4096), median 1; all 1 where the package has none."""
    path = resources.files("harpsstar.data").joinpath(FILE)
    if not path.is_file():
        return torch.ones(len(ROWS), N_PIXELS)
    return load_file(str(path))["mismatch"].float()


@dataclass(frozen=True)
class ModelError:
    """How wrong the models of a star are, learnt with the pattern.

    Attributes
    ----------
    level : float
        Median absolute residual of the star that the pattern was learnt on, in units of the
        continuum.
    correlation : float
        Pixels over which a residual is the same: the sum of its autocorrelation.
    source : str
        The spectrum.
    """

    level: float
    correlation: float
    source: str


@cache
def load_model_error() -> ModelError | None:
    """Return what was learnt with the packaged pattern; None where the package has no such file."""
    path = resources.files("harpsstar.data").joinpath(FILE)
    if not path.is_file():
        return None
    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata() or {}
    if "level" not in metadata:
        return None
    return ModelError(
        float(metadata["level"]), float(metadata["correlation"]), metadata.get("source", "")
    )


def draw_errors(n: int, generator: torch.Generator) -> Tensor:
    """Draw what the models of `n` stars may be off by, (n, 8, 4096), in units of the continuum.

    Gaussian, with the packaged pattern, size and correlation; nothing where the package has none.

    Parameters
    ----------
    n : int
    generator : torch.Generator
        The result is on its device.
    """
    device = generator.device
    error, pattern = load_model_error(), load_mismatch().to(device)
    if error is None:
        return torch.zeros(n, *pattern.shape, device=device)
    # noise smoothed with a Gaussian of s pixels has an autocorrelation that sums to 2 s √π
    width = max(error.correlation / (2 * math.sqrt(math.pi)), 0.3)
    white = torch.randn(n, *pattern.shape, generator=generator, device=device)
    kernel = _gaussian(width).to(device)
    smooth = _convolved(white, kernel / kernel.square().sum().sqrt())
    return MAD_TO_SIGMA * error.level * pattern * smooth


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
) -> tuple[Tensor, ModelError]:
    """Pattern, and size and correlation of the residual."""
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
    scaled = torch.where(used, residual / pattern, torch.zeros(())).clamp(-5 * level, 5 * level)
    return pattern[0], ModelError(level, _correlation(scaled[0], used[0]), "")


def _correlation(residual: Tensor, used: Tensor) -> float:
    """Sum of the autocorrelation of residuals (orders, pixels), until it first vanishes."""
    total, power = 1.0, residual.square().sum() / used.sum()
    for lag in range(1, _REACH + 1):
        both = (used[:, lag:] & used[:, :-lag]).sum()
        value = float((residual[:, lag:] * residual[:, :-lag]).sum() / both / power)
        if value <= 0:
            break
        total += 2 * value
    return total


def _smoothed(values: Tensor) -> Tensor:
    """Gaussian smoothing along the last axis."""
    return _convolved(values, _gaussian(_SMOOTHING))


def _gaussian(width: float) -> Tensor:
    """Kernel of unit sum with a standard deviation of `width` pixels."""
    reach = math.ceil(4 * width)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / width).square())
    return kernel / kernel.sum()


def _convolved(values: Tensor, kernel: Tensor) -> Tensor:
    """Convolution along the last axis with a kernel of odd length, zero padded."""
    rows = values.reshape(-1, 1, values.shape[-1])
    smooth = torch.nn.functional.conv1d(rows, kernel[None, None], padding=len(kernel) // 2)
    return smooth.reshape(values.shape)


def save_mismatch(pattern: Tensor, path: Path, error: ModelError) -> None:
    """Write a pattern and what was learnt with it, saying from which spectrum."""
    facts = {
        "source": error.source, "level": repr(error.level), "correlation": repr(error.correlation)
    }  # fmt: skip
    write_tensors({"mismatch": pattern.half()}, path, facts)


def learn_from_file(spectrum: Path, output: Path) -> float:
    """Learn the pattern from a file with the Sun and write it.

    Returns
    -------
    float
        Median absolute residual of the Sun at its own labels, in units of the continuum.
    """
    emulator = Emulator.load()
    sun = read_arrays(spectrum)
    pixels = sun.pixels()
    canonical = to_canonical(pixels, measure_velocity(pixels, bank_of(emulator)).rv)
    resolution = sun.observation.resolution
    pattern, error = _learn(canonical, emulator, resolution, SUN_LABELS, SUN_VMIC, SUN_VMAC)
    save_mismatch(pattern, output, replace(error, source=Path(spectrum).name))
    return error.level

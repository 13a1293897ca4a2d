"""Spectra and their derivatives in the coordinates of least squares."""

from __future__ import annotations

from torch import Tensor

from harpsstar.infer import parameters as space
from harpsstar.model.emulator import Emulator
from harpsstar.model.sampler import Sampler


def spectra_at(
    emulator: Emulator, sampler: Sampler, parameters: Tensor, resolution: float | Tensor
) -> Tensor:
    """Spectra (B, *sampler.shape) at parameters (B, P), see :mod:`harpsstar.infer.parameters`."""
    size, n = len(parameters), space.N_LABELS
    if size == 1:
        # a single row is transformed in another way than several
        parameters = parameters.repeat(2, 1)
        resolution = resolution.repeat(2) if isinstance(resolution, Tensor) else resolution
    grid = emulator(
        parameters[:, :n],
        **space.of_emulator(parameters[:, n:]),
        resolution=resolution,
        check=False,
    )
    return sampler(grid)[:size]


def slopes_at(
    emulator: Emulator, sampler: Sampler, parameters: Tensor, resolution: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Spectra and their derivatives with respect to all parameters, in working coordinates.

    Parameters
    ----------
    emulator, sampler
        The emulator and its sampler of the (orders, pixels) canonical wavelengths.
    parameters : Tensor
        (B, P), physical units.
    resolution : float or Tensor
        Resolving power, one or (B,).

    Returns
    -------
    flux : Tensor
        (B, orders, pixels)
    slopes : Tensor
        (B, orders, P, pixels)
    """
    n = space.N_LABELS
    flux, slopes = emulator.derivatives(
        sampler,
        parameters[:, :n],
        **space.of_emulator(parameters[:, n:]),
        resolution=resolution,
        by=space.PARAMETER_NAMES,
        squares=True,
        # across nodes slopes, and with them errors of labels, would jump by up to a fifth
        smooth=True,
    )
    for name, factor in space.square_slopes(parameters).items():
        slopes[:, space.PARAMETER_NAMES.index(name)] *= factor[:, None, None]
    return flux, slopes.movedim(1, 2)

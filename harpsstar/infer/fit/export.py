"""Posterior draws and the best model in the standard containers: ArviZ, specutils."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from astropy import units as u
from astropy.nddata import StdDevUncertainty
from specutils import Spectrum, SpectrumCollection

from harpsstar._version import __version__
from harpsstar.infer.fit.options import PARAMETERS
from harpsstar.infer.fit.solution import Solution
from harpsstar.spectra.frame import pixels_from

#: Draws that stand for Laplace's approximation, which has weights.
_N_DRAWS = 2000


def inference_data(arviz: Any, solution: Solution, files: tuple[str, ...]) -> Any:
    """Free parameters as ``InferenceData``: group posterior, with units, and lp in sample_stats."""
    values = solution.everything
    names = [name for name in values if name in solution.names]
    stats: dict[str, Any] = {}
    if solution.chains is None:
        index = solution.draws.systematic(_N_DRAWS)
        posterior = {name: values[name][index].numpy()[None] for name in names}
    else:
        shape = solution.chains.log_prob.shape
        posterior = {name: values[name].numpy().reshape(shape) for name in names}
        stats = {"lp": solution.chains.log_prob}
    attributes = {
        "inference_library": solution.posterior.space.options.sampler,
        "harpsstar_version": __version__,
        "files": ", ".join(files),
        "fixed": str(dict(solution.posterior.space.options.fixed)),
        "laplace_efficiency": solution.efficiency,
    }
    data = arviz.from_dict(posterior=posterior, sample_stats=stats or None,
                           posterior_attrs=attributes)  # fmt: skip
    for name in names:
        label = PARAMETERS[name.split("_")[0] if name.startswith("rv") else name]
        data.posterior[name].attrs |= {"units": label.unit, "description": label.description}
    return data


def _scale(observed: Spectrum | SpectrumCollection) -> float:
    """Flux of the spectrum in units of its own bare arrays, found at their brightest pixel."""
    pixels = pixels_from(observed)
    brightest = np.unravel_index(np.argmax(pixels.flux), pixels.flux.shape)
    wave = np.asarray(observed.spectral_axis.to_value("AA"), dtype=np.float64)
    flux = np.asarray(observed.flux.value, dtype=np.float64)[wave == pixels.wave[brightest]]
    return float(np.nanmax(flux) / pixels.flux[brightest])


def model_spectrum(
    solution: Solution, index: int, observed: Spectrum | SpectrumCollection
) -> SpectrumCollection:
    """Best model of one spectrum with its continuum, rows (O, N) of the fitted pixels.

    Air wavelengths in the barycentric frame, flux in the unit of the observed spectrum. The
    uncertainty is that of the observed pixels, with jitter and error of the physics;
    pixels that were left out are masked. ``meta`` holds ``normalised``, the model without
    continuum, and ``continuum``.
    """
    data, part = solution.data[index], solution.posterior.parts[index]
    spectrum, continuum = solution.models[index]
    level = data.level[:, None].double() * _scale(observed)
    unit = observed.flux.unit
    sigma = torch.where(part.weight > 0, part.weight.rsqrt(), torch.zeros(()))
    return SpectrumCollection(
        flux=u.Quantity((spectrum * continuum * level).numpy(), unit),
        spectral_axis=u.Quantity(data.wave, u.AA),
        uncertainty=StdDevUncertainty((sigma * level).numpy(), unit=unit),
        mask=np.asarray(part.weight <= 0),
        meta={"normalised": spectrum.numpy(), "continuum": (continuum * level).numpy()},
    )

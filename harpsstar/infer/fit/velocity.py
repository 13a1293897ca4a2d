"""Radial velocity by template matching, and a second set of lines.

The engine of the fit with every label held: the template is the emulator at the star's own labels,
the continuum of each order is free, noise, jitter and error of the physics are as in a fit.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harpsstar.errors import HarpsstarWarning
from harpsstar.infer.fit.engine import climb, data_of
from harpsstar.infer.fit.likelihood import CHUNK, Likelihood, Posterior
from harpsstar.infer.fit.options import STELLAR, Options
from harpsstar.infer.fit.space import Space
from harpsstar.infer.predict import predictor
from harpsstar.infer.prepare import Source, is_file
from harpsstar.io import read
from harpsstar.labels import NAMES
from harpsstar.model.relations import relation
from harpsstar.spectra.companion import BLEND, REACH, SIGNIFICANT
from harpsstar.spectra.frame import C_KM_S
from harpsstar.spectra.noise import level_and_scatter

FloatArray = npt.NDArray[np.float64]

#: Step of the search for a second set of lines, km/s.
_STEP = 1.5
#: A second set contributes this share of the light: below, weak lines that the emulator lacks
#: decide. (The flag DOUBLE_LINED of a prediction wants twice as much.)
_LEAST_SHARE = 0.02


@dataclass(frozen=True)
class SecondSet:
    """A second set of lines.

    Attributes
    ----------
    rv, rv_err : float
        Barycentric, km/s.
    share : float
        Of the light, for a companion with the spectrum of the first star.
    significance : float
        Height of its peak in units of the scatter of the curve.
    """

    rv: float
    rv_err: float
    share: float
    significance: float


@dataclass(frozen=True)
class RadialVelocity:
    """Result of :func:`velocity`.

    Attributes
    ----------
    rv, rv_err : float
        Barycentric, km/s; the error from noise, jitter and error of the physics. NaN where
        the frame of the wavelengths is not known to be barycentric.
    labels : mapping of str to float
        Of the template.
    second : SecondSet or None
        Where there is a second set of lines.
    velocities, curve : ndarray
        Significance of a second star at each velocity (km/s), for plots.
    """

    rv: float
    rv_err: float
    labels: Mapping[str, float]
    second: SecondSet | None
    velocities: FloatArray = field(repr=False)
    curve: FloatArray = field(repr=False)


def velocity(
    spectrum: Source,
    labels: Mapping[str, float] | None = None,
    *,
    model: str | Path | None = None,
    blaze_dir: str | Path | None = None,
) -> RadialVelocity:
    """Measure the radial velocity of a star whose labels are held.

    Parameters
    ----------
    spectrum : path, Spectrum or SpectrumCollection
    labels : mapping, optional
        Of the template, as ``{"teff": 5772, "logg": 4.44, "m_h": 0, "vsini": 2}``; what is not
        named is predicted, nuisances follow their relations.
    model, blaze_dir
        As in :func:`harpsstar.predict`.

    Returns
    -------
    RadialVelocity
        Without a barycentric frame (see :attr:`harpsstar.io.Observation.frame`) its velocities are
        NaN, and a :class:`~harpsstar.errors.HarpsstarWarning` says why.

    Raises
    ------
    ConfigError
        An unknown label, or one outside the grid; before any file is opened.
    HarpsstarError
        What :func:`harpsstar.read` and :func:`harpsstar.predict` raise of a bad spectrum.
    """
    held = {name: float(value) for name, value in (labels or {}).items()}
    Options(fixed=held)
    ready = predictor(model or "default")
    observed: Any = read(spectrum, blaze_dir=blaze_dir) if is_file(spectrum) else spectrum  # type: ignore[arg-type]
    start = ready.measure(observed)
    template = _template(dict(zip(NAMES, start.estimate.labels[0].tolist(), strict=True)), held)
    data = data_of(observed, start.rv)
    space = Space(Options(fixed=template), ready.emulator, [data.rv0])
    posterior = Posterior(space, [Likelihood(ready.emulator, data)])
    posterior, optimum, _ = climb(posterior, [data], torch.zeros(1, dtype=torch.float64))
    rv = data.rv0 + float(optimum.square[0]) * (1 + data.rv0 / C_KM_S)
    rv_err = float(optimum.likelihood.information[0, 0]) ** -0.5
    velocities, curve, share = _second_star(posterior, optimum.square)
    second = _strongest(velocities, curve, share, rv, template["vsini"])
    seen = start.prepared.observation
    rv, rv_err, remarks = seen.barycentric(rv, rv_err)
    for remark in remarks:
        warnings.warn(remark, HarpsstarWarning, stacklevel=2)
    if second is not None:
        second = replace(second, rv=seen.barycentric(second.rv, second.rv_err)[0])
    return RadialVelocity(rv, rv_err, template, second, velocities, curve)


def _template(predicted: Mapping[str, float], held: Mapping[str, float]) -> dict[str, float]:
    """Every label of the template: what is held, what is predicted, the rest on its relation."""
    known = {**predicted, **held}
    main = [torch.tensor(known[name], dtype=torch.float64) for name in ("teff", "logg", "m_h")]
    for label in STELLAR:
        if label.name not in known:
            known[label.name] = float(relation(label.name, *main))
    return {label.name: min(max(known[label.name], label.low), label.high) for label in STELLAR}


@torch.no_grad()
def _second_star(posterior: Posterior, square: Tensor) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Velocities (V,), significance (V,) and share of the light (V,) of a second star at each.

    To first order in its share s, a second star changes the spectrum by s (f(v) - f(v1)); s and
    the continuum are linear, so that each velocity takes one evaluation.
    """
    part, space = posterior.parts[0], posterior.space
    here = space.natural(square)
    n = int(REACH / _STEP)
    offsets = _STEP * torch.arange(-n, n + 1, dtype=torch.float64)
    star = space.star(here[None])
    first = part.spectra(star, here)[0]
    gains, widths = [], []
    for chunk in (here + offsets).split(CHUNK):
        points = space.star(chunk[:, None])
        change = part.spectra(points, chunk) - first
        expansion = part.expand(first, change)
        gains.append(expansion.gradient)
        widths.append(expansion.information.diagonal().clamp_min(1e-12))
    gain, width = torch.cat(gains), torch.cat(widths)
    velocities = (posterior.space.rv0 + here + offsets).numpy()
    return velocities, (gain / width.sqrt()).numpy(), (gain / width).numpy()


def _strongest(
    velocities: FloatArray, curve: FloatArray, share: FloatArray, rv: float, vsini: float
) -> SecondSet | None:
    away = np.abs(velocities - rv) > BLEND + 2 * vsini
    # A misplaced continuum lifts the whole curve.
    (level,), (scatter,) = level_and_scatter(curve[away])
    curve = curve - level
    peak = int(np.argmax(np.where(away, curve, -np.inf)))
    significance = float(curve[peak]) / scatter
    if significance < SIGNIFICANT or share[peak] < _LEAST_SHARE or not 0 < peak < len(curve) - 1:
        return None
    left, middle, right = np.maximum(curve[peak - 1 : peak + 2], 0.0) ** 2
    bend = max(2 * middle - left - right, 1e-9)
    place = velocities[peak] + 0.5 * (right - left) / bend * _STEP
    # chi-squared falls by one within one standard deviation of its minimum
    error = scatter * _STEP * np.sqrt(2.0 / bend)
    return SecondSet(float(place), float(error), float(share[peak]), significance)

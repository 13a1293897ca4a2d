"""Where the model fails: stretches of a spectrum that it gets wrong, and the lines that lie there.

The spectrum is brought to the canonical frame as for a prediction, divided by a continuum that is
fitted with the model, order by order, and compared. What stands out of the residual, smoothed to
the width of a line, is listed by its equivalent width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import find_objects, gaussian_filter1d, label

from harpsstar.errors import InputsMissingError
from harpsstar.infer.prepare import Prepared, prepare
from harpsstar.labels import NAMES, NUISANCES, RV
from harpsstar.model import linelist
from harpsstar.model.emulator import Emulator
from harpsstar.model.linelist import LineArray
from harpsstar.model.nodes import AXES
from harpsstar.model.opacity import (
    LINE_DTYPE,
    calibrated_lines,
    line_width,
    profile,
    strength,
)
from harpsstar.model.relations import alpha_relation, vmac_relation, vmic_relation
from harpsstar.model.templates import bank_of
from harpsstar.spectra import continuum
from harpsstar.spectra.frame import C_KM_S, canonical_wavelengths
from harpsstar.spectra.noise import MAD_TO_SIGMA

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: What can be given of a star, besides what a prediction finds.
GIVEN = (*NAMES, *(label.name for label in NUISANCES if label is not RV))

_PASSES = 4
#: Residuals beyond this many scatters count less in the continuum and the velocity.
_ROBUST = 3.0
#: An equivalent width below this many of its own errors is noise.
_SIGNIFICANT = 5.0
#: Share of usable pixels under the smoothing kernel without which a residual is not known.
_LEAST_SHARE = 0.5
#: Lines further away than this are not named, Å; and those that fall short of the best by dex.
_REACH, _RIVAL = 1.0, 0.7
_MOST_RIVALS = 2


@dataclass(frozen=True)
class Stretch:
    """A stretch where observed and model differ.

    Attributes
    ----------
    low, high : float
        Its ends, rest wavelengths in air, Å.
    wavelength, residual : float
        Where the smoothed residual (observed - model, in units of the continuum) is largest, and
        how large.
    width, width_err : float
        Equivalent width, observed - model, mÅ: positive where the star absorbs more.
    lines : ndarray of :data:`LINE_DTYPE`
        The line with most opacity at ``wavelength`` and its nearest rivals; may be empty.
    """

    low: float
    high: float
    wavelength: float
    residual: float
    width: float
    width_err: float
    lines: LineArray


@dataclass(frozen=True)
class Check:
    """Result of :func:`check`.

    Attributes
    ----------
    file : str
        As the user named it.
    star : dict of str to float
        The labels, vmic, vmac, alpha and rv (barycentric) of the model.
    resolution : float
    wave, flux, model, residual : ndarray
        (8, 4096) rest wavelength in air, Å; observed over continuum, nan where unusable; model;
        smoothed observed - model, nan where it is not known.
    scatter, threshold : float
        Robust standard deviation of ``residual``; how many of them a stretch has to exceed.
    median : float
        Median |observed - model|, in units of the continuum.
    stretches : tuple of Stretch
        Largest equivalent width first.
    list_name : str
        Which lines were looked at.
    """

    file: str
    star: dict[str, float]
    resolution: float
    wave: Array
    flux: Array
    model: Array
    residual: Array
    scatter: float
    threshold: float
    median: float
    stretches: tuple[Stretch, ...]
    list_name: str


def check(
    spectrum: str | Path,
    root: Path,
    *,
    given: Mapping[str, float] | None = None,
    model: str | Path = "default",
    threshold: float = 3.0,
    blaze_dir: str | Path | None = None,
) -> Check:
    """Compare a spectrum with the emulator and name the lines where they differ.

    Parameters
    ----------
    spectrum : path
        A file that :func:`harpsstar.read` reads.
    root : Path
        Inputs of the synthesis; without its line lists only lines of the calibration are named.
    given : mapping of str to float, optional
        Labels and nuisances of the star, of :data:`GIVEN`. Without any label, the prediction's
        labels and nuisances are taken; with some, its other labels, and nuisances by their
        relations. With all four labels no model is needed.
    model : str or Path
        Of the prediction.
    threshold : float
        How many robust standard deviations of the smoothed residual a stretch exceeds.
    blaze_dir : path, optional
        Folder with blaze files.
    """
    given = dict(given or {})
    if all(name in given for name in NAMES):
        emulator = Emulator.load()
        prepared = prepare(spectrum, bank_of(emulator), blaze_dir=blaze_dir)
        star = _by_relations(given)
    else:
        emulator, prepared, star = _predicted(spectrum, given, model, blaze_dir)
    star = _inside(emulator, star) | given
    lines, digest = known_lines(root)
    list_name = name_of_list(digest)
    if digest and digest != emulator.metadata.get("linelist_sha256"):
        list_name += ", which is not the one that the grid was computed from"
    return compare(prepared, emulator, star, lines, threshold=threshold, list_name=list_name)


def _predicted(
    spectrum: str | Path,
    given: Mapping[str, float],
    model: str | Path,
    blaze_dir: str | Path | None,
) -> tuple[Emulator, Prepared, dict[str, float]]:
    from harpsstar.infer.predict import predictor

    ready = predictor(model)
    prepared = prepare(spectrum, ready.bank, blaze_dir=blaze_dir)
    (found,) = ready.infer([prepared])
    if isinstance(found, Exception):
        raise found
    values = [*found.estimate.labels[0].tolist(), *found.estimate.nuisances[0].tolist()]
    names = [*NAMES, *(label.name for label in NUISANCES)]
    star = {name: value for name, value in zip(names, values, strict=True) if name in GIVEN}
    if any(name in given for name in NAMES):
        star = _by_relations({name: star[name] for name in NAMES} | dict(given))
    return ready.emulator, prepared, star


def _by_relations(given: Mapping[str, float]) -> dict[str, float]:
    """Complete a star of which at least the labels are known."""
    teff, logg, m_h = (torch.tensor(given[name]) for name in NAMES[:3])
    usual = {
        "vmic": float(vmic_relation(teff, logg, m_h)),
        "vmac": float(vmac_relation(teff, logg)),
        "alpha": float(alpha_relation(m_h)),
    }
    return usual | dict(given)


def _inside(emulator: Emulator, star: Mapping[str, float]) -> dict[str, float]:
    """Move what is usual or was predicted of vmic and alpha to what the grid has."""
    limits = {label.name: (float(axis[0]), float(axis[-1]))
              for label, axis in zip(AXES[3:], emulator.grid.axes[3:], strict=True)}  # fmt: skip
    clipped = {name: min(max(star[name], low), high) for name, (low, high) in limits.items()}
    return dict(star) | clipped


@torch.no_grad()
def compare(
    prepared: Prepared,
    emulator: Emulator,
    star: Mapping[str, float],
    lines: LineArray,
    *,
    threshold: float = 3.0,
    list_name: str = "",
) -> Check:
    """Compare a prepared spectrum with the emulator at the star's labels and nuisances.

    Parameters
    ----------
    prepared : Prepared
    emulator : Emulator
    star : mapping of str to float
        Every name of :data:`GIVEN`.
    lines : ndarray of :data:`LINE_DTYPE`
    threshold, list_name
        As in :class:`Check`.

    Raises
    ------
    OutsideGridError
        When there is no such star in the grid.
    """
    resolution = prepared.observation.resolution
    wave = canonical_wavelengths()
    flux, ivar, model, rv = _fitted(prepared, emulator, star, wave)
    used = (ivar > 0) & _owned(wave)
    difference = np.where(used, flux - model, 0.0)
    sigma = line_width(star, resolution)
    residual = _smoothed(difference, used, wave, sigma)
    known = np.isfinite(residual)
    scatter = MAD_TO_SIGMA * float(np.median(abs(residual[known])))
    stretches = [
        stretch
        for row in range(len(wave))
        for stretch in _stretches(
            wave[row], difference[row], np.where(used[row], ivar[row], 0.0), residual[row],
            scatter, threshold,
        )
    ]  # fmt: skip
    named = [_named(stretch, lines, sigma, star) for stretch in stretches]
    return Check(
        file=prepared.file,
        star={name: float(star[name]) for name in GIVEN} | {"rv": prepared.canonical.rv + rv},
        resolution=resolution,
        wave=wave,
        flux=np.where(used, flux, np.nan),
        model=model,
        residual=residual,
        scatter=scatter,
        threshold=threshold,
        median=float(np.median(abs(difference[used]))),
        stretches=tuple(sorted(named, key=lambda stretch: -abs(stretch.width))),
        list_name=list_name,
    )


def _fitted(
    prepared: Prepared, emulator: Emulator, star: Mapping[str, float], wave: Array
) -> tuple[Array, Array, Array, float]:
    """Observed over continuum, its inverse variance, the model, and what is left of the velocity.

    Continuum and velocity are fitted in turn; pixels that the model gets wrong count less.
    """
    raw, raw_ivar = (
        torch.from_numpy(a)[None] for a in (prepared.canonical.flux, prepared.canonical.ivar)
    )
    labels = torch.tensor([[star[name] for name in NAMES]])
    sampler = emulator.sampler(wave)
    rv, weight = 0.0, raw_ivar
    for _ in range(_PASSES):
        seen = emulator(
            labels, vmic=star["vmic"], vmac=star["vmac"], alpha=star["alpha"],
            resolution=prepared.observation.resolution, rv=torch.tensor([rv]),
        )  # fmt: skip
        model = sampler(seen)
        level = continuum.fit_continuum(raw, weight, model)
        used = (weight > 0) & (level > 0)
        level = torch.where(used, level, torch.ones(()))
        flux = torch.where(used, raw / level, torch.zeros(()))
        ivar = torch.where(used, raw_ivar * level.square(), torch.zeros(()))
        residual = torch.where(used, flux - model, torch.zeros(()))
        scatter = MAD_TO_SIGMA * residual[used].abs().median()
        # beside the noise the model itself errs, and in some places by far more than usual
        variance = ivar.clamp_min(1e-12).reciprocal() + scatter.square()
        normal = used / (variance * (1 + (residual / (_ROBUST * scatter)).square()))
        weight = normal / level.square()
        slope = torch.from_numpy(-np.gradient(model[0].numpy(), axis=1) * wave)
        slope = slope / torch.from_numpy(C_KM_S * np.gradient(wave, axis=1))
        rv += float((normal * residual * slope).sum() / (normal * slope.square()).sum())
    seen_flux, seen_ivar, seen_model = (x[0].double().numpy() for x in (flux, ivar, model))
    return seen_flux, seen_ivar, seen_model, rv


def _owned(wave: Array) -> Mask:
    """Where two orders overlap, each has its half."""
    edges = 0.5 * (wave[:-1, -1] + wave[1:, 0])
    low, high = np.append(-np.inf, edges), np.append(edges, np.inf)
    return np.asarray((wave >= low[:, None]) & (wave < high[:, None]))


def _smoothed(values: Array, used: Mask, wave: Array, sigma: float) -> Array:
    """Smooth each order with a Gaussian of `sigma` km/s; nan where too little is usable."""
    out = np.full(values.shape, np.nan)
    for row in np.flatnonzero(used.any(axis=1)):
        step = C_KM_S * np.median(np.diff(wave[row])) / wave[row].mean()
        total, share = (
            gaussian_filter1d(part, sigma / step, mode="constant")
            for part in (np.where(used[row], values[row], 0.0), used[row].astype(float))
        )
        good = used[row] & (share > _LEAST_SHARE)
        out[row, good] = total[good] / share[good]
    return out


def _stretches(
    wave: Array, difference: Array, ivar: Array, residual: Array, scatter: float, threshold: float
) -> list[Stretch]:
    """Stretches of one order, without names.

    A stretch goes on to where the residual falls to the scatter or changes sign, so that its
    equivalent width holds the flanks too.
    """
    width = np.gradient(wave) * 1e3
    seen = np.nan_to_num(residual)
    found = []
    for sign in (1.0, -1.0):
        runs, _ = label(sign * seen > scatter)
        for (part,) in find_objects(runs):
            peak = part.start + int(np.argmax(abs(seen[part])))
            if abs(seen[peak]) < threshold * scatter:
                continue
            used = ivar[part] > 0
            value = -float(difference[part][used] @ width[part][used])
            error = float(np.sqrt(np.sum(width[part][used] ** 2 / ivar[part][used])))
            if abs(value) > _SIGNIFICANT * error:
                ends = float(wave[part.start]), float(wave[part.stop - 1])
                found.append(
                    Stretch(*ends, float(wave[peak]), float(seen[peak]), value, error, _NONE)
                )
    return found


_NONE: LineArray = np.empty(0, dtype=LINE_DTYPE)


def _named(stretch: Stretch, lines: LineArray, sigma: float, star: Mapping[str, float]) -> Stretch:
    near = lines[abs(lines["wavelength"] - stretch.wavelength) < _REACH]
    near = linelist.relevant(near, star["teff"])
    if len(near) == 0:
        return stretch
    place = (near["wavelength"] / stretch.wavelength - 1) * C_KM_S / sigma
    score = strength(near, star["teff"], star["logg"]) + np.log10(profile(place))
    best = np.argsort(-score, kind="stable")[: 1 + _MOST_RIVALS]
    best = best[score[best] > score[best[0]] - _RIVAL]
    ends = stretch.low, stretch.high, stretch.wavelength, stretch.residual
    return Stretch(*ends, stretch.width, stretch.width_err, near[best])


def known_lines(root: Path) -> tuple[LineArray, str]:
    """Return the calibrated line list, and its SHA-256.

    Parameters
    ----------
    root : Path
        Inputs; without its line lists, the lines of the packaged calibration alone.

    Returns
    -------
    lines : ndarray of :data:`LINE_DTYPE`
    digest : str
        Empty where the inputs are not at hand.
    """
    deltas = linelist.solar_deltas()
    try:
        lines = linelist.assemble(root, calibrated=False)
    except InputsMissingError:
        return calibrated_lines(deltas, deltas), ""
    return calibrated_lines(lines, deltas), linelist.digest(linelist.apply_deltas(lines, deltas))


def name_of_list(digest: str) -> str:
    """Say which lines :func:`known_lines` has returned."""
    return f"line list {digest[:16]}" if digest else "only the lines with solar corrections"


@dataclass(frozen=True)
class Summary:
    """What a line list holds.

    Attributes
    ----------
    n, n_calibrated : int
        Lines, and how many the calibration on the Sun has moved.
    digest : str
        SHA-256 of the calibrated list; empty where its inputs are not at hand.
    by_source, by_species : dict of str to tuple of int
        The same two numbers, most lines first.
    """

    n: int
    n_calibrated: int
    digest: str
    by_source: dict[str, tuple[int, int]]
    by_species: dict[str, tuple[int, int]]


def summarise(root: Path) -> Summary:
    """Count the lines of the list, by source and by species; see :func:`known_lines`."""
    lines, digest = known_lines(root)
    moved = np.isfinite(lines["delta_log_gf"])
    by_source, by_species = (_counts(lines[field], moved) for field in ("source", "species"))
    return Summary(len(lines), int(moved.sum()), digest, by_source, by_species)


def _counts(values: npt.NDArray[np.str_], moved: Mask) -> dict[str, tuple[int, int]]:
    calibrated = Counter(values[moved].tolist())
    return {name: (n, calibrated[name]) for name, n in Counter(values.tolist()).most_common()}

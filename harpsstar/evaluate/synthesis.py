"""The emulator against PySME itself, where it has no node.

Two tests, both of all its errors together: random stars between the nodes, synthesised with
atmospheres interpolated between the decks; and real decks of [M/H] = +0.2, which are no nodes of
the grid (but neighbours of its atmospheres of [M/H] = 0). The latter are synthesised once more with
interpolated atmospheres, which tells the error of the emulator from that of the decks. All need
the inputs of the synthesis and the extra ``synth``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from harpsstar.errors import InputsMissingError, OutsideGridError
from harpsstar.evaluate.emulator import (
    TEFF_RANGE,
    Comparison,
    EmulatorAccuracy,
    by_label,
    label_bias,
    seen,
)
from harpsstar.grid import atlas9, synthesis
from harpsstar.grid.atlas9 import Deck
from harpsstar.labels import NAMES
from harpsstar.model import linelist
from harpsstar.model.emulator import Emulator
from harpsstar.model.linelist import LineArray
from harpsstar.model.nodes import AXES
from harpsstar.model.relations import (
    ALPHA_SCATTER,
    VMIC_SCATTER,
    alpha_relation,
    vmic_relation,
)
from harpsstar.spectra.frame import canonical_wavelengths

#: Metallicity of the held-out plane, and what its comparison is called.
PLANE = atlas9.HELD_OUT_CODES["p02"]
OFF_NODE_NAME = "between the nodes"
PLANE_NAME = f"[M/H] {PLANE:+g}, real atmospheres"
TWIN_NAME = f"[M/H] {PLANE:+g}, interpolated atmospheres"

#: A star to synthesise: its atmosphere, vmic in km/s and [alpha/Fe].
Star: TypeAlias = tuple[Deck, float, float]
#: Told of (done, total).
Progress: TypeAlias = Callable[[int, int], None]


def with_syntheses(
    accuracy: EmulatorAccuracy,
    emulator: Emulator,
    root: Path,
    *,
    off_node: int = 0,
    plane: int = 0,
    seed: int = 0,
    progress: Callable[[str], Progress] = lambda name: lambda done, total: None,
) -> EmulatorAccuracy:
    """Add comparisons with PySME to the accuracy of an emulator.

    Parameters
    ----------
    accuracy : EmulatorAccuracy
        What is known without synthesis.
    emulator : Emulator
    root : Path
        Inputs; read only if a comparison is wanted.
    off_node, plane : int
        How many stars between the nodes, and how many decks of the plane of :data:`PLANE`.
    seed : int
        Of their draws.
    progress : callable
        Given the name of a comparison, returns what is told of it.

    Raises
    ------
    InputsMissingError
        When inputs or PySME are missing, or the inputs are not those of the grid.
    """
    if not (off_node or plane):
        return accuracy
    decks, lines = matching_inputs(emulator.metadata, root)
    wanted = {}
    if off_node:
        wanted[OFF_NODE_NAME] = off_node_stars(emulator, decks, off_node, seed)
    if plane:
        wanted[PLANE_NAME], wanted[TWIN_NAME] = plane_stars(emulator, decks, root, plane, seed)
    found = {}
    for name, stars in wanted.items():
        flux = _synthesised(emulator, stars, lines, progress(name))
        found[name] = compare(emulator, _points(stars), flux)
    return dataclasses.replace(accuracy, comparisons=found)


def matching_inputs(metadata: Mapping[str, str], root: Path) -> tuple[list[Deck], LineArray]:
    """Decks and lines below `root`, if they are those that a grid was computed from.

    Parameters
    ----------
    metadata : mapping of str to str
        Of the grid: ``linelist_sha256`` and ``decks_sha256``.
    root : Path

    Returns
    -------
    decks : list of Deck
    lines : ndarray of :data:`harpsstar.model.linelist.DTYPE`
        With the calibration on the Sun or without it, whichever the grid has.

    Raises
    ------
    InputsMissingError
        When inputs are missing, or have another hash: a comparison would then measure the
        difference of two line lists and not the error of the emulator.
    """
    decks = atlas9.find_family(root)
    _same("decks", atlas9.digest(decks), metadata.get("decks_sha256", ""), root)
    wanted = metadata.get("linelist_sha256", "")
    lines = linelist.assemble(root)
    if linelist.digest(lines) != wanted:
        uncalibrated = linelist.assemble(root, calibrated=False)
        if linelist.digest(uncalibrated) == wanted:
            return decks, uncalibrated
    _same("line list", linelist.digest(lines), wanted, root)
    return decks, lines


def _same(what: str, found: str, wanted: str, root: Path) -> None:
    if found != wanted:
        raise InputsMissingError(
            f"the {what} of the inputs (SHA-256 {found[:16]}) is not the one that the grid was "
            f"computed from ({wanted[:16] or 'which its file does not say'})",
            path=root,
            expected="the same inputs and the same version of linelist.toml and its calibration",
            hint="compute the grid again with `harpsstar synth grid`, or compare a grid of this "
            "version with --grid",
        )


def off_node_stars(emulator: Emulator, decks: Sequence[Deck], n: int, seed: int) -> list[Star]:
    """Draw stars between the nodes, for which there are decks all around.

    Labels are uniform within :data:`harpsstar.evaluate.emulator.TEFF_RANGE` and the grid, vmic and
    alpha normal about their relations, within the grid's own range.

    Raises
    ------
    OutsideGridError
        When the grid has none of those temperatures.
    """
    generator = torch.Generator().manual_seed(seed)
    stars: list[Star] = []
    while len(stars) < n:
        teff, logg, m_h, vmic, alpha = _draw(emulator, generator)
        atmosphere = _interpolated(decks, teff, logg, m_h)
        if atmosphere is not None:
            stars.append((atmosphere, vmic, alpha))
    return stars


def _draw(emulator: Emulator, generator: torch.Generator) -> list[float]:
    """Draw one star of the grid: teff, logg, m_h, vmic, alpha."""
    temperatures, gravities, metals, speeds, alphas = emulator.grid.axes
    ends = [temperatures.clamp(*TEFF_RANGE), gravities, metals]
    if ends[0][0] == ends[0][-1]:
        raise OutsideGridError(
            f"the grid has teff {temperatures[0]:g} to {temperatures[-1]:g} K",
            expected=f"some of {TEFF_RANGE[0]:g} to {TEFF_RANGE[1]:g} K",
        )
    ranges = torch.stack([axis[[0, -1]] for axis in ends])
    while True:
        share = torch.rand(3, generator=generator)
        labels = ranges[:, 0] + share * (ranges[:, 1] - ranges[:, 0])
        noise = torch.randn(2, generator=generator)
        vmic = vmic_relation(*labels) + VMIC_SCATTER * noise[0]
        alpha = alpha_relation(labels[2]) + ALPHA_SCATTER * noise[1]
        point = torch.stack([
            *labels, vmic.clamp(speeds[0], speeds[-1]), alpha.clamp(alphas[0], alphas[-1])
        ])  # fmt: skip
        if bool(emulator.contains(*point[:, None])):
            return cast(list[float], point.tolist())


def plane_stars(
    emulator: Emulator, decks: Sequence[Deck], root: Path, n: int, seed: int
) -> tuple[list[Star], list[Star]]:
    """Draw decks of the held-out plane, at the smallest vmic and alpha of the grid.

    Only [M/H] lies between nodes there.

    Returns
    -------
    real, interpolated : list of Star
        At most n, with their own atmospheres and with those that `decks` interpolate to.
    """
    vmic, alpha = (float(axis[0]) for axis in emulator.grid.axes[3:])
    found = atlas9.find_decks(root, {"p02": PLANE})
    real: list[Star] = []
    twins: list[Star] = []
    for i in np.random.default_rng(seed).permutation(len(found)):
        star = (found[i], vmic, alpha)
        inside = bool(emulator.contains(*_point(star)[:, None]))
        if len(real) == n or not (inside and TEFF_RANGE[0] <= found[i].teff <= TEFF_RANGE[1]):
            continue
        twin = _interpolated(decks, found[i].teff, found[i].logg, PLANE)
        if twin is not None:
            real.append(star)
            twins.append((twin, vmic, alpha))
    return real, twins


def _interpolated(decks: Sequence[Deck], teff: float, logg: float, m_h: float) -> Deck | None:
    """Interpolate between decks; None in a corner where there are too few of them."""
    try:
        return atlas9.interpolate(decks, teff, logg, m_h)
    except OutsideGridError:
        return None


def _point(star: Star) -> Tensor:
    atmosphere, vmic, alpha = star
    return torch.tensor([atmosphere.teff, atmosphere.logg, atmosphere.m_h, vmic, alpha])


def _points(stars: Sequence[Star]) -> Tensor:
    return torch.stack([_point(star) for star in stars])


def _synthesised(
    emulator: Emulator, stars: Sequence[Star], lines: LineArray, progress: Progress
) -> Tensor:
    """Spectra (n, n_wave) of stars on the emulator's own wavelengths."""
    wave = emulator.wave.numpy()
    flux = []
    for i, (atmosphere, vmic, alpha) in enumerate(stars):
        progress(i, len(stars))
        flux.append(synthesis.synthesize(atmosphere, lines, vmic=vmic, alpha=alpha, wave=wave))
    progress(len(stars), len(stars))
    return torch.from_numpy(np.stack(flux))


@torch.no_grad()
def compare(emulator: Emulator, points: Tensor, flux: Tensor) -> Comparison:
    """Compare an emulator with other spectra of the same stars.

    Parameters
    ----------
    emulator : Emulator
    points : Tensor, shape (n, 5)
        ``teff``, ``logg``, ``m_h``, ``vmic``, ``alpha``; inside the grid.
    flux : Tensor, shape (n, n_wave)
        Flux over continuum on the emulator's own wavelengths, without any broadening.
    """
    sampler = emulator.sampler(canonical_wavelengths())
    truth = torch.cat([
        seen(_only(emulator, point, spectrum), point[None])
        for point, spectrum in zip(points, flux, strict=True)
    ])  # fmt: skip
    difference = sampler(seen(emulator, points)) - sampler(truth)
    rms = difference.square().nanmean((1, 2)).sqrt().double()
    bias = label_bias(emulator, points, truth)
    rows = torch.cat([points.double(), rms[:, None], bias], dim=1).tolist()
    names = [*(label.name for label in AXES), "flux_rms", *(f"bias_{name}" for name in NAMES)]
    return Comparison(
        n=len(points),
        flux_rms=float(rms.quantile(0.5)),
        flux_rms_90=float(rms.quantile(0.9)),
        flux_rms_worst=float(rms.max()),
        bias=by_label(bias.abs(), 0.5),
        bias_90=by_label(bias.abs(), 0.9),
        bias_worst=by_label(bias.abs(), 1.0),
        points=tuple(dict(zip(names, row, strict=True)) for row in rows),
    )


def _only(emulator: Emulator, point: Tensor, flux: Tensor) -> Emulator:
    """Return an emulator of one node with this spectrum, which broadens as `emulator` does."""
    return Emulator(
        point[None], flux, torch.zeros(1, len(flux)), torch.zeros(1, 1),
        log_wave0=emulator.log_wave0, log_step=emulator.log_step,
    )  # fmt: skip

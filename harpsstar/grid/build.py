"""The grid: every node synthesised, resumable, then compressed to principal components.

What is synthesised at a time are the microturbulences of one atmosphere and alpha. Each finished
node is one small file that appears whole, so a killed run loses at most what is in flight, and the
same command goes on where it stopped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harpsstar._version import __version__
from harpsstar.grid import atlas9, cluster, sampling, synthesis
from harpsstar.grid.atlas9 import Deck, Node
from harpsstar.grid.components import Components, Spectra, learn, node_file
from harpsstar.model import linelist
from harpsstar.model.grid_file import GRID_FORMAT
from harpsstar.model.linelist import LineArray
from harpsstar.outputs.tensors import write_tensors

#: km/s
VMIC = (0.5, 1.0, 1.5, 2.0, 3.0)
#: [alpha/Fe], dex
ALPHA = (0.0, 0.2, 0.4)
N_COMPONENTS = 450
#: Spectra are computed at a quarter of their pixels where there are so many times more than
#: components: see :mod:`harpsstar.grid.sampling`.
_MANY = 8
#: How often the components are improved with the spectra that are not whole.
_ROUNDS = 4
#: Rms error of the flux that rounding may cost: of each component, and of each coefficient.
_ROUNDING, _STEP = 2e-5, 5e-6


def nodes(
    root: Path,
    vmic: tuple[float, ...] = VMIC,
    alpha: tuple[float, ...] = ALPHA,
    decks: Sequence[Deck] | None = None,
) -> list[Node]:
    """List every node of the grid, plane by plane (alpha, then vmic), by teff, logg, m_h.

    ``decks`` limits the grid to some atmospheres; all below ``root`` by default.
    """
    chosen = atlas9.find_family(root) if decks is None else sorted(decks)
    return [Node(deck, v, a) for a in alpha for v in vmic for deck in chosen]


def _save(folder: Path, node: Node, flux: npt.NDArray[np.float32]) -> None:
    target = node_file(folder, node)
    scratch = target.with_suffix(f".part{os.getpid()}")
    with scratch.open("wb") as stream:
        np.save(stream, flux)
    scratch.replace(target)


def compute(
    root: Path,
    folder: Path,
    *,
    vmic: tuple[float, ...] = VMIC,
    alpha: tuple[float, ...] = ALPHA,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    decks: Sequence[Deck] | None = None,
    scheduler: str | None = None,
    lines: LineArray | None = None,
) -> Path:
    """Synthesise all nodes that `folder` does not hold yet.

    Parameters
    ----------
    root : Path
        Inputs: decks and line lists.
    folder : Path
        Where finished nodes are kept. A sub-folder named after the line list's hash is used, so
        that nodes of different line lists never mix.
    vmic, alpha : tuple of float
        km/s, dex.
    jobs : int, optional
        Worker processes; one per core by default.
    progress : callable, optional
        Called with (done, total): first with what is there, then after every node.
    decks : sequence of Deck, optional
        Some atmospheres only; all below ``root`` by default.
    scheduler : str, optional
        Address of a Dask scheduler that computes the nodes, see :mod:`harpsstar.grid.cluster`.
    lines : ndarray of :data:`harpsstar.model.linelist.DTYPE`, optional
        Another line list than the packaged one.

    Returns
    -------
    Path
        The sub-folder that now holds every node.
    """
    synthesis.load_pysme()
    lines = linelist.assemble(root) if lines is None else lines
    folder = folder / linelist.digest(lines)[:16]
    folder.mkdir(parents=True, exist_ok=True)
    decks = atlas9.find_family(root) if decks is None else sorted(decks)
    pairs = _pairs(decks, alpha, vmic)
    missing = [pair.without(folder) for pair in pairs]
    missing = [pair for pair in missing if pair.nodes]
    total = len(pairs) * len(vmic)
    done = total - sum(len(pair.nodes) for pair in missing)
    if progress is not None:
        progress(done, total)
    if not missing:
        return folder
    jobs = min(jobs or os.cpu_count() or 1, len(missing))
    with cluster.workers(jobs, scheduler) as pool:
        shared = pool.share(lines)
        tasks = ((pair, (shared, *pair.task())) for pair in missing)
        for pair, fluxes in pool.run(cluster.deck_flux, tasks):
            for node, flux in zip(pair.nodes, fluxes, strict=True):
                _save(folder, node, flux)
            done += len(pair.nodes)
            if progress is not None:
                progress(done, total)
    return folder


@dataclass(frozen=True)
class Pair:
    """What is synthesised at a time: nodes of one atmosphere and alpha.

    Attributes
    ----------
    nodes : tuple of Node
        One for each microturbulence.
    whole : tuple of float
        The microturbulences that are computed at all wavelengths.
    """

    nodes: tuple[Node, ...]
    whole: tuple[float, ...]

    def without(self, folder: Path) -> Pair:
        """Leave out the nodes that are finished."""
        left = (node for node in self.nodes if not node_file(folder, node).exists())
        return replace(self, nodes=tuple(left))

    def task(self) -> tuple[Deck, bytes, float, list[tuple[float, npt.NDArray[np.intp] | None]]]:
        """Return what a worker needs to know: see :func:`harpsstar.grid.cluster.deck_flux`."""
        deck, _, alpha = self.nodes[0]
        wanted = [
            (node.vmic, None if node.vmic in self.whole else sampling.pixels(node))
            for node in self.nodes
        ]
        return deck, deck.path.read_bytes(), alpha, wanted


def _pairs(
    decks: Sequence[Deck], alpha: tuple[float, ...], vmic: tuple[float, ...]
) -> list[Pair]:
    """List what is to be synthesised: pairs with a scout first, then by alpha and [M/H]."""
    every = [(deck, a) for a in alpha for deck in decks]
    many = len(every) * len(vmic) > _MANY * N_COMPONENTS
    pairs = [
        Pair(
            tuple(Node(deck, v, a) for v in vmic), sampling.scouts(place, vmic) if many else vmic
        )
        for place, (deck, a) in enumerate(every)
    ]
    return sorted(
        pairs, key=lambda p: (not p.whole, p.nodes[0].alpha, abs(p.nodes[0].deck.m_h))
    )


def _packed(components: Components, spread: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Round components for the file: eight bits where that costs less than _ROUNDING, else 16."""
    step = abs(components.basis).max(axis=1) / 127
    fine = np.flatnonzero(spread * step / np.sqrt(12) > _ROUNDING)
    n_fine = int(fine.max(initial=-1)) + 1
    rough = np.round(components.basis[n_fine:] / step[n_fine:, None])
    return {
        "mean": components.mean,
        "components": components.basis[:n_fine].astype(np.float16),
        "components8": rough.astype(np.int8),
        "scale8": step[n_fine:].astype(np.float32),
    }


def _unpacked(packed: dict[str, Any]) -> Components:
    """Return the components as they will be read."""
    rough = packed["components8"] * packed["scale8"][:, None]
    return Components(
        packed["mean"], np.concatenate([packed["components"].astype(np.float32), rough])
    )


def _counts(coefficients: npt.NDArray[np.float64], n_wave: int) -> dict[str, Any]:
    """Round coefficients to multiples of one step, in as few bits as the largest ones need."""
    step = np.float32(_STEP * np.sqrt(12 * n_wave))
    counts = np.round(coefficients / step)
    packed: dict[str, Any] = {"step": np.array([step])}
    start = 0
    for kind in (np.int32, np.int16, np.int8):
        # The components are in order of variance, so those that need more bits come first.
        bits = np.iinfo(kind).bits
        smaller = 0 if kind is np.int8 else np.iinfo(f"int{bits // 2}").max
        large = np.flatnonzero(abs(counts).max(axis=0) > smaller)
        end = counts.shape[1] if kind is np.int8 else int(large.max(initial=start - 1)) + 1
        packed[f"counts{bits}"] = counts[:, start:end].astype(kind)
        start = end
    return packed


def _from_counts(packed: dict[str, Any]) -> npt.NDArray[np.float64]:
    """Return the coefficients as they will be read."""
    groups = [packed[f"counts{bits}"].astype(float) for bits in (32, 16, 8)]
    return np.concatenate(groups, axis=1) * float(packed["step"][0])


def compress(
    root: Path,
    folder: Path,
    output: Path,
    *,
    vmic: tuple[float, ...] = VMIC,
    alpha: tuple[float, ...] = ALPHA,
    n_components: int = N_COMPONENTS,
    decks: Sequence[Deck] | None = None,
    lines: LineArray | None = None,
    stage: Callable[[str], Callable[[int, int], None]] = lambda _: lambda done, total: None,
) -> dict[str, str]:
    """Write the packaged grid: principal components, rounded, and what they were made from.

    Parameters
    ----------
    root, folder : Path
        Inputs, and the finished nodes as returned by :func:`compute`.
    output : Path
        The safetensors file, replaced whole.
    vmic, alpha : tuple of float
        km/s, dex.
    n_components : int
        How many principal components are kept; fewer than there are whole spectra.
    decks : sequence of Deck, optional
        As in :func:`compute`.
    lines : ndarray of :data:`harpsstar.model.linelist.DTYPE`, optional
        What the nodes were computed with; the packaged line list by default.
    stage : callable, optional
        Gives, for the name of a stage, what is told of its progress.

    Returns
    -------
    dict
        The file's metadata, among them ``residual_rms`` and ``residual_max`` (in continuum
        units, of the nodes at the pixels that were computed against what the file gives back).

    Raises
    ------
    InputsMissingError
        When nodes are missing.
    """
    every = nodes(root, vmic, alpha, decks)
    spectra = Spectra(folder, every, synthesis.N_WAVE)
    spectra.check()
    components = learn(spectra, n_components, _ROUNDS, stage)
    spread = components.coefficients(spectra, stage("coefficients")).std(axis=0)
    packed = _packed(components, spread)
    rounded = _unpacked(packed)
    packed |= _counts(
        rounded.coefficients(spectra, stage("rounded coefficients")), synthesis.N_WAVE
    )
    rms, largest = rounded.residual(spectra, _from_counts(packed))
    packed["nodes"] = np.array(
        [[n.deck.teff, n.deck.logg, n.deck.m_h, n.vmic, n.alpha] for n in every], np.float32
    )
    lines = linelist.assemble(root) if lines is None else lines
    metadata = {
        "format": GRID_FORMAT,
        "axes": "teff,logg,m_h,vmic,alpha",
        "log_wave0": repr(float(np.log(synthesis.WAVE_START))),
        "log_step": repr(synthesis.LOG_STEP),
        "linelist_sha256": linelist.digest(lines),
        "linelist_lines": str(len(lines)),
        "decks_sha256": atlas9.digest(sorted({node.deck for node in every})),
        "pysme": synthesis.load_pysme().pysme.__version__,
        "harpsstar": __version__,
        "residual_rms": f"{rms:.3e}",
        "residual_max": f"{largest:.3e}",
    }
    write_tensors(packed, output, metadata)
    return metadata


@dataclass(frozen=True)
class Axes:
    """What a grid spans besides the atmospheres, and the lines in it.

    Attributes
    ----------
    vmic, alpha : sequence of float
        km/s, dex; in any order.
    lines : ndarray of :data:`harpsstar.model.linelist.DTYPE`, optional
        The packaged line list by default.
    """

    vmic: Sequence[float]
    alpha: Sequence[float]
    lines: LineArray | None = None


def make(
    root: Path,
    folder: Path,
    output: Path,
    axes: Axes,
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    stage: Callable[[str], Callable[[int, int], None]],
) -> dict[str, str]:
    """Compute what is missing of a grid and write its file: :func:`compute`, :func:`compress`.

    ``stage`` gives, for the name of a stage, what is told of its progress.
    """
    vmic, alpha = tuple(sorted(set(axes.vmic))), tuple(sorted(set(axes.alpha)))
    finished = compute(
        root, folder, vmic=vmic, alpha=alpha, jobs=jobs, scheduler=scheduler, lines=axes.lines,
        progress=stage("nodes"),
    )  # fmt: skip
    return compress(
        root, finished, output, vmic=vmic, alpha=alpha, lines=axes.lines, stage=stage
    )

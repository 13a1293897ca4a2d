"""The grid: every node synthesised, resumable, then compressed to principal components.

Each finished node is one small file that appears whole, so a killed run loses at most the nodes
in flight, and the same command goes on where it stopped. Nodes that decide most come first
(:func:`is_first`), so that an unfinished grid can be completed from an older one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harpsstar._tensors import write_tensors
from harpsstar._version import __version__
from harpsstar.errors import InputsMissingError
from harpsstar.synth import atlas9, cluster, completion, linelist, synthesis
from harpsstar.synth.atlas9 import Deck, Node
from harpsstar.synth.emulator import GRID_FORMAT
from harpsstar.synth.linelist import LineArray

#: km/s
VMIC = (0.5, 1.0, 1.5, 2.0)
#: [alpha/Fe], dex
ALPHA = (0.0, 0.4)
N_COMPONENTS = 350
#: Rms error of the flux that rounding one component to eight bits may cost; more, and it keeps 16.
_ROUNDING = 2e-5

_COARSE_TEFF = frozenset(
    (3500, 3750, 4000, 4250, 4500, 5000, 5500, 6000, 6500, 7000, 7750, 8500, 9250, 9750)
)
_SPARSE_TEFF = frozenset((3500, 4000, 4500, 5000, 5500, 6000, 6500, 7000, 8500, 9750))
_SPARSE_M_H = frozenset((-2.5, -2.0, -1.5, -0.5, 0.0, 0.5))
#: vmic and alpha of the plane from which the others are carried over.
HOME = (completion.HOME_VMIC, 0.0)


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


def is_first(node: Node, lowest: float) -> bool:
    """Whether a node belongs to the fifth of the grid that is computed first.

    In the plane of the Sun (vmic 1 km/s, alpha 0) every other temperature (all up to 4500 K, where
    molecules change fast), every other gravity, and ``lowest``, the lowest gravity at that
    temperature; in the other planes, which are carried over from that one, about every other
    temperature and no metallicity of −1.
    """
    deck = node.deck
    if deck.logg != lowest and deck.logg % 1 != 0:
        return False
    if (node.vmic, node.alpha) == HOME:
        return deck.teff in _COARSE_TEFF
    return deck.teff in _SPARSE_TEFF and deck.m_h in _SPARSE_M_H


def _first(every: Iterable[Node]) -> set[Node]:
    lowest: dict[float, float] = {}
    every = list(every)
    for node in every:
        lowest[node.deck.teff] = min(lowest.get(node.deck.teff, np.inf), node.deck.logg)
    return {node for node in every if is_first(node, lowest[node.deck.teff])}


def _turn(node: Node) -> tuple[float, float, float, Node]:
    """Order of computation: alpha 0 first, and vmic near that of the Sun."""
    return node.alpha, abs(np.log(node.vmic / HOME[0])), -node.vmic, node


def _file(folder: Path, node: Node) -> Path:
    return folder / f"{node.name}.npy"


def _save(folder: Path, node: Node, flux: npt.NDArray[np.float32]) -> None:
    target = _file(folder, node)
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
    only_coarse: bool = False,
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
    only_coarse : bool
        Stop after the nodes of :func:`is_first`; they come first in any case.
    scheduler : str, optional
        Address of a Dask scheduler that computes the nodes, see :mod:`harpsstar.synth.cluster`.
    lines : ndarray of :data:`harpsstar.synth.linelist.DTYPE`, optional
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
    every = nodes(root, vmic, alpha, decks)
    first = _first(every)
    rest = [] if only_coarse else [node for node in every if node not in first]
    every = sorted(first, key=_turn) + rest
    missing = [node for node in every if not _file(folder, node).exists()]
    done = len(every) - len(missing)
    if progress is not None:
        progress(done, len(every))
    if not missing:
        return folder
    jobs = min(jobs or os.cpu_count() or 1, len(missing))
    with cluster.workers(jobs, scheduler) as pool:
        shared = pool.share(lines)
        tasks = ((n, (shared, n.deck, n.deck.path.read_bytes(), n.vmic, n.alpha)) for n in missing)
        for node, flux in pool.run(cluster.node_flux, tasks):
            _save(folder, node, flux)
            done += 1
            if progress is not None:
                progress(done, len(every))
    return folder


def _principal_components(
    flux: npt.NDArray[np.float32], n_components: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Mean (n_wave,) and components (k, n_wave), through the Gram matrix of the nodes."""
    mean = flux.mean(axis=0)
    centred = flux - mean
    value, vector = np.linalg.eigh(centred @ centred.T)
    largest = np.argsort(-value)[:n_components]
    return mean, (vector[:, largest] / np.sqrt(value[largest])).T @ centred


def _pack(
    flux: npt.NDArray[np.float32], n_components: int
) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.float32]]:
    """Mean and rounded components for the file, and the components as they will be read."""
    mean, components = _principal_components(flux, n_components)
    spread = ((flux - mean) @ components.T).std(axis=0)
    step = abs(components).max(axis=1) / 127
    n_fine = int(np.flatnonzero(spread * step / np.sqrt(12) > _ROUNDING).max(initial=-1)) + 1
    fine = components[:n_fine].astype(np.float16)
    rough = np.round(components[n_fine:] / step[n_fine:, None]).astype(np.int8)
    packed: dict[str, npt.NDArray[Any]] = {
        "mean": mean,
        "components": fine,
        "components8": rough,
        "scale8": step[n_fine:].astype(np.float32),
    }
    return packed, np.concatenate(
        [fine.astype(np.float32), rough * step[n_fine:, None].astype(np.float32)]
    )


def _project(flux: npt.NDArray[np.float32], mean: npt.NDArray[np.float32],
             basis: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Coefficients by least squares: the rounding of the components costs nothing twice."""
    gram = basis.astype(float) @ basis.T
    return np.linalg.solve(gram, (basis @ (flux - mean).T).astype(float)).T


def compress(
    root: Path,
    folder: Path,
    output: Path,
    *,
    vmic: tuple[float, ...] = VMIC,
    alpha: tuple[float, ...] = ALPHA,
    n_components: int = N_COMPONENTS,
    decks: Sequence[Deck] | None = None,
    older: Path | None = None,
    lines: LineArray | None = None,
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
        How many principal components are kept; fewer than there are nodes.
    decks : sequence of Deck, optional
        As in :func:`compute`.
    older : Path, optional
        A grid from which nodes that are not computed yet are carried over, corrected by the
        differences at the computed nodes around them: see :mod:`harpsstar.synth.completion`.
    lines : ndarray of :data:`harpsstar.synth.linelist.DTYPE`, optional
        What the nodes were computed with; the packaged line list by default.

    Returns
    -------
    dict
        The file's metadata, among them ``residual_rms`` and ``residual_max`` (in continuum
        units, of the computed nodes against what the file gives back).

    Raises
    ------
    InputsMissingError
        When nodes are missing and there is no older grid.
    """
    every = nodes(root, vmic, alpha, decks)
    there = np.array([_file(folder, node).exists() for node in every])
    if older is None and not there.all():
        raise InputsMissingError(
            f"{int((~there).sum())} nodes of the grid have not been computed",
            path=_file(folder, every[int(np.argmin(there))]),
            hint="run `harpsstar synth grid` again: it resumes",
        )
    computed = [node for node, is_there in zip(every, there, strict=True) if is_there]
    flux = np.stack([np.load(_file(folder, node), allow_pickle=False) for node in computed])
    packed, basis = _pack(flux, n_components)
    coefficients = _project(flux, packed["mean"], basis)
    residual = flux - packed["mean"] - coefficients.astype(np.float32) @ basis
    table = np.full((len(every), len(basis)), np.nan)
    table[there] = coefficients
    if older is not None:
        start = _carried_over(older, every, packed["mean"], basis)
        table = completion.complete(every, table, start)
    n_fine = len(packed["components"])
    packed["nodes"] = np.array(
        [[n.deck.teff, n.deck.logg, n.deck.m_h, n.vmic, n.alpha] for n in every], np.float32
    )
    packed["coefficients"] = table[:, :n_fine].astype(np.float32)
    packed["coefficients8"] = table[:, n_fine:].astype(np.float16)
    lines = linelist.assemble(root) if lines is None else lines
    metadata = {
        "format": GRID_FORMAT,
        "axes": "teff,logg,m_h,vmic,alpha",
        "log_wave0": repr(float(np.log(synthesis.WAVE_START))),
        "log_step": repr(synthesis.LOG_STEP),
        "linelist_sha256": linelist.digest(lines),
        "linelist_lines": str(len(lines)),
        "decks_sha256": atlas9.digest(sorted({node.deck for node in every})),
        "computed": json.dumps([node.name for node in computed]),
        "carried_over": str(int((~there).sum())),
        "pysme": synthesis.load_pysme().pysme.__version__,
        "harpsstar": __version__,
        "residual_rms": f"{residual.std():.3e}",
        "residual_max": f"{abs(residual).max():.3e}",
    }
    write_tensors(packed, output, metadata)
    return metadata


def _carried_over(
    older: Path, every: Sequence[Node], mean: npt.NDArray[np.float32],
    basis: npt.NDArray[np.float32],
) -> npt.NDArray[np.float64]:
    """Coefficients (nodes, components) of an older grid's spectra, nan where it has none."""
    before = completion.evaluate_at(older, every)
    known = np.isfinite(before[:, 0])
    start = np.full((len(every), len(basis)), np.nan)
    start[known] = _project(before[known], mean, basis)
    return start


@dataclass(frozen=True)
class Axes:
    """What a grid spans besides the atmospheres, and the lines in it.

    Attributes
    ----------
    vmic, alpha : sequence of float
        km/s, dex; in any order.
    lines : ndarray of :data:`harpsstar.synth.linelist.DTYPE`, optional
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
    older: Path | None = None,
    only_coarse: bool = False,
    scheduler: str | None = None,
    stage: Callable[[str], Callable[[int, int], None]],
) -> dict[str, str]:
    """Compute what is missing of a grid and write its file: :func:`compute`, :func:`compress`.

    ``stage`` gives, for the name of a stage, what is told of its progress.
    """
    vmic, alpha = tuple(sorted(set(axes.vmic))), tuple(sorted(set(axes.alpha)))
    finished = compute(
        root, folder, vmic=vmic, alpha=alpha, jobs=jobs, only_coarse=only_coarse,
        scheduler=scheduler, lines=axes.lines, progress=stage("nodes"),
    )  # fmt: skip
    return compress(
        root, finished, output, vmic=vmic, alpha=alpha, older=older, lines=axes.lines
    )

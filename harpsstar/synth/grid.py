"""The grid: every node synthesised, resumable, then compressed to principal components.

Each finished node is one small file that appears whole, so a killed run loses at most the nodes
in flight, and the same command goes on where it stopped.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harpsstar._tensors import write_tensors
from harpsstar._version import __version__
from harpsstar.errors import InputsMissingError
from harpsstar.synth import atlas9, linelist, synthesis
from harpsstar.synth.atlas9 import Deck
from harpsstar.synth.linelist import LineArray

FORMAT = "harpsstar-grid-1"
#: km/s
VMIC = (1.0, 2.0)
N_COMPONENTS = 300

Node = tuple[Deck, float]


def nodes(
    root: Path, vmic: tuple[float, ...] = VMIC, decks: Sequence[Deck] | None = None
) -> list[Node]:
    """List every (deck, vmic) of the grid, sorted by vmic, teff, logg, m_h.

    ``decks`` limits the grid to some atmospheres; all below ``root`` by default.
    """
    chosen = atlas9.find_decks(root) if decks is None else sorted(decks)
    return [(deck, v) for v in vmic for deck in chosen]


def _file(folder: Path, node: Node) -> Path:
    deck, vmic = node
    return folder / f"{deck.name}_v{vmic:.1f}.npy"


def _ignore_interrupts() -> None:
    """In a worker: Ctrl-C reaches it too, but its node is worth finishing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _compute(folder: Path, node: Node, lines: LineArray) -> Path:
    target = _file(folder, node)
    flux = synthesis.synthesize(node[0], lines, vmic=node[1])
    scratch = target.with_suffix(f".part{os.getpid()}")
    with scratch.open("wb") as stream:
        np.save(stream, flux)
    scratch.replace(target)
    return target


def compute(
    root: Path,
    folder: Path,
    *,
    vmic: tuple[float, ...] = VMIC,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    decks: Sequence[Deck] | None = None,
) -> Path:
    """Synthesise all nodes that `folder` does not hold yet.

    Parameters
    ----------
    root : Path
        Inputs: decks and line lists.
    folder : Path
        Where finished nodes are kept. A sub-folder named after the line list's hash is used, so
        that nodes of different line lists never mix.
    vmic : tuple of float
        km/s.
    jobs : int, optional
        Worker processes; one per core by default.
    progress : callable, optional
        Called with (done, total): first with what is there, then after every node.
    decks : sequence of Deck, optional
        Some atmospheres only; all below ``root`` by default.

    Returns
    -------
    Path
        The sub-folder that now holds every node.
    """
    synthesis.load_pysme()
    lines = linelist.assemble(root)
    folder = folder / linelist.digest(lines)[:16]
    folder.mkdir(parents=True, exist_ok=True)
    every = nodes(root, vmic, decks)
    missing = [node for node in every if not _file(folder, node).exists()]
    done = len(every) - len(missing)
    if progress is not None:
        progress(done, len(every))
    if not missing:
        return folder
    jobs = min(jobs or os.cpu_count() or 1, len(missing))
    # spawn: a fork after PySME's library has been loaded shares its state between workers
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_ignore_interrupts)
    try:
        queue = iter(missing)
        flying = {
            pool.submit(_compute, folder, node, lines)
            for node in itertools.islice(queue, 4 * jobs)
        }
        while flying:
            finished = next(as_completed(flying))
            flying.remove(finished)
            finished.result()
            done += 1
            if progress is not None:
                progress(done, len(every))
            flying.update(
                pool.submit(_compute, folder, node, lines) for node in itertools.islice(queue, 1)
            )
    finally:
        pool.shutdown(cancel_futures=True)
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


def _fluxes(folder: Path, every: list[Node]) -> Iterator[npt.NDArray[np.float32]]:
    for node in every:
        path = _file(folder, node)
        if not path.exists():
            raise InputsMissingError(
                "a node of the grid has not been computed",
                path=path,
                hint="run `harpsstar synth grid` again: it resumes",
            )
        yield np.load(path, allow_pickle=False)


def compress(
    root: Path,
    folder: Path,
    output: Path,
    *,
    vmic: tuple[float, ...] = VMIC,
    n_components: int = N_COMPONENTS,
    decks: Sequence[Deck] | None = None,
) -> dict[str, str]:
    """Write the packaged grid: principal components in float16 and what they were made from.

    Parameters
    ----------
    root, folder : Path
        Inputs, and the finished nodes as returned by :func:`compute`.
    output : Path
        The safetensors file, replaced whole.
    vmic : tuple of float
        km/s.
    n_components : int
        How many principal components are kept; fewer than there are nodes.
    decks : sequence of Deck, optional
        As in :func:`compute`.

    Returns
    -------
    dict
        The file's metadata, among them ``residual_rms`` and ``residual_max`` (in continuum
        units, of the nodes against what the file gives back).
    """
    every = nodes(root, vmic, decks)
    flux = np.stack(list(_fluxes(folder, every)))
    mean, components = _principal_components(flux, n_components)
    components = components.astype(np.float16)
    # coefficients of the rounded components, by least squares: the rounding costs nothing twice
    basis = components.astype(np.float32)
    gram = basis @ basis.T
    coefficients = np.linalg.solve(gram, basis @ (flux - mean).T).T.astype(np.float32)
    residual = flux - mean - coefficients @ basis
    lines = linelist.assemble(root)
    metadata = {
        "format": FORMAT,
        "axes": "teff,logg,m_h,vmic",
        "log_wave0": repr(float(np.log(synthesis.WAVE_START))),
        "log_step": repr(synthesis.LOG_STEP),
        "linelist_sha256": linelist.digest(lines),
        "linelist_lines": str(len(lines)),
        "decks_sha256": atlas9.digest(sorted({deck for deck, _ in every})),
        "nodes": json.dumps([f"{deck.name}_v{v:.1f}" for deck, v in every]),
        "pysme": synthesis.load_pysme().pysme.__version__,
        "harpsstar": __version__,
        "residual_rms": f"{residual.std():.3e}",
        "residual_max": f"{abs(residual).max():.3e}",
    }
    labels = np.array([[d.teff, d.logg, d.m_h, v] for d, v in every], dtype=np.float32)
    write_tensors(
        {"nodes": labels, "mean": mean, "components": components, "coefficients": coefficients},
        output,
        metadata,
    )
    return metadata

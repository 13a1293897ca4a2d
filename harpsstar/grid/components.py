"""Principal components of spectra of which most are known at a quarter of their pixels only.

The whole spectra give a first set of components. Then, in turn, each spectrum's coefficients are
the least-squares solution at its own pixels, and the components are those that best describe all
spectra, the pixels that are not known filled in from the solution: the EM algorithm for principal
components (Roweis 1998, NIPS 10, 626) with missing data, its steps lengthened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harpsstar.errors import InputsMissingError
from harpsstar.grid import sampling
from harpsstar.grid.atlas9 import Node

Array = npt.NDArray[np.float32]

# Spectra in memory at a time: 512 whole ones are 79 MB.
_AT_ONCE = 512


def node_file(folder: Path, node: Node) -> Path:
    """Return where a synthesised node is kept below a folder."""
    return folder / f"{node.name}.npy"


@dataclass(frozen=True)
class Spectra:
    """Synthesised nodes in a folder, each at all pixels or at its own (:mod:`.sampling`).

    Attributes
    ----------
    folder : Path
    nodes : sequence of Node
    n_wave : int
        Pixels of a whole spectrum.
    """

    folder: Path
    nodes: Sequence[Node]
    n_wave: int

    def file(self, node: Node) -> Path:
        """Where a node is kept."""
        return node_file(self.folder, node)

    def check(self) -> None:
        """Refuse a folder in which nodes are missing.

        Raises
        ------
        InputsMissingError
        """
        missing = [node for node in self.nodes if not self.file(node).exists()]
        if missing:
            raise InputsMissingError(
                f"{len(missing)} nodes of the grid have not been computed",
                path=self.file(missing[0]),
                hint="run `harpsstar synth grid` again: it resumes",
            )

    def read(self, node: Node) -> tuple[npt.NDArray[np.intp] | None, Array]:
        """Return a node's pixels, None where they are all, and its flux over continuum there."""
        flux = np.load(self.file(node), allow_pickle=False)
        whole = len(flux) == self.n_wave
        return (None if whole else sampling.pixels(node, self.n_wave)), flux

    def whole(self) -> Array:
        """Return the spectra that are known at all pixels, (n, n_wave)."""
        fluxes = (self.read(node) for node in self.nodes)
        return np.stack([flux for pixels, flux in fluxes if pixels is None])

    def blocks(self) -> Iterator[tuple[slice, list[tuple[npt.NDArray[np.intp] | None, Array]]]]:
        """Yield the nodes a block at a time: their places, and what :meth:`read` gives."""
        for first in range(0, len(self.nodes), _AT_ONCE):
            place = slice(first, min(first + _AT_ONCE, len(self.nodes)))
            yield place, [self.read(node) for node in self.nodes[place]]


@dataclass(frozen=True)
class Components:
    """A mean spectrum and components: flux = mean + coefficients @ basis.

    Attributes
    ----------
    mean : ndarray (n_wave,)
    basis : ndarray (K, n_wave)
    """

    mean: Array
    basis: Array

    def solve(self, pixels: npt.NDArray[np.intp] | None, flux: Array) -> npt.NDArray[np.float64]:
        """Return the coefficients (K,) that fit a spectrum best at the pixels that are known."""
        mean, basis = self.mean, self.basis
        if pixels is not None:
            mean, basis = mean[pixels], basis[:, pixels]
        normal = (basis @ basis.T).astype(float)
        return np.linalg.solve(normal, (basis @ (flux - mean)).astype(float))

    def coefficients(
        self, spectra: Spectra, progress: Callable[[int, int], None] | None = None
    ) -> npt.NDArray[np.float64]:
        """Solve for all spectra.

        Parameters
        ----------
        spectra : Spectra
        progress : callable, optional
            Told (done, total) after every block.

        Returns
        -------
        ndarray (N, K)
        """
        table = np.empty((len(spectra.nodes), len(self.basis)))
        for place, block in spectra.blocks():
            for i, (pixels, flux) in zip(range(place.start, place.stop), block, strict=True):
                table[i] = self.solve(pixels, flux)
            if progress is not None:
                progress(place.stop, len(spectra.nodes))
        return table

    def residual(
        self, spectra: Spectra, coefficients: npt.NDArray[np.float64]
    ) -> tuple[float, float]:
        """Return what coefficients (N, K) leave of the spectra at their known pixels.

        Returns
        -------
        rms, largest : float
            Root mean square over all spectra, and the largest size of any pixel.
        """
        square, largest = 0.0, 0.0
        for place, block in spectra.blocks():
            fitted = self.mean + coefficients[place].astype(np.float32) @ self.basis
            for row, (pixels, flux) in zip(fitted, block, strict=True):
                left = flux - (row if pixels is None else row[pixels])
                square += float(np.mean(left**2, dtype=float))
                largest = max(largest, float(abs(left).max()))
        return float(np.sqrt(square / len(spectra.nodes))), largest

    def refined(self, spectra: Spectra, coefficients: npt.NDArray[np.float64]) -> Components:
        """Return components that describe all spectra better, given their coefficients.

        With filled-in pixels alone a step is too short by the share of pixels that are known.
        """
        design = np.column_stack([np.ones(len(coefficients)), coefficients])
        total, known = np.zeros((design.shape[1], len(self.mean))), 0
        for place, block in spectra.blocks():
            filled = self.mean + coefficients[place].astype(np.float32) @ self.basis
            for row, (pixels, flux) in zip(filled, block, strict=True):
                row[slice(None) if pixels is None else pixels] = flux
                known += len(flux)
            total += design[place].T.astype(np.float32) @ filled
        before = np.vstack([self.mean, self.basis])
        step = np.linalg.solve(design.T @ design, total) - before
        after = before + step * (len(coefficients) * len(self.mean) / known)
        mean, basis = after[0], after[1:]
        # The same space, in order of variance and orthonormal, the coefficients centred.
        mean = mean + coefficients.mean(axis=0) @ basis
        directions, triangle = np.linalg.qr(basis.T)
        spread = (coefficients - coefficients.mean(axis=0)) @ triangle.T
        _, _, rotation = np.linalg.svd(spread, full_matrices=False)
        return Components(mean.astype(np.float32), (rotation @ directions.T).astype(np.float32))


def principal_components(flux: Array, n_components: int) -> Components:
    """Return those of whole spectra (N, n_wave), through the Gram matrix of the spectra."""
    mean = flux.mean(axis=0)
    centred = flux - mean
    value, vector = np.linalg.eigh(centred @ centred.T)
    largest = np.argsort(-value)[:n_components]
    return Components(mean, (vector[:, largest] / np.sqrt(value[largest])).T @ centred)


def learn(
    spectra: Spectra,
    n_components: int,
    rounds: int,
    stage: Callable[[str], Callable[[int, int], None]],
) -> Components:
    """Find the principal components of all spectra.

    Parameters
    ----------
    spectra : Spectra
        Some of them whole.
    n_components : int
    rounds : int
        How often the components are improved with the spectra that are not whole.
    stage : callable
        Gives, for the name of a stage, what is told of its progress.
    """
    whole = spectra.whole()
    found = principal_components(whole, n_components)
    for number in range(rounds if len(whole) < len(spectra.nodes) else 0):
        coefficients = found.coefficients(spectra, stage(f"components, round {number + 1}"))
        found = found.refined(spectra, coefficients)
    return found

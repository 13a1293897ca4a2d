"""Components learnt from spectra that are mostly known at a quarter of their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harpsstar.errors import InputsMissingError
from harpsstar.grid import sampling
from harpsstar.grid.atlas9 import Deck, Node
from harpsstar.grid.components import Spectra, learn, principal_components

RANK, N_WAVE, N_NODES = 4, 400, 120


def quiet(_name):
    return lambda done, total: None


@pytest.fixture(scope="module")
def truth():
    """Spectra of rank 4, (120, 400), of decreasing weight."""
    rng = np.random.default_rng(1)
    smooth = np.cumsum(rng.normal(size=(RANK, N_WAVE)), axis=1) / 20
    weights = rng.normal(size=(N_NODES, RANK)) * [4, 3, 2, 1]
    return (1 + weights @ smooth).astype(np.float32)


@pytest.fixture(scope="module")
def names():
    return [Node(Deck(5000.0 + i, 4.5, 0.0, Path(f"p00_{i}.dat")), 1.0, 0.0)
            for i in range(N_NODES)]


@pytest.fixture(scope="module")
def spectra(truth, names, tmp_path_factory):
    """One in ten whole, the others at their own pixels."""
    spectra = Spectra(tmp_path_factory.mktemp("nodes"), names, N_WAVE)
    for i, (node, flux) in enumerate(zip(names, truth, strict=True)):
        kept = flux if i % 10 == 0 else flux[sampling.pixels(node, N_WAVE)]
        np.save(spectra.file(node), kept)
    return spectra


class TestPrincipalComponents:
    def test_they_are_orthonormal_and_ordered(self, truth):
        found = principal_components(truth, RANK)
        np.testing.assert_allclose(found.basis @ found.basis.T, np.eye(RANK), atol=1e-4)
        spread = ((truth - found.mean) @ found.basis.T).var(axis=0)
        assert np.all(np.diff(spread) < 0)

    def test_as_many_as_there_are_dimensions_lose_nothing(self, truth):
        found = principal_components(truth, RANK)
        back = found.mean + (truth - found.mean) @ found.basis.T @ found.basis
        np.testing.assert_allclose(back, truth, atol=1e-4)

    def test_fewer_lose_the_least_possible(self, truth):
        found = principal_components(truth, 2)
        centred = truth - found.mean
        lost = ((centred - centred @ found.basis.T @ found.basis) ** 2).sum()
        singular = np.linalg.svd(centred.astype(float), compute_uv=False)
        assert lost == pytest.approx((singular[2:] ** 2).sum(), rel=1e-4)


class TestSampledSpectra:
    def test_pixels_are_one_of_each_four_and_the_nodes_own(self, names):
        chosen = np.stack([sampling.pixels(node, N_WAVE) for node in names])
        assert np.all(chosen // 4 == np.arange(N_WAVE // 4))
        assert len(np.unique(chosen, axis=0)) == N_NODES
        assert len(np.unique(chosen)) == N_WAVE

    def test_a_quarter_of_the_pixels_gives_all_of_them(self, spectra, truth):
        found = learn(spectra, RANK, 0, quiet)
        table = found.coefficients(spectra)
        np.testing.assert_allclose(found.mean + table @ found.basis, truth, atol=1e-3)
        rms, largest = found.residual(spectra, table)
        assert rms <= largest < 1e-3
        assert found.residual(spectra, table + 0.1)[1] > 1e-3

    def test_what_no_whole_spectrum_shows_is_learnt_from_the_others(self, spectra, truth, names):
        """A line that the whole spectra lack; their last component is noise at first."""
        line = np.exp(-0.5 * ((np.arange(N_WAVE) - 200) / 4.0) ** 2).astype(np.float32)
        rng = np.random.default_rng(2)
        depth = rng.uniform(0.5, 1.0, N_NODES).astype(np.float32)
        depth[::10] = 0.0
        folder = spectra.folder.parent / "with-line"
        folder.mkdir(exist_ok=True)
        some = Spectra(folder, names, N_WAVE)
        full = truth - depth[:, None] * line + rng.normal(0, 1e-3, truth.shape).astype(np.float32)
        for i, node in enumerate(names):
            pixels = slice(None) if i % 10 == 0 else sampling.pixels(node, N_WAVE)
            np.save(some.file(node), full[i][pixels])

        def missed(rounds):
            found = learn(some, RANK + 1, rounds, quiet)
            table = found.coefficients(some)
            return float(np.sqrt(np.mean((found.mean + table @ found.basis - full) ** 2)))

        before, after = missed(0), missed(10)
        assert before > 0.05
        assert after < 0.25 * before

    def test_components_stay_orthonormal_and_ordered(self, spectra):
        found = learn(spectra, RANK, 2, quiet)
        table = found.coefficients(spectra)
        np.testing.assert_allclose(found.basis @ found.basis.T, np.eye(RANK), atol=1e-4)
        assert np.all(np.diff(table.var(axis=0)) < 0)

    def test_a_missing_node_is_told(self, spectra, names):
        other = Node(Deck(9000.0, 4.0, 0.0, Path("p00_9000_4.0.dat")), 1.0, 0.0)
        with pytest.raises(InputsMissingError, match="harpsstar synth grid") as caught:
            Spectra(spectra.folder, [*names, other], N_WAVE).check()
        assert caught.value.path.endswith("p00_9000_4.0_v1_a0.npy")

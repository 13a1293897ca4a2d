"""The grid: computed once, resumed, compressed without loss, and the packaged one is ours."""

from __future__ import annotations

import itertools
import json
import random
import shutil

import numpy as np
import pytest
import torch
from safetensors import safe_open

from harpsstar.errors import InputsMissingError
from harpsstar.synth import atlas9, linelist, synthesis
from harpsstar.synth.emulator import PACKAGED_GRID, Emulator
from harpsstar.synth.grid import Node, _principal_components, compress, compute, is_first, nodes

VMIC, ALPHA = (1.0, 2.0), (0.0,)
OPTIONS = {"vmic": VMIC, "alpha": ALPHA}
RANK = 4


@pytest.fixture(scope="module")
def root(two_line_root, decks):
    """Inputs with two lines and two atmospheres."""
    pytest.importorskip("pysme")
    folder = two_line_root / "atlas9-odfnew" / "gridp00odfnew"
    folder.mkdir(parents=True)
    for logg in (4.0, 4.5):
        shutil.copy(decks[9750.0, logg, 0.0].path, folder)
    return two_line_root


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    """Folder, progress and atmospheres of a run that found two of four nodes done."""
    work = tmp_path_factory.mktemp("work")
    digest = linelist.digest(linelist.assemble(root))
    folder = work / digest[:16]
    folder.mkdir()
    for name in ("p00_9750_4.0_v1_a0", "p00_9750_4.5_v2_a0"):
        np.save(folder / f"{name}.npy", np.full(3, 0.5, dtype=np.float32))
    (folder / "p00_9750_4.0_v2_a0.part17").write_bytes(b"what a killed run leaves")
    some = atlas9.find_decks(root, {"p00": 0.0})
    seen = []
    result = compute(root, work, vmic=VMIC, alpha=ALPHA, jobs=1, decks=some,
                     progress=lambda *counts: seen.append(counts))
    assert result == folder
    return folder, seen, some


class TestResuming:
    """A partly filled folder is completed, and what it holds is left alone."""

    def test_the_missing_nodes_are_made(self, run, root):
        folder, _, some = run
        lines = linelist.assemble(root)
        for deck, vmic in ((some[0], 2.0), (some[1], 1.0)):
            flux = np.load(folder / f"{Node(deck, vmic, 0.0).name}.npy")
            assert flux.shape == (synthesis.N_WAVE,)
            depth = 1 - flux
            dark = synthesis.wavelengths()[depth > 0.5 * depth.max()]
            assert abs(dark[:, None] - lines["wavelength"]).min(axis=1).max() < 0.3

    def test_the_others_are_left_alone(self, run):
        folder, _, _ = run
        assert np.load(folder / "p00_9750_4.0_v1_a0.npy").tolist() == [0.5] * 3
        assert np.load(folder / "p00_9750_4.5_v2_a0.npy").tolist() == [0.5] * 3

    def test_progress_begins_with_what_is_there(self, run):
        assert run[1] == [(2, 4), (3, 4), (4, 4)]

    def test_a_complete_folder_starts_no_work(self, run, root):
        folder, _, some = run
        before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
        seen = []
        compute(root, folder.parent, vmic=VMIC, alpha=ALPHA, decks=some,
                progress=lambda *counts: seen.append(counts))
        assert seen == [(4, 4)]
        assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_every_atmosphere_comes_with_every_vmic(inputs_root):
    every = nodes(inputs_root)
    assert len(every) == len(set(every)) == 8 * 1771
    assert {(node.vmic, node.alpha) for node in every} == {
        (vmic, alpha) for vmic in (0.5, 1.0, 1.5, 2.0) for alpha in (0.0, 0.4)
    }


def test_what_comes_first_reaches_every_end_of_every_column(inputs_root):
    every = nodes(inputs_root)
    lowest = {}
    for node in every:
        lowest[node.deck.teff] = min(lowest.get(node.deck.teff, 9.0), node.deck.logg)
    first = [node for node in every if is_first(node, lowest[node.deck.teff])]
    assert len(first) < len(every) / 4
    for plane in {(node.vmic, node.alpha) for node in every}:
        decks = [node.deck for node in first if (node.vmic, node.alpha) == plane]
        assert {3500.0, 9750.0} <= {deck.teff for deck in decks}
        assert {-2.5, 0.0, 0.5} <= {deck.m_h for deck in decks}
        for teff in {deck.teff for deck in decks}:
            gravities = {deck.logg for deck in decks if deck.teff == teff}
            assert {lowest[teff], 5.0} <= gravities


class TestPrincipalComponents:
    rng = np.random.default_rng(1)
    flux = (1 + rng.normal(size=(30, RANK)) * [4, 3, 2, 1] @ rng.normal(size=(RANK, 200))).astype(
        np.float32
    )

    def test_they_are_orthonormal_and_ordered(self):
        mean, components = _principal_components(self.flux, RANK)
        np.testing.assert_allclose(components @ components.T, np.eye(RANK), atol=1e-4)
        spread = ((self.flux - mean) @ components.T).var(axis=0)
        assert np.all(np.diff(spread) < 0)

    def test_as_many_as_there_are_dimensions_lose_nothing(self):
        mean, components = _principal_components(self.flux, RANK)
        back = mean + (self.flux - mean) @ components.T @ components
        np.testing.assert_allclose(back, self.flux, atol=1e-4)

    def test_fewer_lose_the_least_possible(self):
        mean, components = _principal_components(self.flux, 2)
        centred = self.flux - mean
        lost = ((centred - centred @ components.T @ components) ** 2).sum()
        singular = np.linalg.svd(centred.astype(float), compute_uv=False)
        assert lost == pytest.approx((singular[2:] ** 2).sum(), rel=1e-4)


@pytest.fixture(scope="module")
def some(decks):
    """Twelve atmospheres that fill a box."""
    pytest.importorskip("pysme")
    labels = itertools.product((5000.0, 5250.0), (4.0, 4.5, 5.0), (-0.5, 0.0))
    return [decks[label] for label in labels]


@pytest.fixture(scope="module")
def folder(some, tmp_path_factory):
    """Their nodes, with made-up spectra of rank 4."""
    folder = tmp_path_factory.mktemp("nodes")
    rng = np.random.default_rng(2)
    pixel = np.arange(synthesis.N_WAVE)
    centres = np.linspace(500, synthesis.N_WAVE - 500, RANK)[:, None]
    lines = np.exp(-0.5 * ((pixel - centres) / 8.0) ** 2)
    for deck, vmic in itertools.product(some, VMIC):
        flux = 1 - rng.uniform(0.1, 0.9, RANK) @ lines
        np.save(folder / f"{Node(deck, vmic, 0.0).name}.npy", flux.astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def grid(inputs_root, folder, some, tmp_path_factory):
    """The file and what compress says of it."""
    path = tmp_path_factory.mktemp("grid") / "grid.safetensors"
    path.write_bytes(b"an older grid")
    return path, compress(inputs_root, folder, path, n_components=RANK, decks=some, **OPTIONS)


class TestCompressing:
    """Made-up spectra of a few real nodes through the file and back."""

    def test_the_emulator_gives_every_node_back(self, grid, folder, some):
        emulator = Emulator.load(grid[0])
        worst = []
        for deck, vmic in itertools.product(some, VMIC):
            label = torch.tensor([[deck.teff, deck.logg, deck.m_h]])
            flux = emulator.intrinsic(label, torch.tensor([vmic]))[0].numpy()
            worst.append(abs(flux - np.load(folder / f"{Node(deck, vmic, 0.0).name}.npy")).max())
        assert max(worst) < 1e-3
        assert float(grid[1]["residual_max"]) == pytest.approx(max(worst), rel=0.1, abs=1e-6)

    def test_the_wavelengths_are_those_of_the_synthesis(self, grid):
        wave = Emulator.load(grid[0]).wave.numpy()
        np.testing.assert_allclose(wave, synthesis.wavelengths(), rtol=1e-12)

    def test_the_file_says_what_it_was_made_from(self, grid, lines, some):
        path, said = grid
        with safe_open(path, framework="np") as file:
            metadata = file.metadata()
            assert file.get_tensor("components").dtype == np.float16
        assert metadata == said
        assert metadata["linelist_sha256"] == linelist.digest(lines)
        assert metadata["decks_sha256"] == atlas9.digest(sorted(some))
        assert len(json.loads(metadata["computed"])) == len(some) * len(VMIC)
        assert metadata["carried_over"] == "0"
        assert metadata["pysme"] == synthesis.load_pysme().pysme.__version__

    def test_nothing_but_the_file_is_left(self, grid):
        assert [path.name for path in grid[0].parent.iterdir()] == ["grid.safetensors"]

    def test_a_missing_node_is_told_and_nothing_written(self, inputs_root, decks, folder, tmp_path):
        with pytest.raises(InputsMissingError, match="harpsstar synth grid") as caught:
            deck = decks[9000.0, 4.0, 0.0]
            compress(inputs_root, folder, tmp_path / "g", decks=[deck], **OPTIONS)
        assert caught.value.path.endswith("p00_9000_4.0_v1_a0.npy")
        assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def metadata():
    pytest.importorskip("pysme")
    with safe_open(PACKAGED_GRID, framework="np") as file:
        metadata = file.metadata()
    if "linelist_sha256" not in metadata:
        pytest.skip("the packaged grid does not say which line list it was made from")
    return metadata


class TestThePackagedGrid:
    """Two nodes, drawn at random, the same ones each time, computed again from the inputs."""

    def test_it_was_made_from_this_line_list_and_these_decks(self, metadata, inputs_root, lines):
        assert metadata["linelist_sha256"] == linelist.digest(lines)
        assert metadata["decks_sha256"] == atlas9.digest(atlas9.find_family(inputs_root))
        vmic, alpha = (tuple(axis.tolist()) for axis in Emulator.load().grid.axes[3:])
        names = {node.name for node in nodes(inputs_root, vmic, alpha)}
        computed = set(json.loads(metadata["computed"]))
        assert computed <= names
        assert len(names - computed) == int(metadata["carried_over"])

    def test_two_nodes_are_what_pysme_gives(self, metadata, inputs_root, lines):
        emulator = Emulator.load()
        computed = set(json.loads(metadata["computed"]))
        every = [node for node in nodes(inputs_root) if node.name in computed]
        for deck, vmic, alpha in random.sample(every, 2):
            label = torch.tensor([[deck.teff, deck.logg, deck.m_h]])
            stored = emulator.intrinsic(label, torch.tensor([vmic]), alpha)[0].numpy()
            fresh = synthesis.synthesize(deck, lines, vmic=vmic, alpha=alpha)
            error = np.abs(stored - fresh)
            rms, median = float(np.sqrt((error**2).mean())), float(np.median(error))
            told = f"{deck.name} vmic {vmic} alpha {alpha}: rms {rms:.1e}, median {median:.1e}, " \
                   f"maximum {error.max():.1e}"  # fmt: skip
            print(told)
            assert rms < 5e-3 and median < 1e-3, told

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
from harpsstar.grid import atlas9, synthesis
from harpsstar.grid.build import Node, _counts, _from_counts, compress, compute, nodes
from harpsstar.model import linelist
from harpsstar.model.emulator import Emulator
from harpsstar.model.grid_file import PACKAGED_GRID
from harpsstar.outputs.tensors import write_tensors

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


def test_every_atmosphere_comes_with_every_vmic_and_alpha(inputs_root):
    every = nodes(inputs_root)
    assert len(every) == len(set(every)) == 15 * 1771
    assert {(node.vmic, node.alpha) for node in every} == {
        (vmic, alpha) for vmic in (0.5, 1.0, 1.5, 2.0, 3.0) for alpha in (0.0, 0.2, 0.4)
    }


def test_coefficients_are_rounded_by_one_step_whatever_bits_they_take():
    rng = np.random.default_rng(4)
    values = rng.normal(size=(50, 6)) * [1e5, 30.0, 20.0, 0.1, 0.05, 0.02]
    packed = _counts(values, synthesis.N_WAVE)
    groups = [packed[f"counts{bits}"] for bits in (32, 16, 8)]
    assert [group.dtype for group in groups] == ["int32", "int16", "int8"]
    assert [group.shape[1] for group in groups] == [1, 2, 3]
    assert abs(_from_counts(packed) - values).max() <= 0.5001 * packed["step"][0]


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
    write_tensors({"mean": np.ones(3)}, path, {"format": "harpsstar-grid-1"})  # an older grid
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
        assert metadata == {**said, "creator": "harpsstar"}
        assert metadata["linelist_sha256"] == linelist.digest(lines)
        assert metadata["decks_sha256"] == atlas9.digest(sorted(some))
        assert not {"computed", "carried_over"} & set(metadata)
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
        if "computed" not in metadata:
            return
        computed = set(json.loads(metadata["computed"]))
        assert computed <= names
        assert len(names - computed) == int(metadata["carried_over"])

    def test_two_nodes_are_what_pysme_gives(self, metadata, inputs_root, lines):
        emulator = Emulator.load()
        vmic, alpha = (tuple(axis.tolist()) for axis in emulator.grid.axes[3:])
        every = nodes(inputs_root, vmic, alpha)
        if "computed" in metadata:  # a grid of an earlier version: some nodes were carried over
            computed = set(json.loads(metadata["computed"]))
            every = [node for node in every if node.name in computed]
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

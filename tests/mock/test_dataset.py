"""Data sets on disk: complete, true to the emulator, the same to the byte, and streamed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from harpsstar.errors import (
    ConfigError,
    HarpsstarError,
    HarpsstarWarning,
    OutputError,
    ReadError,
)
from harpsstar.labels import CENTRE, HALF_RANGE
from harpsstar.mock.dataset import (
    Facts,
    StoredSpectra,
    build,
    make_dataset,
    packaged,
    read_preset,
    store,
)
from harpsstar.mock.dataset.figure import show
from harpsstar.mock.dataset.presets import recorded
from harpsstar.mock.dataset.sources import CHUNK, source_of
from harpsstar.model.emulator import Emulator

h5py = pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def emulator():
    return Emulator.load()


def few(name):
    """A preset with few spectra, but more than two chunks."""
    preset = read_preset(name)
    return dataclasses.replace(preset, vsini=preset.vsini[::5]) if preset.vsini else preset


N = {"paper": 5 * CHUNK + 4, "harpsn": 2 * CHUNK + 5}


@pytest.fixture(scope="module", params=["paper", "harpsn"])
def made(request, tmp_path_factory, emulator):
    """Preset, path and facts of a small set."""
    path = tmp_path_factory.mktemp("sets") / f"{request.param}.h5"
    facts = make_dataset(few(request.param), path, emulator=emulator, limit=N[request.param])
    return few(request.param), path, facts


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class TestPaper:
    def test_every_node_at_every_vsini_once(self, emulator):
        """The number of Huettel & Clemmensen (2021), and that of their test set."""
        source = source_of(read_preset("paper"), emulator)
        labels = source._labels
        assert source.n == len(np.unique(labels, axis=0)) == 1771 * 16 == 28_336
        assert build.split(read_preset("paper"), source.n).sum() == 5667
        steps = [np.unique(column) for column in labels.T]
        assert [len(step) for step in steps] == [26, 11, 7, 16]
        assert [step[0] for step in steps] == [3500.0, 0.0, -2.5, 0.0]
        assert [step[-1] for step in steps] == [9750.0, 5.0, 0.5, 30.0]

    def test_orders_are_slanted_and_cut(self, emulator):
        source, preset = source_of(read_preset("paper"), emulator), read_preset("paper")
        flux = source.chunk(3)["flux"]
        from harpsstar.spectra.frame import canonical_wavelengths

        wave = canonical_wavelengths()
        outside = (wave < 5050) | (wave > 5350)
        assert outside.any()
        assert np.all(flux[:, outside] == 0)
        assert np.all(flux[:, ~outside] > 0)
        slope = np.diff(source.response[4])
        np.testing.assert_allclose(slope, slope[0], rtol=1e-9)
        ends = source.response[4, [0, -1]]
        np.testing.assert_allclose(ends, [1 - preset.slant, 1 + preset.slant])


def test_rows_are_the_emulators_spectra(made, emulator):
    """Noise-free ones to the precision of half floats, noisy ones to their own noise."""
    preset, path, _ = made
    with h5py.File(path) as file:
        some = np.linspace(0, len(file["flux"]) - 1, 7).astype(int)
        flux = file["flux"][...][some].astype(float)
        rv = file["rv"][...][some] if "rv" in file else np.zeros(len(some))
        expected = emulator.at(
            file["wavelength"][...], torch.from_numpy(file["labels"][...][some]).float(),
            vmic=torch.from_numpy(file["vmic"][...][some]),
            vmac=torch.from_numpy(file["vmac"][...][some]),
            alpha=torch.from_numpy(file["alpha"][...][some]), check=False,
            rv=torch.from_numpy(rv).float(), resolution=preset.resolution,
        ).double().numpy() * file["response"][...]  # fmt: skip
        if "sigma" not in file:
            np.testing.assert_allclose(flux, expected, rtol=6e-4, atol=1e-6)
            return
        sigma = file["sigma"][...][some].astype(float)
    there = np.isfinite(sigma)
    z = (flux - expected)[there] / sigma[there]
    assert np.median(np.abs(z)) == pytest.approx(0.6745, abs=0.02)
    assert np.all(flux[~there] == 0)


def test_nothing_is_missing_or_double(made):
    _, path, facts = made
    with h5py.File(path) as file:
        assert file["done"][...].all()
        assert np.isfinite(file["flux"][...]).all()
        assert (file["flux"][...].std(axis=(1, 2)) > 0).all()
        n = len(file["flux"])
    assert facts == Facts(n, n - int(0.2 * n), int(0.2 * n), 0)
    assert not path.with_name(f"{path.name}.part").exists()


def test_the_same_preset_gives_the_same_bytes(made, emulator, tmp_path):
    preset, path, _ = made
    again = tmp_path / "again.h5"
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        make_dataset(preset, again, emulator=emulator, limit=N[preset.name])
    finally:
        torch.set_num_threads(threads)
    assert sha256(again) == sha256(path)


def test_a_stop_at_any_chunk_does_not_show(made, emulator, tmp_path):
    preset, path, facts = made
    output = tmp_path / "again.h5"
    calls = []

    def stop(done, total):
        calls.append(done)
        if len(calls) == 2:
            raise KeyboardInterrupt

    for _ in range(2):
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            make_dataset(preset, output, emulator=emulator, limit=N[preset.name], progress=stop)
        assert not output.exists()
    assert calls == [CHUNK, 2 * CHUNK]
    make_dataset(preset, output, emulator=emulator, limit=N[preset.name])
    assert sha256(output) == sha256(path)


def _make_in_child(preset, output, emulator, limit, chunks):
    """Work until so many chunks are done, and die without a word."""
    torch.set_num_threads(1)  # other threads of this process have stayed with its parent

    def progress(done, total):
        if done >= chunks * CHUNK:
            os.kill(os.getpid(), signal.SIGKILL)

    make_dataset(preset, output, emulator=emulator, limit=limit, progress=progress)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_killing_it_does_not_show(made, emulator, tmp_path):
    """After a chunk by itself, and at any moment by this process; who is done first is chance."""
    preset, path, _ = made
    output = tmp_path / "again.h5"
    rng, context = np.random.default_rng(1), multiprocessing.get_context("fork")
    exits = []
    for chunks in (1, 9, 2, 9):
        arguments = (preset, output, emulator, N[preset.name], chunks)
        child = context.Process(target=_make_in_child, args=arguments)
        child.start()
        if chunks == 9:
            child.join(rng.uniform(0.02, 0.25))
            child.kill()
        child.join()
        exits.append(child.exitcode)
        if output.exists():
            break
    else:
        make_dataset(preset, output, emulator=emulator, limit=N[preset.name])
    assert exits[0] == -signal.SIGKILL
    assert sha256(output) == sha256(path)


class TestRefusals:
    def make(self, output, emulator, **options):
        options = {"limit": 4, **options}
        return make_dataset(few("paper"), output, emulator=emulator, **options)

    def test_an_existing_file_is_left_alone(self, emulator, tmp_path):
        path = tmp_path / "set.h5"
        path.write_bytes(b"precious")
        with pytest.raises(OutputError, match="exists"):
            self.make(path, emulator)
        assert path.read_bytes() == b"precious"

    def test_work_of_another_preset_is_not_mixed_in(self, emulator, tmp_path):
        path = tmp_path / "set.h5"

        def stop(done, total):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            self.make(path, emulator, progress=stop)
        with pytest.raises(OutputError, match="another preset"):
            self.make(path, emulator, limit=8)
        assert not path.exists()

    def test_a_disk_without_room_is_told_before_the_work(self, emulator, tmp_path, monkeypatch):
        told = []
        monkeypatch.setattr(store, "_SPARE", 2**60)
        with pytest.raises(OutputError, match="GB are free"):
            self.make(tmp_path / "set.h5", emulator, announce=lambda *x: told.append(x))
        assert told == [(4, 4 * (8 * 4096 * 2 + 4 * 8 + 3 * 4))]
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_is_not_there(self, emulator, tmp_path):
        with pytest.raises(OutputError, match="does not exist"):
            self.make(tmp_path / "none" / "set.h5", emulator)

    def test_what_is_no_data_set(self, tmp_path):
        (tmp_path / "text.h5").write_text("no")
        with h5py.File(tmp_path / "other.h5", "w") as file:
            file["x"] = 1
        for name, message in (("none.h5", "no such file"), ("text.h5", "not HDF5"),
                              ("other.h5", "not a finished data set")):  # fmt: skip
            with pytest.raises(ReadError, match=message):
                StoredSpectra(tmp_path / name)

    def test_unfinished_work(self, emulator, tmp_path):
        def stop(done, total):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            self.make(tmp_path / "set.h5", emulator, progress=stop)
        with pytest.raises(ReadError, match="not a finished data set"):
            StoredSpectra(tmp_path / "set.h5.part")


class TestReader:
    def test_splits_share_nothing_and_leave_nothing_out(self, made):
        _, path, facts = made
        everything, train, test = (StoredSpectra(path, split=s) for s in (None, "train", "test"))
        assert (len(everything), len(train), len(test)) == (
            facts.spectra, facts.training, facts.test
        )  # fmt: skip
        both = np.concatenate([train.rows, test.rows])
        np.testing.assert_array_equal(np.sort(both), everything.rows)

    def test_labels_are_scaled_as_the_file_says(self, made):
        data = StoredSpectra(made[1], split="test")
        item = data[2]["labels"].numpy()
        assert np.all(np.abs(item) <= 1)
        np.testing.assert_allclose(item * HALF_RANGE + CENTRE, data.labels[2], rtol=1e-5, atol=1e-4)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_loader_with_any_number_of_workers_gives_the_same(self, made, workers):
        data = StoredSpectra(made[1], split="train")
        whole = torch.stack([data[i]["flux"] for i in range(len(data))])
        loader = DataLoader(data, batch_size=50, num_workers=workers)
        streamed = torch.cat([batch["flux"] for batch in loader])
        assert streamed.shape == (len(data), 8, 4096)
        assert streamed.dtype == torch.float32
        torch.testing.assert_close(streamed, whole, rtol=0, atol=0)

    def test_it_travels_to_a_worker_without_its_spectra(self, made):
        import pickle

        data = StoredSpectra(made[1])
        first = data[0]["flux"]
        copy = pickle.dumps(data)
        assert len(copy) < 2_000_000 < made[1].stat().st_size
        torch.testing.assert_close(pickle.loads(copy)[0]["flux"], first, rtol=0, atol=0)

    def test_noise_is_what_is_asked_for_and_new_at_every_access(self, made):
        clean, noisy = StoredSpectra(made[1]), StoredSpectra(made[1], snr=20.0)
        used = torch.from_numpy(clean.response > 0)
        first, second = ((noisy[1]["flux"] - clean[1]["flux"]) for _ in range(2))
        assert float(first[used].std()) == pytest.approx(0.05, rel=0.03)
        assert not torch.equal(first, second)
        assert torch.all(first[~used] == 0)


class TestPresets:
    def test_the_packaged_ones_can_be_read_and_are_named_like_their_files(self):
        assert packaged() == ["harpsn", "paper"]
        for name in packaged():
            assert read_preset(name).name == name

    @pytest.mark.parametrize(("text", "message"), [
        ("vsini = [1.0, 1.0]", "each once"),
        ("vsini = []", "at least one vsini"),
        ("vsini = [1.0]\ntest_share = 1.0", "test_share"),
        ("vsini = [1.0]\nslant = 1.0", "slant"),
        ("vsini = [1.0]\nslamt = 0.5", "did you mean slant"),
    ])  # fmt: skip
    def test_impossible_ones_are_refused(self, text, message, tmp_path):
        path = tmp_path / "mine.toml"
        path.write_text(
            'name = "mine"\nsource = "nodes"\nseed = 1\nwavelengths = [5050.0, 5350.0]\n'
            f'response = "slant"\n{text}\n'
        )
        with pytest.raises(ConfigError, match=message):
            read_preset(path)

    def test_the_former_name_is_understood_and_the_bytes_stay(self):
        with pytest.warns(HarpsstarWarning, match="the preset seeds is now called paper"):
            preset = read_preset("seeds")
        assert preset == read_preset("paper")
        text = json.dumps(recorded(preset), sort_keys=True)
        assert hashlib.sha256(text.encode()).hexdigest() == (
            "3d410c0c225184c6477f141279bb98b4242adb49576d9f24f18e7655b5bcc485"
        )

    def test_an_unknown_name(self):
        with pytest.raises(ConfigError, match="harpsn, paper"):
            read_preset("papre")


class TestPicture:
    @pytest.mark.parametrize("ending", [".png", ".pdf", ".svg"])
    def test_the_same_spectrum_gives_the_same_picture(self, made, ending, tmp_path):
        pytest.importorskip("matplotlib")
        row = show(made[1], tmp_path / f"a{ending}")
        assert show(made[1], tmp_path / f"b{ending}", row=row) == row
        assert (tmp_path / f"a{ending}").stat().st_size > 10_000
        assert sha256(tmp_path / f"a{ending}") == sha256(tmp_path / f"b{ending}")

    def test_what_cannot_be_drawn_is_told(self, made, tmp_path):
        image = tmp_path / "a.png"
        for arguments in ({"output": tmp_path / "a.gif"}, {"output": image, "row": 999}):
            with pytest.raises(HarpsstarError, match="expected"):
                show(made[1], **arguments)

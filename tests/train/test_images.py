"""Training networks of images: a whole tiny training, calibration, interruption, finishing."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from harpsstar.errors import TrainingError
from harpsstar.model.emulator import Emulator
from harpsstar.nn import zoo
from harpsstar.nn.resnet import ResNet
from harpsstar.train.images import answers, calibrate_image, lay_out
from harpsstar.train.recipes import (
    AttentionOptions,
    AttentionRecipe,
    DenoiserOptions,
    HeldOutOptions,
    OptimiserOptions,
    ResNetOptions,
    ResNetRecipe,
    SpectraOptions,
)
from harpsstar.train.run import network_options, train
from harpsstar.train.stream import PaperStream, window

DATA = SpectraOptions(spectra=8, validation=4, fresh=True)
OPTIMISER = OptimiserOptions(epochs=2, batch=4, learning_rate=1e-3)
REST = {"data": DATA, "optimiser": OPTIMISER, "calibration": HeldOutOptions(8), "seed": 3}
RESNET = ResNetRecipe(
    "tiny-resnet", network=ResNetOptions(channels=(2, 2, 2, 2, 2), strides=(4, 4, 4, 2, 2),
                                         hidden=(8, 8)), **REST)  # fmt: skip
ATTENTION = AttentionRecipe(
    "tiny-attention", network=AttentionOptions(covariance="full", channels=(2, 2, 2, 2), bins=8,
                                               hidden=8),
    denoiser=DenoiserOptions(channels=(2, 2), strides=(8, 8), latent=4, linear=True,
                             optimiser=OPTIMISER),
    **REST)  # fmt: skip


@pytest.fixture(scope="module")
def emulators():
    return {"paper": Emulator.load(interpolation="linear"), "ours": Emulator.load()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, emulators):
    """Model, folder and file of an uninterrupted training behind an auto-encoder."""
    folder = tmp_path_factory.mktemp("images")
    path = folder / "a.safetensors"
    model = train(ATTENTION, path, folder=folder / "work", emulator=emulators["paper"])
    return model, folder / "work", path


def test_the_card_says_what_the_training_was(trained):
    model, _, path = trained
    loaded = zoo.load(path)
    assert loaded.sha256 == model.sha256
    assert loaded.card["network"] == "dae-attention"
    training = loaded.card["training"]
    assert (training["samples"], training["epochs"]) == (16, 2)
    assert (training["denoiser"]["samples"], training["denoiser"]["epochs"]) == (16, 2)
    assert training["hours"] >= 0
    assert training["device"].startswith("cpu")
    assert loaded.card["recipe"]["denoiser"]["latent"] == 4
    assert loaded.card["grid"]["sha256"]


def test_the_linear_part_of_the_auto_encoder_is_that_of_the_spectra(trained, emulators):
    """Four components of eight stars draw those stars much better than their mean does."""
    network = trained[0].network
    stream = PaperStream(ATTENTION, emulator=emulators["paper"])
    clean = torch.cat([batch[-1] for batch in stream.training(0, 4)])
    images = network.image(clean, torch.ones_like(clean))
    linear = network.denoiser.linear
    left = linear.decode(linear.encode(images)) - images
    assert float(left.square().mean()) < 0.2 * float((images - images.mean(0)).square().mean())


def test_kernels_laid_out_otherwise_are_trained_alike(tmp_path, emulators):
    found = []
    for last in (False, True):
        optimiser = dataclasses.replace(OPTIMISER, channels_last=last)
        recipe = dataclasses.replace(ATTENTION, denoiser=None, optimiser=optimiser)
        folder = tmp_path / str(last)
        model = train(recipe, folder / "m.safetensors", folder=folder,
                      emulator=emulators["paper"])  # fmt: skip
        assert all(p.is_contiguous() for p in model.network.parameters())
        found.append(model.card["training"]["validation_loss"])
    assert found[1] == pytest.approx(found[0], rel=1e-3)


def test_the_file_keeps_what_was_calibrated(trained, emulators):
    model, _, path = trained
    loaded = zoo.load(path)
    stream = PaperStream(ATTENTION, emulator=emulators["paper"])
    one, other = (answers(m.network, stream.held_out(4, 4)) for m in (model, loaded))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert torch.equal(loaded.network.image.window, window(ATTENTION))


def test_no_file_of_a_training_needs_pickle(trained):
    """By what is in them; TensorBoard, where it is installed, has a folder of its own."""
    _, work, _ = trained
    files = [item for item in work.rglob("*") if item.is_file()]
    for path in [item for item in files if "tensorboard" not in item.parts]:
        if path.suffix == ".safetensors":
            assert load_file(path)
        else:
            text = path.read_text(encoding="utf-8")
            assert text.replace("\n", "").isprintable() or path.suffix == ".csv", path
    assert sorted(work.rglob("checkpoint.safetensors")) == [
        work / "checkpoint.safetensors", work / "denoiser" / "checkpoint.safetensors"
    ]  # fmt: skip


@pytest.mark.parametrize(("stage", "done"), [("training the auto-encoder", 1), ("training", 1)])
def test_an_interrupted_training_gives_the_same_model(stage, done, trained, emulators, tmp_path):
    def interrupt(name, count, total, remark):
        if (name, count) == (stage, done):
            raise KeyboardInterrupt

    path, options = tmp_path / "a.safetensors", {"folder": tmp_path / "work"}
    options["emulator"] = emulators["paper"]
    with pytest.raises(KeyboardInterrupt):
        train(ATTENTION, path, progress=interrupt, **options)
    assert not path.exists()
    train(ATTENTION, path, **options)
    whole, resumed = load_file(trained[2]), load_file(path)
    for name, tensor in whole.items():
        rtol = 1e-4 if name.startswith("calibration.") else 0.0
        torch.testing.assert_close(resumed[name], tensor, rtol=rtol, atol=0, msg=name)


def test_an_interrupted_training_can_be_finished_as_it_is(emulators, tmp_path):
    def interrupt(name, count, total, remark):
        raise KeyboardInterrupt

    path, options = tmp_path / "a.safetensors", {"folder": tmp_path / "work"}
    options["emulator"] = emulators["paper"]
    with pytest.raises(TrainingError, match="no checkpoint to finish"):
        train(RESNET, path, finish=True, **options)
    with pytest.raises(KeyboardInterrupt):
        train(RESNET, path, progress=interrupt, **options)
    model = train(RESNET, path, finish=True, **options)
    assert model.card["training"]["epochs"] == 1
    assert model.card["training"]["samples"] == 8


def test_our_own_spectra_can_be_trained_on(emulators, tmp_path):
    recipe = dataclasses.replace(RESNET, data=dataclasses.replace(DATA, preset="ours"))
    model = train(recipe, tmp_path / "a.safetensors", folder=tmp_path / "work",
                  emulator=emulators["ours"])  # fmt: skip
    assert model.card["recipe"]["data"]["preset"] == "ours"


class KnownErrors:
    """A stream whose labels differ from a network's by errors of a known size."""

    def __init__(self, network, factor):
        self.network, self.factor = network, factor

    def held_out(self, n, batch):
        generator = torch.Generator().manual_seed(2)
        for _ in range(n // batch):
            flux = 1 + 0.05 * torch.randn(batch, 8, 128, generator=generator)
            ivar = torch.full_like(flux, 400.0)
            with torch.no_grad():
                answer = self.network(flux, flux, ivar)
            sigma = answer.covariance.diagonal(dim1=1, dim2=2).sqrt()
            error = self.factor * sigma * torch.randn(batch, 4, generator=generator)
            yield flux, ivar, answer.mean + error, flux


def test_calibration_finds_by_how_much_errors_are_wrong():
    torch.manual_seed(0)
    network = ResNet("full", (2,) * 5, (2,) * 5, (8, 8), shape=(8, 128)).eval()
    factor = torch.tensor([0.5, 1.0, 2.0, 3.0])
    recipe = dataclasses.replace(ATTENTION, calibration=HeldOutOptions(1024),
                                 optimiser=dataclasses.replace(OPTIMISER, batch=64))  # fmt: skip
    log_snr, scale, metrics = calibrate_image(network, KnownErrors(network, factor), recipe)
    torch.testing.assert_close(scale, factor.expand(2, 4), rtol=0.12, atol=0)
    assert log_snr[0] < torch.tensor(20.0).log() < log_snr[1]
    found = metrics["snr 20"]["coverage_before"]
    assert found["teff"] == pytest.approx(0.954, abs=0.03)
    assert found["logg"] == pytest.approx(0.683, abs=0.05)


@pytest.mark.parametrize("recipe", [RESNET, ATTENTION], ids=["resnet", "dae-attention"])
def test_another_order_in_memory_changes_neither_answers_nor_the_names_of_weights(recipe):
    torch.manual_seed(2)
    network = zoo.build(*network_options(recipe)).eval()
    flux, ivar = 1 - 0.1 * torch.rand(2, 8, 4096), torch.ones(2, 8, 4096)
    before, names = network(flux, flux, ivar), list(network.state_dict())
    lay_out(network, torch.channels_last)
    kernels = [p for p in network.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)
    after = network(flux, flux, ivar)
    torch.testing.assert_close(after.mean, before.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after.covariance, before.covariance, rtol=1e-4, atol=1e-5)
    lay_out(network, torch.contiguous_format)
    assert all(p.is_contiguous() for p in network.parameters())
    assert list(network.state_dict()) == names

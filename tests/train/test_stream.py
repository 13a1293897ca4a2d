"""Streams: noise as claimed, stars of the recipe, the same again, shared among processes."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from harpsstar.labels import LABELS
from harpsstar.model.emulator import Emulator
from harpsstar.nn.zoo import unscale_labels
from harpsstar.spectra.frame import canonical_wavelengths
from harpsstar.train.recipes import ResNetRecipe, SpectraOptions
from harpsstar.train.stream import OursStream, PaperStream, stream_for, window
from harpsstar.train.world import World

DATA = SpectraOptions(spectra=24, validation=6, snr=20.0, fresh=True)


@pytest.fixture(scope="module")
def emulators():
    return {"paper": Emulator.load(interpolation="linear"), "ours": Emulator.load()}


@pytest.fixture
def make(emulators):
    def stream(preset="paper", world=None, **changes):
        data = dataclasses.replace(DATA, preset=preset, **changes)
        return stream_for(ResNetRecipe("test", data=data, seed=5), world, emulators[preset])

    return stream


def joined(batches):
    return [torch.cat(column) for column in zip(*batches, strict=True)]


def test_a_preset_has_its_stream(make):
    assert isinstance(make("paper"), PaperStream)
    assert isinstance(make("ours"), OursStream)


@pytest.mark.parametrize("preset", ["paper", "ours"])
def test_an_epoch_has_its_spectra_in_batches(make, preset):
    batches = list(make(preset).training(0, 8))
    assert [len(labels) for _, _, labels, _ in batches] == [8, 8, 8]
    for flux, ivar, labels, clean in batches:
        assert flux.shape == ivar.shape == clean.shape == (8, 8, 4096)
        assert labels.abs().max() <= 1.0 + 1e-6
        assert flux.isfinite().all()
        assert (ivar >= 0).all()


def test_noise_is_white_and_as_large_as_the_recipe_says(make):
    for snr in (20.0, 100.0):
        flux, ivar, _, clean = joined(make(snr=snr).training(0, 8))
        assert float((flux - clean).std()) == pytest.approx(1 / snr, rel=0.01)
        assert (ivar == snr**2).all()


@pytest.mark.parametrize("preset", ["paper", "ours"])
def test_stars_are_those_of_the_recipe(make, preset):
    stream = make(preset, teff=(4000.0, 6000.0))
    labels = unscale_labels(joined(stream.training(0, 8))[2])
    assert labels[:, 0].min() >= 4000
    assert labels[:, 0].max() <= 6000
    assert stream.emulator.contains(*labels[:, :3].T, vmic=torch.full((24,), 2.0)).all()


def test_stars_fill_the_ranges_of_the_labels(make):
    labels = make().labels(4000, 1)
    for label, values in zip(LABELS, labels.T, strict=True):
        assert label.low <= values.min() < label.low + 0.1 * (label.high - label.low)
        assert label.high - 0.1 * (label.high - label.low) < values.max() <= label.high


@pytest.mark.parametrize("preset", ["paper", "ours"])
def test_an_epoch_is_the_same_whenever_it_is_made_and_no_other_is(make, preset):
    one, same, other = (joined(make(preset).training(e, 8)) for e in (3, 3, 4))
    for a, b in zip(one, same, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert not torch.equal(one[2], other[2])


def test_stars_that_are_not_fresh_come_again_with_other_noise_in_another_order(make):
    stream = make(fresh=False)
    first, second = (joined(stream.training(e, 8)) for e in (0, 1))
    assert not torch.equal(first[2], second[2])
    order = [labels[2][:, 0].argsort() for labels in (first, second)]
    torch.testing.assert_close(first[2][order[0]], second[2][order[1]], rtol=0, atol=0)
    noise = [(flux - clean)[o] for (flux, _, _, clean), o in zip((first, second), order,
                                                                 strict=True)]  # fmt: skip
    correlation = (noise[0] * noise[1]).mean() / noise[0].square().mean()
    assert abs(float(correlation)) < 0.02


def test_processes_share_the_stars_of_an_epoch_among_them(make):
    alone = joined(make(fresh=False).training(2, 8))[2]
    parts = [
        joined(make(world=World(rank=rank, size=2), fresh=False).training(2, 8)) for rank in (0, 1)
    ]
    both = torch.cat([part[2] for part in parts])
    assert torch.equal(both.sort(0).values, alone.sort(0).values)
    noise = [flux - clean for flux, _, _, clean in parts]
    assert not torch.equal(*noise)


@pytest.mark.parametrize("preset", ["paper", "ours"])
def test_no_star_is_trained_on_and_judged_by(make, preset):
    stream = make(preset)
    sets = [
        joined(batches)[2]
        for batches in (stream.training(0, 8), stream.validation(8), stream.held_out(6, 8))
    ]
    for i, one in enumerate(sets):
        for other in sets[i + 1 :]:
            assert torch.cdist(one.double(), other.double()).min() > 1e-6


def test_labels_do_not_foretell_the_noise(make):
    """Generators of neighbouring seeds: a network could learn what they share."""
    flux, _, labels, clean = joined(make(spectra=64).training(0, 64))
    noise = (flux - clean)[:, 0, :64].flatten(1)
    noise, labels = (x - x.mean(0) for x in (noise, labels))
    share = (noise.T @ labels) / (noise.norm(dim=0)[:, None] * labels.norm(dim=0))
    assert float(share.abs().mean()) == pytest.approx((2 / torch.pi / 64) ** 0.5, rel=0.25)


def test_the_window_is_that_of_the_recipe():
    seen = window(ResNetRecipe("test", data=DATA))
    wave = torch.from_numpy(canonical_wavelengths().copy())
    assert wave[seen].min() >= 5050.0
    assert wave[seen].max() <= 5350.0
    assert wave[~seen].max() > 5350.0
    assert 0.7 < float(seen.float().mean()) < 0.95


def test_wrong_models_spoil_what_is_seen_and_not_what_is_meant(make):
    flux, ivar, labels, clean = joined(make("ours", snr=1000.0).training(0, 8))
    spoilt, weight, same, meant = joined(make("ours", snr=1000.0, model_error=3.0).training(0, 8))
    assert torch.equal(labels[:8], same[:8])  # the first batch: later ones draw other numbers
    assert torch.equal(clean[:8], meant[:8])
    before, after = (
        float((f[:8] - clean[:8])[(w[:8] > 0)].abs().median())
        for f, w in ((flux, ivar), (spoilt, weight))
    )
    assert after > 3 * before


@pytest.mark.parametrize(("preset", "size"), [("ours", -1.0), ("paper", 1.0)])
def test_a_model_error_that_makes_no_sense_is_refused(preset, size):
    with pytest.raises(ValueError, match="model_error"):
        SpectraOptions(preset=preset, model_error=size)

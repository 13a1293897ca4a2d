"""Small files to run commands on: a mock observation, and things that are none."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def star(tmp_path_factory):
    """A mock HARPS-N e2ds of a star like the Sun, with its blaze beside it."""
    import torch

    from harpsstar.synth.emulator import Emulator
    from harpsstar.synth.observe import observe

    emulator = Emulator.load()

    def model(wave):
        labels = torch.tensor([[5772.0, 4.44, 0.0, 2.0]])
        one = torch.ones(1)
        flux = emulator.at(torch.as_tensor(wave), labels, vmic=one, vmac=3.0 * one)
        return flux[0].numpy()

    path = tmp_path_factory.mktemp("night") / "star_e2ds_A.fits"
    observe(model, rv=12.0, snr=80.0, berv=-5.0, seed=1, target="HD 1").writeto(path)
    return path


@pytest.fixture
def empty(tmp_path):
    """A file without a byte."""
    path = tmp_path / "empty.fits"
    path.touch()
    return path

"""Small files to run commands on: a mock observation, and things that are none."""

from __future__ import annotations

import pytest
import torch

from harpsstar.mock import blaze_frame, observe, write
from harpsstar.model.emulator import Emulator


@pytest.fixture(scope="session")
def star(tmp_path_factory):
    """A mock HARPS-N e2ds of a star like the Sun, with its blaze beside it."""
    emulator = Emulator.load()
    labels = torch.tensor([[5772.0, 4.44, 0.0, 2.0]])

    def model(wave):
        return emulator.at(wave, labels, vmic=1.0, vmac=3.0)[0].numpy()

    path = tmp_path_factory.mktemp("night") / "star_e2ds_A.fits"
    hdus = observe(model, rv=12.0, snr=80.0, berv=-5.0, seed=1, target="HD 1")
    write(hdus, path, blaze=blaze_frame())
    return path


@pytest.fixture
def empty(tmp_path):
    """A file without a byte."""
    path = tmp_path / "empty.fits"
    path.touch()
    return path

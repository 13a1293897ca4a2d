"""One mock star like the Sun, fitted once."""

from __future__ import annotations

import pytest
import torch

from harpsstar.evaluate.posterior import observe
from harpsstar.infer.fit.engine import Fitter
from harpsstar.infer.fit.options import Options
from harpsstar.infer.fit.space import Space

#: The grid has no axis of alpha.
TRUTH = {"teff": 5772.0, "logg": 4.44, "m_h": 0.05, "vsini": 4.0, "vmic": 1.2, "vmac": 3.2,
         "rv": 12.0}  # fmt: skip


@pytest.fixture(scope="session")
def fitter():
    return Fitter(Options())


def mock(fitter, seed=1, snr=100.0, **changes):
    """A spectrum of the star, some of its parameters changed."""
    space = Space(Options(), fitter.emulator, [0.0])
    truth = torch.tensor([[{**TRUTH, **changes}[name] for name in space.names]]).double()
    generator = torch.Generator().manual_seed(seed)
    return observe(fitter.emulator, space, truth, snr, generator)


@pytest.fixture(scope="session")
def start(fitter):
    return fitter.prepare(mock(fitter))


@pytest.fixture(scope="session")
def result(fitter, start):
    return fitter.solve([start])

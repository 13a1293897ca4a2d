"""Training sets on disk: made once, reproducible to the byte, streamed by torch's DataLoader.

The room is ``train`` and not ``synth`` because the data set with noise comes from the same
:class:`~harpsstar.train.simulate.Simulator` that trains the networks, and ``train`` knows ``synth``
but not the other way round.
"""

from __future__ import annotations

from harpsstar.train.dataset.build import Facts, make_dataset
from harpsstar.train.dataset.presets import Preset, packaged, read_preset
from harpsstar.train.dataset.reader import StoredSpectra

__all__ = ["Facts", "Preset", "StoredSpectra", "make_dataset", "packaged", "read_preset"]

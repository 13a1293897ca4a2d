"""Training sets on disk: made once, reproducible to the byte, streamed by torch's DataLoader."""

from __future__ import annotations

from harpsstar.mock.dataset.build import Facts, make_dataset
from harpsstar.mock.dataset.presets import Preset, packaged, read_preset
from harpsstar.mock.dataset.reader import StoredSpectra

__all__ = ["Facts", "Preset", "StoredSpectra", "make_dataset", "packaged", "read_preset"]

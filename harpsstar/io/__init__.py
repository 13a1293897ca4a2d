"""Readers of HARPS-N, HARPS and ESPRESSO spectra, and tables of results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harpsstar._lazy import importer
from harpsstar.io.observation import Observation

if TYPE_CHECKING:
    from harpsstar.io.containers import read
    from harpsstar.io.products import identify

__all__ = ["Observation", "identify", "read"]

#: The module of each name that is imported when it is first used: specutils takes seconds.
_LAZY = {"identify": "harpsstar.io.products", "read": "harpsstar.io.containers"}


__getattr__ = importer(globals(), _LAZY)


def __dir__() -> list[str]:
    return sorted(__all__)

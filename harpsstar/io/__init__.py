"""Readers of HARPS-N, HARPS and ESPRESSO spectra, and tables of results."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from harpsstar.io.observation import Observation

if TYPE_CHECKING:
    from harpsstar.io.containers import read
    from harpsstar.io.products import identify

__all__ = ["Observation", "identify", "read"]

#: The module of each name that is imported when it is first used: specutils takes seconds.
_LAZY = {"identify": "harpsstar.io.products", "read": "harpsstar.io.containers"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

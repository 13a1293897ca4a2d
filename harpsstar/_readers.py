"""Make specutils find harpsstar's readers without importing specutils, which takes seconds.

specutils knows no entry points: a reader exists once the module that defines it is imported. Where
specutils is imported already, that is done at once; otherwise right after it is imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_SPECUTILS = "specutils"
_READERS = "harpsstar.io.containers"


class _AfterImport(Loader):
    """Do what specutils' own loader does, then import the readers."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # Whoever asks the module for its loader (for its files, say) gets specutils' own.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        importlib.import_module(_READERS)


class _Finder(MetaPathFinder):
    """Wait for the first import of specutils, once."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != _SPECUTILS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _AfterImport(spec.loader)
        return spec


def register_with_specutils() -> None:
    """Register the readers with specutils, now or when it is imported."""
    if _SPECUTILS in sys.modules:
        importlib.import_module(_READERS)
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())

"""Public names that are imported when they are first used: their modules may take seconds."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def importer(namespace: dict[str, Any], modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Make the ``__getattr__`` of a package.

    Parameters
    ----------
    namespace : dict
        The package's ``globals()``, where a name stays once it is there.
    modules : mapping
        The module of each name.
    """

    def find(name: str) -> Any:
        """Import a public name when it is first used."""
        if name not in modules:
            raise AttributeError(f"module {namespace['__name__']!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(modules[name]), name)
        namespace[name] = value
        return value

    return find

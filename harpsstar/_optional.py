"""Packages that only some of harpsstar needs, imported when they are first used."""

from __future__ import annotations

import importlib
from typing import Any

from harpsstar.errors import InputsMissingError


def load(name: str, extra: str) -> Any:
    """Import a module of a package that a plain installation lacks.

    Parameters
    ----------
    name : str
        Of the module.
    extra : str
        The extra of harpsstar that installs it.

    Raises
    ------
    InputsMissingError
        It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputsMissingError(
            f"{name.partition('.')[0]} is not installed ({error})",
            hint=f'run pip install "harpsstar[{extra}]"',
        ) from error

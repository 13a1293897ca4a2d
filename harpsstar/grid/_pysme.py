"""PySME, imported once, without its files in the home directory or its log."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import logging
import os
import tempfile
from collections.abc import Iterator
from types import SimpleNamespace

from harpsstar.errors import InputsMissingError


@contextlib.contextmanager
def _home_elsewhere() -> Iterator[None]:
    """PySME writes to the home directory when it is first imported: give it another one."""
    before = os.environ.get("HOME")
    with tempfile.TemporaryDirectory(prefix="harpsstar-pysme-") as folder:
        os.environ["HOME"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["HOME"]
            else:
                os.environ["HOME"] = before


@functools.cache
def load_pysme() -> SimpleNamespace:
    """Import what is needed of PySME, without its files in the home directory or its log.

    Raises
    ------
    InputsMissingError
        When the extra ``synth`` is not installed.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        with _home_elsewhere(), contextlib.redirect_stdout(io.StringIO()):
            modules = {
                name: importlib.import_module(f"pysme.{name}")
                for name in ("abund", "sme", "synthesize")
            }
            modules["linelist"] = importlib.import_module("pysme.linelist.linelist")
            modules["krzfile"] = importlib.import_module("pysme.atmosphere.krzfile")
            modules["pysme"] = importlib.import_module("pysme")
    except ImportError as error:
        raise InputsMissingError(
            f"PySME cannot be imported ({error})",
            hint='install the extra: pip install "harpsstar[synth]"',
        ) from error
    for name in ("pysme", *list(logging.root.manager.loggerDict)):
        if name.split(".")[0] == "pysme":
            logging.getLogger(name).setLevel(logging.CRITICAL)
    return SimpleNamespace(**modules)

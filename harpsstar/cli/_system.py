"""What a bug report needs to say about the machine, the installation and the packaged files."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata, resources
from pathlib import Path

from harpsstar._version import __version__

#: Environment variables that change what harpsstar does.
VARIABLES = ("HARPSSTAR_CACHE", "HARPSSTAR_INSTRUMENTS", "HARPSSTAR_DEBUG", "OMP_NUM_THREADS")


def system_report() -> list[tuple[str, str]]:
    """Describe the environment; whatever is broken is said, and raises nothing.

    Returns
    -------
    list of (str, str)
        Name and text, in reading order. It holds folders of the user, and no host or user name
        beyond them.
    """
    return [
        ("harpsstar", f"{__version__} in {Path(__file__).parent}"),
        ("python", f"{platform.python_version()} ({sys.executable})"),
        ("platform", f"{platform.platform()}, {platform.machine()}"),
        ("processors", f"{_usable_processors()} usable of {os.cpu_count()}"),
        ("torch", _torch()),
        *_dependencies(),
        *_packaged(),
        ("inputs", _inputs()),
        ("spectrographs", _spectrographs()),
        *((name, os.environ.get(name, "not set")) for name in VARIABLES),
    ]


def _usable_processors() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _torch() -> str:
    try:
        import torch

        device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "processor only"
        return f"{torch.__version__}, {device}, {torch.get_num_threads()} threads"
    except Exception as error:  # a broken installation is what such a report is for
        return f"cannot be imported: {type(error).__name__}: {error}"


def _dependencies() -> Iterator[tuple[str, str]]:
    """Version of each dependency; those of extras are marked."""
    try:
        required = metadata.requires("harpsstar") or []
    except metadata.PackageNotFoundError:
        yield "dependencies", "unknown: harpsstar is not installed, only imported"
        required = []
    names: dict[str, str] = {}
    for text in required:
        found = re.match(r"[\w.-]+", text)
        if found and found[0] not in ("harpsstar", "torch"):
            extra = re.search(r"extra == ['\"]([\w-]+)", text)
            names.setdefault(found[0], f" (for {extra[1]})" if extra else "")
    for name, purpose in names.items():
        try:
            yield name, metadata.version(name) + purpose
        except metadata.PackageNotFoundError:
            yield name, f"not installed{purpose}"


def _packaged() -> Iterator[tuple[str, str]]:
    """First digits of the SHA-256 of the packaged grid and models."""
    data = resources.files("harpsstar.data")
    for entry in sorted(data.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".safetensors"):
            content = entry.read_bytes()
            yield entry.name, f"{hashlib.sha256(content).hexdigest()[:16]}, {len(content)} bytes"


def _inputs() -> str:
    try:
        from harpsstar.grid.inputs import held, root

        records = held()
        return f"{sum(record.present for record in records)} of {len(records)} in {root()}"
    except Exception as error:  # see _torch
        return f"unknown: {type(error).__name__}: {error}"


def _spectrographs() -> str:
    try:
        from harpsstar.instruments import available

        return ", ".join(available())
    except Exception as error:  # see _torch
        return f"unknown: {type(error).__name__}: {error}"

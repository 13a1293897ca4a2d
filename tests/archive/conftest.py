"""One good spectrum, made once, and folders with copies of it."""

from __future__ import annotations

import os
import shutil

import pytest

from harpsstar.archive.batch import Options, predict_files
from tests.archive.faults import good


@pytest.fixture(scope="session")
def spectrum() -> bytes:
    """A mock s1d."""
    return good()


@pytest.fixture(scope="session")
def cached(spectrum, tmp_path_factory):
    """That spectrum as a file."""
    path = tmp_path_factory.mktemp("spectrum") / "s1d_A.fits"
    path.write_bytes(spectrum)
    return path


@pytest.fixture
def night(cached, tmp_path):
    """A folder with three hard links of the spectrum and an empty file."""
    folder = tmp_path / "night"
    folder.mkdir()
    for name in "abc":
        os.link(cached, folder / f"{name}.fits")
    (folder / "bad.fits").touch()
    return folder


@pytest.fixture
def predict(tmp_path):
    """Run a batch in this process."""

    def run(*inputs, output=None, selection=None, on_event=None, **options):
        options = Options(**({"jobs": 0} | options))
        return predict_files(inputs, output, selection=selection, options=options,
                             on_event=on_event)

    return run


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB; skipped where none can be mounted."""
    import subprocess

    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system can be mounted")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)

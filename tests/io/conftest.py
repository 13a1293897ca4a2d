"""A mock star and its files, made once."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from harpsstar.mock import blaze_frame, observe, write

RV, BERV, SNR = 33.0, -12.0, 100.0
C = 299792.458


def star(wave):
    """Absorption lines between 5010 and 5410 Å, nan outside, at rest-frame air wavelengths."""
    rng = np.random.default_rng(5)
    centres, depths = rng.uniform(5015, 5405, 300), rng.uniform(0.05, 0.8, 300)
    grid = np.arange(5010.0, 5410.0, 0.005)
    flux = np.ones(grid.size)
    for centre, depth in zip(centres, depths, strict=True):
        near = slice(*np.searchsorted(grid, [centre - 0.4, centre + 0.4]))
        flux[near] *= 1.0 - depth * np.exp(-0.5 * ((grid[near] - centre) / 0.05) ** 2)
    return np.interp(wave, grid, flux, left=np.nan, right=np.nan)


@pytest.fixture(scope="session")
def mock():
    """Make an HDUList of the mock star in some format."""

    def make(format, **changes):
        options = {"rv": RV, "berv": BERV, "snr": SNR, "seed": 2, "target": "HD 1"} | changes
        return observe(star, format=format, **options)

    return make


@pytest.fixture(scope="session")
def night(tmp_path_factory, mock):
    """Folder with the mock star in all formats of HARPS-N, and its blaze files."""
    folder = tmp_path_factory.mktemp("night")
    write(mock("e2ds"), folder / "e2ds.fits", blaze=blaze_frame())
    write(mock("s2d_blaze"), folder / "s2d_blaze.fits", blaze=blaze_frame(new=True))
    for format in ("s1d", "s2d", "s1d_table"):
        write(mock(format), folder / f"{format}.fits.gz")
    return folder


@pytest.fixture
def model():
    """The mock star's normalised flux at barycentric wavelengths."""
    return lambda wave: star(np.asarray(wave) / (1.0 + RV / C))


@pytest.fixture(scope="session")
def real():
    """Folder with real spectra; the tests that need it are skipped without it."""
    beside = Path(__file__).parents[3] / "shared"
    folder = Path(os.environ.get("HARPSSTAR_SHARED", beside)) / "data" / "real"
    if not folder.is_dir():
        pytest.skip("no real spectra: set HARPSSTAR_SHARED")
    return folder

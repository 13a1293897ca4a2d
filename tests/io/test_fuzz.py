"""Whatever bytes or cards of a layout are changed, the readers give a spectrum or one sentence."""

from __future__ import annotations

import io
import time
import warnings

import numpy as np
import pytest

from harpsstar.errors import HarpsstarError
from harpsstar.io.facts import read_facts
from harpsstar.io.given import Given
from harpsstar.io.products import read_arrays

from .layouts import layouts
from .test_headers import VALUES
from .test_layouts import star_at

#: Seconds that no file may take, however busy the machine is.
LONGEST = 20.0


@pytest.fixture(scope="module")
def files():
    found = layouts(star_at(115000.0))
    return {name: (data, say) for name, (data, say, _) in found.items() if len(data) < 6_000_000}


def headers_end(data):
    """Offset of the end of the last header near the beginning."""
    end = data.rfind(b"END".ljust(80), 0, 200_000)
    return end if end > 0 else min(len(data), 2000)


def changed_bytes(data, rng):
    damaged = bytearray(data)
    limit = headers_end(data) if rng.random() < 0.7 else len(data)
    for _ in range(rng.integers(1, 12)):
        damaged[rng.integers(0, limit)] = rng.integers(0, 256)
    if rng.random() < 0.2:
        del damaged[rng.integers(0, len(damaged)) :]
    return bytes(damaged)


def changed_cards(data, rng):
    """Other values, or none, in some cards; another number in some lines of text."""
    if not data.startswith(b"SIMPLE"):
        lines = data.split(b"\n")
        for _ in range(rng.integers(1, 5)):
            lines[rng.integers(0, len(lines))] = rng.choice(VALUES).encode("latin-1", "replace")
        return b"\n".join(lines)
    damaged = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        offset = 80 * int(rng.integers(0, headers_end(data) // 80 + 1))
        card = bytes(damaged[offset : offset + 80])
        name, sign, _ = card.partition(b"=")
        if not sign:
            continue
        value = str(rng.choice(VALUES)).encode("latin-1", "replace")
        new = b" " * 80 if rng.random() < 0.2 else (name + b"= " + value).ljust(80)[:80]
        damaged[offset : offset + 80] = new
    return bytes(damaged)


def one(data, say, path, what):
    """Read one damaged file; what comes out must be usable or one sentence."""
    start = time.perf_counter()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error")
        try:
            read = read_arrays(io.BytesIO(data), given=Given(**say))
        except HarpsstarError as error:
            assert error.found, what
            assert "Traceback" not in str(error), what
        else:
            good = ~read.mask
            assert np.isfinite(read.flux[good]).all(), what
            assert (read.sigma[good] > 0).all(), what
            assert np.isfinite(read.wave[good]).all(), what
    path.write_bytes(data)
    read_facts(path)
    assert time.perf_counter() - start < LONGEST, what


def mutate(files, count, seed, path):
    rng = np.random.default_rng(seed)
    names = list(files)
    for number in range(count):
        name = names[number % len(names)]
        data, say = files[name]
        change = changed_bytes if rng.random() < 0.5 else changed_cards
        one(change(data, rng), say, path, f"{name}, {change.__name__}, number {number}")


def test_some_damaged_files(files, tmp_path):
    mutate(files, 4 * len(files), 1, tmp_path / "damaged.fits")


@pytest.mark.slow
def test_three_thousand_damaged_files(files, tmp_path):
    mutate(files, 3000, 2, tmp_path / "damaged.fits")

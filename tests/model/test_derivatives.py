"""Derivatives of spectra: those of the spectra themselves, at the edges as in the middle."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harpsstar.model import broadening
from harpsstar.model.derivatives import PARAMETERS
from harpsstar.model.emulator import Emulator
from harpsstar.model.nodes import AXES, lagrange_slopes, lagrange_weights
from harpsstar.spectra.frame import canonical_wavelengths

#: Steps of differences: K, dex, dex, km/s, km/s, km/s, dex, km/s.
STEPS = dict(zip(PARAMETERS, (1e-2, 1e-5, 1e-5, 1e-4, 1e-5, 1e-4, 1e-5, 1e-4), strict=True))
WAVE = canonical_wavelengths()[:, ::64]


@pytest.fixture(scope="module")
def single() -> Emulator:
    return Emulator.load()


@pytest.fixture(scope="module")
def precise() -> Emulator:
    return Emulator.load().double()


def stars(emulator: Emulator, n: int, seed: int) -> torch.Tensor:
    """Points (n, 8) all over the grid, some of them on its edges and nodes."""
    u = torch.rand(n, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    low = torch.tensor([3500.0, 0.0, -2.5, 0.0, 0.5, 0.0, 0.0, -50.0])
    high = torch.tensor([9750.0, 5.0, 0.5, 30.0, 2.0, 10.0, 0.0, 50.0])
    points = low + (high - low) * u
    points[0, :5] = low[:5]
    points[1, :5] = high[:5]
    points[2, :3] = torch.tensor([5000.0, 3.0, -0.5])
    points[3, [3, 5]] = 0.0
    points[4, [3, 5]] = torch.tensor([1e-3, 1e-2]).double()
    # on the staircase
    points[5, 1] = 0.0
    return torch.cat([emulator.grid.nearest(points[:, :4]), points[:, 4:]], dim=1)


def keywords(points: torch.Tensor) -> dict[str, torch.Tensor]:
    return dict(zip(PARAMETERS[4:], points[:, 4:].T, strict=True))


def spectra(emulator: Emulator, points: torch.Tensor) -> torch.Tensor:
    flux = emulator(points[:, :4], **keywords(points), check=False)
    return emulator.sampler(WAVE).without_gaps(flux).unflatten(1, WAVE.shape)


def derivatives(emulator, points, wave=WAVE, **options):
    return emulator.derivatives(wave, points[:, :4], **keywords(points), **options)


def side(emulator: Emulator, points: torch.Tensor, name: str) -> torch.Tensor:
    """Where on a node the derivative is that on the side of larger values: half a step of it."""
    axes = dict(zip((label.name for label in AXES), emulator.grid.axes, strict=True))
    if name not in axes:
        return torch.zeros(len(points), dtype=torch.float64)
    x, axis = points[:, PARAMETERS.index(name)], axes[name]
    on = (x[:, None] == axis[:-1]).any(1)
    return torch.where(on, STEPS[name], 0.0)


@pytest.mark.parametrize("name", PARAMETERS)
def test_they_are_those_of_the_spectra(precise, name):
    points = stars(precise, 12, seed=1)
    flux, slopes = derivatives(precise, points, by=[name])
    torch.testing.assert_close(flux, spectra(precise, points), rtol=0, atol=1e-12)
    step = torch.zeros(8, dtype=torch.float64)
    step[PARAMETERS.index(name)] = STEPS[name]
    offset = side(precise, points, name)[:, None] * (step > 0)
    above, below = (spectra(precise, points + offset + sign * step) for sign in (1, -1))
    numeric = (above - below) / (2 * STEPS[name])
    scale = numeric.flatten(1).abs().amax(1)
    error = (slopes[:, 0] - numeric).flatten(1).abs().amax(1)
    # half a step from a node the derivative is another one by so much
    kinked = offset.abs().sum(1) > 0
    assert (error <= torch.where(kinked, 2e-3, 2e-5) * scale + 1e-9).all()
    if name != "alpha":  # the packaged grid has a single value of it
        assert (scale > 0)[6:].all()


@pytest.mark.parametrize("name", ["vsini", "vmac"])
def test_by_the_square_they_do_not_vanish_at_zero(precise, name):
    points = stars(precise, 6, seed=2)
    column = PARAMETERS.index(name)
    (_, plain), (_, square) = (
        derivatives(precise, points, by=[name], squares=squares) for squares in (False, True)
    )
    torch.testing.assert_close(plain, 2 * points[:, column, None, None, None] * square)
    still = points[3:4]
    assert still[0, column] == 0 and plain[3].abs().max() == 0
    moved = still.clone()
    moved[:, column] = 0.02
    numeric = ((spectra(precise, moved) - spectra(precise, still)) / 0.02**2)[0]
    scale = float(numeric.abs().max())
    assert scale > 1e-4
    torch.testing.assert_close(square[3, 0], numeric, rtol=0, atol=1e-3 * scale)


def test_a_subset_in_any_order_is_the_same(single):
    points = stars(single, 6, seed=3).float()
    _, every = derivatives(single, points)
    names = ["rv", "teff", "vmac"]
    _, some = derivatives(single, points, by=names)
    expected = every[:, [PARAMETERS.index(name) for name in names]]
    torch.testing.assert_close(some, expected, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="known are"):
        derivatives(single, points, by=["resolution"])


def test_what_the_grid_has_a_single_value_of_changes_nothing(single):
    assert single.grid.shape[-1] == 1
    assert (derivatives(single, stars(single, 6, seed=4).float(), by=["alpha"])[1] == 0).all()


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 39), min_size=1, max_size=19), st.booleans())
def test_a_row_does_not_depend_on_its_batch(single, rows, smooth):
    points = stars(single, 40, seed=5).float()
    points[::3, 7] = 0.0
    together = derivatives(single, points[rows], smooth=smooth)
    for place, row in list(enumerate(rows))[-3:]:
        alone = derivatives(single, points[row : row + 1], smooth=smooth)
        for whole, one in zip(together, alone, strict=True):
            assert torch.equal(whole[place], one[0])


def test_outside_the_grid_they_are_finite(single):
    points = stars(single, 6, seed=6).float()
    wave = np.array([4000.0, 5200.0, 6000.0, np.nan])
    flux, slopes = derivatives(single, points, wave)
    assert flux.isfinite().all() and slopes.isfinite().all()


@pytest.mark.parametrize("column", range(3))
def test_smooth_ones_are_continuous_across_nodes(precise, column):
    points = stars(precise, 24, seed=7)[:, [0, 1, 2, 4, 6]]
    axis = precise.grid.axes[column]
    points[:, column] = axis[1:-1][torch.arange(24) % (len(axis) - 2)]
    move = torch.zeros(5, dtype=torch.float64)
    move[column] = 1e-7 * float(axis[1] - axis[0])
    for smooth, jumps in ((False, True), (True, False)):
        left, right = (
            precise.grid.derivatives(points + sign * move, smooth=smooth)[:, 1 + column]
            for sign in (-1, 1)
        )
        jump = (right - left).abs().max() / right.abs().max()
        assert bool(jump > 1e-3) is jumps


def test_smooth_ones_are_means_of_differences(precise):
    points = stars(precise, 24, seed=8)[:, [0, 1, 2, 4, 6]]
    found = precise.grid.derivatives(points, smooth=True)
    torch.testing.assert_close(found[:, 0], precise.grid(points), rtol=1e-12, atol=1e-10)
    for column, axis in enumerate(precise.grid.axes[:4]):
        half = torch.zeros(5, dtype=torch.float64)
        half[column] = 0.04 * float(axis.diff().min())
        mean = (precise.grid(points + half) - precise.grid(points - half)) / (2 * half.sum())
        torch.testing.assert_close(found[:, 1 + column], mean, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6])
def test_slopes_of_lagrange_weights_are_exact_for_polynomials(size):
    generator = torch.Generator().manual_seed(size)
    at = torch.rand(7, size, dtype=torch.float64, generator=generator).cumsum(1) + 0.1
    x = torch.rand(7, dtype=torch.float64, generator=generator)
    for degree in range(size):
        value = (lagrange_weights(at, x) * at**degree).sum(1)
        slope = (lagrange_slopes(at, x) * at**degree).sum(1)
        torch.testing.assert_close(value, x**degree)
        expected = degree * x ** max(degree - 1, 0)
        torch.testing.assert_close(slope, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("profile", "derivative"),
    [
        (broadening.rotation, broadening.rotation_by_square),
        (broadening.macroturbulence, broadening.macroturbulence_by_square),
    ],
)
def test_kernels_by_the_square_of_their_width(profile, derivative):
    # both sides of where series take over
    k = torch.linspace(0.0, 4.0, 401, dtype=torch.float64)
    for speed in (0.0, 0.02, 0.3, 2.0, 11.0):
        square = speed**2
        step = 1e-4 * max(square, 1.0)
        low = max(square - step, 0.0)
        ends = [profile(k, torch.tensor(math.sqrt(x)).double()) for x in (low, square + step)]
        numeric = (ends[1] - ends[0]) / (square + step - low)
        middle = torch.tensor(math.sqrt(0.5 * (low + square + step))).double()
        # torch's Bessel functions are good to 5e-7
        allowed = 1e-6 / (square + step - low) if speed > 1 else 1e-6
        torch.testing.assert_close(derivative(k, middle), numeric, rtol=1e-3, atol=allowed)

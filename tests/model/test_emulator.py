"""The emulator on a small grid whose coefficients are known polynomials of the labels."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from harpsstar.errors import ModelError, OutsideGridError
from harpsstar.model.broadening import C_KMS
from harpsstar.model.emulator import Emulator
from harpsstar.model.grid_file import PACKAGED_GRID

TEFF = [4000.0, 4500.0, 5000.0, 5500.0, 6000.0, 6500.0, 7000.0]
LOGG = [1.0, 1.5, 2.0, 2.5, 3.0, 3.5]
M_H = [-1.5, -1.0, -0.5, 0.0, 0.5]
VMIC = [1.0, 2.0]
FLOOR = dict(zip(TEFF, [1.0, 1.0, 1.0, 1.5, 1.5, 2.0, 2.0], strict=True))
STEP = 2e-6
N_WAVE, N_LINES = 3000, 6
MARGIN = 600


def polynomials(points: torch.Tensor, degree: int = 3, vmic_degree: int = 1) -> torch.Tensor:
    """Strengths of the lines (N, N_LINES), cubic in teff and m_h, quadratic in logg."""
    t, g, m, v = (
        (points.double() - torch.tensor([5500.0, 2.5, -0.5, 1.5]))
        / torch.tensor([1500.0, 1.5, 1.0, 0.5])
    ).unbind(1)
    columns = [
        0.3 + 0.1 * t**degree,
        0.3 + 0.1 * g**2 - 0.05 * t * g,
        0.2 + 0.08 * m**degree + 0.05 * m,
        0.2 + 0.05 * v**vmic_degree,
        0.3 + 0.05 * t**2 * g * m,
        0.3 + 0.05 * g * v**vmic_degree - 0.04 * t**degree * m**2,
    ]
    return torch.stack(columns, dim=1)


def node_list(vmic=VMIC) -> torch.Tensor:
    rows = itertools.product(TEFF, LOGG, M_H, vmic)
    return torch.tensor([row for row in rows if row[1] >= FLOOR[row[0]]])


def grid_tensors(nodes: torch.Tensor, **degrees: int) -> dict[str, torch.Tensor]:
    pixel = torch.arange(N_WAVE)
    centres = MARGIN + 137.3 + 290.0 * torch.arange(N_LINES)
    lines = -torch.exp(-0.5 * ((pixel - centres[:, None]) / 3.0) ** 2)
    return {
        "nodes": nodes,
        "mean": torch.ones(N_WAVE),
        "components": lines,
        "coefficients": polynomials(nodes, **degrees).float(),
    }


def make(interpolation="cubic", vmic=VMIC, **degrees) -> Emulator:
    tensors = grid_tensors(node_list(vmic), **degrees)
    return Emulator(
        **tensors, log_wave0=math.log(5100.0), log_step=STEP, interpolation=interpolation
    )


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    return make()


@pytest.fixture(scope="module")
def precise() -> Emulator:
    return make().double()


def stars(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels (n, 4) and vmic (n,) all over the grid, down to its lowest gravities."""
    u = torch.rand(n, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    teff = 4000 + 3000 * u[:, 0]
    floor = torch.from_numpy(np.interp(teff, list(FLOOR), list(FLOOR.values())))
    logg = floor + (3.5 - floor) * u[:, 1] ** 2
    return torch.stack([teff, logg, -1.5 + 2 * u[:, 2], 20 * u[:, 3]], 1), 1 + u[:, 4]


# --- between nodes ---------------------------------------------------------------------------


def test_nodes_are_reproduced(emulator):
    nodes = node_list()
    assert torch.equal(emulator.coefficients(nodes, nodes[:, 3]), polynomials(nodes).float())
    flux = emulator.intrinsic(nodes[::50], nodes[::50, 3])
    tensors = grid_tensors(nodes)
    expected = tensors["mean"] + tensors["coefficients"][::50] @ tensors["components"]
    torch.testing.assert_close(flux, expected, atol=1e-6, rtol=0)


def test_cubic_interpolation_is_exact_for_cubics_up_to_the_staircase_edge(precise):
    labels, vmic = stars(500)
    points = torch.cat([labels[:, :3], vmic[:, None]], 1)
    found = precise.coefficients(labels, vmic)
    # The table is in single precision.
    torch.testing.assert_close(found, polynomials(points), atol=2e-6, rtol=0)


def test_linear_interpolation_takes_the_mean_half_way():
    emulator = make("linear")
    nodes = torch.tensor([[5000.0, 2.5, -0.5], [5000.0, 2.5, 0.0]])
    at_nodes = emulator.coefficients(nodes, 1.0)
    middle = torch.tensor([[5000.0, 2.5, -0.25]])
    torch.testing.assert_close(emulator.coefficients(middle, 1.0)[0], at_nodes.mean(0))
    assert not torch.allclose(make().coefficients(middle, 1.0)[0], at_nodes.mean(0), atol=1e-3)


@pytest.mark.parametrize(("vmic", "degree"), [([1.5], 0), (VMIC, 1), ([0.5, 1.0, 2.0], 2)])
def test_the_degree_in_vmic_follows_the_number_of_values(vmic, degree):
    emulator = make(vmic=vmic, vmic_degree=degree).double()
    labels, _ = stars(50)
    at = torch.linspace(vmic[0], vmic[-1], 50, dtype=torch.float64)
    points = torch.cat([labels[:, :3], at[:, None]], 1)
    expected = polynomials(points, vmic_degree=degree)
    torch.testing.assert_close(emulator.coefficients(labels, at), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("interpolation", ["cubic", "linear"])
def test_continuous_across_cells(interpolation):
    # Random coefficients: polynomials would hide a jump between two stencils.
    nodes = node_list()
    tensors = grid_tensors(nodes)
    generator = torch.Generator().manual_seed(3)
    tensors["coefficients"] = torch.randn(len(nodes), N_LINES, generator=generator)
    emulator = Emulator(
        **tensors, log_wave0=math.log(5100.0), log_step=STEP, interpolation=interpolation
    ).double()
    labels, vmic = stars(300, seed=4)
    for column, values, unit in ((0, TEFF[1:-1], 500.0), (1, LOGG[1:-1], 0.5), (2, M_H[1:-1], 0.5)):
        edge = torch.tensor(values).double()[torch.arange(300) % len(values)]
        sides = []
        for sign in (-1, 1):
            moved = labels.clone()
            moved[:, column] = edge + sign * 1e-7 * unit
            sides.append(emulator.coefficients(moved, vmic))
        assert (sides[1] - sides[0]).abs().max() < 1e-4


def test_the_whole_batch_equals_each_alone(emulator):
    labels, vmic = (x.float() for x in stars(7))
    vmac = torch.linspace(0, 6, 7)
    rv = torch.linspace(-30, 30, 7)
    together = emulator(labels, vmic=vmic, vmac=vmac, rv=rv)
    for i in range(7):
        alone = emulator(labels[i : i + 1], vmic=vmic[i : i + 1], vmac=float(vmac[i]), rv=rv[i])
        torch.testing.assert_close(together[i], alone[0], atol=2e-6, rtol=0)


# --- where the grid ends ---------------------------------------------------------------------


def test_every_node_and_every_star_between_is_inside(emulator):
    nodes = node_list()
    assert emulator.contains(*nodes.unbind(1)).all()
    labels, vmic = stars(500)
    assert emulator.contains(*labels[:, :3].unbind(1), vmic).all()


@pytest.mark.parametrize(
    ("point", "allowed"),
    [
        ((7100.0, 3.0, 0.0, 1.0), "teff 4000 to 7000 K"),
        ((5250.0, 1.2, 0.0, 1.0), r"logg 1.25 to 3.5 \(at teff 5250 K\)"),
        ((6900.0, 1.9, 0.0, 1.0), r"logg 2 to 3.5 \(at teff 6900 K\)"),
        ((5000.0, 3.6, 0.0, 1.0), r"logg 1 to 3.5"),
        ((5000.0, 3.0, 0.6, 1.0), "m_h -1.5 to 0.5"),
        ((5000.0, 3.0, 0.0, 2.5), "vmic 1 to 2 km/s"),
        ((math.nan, 3.0, 0.0, 1.0), "teff 4000 to 7000 K"),
        ((5000.0, math.nan, 0.0, 1.0), "logg 1 to 3.5"),
    ],
)
def test_outside_is_refused_with_the_allowed_range(emulator, point, allowed):
    labels = torch.tensor([[5000.0, 3.0, 0.0, 5.0], [*point[:3], 5.0]])
    vmic = torch.tensor([1.5, point[3]])
    with pytest.raises(OutsideGridError, match=f"spectrum 1 .*{allowed}"):
        emulator.check(labels, vmic)
    with pytest.raises(OutsideGridError):
        emulator(labels, vmic=vmic)
    with pytest.raises(OutsideGridError):
        emulator.at([5110.0], labels, vmic=vmic)


def test_without_the_check_the_polynomials_go_on(emulator):
    labels = torch.tensor([[7100.0, 3.0, 0.0, 5.0]])
    assert emulator(labels, vmic=1.0, check=False).isfinite().all()


# --- broadening and velocity -----------------------------------------------------------------


def test_a_velocity_moves_wavelengths_by_the_doppler_factor(precise):
    labels, vmic = stars(3)
    wave = precise.wave[400:-400:7].numpy()
    rv = torch.tensor([-80.0, 0.013, 120.0], dtype=torch.float64)
    rest = precise.at(wave, labels, vmic=vmic, vmac=3.0)
    for i, v in enumerate(rv.tolist()):
        moved = precise.at(wave * (1 + v / C_KMS), labels, vmic=vmic, vmac=3.0, rv=rv)
        torch.testing.assert_close(moved[i], rest[i], atol=1e-4, rtol=0)


@pytest.mark.parametrize("rv", [300.0, -300.0])
def test_what_leaves_at_one_end_does_not_return_at_the_other(rv):
    tensors = grid_tensors(node_list())
    tensors["mean"] = torch.ones(N_WAVE)
    tensors["mean"][[30, -30]] = 0.2
    emulator = Emulator(**tensors, log_wave0=math.log(5100.0), log_step=STEP)
    flux = emulator(torch.tensor([[5000.0, 3.0, 0.0, 30.0]]), vmic=1.0, vmac=10.0, rv=rv)[0]
    moved_in = flux[:300] if rv > 0 else flux[-300:]
    assert (moved_in - 1).abs().max() < 1e-5


@pytest.mark.parametrize(("vsini", "vmac", "power"), [(25.0, 0, 1e7), (0, 9.0, 1e7), (0, 0, 3e4)])
def test_broadening_keeps_equivalent_widths_and_makes_lines_shallower(emulator, vsini, vmac, power):
    labels = torch.tensor([[5000.0, 3.0, 0.0, 0.0]])
    sharp = emulator(labels, vmic=1.0, resolution=math.inf)
    labels[:, 3] = vsini
    wide = emulator(labels, vmic=1.0, vmac=vmac, resolution=power)
    assert (1 - wide).sum() == pytest.approx((1 - sharp).sum().item(), rel=1e-4)
    assert wide.min() > sharp.min() + 0.03


def test_no_broadening_at_all_is_the_intrinsic_spectrum(emulator):
    labels = torch.tensor([[4321.0, 2.2, -0.7, 0.0]])
    flux = emulator(labels, vmic=1.3, resolution=math.inf)
    torch.testing.assert_close(flux, emulator.intrinsic(labels, 1.3), atol=2e-6, rtol=0)


def test_single_and_double_precision_agree(emulator, precise):
    labels, vmic = stars(5)
    rv = torch.linspace(-300, 300, 5, dtype=torch.float64)
    exact = precise(labels, vmic=vmic, vmac=4.0, rv=rv)
    found = emulator(labels.float(), vmic=vmic.float(), vmac=4.0, rv=rv.float())
    assert found.dtype == torch.float32
    assert exact.dtype == torch.float64
    assert (found - exact).abs().max() < 5e-6


# --- any wavelength --------------------------------------------------------------------------


def test_on_its_own_grid_sampling_changes_nothing(emulator):
    labels = torch.tensor([[5000.0, 3.0, 0.0, 4.0]])
    flux = emulator(labels, vmic=1.0)
    torch.testing.assert_close(
        emulator.at(emulator.wave, labels, vmic=1.0), flux, atol=1e-6, rtol=0
    )


def test_between_grid_points_sampling_agrees_with_a_shift_in_fourier_space(precise):
    labels = torch.tensor([[5000.0, 3.0, 0.0, 0.0]], dtype=torch.float64)
    half = C_KMS * math.expm1(STEP / 2)
    exact = precise(labels, vmic=1.0, rv=-half)[:, 50:-50]
    between = torch.exp(precise.log_wave + STEP / 2)[50:-50]
    assert (precise.at(between, labels, vmic=1.0) - exact).abs().max() < 1e-4


def test_wavelengths_of_any_shape_and_order(emulator):
    labels = torch.tensor([[5000.0, 3.0, 0.0, 4.0], [4500.0, 3.0, 0.0, 4.0]])
    wave = np.linspace(5102.0, 5120.0, 60)
    flat = emulator.at(wave, labels, vmic=1.0)
    block = emulator.at(wave.reshape(3, 20), labels, vmic=1.0)
    assert torch.equal(block, flat.reshape(2, 3, 20))
    torch.testing.assert_close(emulator.at(wave[::-1].copy(), labels, vmic=1.0), flat.flip(1))
    assert torch.equal(emulator.at(float(wave[7]), labels, vmic=1.0), flat[:, 7])
    assert torch.equal(emulator.at(emulator.sampler(wave), labels, vmic=1.0), flat)


def test_beyond_the_grid_there_is_nothing(emulator):
    labels = torch.tensor([[5000.0, 3.0, 0.0, 4.0]])
    wave = np.array([5099.0, 5110.0, 5140.0, np.nan, -1.0])
    expected = torch.tensor([True, False, True, True, True])
    assert torch.equal(emulator.at(wave, labels, vmic=1.0)[0].isnan(), expected)
    # The star moves away: the wavelengths just inside have not been computed.
    inside = emulator.wave[10].item()
    assert emulator.at([inside], labels, vmic=1.0, rv=100.0).isnan().all()
    assert emulator.at([inside], labels, vmic=1.0, rv=1.0).isfinite().all()


# --- gradients -------------------------------------------------------------------------------


def function_of(emulator: Emulator):
    sampler = emulator.sampler(np.linspace(5101.0, 5128.0, 150))

    def flux(labels, vmic, vmac, rv):
        return emulator.at(sampler, labels, vmic=vmic, vmac=vmac, rv=rv, check=False)

    return flux


def test_gradients_in_both_modes_agree_with_finite_differences(precise):
    labels, vmic = stars(3, seed=5)
    velocities = torch.tensor([[0.7, 3.0, 6.0], [-20.0, 0.1, 40.0]], dtype=torch.float64)
    point = (labels, vmic, *velocities)
    steps = (torch.tensor([1e-2, 1e-5, 1e-5, 1e-4]).double(), 1e-5, 1e-4, 1e-4)
    flux = function_of(precise)
    weight = torch.rand(flux(*point).shape, dtype=torch.float64)
    leaves = [x.clone().requires_grad_() for x in point]
    reverse = torch.autograd.grad((weight * flux(*leaves)).sum(), leaves)
    for i, x in enumerate(point):
        for j in range(x.shape[1] if x.ndim == 2 else 1):
            direction = torch.zeros_like(x)
            direction[..., j if x.ndim == 2 else slice(None)] = 1.0
            change = direction * steps[i]
            numeric = (
                flux(*point[:i], x + change, *point[i + 1 :])
                - flux(*point[:i], x - change, *point[i + 1 :])
            ) / (2 * change.max())
            tangents = tuple(
                direction if k == i else torch.zeros_like(p) for k, p in enumerate(point)
            )
            _, forward = torch.func.jvp(flux, point, tangents)
            scale = numeric.abs().max()
            assert scale > 0
            assert (forward - numeric).abs().max() < 2e-5 * scale
            expected = (weight * numeric).sum(1)
            found = (reverse[i] * direction).reshape(3, -1).sum(1)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(scale))


def test_gradients_are_finite_without_rotation_and_macroturbulence(emulator):
    labels = torch.tensor([[5000.0, 3.0, 0.0, 0.0]], requires_grad=True)
    nuisances = [torch.tensor([x], requires_grad=True) for x in (1.0, 0.0, 0.0)]
    flux = function_of(emulator)(labels, *nuisances)
    flux.square().sum().backward()
    for leaf in (labels, *nuisances):
        assert leaf.grad.isfinite().all()
    # Both are even functions: there is no first-order effect of spinning up.
    assert labels.grad[0, 3] == 0
    assert nuisances[1].grad[0] == 0
    assert (labels.grad[0, :3] != 0).all()


def test_missing_wavelengths_leave_gradients_finite(emulator):
    labels = torch.tensor([[5000.0, 3.0, 0.0, 3.0]], requires_grad=True)
    flux = emulator.at([5000.0, 5110.0], labels, vmic=1.0, rv=5.0)
    torch.nansum(flux).backward()
    assert labels.grad.isfinite().all()


def test_a_jacobian_in_one_call(precise):
    flux = function_of(precise)
    point = torch.tensor([5200.0, 2.7, -0.2, 3.0, 1.4, 2.0, 5.0], dtype=torch.float64)

    def one(p):
        return flux(p[None, :4], p[4:5], p[5:6], p[6:7])[0]

    forward = torch.func.jacfwd(one)(point)
    reverse = torch.autograd.functional.jacobian(lambda p: one(p)[::10], point)
    torch.testing.assert_close(forward[::10], reverse, atol=1e-9, rtol=1e-6)


# --- grid files ------------------------------------------------------------------------------


def write(path, tensors, **changes):
    metadata = {
        "format": "harpsstar-grid-1",
        "log_wave0": repr(math.log(5100.0)),
        "log_step": repr(STEP),
        "note": "test",
    } | changes
    save_file(tensors, path, metadata)
    return path


def test_a_file_gives_the_same_emulator(tmp_path, emulator):
    tensors = grid_tensors(node_list())
    shuffled = torch.randperm(len(tensors["nodes"]), generator=torch.Generator().manual_seed(0))
    for name in ("nodes", "coefficients"):
        tensors[name] = tensors[name][shuffled].contiguous()
    loaded = Emulator.load(write(tmp_path / "grid.safetensors", tensors))
    labels, vmic = (x.float() for x in stars(4))
    assert torch.equal(loaded(labels, vmic=vmic), emulator(labels, vmic=vmic))
    assert loaded.metadata["note"] == "test"
    assert len(loaded.metadata["sha256"]) == 64
    assert loaded.state_dict() == {}


def test_unusable_files_are_named(tmp_path):
    tensors = grid_tensors(node_list())
    path = tmp_path / "grid.safetensors"
    with pytest.raises(ModelError, match="grid.safetensors: no such grid"):
        Emulator.load(path)
    path.write_bytes(b"SIMPLE  =                    T")
    with pytest.raises(ModelError, match="not a readable grid"):
        Emulator.load(path)
    with pytest.raises(ModelError, match="harpsstar-grid-3"):
        Emulator.load(write(path, tensors, format="other"))
    with pytest.raises(ModelError, match="do not fit"):
        Emulator.load(write(path, tensors | {"mean": torch.ones(10)}))
    with pytest.raises(ModelError, match="incomplete grid"):
        Emulator.load(write(path, {k: v for k, v in tensors.items() if k != "mean"}))
    path.write_bytes(write(path, tensors).read_bytes()[:5000])
    with pytest.raises(ModelError, match="not a readable grid"):
        Emulator.load(path)


def test_holes_and_doubles_are_refused(tmp_path):
    nodes = node_list()
    hole = (nodes == torch.tensor([5000.0, 2.5, 0.0, 1.0])).all(1)
    path = tmp_path / "grid.safetensors"
    with pytest.raises(ModelError, match="grid.safetensors: the grid has holes"):
        Emulator.load(write(path, grid_tensors(nodes[~hole])))
    with pytest.raises(ModelError, match="more than once"):
        Emulator.load(write(path, grid_tensors(torch.cat([nodes, nodes[:1]]))))


def test_unknown_interpolation_is_refused():
    with pytest.raises(ValueError, match="known are"):
        make("spline")


def test_the_packaged_grid_reproduces_its_nodes():
    emulator = Emulator.load()
    with safe_open(PACKAGED_GRID, framework="pt") as file:
        nodes, fine, rough = (
            file.get_tensor(name) for name in ("nodes", "coefficients", "coefficients8")
        )
    rows = torch.randperm(len(nodes), generator=torch.Generator().manual_seed(2))[:40]
    nodes, stored = nodes[rows], torch.cat([fine, rough.float()], dim=1)[rows]
    assert torch.equal(emulator.coefficients(nodes, nodes[:, 3], nodes[:, 4]), stored)
    assert emulator.wave[0] <= 5010.01
    assert emulator.wave[-1] >= 5409.5
    flux = emulator(torch.cat([nodes[:, :3], torch.full((40, 1), 5.0)], 1), vmic=nodes[:, 3],
                    alpha=nodes[:, 4])  # fmt: skip
    assert flux.isfinite().all()
    assert flux.min() > -0.05
    assert flux.max() < 1.05

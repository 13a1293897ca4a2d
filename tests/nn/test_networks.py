"""Every network passes the same matrix: what it takes, what it gives, what survives a file."""

from __future__ import annotations

import json
import math

import pytest
import torch

from harpsstar.errors import ModelError
from harpsstar.labels import NAMES
from harpsstar.nn import zoo
from harpsstar.nn.heads import HEADS
from harpsstar.nn.rounding import rounded

SHAPE = (8, 128)
SNR = 100.0

RESNET = {
    "channels": (6, 6, 8, 8, 8), "strides": (2, 2, 2, 1, 1), "hidden": (24, 16), "dropout": 0.0,
    "shape": SHAPE,
}  # fmt: skip
ATTENTION = {"channels": (4, 6, 8, 8), "bins": 8, "hidden": 16, "shape": SHAPE}
DENOISER = {"denoiser": {"channels": (6, 8), "strides": (2, 4), "latent": 24}}
#: Options that make each network small; a network without an entry is not tested, so it fails.
SMALL = {
    "projector": {"n_features": 24, "width": 48, "depth": 2, "shape": SHAPE},
    "resnet": RESNET,
    "attention": ATTENTION,
    "dae-resnet": RESNET | DENOISER,
    "dae-attention": ATTENTION | DENOISER,
}
#: Every network with every head that it can have.
MATRIX = [("projector", "full")] + [
    (name, covariance) for name in SMALL if name != "projector" for covariance in HEADS
]


def test_every_network_is_in_the_matrix():
    assert set(SMALL) == set(zoo.NETWORKS)


def options_of(name, covariance):
    return SMALL[name] | ({} if name == "projector" else {"covariance": covariance})


def heads_of(network):
    return [module for module in network.modules() if isinstance(module, tuple(HEADS.values()))]


def stars(n, seed=0):
    """Labels (n, 4) in -1 to 1, spectra with four lines each that answer to them, and weights."""
    generator = torch.Generator().manual_seed(seed)
    labels = 2 * torch.rand(n, 4, generator=generator) - 1
    basis = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(99))
    flux = 1 + 0.05 * torch.einsum("nl,lop->nop", labels, basis)
    return labels, flux, torch.full_like(flux, SNR**2)


@pytest.fixture(params=MATRIX, ids="-".join)
def network(request):
    torch.manual_seed(1)
    made = zoo.build(request.param[0], options_of(*request.param))
    if hasattr(made, "projector"):
        made.projector.fit(stars(64, seed=5)[1], torch.ones(SHAPE))
    return made


@pytest.fixture
def model(network, request):
    name, covariance = request.node.callspec.params["network"]
    options = json.loads(json.dumps(options_of(name, covariance)))
    card = {"name": "small", "labels": list(NAMES), "network": name, "network_options": options}
    scale = torch.tensor([[1.0, 1.1, 1.2, 1.3], [0.9, 1.0, 1.1, 1.2]])
    return zoo.Model("small", network.eval(), scale, torch.tensor([2.0, 5.0]), card)


def test_shapes(network):
    _, flux, ivar = stars(5)
    answer = network(flux, flux, ivar)
    assert answer.mean.shape == (5, 4)
    assert answer.precision_factor.shape == answer.covariance.shape == (5, 4, 4)
    assert answer.negative_log_likelihood(torch.zeros(5, 4)).shape == (5,)


def test_a_batch_of_one_is_a_row_of_a_batch(network):
    network.eval()
    _, flux, ivar = stars(5)
    together, alone = network(flux, flux, ivar), network(flux[2:3], flux[2:3], ivar[2:3])
    torch.testing.assert_close(alone.mean, together.mean[2:3], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(alone.covariance, together.covariance[2:3], rtol=1e-3, atol=1e-9)


def test_gradients_reach_every_parameter(network):
    labels, flux, ivar = stars(16)
    network(flux, flux, ivar).negative_log_likelihood(labels).mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_a_file_keeps_a_model_up_to_the_rounding_of_matrices(model, tmp_path):
    """Matrices are stored in float16 (11 bits: 5e-4 relative); all else exactly."""
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    digest = zoo.save(model, first)
    loaded = zoo.load(first)
    assert loaded.sha256 == digest
    assert loaded.card == model.card
    torch.testing.assert_close(loaded.scale, model.scale, rtol=0, atol=0)
    torch.testing.assert_close(loaded.log_snr, model.log_snr, rtol=0, atol=0)
    kept = loaded.network.state_dict()
    for name, value in model.network.state_dict().items():
        matrix = value.dtype == torch.float32 and value.ndim > 1
        expected = value.half().float() if matrix else value
        torch.testing.assert_close(kept[name], expected, rtol=0, atol=0, msg=name)
    # Rounded once, it is rounded for good.
    zoo.save(loaded, second)
    for name, value in zoo.load(second).network.state_dict().items():
        torch.testing.assert_close(value, kept[name], rtol=0, atol=0, msg=name)


def test_a_loaded_model_answers_as_it_did(model, tmp_path):
    zoo.save(model, tmp_path / "a.safetensors")
    _, flux, ivar = stars(6)
    before, after = (
        m.network(flux, flux, ivar) for m in (model, zoo.load(tmp_path / "a.safetensors"))
    )
    torch.testing.assert_close(after.mean, before.mean, rtol=0, atol=2e-3)
    # An element beside the diagonal can be nearly 0; the errors that it belongs to are not.
    sigma = before.covariance.diagonal(dim1=1, dim2=2).sqrt()
    scale = sigma[:, :, None] * sigma[:, None, :]
    torch.testing.assert_close(
        after.covariance / scale, before.covariance / scale, rtol=0, atol=2e-2
    )


def test_rounded_once_a_file_keeps_a_model_exactly(model, tmp_path):
    rounded(model.network)
    zoo.save(model, tmp_path / "a.safetensors")
    kept = zoo.load(tmp_path / "a.safetensors").network
    for name, value in model.network.state_dict().items():
        torch.testing.assert_close(kept.state_dict()[name], value, rtol=0, atol=0, msg=name)
    _, flux, ivar = stars(6)
    before, after = model.network(flux, flux, ivar), kept(flux, flux, ivar)
    torch.testing.assert_close(after.mean, before.mean, rtol=0, atol=0)
    torch.testing.assert_close(after.covariance, before.covariance, rtol=0, atol=0)


def test_mixed_precision_gives_nearly_the_same_gaussian_in_float32(network):
    network.eval()
    labels, flux, ivar = stars(16)
    exact = network(flux, flux, ivar)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = network(flux, flux, ivar)
        loss = mixed.negative_log_likelihood(labels)
    assert mixed.mean.dtype == mixed.precision_factor.dtype == loss.dtype == torch.float32
    torch.testing.assert_close(mixed.mean, exact.mean, rtol=0, atol=0.02)
    torch.testing.assert_close(mixed.covariance, exact.covariance, rtol=0.1, atol=0.01)


def test_overfits_eight_spectra(network):
    """Means on the labels, and errors as large as those that the labels are said to have.

    The likelihood of eight exact labels has no maximum: errors shrink for ever, and how the
    processor rounds decides which star is given up on the way. That of labels with errors has one.
    """
    labels, *seen = stars(8)
    size = 0.05

    def squares(answer):
        return (answer.mean - labels).square().mean()

    def expected(answer):
        """Mean over labels with Gaussian errors of this size."""
        spread = 0.5 * size**2 * answer.precision_factor.square().sum((1, 2))
        return (answer.negative_log_likelihood(labels) + spread).mean()

    one_cycle(network, *seen, squares, 5e-3)
    answer = one_cycle(network, *seen, expected, 5e-3)
    sigma = answer.covariance.diagonal(dim1=1, dim2=2).sqrt()
    assert (answer.mean - labels).abs().max() < size
    assert size / 2 < sigma.min()
    assert sigma.max() < 2 * size


def one_cycle(network, flux, ivar, loss_of, rate, steps=150):
    """Answer of a network after a cycle of the learning rate on the same spectra."""
    network.train()
    optimiser = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for _ in range(steps):
        optimiser.zero_grad()
        loss_of(network(flux, flux, ivar)).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return network.eval()(flux, flux, ivar)


@pytest.mark.parametrize("junk", [0.0, -1e6, math.nan, math.inf])
def test_the_value_of_a_masked_pixel_never_matters(network, junk):
    network.eval()
    _, flux, ivar = stars(4)
    dead = torch.rand(flux.shape, generator=torch.Generator().manual_seed(3)) < 0.1
    if hasattr(network, "image"):
        # outside its window a network of images is blind, whatever the weight
        network.image.window[:, 100:] = False
        dead[..., 110:] = True
    ivar = ivar.masked_fill(dead, 0.0)
    if hasattr(network, "image"):
        ivar[..., 120:] = SNR**2
    model = torch.full_like(flux, 0.9)
    answer = network(flux, model, ivar)
    spoilt = network(flux.masked_fill(dead, junk), model, ivar)
    torch.testing.assert_close(spoilt.mean, answer.mean, rtol=0, atol=0)
    torch.testing.assert_close(spoilt.covariance, answer.covariance, rtol=0, atol=0)


def test_a_spectrum_without_a_usable_pixel_gives_a_finite_answer(network):
    _, flux, ivar = stars(2)
    answer = network.eval()(flux, flux, torch.zeros_like(ivar))
    assert answer.mean.isfinite().all()
    assert answer.covariance.isfinite().all()


def test_the_covariance_is_positive_definite_and_inverts_the_factor(network):
    _, flux, ivar = stars(32)
    # Strong correlations, which an untrained head does not have.
    with torch.no_grad():
        for head in heads_of(network):
            head.linear.weight.normal_(std=0.3)
    answer = network.eval()(flux, flux, ivar)
    factor, covariance = answer.precision_factor.double(), answer.covariance.double()
    assert torch.linalg.eigvalsh(covariance).min() > 0
    identity = torch.eye(4, dtype=torch.float64).expand(32, 4, 4)
    torch.testing.assert_close(covariance @ factor @ factor.mT, identity, rtol=0, atol=1e-3)


def test_the_likelihood_is_that_of_a_multivariate_normal(network):
    labels, flux, ivar = stars(32)
    with torch.no_grad():
        for head in heads_of(network):
            head.linear.weight.normal_(std=0.1)
    answer = network.eval()(flux, flux, ivar)
    factor = answer.precision_factor.double()
    normal = torch.distributions.MultivariateNormal(
        answer.mean.double(), precision_matrix=factor @ factor.mT
    )
    constant = 0.5 * 4 * math.log(2 * math.pi)
    expected = -normal.log_prob(labels.double()) - constant
    torch.testing.assert_close(
        answer.negative_log_likelihood(labels).double(), expected, rtol=1e-4, atol=1e-3
    )


def test_scaling_and_unscaling_labels_are_inverse():
    physical = torch.tensor([[5772.0, 4.44, 0.0, 1.7], [9750.0, 5.0, 0.5, 30.0]])
    scaled = zoo.scale_labels(physical)
    torch.testing.assert_close(zoo.unscale_labels(scaled), physical)
    torch.testing.assert_close(scaled[1], torch.ones(4))
    # A covariance of differences scales as the differences do.
    step = torch.tensor([0.1, -0.2, 0.3, 0.05])
    moved = zoo.unscale_labels(scaled[0] + step) - physical[0]
    outer = zoo.unscale_covariance(step[:, None] * step)
    torch.testing.assert_close(outer, moved[:, None] * moved, rtol=1e-3, atol=1e-5)


def test_unknown_networks_and_damaged_files_are_refused(model, tmp_path):
    with pytest.raises(ModelError, match="projector"):
        zoo.build("none", {})
    with pytest.raises(ModelError, match="no such model"):
        zoo.load(tmp_path / "none.safetensors")
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"0123456789")
    with pytest.raises(ModelError, match="safetensors"):
        zoo.load(path)
    path.unlink()
    zoo.save(model, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="safetensors"):
        zoo.load(path)
    path.unlink()
    model.card["labels"] = ["teff"]
    zoo.save(model, path)
    with pytest.raises(ModelError, match="labels"):
        zoo.load(path)

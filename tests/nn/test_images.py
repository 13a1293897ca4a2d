"""Networks of spectral images: built as the paper says, and attention that is a distribution."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harpsstar.nn.attention import AttentionBlock, AttentionNetwork
from harpsstar.nn.dae import Denoised, DenoisingAutoEncoder
from harpsstar.nn.image import SpectralImage
from harpsstar.nn.resnet import ResidualBlock, ResNet

SHAPE = (8, 128)
SMALL_ATTENTION = {"channels": (4, 6, 8, 8), "bins": 8, "hidden": 16, "shape": SHAPE}
SMALL_RESNET = {"channels": (4,) * 5, "strides": (2, 2, 2, 1, 1), "hidden": (16, 8), "shape": SHAPE}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def images(n=3):
    return 0.1 * torch.randn(n, 1, *SHAPE)


def kernels(network):
    """Kernel sizes of all convolutions but those of 1 x 1 (shortcuts, attention blocks)."""
    found = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    return [(m.kernel_size, m.padding) for m in found if m.kernel_size != (1, 1)]


def test_a_resnet_has_five_residual_blocks_and_three_fully_connected_layers():
    network = ResNet()
    assert sum(isinstance(m, ResidualBlock) for m in network.modules()) == 5
    assert sum(isinstance(m, nn.Linear) for m in network.modules()) == 3
    assert any(isinstance(m, nn.Dropout) for m in network.modules())
    assert kernels(network) == [((1, 7), (0, 3))] * 11


def test_an_attention_network_has_eleven_convolutions_and_three_attention_blocks():
    network = AttentionNetwork()
    assert kernels(network) == [((1, 7), (0, 3))] * 11
    assert sum(isinstance(m, AttentionBlock) for m in network.modules()) == 3
    maps, g = network.features(torch.zeros(1, 1, 8, 4096))
    assert [tuple(x.shape[-2:]) for x in maps] == [(8, 4096), (4, 2048), (2, 1024)]
    assert tuple(g.shape[-2:]) == (1, 512)


def test_kernels_never_mix_two_orders():
    network = ResNet(**SMALL_RESNET).eval()
    image = images(1)
    other = image.clone()
    other[:, :, 3] += 1
    before, after = (network.blocks(network.stem(x)) for x in (image, other))
    changed = (before - after).abs().amax((0, 1, 3)) > 0
    assert changed.tolist() == [row == 3 for row in range(8)]


def test_a_residual_block_that_adds_nothing_is_its_shortcut():
    block = ResidualBlock(4, 4, 1).eval()
    nn.init.zeros_(block.residual[2][1].weight)
    x = torch.rand(2, 4, *SHAPE)
    torch.testing.assert_close(block(x), x)


def test_dropout_is_for_training_alone():
    network = ResNet(**SMALL_RESNET | {"dropout": 0.5})
    image = images(2)
    for module in network.train().modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    one, other = (network.from_image(image).mean for _ in range(2))
    assert not torch.equal(one, other)
    network.eval()
    one, other = (network.from_image(image).mean for _ in range(2))
    assert torch.equal(one, other)


def test_attention_sums_to_one_and_lies_between_zero_and_one():
    network = AttentionNetwork(**SMALL_ATTENTION).eval()
    maps = network.attention_maps(images())
    assert len(maps) == 3
    for alpha in maps:
        assert alpha.shape == (3, *SHAPE)
        assert alpha.min() >= 0
        torch.testing.assert_close(alpha.sum((1, 2)), torch.ones(3))


def test_equal_attention_changes_nothing():
    block = AttentionBlock(4, 6, 5)
    nn.init.zeros_(block.psi.weight)
    x = torch.randn(2, 4, 8, 64)
    torch.testing.assert_close(block(x, torch.randn(2, 6, 1, 8)), x)


def test_attention_goes_where_the_global_map_points():
    """Where g (and nothing in x) is large, so is the attention."""
    block = AttentionBlock(4, 6, 5)
    for weight in block.parameters():
        nn.init.constant_(weight, 0.5)
    g = torch.zeros(1, 6, 1, 8)
    g[..., 2] = 3.0
    alpha = block.attend(torch.rand(1, 4, 2, 64), g).detach()
    assert float(alpha[..., 16:24].sum()) > 0.9


def test_blocks_are_averaged():
    """A block that says 1 with the others at 0 moves the answer by a third."""
    network = AttentionNetwork(**SMALL_ATTENTION).eval()
    for head in network.heads:
        nn.init.zeros_(head.linear.weight)
        nn.init.zeros_(head.linear.bias)
    with torch.no_grad():
        network.heads[1].linear.bias[:4] = 1.0
    answer = network.from_image(images())
    torch.testing.assert_close(answer.mean, torch.full((3, 4), 1 / 3))


def denoiser():
    return DenoisingAutoEncoder((6, 8), (2, 4), 24, SHAPE)


def test_an_auto_encoder_gives_an_image_through_a_short_code():
    made = denoiser()
    assert made(images()).shape == (3, 1, *SHAPE)
    assert made.encoder(images()).shape == (3, 24)
    assert set(kernels(made)) == {((1, 7), (0, 3))}


def test_the_loss_of_an_auto_encoder_is_eq_4():
    made = denoiser().eval()
    noisy, clean = images(), images()
    wanted = ((made(noisy) - clean) ** 2).sum() / clean.numel()
    torch.testing.assert_close(made.loss(noisy, clean), wanted)
    assert float(made.loss(noisy, made(noisy)).detach()) == 0.0


def test_an_auto_encoder_removes_noise_that_it_has_not_seen():
    made = denoiser()
    generator = torch.Generator().manual_seed(4)
    knots = torch.randn(3, 1, 8, 16, generator=generator)
    basis = nn.functional.interpolate(knots, size=SHAPE, mode="bilinear")

    def draw(n):
        clean = torch.einsum("nk,kcop->ncop", torch.randn(n, 3, generator=generator), basis)
        return clean, clean + torch.randn(clean.shape, generator=generator)

    optimiser = torch.optim.AdamW(made.parameters(), lr=3e-3)
    for _ in range(200):
        clean, noisy = draw(32)
        optimiser.zero_grad()
        made.loss(noisy, clean).backward()
        optimiser.step()
    clean, noisy = draw(200)
    with torch.no_grad():
        left = float(made.eval().loss(noisy, clean))
    assert left < 0.3 * float((noisy - clean).square().mean())


def straight(n, seed=4):
    """Images that differ along four directions only, and the same with noise."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(4, 1, *SHAPE, generator=torch.Generator().manual_seed(99))
    clean = torch.einsum("nk,kcop->ncop", torch.randn(n, 4, generator=generator), basis)
    return clean, clean + torch.randn(clean.shape, generator=generator)


def test_straight_lines_are_all_that_a_fresh_linear_auto_encoder_knows():
    """It removes the noise of images that differ linearly, as well as four numbers can be known."""
    made = DenoisingAutoEncoder((6, 8), (2, 4), 4, SHAPE, linear=True).eval()
    share = made.linear.fit(straight(200, seed=1)[0])
    assert float(share.sum()) > 0.9999
    clean, noisy = straight(50)
    with torch.no_grad():
        torch.testing.assert_close(made(clean), clean, rtol=0, atol=1e-3)
        left = float((made(noisy) - clean).square().mean())
    assert left < 1.3 * 4 / clean[0].numel()  # noise of variance one in four numbers


def test_the_convolutions_of_a_linear_auto_encoder_learn_what_is_left():
    made = DenoisingAutoEncoder((6, 8), (2, 4), 4, SHAPE, linear=True)
    made.linear.fit(straight(200, seed=1)[0])
    optimiser = torch.optim.AdamW(made.parameters(), lr=3e-3)

    def bent(n, seed):
        clean = straight(n, seed)[0]
        return clean + 0.3 * clean.square()

    before = float(made.eval().loss(bent(50, 2), bent(50, 2)).detach())
    made.train()
    for step in range(100):
        optimiser.zero_grad()
        made.loss(bent(32, 10 + step), bent(32, 10 + step)).backward()
        optimiser.step()
    assert float(made.eval().loss(bent(50, 2), bent(50, 2)).detach()) < 0.8 * before


def test_pixels_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="strides of 8"):
        DenoisingAutoEncoder((6, 8), (2, 4), 24, (8, 100))


def test_training_a_network_leaves_the_auto_encoder_in_front_alone():
    network = Denoised(denoiser(), ResNet(**SMALL_RESNET)).train()
    before = {k: v.clone() for k, v in network.denoiser.state_dict().items()}
    network.from_image(images()).mean.sum().backward()
    for name, value in network.denoiser.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_nothing_comes_out_of_an_auto_encoder_outside_the_window():
    network = Denoised(denoiser(), ResNet(**SMALL_RESNET)).eval()
    network.image.window[:, 100:] = False
    denoised = network.denoise(images())
    assert (denoised[..., 100:] == 0).all()
    assert (denoised[..., :100] != 0).any()


def test_a_cosmic_ray_counts_no_more_than_the_deepest_that_an_image_holds():
    image = SpectralImage(SHAPE)
    flux, ivar = torch.ones(1, *SHAPE), torch.ones(1, *SHAPE)
    flux[0, 0, :2] = torch.tensor([1e12, -1e12])
    assert image(flux, ivar)[0, 0, 0, :2].tolist() == [2.0, -2.0]
    flux[0, 0, 0] = 0.0
    assert float(image(flux, ivar)[0, 0, 0, 0]) == -1.0


def test_the_noise_of_an_image_is_that_of_the_pixels_in_its_window():
    image = SpectralImage(SHAPE)
    image.window[:, 64:] = False
    ivar = torch.full((2, *SHAPE), 400.0)
    ivar[:, :, 64:] = 1e6
    ivar[0, :, :10] = 0.0
    torch.testing.assert_close(image.log_noise(ivar).exp(), torch.full((2,), 0.05))
    assert image.log_noise(torch.zeros(1, *SHAPE)).isfinite().all()

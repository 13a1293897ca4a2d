"""The network leaves Python: an exported copy gives the same numbers."""

from __future__ import annotations

import torch

from harpsstar.nn import zoo


class Plain(torch.nn.Module):
    """The network with tensors in and tensors out, as another program would use it."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, flux, model, ivar):
        gaussian = self.network(flux, model, ivar)
        return gaussian.mean, gaussian.precision_factor


def test_an_exported_network_gives_the_same_numbers(tmp_path):
    plain = Plain(zoo.load().network).eval()
    generator = torch.Generator().manual_seed(0)
    model = 1 - 0.5 * torch.rand(2, 8, 4096, generator=generator)
    flux = model + 0.02 * torch.randn(model.shape, generator=generator)
    ivar = torch.full_like(flux, 2500.0)
    ivar[:, 3, 100:300] = 0.0
    with torch.no_grad():
        plain(flux, model, ivar)
        program = torch.export.export(plain, (flux, model, ivar))
        torch.export.save(program, tmp_path / "network.pt2")
        copy = torch.export.load(tmp_path / "network.pt2").module()
        for one, other in zip(plain(flux, model, ivar), copy(flux, model, ivar), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)

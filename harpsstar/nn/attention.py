"""The attention network: 11 convolutional layers and three attention blocks.

Source: Hüttel & Clemmensen (2021), section 3.2, eq. 3 and Figure 2, after Jetley et al. (2018),
Oktay et al. (2018) and Schlemper et al. (2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from harpsstar.nn.heads import Gaussian, average
from harpsstar.nn.image import ImageNetwork, convolution, head

#: Convolutions before each of the three attention blocks, and those that make the global map.
LAYERS = (3, 3, 3, 2)


class AttentionBlock(nn.Module):
    """Where a feature map is worth looking at, given the global one; and what is seen there.

    Eq. 3: q = ψᵀ σ₁(W_xᵀ x + W_gᵀ g + b_xg) and α = softmax(q) over all positions; the output is
    x̂ = α · x. The bias b_ψ of the paper is left out: a softmax does not see it.

    Parameters
    ----------
    n_x, n_g : int
        Channels F_x of the intermediate map and F_g of the global one.
    n_inner : int
        Channels F_int that both are brought to.
    """

    def __init__(self, n_x: int, n_g: int, n_inner: int) -> None:
        super().__init__()
        self.w_x = nn.Conv2d(n_x, n_inner, 1, bias=False)
        self.w_g = nn.Conv2d(n_g, n_inner, 1)
        self.psi = nn.Conv2d(n_inner, 1, 1, bias=False)

    def attend(self, x: Tensor, g: Tensor) -> Tensor:
        """Attention map α, (B, 1, rows, columns), sums to one; x (B, F_x, …), g (B, F_g, …).

        g is brought to the rows and columns of x by repeating it.
        """
        gate = nn.functional.interpolate(self.w_g(g), size=x.shape[-2:], mode="nearest")
        q = self.psi(nn.functional.relu(self.w_x(x) + gate))
        return q.float().flatten(1).softmax(-1).view_as(q)

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        """x̂ = N α · x, (B, F_x, rows, columns).

        N is the number of positions: with it a map that is the same everywhere leaves x as it is,
        whatever the size of the spectrum.
        """
        alpha = self.attend(x, g)
        return x * (alpha * alpha[0].numel()).to(x.dtype)


class AttentionNetwork(ImageNetwork):
    """Convolutions with three attention blocks; each gives a Gaussian, and they are averaged.

    Three convolutions, an attention block on their result x₁, 2 × 2 max-pooling; the same for x₂
    and x₃; two more convolutions make the global map g. The attended map x̂_n is averaged over
    ``bins`` stretches of each row and goes through a fully connected layer to the block's own
    mean and covariance.

    Parameters
    ----------
    covariance : {"diagonal", "full"}
        Of every block's Gaussian, eq. 1.
    channels : sequence of int
        Of x₁, x₂, x₃ and g.
    bins : int
        Stretches of each row over which an attended map is averaged.
    hidden : int
        Width of the fully connected layer of a block.
    dropout : float
        Share of its inputs dropped in training.
    n_labels : int
    shape : tuple of int
        (orders, pixels), each at least 8.
    """

    def __init__(
        self,
        covariance: str = "diagonal",
        channels: Sequence[int] = (16, 32, 64, 64),
        bins: int = 128,
        hidden: int = 128,
        dropout: float = 0.0,
        n_labels: int = 4,
        shape: tuple[int, int] = (8, 4096),
    ) -> None:
        super().__init__(shape)
        self.bins = bins
        stages, n_in = [], 1
        for n_out, n_layers in zip(channels, LAYERS, strict=True):
            layers: list[nn.Module] = []
            for _ in range(n_layers):
                layers += [convolution(n_in, n_out), nn.ReLU()]
                n_in = n_out
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)
        self.pool = nn.MaxPool2d(2)
        *maps, n_g = channels
        self.attention = nn.ModuleList(AttentionBlock(n, n_g, n) for n in maps)
        self.connected, self.heads = nn.ModuleList(), nn.ModuleList()
        for i, n in enumerate(maps):
            width = n * (shape[0] >> i) * bins
            self.connected.append(
                nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(width, hidden),
                              nn.ReLU())
            )  # fmt: skip
            self.heads.append(head(covariance, hidden, n_labels))

    def features(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """Maps x_n and g from images (B, 1, orders, pixels).

        Returns
        -------
        maps : list of Tensor
            x₁, x₂, x₃, (B, F_n, orders / 2ⁿ⁻¹, pixels / 2ⁿ⁻¹).
        g : Tensor
            (B, F_g, orders / 8, pixels / 8)
        """
        maps, x = [], image
        *stages, last = self.stages
        for stage in stages:
            maps.append(stage(x))
            x = self.pool(maps[-1])
        return maps, last(x)

    def from_image(self, image: Tensor) -> Gaussian:
        """Gaussian over scaled labels from images (B, 1, orders, pixels)."""
        maps, g = self.features(image)
        parts = []
        for x, attention, connected, last in zip(
            maps, self.attention, self.connected, self.heads, strict=True
        ):
            attended = nn.functional.adaptive_avg_pool2d(attention(x, g), (x.shape[-2], self.bins))
            parts.append(last(connected(attended)))
        return average(parts)

    @torch.no_grad()
    def attention_maps(self, image: Tensor) -> list[Tensor]:
        """Attention α_n over the spectrum, (B, orders, pixels) for each block; each sums to one.

        The maps of pooled blocks are brought to the size of the spectrum by sharing each value
        among the pixels that it stands for.
        """
        maps, g = self.features(image)
        size = image.shape[-2:]
        result = []
        for x, block in zip(maps, self.attention, strict=True):
            attention = cast(AttentionBlock, block)
            alpha = nn.functional.interpolate(attention.attend(x, g), size=size)
            result.append(alpha[:, 0] / alpha.sum((-3, -2, -1))[:, None, None])
        return result

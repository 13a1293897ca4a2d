"""The residual network: five residual blocks and three fully connected layers.

Source: Hüttel & Clemmensen (2021), section 3.2; residual blocks: He et al. (2015).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from harpsstar.nn.heads import Gaussian
from harpsstar.nn.image import ImageNetwork, convolution, head


class ResidualBlock(nn.Module):
    """y = ReLU(F(x) + S(x)): two 1 × 7 convolutions F beside a shortcut S (He et al. 2015, eq. 1).

    S is the identity, or a 1 × 1 convolution where the shape changes (their eq. 2).

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    stride : int
        Pixels from one output to the next.
    """

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            convolution(n_in, n_out, stride), nn.ReLU(), convolution(n_out, n_out)
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride=(1, stride), bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, orders, pixels) to (B, n_out, orders, ⌈pixels / stride⌉)."""
        return nn.functional.relu(self.residual(x) + self.shortcut(x))


class ResNet(ImageNetwork):
    """Image → convolution → residual blocks → flatten → three fully connected layers → Gaussian.

    Features are flattened, not averaged, before the fully connected layers: which line a feature
    belongs to is known from its place alone.

    Parameters
    ----------
    covariance : {"diagonal", "full"}
        Of the Gaussian, eq. 1.
    channels : sequence of int
        Output channels of each residual block.
    strides : sequence of int
        Stride of each residual block along the pixels.
    hidden : sequence of int
        Widths of the first two fully connected layers; the third gives the Gaussian.
    dropout : float
        Share of features dropped before each fully connected layer but the last, in training.
    n_labels : int
    shape : tuple of int
        (orders, pixels).
    """

    def __init__(
        self,
        covariance: str = "diagonal",
        channels: Sequence[int] = (16, 16, 32, 32, 64),
        strides: Sequence[int] = (4, 2, 2, 2, 2),
        hidden: Sequence[int] = (256, 128),
        dropout: float = 0.1,
        n_labels: int = 4,
        shape: tuple[int, int] = (8, 4096),
    ) -> None:
        super().__init__(shape)
        self.stem = nn.Sequential(convolution(1, channels[0]), nn.ReLU())
        blocks, n_in, pixels = [], channels[0], shape[1]
        for n_out, stride in zip(channels, strides, strict=True):
            blocks.append(ResidualBlock(n_in, n_out, stride))
            n_in, pixels = n_out, -(-pixels // stride)
        self.blocks = nn.Sequential(*blocks)
        layers: list[nn.Module] = [nn.Flatten()]
        width = n_in * shape[0] * pixels
        for size in hidden:
            layers += [nn.Dropout(dropout), nn.Linear(width, size), nn.ReLU()]
            width = size
        self.connected = nn.Sequential(*layers)
        self.head = head(covariance, width, n_labels)

    def from_image(self, image: Tensor) -> Gaussian:
        """Gaussian over scaled labels from images (B, 1, orders, pixels)."""
        gaussian: Gaussian = self.head(self.connected(self.blocks(self.stem(image))))
        return gaussian

"""Where attention networks look: Figure 5, and the share of attention on the Mg b lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from harpsstar.errors import ConfigError
from harpsstar.nn.image import ImageNetwork
from harpsstar.nn.zoo import Model
from harpsstar.paper.judge import recipe_of, twin
from harpsstar.spectra.frame import canonical_wavelengths
from harpsstar.train.stream import window

#: Wavelengths of the Mg I b triplet, Å in air (NIST Atomic Spectra Database).
MG_B: dict[str, float] = {"Mg b4": 5167.32, "Mg b2": 5172.68, "Mg b1": 5183.60}
#: Strong lines of iron among the paper's wavelengths, Å in air (NIST).
IRON: dict[str, float] = {
    "Fe II 5169": 5169.03, "Fe I 5171": 5171.60, "Fe I 5192": 5192.34, "Fe I 5227": 5227.19,
    "Fe I 5233": 5232.94, "Fe I 5266": 5266.56, "Fe I 5270": 5269.54, "Fe II 5317": 5316.62,
    "Fe I 5324": 5324.18, "Fe I 5328": 5328.04,
}  # fmt: skip
#: A star like the Sun: teff K, logg, m_h, vsini km/s.
SOLAR_TWIN = (5772.0, 4.44, 0.0, 2.0)
#: Half width of what counts as a line, Å.
REACH = 1.0


@dataclass(frozen=True)
class AttentionMaps:
    """Attention over the spectrum of one star, the mean of several exposures.

    Attributes
    ----------
    model : str
    labels : tuple of float
        Of the star.
    wave, flux : Tensor
        (8, 4096) Å in air, and one of the noisy spectra.
    seen : Tensor of bool
        (8, 4096) the network's window.
    maps : tuple of Tensor
        (8, 4096) for each block; each sums to one over the window.
    """

    model: str
    labels: tuple[float, ...]
    wave: Tensor
    flux: Tensor
    seen: Tensor
    maps: tuple[Tensor, ...]


@dataclass(frozen=True)
class LineShare:
    """Attention of one block within 1 Å of the Mg b lines.

    Attributes
    ----------
    block : int
        1, 2 or 3.
    attention, pixels : float
        Shares of the attention and of the pixels of the window.
    ratio : float
        The former over the latter; 1 for attention that is the same everywhere.
    """

    block: int
    attention: float
    pixels: float
    ratio: float


def attention_maps(
    model: Model, labels: tuple[float, ...] = SOLAR_TWIN, *, n: int = 16, seed: int = 0
) -> AttentionMaps:
    """Attention of a model to `n` exposures of a star.

    Raises
    ------
    ConfigError
        When the model's network has no attention blocks.
    """
    recipe = recipe_of(model)
    network = cast(ImageNetwork, model.network)
    flux, ivar = twin(model, torch.tensor(labels), n, seed)
    with torch.no_grad():
        maps = [alpha.mean(0) for alpha in network.attention_over(flux, ivar)]
    if not maps:
        raise ConfigError(
            f"the model {model.name!r} has no attention blocks", expected="an attention network"
        )
    wave = torch.from_numpy(canonical_wavelengths().copy())
    return AttentionMaps(model.name, labels, wave, flux[0], window(recipe), tuple(maps))


def mg_b_share(found: AttentionMaps) -> list[LineShare]:
    """Share of each block's attention near the Mg b lines, against that of pixels."""
    near = near_lines(found.wave, MG_B) & found.seen
    pixels = float(near.sum() / found.seen.sum())
    shares = [float(alpha[near].sum()) for alpha in found.maps]
    return [LineShare(i, share, pixels, share / pixels) for i, share in enumerate(shares, start=1)]


def near_lines(wave: Tensor, lines: dict[str, float], reach: float = REACH) -> Tensor:
    """Pixels within `reach` (Å) of any of some lines, shape of `wave`."""
    at = torch.tensor(list(lines.values()), dtype=wave.dtype)
    return ((wave[..., None] - at).abs() <= reach).any(-1)

"""Networks of spectral images on spectra that no training has seen.

All models of one SNR, range of temperatures and window are judged by the same spectra.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harpsstar.errors import ConfigError
from harpsstar.evaluate.bound import cramer_rao, information, mean_absolute_error
from harpsstar.model.emulator import Emulator
from harpsstar.nn import zoo
from harpsstar.nn.image import ImageNetwork
from harpsstar.nn.zoo import Model
from harpsstar.paper.published import N_TEST
from harpsstar.spectra.frame import canonical_wavelengths
from harpsstar.train.images import answers
from harpsstar.train.recipes import ImageRecipe, recipe_from
from harpsstar.train.stream import PAPER_VMIC, PaperStream, window

FloatArray = npt.NDArray[np.float64]

# torch's generator keeps 32 bits; training stays within some hundred millions of a recipe's seed.
_AWAY, _SEEDS = 2**31, 2**32
_BATCH = 64
_BOOTSTRAPS = 1000


@dataclass(frozen=True)
class Judged:
    """What a model made of the test set, physical units.

    Attributes
    ----------
    model : Model
    recipe : ImageRecipe
        That it was trained by.
    truth, mean : Tensor
        (n, 4) float64.
    covariance : Tensor
        (n, 4, 4) float64, calibrated.
    scale : Tensor
        (4,) the factors of the calibration.
    """

    model: Model
    recipe: ImageRecipe
    truth: Tensor
    mean: Tensor
    covariance: Tensor
    scale: Tensor

    @property
    def error(self) -> Tensor:
        """Measured minus true, (n, 4)."""
        return self.mean - self.truth

    @property
    def sigma(self) -> Tensor:
        """Claimed standard deviations, (n, 4)."""
        return self.covariance.diagonal(dim1=-2, dim2=-1).sqrt()


def models_of(names: Iterable[str | Path]) -> list[Model]:
    """Load models by name, file or folder; ``"all"`` are the packaged ones of this kind.

    Raises
    ------
    ModelError
        When one cannot be used.
    ConfigError
        When one that was asked for by name is not a network of spectral images.
    """
    found: list[Model] = []
    for name in names:
        if name == "all":
            packaged = (zoo.load(one) for one in zoo.packaged())
            found += [model for model in packaged if isinstance(model.network, ImageNetwork)]
        elif Path(name).is_dir():
            found += models_of(sorted(Path(name).glob("*.safetensors")))
        else:
            found.append(zoo.load(name))
    for model in found:
        recipe_of(model)
    return found


def recipe_of(model: Model) -> ImageRecipe:
    """Recipe that a network of spectral images was trained by.

    Raises
    ------
    ConfigError
        When the model is of another kind.
    """
    recipe = recipe_from(model.card["recipe"]) if "recipe" in model.card else None
    if not isinstance(recipe, ImageRecipe) or not isinstance(model.network, ImageNetwork):
        raise ConfigError(
            f"the model {model.name!r} is a {model.card.get('network')} network",
            expected="a network of spectral images (resnet, attention, with or without dae-)",
            hint="harpsstar evaluate accuracy judges the others",
        )
    return recipe


def fresh_stream(recipe: ImageRecipe, seed: int, emulator: Emulator | None = None) -> PaperStream:
    """Stream of the paper's spectra with a recipe's SNR and range, that no training draws from."""
    fresh = (recipe.seed + _AWAY + seed) % _SEEDS
    data = dataclasses.replace(recipe.data, preset="paper")
    return PaperStream(dataclasses.replace(recipe, seed=fresh, data=data), emulator=emulator)


def judge(
    model: Model,
    *,
    n: int = N_TEST,
    seed: int = 0,
    emulator: Emulator | None = None,
    tell: Callable[[int], None] | None = None,
) -> Judged:
    """Let a model measure the paper's test set.

    Parameters
    ----------
    model : Model
        Of a network of spectral images.
    n : int
        Spectra.
    seed : int
        Of the test set.
    emulator : Emulator, optional
        The packaged grid with linear interpolation by default.
    tell : callable, optional
        Called with the number of spectra done.
    """
    recipe = recipe_of(model)
    network = cast(ImageNetwork, model.network)
    stream = fresh_stream(recipe, seed, emulator)
    truth, mean, covariance = answers(network, stream.held_out(n, _BATCH), tell)
    scale = model.scale[0].double()
    covariance = covariance.double() * scale[:, None] * scale
    return Judged(model, recipe, truth.double(), mean.double(), covariance, scale)


def bound(recipe: ImageRecipe, labels: Tensor, emulator: Emulator) -> Tensor:
    """Bayesian Cramér-Rao bound on the mean absolute error of stars (n, 4): (n, 4).

    With everything but the labels known, as in the paper's spectra.
    """
    fisher = information(
        emulator,
        canonical_wavelengths(),
        labels.float(),
        ivar=recipe.data.snr**2 * window(recipe).double(),
        vmic=PAPER_VMIC,
        resolution=recipe.resolution,
    )
    return mean_absolute_error(cramer_rao(fisher))


def interval(values: Tensor) -> tuple[FloatArray, FloatArray]:
    """Ends of the bootstrap 95 % interval of the means of (n, k) values, each (k,)."""
    from scipy.stats import bootstrap

    found = bootstrap(
        (values.numpy(),), np.mean, axis=0, n_resamples=_BOOTSTRAPS, batch=50,
        method="percentile", random_state=0,
    ).confidence_interval  # fmt: skip
    return found.low, found.high


@torch.no_grad()
def twin(model: Model, labels: Tensor, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """`n` noisy spectra of one star as a model's training would make them.

    Returns
    -------
    flux, ivar : Tensor
        (n, 8, 4096)
    """
    recipe = recipe_of(model)
    clean = fresh_stream(recipe, seed).spectra(labels[None]).expand(n, -1, -1)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(clean.shape, generator=generator)
    ivar = torch.full((), recipe.data.snr**2).expand_as(clean)
    return clean + noise / recipe.data.snr, ivar

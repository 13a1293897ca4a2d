"""Networks by name, and the file that a trained one lives in: safetensors with a card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from harpsstar._packaged import Packaged
from harpsstar.errors import ModelError
from harpsstar.labels import CENTRE, HALF_RANGE, NAMES
from harpsstar.nn.attention import AttentionNetwork
from harpsstar.nn.dae import Denoised, DenoisingAutoEncoder
from harpsstar.nn.image import ImageNetwork
from harpsstar.nn.projector import ProjectorNetwork
from harpsstar.nn.resnet import ResNet
from harpsstar.nn.rounding import pack, unpack
from harpsstar.outputs.tensors import write_tensors

FORMAT = "harpsstar-model-1"

#: What maps spectra to Gaussians over scaled labels.
Network: TypeAlias = ProjectorNetwork | ImageNetwork


def _denoised(
    kind: Callable[..., ImageNetwork], denoiser: Mapping[str, Any], **options: Any
) -> Denoised:
    network = kind(**options)
    return Denoised(DenoisingAutoEncoder(**denoiser, shape=network.shape), network)


#: Every network that a recipe can name. Those with ``dae-`` take the options of the
#: auto-encoder in front of them under ``denoiser``.
NETWORKS: dict[str, Callable[..., Network]] = {
    "projector": ProjectorNetwork,
    "resnet": ResNet,
    "attention": AttentionNetwork,
    "dae-resnet": partial(_denoised, ResNet),
    "dae-attention": partial(_denoised, AttentionNetwork),
}

_MODELS = Packaged(
    "harpsstar.data", "model", "a weights file", ModelError, ".safetensors", beginning="model-"
)


@dataclass(frozen=True)
class Model:
    """A trained network with what is needed to use it.

    Attributes
    ----------
    name : str
        Name given by the recipe.
    network : Network
        In evaluation mode.
    scale : Tensor
        (n_snr, 4) calibration: factors on the errors of the four labels, see ``log_snr``.
    log_snr : Tensor
        (n_snr,) natural log of the SNR at which ``scale`` holds; linear between, constant beyond.
    card : dict
        Labels, priors, recipe, emulator hash, training effort, metrics.
    sha256 : str
        Of the file; empty for a model that has not been saved.
    """

    name: str
    network: Network
    scale: Tensor
    log_snr: Tensor
    card: dict[str, Any]
    sha256: str = ""

    @property
    def identity(self) -> dict[str, Any]:
        """The card with the hash of the file, which a file cannot hold itself."""
        return {**self.card, "sha256": self.sha256}


def build(name: str, options: dict[str, Any]) -> Network:
    """Make an untrained network.

    Parameters
    ----------
    name : str
        One of :data:`NETWORKS`.
    options : dict
        Its arguments, as in the class of that name.

    Raises
    ------
    ModelError
        When no network has this name.
    """
    if name not in NETWORKS:
        raise ModelError(f"no network {name!r}", expected=f"one of {', '.join(sorted(NETWORKS))}")
    return NETWORKS[name](**options)


def scale_labels(labels: Tensor) -> Tensor:
    """Physical to scaled labels, (…, 4): (label − centre) / half-range, so that all count alike."""
    centre, half = _scaling(labels)
    return (labels - centre) / half


def unscale_labels(scaled: Tensor) -> Tensor:
    """Scaled to physical labels, (…, 4)."""
    centre, half = _scaling(scaled)
    return scaled * half + centre


def unscale_covariance(covariance: Tensor) -> Tensor:
    """Scaled to physical covariance, (…, 4, 4)."""
    half = _scaling(covariance)[1]
    return covariance * half[:, None] * half


def _scaling(like: Tensor) -> tuple[Tensor, Tensor]:
    return (
        torch.tensor(CENTRE, dtype=like.dtype, device=like.device),
        torch.tensor(HALF_RANGE, dtype=like.dtype, device=like.device),
    )


def save(model: Model, path: Path) -> str:
    """Write a model, replacing the file whole, rounded as by :func:`harpsstar.nn.rounding.rounded`.

    Returns
    -------
    str
        SHA-256 of the file.
    """
    tensors = pack(model.network.state_dict())
    tensors |= {"calibration.scale": model.scale, "calibration.log_snr": model.log_snr}
    write_tensors(
        tensors, path, {"format": FORMAT, "name": model.name, "card": json.dumps(model.card)}
    )
    return hashlib.sha256(path.read_bytes()).hexdigest()


def packaged() -> list[str]:
    """Names of the models that come with the package."""
    return _MODELS.names()


def read_card(name: str | Path = "default") -> dict[str, Any]:
    """Return the card of a packaged model or of a weights file, without reading its tensors.

    Raises
    ------
    ModelError
        When it is not a weights file of harpsstar.
    """
    path = _MODELS.locate(name)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"not a safetensors file ({error})", path=path, expected=f"a {FORMAT} file"
        ) from error
    if metadata.get("format") != FORMAT:
        raise ModelError(
            f"its format is {metadata.get('format')!r}", path=path, expected=f"a {FORMAT} file"
        )
    card: dict[str, Any] = json.loads(metadata["card"])
    return card


def load(name: str | Path = "default") -> Model:
    """Load a packaged model by name, or a weights file by path.

    Raises
    ------
    ModelError
        When it is not a weights file of harpsstar, or its labels are not ours.
    """
    path = _MODELS.locate(name)
    card = read_card(name)
    if tuple(card["labels"]) != NAMES:
        raise ModelError(
            f"its labels are {card['labels']}", path=path, expected=f"the labels {list(NAMES)}"
        )
    network = build(card["network"], card["network_options"])
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    scale, log_snr = tensors.pop("calibration.scale"), tensors.pop("calibration.log_snr")
    try:
        network.load_state_dict(unpack(tensors))
    except RuntimeError as error:
        raise ModelError(
            "its tensors do not fit the network that its card names", path=path
        ) from error
    return Model(
        card["name"], network.eval(), scale, log_snr, card,
        hashlib.sha256(path.read_bytes()).hexdigest(),
    )  # fmt: skip

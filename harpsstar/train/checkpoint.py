"""State of an unfinished training in one safetensors file: tensors, and the rest as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from harpsstar.errors import TrainingError
from harpsstar.outputs.tensors import write_tensors

FORMAT = "harpsstar-checkpoint-1"


@dataclass
class State:
    """How far a training is.

    Attributes
    ----------
    epoch : int
        The next one.
    samples : int
        Spectra that the weights have seen, every time counted.
    seconds : float
        Spent on epochs, those of interrupted runs included.
    best : float
        Lowest validation loss.
    """

    epoch: int = 0
    samples: int = 0
    seconds: float = 0.0
    best: float = float("inf")


def write(
    path: Path,
    state: State,
    network: dict[str, Tensor],
    best: dict[str, Tensor],
    optimiser: dict[str, Any],
    schedule: dict[str, Any],
) -> None:
    """Write a checkpoint, replacing the file whole.

    Parameters
    ----------
    path : Path
    state : State
    network, best : dict of str to Tensor
        Weights as they are, and those of the lowest validation loss.
    optimiser, schedule : dict
        What their ``state_dict()`` returned.
    """
    tensors = {f"network.{name}": value for name, value in network.items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for index, values in optimiser["state"].items():
        tensors |= {f"optimiser.{index}.{name}": value for name, value in values.items()}
    plain = {"state": vars(state), "groups": optimiser["param_groups"], "schedule": schedule}
    write_tensors(
        {name: value.detach().cpu() for name, value in tensors.items()},
        path,
        {"format": FORMAT, "training": json.dumps(plain)},
    )


def read(
    path: Path,
) -> tuple[State, dict[str, Tensor], dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """Read what :func:`write` wrote: state, network, best, optimiser, schedule.

    Raises
    ------
    TrainingError
        When the file is no checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"no checkpoint ({error})", path=path, hint="delete it") from error
    if metadata.get("format") != FORMAT:
        raise TrainingError(
            f"its format is {metadata.get('format')!r}", path=path, expected=f"a {FORMAT} file"
        )
    plain = json.loads(metadata["training"])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _under("optimiser.", tensors).items():
        index, key = name.split(".", 1)
        # safetensors gave a number without dimension one dimension
        moments.setdefault(int(index), {})[key] = value.squeeze(0) if key == "step" else value
    optimiser = {"state": moments, "param_groups": plain["groups"]}
    return (
        State(**plain["state"]), _under("network.", tensors), _under("best.", tensors),
        optimiser, plain["schedule"],
    )  # fmt: skip


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): torch.clone(value)
        for name, value in tensors.items()
        if name.startswith(prefix)
    }

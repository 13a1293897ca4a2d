"""Files of compressed grids: their layout, and how they are read."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from harpsstar.errors import ModelError
from harpsstar.model.nodes import AXES

#: What the metadata of a grid file calls its layout.
GRID_FORMAT = "harpsstar-grid-3"
#: Older layouts that can still be read: coefficients in floating point.
OLD_GRID_FORMATS = ("harpsstar-grid-2", "harpsstar-grid-1")
#: The arrays of a grid file.
GRID_TENSORS = ("nodes", "mean", "components", "coefficients")
#: The last components, rounded to eight bits: counts and their unit.
ROUGH_TENSORS = ("components8", "scale8")
#: Coefficients as multiples of one step; in an older layout those of the last components.
COUNT_TENSORS = ("step", "counts32", "counts16", "counts8")
OLD_TENSORS = ("coefficients8",)
#: The grid that comes with the package.
PACKAGED_GRID = Path(__file__).parents[1] / "data" / "grid.safetensors"


def read_grid(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the arrays of a grid, each in one piece, and what its metadata say.

    Parameters
    ----------
    path : Path
        A file written by ``harpsstar synth grid``, of this or of an older layout.

    Returns
    -------
    tensors : dict of str to Tensor
        Those of :data:`GRID_TENSORS` that the file holds.
    metadata : dict of str to str

    Raises
    ------
    ModelError
        If the file is missing, cannot be read, or is not a grid.
    """
    if not path.is_file():
        raise ModelError("no such grid", path=path, hint="compute one with `harpsstar synth grid`")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            known = set(file.keys())
            wanted = known.intersection(GRID_TENSORS + ROUGH_TENSORS + COUNT_TENSORS + OLD_TENSORS)
            tensors = {name: file.get_tensor(name) for name in wanted}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"not a readable grid ({error})", path=path, expected="a safetensors file"
        ) from error
    if metadata.get("format") not in (GRID_FORMAT, *OLD_GRID_FORMATS):
        raise ModelError(
            f"grid format {metadata.get('format')!r}", path=path, expected=repr(GRID_FORMAT)
        )
    return _joined(tensors), metadata


def _joined(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put the components and the coefficients of all precisions into one array each."""
    joined = dict(tensors)
    if all(name in joined for name in ROUGH_TENSORS):
        counts, unit = (joined.pop(name) for name in ROUGH_TENSORS)
        rough = counts.float() * unit[:, None]
        joined["components"] = torch.cat([joined["components"].float(), rough])
    if all(name in joined for name in COUNT_TENSORS):
        step, *groups = (joined.pop(name) for name in COUNT_TENSORS)
        joined["coefficients"] = torch.cat([group.float() for group in groups], dim=1) * step
    for name in OLD_TENSORS:
        if name in joined:
            both = [joined["coefficients"], joined.pop(name).float()]
            joined["coefficients"] = torch.cat(both, dim=1)
    return joined


def check_shapes(nodes: Tensor, mean: Tensor, components: Tensor, coefficients: Tensor) -> None:
    """Raise ModelError where the arrays of a grid do not belong together."""
    (n, k), n_wave = coefficients.shape, len(mean)
    if nodes.shape not in ((n, 4), (n, len(AXES))) or tuple(components.shape) != (k, n_wave):
        raise ModelError(
            f"nodes {tuple(nodes.shape)}, mean {tuple(mean.shape)}, components "
            f"{tuple(components.shape)} and coefficients {tuple(coefficients.shape)} do not fit",
            expected="(N, 4 or 5), (n_wave,), (K, n_wave) and (N, K)",
        )

"""What a weights file keeps of each tensor: float16, or 8 bits with a scale for each row."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

#: Matrices of at least so many numbers are kept in 8 bits: between a spectrum and the few numbers
#: it becomes, where thousands of rounding errors average out.
LARGE = 2**19
_INT8, _SCALE = ".int8", ".row_scale"
_LARGEST = 127
_BFLOAT16 = -(2**16)  # the bits of a float32 that a bfloat16 has


@torch.no_grad()
def rounded(network: nn.Module) -> None:
    """Round matrices and kernels of a network to what a file keeps, in place.

    Float16 has 11 bits, a relative rounding of 5e-4; of a large matrix each number is off by up to
    0.4 % of the largest of its row. What is measured after this holds for the file, and a file
    keeps this network exactly.
    """
    state = network.state_dict()
    for name, value in unpack(pack(state)).items():
        state[name].copy_(value)


def pack(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a file, on the processor, from those of a network."""
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        kept = value.detach().cpu()
        if kept.dtype != torch.float32 or kept.ndim < 2:
            tensors[name] = kept
        elif kept.ndim == 2 and kept.numel() >= LARGE:
            scale = _row_scale(kept)
            tensors[name + _SCALE] = scale
            steps = (kept / scale[:, None]).round().clamp(-_LARGEST, _LARGEST)
            tensors[name + _INT8] = steps.to(torch.int8)
        else:
            tensors[name] = kept.half()
    return tensors


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a network, as :func:`pack` kept them."""
    state = {}
    for name, value in tensors.items():
        if name.endswith(_INT8):
            name = name.removesuffix(_INT8)
            state[name] = value.float() * tensors[name + _SCALE][:, None]
        elif not name.endswith(_SCALE):
            state[name] = value
    return state


def _row_scale(matrix: Tensor) -> Tensor:
    """Largest of each row / 127, cut to the 8 bits of bfloat16; (rows,).

    Cut and not rounded, so that the largest is 127 steps again when it is rounded once more; with
    so short a scale, 127 steps are exact.
    """
    exact = (matrix.abs().amax(1) / _LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
    return (exact.view(torch.int32) & _BFLOAT16).view(torch.float32)

"""Writing safetensors: whole or not at all, readable by others, whatever the strides."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def write_tensors(
    tensors: Mapping[str, Any], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays or tensors to a safetensors file, replacing it whole.

    Parameters
    ----------
    tensors : mapping of str to ndarray or Tensor
    path : Path
        The file.
    metadata : mapping of str to str, optional
        Goes into the header.
    """
    from safetensors.numpy import save

    # safetensors writes the memory of an array as it lies there, whatever its strides
    arrays = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    scratch = path.with_name(f"{path.name}.part{os.getpid()}")
    try:
        scratch.write_bytes(save(arrays, metadata=dict(metadata or {})))
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)

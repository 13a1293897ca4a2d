"""Writing safetensors: whole or not at all, readable by others, whatever the strides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harpsstar.outputs import replacing
from harpsstar.outputs.kinds import CREATOR, TENSORS


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

    Raises
    ------
    OutputError
        It cannot be written, or must not be replaced, see :func:`harpsstar.outputs.check_file`.
    """
    from safetensors.numpy import save

    # safetensors writes the memory of an array as it lies there, whatever its strides
    arrays = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    # By this the file is known again as one that may be replaced.
    facts = {"creator": CREATOR, **(metadata or {})}
    with replacing(path, TENSORS) as temporary:
        temporary.write_bytes(save(arrays, metadata=facts))

"""Pictures of spectra with their models: small ones, as data that a page can draw, and PNG."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

from harpsstar.archive.worker import Input, Settings, fenced, load_predictor

#: Points of an order in a picture: half as wide as a spectral line.
N_POINTS = 256
#: Flux, in units of the continuum, that the highest number stands for.
_TOP = 1.25
_LEVELS = 250
_UNKNOWN = 255
#: Of a PNG.
_DPI = 110

Bytes = npt.NDArray[np.uint8]


def draw(settings: Settings, inputs: Sequence[Input]) -> list[bytes | None]:
    """Return a picture of each spectrum; None of one that cannot be measured.

    A picture is what :func:`pack` makes of its normalised orders and their model.
    """
    estimates = (getattr(result, "estimate", None) for result in _measured(settings, inputs))
    return [
        None if estimate is None else pack(
            *(getattr(estimate, name)[0].numpy() for name in ("flux", "model", "ivar"))
        )
        for estimate in estimates
    ]


def plot(settings: Settings, inputs: Sequence[Input]) -> list[bytes | None]:
    """Return a PNG of each spectrum with its model; None of one that cannot be measured."""
    from harpsstar.infer.pictures import draw_measurement

    pictures: list[bytes | None] = []
    for item, result in zip(inputs, _measured(settings, inputs), strict=True):
        if not hasattr(result, "estimate"):
            pictures.append(None)
            continue
        stream = BytesIO()
        draw_measurement(result, os.path.basename(item.name)).savefig(stream, dpi=_DPI)
        pictures.append(stream.getvalue())
    return pictures


def _measured(settings: Settings, inputs: Sequence[Input]) -> Iterator[Any]:
    """Measure one after the other; None or an exception where that cannot be done."""
    from harpsstar.infer.prepare import Prepared, attempt

    predictor = load_predictor(settings)
    for item in inputs:
        with fenced(item.name, settings.seconds, settings.memory):
            prepared = attempt(item.name, predictor.bank, blaze_dir=settings.blaze_dir,
                               given=settings.given)  # fmt: skip
        results: list[Any] = predictor.infer([prepared] if isinstance(prepared, Prepared) else [])
        yield results[0] if results else None


def pack(flux: npt.ArrayLike, model: npt.ArrayLike, ivar: npt.ArrayLike) -> bytes:
    """Average orders to :data:`N_POINTS` and squeeze them into bytes.

    Parameters
    ----------
    flux, model, ivar : array_like (n_orders, n_pixels)
        Normalised flux, model, and inverse variance, 0 where there is no information.
    """
    used = np.asarray(ivar) > 0
    levels = np.stack([_averaged(np.asarray(values), used) for values in (flux, model)])
    return zlib.compress(levels.tobytes(), 9)


def unpack(picture: bytes) -> Bytes:
    """Return flux and model (2, n_orders, N_POINTS) of a picture, see :func:`height`."""
    return np.frombuffer(zlib.decompress(picture), np.uint8).reshape(2, -1, N_POINTS)


def height(level: int, full: float) -> float | None:
    """Where a level lies in a picture ``full`` high, from below; None where nothing is known."""
    return None if level == _UNKNOWN else full * level / _LEVELS


def _averaged(values: npt.NDArray[Any], used: npt.NDArray[np.bool_]) -> Bytes:
    parts = [block.reshape(len(block), N_POINTS, -1) for block in (values * used, used)]
    total, count = (part.sum(axis=-1) for part in parts)
    mean = total / np.maximum(count, 1)
    level = np.clip(np.rint(mean / _TOP * _LEVELS), 0, _LEVELS)
    return np.where(count > 0, level, _UNKNOWN).astype(np.uint8)

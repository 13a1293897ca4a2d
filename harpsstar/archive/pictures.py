"""Pictures of spectra with their models: small ones, as data that a page can draw, and PNG."""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

from harpsstar.archive.worker import Input, Settings, fenced, load_predictor
from harpsstar.formatting import printable
from harpsstar.plotting import METADATA

#: Points of an order in a picture: half as wide as a spectral line.
N_POINTS = 256
#: Flux, in units of the continuum, that the highest number stands for.
_TOP = 1.25
_LEVELS = 250
_UNKNOWN = 255
#: Of a PNG.
_DPI = 110

Bytes = npt.NDArray[np.uint8]
_log = logging.getLogger(__name__)


def draw(settings: Settings, inputs: Sequence[Input]) -> list[bytes | None]:
    """Return a picture of each spectrum; None of one that cannot be measured.

    A picture is what :func:`pack` makes of its normalised orders and their model.
    """

    def packed(item: Input, result: Any) -> bytes:
        fields = ("flux", "model", "ivar")
        return pack(*(getattr(result.estimate, name)[0].numpy() for name in fields))

    return _pictures(settings, inputs, packed)


def plot(settings: Settings, inputs: Sequence[Input]) -> list[bytes | None]:
    """Return a PNG of each spectrum with its model; None of one that cannot be measured."""
    from harpsstar.infer.pictures import draw_measurement

    def drawn(item: Input, result: Any) -> bytes:
        stream = BytesIO()
        draw_measurement(result, os.path.basename(item.name)).savefig(
            stream, dpi=_DPI, metadata=METADATA[".png"]
        )
        return stream.getvalue()

    return _pictures(settings, inputs, drawn)


def _pictures(
    settings: Settings, inputs: Sequence[Input], make: Callable[[Input, Any], bytes]
) -> list[bytes | None]:
    """Measure and draw one after the other; whatever is wrong with one costs its picture only."""
    from harpsstar.infer.prepare import prepare, quietly

    predictor = load_predictor(settings)
    pictures: list[bytes | None] = []
    for item in inputs:
        try:
            with quietly(), fenced(item.name, settings.seconds, settings.memory):
                prepared = prepare(item.name, predictor.bank, blaze_dir=settings.blaze_dir,
                                   given=settings.given)  # fmt: skip
            (result,) = predictor.infer([prepared])
            if isinstance(result, Exception):
                raise result
            pictures.append(make(item, result))
        except Exception as error:  # noqa: BLE001  the others' pictures must not be lost
            _log.warning("no picture of %s: %s", printable(item.name), printable(error))
            pictures.append(None)
    return pictures


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

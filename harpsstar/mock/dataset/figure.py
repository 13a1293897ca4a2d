"""A picture of one spectrum of a data set, as Figure 1 of Hüttel & Clemmensen (2021)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from harpsstar.errors import ConfigError
from harpsstar.instruments import get_instrument
from harpsstar.labels import HALF_RANGE, LABELS, Label
from harpsstar.mock.dataset.reader import StoredSpectra
from harpsstar.plotting import BLUE, RED, check_picture, new_figure, save, style
from harpsstar.spectra.frame import ROWS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw", "nearest_to", "show"]

Array = npt.NDArray[np.float64]

#: The Sun, which is shown unless another row is asked for.
SUN = (5772.0, 4.44, 0.0, 2.0)
# Okabe & Ito (2008): neighbouring orders can be told apart whatever the eyes.
_COLOURS = (BLUE, RED)


def show(path: Path, output: Path, *, row: int | None = None) -> int:
    """Draw one spectrum of a data set into a file.

    Parameters
    ----------
    path : Path
        The data set.
    output : Path
        PNG, PDF or SVG, by its ending.
    row : int, optional
        Which spectrum; the one nearest to the Sun by default.

    Returns
    -------
    int
        The row that was drawn.

    Raises
    ------
    ReadError
        Not a data set.
    ConfigError
        No such row.
    OutputError
        Another ending, or it cannot be written.
    InputsMissingError
        matplotlib is not installed.
    """
    check_picture(output)
    data = StoredSpectra(path)
    row = nearest_to(SUN, data.labels) if row is None else row
    if not 0 <= row < len(data):
        raise ConfigError(f"row {row}", expected=f"0 to {len(data) - 1}")
    item = data[row]
    flux = np.where(data.response > 0, item["flux"].numpy(), np.nan)
    if "sigma" in item:
        flux = np.where(np.isfinite(item["sigma"].numpy()), flux, np.nan)
    figure = draw(data.wavelength, flux, data.response, data.labels[row])
    save(figure, output, dpi=200)
    return row


def nearest_to(labels: tuple[float, ...], among: Array) -> int:
    """Row of ``among`` (n, 4) that is nearest to labels, each in units of its range."""
    distance = ((among - np.array(labels)) / HALF_RANGE) ** 2
    return int(np.argmin(distance.sum(axis=1)))


def draw(wave: Array, flux: Array, response: Array, labels: Array) -> Figure:
    """Draw a spectrum in one dimension, in its orders, and as the image that a network sees.

    Parameters
    ----------
    wave : ndarray (8, 4096)
        Air Å.
    flux : ndarray (8, 4096)
        Times the response; nan where unused.
    response : ndarray (8, 4096)
        What the flux over continuum was multiplied by.
    labels : ndarray (4,)
        For the title.

    Raises
    ------
    InputsMissingError
        matplotlib is not installed.
    """
    figure = new_figure(13.0, 3.6)
    merged, orders, image = figure.subplots(1, 3)
    style(merged, orders, image)
    with np.errstate(divide="ignore", invalid="ignore"):
        normalised = flux / response
    used = np.isfinite(normalised)
    order = np.argsort(wave[used])
    merged.plot(wave[used][order], normalised[used][order], lw=0.4, color="black")
    merged.set(xlabel="Wavelength in air (Å)", ylabel="Flux / continuum",
               title="One-dimensional spectrum")  # fmt: skip
    for i, (x, y) in enumerate(zip(wave, flux, strict=True)):
        orders.plot(x, y, lw=0.4, color=_COLOURS[i % 2])
    orders.set(xlabel="Wavelength in air (Å)", ylabel="Relative flux", title="Échelle orders")
    numbers = get_instrument("HARPS-N").order_m[list(ROWS)]
    shown = image.imshow(flux, aspect="auto", cmap="cividis", interpolation="nearest")
    image.set(xlabel="Pixel", ylabel="Order number", title="Spectral image",
              yticks=range(len(flux)), yticklabels=[str(m) for m in numbers])  # fmt: skip
    figure.colorbar(shown, ax=image, label="Relative flux")
    figure.suptitle(", ".join(_text(label, x) for label, x in zip(LABELS, labels, strict=True)))
    return figure


def _text(label: Label, value: float) -> str:
    unit = f" {label.unit}" if label.unit else ""
    return f"{label.symbol} = {value:.4g}{unit}"

"""Pictures of a fit; matplotlib and corner are imported when the first is drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from harpsstar._optional import load
from harpsstar.formatting import with_error
from harpsstar.infer.fit.options import PARAMETERS
from harpsstar.infer.fit.solution import Solution
from harpsstar.infer.pictures import draw_orders
from harpsstar.plotting import as_written, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MANY = 3000


def plot_spectrum(solution: Solution, index: int, title: str) -> Figure:
    """Observed and fitted spectrum over rest wavelength, and residuals, two panels a row.

    Flux is divided by the fitted continuum; pixels that did not count are orange.
    """
    data, part = solution.data[index], solution.posterior.parts[index]
    spectrum, continuum = (x.double().numpy() for x in solution.models[index])
    flux = data.flux.double().numpy() / continuum
    used, known = (part.weight > 0).numpy(), (data.ivar > 0).numpy()
    return draw_orders(
        data.rest, np.where(used, flux, np.nan), spectrum, as_written(title),
        ignored=np.where(known & ~used, flux, np.nan),
    )  # fmt: skip


def plot_corner(solution: Solution, title: str) -> Figure:
    """Every pair of free parameters.

    Raises
    ------
    InputsMissingError
        corner or matplotlib is not installed.
    """
    corner = load("corner", "fit")
    values = solution.everything
    names = [name for name in values if name in solution.names]
    columns = np.stack([values[name].numpy() for name in names], axis=1)
    weight = solution.draws.weight.numpy()
    step = max(1, len(columns) // (10 * _MANY))
    figure = new_figure(1.9 * len(names), 1.9 * len(names), layout=None)
    shown, weight = columns[::step], weight[::step]
    corner.corner(
        shown, weights=weight, labels=[_axis(name) for name in names], fig=figure,
        quantiles=[0.16, 0.5, 0.84], plot_datapoints=False, max_n_ticks=3,
        label_kwargs={"fontsize": 11},
    )  # fmt: skip
    for i, name in enumerate(names):
        low, middle, high = corner.quantile(shown[:, i], [0.16, 0.5, 0.84], weights=weight)
        figure.axes[i * (len(names) + 1)].set_title(
            f"{_axis(name)}\n{with_error(name, middle, 0.5 * (high - low))}", fontsize=10
        )
    figure.subplots_adjust(top=0.95)
    figure.suptitle(as_written(title))
    return figure


def _axis(name: str) -> str:
    base, _, number = name.partition("_") if name.startswith("rv") else (name, "", "")
    label = PARAMETERS[base]
    return replace(label, symbol=f"{label.symbol} {number}").axis if number else label.axis

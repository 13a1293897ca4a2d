"""The picture of a check: observed, model and residual, the worst places marked and named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harpsstar.evaluate.lines import Check, Stretch
from harpsstar.model.opacity import name_of
from harpsstar.plotting import BLACK, BLUE, ORANGE, RED, apart, new_figure, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OBSERVED, _MODEL = BLACK, RED
_DEEPER, _SHALLOWER = BLUE, ORANGE
#: Inches.
_WIDTH, _PANEL = 17.0, 3.8
#: Least distance between two names, as a share of a panel's width.
_NAME = 0.0125
#: Where names stand, in units of the continuum, and the top of a panel.
_FOOT, _HEAD, _TOP = 1.04, 1.13, 2.15


def draw(result: Check, path: Path, *, n_named: int = 10) -> None:
    """Write the picture; the extension chooses the format.

    Parameters
    ----------
    result : Check
    path : Path
        .png, .pdf or .svg; an existing file is only ever replaced whole.
    n_named : int
        Places named in each panel; all that were found are shaded.
    """
    save(figure(result, n_named=n_named), path)


def figure(result: Check, *, n_named: int = 10) -> Figure:
    """Draw a panel of about 45 Å for each order that has usable pixels."""
    rows = [row for row in range(len(result.wave)) if np.isfinite(result.flux[row]).any()]
    picture = new_figure(_WIDTH, _PANEL * len(rows) + 1.0)
    axes = picture.subplots(2 * len(rows), 1, height_ratios=[3, 1] * len(rows), squeeze=False)
    for above, below, row in zip(axes[::2, 0], axes[1::2, 0], rows, strict=True):
        _panel(above, below, result, row, n_named)
    axes[0, 0].legend(loc="lower left", ncols=4, fontsize=8, framealpha=0.9)
    axes[-1, 0].set_xlabel("rest wavelength in air [Å]")
    picture.suptitle(_title(result), fontsize=11)
    return picture


def _title(result: Check) -> str:
    star = result.star
    return (
        f"{Path(result.file).name}: model of {star['teff']:.0f} K, log g {star['logg']:.2f}, "
        f"[M/H] {star['m_h']:+.2f}, [α/Fe] {star['alpha']:+.2f}, v sin i {star['vsini']:.1f}, "
        f"vmic {star['vmic']:.2f}, vmac {star['vmac']:.1f}, rv {star['rv']:.2f} km/s\n"
        f"median |observed − model| {result.median:.2%} of the continuum; shaded: smoothed "
        f"residual beyond {result.threshold:g} × {result.scatter:.2%}, with the difference of "
        "equivalent widths in mÅ (+: the star absorbs more)"
    )


def _panel(above: Any, below: Any, result: Check, row: int, n_named: int) -> None:
    wave, flux, model = (a[row] for a in (result.wave, result.flux, result.model))
    used = np.flatnonzero(np.isfinite(flux))
    low, high = wave[used[0]], wave[used[-1]]
    above.plot(wave, flux, color=_OBSERVED, lw=0.8, label="observed")
    above.plot(wave, model, color=_MODEL, lw=0.8, label="model")
    below.plot(wave, 100 * (flux - model), color="0.7", lw=0.5)
    below.plot(wave, 100 * result.residual[row], color=_OBSERVED, lw=0.8)
    below.axhline(0, color=_MODEL, lw=0.6)
    limit = 100 * max(8 * result.scatter, float(np.nanquantile(abs(result.residual), 0.99)))
    below.set_ylim(-limit, limit)
    below.set_ylabel("obs. − model\n[%]", fontsize=8)
    above.set_ylim(-0.05, _TOP)
    above.set_yticks([0, 0.5, 1])
    above.set_ylabel("flux / continuum", fontsize=8)
    above.tick_params(labelbottom=False)
    here = [s for s in result.stretches if low <= s.wavelength <= high]
    for stretch in here:
        colour = _DEEPER if stretch.width > 0 else _SHALLOWER
        for axis in (above, below):
            axis.axvspan(stretch.low, stretch.high, color=colour, alpha=0.25, lw=0)
    _name(above, sorted(here[:n_named], key=lambda s: s.wavelength), low, high)
    for colour, text in ((_DEEPER, "star absorbs more"), (_SHALLOWER, "model absorbs more")):
        above.fill_between([], [], color=colour, alpha=0.4, label=text)
    for axis in (above, below):
        axis.set_xlim(low, high)
        axis.tick_params(labelsize=8)


def _name(axis: Any, stretches: Sequence[Stretch], low: float, high: float) -> None:
    """Write names over the continuum, moved apart where they would overlap."""
    wanted = np.array([stretch.wavelength for stretch in stretches])
    for stretch, place in zip(stretches, apart(wanted, _NAME * (high - low), low, high),
                              strict=True):  # fmt: skip
        what = name_of(stretch.lines[0]) if len(stretch.lines) else f"? {stretch.wavelength:.2f}"
        axis.plot([stretch.wavelength, place], [_FOOT, _HEAD], color="0.4", lw=0.5)
        axis.text(place, _HEAD + 0.02, f"{what}  {stretch.width:+.0f}", rotation=90, fontsize=7.5,
                  ha="center", va="bottom")  # fmt: skip

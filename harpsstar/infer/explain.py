"""Which pixels and which lines decide on a label.

Near the solution least squares is linear, so every pixel has a share in what is known of a label
and pulls the label by a certain amount. Both are exact for the linear problem: nothing is sampled
and nothing is left out at random.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from harpsstar.infer import parameters as space
from harpsstar.infer.estimated import Estimate
from harpsstar.infer.explanation import CONTINUUM, Array, Explanation
from harpsstar.infer.predict import Measurement, predictor
from harpsstar.infer.prepare import Source
from harpsstar.infer.refine import influence
from harpsstar.io.given import NOTHING, Given
from harpsstar.io.results import check_table_output, provenance
from harpsstar.labels import LABELS, NAMES, NUISANCES
from harpsstar.model import linelist
from harpsstar.model.emulator import Emulator
from harpsstar.model.linelist import LineArray
from harpsstar.model.opacity import calibrated_lines, line_width, name_of, strength
from harpsstar.nn.image import ImageNetwork
from harpsstar.nn.zoo import Network
from harpsstar.outputs import replacing
from harpsstar.outputs.kinds import ECSV
from harpsstar.plotting import check_picture, save
from harpsstar.spectra.frame import C_KM_S, canonical_wavelengths

if TYPE_CHECKING:
    from astropy.table import QTable

#: Components of one species and level nearer than this (Å) are isotopes or hyperfine structure.
_ONE_LINE = 0.1
#: Lines further away than this (Å) from a pixel are not looked at.
_REACH = 15.0
#: Where the model absorbs less than this, a pixel belongs to no line.
_CONTINUUM = 0.01
#: Flux over continuum below which it no longer tells the opacity, and opacity of saturated lines.
_DARKEST, _SATURATED = 0.05, 1.5
#: Opacity of what is plainly a wing where no line is near, and damping where there is none.
_WING, _USUAL = 0.08, 0.05
#: Fewest lines or pixels that a scale is taken from, and its quantile.
_FEWEST, _QUANTILE = 10, 0.25
_FORMS = {"share": ".4f", "pull": "+.3f"}
_VSINI = NAMES.index("vsini")


def explain(
    spectrum: Source,
    *,
    model: str | Path | None = None,
    blaze_dir: str | Path | None = None,
    given: Given = NOTHING,
) -> Explanation:
    """Say which pixels and lines decide on teff, logg, m_h and vsini.

    Parameters
    ----------
    spectrum : path, Spectrum or SpectrumCollection
        A file of the pipeline, or a spectrum as :func:`harpsstar.read` returns it.
    model : str or Path, optional
        Packaged model or weights file; ``"default"`` if not given.
    blaze_dir : path, optional
        Folder with blaze files.
    given : Given, optional
        What the user says of a file that does not say it.

    Returns
    -------
    Explanation

    Raises
    ------
    HarpsstarError
        The spectrum cannot be read or measured, or the model cannot be used.

    Notes
    -----
    With f the spectrum, w the weight and r the residual of a pixel, and g the derivative of f by a
    label minus its weighted projection on all other labels, the nuisances (with their priors) and
    the continuum of each order, the information of a pixel is w g². Its share is that over the sum
    of all pixels. It pulls the label by σ² w g r, the row of H⁻¹JᵀW of the label times the
    residual; at the solution the pulls of all pixels and priors cancel. That the two agree is the
    theorem of Frisch & Waugh (1933) and Lovell (1963). The weights hold the error of the physics
    and count outliers less, as in :func:`harpsstar.infer.refine.refine`. A pixel belongs to the
    line with most opacity there, core and wings, or to the continuum where the model absorbs less
    than 1 %: see :func:`owners`.
    """
    ready = predictor(model or "default")
    result = ready.measure(spectrum, blaze_dir=blaze_dir, given=given)
    return explain_measurement(
        result, ready.emulator, ready.estimator.mismatch, ready.model.network
    )


def explain_measurement(
    result: Measurement, emulator: Emulator, mismatch: torch.Tensor, network: Network
) -> Explanation:
    """:func:`explain` of what :meth:`harpsstar.infer.predict.Predictor.measure` has found."""
    wave, estimate = canonical_wavelengths(), result.estimate
    attention = _attention(network, estimate)
    resolution = result.prepared.observation.resolution
    found = influence(
        emulator, emulator.sampler(wave), estimate.flux, estimate.ivar, estimate.model,
        torch.cat([estimate.labels, estimate.nuisances], dim=1), resolution, mismatch,
    )  # fmt: skip
    weight, slope, residual, sigma = (
        x.numpy() for x in (found.weight, found.slope, found.residual, found.sigma)
    )
    information = weight * slope**2
    total = information.sum(axis=(1, 2))
    share = information / total[:, None, None]
    pull = sigma[:, None, None] * slope * weight * residual
    labels = estimate.labels[0].double().numpy()
    star = dict(zip(NAMES, labels.tolist(), strict=True))
    names = (label.name for label in NUISANCES)
    star |= dict(zip(names, estimate.nuisances[0].tolist(), strict=True))
    model = estimate.model[0].double().numpy()
    owner, lines = owners(wave, model, weight > 0, star, resolution)
    table, line = _gathered(share, pull, attention, owner, lines)
    table.meta = provenance("harpsstar.explain") | {
        "file": Path(result.prepared.file).name,
        "labels": {name: star[name] for name in NAMES},
    }
    stretch = np.ones(len(LABELS))
    stretch[_VSINI] = float(space.stretch(estimate.labels[0, _VSINI].clamp_min(1.0)))
    used = estimate.ivar[0].numpy() > 0
    return Explanation(
        file=result.prepared.file,
        labels=labels,
        sigma=sigma * stretch,
        wave=wave,
        flux=np.where(used, estimate.flux[0].double().numpy(), np.nan),
        model=model,
        share=share,
        pull=pull,
        line=line,
        prior=1 - sigma**2 * total,
        attention=attention,
        table=table,
    )


def _attention(network: Network, estimate: Estimate) -> Array:
    """(blocks, orders, pixels), of no blocks where the network has none."""
    maps = []
    if isinstance(network, ImageNetwork):
        with torch.no_grad():
            maps = network.attention_over(estimate.flux, estimate.ivar)
    return np.array([alpha[0].double().numpy() for alpha in maps]).reshape(
        -1, *estimate.flux.shape[1:]
    )


def explain_and_write(
    spectrum: Source,
    *,
    output: Path | None = None,
    picture: Path | None = None,
    n: int = 10,
    model: str | Path | None = None,
    blaze_dir: str | Path | None = None,
    given: Given = NOTHING,
) -> Explanation:
    """:func:`explain`, then write the table (ECSV) and draw the picture, which are tried before it.

    Parameters
    ----------
    spectrum, model, blaze_dir, given
        As for :func:`explain`.
    output, picture : Path, optional
        An existing file is only ever replaced whole.
    n : int
        Lines named in the picture for each label.

    Raises
    ------
    OutputError
        Before any work, when the extension or the folder is wrong.
    HarpsstarError
        As :func:`explain`.
    """
    if output is not None:
        check_table_output(output)
    if picture is not None:
        check_picture(picture)
    result = explain(spectrum, model=model, blaze_dir=blaze_dir, given=given)
    if output is not None:
        with replacing(output, ECSV) as temporary:
            result.table.write(temporary, format="ascii.ecsv", overwrite=True)
    if picture is not None:
        save(result.plot(n), picture)
    return result


def owners(
    wave: Array,
    model: Array,
    used: npt.NDArray[np.bool_],
    star: Mapping[str, float],
    resolution: float,
) -> tuple[npt.NDArray[np.int64], LineArray]:
    """Tell which line each pixel belongs to: the one with most opacity there.

    The opacity of a line is that of :func:`harpsstar.model.opacity.strength` times a Gaussian core
    and damping wings. Strengths are scaled by species, and the damping for all lines, to what the
    model shows, for the strengths alone are rough, above all those of molecules.

    Parameters
    ----------
    wave, model : ndarray
        (orders, pixels) rest wavelength in air, Å; flux over continuum.
    used : ndarray of bool
        (orders, pixels) whether a pixel counts.
    star : mapping of str to float
        Labels and nuisances.
    resolution : float
        Resolving power.

    Returns
    -------
    owner : ndarray of int
        (orders, pixels) row of `lines`; -1 where the pixel belongs to no line, -2 where it does not
        count.
    lines : ndarray of :data:`harpsstar.model.opacity.LINE_DTYPE`
    """
    lines, weight = _lines(star["teff"], star["logg"])
    sigma = line_width(star, resolution) / C_KM_S
    opacity = _opacity(model)
    weight = weight + _offsets(lines, weight, wave, opacity)
    core, wings = np.zeros(wave.shape), np.zeros(wave.shape)
    for _, pixels, place, amount in _near(lines, weight, wave, sigma):
        core[pixels] += amount * np.exp(-0.5 * place**2)
        wings[pixels] += amount / (1 + place**2)
    damping = _damping(opacity, core, wings)
    owner, best = np.full(wave.shape, -1), np.zeros(wave.shape)
    for i, pixels, place, amount in _near(lines, weight, wave, sigma):
        here = amount * (np.exp(-0.5 * place**2) + damping / (1 + place**2))
        better = here > best[pixels]
        best[pixels][better] = here[better]
        owner[pixels][better] = i
    owner[1 - model < _CONTINUUM] = -1
    owner[~used] = -2
    return owner, lines


def _near(
    lines: LineArray, weight: Array, wave: Array, sigma: float
) -> Iterator[tuple[int, tuple[int, slice], Array, float]]:
    """Give for each line and order the pixels near it, how far they are in widths, its opacity."""
    centres = lines["wavelength"]
    for row, here in enumerate(wave):
        inside = (centres > here[0] - _REACH) & (centres < here[-1] + _REACH)
        for i in np.flatnonzero(inside):
            low, high = np.searchsorted(here, (centres[i] - _REACH, centres[i] + _REACH))
            place = (here[low:high] / centres[i] - 1) / sigma
            yield int(i), (row, slice(int(low), int(high))), place, float(10 ** weight[i])


def _opacity(model: Array) -> Array:
    """Opacity of lines over that of the continuum, roughly, of flux over continuum."""
    flux = model.clip(_DARKEST, 1.0)
    return np.asarray((1 - flux) / flux)


def _offsets(lines: LineArray, weight: Array, wave: Array, opacity: Array) -> Array:
    """What to add (dex) to the strengths of each species so that the model has its lines.

    Blends only ever make a line deeper, so that a low quantile of the strong half of a species'
    unsaturated lines decides. A species with few lines goes with Fe I.
    """
    order = np.argsort(wave, axis=None)
    seen = np.interp(lines["wavelength"], wave.ravel()[order], opacity.ravel()[order])
    ratio = np.log10(seen.clip(1e-4)) - weight
    inside = (lines["wavelength"] > wave.min()) & (lines["wavelength"] < wave.max())
    found = {}
    for species in np.unique(lines["species"]):
        mine = np.flatnonzero((lines["species"] == species) & inside & (seen < _SATURATED))
        if len(mine) >= _FEWEST:
            strong = mine[np.argsort(-weight[mine])[: len(mine) // 2]]
            found[str(species)] = float(np.quantile(ratio[strong], _QUANTILE))
    usual = found.get("Fe 1", -1.0)
    return np.array([found.get(str(species), usual) for species in lines["species"]])


def _damping(opacity: Array, core: Array, wings: Array) -> float:
    """Damping with which the wings of strong lines have the opacity that the model shows."""
    apart = (core < 0.1 * opacity) & (opacity > _WING) & (opacity < _SATURATED)
    if apart.sum() < _FEWEST:
        return _USUAL
    return float(np.quantile((opacity[apart] - core[apart]) / wings[apart], _QUANTILE))


def _lines(teff: float, logg: float) -> tuple[LineArray, Array]:
    """Packaged lines, components of one line taken together, and their strengths in dex."""
    lines = linelist.relevant(_packaged(), teff)
    weight = strength(lines, teff, logg)
    order = np.lexsort((lines["wavelength"], lines["excitation"].round(2), lines["species"]))
    lines, weight = lines[order], weight[order]
    new = (
        (lines["species"][1:] != lines["species"][:-1])
        | (lines["excitation"].round(2)[1:] != lines["excitation"].round(2)[:-1])
        | (np.diff(lines["wavelength"]) > _ONE_LINE)
    )
    starts = np.flatnonzero(np.append(True, new))
    total = np.log10(np.add.reduceat(10**weight, starts))
    ends = np.append(starts[1:], len(lines))
    strongest = [
        a + int(np.argmax(weight[a:b])) for a, b in zip(starts, ends, strict=True)
    ]
    return lines[strongest], total


@cache
def _packaged() -> LineArray:
    deltas = linelist.solar_deltas()
    return calibrated_lines(deltas, deltas)


def _gathered(
    share: Array, pull: Array, attention: Array, owner: npt.NDArray[np.int64], lines: LineArray
) -> tuple[QTable, npt.NDArray[np.int64]]:
    """Sum pixels by line; the table, and each pixel's row in it (-1 where it does not count)."""
    from astropy import units as u
    from astropy.table import Column, QTable

    counted = owner >= -1
    rows, place = np.unique(owner[counted], return_inverse=True)
    sums = {
        f"{kind}_{name}": np.bincount(place, values[k][counted], minlength=len(rows))
        for kind, values in (("share", share), ("pull", pull))
        for k, name in enumerate(NAMES)
    }
    merit = sum(sums[f"share_{name}"] for name in NAMES)
    order = np.argsort(-np.asarray(merit), kind="stable")
    named = rows[order] >= 0
    known = lines[np.maximum(rows[order], 0)]
    table = QTable()
    table["wave_air"] = np.where(named, known["wavelength"], np.nan) * u.AA
    table["wave_air"].info.description = "Rest wavelength in air; nan for the continuum"
    table["wave_air"].info.format = ".3f"
    species = np.where(named, known["species"], "")
    table["species"] = Column(species, description="1 is neutral, 2 singly ionised")
    names = [name_of(line) if good else CONTINUUM
             for line, good in zip(known, named, strict=True)]  # fmt: skip
    table["name"] = Column(names, description="Name in spectroscopic notation")
    count = np.bincount(place, minlength=len(rows))[order]
    table["n_pixels"] = Column(count, description="Number of pixels of the line")
    for key, values in sums.items():
        kind, _, name = key.partition("_")
        what = {"share": f"Share of the information about {name}",
                "pull": f"Shift of {name} by this line, in units of its noise error"}  # fmt: skip
        table[key] = Column(values[order], description=what[kind], format=_FORMS[kind])
    if len(attention):
        seen = np.bincount(place, attention.mean(0)[counted], minlength=len(rows))
        table["attention"] = Column(
            seen[order], description="Share of the network's attention", format=".4f"
        )
    line = np.full(owner.shape, -1)
    line[counted] = np.argsort(order)[place]
    return table, line

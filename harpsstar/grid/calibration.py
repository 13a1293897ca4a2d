"""Calibration of the line list on the Sun (after Valenti & Fischer 2005, ApJS 159, 141, Sec. 3.2).

For every line whose strength the solar spectrum decides, three numbers are solved for together,
each pulled back to its literature value within the quality of its source: log gf, the wavelength,
and for strong lines the van der Waals width. The derivatives are PySME's own, by finite
differences: lines that are far enough apart not to touch each other are moved in one synthesis.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from scipy.sparse.linalg import splu

from harpsstar import constants
from harpsstar.errors import ReadError
from harpsstar.grid import cluster, synthesis
from harpsstar.grid.atlas9 import Deck, find_family, interpolate
from harpsstar.grid.inputs import root
from harpsstar.io import read
from harpsstar.model import broadening, linelist
from harpsstar.model.linelist import DELTA_DTYPE, LineArray, shifted
from harpsstar.model.sampler import Sampler
from harpsstar.spectra.frame import pixels_from
from harpsstar.spectra.noise import MAD_TO_SIGMA

#: The Sun, as :mod:`harpsstar.constants` has it, and the vmic that the calibration starts from.
#: K, dex, dex, km/s.
SUN = {"teff": constants.SUN_TEFF, "logg": constants.SUN_LOGG, "m_h": constants.SUN_M_H,
       "vsini": constants.SUN_VSINI, "vmic": 1.0, "vmac": constants.SUN_VMAC}  # fmt: skip

#: What is solved for.
KINDS = ("log_gf", "wavelength", "log_vdw")

Array = npt.NDArray[np.float64]
_N_FFT = 40960
#: Å at either end of the grid that are left out.
_MARGIN = 0.6
#: Noise of a spectrum without errors, in units of the continuum.
_TEXT_ERROR = 0.004


@dataclass(frozen=True)
class Observed:
    """A solar spectrum, barycentric air Å.

    Attributes
    ----------
    wave, flux, error : ndarray
        (n,) Å, any continuum, and noise in the same unit; only usable pixels.
    resolution : float
        Resolving power.
    name : str
    """

    wave: Array
    flux: Array
    error: Array
    resolution: float
    name: str


@dataclass(frozen=True)
class Calibrated:
    """What a calibration gives.

    Attributes
    ----------
    deltas : ndarray of :data:`harpsstar.model.linelist.DELTA_DTYPE`
        One row per line that was moved.
    residuals : tuple of dict
        After every round, by name of the spectrum: median |observed - model| in units of the
        continuum; the first before calibration.
    vmic : float
        Of the Sun, km/s, solved for with the lines.
    """

    deltas: npt.NDArray[np.void]
    residuals: tuple[dict[str, float], ...]
    vmic: float


def configuration() -> dict[str, Any]:
    """Return ``calibration.toml``: prior widths by source, steps, limits."""
    text = resources.files("harpsstar.grid").joinpath("calibration.toml").read_text("utf-8")
    return tomllib.loads(text)


class _View:
    """How one instrument sees a spectrum of the synthesis grid: broadened, sampled, continuum."""

    def __init__(self, observed: Observed, config: dict[str, Any]) -> None:
        self.observed = observed
        step = synthesis.LOG_STEP * broadening.C_KMS
        bins = _N_FFT // 2 + 1
        dk = 2 * np.pi / (_N_FFT * step)
        vsini, vmac = (torch.tensor([SUN[name]]).double() for name in ("vsini", "vmac"))
        self._kernel = broadening.kernel(bins, dk, vsini, vmac, observed.resolution)[0].numpy()
        self._dk = dk
        self.rv = 0.0
        self._sampler = Sampler(
            observed.wave,
            log_wave0=float(np.log(synthesis.WAVE_START)),
            log_step=synthesis.LOG_STEP,
            n_wave=synthesis.N_WAVE,
        )
        self._pieces = _pieces(observed.wave, config["continuum"])
        self.floor = config["floor"]

    def absorb(self, depth: Array) -> Array:
        """Broaden, shift and sample (k, n_wave) depths or their derivatives to (k, n)."""
        k = np.arange(_N_FFT // 2 + 1) * self._dk
        factor = self._kernel * np.exp(-1j * k * self.rv)
        transform = np.fft.rfft(depth, n=_N_FFT, axis=-1) * factor
        broad = np.fft.irfft(transform, n=_N_FFT, axis=-1)[..., : synthesis.N_WAVE]
        return self._sampler(torch.from_numpy(np.ascontiguousarray(broad))).numpy()

    def slope(self, depth: Array) -> Array:
        """Derivative of the depth with velocity, per km/s, (n,)."""
        k = np.arange(_N_FFT // 2 + 1) * self._dk
        factor = self._kernel * np.exp(-1j * k * self.rv) * (-1j * k)
        broad = np.fft.irfft(np.fft.rfft(depth, n=_N_FFT) * factor, n=_N_FFT)[: synthesis.N_WAVE]
        return self._sampler(torch.from_numpy(broad)[None])[0].numpy()

    def normal(self, model: Array) -> tuple[Array, Array]:
        """Observed over continuum, and robust weights, given the model (n,)."""
        seen = self.observed
        weight = 1 / (self.floor**2 + (seen.error / np.median(seen.flux)) ** 2)
        weight = weight * (model > 0.25)  # cores that form in the chromosphere
        flux = seen.flux / np.median(seen.flux)
        for _ in range(5):
            continuum = np.ones_like(flux)
            for part, basis in self._pieces:
                design = basis * model[part, None] * np.sqrt(weight[part, None])
                found = np.linalg.lstsq(design, flux[part] * np.sqrt(weight[part]), rcond=None)[0]
                continuum[part] = basis @ found
            residual = flux / continuum - model
            scatter = max(MAD_TO_SIGMA * np.median(abs(residual)), self.floor)
            robust = 1 / (1 + (residual / (3 * scatter)) ** 2)
            weight = (model > 0.25) * robust / (self.floor**2 + (seen.error / seen.flux) ** 2)
        return flux / continuum, weight


def _pieces(wave: Array, rule: dict[str, Any]) -> list[tuple[npt.NDArray[np.bool_], Array]]:
    edges = np.arange(synthesis.WAVE_START - 1, synthesis.WAVE_END + rule["width"], rule["width"])
    found = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        part = (wave >= low) & (wave < high)
        if part.sum() > 50:
            x = np.interp(wave[part], [wave[part].min(), wave[part].max()], [-1, 1])
            found.append((part, np.polynomial.legendre.legvander(x, rule["degree"])))
    return found


def groups(centres: Array, reach: Array) -> list[npt.NDArray[np.int_]]:
    """Share lines out so that those of one group do not touch: indices, by increasing centre."""
    ends = np.empty(0)
    members: list[list[int]] = []
    for i in np.argsort(centres):
        free = np.flatnonzero(ends < centres[i] - reach[i])
        if len(free) == 0:
            ends, free = np.append(ends, 0.0), np.array([len(ends)])
            members.append([])
        ends[free[0]] = centres[i] + reach[i]
        members[free[0]].append(int(i))
    return [np.array(part) for part in members]


def _synthesize(sun: Deck, lines: LineArray, vmic: float) -> npt.NDArray[np.float32]:
    return synthesis.synthesize(sun, lines, vmic=vmic)


def _moved(lines: LineArray, kind: str, chosen: npt.NDArray[np.int_], step: float) -> LineArray:
    delta = np.zeros((3, len(lines)))
    delta[KINDS.index(kind), chosen] = step
    return shifted(lines, *delta)


@dataclass(frozen=True)
class _Columns:
    """Derivatives of all moved quantities: which line, which kind; the last column is of vmic."""

    line: npt.NDArray[np.int_]
    kind: npt.NDArray[np.int_]
    matrix: sparse.csc_matrix  # (pixels of all spectra, parameters + 1)


def _derivatives(
    sun: Deck,
    lines: LineArray,
    vmic: float,
    base: Array,
    views: Sequence[_View],
    chosen: dict[str, npt.NDArray[np.int_]],
    config: dict[str, Any],
    pool: Executor,
) -> _Columns:
    jobs = []
    micro = pool.submit(_synthesize, sun, lines, vmic + config["step"]["vmic"])
    depth = _depths(lines, base)
    for kind, members in chosen.items():
        # lines with wings among themselves: their changes reach into the windows of others
        winged = depth[members] > config["winged"]
        for some in (members[winged], members[~winged]):
            reach = _reach(depth[some], kind, config)
            for part in groups(lines["wavelength"][some], reach):
                moved = _moved(lines, kind, some[part], config["step"][kind])
                job = pool.submit(_synthesize, sun, moved, vmic)
                jobs.append((kind, some[part], reach[part], job))
    line, number, blocks = [], [], []
    for kind, members, reach, job in jobs:
        change = -(job.result().astype(float) - base) / config["step"][kind]
        seen = [view.absorb(change[None])[0] for view in views]
        for i, width in zip(members, reach, strict=True):
            columns = []
            for view, change_seen in zip(views, seen, strict=True):
                centre = lines["wavelength"][i] * (1 + view.rv / broadening.C_KMS)
                near = abs(view.observed.wave - centre) < width
                columns.append(sparse.csc_matrix(np.where(near, -change_seen, 0.0)[:, None]))
            blocks.append(sparse.vstack(columns))
            line.append(int(i))
            number.append(KINDS.index(kind))
    change = (micro.result().astype(float) - base) / config["step"]["vmic"]
    seen = [view.absorb(change[None])[0] for view in views]
    matrix = sparse.hstack([*blocks, sparse.csc_matrix(np.concatenate(seen)[:, None])])
    return _Columns(np.array(line), np.array(number), matrix.tocsc())


def _reach(depth: Array, kind: str, config: dict[str, Any]) -> Array:
    """Å either side of each line in which its derivative is used."""
    rule = config["reach"]
    return np.where(depth > config["winged"], rule["winged"], rule[kind])


def _prior(lines: LineArray, columns: _Columns, config: dict[str, Any]) -> Array:
    """Standard deviation of each parameter about its literature value; the last is vmic's."""
    width = np.full(len(columns.line) + 1, config["prior"]["vmic"])
    strong = linelist.strength(lines, [config["layer"]]) > config["strong"]
    for j, (i, kind) in enumerate(zip(columns.line, columns.kind, strict=True)):
        name = KINDS[kind]
        if name == "log_vdw":
            width[j] = config["prior"]["abo" if lines["gamma_vdw"][i] > 0 else "log_vdw"]
        else:
            width[j] = config["prior"][name][str(lines["source"][i])]
            if name == "log_gf" and strong[i]:
                width[j] = min(width[j], config["prior"]["strong"])
    return width


def calibrate(
    lines: LineArray,
    sun: Deck,
    spectra: Sequence[Observed],
    pool: Executor,
    *,
    tell: Callable[[str], None] = lambda text: None,
) -> Calibrated:
    """Solve for the line data that the Sun decides.

    Parameters
    ----------
    lines : ndarray of :data:`harpsstar.model.linelist.DTYPE`
        Uncalibrated.
    sun : Deck
        At the labels of :data:`SUN`.
    spectra : sequence of Observed
        Together they cover the grid.
    pool : Executor
        Runs the syntheses, about a hundred a round.
    tell : callable
        Told of progress.
    """
    config = configuration()
    views = [_View(one, config) for one in spectra]
    chosen: dict[str, npt.NDArray[np.int_]] = {}
    value, vmic = np.zeros((3, len(lines))), SUN["vmic"]
    history = []
    columns = None
    for turn in range(config["rounds"] + 1):
        now = shifted(lines, *value)
        base = _synthesize(sun, now, vmic).astype(float)
        residual, weight = _compare(views, base, config)
        history.append(_levels(views, residual))
        tell(f"round {turn}: {history[-1]}, vmic {vmic:.3f} km/s")
        if turn == config["rounds"]:
            break
        if columns is None or turn in config["derivatives_again"]:
            if columns is None:
                chosen = _worth(sun, now, vmic, base, views, config, pool)
                tell(", ".join(f"{len(v)} of {k}" for k, v in chosen.items()))
            columns = _derivatives(sun, now, vmic, base, views, chosen, config, pool)
            tell("derivatives done")
        width = _prior(lines, columns, config)
        current = np.append(value[columns.kind, columns.line], vmic - SUN["vmic"])
        scaled = columns.matrix.T @ sparse.diags(weight)
        normal = (scaled @ columns.matrix + sparse.diags(width**-2)).tocsc()
        gradient = scaled @ residual - current / width**2
        step = splu(normal).solve(gradient)
        limit = np.array([config["largest"][kind] for kind in KINDS])[columns.kind]
        limit = np.append(limit, config["largest"]["vmic"])
        moved = np.minimum(current + np.clip(step, -limit, limit), config["most"] * width)
        # what is not in the Sun may vanish; no line is made to stand for one that is missing
        value[columns.kind, columns.line], vmic = moved[:-1], SUN["vmic"] + float(moved[-1])
    sigma = np.zeros_like(value)
    assert columns is not None
    sigma[columns.kind, columns.line] = np.sqrt(1 / normal.diagonal()[:-1])
    return Calibrated(_table(lines, value, sigma), tuple(history), vmic)


def _compare(views: Sequence[_View], base: Array, config: dict[str, Any]) -> tuple[Array, Array]:
    residuals, weights = [], []
    for view in views:
        for _ in range(3):  # velocity, continuum
            model = 1 - view.absorb((1 - base)[None])[0]
            normal, weight = view.normal(model)
            slope = -view.slope(1 - base)
            view.rv += float(((normal - model) * weight) @ slope / (weight @ slope**2))
        model = 1 - view.absorb((1 - base)[None])[0]
        normal, weight = view.normal(model)
        residuals.append(normal - model)
        weights.append(weight)
    return np.concatenate(residuals), np.concatenate(weights)


def _levels(views: Sequence[_View], residual: Array) -> dict[str, float]:
    ends = np.cumsum([0] + [len(view.observed.wave) for view in views])
    return {
        view.observed.name: round(float(np.median(abs(residual[a:b]))), 5)
        for view, a, b in zip(views, ends[:-1], ends[1:], strict=True)
    }


def _worth(
    sun: Deck,
    lines: LineArray,
    vmic: float,
    base: Array,
    views: Sequence[_View],
    config: dict[str, Any],
    pool: Executor,
) -> dict[str, npt.NDArray[np.int_]]:
    """Which lines the Sun decides: by the largest derivative of the flux with log gf."""
    every = np.flatnonzero(
        (lines["wavelength"] > synthesis.WAVE_START + _MARGIN)
        & (lines["wavelength"] < synthesis.WAVE_END - _MARGIN)
        & np.isin(lines["species"], np.unique(linelist.relevant(lines, sun.teff)["species"]))
    )
    columns = _derivatives(
        sun, lines, vmic, base, views, {"log_gf": every}, config, pool
    )
    peak = abs(columns.matrix).max(axis=0).toarray()[0, :-1]
    strength = np.zeros(len(lines))
    strength[columns.line] = peak
    visible = _depths(lines, base)
    worth = config["worth"]
    return {
        "log_gf": np.flatnonzero(strength > worth["log_gf"]),
        "wavelength": np.flatnonzero(strength > worth["wavelength"]),
        "log_vdw": np.flatnonzero(
            (strength > worth["log_gf"]) & (visible > worth["log_vdw"]) & (lines["gamma_vdw"] != 0)
        ),
    }


def _depths(lines: LineArray, base: Array) -> Array:
    """Depth of the unbroadened solar spectrum at every line."""
    wave = synthesis.wavelengths()
    return 1 - np.interp(lines["wavelength"], wave, base)


def _table(lines: LineArray, value: Array, sigma: Array) -> npt.NDArray[np.void]:
    moved = np.flatnonzero(abs(value).max(axis=0) > 0)
    # twins, of one species, wavelength and excitation, get one correction: see apply_deltas
    twins = dict(zip(linelist.keys(lines[moved]), moved, strict=True))
    moved = np.sort(np.fromiter(twins.values(), dtype=int))
    table = np.zeros(len(moved), dtype=DELTA_DTYPE)
    for name in ("species", "wavelength", "excitation", "source", "log_gf"):
        table[name] = lines[name][moved]
    for row, name in enumerate(KINDS):
        table[f"delta_{name}"] = value[row, moved]
    table["sigma_log_gf"] = sigma[0, moved]
    return table


def solar_spectrum(path: Path, resolution: float | None = None) -> Observed:
    """Read a spectrum of the Sun: a FITS file that harpsstar reads, or two columns of text.

    Parameters
    ----------
    path : Path
        FITS, or air Å and normalised flux.
    resolution : float, optional
        Resolving power; for a FITS file that of its instrument.

    Raises
    ------
    ReadError
        When it is neither, or a text file comes without its resolving power.
    """
    if path.suffix.lower() in (".txt", ".dat", ".csv"):
        return _from_text(path, resolution)
    spectrum = read(path)
    pixels = pixels_from(spectrum)
    flux, ivar = pixels.flux.ravel(), pixels.ivar.ravel()
    wave = pixels.wave.ravel()
    found = resolution or spectrum.meta["observation"].resolution
    return _usable(wave, flux, np.where(ivar > 0, ivar, np.nan) ** -0.5, found, path)


def _from_text(path: Path, resolution: float | None) -> Observed:
    if resolution is None:
        raise ReadError(
            "a text file does not say its resolving power",
            path=path,
            hint="give it with --gap-resolution",
        )
    try:
        wave, flux = np.loadtxt(path, usecols=(0, 1)).T
    except (ValueError, OSError) as error:
        raise ReadError(str(error), path=path, expected="two columns, air Å and flux") from error
    return _usable(wave, flux, np.full_like(flux, _TEXT_ERROR), resolution, path)


def _usable(wave: Array, flux: Array, error: Array, resolution: float, path: Path) -> Observed:
    # what broadening and a shift bring in from beyond the grid is not the Sun
    good = np.isfinite(flux) & np.isfinite(error) & (flux > 0)
    good &= (wave > synthesis.WAVE_START + _MARGIN) & (wave < synthesis.WAVE_END - _MARGIN)
    order = np.argsort(wave[good])
    wave, flux, error = (a[good][order].astype(float) for a in (wave, flux, error))
    return Observed(wave, flux, error, resolution, path.name)


def cut(observed: Observed, low: float, high: float) -> Observed:
    """Only the wavelengths between `low` and `high`, Å."""
    part = (observed.wave > low) & (observed.wave < high)
    return dataclasses.replace(
        observed, wave=observed.wave[part], flux=observed.flux[part], error=observed.error[part]
    )


def calibrate_files(
    sun: Path,
    output: Path,
    *,
    gap: Path | None = None,
    gap_range: tuple[float, float] = (5303.5, 5338.0),
    gap_resolution: float | None = None,
    jobs: int = 2,
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, tuple[float, float]]:
    """Calibrate on files with the Sun and write the corrections.

    Parameters
    ----------
    sun, gap : Path
        See :func:`solar_spectrum`; the second is used within `gap_range` (Å) alone.
    output : Path
        ECSV, see :func:`harpsstar.model.linelist.write_deltas`.

    Returns
    -------
    dict
        For each spectrum the median residual before and after, in units of the continuum.
    """
    spectra = [solar_spectrum(sun)]
    if gap is not None:
        spectra.append(cut(solar_spectrum(gap, gap_resolution), *gap_range))
    inputs_root = root()
    lines = linelist.assemble(inputs_root, calibrated=False)
    star = interpolate(find_family(inputs_root), SUN["teff"], SUN["logg"], SUN["m_h"])
    with cluster.workers(jobs) as pool:
        done = calibrate(lines, star, spectra, pool.executor, tell=tell)
    levels = {
        name: (done.residuals[0][name], done.residuals[-1][name]) for name in done.residuals[0]
    }
    meta = {
        "what": "corrections of the line list from the Sun (harpsstar synth calibrate)",
        "sun": SUN | {"vmic": round(done.vmic, 4)},
        "resolution": {one.name: one.resolution for one in spectra},
        "median_residual_before_after": {name: list(pair) for name, pair in levels.items()},
        "linelist_sha256_before": linelist.digest(lines),
    }
    linelist.write_deltas(done.deltas, output, meta)
    return levels

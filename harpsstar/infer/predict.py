"""``predict``: from files or spectra to a table, one row each, whatever happens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from specutils import Spectrum, SpectrumCollection

from harpsstar.errors import CoverageError, HarpsstarError, ModelError
from harpsstar.infer import quality
from harpsstar.infer.estimate import N_PASSES, Estimate, Estimator
from harpsstar.io import Observation, read
from harpsstar.io.results import Row, provenance, to_table
from harpsstar.labels import NAMES
from harpsstar.nn import zoo
from harpsstar.spectra.continuum import LEAST_SHARE
from harpsstar.spectra.frame import (
    Canonical,
    Pixels,
    canonical_wavelengths,
    pixels_from,
    to_canonical,
)
from harpsstar.spectra.noise import clip_cosmics, snr_per_pixel
from harpsstar.spectra.velocity import Velocity, measure_velocity
from harpsstar.synth.emulator import Emulator

if TYPE_CHECKING:
    from astropy.table import QTable

Source: TypeAlias = str | Path | Spectrum | SpectrumCollection

#: Systematic error of the physics: K, dex, dex, km/s. See ``docs/explanation/errors.md``.
MODEL_ERROR = np.array([70.0, 0.10, 0.09, 1.5])
#: km/s; the spectrum is not resampled for a smaller correction of its velocity.
RV_TOLERANCE = 0.05
_UNKNOWN = Observation(
    file="", target="", instrument="", product="", bjd=np.nan, berv=np.nan, snr=np.nan,
    snr_orders=(), rv_header=np.nan, rv_header_err=np.nan, blaze="none", resolution=115000.0,
)  # fmt: skip


@dataclass(frozen=True)
class Measurement:
    """Everything that came out of one spectrum.

    ``rv`` and ``rv_err`` in km/s; ``estimate`` holds one spectrum (B = 1); ``canonical`` is the
    spectrum that the estimate saw; ``snr`` per extracted pixel.
    """

    rv: float
    rv_err: float
    snr: float
    velocity: Velocity
    canonical: Canonical
    estimate: Estimate
    flags: quality.Flag


class Predictor:
    """A model and the packaged emulator, ready to measure spectra.

    Parameters
    ----------
    model : str or Path
        Name of a packaged model, or a weights file.

    Raises
    ------
    ModelError
        When the model or the packaged grid cannot be used.
    """

    def __init__(self, model: str | Path = "default") -> None:
        self.model = zoo.load(model)
        self.emulator = Emulator.load()
        grid = self.model.card.get("grid", {}).get("sha256")
        if grid is not None and grid != self.emulator.metadata["sha256"]:
            raise ModelError(
                f"it was trained on another grid ({grid[:8]})",
                path=model,
                expected=f"the packaged one ({self.emulator.metadata['sha256'][:8]})",
                hint="train it again with harpsstar train",
            )
        self.estimator = Estimator(self.model, self.emulator, canonical_wavelengths())

    def measure(self, spectrum: Spectrum | SpectrumCollection) -> Measurement:
        """Measure one spectrum.

        Parameters
        ----------
        spectrum : Spectrum or SpectrumCollection
            Air wavelengths in the barycentric frame, as :func:`harpsstar.read` returns it.

        Raises
        ------
        CoverageError
            When it has too few usable pixels in 5025–5393 Å.
        """
        seen = _observation(spectrum)
        pixels = pixels_from(spectrum)
        velocity = measure_velocity(pixels, self.emulator)
        start = torch.tensor([velocity.labels], dtype=torch.float32)
        canonical = to_canonical(pixels, velocity.rv)
        estimate = self._estimate(canonical, start, seen.resolution)
        if not bool((estimate.ivar > 0).any()):
            raise CoverageError(
                "no order has enough usable pixels",
                expected=f"one of the eight with at least {LEAST_SHARE:.0%} of its pixels",
                hint="look at its mask: saturation, cosmics, quality",
            )
        rv = velocity.rv + float(estimate.nuisances[0, 2])
        canonical = self._without_cosmics(canonical, estimate)
        if abs(rv - velocity.rv) > RV_TOLERANCE:
            canonical = self._shifted(pixels, canonical, rv)
        estimate = self._estimate(canonical, estimate.labels, seen.resolution, n_passes=1)
        rv = canonical.rv + float(estimate.nuisances[0, 2])
        snr = seen.snr
        if not np.isfinite(snr):
            snr = snr_per_pixel(estimate.flux[0].numpy(), estimate.ivar[0].numpy())
        flags = quality.assess(self._evidence(seen, velocity, estimate, snr))
        return Measurement(rv, float(estimate.rv_err), snr, velocity, canonical, estimate, flags)

    def _estimate(
        self, canonical: Canonical, start: torch.Tensor, resolution: float, n_passes: int = N_PASSES
    ) -> Estimate:
        flux, ivar = (torch.from_numpy(a)[None] for a in (canonical.flux, canonical.ivar))
        return self.estimator(flux, ivar, start, resolution, n_passes)

    @staticmethod
    def _without_cosmics(canonical: Canonical, estimate: Estimate) -> Canonical:
        kept, _ = clip_cosmics(
            estimate.flux[0].numpy(), estimate.ivar[0].numpy(), estimate.model[0].numpy()
        )
        return Canonical(canonical.flux, np.where(kept > 0, canonical.ivar, 0), canonical.rv)

    @staticmethod
    def _shifted(pixels: Pixels, cleaned: Canonical, rv: float) -> Canonical:
        """Resample to a better velocity, keeping the pixels that were taken out."""
        fresh = to_canonical(pixels, rv)
        return Canonical(fresh.flux, np.where(cleaned.ivar > 0, fresh.ivar, 0), rv)

    def _evidence(
        self, seen: Observation, velocity: Velocity, estimate: Estimate, snr: float
    ) -> quality.Evidence:
        labels = estimate.labels[0].double().numpy()
        return quality.Evidence(
            labels=labels,
            sigma=estimate.covariance[0].diagonal().sqrt().double().numpy(),
            lowest_logg=float(self.emulator.grid.lowest_logg(estimate.labels[:, 0])),
            resolution=seen.resolution,
            misfit=float(estimate.misfit),
            snr=snr,
            significance=velocity.significance,
            peak_ratio=velocity.peak_ratio,
            order_share=(estimate.ivar[0] > 0).double().mean(-1).numpy(),
            blaze=seen.blaze,
            saturated=any("saturated" in note for note in seen.notes),
        )

    def row(self, spectrum: Spectrum | SpectrumCollection, file: str = "") -> Row:
        """Measure one spectrum and return its row; see :meth:`measure`."""
        seen = _observation(spectrum)
        result = self.measure(spectrum)
        labels = result.estimate.labels[0].double().numpy()
        noise = result.estimate.covariance[0].double().numpy()
        total = noise + np.diag(MODEL_ERROR**2)
        values: dict[str, Any] = {}
        for i, name in enumerate(NAMES):
            values[name] = float(labels[i])
            values[f"{name}_err"] = float(np.sqrt(total[i, i]))
            values[f"{name}_err_noise"] = float(np.sqrt(noise[i, i]))
        return Row(
            file=file or seen.file,
            target=seen.target,
            instrument=seen.instrument,
            product=seen.product,
            bjd=seen.bjd,
            snr=float(result.snr),
            rv=result.rv,
            rv_err=result.rv_err,
            covariance=total,
            chi2_red=float(result.estimate.chi2_red),
            flags=int(result.flags),
            flag_text=quality.text(result.flags),
            status="flagged" if result.flags & quality.SERIOUS else "ok",
            message="; ".join(seen.notes),
            model=f"{self.model.name} {self.model.sha256[:8]}",
            **values,
        )


def _observation(spectrum: Spectrum | SpectrumCollection) -> Observation:
    found = (spectrum.meta or {}).get("observation")
    return found if isinstance(found, Observation) else _UNKNOWN


@lru_cache(maxsize=2)
def predictor(model: str | Path = "default") -> Predictor:
    """Return a :class:`Predictor`, made once per model."""
    return Predictor(model)


def predict_rows(
    sources: Iterable[Source],
    *,
    model: str | Path | None = None,
    blaze_dir: str | Path | None = None,
) -> Iterator[Row]:
    """Measure spectra one after the other; a bad one becomes a row with a reason.

    Parameters
    ----------
    sources : iterable of path, Spectrum or SpectrumCollection
        One row each, in order.
    model : str or Path, optional
        Packaged model or weights file; ``"default"`` if not given.
    blaze_dir : path, optional
        Folder with blaze files.

    Yields
    ------
    Row

    Raises
    ------
    ModelError
        Before the first row, when the model cannot be used.
    """
    ready = predictor(model or "default")
    for source in sources:
        named = isinstance(source, str | Path)
        file = str(source) if named else ""
        try:
            spectrum = read(source, blaze_dir=blaze_dir) if named else source
            yield ready.row(spectrum, file)
        except HarpsstarError as error:
            yield Row.failed(file, error)
        except Exception as error:  # noqa: BLE001  another file's row must not be lost
            yield Row.failed(file, f"unexpected {type(error).__name__}: {error}; please report it")


def predict(
    sources: Source | Iterable[Source],
    *,
    model: str | Path | None = None,
    blaze_dir: str | Path | None = None,
) -> QTable:
    """Measure teff, logg, m_h and vsini of spectra.

    Parameters
    ----------
    sources : path, Spectrum, SpectrumCollection, or an iterable of them
        Files of the pipeline, or spectra as :func:`harpsstar.read` returns them.
    model, blaze_dir
        See :func:`predict_rows`.

    Returns
    -------
    QTable
        One row per source, columns as in ``docs/reference/columns.md``.
    """
    single = isinstance(sources, str | Path | Spectrum | SpectrumCollection)
    many: Iterable[Source] = [sources] if single else sources  # type: ignore[list-item,assignment]
    rows = list(predict_rows(many, model=model, blaze_dir=blaze_dir))
    return to_table(rows, provenance("harpsstar.predict", predictor(model or "default").model.card))

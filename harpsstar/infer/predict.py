"""``predict``: from files or spectra to rows, one for each, whatever happens."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from harpsstar.errors import CoverageError, ModelError
from harpsstar.infer import quality
from harpsstar.infer.estimate import Estimator
from harpsstar.infer.estimated import Estimate
from harpsstar.infer.prepare import Prepared, Source, attempt, failed_row, prepare
from harpsstar.infer.uncertainty import Uncertainty
from harpsstar.io.given import NOTHING, Given
from harpsstar.io.results import Row
from harpsstar.labels import NAMES, NUISANCES, RV
from harpsstar.model.emulator import Emulator
from harpsstar.model.templates import bank_of
from harpsstar.nn import zoo
from harpsstar.spectra.companion import find_companion
from harpsstar.spectra.continuum import LEAST_SHARE
from harpsstar.spectra.frame import canonical_wavelengths
from harpsstar.spectra.noise import plateaus, snr_per_pixel
from harpsstar.spectra.velocity import Bank

#: Pixels with one value, after resampling, that are no coincidence.
_PLATEAU = 4
#: Spectra inferred together by :func:`predict_rows`.
BATCH = 16
_RV, _VSINI = NUISANCES.index(RV), NAMES.index("vsini")


@dataclass(frozen=True)
class Measurement:
    """Everything that came out of one spectrum.

    ``rv`` and ``rv_err`` in km/s, in the frame of the wavelengths; ``estimate`` holds one spectrum
    (B = 1); ``prepared`` is the spectrum that the estimate saw; ``snr`` per extracted pixel;
    ``evidence`` what ``flags`` were decided on.
    """

    rv: float
    rv_err: float
    snr: float
    prepared: Prepared
    estimate: Estimate
    evidence: quality.Evidence

    def __repr__(self) -> str:
        """One line, without the arrays."""
        labels = ", ".join(f"{name} {float(value):.4g}" for name, value in
                           zip(NAMES, self.estimate.labels[0], strict=True))  # fmt: skip
        return f"<Measurement of {self.prepared.file or 'a spectrum'}: {labels}, rv {self.rv:.3f}>"

    @property
    def flags(self) -> quality.Flag:
        """What may be wrong."""
        return quality.assess(self.evidence)


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

    @property
    def bank(self) -> Bank:
        """Templates for :func:`harpsstar.infer.prepare.prepare`; a worker process needs no more."""
        return bank_of(self.emulator)

    def measure(
        self,
        spectrum: Source,
        *,
        blaze_dir: str | Path | None = None,
        given: Given = NOTHING,
    ) -> Measurement:
        """Measure one spectrum.

        Parameters
        ----------
        spectrum : path, Spectrum or SpectrumCollection
            Air wavelengths in the barycentric frame, as :func:`harpsstar.read` returns it.
        blaze_dir : path, optional
            Folder with blaze files.

        Raises
        ------
        ReadError
            A file that holds no spectrum.
        CoverageError
            When it has too few usable pixels in 5025–5393 Å.
        """
        (result,) = self.infer([prepare(spectrum, self.bank, blaze_dir=blaze_dir, given=given)])
        if isinstance(result, Exception):
            raise result
        return result

    def rows(
        self,
        spectra: Sequence[Source],
        files: Sequence[str] | None = None,
        *,
        blaze_dir: str | Path | None = None,
        given: Given = NOTHING,
    ) -> list[Row]:
        """Measure spectra together; one that fails gets a failed row and costs no other its row.

        Parameters
        ----------
        spectra : sequence of path, Spectrum or SpectrumCollection
            One row each, in order.
        files : sequence of str, optional
            What the rows call them.
        blaze_dir : path, optional
            Folder with blaze files.
        """
        names = [""] * len(spectra) if files is None else files
        return self.rows_of([
            attempt(source, self.bank, blaze_dir=blaze_dir, file=name or None, given=given)
            for source, name in zip(spectra, names, strict=True)
        ])  # fmt: skip

    def rows_of(self, prepared: Sequence[Prepared | Row]) -> list[Row]:
        """Rows of what :func:`harpsstar.infer.prepare.attempt` has made, in order."""
        good = [item for item in prepared if isinstance(item, Prepared)]
        results = iter(self.infer(good))
        return [
            self._row_or_reason(item, next(results)) if isinstance(item, Prepared) else item
            for item in prepared
        ]

    def infer(self, prepared: Sequence[Prepared]) -> list[Measurement | Exception]:
        """Measure prepared spectra together, each as if it were alone.

        Returns
        -------
        list of Measurement or Exception
            In order; an exception where a spectrum cannot be measured.
        """
        if not prepared:
            return []
        try:
            estimate = self._estimate(prepared)
        except Exception as error:  # noqa: BLE001  one spectrum must not cost the others theirs
            if len(prepared) == 1:
                return [error]
            return [result for item in prepared for result in self.infer([item])]
        return [
            self._measurement_or_error(item, estimate[i : i + 1])
            for i, item in enumerate(prepared)
        ]

    def _measurement_or_error(self, item: Prepared, estimate: Estimate) -> Measurement | Exception:
        try:
            return self._measurement(item, estimate)
        except Exception as error:  # noqa: BLE001  one spectrum must not cost the others theirs
            return error

    def _row_or_reason(self, item: Prepared, result: Measurement | Exception) -> Row:
        try:
            return self._row(item, result)
        except Exception as error:  # noqa: BLE001  one spectrum must not cost the others theirs
            return failed_row(item.file, error)

    def _estimate(self, prepared: Sequence[Prepared]) -> Estimate:
        flux, ivar = (
            torch.from_numpy(np.stack([getattr(item.canonical, name) for item in prepared]))
            for name in ("flux", "ivar")
        )
        start = torch.tensor([item.velocity.labels for item in prepared], dtype=torch.float32)
        resolution = torch.tensor([item.observation.resolution for item in prepared])
        return self.estimator(flux, ivar, start, resolution)

    def _measurement(self, item: Prepared, estimate: Estimate) -> Measurement | Exception:
        if not bool((estimate.ivar > 0).any()):
            return CoverageError(
                "no order has enough usable pixels",
                expected=f"one of the eight with at least {LEAST_SHARE:.0%} of its pixels",
                hint="check the mask of the spectrum: saturation, cosmic rays, quality",
            )
        snr = item.observation.snr
        if not np.isfinite(snr):
            snr = snr_per_pixel(estimate.flux[0].numpy(), estimate.ivar[0].numpy())
        rv = item.canonical.rv + float(estimate.nuisances[0, _RV])
        evidence = self._evidence(item, estimate, snr)
        return Measurement(rv, float(estimate.rv_err), snr, item, estimate, evidence)

    def _evidence(self, item: Prepared, estimate: Estimate, snr: float) -> quality.Evidence:
        flux, ivar, model = (x[0].numpy() for x in (estimate.flux, estimate.ivar, estimate.model))
        second = find_companion(flux, ivar, model, float(estimate.labels[0, _VSINI]), self.bank)
        recorded = item.canonical.ivar > 0
        flat = plateaus(item.canonical.flux, recorded, _PLATEAU).sum() / max(recorded.sum(), 1)
        return quality.Evidence(
            labels=estimate.labels[0].double().numpy(),
            sigma=estimate.covariance[0].diagonal().sqrt().double().numpy(),
            lowest_logg=float(self.emulator.grid.lowest_logg(estimate.labels[:, 0])),
            resolution=item.observation.resolution,
            misfit=float(estimate.misfit),
            snr=snr,
            significance=item.velocity.significance,
            peak_ratio=item.velocity.peak_ratio,
            order_share=(estimate.ivar[0] > 0).double().mean(-1).numpy(),
            blaze=item.observation.blaze,
            emission=quality.emission_share(flux, self._whole_ivar(item, estimate)),
            companion=(second.significance, second.share),
            clipped=max(item.observation.clipped, float(flat)),
            noise_ratio=quality.noise_ratio(flux - model, ivar),
            saturated=any("saturated" in note for note in item.observation.notes),
            resolution_assumed=item.observation.resolution_assumed,
        )

    @staticmethod
    def _whole_ivar(item: Prepared, estimate: Estimate) -> npt.NDArray[np.float32]:
        """Inverse variance of the normalised flux, with the pixels taken for cosmic rays."""
        kept = estimate.ivar[0].numpy()
        level = np.where(kept > 0, kept, np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # an order without any pixel
            typical = np.nan_to_num(np.nanmedian(level, axis=1, keepdims=True))
        lost = (item.canonical.ivar > 0) & (kept == 0)
        return np.where(lost, typical, kept).astype(np.float32)

    def _row(self, item: Prepared, result: Measurement | Exception) -> Row:
        if isinstance(result, Exception):
            return failed_row(item.file, result)
        seen = item.observation
        rv, rv_err, remarks = seen.barycentric(result.rv, result.rv_err)
        labels = result.estimate.labels[0].double().numpy()
        values: dict[str, Any] = dict(zip(NAMES, labels.tolist(), strict=True))
        values |= Uncertainty.of(result.estimate).columns()
        return Row(
            file=item.file,
            target=seen.target,
            instrument=seen.instrument,
            product=seen.product,
            bjd=seen.bjd,
            snr=float(result.snr),
            rv=rv,
            rv_err=rv_err,
            chi2_red=float(result.estimate.chi2_red),
            flags=int(result.flags),
            flag_text=quality.text(result.flags),
            status="flagged" if result.flags & quality.SERIOUS else "ok",
            message="; ".join((*remarks, *seen.notes)),
            model=f"{self.model.name} {self.model.sha256[:8]}",
            **values,
        )


@lru_cache(maxsize=2)
def predictor(model: str | Path = "default") -> Predictor:
    """Return a :class:`Predictor`, made once per model."""
    return Predictor(model)


def predict_rows(
    sources: Iterable[Source],
    *,
    model: str | Path | None = None,
    blaze_dir: str | Path | None = None,
    given: Given = NOTHING,
) -> Iterator[Row]:
    """Measure spectra in small batches; a bad one becomes a row with a reason.

    Parameters
    ----------
    sources : iterable of path, Spectrum or SpectrumCollection
        One row each, in order.
    model : str or Path, optional
        Packaged model or weights file; ``"default"`` if not given.
    blaze_dir : path, optional
        Folder with blaze files.
    given : Given, optional
        What the user says of files that do not say it.

    Yields
    ------
    Row

    Raises
    ------
    ModelError
        Before the first row, when the model cannot be used.
    """
    ready = predictor(model or "default")
    for batch in _batched(sources):
        yield from ready.rows(batch, blaze_dir=blaze_dir, given=given)


def _batched(sources: Iterable[Source]) -> Iterator[list[Source]]:
    iterator = iter(sources)
    while batch := list(islice(iterator, BATCH)):
        yield batch

"""harpsstar: ``predict`` (network, then least squares) and ``fit`` (the likelihood)."""

from __future__ import annotations

import numpy as np
import torch
from astropy import units as u
from astropy.nddata import StdDevUncertainty
from specutils import SpectrumCollection

from benchmarks.peers.task import Answer, Method, Task, World
from harpsstar.infer.estimate import Estimator
from harpsstar.infer.fit.engine import Fitter
from harpsstar.infer.fit.options import Options
from harpsstar.labels import NAMES
from harpsstar.spectra.frame import canonical_wavelengths

#: Spectra given to ``fit``, a second each.
MOST = 300


class Predict(Method):
    """The packaged model, told that the continuum and the nuisances are known."""

    name = "harpsstar predict"
    what = "the packaged model; continuum, velocity, vmic and vmac known, as for the peers"

    def train(self, world: World) -> None:
        """Load the packaged model; nothing is trained."""
        self._resolution = world.simulator(0).resolution
        self._estimator = Estimator(
            world.model, world.emulator, canonical_wavelengths(), known=True
        )

    def __call__(self, task: Task) -> Answer:
        """Sixty-four spectra at a time."""
        flux = task.flux.unflatten(1, canonical_wavelengths().shape)
        ivar = torch.full((), task.ivar).expand_as(flux)
        answer = self._estimator(flux, ivar, task.guess, self._resolution)
        sigma = answer.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
        return Answer(answer.labels.double().numpy(), sigma.double().numpy())


class Fit(Method):
    """``harpsstar fit`` as a user calls it, only vmic and vmac tied to their relations."""

    name = "harpsstar fit"
    what = (
        "Laplace; finds its own start; the continuum (degree 4) and the velocity are free; the "
        f"first {MOST} spectra"
    )

    def train(self, world: World) -> None:
        """Load the packaged model; nothing is trained."""
        self._fitter = Fitter(Options(tied=frozenset({"vmic", "vmac", "alpha"})))

    def given(self, task: Task) -> Task:
        """The first few hundred."""
        return task[:MOST]

    def __call__(self, task: Task) -> Answer:
        """A spectrum at a time."""
        rows = [self._row(flux.numpy(), task.snr) for flux in task.flux]
        return Answer(
            np.array([[row[name] for name in NAMES] for row in rows]),
            np.array([[row[f"{name}_err_noise"] for name in NAMES] for row in rows]),
        )

    def _row(self, flux: np.ndarray, snr: float) -> dict[str, float]:
        wave = canonical_wavelengths()
        flux = flux.reshape(wave.shape).astype(np.float64)
        unit = u.dimensionless_unscaled
        spectrum = SpectrumCollection(
            flux=flux * unit, spectral_axis=wave * u.AA,
            uncertainty=StdDevUncertainty(np.full_like(flux, 1 / snr), unit=unit),
            mask=np.zeros(flux.shape, dtype=bool), meta={},
        )  # fmt: skip
        row = self._fitter([spectrum]).rows[0]
        return {key: getattr(row, key) for n in NAMES for key in (n, f"{n}_err_noise")}

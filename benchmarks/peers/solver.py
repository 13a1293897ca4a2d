"""PySME's own solver (Wehrhahn et al. 2023) on the decks and the line list of the packaged grid."""

from __future__ import annotations

import contextlib
import importlib
import tempfile
from typing import Any

import numpy as np
import torch

from benchmarks.peers.task import Answer, FloatArray, Method, Task, World, quiet
from harpsstar.grid import atlas9, inputs, synthesis
from harpsstar.labels import LABELS
from harpsstar.model import linelist
from harpsstar.model.relations import vmac_relation, vmic_relation
from harpsstar.spectra.frame import canonical_wavelengths

#: Labels as PySME calls them, in our order.
NAMES = ("teff", "logg", "monh", "vsini")
#: Stars, minutes each.
MOST = 1


class Solver(Method):
    """``pysme.solve`` with an atmosphere interpolated for every trial."""

    name = "PySME's solver"
    what = (
        f"full synthesis at every step, vmic and vmac tied to their relations; the first {MOST} of "
        "the stars of 4500-6500 K with logg above 2.5 and m_h above -1.5"
    )

    def train(self, world: World) -> None:
        """Read atmospheres and lines."""
        root = inputs.root()
        self._grid = world.emulator.grid
        self._decks = atlas9.find_family(root)
        self._lines = linelist.assemble(root)
        self._lines.sort(order="wavelength")
        self._resolution = world.simulator(0).resolution

    def given(self, task: Task) -> Task:
        """Stars with decks all around, so that the solver never leaves them."""
        teff, logg, m_h, _ = task.labels.T
        wanted = (teff > 4500) & (teff < 6500) & (logg > 2.5) & (m_h > -1.5)
        return task[torch.nonzero(wanted).flatten()[:MOST]]

    def __call__(self, task: Task) -> Answer:
        """A star at a time, minutes each; NaN where the solver gives up."""
        found = [
            self._solve(flux.double().numpy(), guess.double().numpy(), task.snr)
            for flux, guess in zip(task.flux, task.guess, strict=True)
        ]
        return Answer(np.array([f[0] for f in found]), np.array([f[1] for f in found]))

    def _solve(
        self, flux: FloatArray, guess: FloatArray, snr: float
    ) -> tuple[FloatArray, FloatArray]:
        solver = importlib.import_module("pysme.solve").SME_Solver()
        deck = min(self._decks, key=lambda d: abs(d.teff - guess[0]) + 500 * abs(d.logg - guess[1]))
        state = synthesis.state_for(deck, linelist.relevant(self._lines, guess[0]), 1.0)
        state.teff, state.logg, state.monh, state.vsini = guess
        state.atmo.method, state.atmo.source = "routine", self._atmosphere
        wave = canonical_wavelengths()
        state.wave, state.spec = list(wave), list(flux.reshape(wave.shape))
        state.uncs = [np.full(len(w), 1 / snr) for w in wave]
        state.ipres, state.iptype = self._resolution, "gauss"
        bounds = np.array([[x.low for x in LABELS], [x.high for x in LABELS]])
        tied = {"vmic": _vmic, "vmac": _vmac}
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), quiet():
            state = solver.solve(state, list(NAMES), bounds=bounds, derived_param=tied)
        fit = state.fitresults
        return np.array(fit.values, dtype=float), np.array(fit.fit_uncertainties, dtype=float)

    def _atmosphere(self, state: Any, atmosphere: Any) -> Any:
        """What PySME calls for every trial: the nearest atmosphere inside the grid."""
        at = torch.tensor([[float(state[name]) for name in NAMES]])
        teff, logg, m_h, _ = self._grid.nearest(at)[0].double().tolist()
        star = atlas9.interpolate(self._decks, teff, logg, m_h)
        new = synthesis.atmosphere_for(synthesis.load_pysme(), star)
        new.method, new.source = "routine", self._atmosphere
        return new


def _vmic(state: Any) -> float:
    at = (torch.tensor(float(x)) for x in (state.teff, state.logg, state.monh))
    return float(vmic_relation(*at))


def _vmac(state: Any) -> float:
    return float(vmac_relation(torch.tensor(float(state.teff)), torch.tensor(float(state.logg))))

"""The Cannon (Ness et al. 2015): every pixel is quadratic in the labels; its own package."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers.task import Answer, FloatArray, Method, Task, World, quiet

N_STARS = 1000
SNR = 200.0


class Cannon(Method):
    """TheCannon 0.7.3 (PyPI ``thecannon``)."""

    name = "The Cannon"
    what = f"TheCannon 0.7.3, quadratic, trained on {N_STARS:,} spectra of SNR {SNR:g}"

    def train(self, world: World) -> None:
        """A regression in every pixel."""
        from TheCannon import dataset, model

        labels, flux = world.noise_free(N_STARS, stream=1)
        noise = np.random.default_rng(1).normal(size=flux.shape) / SNR
        self._labels = labels.double().numpy()
        self._flux = flux.double().numpy() + noise
        self._dataset = dataset.Dataset
        self._model = model.CannonModel(2, useErrors=False)
        with quiet():
            self._model.train(self._with(N_STARS, self._flux[:2], SNR))

    def _with(self, n: int, flux: FloatArray, snr: float) -> Any:
        """Data of the first `n` stars of the training and of a test (each costs time here)."""
        learnt = self._flux[:n]
        data = self._dataset(
            np.arange(flux.shape[1]), np.arange(n), learnt, np.full(learnt.shape, SNR**2),
            self._labels[:n], np.arange(len(flux)), flux, np.full(flux.shape, snr**2),
        )  # fmt: skip
        data.set_label_names(["Teff", "logg", "MH", "vsini"])
        return data

    def __call__(self, task: Task) -> Answer:
        """Its own least squares, from the first guess of each star."""
        labels, sigma = [], []
        scale = np.asarray(self._model.scales)
        guess = (task.guess.double().numpy() - self._model.pivots) / scale
        for flux, start in zip(task.flux.double().numpy(), guess, strict=True):
            with quiet():
                data = self._with(2, flux[None], task.snr)
                error, _ = self._model.infer_labels(data, starting_guess=start)
            labels.append(data.test_label_vals[0])
            sigma.append(error[0] * scale)
        return Answer(np.array(labels), np.array(sigma))

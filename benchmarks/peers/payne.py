"""A Payne (Ting et al. 2019): a small network from labels to flux, and least squares."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor, nn

from benchmarks.peers.learning import one_cycle
from benchmarks.peers.task import Answer, FloatArray, Method, Task, World
from harpsstar.labels import CENTRE, HALF_RANGE
from harpsstar.nn.zoo import scale_labels

N_STARS, HIDDEN, BATCH, STEPS = 8192, 300, 128, 6000
#: Error of the interpolation that the likelihood is told of: from spectra it has not seen.
N_CHECK = 256


class Payne(Method):
    """Two hidden layers of 300, as the public code; scipy's least squares in scaled labels."""

    name = "Payne-like"
    what = (
        f"labels to flux, two layers of {HIDDEN}, {STEPS:,} steps of {BATCH} on {N_STARS:,} "
        "noise-free spectra; least squares"
    )

    def train(self, world: World) -> None:
        """One cycle of the learning rate on the mean absolute difference, as the public code."""
        torch.manual_seed(2)
        labels, flux = world.noise_free(N_STARS, stream=2)
        labels = scale_labels(labels)
        self._net = nn.Sequential(
            nn.Linear(4, HIDDEN), nn.LeakyReLU(), nn.Linear(HIDDEN, HIDDEN), nn.LeakyReLU(),
            nn.Linear(HIDDEN, flux.shape[1]),
        )  # fmt: skip
        self._net[-1].bias.data = flux.mean(0)

        def loss() -> Tensor:
            chosen = torch.randint(len(labels), (BATCH,))
            return (self._net(labels[chosen]) - flux[chosen]).abs().mean()

        one_cycle(self._net, 3e-3, STEPS, loss)
        with torch.no_grad():
            seen, spectra = world.noise_free(N_CHECK, stream=3)
            wrong = self._net(scale_labels(seen)) - spectra
            self._error2 = wrong.square().mean(0).double().numpy()
        linear = [layer for layer in self._net if isinstance(layer, nn.Linear)]
        self._layers = [
            (x.weight.detach().double().numpy(), x.bias.detach().double().numpy()) for x in linear
        ]

    def __call__(self, task: Task) -> Answer:
        """From the first guess of each star; errors from the curvature."""
        weight = 1 / np.sqrt(1 / task.ivar + self._error2)
        labels, sigma = [], []
        guess = scale_labels(task.guess).double().numpy().clip(-1, 1)
        for flux, start in zip(task.flux.double().numpy(), guess, strict=True):
            found = least_squares(
                lambda x, f=flux: (self._spectrum(x)[0] - f) * weight, start,
                jac=lambda x: self._spectrum(x)[1] * weight[:, None], bounds=(-1.001, 1.001),
            )  # fmt: skip
            covariance = np.linalg.inv(found.jac.T @ found.jac)
            labels.append(found.x)
            sigma.append(np.sqrt(np.diag(covariance)))
        return Answer(np.array(labels) * HALF_RANGE + CENTRE, np.array(sigma) * HALF_RANGE)

    def _spectrum(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Flux (P,) and its derivatives (P, 4)."""
        slope = np.eye(4)
        for weight, bias in self._layers[:-1]:
            x, slope = weight @ x + bias, weight @ slope
            leak = np.where(x > 0, 1.0, 0.01)
            x, slope = x * leak, slope * leak[:, None]
        weight, bias = self._layers[-1]
        return weight @ x + bias, weight @ slope

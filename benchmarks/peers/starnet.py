"""StarNet (Fabbro et al. 2018): two convolutions and two dense layers, from flux to labels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.peers.learning import one_cycle
from benchmarks.peers.task import Answer, Method, Task, World
from harpsstar.nn.zoo import scale_labels, unscale_labels

N_STARS, N_CHECK, BATCH, EPOCHS = 24_576, 1024, 64, 3
SNR = (10.0, 300.0)


class StarNet(Method):
    """The network of its paper's Figure 1; noise is drawn anew at every step."""

    name = "StarNet's network"
    what = (
        f"2 convolutions, 2 dense layers; {EPOCHS} epochs of {N_STARS:,} spectra, new noise each "
        "time; errors are the scatter on held-out spectra of the same SNR"
    )

    def train(self, world: World) -> None:
        """Adam on the squared error of scaled labels, one cycle of the learning rate."""
        torch.manual_seed(4)
        self._generator = torch.Generator().manual_seed(4)
        labels, flux = world.noise_free(N_STARS, stream=4)
        self._mean = flux[:1024].mean(0)
        n_pixels = flux.shape[1]
        self._net = nn.Sequential(
            nn.Conv1d(1, 4, 8, padding="same"), nn.ReLU(),
            nn.Conv1d(4, 16, 8, padding="same"), nn.ReLU(), nn.MaxPool1d(4), nn.Flatten(),
            nn.Linear(16 * n_pixels // 4, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(),
            nn.Linear(128, 4),
        )  # fmt: skip

        def loss() -> Tensor:
            chosen = torch.randint(N_STARS, (BATCH,), generator=self._generator)
            share = torch.rand(BATCH, 1, generator=self._generator)
            snr = SNR[0] * (SNR[1] / SNR[0]) ** share
            with torch.autocast("cpu", dtype=torch.bfloat16):
                answer = self._net(self._input(self._noisy(flux[chosen], snr)))
            return (answer.float() - scale_labels(labels[chosen])).square().mean()

        one_cycle(self._net, 7e-4, EPOCHS * N_STARS // BATCH, loss)
        self._check = world.noise_free(N_CHECK, stream=5)

    def __call__(self, task: Task) -> Answer:
        """A forward pass; the scatter of :data:`N_CHECK` held-out spectra as error."""
        labels, flux = self._check
        offset = self._apply(self._noisy(flux, torch.tensor(task.snr))) - labels
        sigma = offset.square().mean(0).sqrt().double().numpy()
        answer = self._apply(task.flux).double().numpy()
        return Answer(answer, np.broadcast_to(sigma, answer.shape).copy())

    def _noisy(self, flux: Tensor, snr: Tensor) -> Tensor:
        return flux + torch.randn(flux.shape, generator=self._generator) / snr

    def _input(self, flux: Tensor) -> Tensor:
        return (flux - self._mean)[:, None]

    @torch.no_grad()
    def _apply(self, flux: Tensor) -> Tensor:
        parts = [self._net(self._input(part)) for part in flux.split(BATCH)]
        return unscale_labels(torch.cat(parts))

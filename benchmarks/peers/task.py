"""The task that every method is given, and how an answer is judged."""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harpsstar.evaluate.accuracy import fresh_seed, recipe_of
from harpsstar.infer.calibrate import FIRST_GUESS
from harpsstar.mock.simulate import Simulator, Stars
from harpsstar.model.emulator import Emulator
from harpsstar.nn.zoo import Model, load
from harpsstar.train.samples import simulator_for

T = TypeVar("T")
FloatArray = npt.NDArray[np.float64]
#: Ranges of teff, logg, m_h and vsini of dwarfs like the Sun.
NARROW = ((5000.0, 6500.0), (3.5, 5.0), (-1.0, 0.5), (0.0, 30.0))
#: Spectra made at a time.
_AT_ONCE = 64


class World:
    """Where spectra come from: white noise, the continuum known, nuisances on their relations.

    It is the easiest task there is, so that every method can take part: none of the peers here
    fits a continuum, a velocity, vmic or vmac.

    Parameters
    ----------
    seed : int
    narrow : bool
        Only stars of :data:`NARROW`, which a quadratic model can hope to describe.
    """

    def __init__(self, seed: int, *, narrow: bool = False) -> None:
        self.narrow = narrow
        self.model: Model = load("default")
        self.emulator = Emulator.load()
        self._seed = seed

    def simulator(self, stream: int) -> Simulator:
        """Stars and noise; each `stream` is another one, and none was seen in a training."""
        recipe = recipe_of(self.model, white=True, nuisances="fixed")
        return simulator_for(recipe, self.emulator, fresh_seed(recipe, self._seed + stream))

    def draw(self, simulator: Simulator, n: int) -> Stars:
        """`n` stars of a stream."""
        if not self.narrow:
            return simulator.draw(n)
        low, high = torch.tensor(NARROW).T
        return simulator.draw_where(n, lambda at: ((at >= low) & (at <= high)).all(1), surplus=8)

    def noise_free(self, n: int, stream: int) -> tuple[Tensor, Tensor]:
        """Labels (n, 4) and normalised spectra (n, 32768), float32."""
        simulator = self.simulator(stream)
        labels, spectra = [], []
        for start in range(0, n, _AT_ONCE):
            stars = self.draw(simulator, min(_AT_ONCE, n - start))
            labels.append(stars.labels)
            spectra.append(simulator.spectra(stars).flatten(1))
        return torch.cat(labels), torch.cat(spectra)


@dataclass(frozen=True)
class Task:
    """Spectra of one SNR.

    Attributes
    ----------
    snr : float
        Per pixel of the continuum.
    labels, guess : Tensor
        (n, 4) the truth, and a first guess as far off as the velocity template of ``predict`` is
        (300 K, 0.4 dex, 0.25 dex, 3 km/s); methods that climb from somewhere start there.
    flux : Tensor
        (n, 32768)
    """

    snr: float
    labels: Tensor
    guess: Tensor
    flux: Tensor

    @property
    def ivar(self) -> float:
        """Of every pixel."""
        return self.snr**2

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> Task:
        return Task(self.snr, self.labels[index], self.guess[index], self.flux[index])


def make_task(labels: Tensor, flux: Tensor, world: World, snr: float) -> Task:
    """Add noise to spectra (n, 32768) of stars (n, 4), the same at every SNR."""
    n = len(labels)
    generator = torch.Generator().manual_seed(int(1000 * snr))
    guess = labels + torch.tensor(FIRST_GUESS) * torch.randn(n, 4, generator=generator)
    flux = flux + torch.randn(flux.shape, generator=generator) / snr
    return Task(snr, labels, world.emulator.grid.nearest(guess), flux)


@dataclass(frozen=True)
class Answer:
    """What a method says: labels (n, 4), claimed errors (n, 4), NaN where it gives none."""

    labels: FloatArray
    sigma: FloatArray


class Method(ABC):
    """A peer, or harpsstar."""

    #: As it is called in the table.
    name: str
    #: What it is and how it was set up, in a sentence.
    what: str

    @abstractmethod
    def train(self, world: World) -> None:
        """Learn what there is to learn; once, for all SNR."""

    def given(self, task: Task) -> Task:
        """What of a task it is given: all of it, but for the slowest."""
        return task

    @abstractmethod
    def __call__(self, task: Task) -> Answer:
        """Measure all spectra of a task."""


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What some work gives, and the processor seconds that it took."""
    begin = time.process_time()
    result = work()
    return result, time.process_time() - begin


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what a peer prints and warns of to itself."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

"""Flags on mixed spectra: how many bad ones are caught, how many good ones are accused.

Spectra go through velocity, canonical frame and inference like files do. Good stars are drawn from
the priors, at least 3 % of a range from where the grid ends: nearer, a flag is right. Stars beyond
the grid are the emulator's outermost polynomials carried on, which is as far as it can go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harpsstar.evaluate.accuracy import fresh_stars, recipe_of
from harpsstar.infer import quality
from harpsstar.infer.predict import Predictor
from harpsstar.infer.prepare import Prepared, prepared_from
from harpsstar.labels import LABELS
from harpsstar.mock.simulate import Simulator, Stars, on_relations, stars_at
from harpsstar.spectra.frame import C_KM_S, Pixels, canonical_wavelengths

#: Kinds of spectra.
KINDS = ("in the grid", "strange", "noise only", "corrupted")
#: What the strange ones are.
STRANGE = ("beyond the grid", "double-lined", "emission")
#: What is done to the corrupted ones.
CORRUPTED = ("reversed", "orders shuffled", "clipped", "zero but for noise", "steps")

_MARGIN = 0.03
_BATCH = 32


@dataclass(frozen=True)
class KindResult:
    """How many of `n` spectra of a kind were flagged or failed, and which flags were raised."""

    kind: str
    n: int
    flagged: int
    flags: dict[str, int]

    @property
    def share(self) -> float:
        """Share that was flagged."""
        return self.flagged / max(self.n, 1)


@dataclass(frozen=True)
class FlagResult:
    """Result of :func:`flags`."""

    model: str
    seed: int
    kinds: tuple[KindResult, ...]


def flags(
    predictor: Predictor,
    *,
    n: int = 2000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> FlagResult:
    """Measure `n` spectra, a quarter of each of :data:`KINDS`, SNR 20 to 300.

    Parameters
    ----------
    predictor : Predictor
    n : int
        Spectra in all.
    seed : int
        Of the spectra.
    progress : callable, optional
        Called with (spectra done, spectra in all).
    """
    _, simulator = fresh_stars(recipe_of(predictor.model), seed, predictor.emulator)
    found: dict[str, list[str]] = {}
    each = n // len(KINDS)
    for kind in KINDS:
        for start in range(0, each, _BATCH):
            size = min(_BATCH, each - start)
            for name, texts in _measured(predictor, simulator, kind, size):
                found.setdefault(name, []).extend(texts)
            if progress is not None:
                progress(sum(map(len, found.values())), n)
    results = tuple(_result(kind, texts) for kind, texts in found.items())
    return FlagResult(predictor.model.sha256[:8], seed, results)


def _result(kind: str, texts: list[str]) -> KindResult:
    names = Counter(name for text in texts for name in text.split(",") if name)
    return KindResult(kind, len(texts), sum(bool(text) for text in texts), dict(names))


def _measured(
    predictor: Predictor, simulator: Simulator, kind: str, n: int
) -> Iterator[tuple[str, list[str]]]:
    """Kind and serious flags of each spectrum; FAILED where there is no row."""
    names, flux, ivar = _spectra(simulator, kind, n)
    rv = (200 * torch.rand(n, generator=simulator.generator) - 100).numpy()
    for name, text in zip(names, _flags_of(predictor, flux, ivar, rv), strict=True):
        yield name, [text]


def _flags_of(
    predictor: Predictor, flux: Tensor, ivar: Tensor, rv: np.ndarray
) -> list[str]:
    items: list[Prepared | None] = []
    for f, w, v in zip(flux.double().numpy(), ivar.double().numpy(), rv, strict=True):
        pixels = Pixels(canonical_wavelengths() * (1 + v / C_KM_S), f, w)
        try:
            items.append(prepared_from(pixels, predictor.bank))
        except Exception:  # noqa: BLE001  a spectrum that is refused counts as found
            items.append(None)
    results = iter(predictor.infer([item for item in items if item is not None]))
    texts = []
    for item in items:
        result = None if item is None else next(results)
        if result is None or isinstance(result, Exception):
            texts.append("FAILED")
        else:
            texts.append(quality.text(result.flags & quality.SERIOUS))
    return texts


def _spectra(simulator: Simulator, kind: str, n: int) -> tuple[list[str], Tensor, Tensor]:
    """Names of kinds, flux and inverse variance (n, 8, 4096) of spectra of a kind."""
    generator = simulator.generator
    snr = 20 * 15 ** torch.rand(n, generator=generator)
    names = [kind] * n
    stars = _interior(simulator, n)
    spectra = simulator.spectra(stars)
    if kind == "strange":
        names = [STRANGE[i % len(STRANGE)] for i in range(n)]
        spectra = torch.stack([
            _strange(simulator, name, spectra[i], stars[i : i + 1])
            for i, name in enumerate(names)
        ])  # fmt: skip
    elif kind == "noise only":
        spectra = torch.ones_like(spectra)
    exposure = simulator.expose(spectra, snr)
    flux = exposure.flux
    if kind == "corrupted":
        names = [CORRUPTED[i % len(CORRUPTED)] for i in range(n)]
        flux = torch.stack([_corrupted(generator, name, f, s) for name, f, s in
                            zip(names, flux, snr, strict=True)])  # fmt: skip
    return names, flux, exposure.ivar


def _interior(simulator: Simulator, n: int) -> Stars:
    kept: list[Tensor] = []
    while sum(map(len, kept)) < n:
        labels = simulator.draw(2 * n).labels
        good = torch.ones(len(labels), dtype=torch.bool)
        for i, label in enumerate(LABELS):
            margin = _MARGIN * (label.high - label.low)
            low = label.low if label.name == "vsini" else label.low + margin
            good &= (labels[:, i] > low) & (labels[:, i] < label.high - margin)
        floor = simulator.emulator.grid.lowest_logg(labels[:, 0])
        good &= labels[:, 1] > floor + _MARGIN * 5.0
        kept.append(labels[good])
    return stars_at(torch.cat(kept)[:n], simulator.priors, simulator.generator)


def _strange(simulator: Simulator, name: str, spectrum: Tensor, star: Stars) -> Tensor:
    generator = simulator.generator
    one, two = torch.rand(2, generator=generator).tolist()
    if name == "emission":
        return 1 + (0.5 + one) * (1 - spectrum)
    if name == "double-lined":
        separation = (40 + 110 * one) * (1 if two < 0.5 else -1)
        other = simulator.spectra(_interior(simulator, 1), torch.tensor([separation]))[0]
        ratio = 0.4 + 0.6 * two
        return (spectrum + ratio * other) / (1 + ratio)
    labels = star.labels.clone()
    if one < 1 / 3:
        labels[0, 0], labels[0, 1] = 3300.0 - 300 * two, 4.8
    elif one < 2 / 3:
        labels[0, 0], labels[0, 1] = 10300.0 + 1500 * two, 4.2
    else:
        labels[0, 2] = -3.0 - 0.7 * two
    return simulator.spectra(on_relations(labels))[0]


def _corrupted(generator: torch.Generator, name: str, flux: Tensor, snr: Tensor) -> Tensor:
    if name == "reversed":
        return flux.flip(-1)
    if name == "orders shuffled":
        return flux.roll(1 + int(torch.randint(7, (1,), generator=generator)), dims=0)
    if name == "clipped":
        return flux.clamp_max(float(flux.quantile(0.3)))
    if name == "steps":
        steps = torch.rand(8, 64, generator=generator).repeat_interleave(64, dim=1)
        return flux * (0.5 + steps)
    return torch.randn(flux.shape, generator=generator) / snr

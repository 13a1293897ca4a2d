"""Which of the files found are to be done, which are left out, and why."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from harpsstar.archive.journal import Journal
from harpsstar.errors import ConfigError
from harpsstar.io.facts import Facts, facts_now
from harpsstar.io.observation import star_key
from harpsstar.io.paths import Found, Stamp, stamp_of

#: Products of one exposure, the best first: two-dimensional before merged, with the pipeline's own
#: errors and quality before those without, without a blaze to be found before those with one.
BEST_FIRST: tuple[str, ...] = ("S2D", "e2ds", "S2D_BLAZE", "S1D", "ADP", "s1d")
#: What the pipeline may have done beside, the best first: nothing; tellurics, of which there are
#: hardly any where harpsstar looks; the sky, which adds its noise; flux calibration.
VARIANTS: tuple[str, ...] = ("_TELL_CORR", "_SKYSUB", "_FLUXCAL")
#: Reading a header is waiting for a disk or a server.
_THREADS = 8
_BLOCK = 256


@dataclass(frozen=True)
class Selection:
    """Which files a user wants.

    Attributes
    ----------
    since : str
        First night, ISO date; empty for all.
    targets : tuple of str
        Names in any spelling, see :func:`harpsstar.io.observation.star_key`; empty for all.
    min_snr : float
        Least signal to noise in the header; a file that does not say is taken.
    keep_all : bool
        Keep every product of an exposure, not only the best.

    Raises
    ------
    ConfigError
        ``since`` is no date.
    """

    since: str = ""
    targets: tuple[str, ...] = ()
    min_snr: float = 0.0
    keep_all: bool = False

    def __post_init__(self) -> None:
        if self.since and not re.fullmatch(r"\d{4}-\d\d-\d\d", self.since):
            raise ConfigError(f"{self.since!r} is not a date", expected="a night as YYYY-MM-DD")

    def refusal(self, facts: Facts) -> str:
        """Why a spectrum with these facts is not wanted; empty when it is."""
        if not facts.product:
            return ""
        if self.since and facts.night < self.since:
            return f"before {self.since}"
        if self.targets and star_key(facts.target) not in map(star_key, self.targets):
            return "another target"
        if math.isfinite(facts.snr) and facts.snr < self.min_snr:
            return f"signal to noise below {self.min_snr:g}"
        return ""


def rank(product: str) -> tuple[int, int]:
    """Place of a product in the order of preference: the smaller, the better.

    >>> sorted(["S1D_SKYSUB", "s1d", "S1D_TELL_CORR", "S2D", "S1D"], key=rank)
    ['S2D', 'S1D', 'S1D_TELL_CORR', 'S1D_SKYSUB', 's1d']
    """
    base, changes = product, 0
    for place, variant in enumerate(VARIANTS):
        if variant in base:
            base, changes = base.replace(variant, ""), changes + 2**place
    return BEST_FIRST.index(base) if base in BEST_FIRST else len(BEST_FIRST), changes


@dataclass(frozen=True)
class Candidate:
    """One file with what its header says.

    ``skip`` is why it is left out, empty if it is not; ``twin`` tells whether that is because a
    better product of the same exposure is taken.
    """

    found: Found
    facts: Facts
    stamp: Stamp | None
    skip: str = ""
    twin: bool = False

    @property
    def key(self) -> str:
        """Name in the journal."""
        return self.found.key


@dataclass(frozen=True)
class Survey:
    """What is to be done with what was found.

    Attributes
    ----------
    chosen : tuple of Candidate
        One row each, in order.
    left_out : tuple of Candidate
        Each with its reason.
    missed : tuple of str
        Targets that were asked for and have no spectrum.
    """

    chosen: tuple[Candidate, ...]
    left_out: tuple[Candidate, ...] = field(default=())
    missed: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is no file to be done: none was chosen, or no name leads to one."""
        return all(item.found.problem is not None for item in self.chosen)

    @property
    def targets(self) -> tuple[str, ...]:
        """The stars of all spectra, sorted."""
        names = (item.facts.target for item in (*self.chosen, *self.left_out))
        return tuple(sorted({name for name in names if name}))

    def reasons(self) -> dict[str, int]:
        """How many were left out for each reason, the most frequent first."""
        return dict(Counter(item.skip for item in self.left_out).most_common())


def survey(
    found: Sequence[Found],
    selection: Selection,
    journal: Journal,
    progress: Callable[[int, int], None] | None = None,
) -> Survey:
    """Look at headers and choose.

    A file that was named itself (not found in a folder) is left out only when ``selection`` says
    so. What was learnt from a header is kept in the journal and asked again when the file changes.

    Parameters
    ----------
    found : sequence of Found
        From :func:`harpsstar.io.paths.find`.
    selection : Selection
    journal : Journal
    progress : callable, optional
        Called with (headers looked at, files in all).
    """
    candidates = []
    for item in _looked_at(found, journal, progress):
        skip = item.facts.skip if not item.found.named else ""
        skip = skip or selection.refusal(item.facts)
        candidates.append(Candidate(item.found, item.facts, item.stamp, skip))
    if not selection.keep_all:
        candidates = _without_twins(candidates)
    there = {star_key(item.facts.target) for item in candidates}
    return Survey(
        tuple(item for item in candidates if not item.skip),
        tuple(item for item in candidates if item.skip),
        tuple(name for name in selection.targets if star_key(name) not in there),
    )


def _looked_at(
    found: Sequence[Found], journal: Journal, progress: Callable[[int, int], None] | None
) -> Iterable[Candidate]:
    with ThreadPoolExecutor(_THREADS) as threads:
        for start in range(0, len(found), _BLOCK):
            block = found[start : start + _BLOCK]
            if progress is not None and start:
                progress(start, len(found))
            stamps = [None if item.problem else stamp_of(item.path) for item in block]
            known = [
                None if stamp is None else journal.facts(item.key, stamp)
                for item, stamp in zip(block, stamps, strict=True)
            ]
            fresh = [i for i, facts in enumerate(known) if facts is None and stamps[i] is not None]
            read = dict(
                zip(fresh, threads.map(facts_now, (block[i].path for i in fresh)), strict=True)
            )
            journal.remember(
                (block[i].key, stamp, facts)
                for i, facts in read.items()
                if (stamp := stamps[i]) is not None and facts is not None
            )
            for i, item in enumerate(block):
                yield Candidate(item, known[i] or read.get(i) or Facts(), stamps[i])


def _without_twins(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Leave out all products of an exposure but the best; files that were named stay.

    The same product twice (a copy, another reduction) stays twice.
    """
    best: dict[object, str] = {}
    for item in candidates:
        exposure, product = item.facts.exposure, item.facts.product
        if item.skip or exposure is None:
            continue
        if exposure not in best or rank(product) < rank(best[exposure]):
            best[exposure] = product
    result = []
    for item in candidates:
        taken = best.get(item.facts.exposure, item.facts.product)
        if not item.skip and not item.found.named and taken != item.facts.product:
            reason = f"another product of an exposure whose {taken} is taken"
            item = replace(item, skip=reason, twin=True)
        result.append(item)
    return result



"""``harpsstar.predict`` and ``harpsstar.fit``: whatever Python has at hand, folders included."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harpsstar.archive.discover import Selection, survey
from harpsstar.archive.journal import Journal
from harpsstar.infer.prepare import Source, one_by_one
from harpsstar.io.blaze import check_blaze_dir
from harpsstar.io.given import Given
from harpsstar.io.paths import find

if TYPE_CHECKING:
    from astropy.table import QTable

    from harpsstar.infer.fit.result import FitResult

__all__ = ["expand", "fit", "predict"]


def expand(sources: Source | Iterable[Source]) -> Iterator[Source]:
    """Each source; the spectra in a folder or behind a pattern, chosen as on the command line.

    Parameters
    ----------
    sources : path, open file, HDUList, Spectrum, SpectrumCollection, or an iterable of them
        A path may be that of a folder, or a pattern.

    Raises
    ------
    TypeError
        Arrays and whatever else is no spectrum.
    """
    for source in one_by_one(sources):
        name = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
        if not name or not _is_many(name):
            yield source
            continue
        with Journal(None) as journal:
            seen = survey(find([name]), Selection(), journal)
        # A folder without spectra is an input that fails, as a name without a file is.
        yield from [item.found.path for item in seen.chosen] or [Path(name)]


def _is_many(name: str) -> bool:
    return os.path.isdir(name) or (glob.has_magic(name) and not os.path.lexists(name))


def predict(
    sources: Source | Iterable[Source],
    *,
    model: str | Path | None = None,
    blaze_dir: str | Path | None = None,
    resolution: float | None = None,
    medium: str = "",
    frame: str = "",
) -> QTable:
    """Measure teff, logg, m_h and vsini of spectra.

    Parameters
    ----------
    sources : path, open file, HDUList, Spectrum, SpectrumCollection, or an iterable of them
        Files, folders and patterns, or spectra as :func:`harpsstar.read` or specutils make them.
        Arrays become spectra by :func:`harpsstar.from_arrays`.
    model : str or Path, optional
        Name of a packaged model, or a weights file; the packaged default without.
    blaze_dir : path, optional
        Folder with blaze files, searched before each file's own folder.
    resolution, medium, frame
        As in :func:`harpsstar.read`, for files that do not say it.

    Returns
    -------
    QTable
        One row per source, in their order: labels with units (K, dex, dex, km/s), errors of the
        same units, and ``covariance`` of shape (4, 4); columns as in
        ``docs/reference/columns.md``. A source that cannot be used has a row with ``status``
        ``"failed"`` and the reason in ``message``; it raises nothing.

    Raises
    ------
    ModelError
        The model cannot be used.
    ConfigError
        An impossible resolving power, medium or frame; a blaze folder that does not exist.
    TypeError
        Arrays, or something that is no spectrum.
    """
    from harpsstar.infer.predict import predict_rows, predictor
    from harpsstar.io.results import provenance, to_table

    given = Given(resolution, medium, frame)
    check_blaze_dir(blaze_dir)
    spectra = list(expand(sources))
    rows = list(predict_rows(spectra, model=model, blaze_dir=blaze_dir, given=given))
    used = predictor(model or "default").model
    return to_table(rows, provenance("harpsstar.predict", used.identity))


def fit(spectra: Source | Iterable[Source], **options: Any) -> FitResult:
    """Fit the labels of one star to the pixels of its spectra.

    Parameters
    ----------
    spectra : path, open file, HDUList, Spectrum, SpectrumCollection, or an iterable of them
        As in :func:`harpsstar.predict`. Several are fitted together: one star, each with a velocity
        and continua of its own.
    **options
        ``fixed``, ``priors``, ``tied``, ``sampler``, ``seed``, ``model``, ``blaze_dir``,
        ``resolution``, ``medium`` and ``frame``: see :func:`harpsstar.infer.fit.engine.fit`.

    Raises
    ------
    ConfigError
        Options that make no sense or contradict each other; before any file is opened.
    HarpsstarError
        What :func:`harpsstar.read` and :func:`harpsstar.predict` raise of a bad spectrum.
    TypeError
        Arrays, or something that is no spectrum.
    """
    from harpsstar.infer.fit.engine import fit

    return fit(expand(spectra), **options)

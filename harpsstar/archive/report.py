"""A page about a run, for a browser: one file that needs nothing else, no network and no script."""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from harpsstar._version import __version__
from harpsstar.archive.engine import call_each
from harpsstar.archive.journal import Journal
from harpsstar.archive.pictures import N_POINTS, draw, height, unpack
from harpsstar.archive.pool import Pool
from harpsstar.archive.summary import Star, summarise
from harpsstar.archive.worker import Input, Settings
from harpsstar.formatting import UNKNOWN, plain, printable, with_error
from harpsstar.io.facts import moment_of, night_of
from harpsstar.io.observation import star_key
from harpsstar.io.results import Row, to_table
from harpsstar.labels import LABELS
from harpsstar.outputs import replacing
from harpsstar.outputs.kinds import CREATOR, PAGE
from harpsstar.spectra.frame import canonical_wavelengths

_log = logging.getLogger(__name__)

#: Most spectra that are drawn: a page with more is slow to open.
MOST_PICTURES = 100
_SHORT = {"teff": "Teff", "logg": "log g", "m_h": "[M/H]", "vsini": "v sin i"}
#: Of the table of targets.
_COLUMNS = 9
_STYLE = """
:root { color-scheme: light; --ok: #1a7f4b; --flagged: #b26b00; --failed: #b3261e; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 76rem; padding: 1.5rem;
  color: #1c1c1c; background: #fff; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .6rem; }
p.note { color: #5a5a5a; margin: .2rem 0; overflow-wrap: anywhere; }
ul.counts { display: flex; flex-wrap: wrap; gap: .8rem; list-style: none; padding: 0; }
ul.counts li { border: 1px solid #d5d5d5; border-radius: .5rem; padding: .5rem 1rem; }
ul.counts b { display: block; font-size: 1.5rem; }
.ok { color: var(--ok); } .flagged { color: var(--flagged); } .failed { color: var(--failed); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #e4e4e4;
  vertical-align: top; }
th { font-weight: 600; background: #f6f6f6; position: sticky; top: 0; }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
td.text { overflow-wrap: anywhere; }
#targets td:not(:first-child):not(.text) { white-space: nowrap; }
tr.star td { background: #f0f4f8; font-weight: 600; }
tr.star td:first-child { font-weight: 700; }
details summary { cursor: pointer; overflow-wrap: anywhere; }
td.orders { text-align: left; padding-top: 0; font-size: .8rem; color: #5a5a5a; }
div.orders { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr));
  gap: .4rem; padding: .4rem 0; }
figure { margin: 0; } figcaption { font-size: .75rem; color: #5a5a5a; }
svg { max-width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: #444; }
.axis { stroke: #999; fill: none; } .grid { stroke: #ececec; }
.flux { stroke: #333; fill: none; stroke-width: 1; }
.model { stroke: #d1360b; fill: none; stroke-width: 1; opacity: .8; }
circle { fill-opacity: .75; } circle.ok { fill: var(--ok); }
circle.flagged { fill: var(--flagged); }
"""


def write_report(
    journal: Journal,
    pool: Pool,
    settings: Settings,
    path: Path,
    *,
    about: Mapping[str, str] | None = None,
    left_out: Mapping[str, int] | None = None,
) -> None:
    """Write a page about the rows of a journal; an existing file is only ever replaced whole.

    Parameters
    ----------
    journal : Journal
        Pictures that are drawn for the page are kept in it.
    pool, settings
        Who draws the spectra.
    path : Path
        The page.
    about : mapping, optional
        What to say at the top: name to text.
    left_out : mapping, optional
        How many files were left out, by reason.

    Raises
    ------
    OutputError
        No permission, or a full disk.
    """
    rows = list(journal.paths_and_rows())
    pictures = _pictures(journal, pool, settings, rows)
    stars = summarise(to_table(row for _, row in rows))
    with replacing(path, PAGE) as temporary, open(temporary, "wb") as file:
        for piece in page(rows, stars, pictures, about or {}, left_out or {}):
            # Names of files need not be UTF-8.
            file.write(piece.encode("utf-8", "backslashreplace"))


def _pictures(
    journal: Journal, pool: Pool, settings: Settings, rows: Sequence[tuple[str, Row]]
) -> dict[str, bytes]:
    """Pictures by path: of flagged spectra first, as those are to be looked at."""
    wanted = [path for path, row in rows if row.status == "flagged"]
    wanted += [path for path, row in rows if row.status == "ok"]
    wanted = wanted[:MOST_PICTURES]
    known = {path: journal.picture(path) for path in wanted}
    missing = [Input(path, path) for path in wanted if known[path] is None]
    for item, picture in call_each(draw, missing, pool, settings):
        if picture is not None:
            journal.add_pictures([(item.key, picture)])
            known[item.key] = picture
    return {path: picture for path, picture in known.items() if picture is not None}


def page(
    rows: Sequence[tuple[str, Row]],
    stars: Sequence[Star],
    pictures: Mapping[str, bytes],
    about: Mapping[str, str],
    left_out: Mapping[str, int],
) -> Iterator[str]:
    """Yield the page, piece by piece.

    Parameters
    ----------
    rows : sequence of (str, Row)
        Path and row of every input.
    stars : sequence of Star
        From :func:`harpsstar.archive.summary.summarise`.
    pictures : mapping
        Path to what :func:`harpsstar.archive.pictures.pack` made.
    about, left_out
        As in :func:`write_report`.
    """
    nights = sorted({night_of(row.bjd) for _, row in rows} - {"unknown"})
    title = "Stellar parameters"
    if nights:
        title += f", {nights[0]}" + (f" to {nights[-1]}" if len(nights) > 1 else "")
    yield '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
    # By this the page is known again as one that may be replaced.
    yield f'<meta name="generator" content="{CREATOR} {__version__}">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f"<title>{escape(title)}</title>\n<style>{_STYLE}</style></head>\n<body>\n"
    yield f"<h1>{escape(title)}</h1>\n"
    for name, text in about.items():
        yield f'<p class="note">{escape(name)}: {escape(text)}</p>\n'
    yield from _counts([row for _, row in rows], left_out)
    yield from _kiel([row for _, row in rows if row.status != "failed"])
    yield from _targets(rows, stars, pictures)
    yield from _failures([row for _, row in rows if row.status == "failed"])
    yield "</body></html>\n"


def _counts(rows: Sequence[Row], left_out: Mapping[str, int]) -> Iterator[str]:
    count = Counter(row.status for row in rows)
    yield f'<ul class="counts"><li><b>{len(rows)}</b>spectra</li>'
    for status in ("ok", "flagged", "failed"):
        yield f'<li class="{status}"><b>{count[status]}</b>{status}</li>'
    yield "</ul>\n"
    flags = Counter(name for row in rows for name in row.flag_text.replace(",", " ").split())
    if flags:
        text = ", ".join(f"{name} {number}" for name, number in flags.most_common())
        yield f'<p class="note">Flags: {escape(text)}</p>\n'
    for reason, number in left_out.items():
        yield f'<p class="note">Left out {number}: {escape(reason)}</p>\n'


class _Axes:
    """A box in which temperature rises to the left and gravity downwards."""

    width, height, left, bottom = 640, 420, 56, 44
    hot, cool, low, high = 10000.0, 3250.0, -0.25, 5.25

    def x(self, teff: float) -> float:
        share = (self.hot - teff) / (self.hot - self.cool)
        return self.left + share * (self.width - self.left - 12)

    def y(self, logg: float) -> float:
        share = (logg - self.low) / (self.high - self.low)
        return 8 + share * (self.height - self.bottom - 8)


def _kiel(rows: Sequence[Row]) -> Iterator[str]:
    """The Kiel diagram, gravity over temperature, hot stars on the left and giants at the top."""
    axes = _Axes()
    yield "<h2>Kiel diagram</h2>\n"
    yield (f'<svg id="kiel" role="img" aria-label="Kiel diagram of {len(rows)} spectra"'
           f' viewBox="0 0 {axes.width} {axes.height}" width="{axes.width}">\n')
    floor = axes.y(axes.high)
    for teff in range(4000, 10001, 1000):
        x = axes.x(teff)
        yield f'<path class="grid" d="M{x:.0f} 8V{floor:.0f}"/>'
        yield f'<text x="{x:.0f}" y="{floor + 16:.0f}" text-anchor="middle">{teff}</text>\n'
    for logg in range(6):
        y = axes.y(logg)
        yield f'<path class="grid" d="M{axes.left} {y:.0f}H{axes.width - 12}"/>'
        yield f'<text x="{axes.left - 8}" y="{y + 4:.0f}" text-anchor="end">{logg}</text>\n'
    yield f'<path class="axis" d="M{axes.left} 8V{floor:.0f}H{axes.width - 12}"/>'
    yield (f'<text x="{(axes.left + axes.width) / 2:.0f}" y="{axes.height - 8}"'
           ' text-anchor="middle">Teff [K]</text>')
    yield '<text x="14" y="200" transform="rotate(-90 14 200)" text-anchor="middle">log g</text>\n'
    for row in rows:
        if math.isfinite(row.teff) and math.isfinite(row.logg):
            name = escape(f"{row.target or row.file}: {row.teff:.0f} K, log g {row.logg:.2f}")
            yield (f'<circle class="{row.status}" cx="{axes.x(row.teff):.1f}"'
                   f' cy="{axes.y(row.logg):.1f}" r="3.5"><title>{name}</title></circle>\n')
    yield "</svg>\n"


def _targets(
    rows: Sequence[tuple[str, Row]], stars: Sequence[Star], pictures: Mapping[str, bytes]
) -> Iterator[str]:
    known = {star_key(star.target): star for star in stars}
    grouped: dict[str, list[tuple[str, Row]]] = defaultdict(list)
    for path, row in rows:
        if row.status != "failed":
            grouped[star_key(row.target)].append((path, row))
    yield "<h2>Targets</h2>\n"
    drawn = f"{len(pictures)} of {len(rows)} spectra are drawn: open their orders."
    yield f'<p class="note">{drawn} Black is the spectrum, red the model.</p>\n'
    heads = [f"{_SHORT[label.name]}{f' [{label.unit}]' if label.unit else ''}" for label in LABELS]
    yield '<table id="targets"><thead><tr><th>star, spectrum</th><th>date</th><th>S/N</th>'
    yield "".join(f"<th>{escape(head)}</th>" for head in heads)
    yield '<th>rv [km/s]</th><th class="text">flags</th></tr></thead>\n<tbody>\n'
    for target in sorted(grouped):
        if target in known:
            yield _guarded(known[target].target, _star_row, known[target])
        for path, row in sorted(grouped[target], key=lambda pair: pair[1].bjd):
            yield _guarded(row.file, _spectrum_row, row)
            if path in pictures:
                yield _guarded(row.file, _orders_row, row, pictures[path])
    yield "</tbody></table>\n"


def _star_row(star: Star) -> str:
    errors = [math.sqrt(star.covariance[i, i]) for i in range(len(LABELS))]
    cells = [with_error(label.name, value, error)
             for label, value, error in zip(LABELS, star.labels, errors, strict=True)]
    epochs = "1 epoch" if star.epochs == 1 else f"{star.epochs} epochs"
    left_out = {"flagged": star.flagged, "copies": star.copies, "outliers": len(star.outliers),
                "without covariance_noise": star.without_noise}
    remarks = [f"{number} {what}" for what, number in left_out.items() if number]
    if not star.alike:
        remarks.append("spectra differ too much for one star")
    if math.isfinite(star.chi2_red):
        remarks.insert(0, f"scatter {math.sqrt(star.chi2_red):.1f} × noise")
    velocity = with_error("rv", star.rv, star.rv_err)
    return (f'<tr class="star"><td>{escape(star.target)}</td><td>{epochs}</td><td></td>'
            + "".join(f"<td>{cell}</td>" for cell in cells)
            + f'<td>{velocity}</td><td class="text">{", ".join(remarks)}</td></tr>\n')


def _spectrum_row(row: Row) -> str:
    cells = [with_error(label.name, getattr(row, label.name), getattr(row, f"{label.name}_err"))
             for label in LABELS]
    name = escape(Path(row.file).name)
    flags = f'<span class="{row.status}">{row.status}</span> {escape(row.flag_text)}'
    return (f"<tr><td>{name}</td><td>{_date(row.bjd)}</td><td>{plain(row.snr, '.0f')}</td>"
            + "".join(f"<td>{cell}</td>" for cell in cells)
            + f'<td>{with_error("rv", row.rv, row.rv_err)}</td>'
            + f'<td class="text">{flags}</td></tr>\n')


def _orders_row(row: Row, picture: bytes) -> str:
    return (f'<tr><td class="orders" colspan="{_COLUMNS}"><details><summary>orders of'
            f' {escape(Path(row.file).name)}</summary><div class="orders">{_orders(picture)}</div>'
            "</details></td></tr>\n")  # fmt: skip


def _guarded(name: str, make: Callable[..., str], *arguments: Any) -> str:
    """Make a row of the page; what goes wrong with it costs no other row."""
    try:
        return make(*arguments)
    except Exception as error:  # noqa: BLE001  the page must not be lost
        _log.warning("%s cannot be shown in the report: %s", printable(name), printable(error))
        return (f'<tr><td class="text" colspan="{_COLUMNS}">{escape(name)}: cannot be shown'
                f" ({escape(str(error))})</td></tr>\n")  # fmt: skip


def _orders(picture: bytes) -> str:
    """All orders of a picture, each a little figure."""
    full = 64
    figures = []
    wave = canonical_wavelengths()
    for number, (flux, model) in enumerate(zip(*unpack(picture), strict=True)):
        paths = "".join(f'<path class="{name}" d="{_line(levels.tolist(), full)}"/>'
                        for name, levels in (("flux", flux), ("model", model)))
        first, last = wave[number, 0], wave[number, -1]
        figures.append(f'<figure><svg viewBox="0 0 {N_POINTS} {full}" role="img"'
                       f' aria-label="flux and model">{paths}</svg>'
                       f"<figcaption>{first:.0f}–{last:.0f} Å</figcaption></figure>")
    return "".join(figures)


def _line(levels: Iterable[int], full: float) -> str:
    """A path through levels, interrupted where nothing is known."""
    pieces = []
    drawing = False
    for x, level in enumerate(levels):
        y = height(level, full)
        if y is not None:
            pieces.append(f"{'L' if drawing else 'M'}{x} {full - y:.0f}")
        drawing = y is not None
    return "".join(pieces)


def _failures(rows: Sequence[Row]) -> Iterator[str]:
    yield "<h2>Failed inputs, with reasons</h2>\n"
    if not rows:
        yield "<p>Nothing.</p>\n"
        return
    reasons: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        reasons[row.message].append(row.file)
    yield '<table id="failures"><thead><tr><th>why</th><th>spectra</th></tr></thead>\n<tbody>\n'
    for reason, files in sorted(reasons.items(), key=lambda pair: -len(pair[1])):
        names = "".join(f"<li>{escape(file)}</li>" for file in files)
        yield (f"<tr><td><details><summary>{escape(reason)}</summary><ul>{names}</ul></details>"
               f'</td><td class="failed">{len(files)}</td></tr>\n')
    yield "</tbody></table>\n"


def _date(bjd: float) -> str:
    """UT date and time, to the minute."""
    moment = moment_of(bjd)
    return UNKNOWN if moment is None else f"{moment:%Y-%m-%d %H:%M}"

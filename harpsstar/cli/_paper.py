"""``harpsstar evaluate table2 …``: the tables and figures of the paper, measured again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harpsstar.cli._files import Reads, Writes
from harpsstar.outputs.kinds import ECSV, PICTURE

if TYPE_CHECKING:
    from harpsstar.paper.judge import Judged

Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="Name, file or folder of models, or all. Can be repeated.",
        show_default="all packaged ones of this kind",
    ),
    Reads(),
]
One = Annotated[str, typer.Option("--model", help="Name or file of the model."), Reads()]
N = Annotated[int, typer.Option("-n", help="Number of test spectra; the paper has 5,667.")]
Seed = Annotated[int, typer.Option(
    help="Random seed of the spectra, which differ from all training spectra."
)]
Output = Annotated[
    list[Path] | None,
    typer.Option(
        "--output",
        "-o",
        help="Also write an .ecsv table or a .png, .pdf or .svg plot. Can be repeated.",
        show_default=False,
    ),
    Writes(ECSV, PICTURE),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def table2(
    model: Models = None,
    n: N = 5667,
    seed: Seed = 0,
    bound_stars: Annotated[int, typer.Option(
        help="Number of stars for which the Cramér-Rao bound is computed."
    )] = 300,
    output: Output = None,
    json: Json = False,
) -> None:
    """Mean absolute errors, compared with Table 2 and with the Cramér-Rao bound."""
    from harpsstar.cli._paper_show import deliver, show_table2
    from harpsstar.cli._progress import Stages
    from harpsstar.paper import export, figures, tables
    from harpsstar.paper.judge import models_of

    with Stages() as progress:
        rows = tables.table2(models_of(model or ["all"]), n=n, seed=seed, n_bound=bound_stars,
                             progress=progress)  # fmt: skip
    deliver(rows, output, json, show_table2, figures.table2_picture, export.rows_table)


def table3(
    model: Models = None, n: N = 5667, seed: Seed = 0, output: Output = None, json: Json = False
) -> None:
    """Shares of spectra within one and two sigma, compared with Table 3."""
    from harpsstar.cli._paper_show import deliver, show_table3
    from harpsstar.cli._progress import Stages
    from harpsstar.paper import export, figures, tables
    from harpsstar.paper.judge import models_of

    with Stages() as progress:
        rows = tables.table3(models_of(model or ["all"]), n=n, seed=seed, progress=progress)
    deliver(rows, output, json, show_table3, figures.table3_picture, export.rows_table)


def table4(
    files: Annotated[
        list[Path], typer.Argument(help="Observed spectra of the Sun.", show_default=False), Reads()
    ],
    model: Models = None,
    blaze_dir: Annotated[
        Path | None, typer.Option(
            help="Folder with the blaze files.", show_default="beside each file"
        ),
        Reads(),
    ] = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Labels of the Sun from the networks alone, compared with Table 4."""
    from harpsstar.cli._paper_show import deliver, show_table4
    from harpsstar.paper import export, figures, sun
    from harpsstar.paper.judge import models_of

    rows = sun.table4(models_of(model or ["all"]), files, blaze_dir=blaze_dir)
    deliver(rows, output, json, show_table4, figures.table4_picture, export.rows_table)


def figure1(
    teff: Annotated[float, typer.Option(help="Effective temperature, K.")] = 5772.0,
    logg: Annotated[float, typer.Option(help="log10 of the surface gravity in cm/s2.")] = 4.44,
    m_h: Annotated[float, typer.Option(help="Metallicity, dex.")] = 0.0,
    vsini: Annotated[float, typer.Option(help="Projected rotation velocity, km/s.")] = 2.0,
    output: Output = None,
    json: Json = False,
) -> None:
    """Plot a synthetic spectrum merged, in orders and as an image."""
    from harpsstar.cli._paper_show import deliver, show_orders
    from harpsstar.paper import export, figures

    found = figures.sample((teff, logg, m_h, vsini))
    deliver(found, output, json, show_orders, figures.figure1, export.sample_table, figures.orders)


def figure3(
    model: One, n: N = 5667, seed: Seed = 0, output: Output = None, json: Json = False
) -> None:
    """Plot the residuals of every label against every label."""
    from harpsstar.paper import figures

    _residuals(model, n, seed, output, json, figures.figure3)


def figure4(
    model: One, n: N = 5667, seed: Seed = 0, output: Output = None, json: Json = False
) -> None:
    """Plot predicted and true errors against the labels."""
    from harpsstar.paper import figures

    _residuals(model, n, seed, output, json, figures.figure4)


def _residuals(
    model: str, n: int, seed: int, output: list[Path] | None, json: bool,
    picture: Callable[[Judged], Any],
) -> None:  # fmt: skip
    from harpsstar.cli._paper_show import deliver, show_bins
    from harpsstar.cli._progress import Stages
    from harpsstar.nn.zoo import load
    from harpsstar.paper import export, figures
    from harpsstar.paper.judge import judge

    with Stages() as progress:
        judged = judge(load(model), n=n, seed=seed, tell=lambda done: progress(model, done, n))
    deliver(judged, output, json, show_bins, picture, export.residuals_table, figures.binned)


def figure5(
    model: One,
    n: Annotated[int, typer.Option("-n", help="Number of exposures to average over.")] = 16,
    seed: Seed = 0,
    output: Output = None,
    json: Json = False,
) -> None:
    """Plot the attention over the spectrum of a solar twin, with its share in the Mg b lines."""
    from harpsstar.cli._paper_show import deliver, show_shares
    from harpsstar.nn.zoo import load
    from harpsstar.paper import attention, export, figures

    found = attention.attention_maps(load(model), n=n, seed=seed)
    deliver(found, output, json, show_shares, figures.figure5, export.attention_table,
            attention.mg_b_share)  # fmt: skip


#: The sub-commands of ``harpsstar evaluate`` that this module adds.
COMMANDS: tuple[Callable[..., None], ...] = (
    table2, table3, table4, figure1, figure3, figure4, figure5,
)  # fmt: skip

"""``harpsstar synth``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True, help="Where spectra come from: inputs, the grid, mock observations."
)

_Teff = Annotated[float, typer.Option(help="Effective temperature, K.", show_default=False)]
_Logg = Annotated[
    float, typer.Option(help="log10 of the surface gravity in cm/s2.", show_default=False)
]
_MH = Annotated[float, typer.Option("--m-h", help="Metallicity, dex.")]
_Vsini = Annotated[float, typer.Option(help="Projected rotation velocity, km/s.")]
_RELATION = "a published relation with teff and logg"
_Vmic = Annotated[
    float | None, typer.Option(help="Microturbulence, km/s.", show_default=_RELATION)
]
_Vmac = Annotated[
    float | None, typer.Option(help="Macroturbulence, km/s.", show_default=_RELATION)
]


@app.command()
def inputs(
    show: Annotated[
        bool, typer.Option("--list", help="Only list what is held, and where it comes from.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Downloads at a time.")] = 8,
) -> None:
    """Fetch the model atmospheres and line lists (54 MB) that a grid is computed from.

    They go to HARPSSTAR_CACHE, if set. Interrupted, the same command goes on where it stopped.
    """
    from harpsstar.cli._progress import Stages
    from harpsstar.cli._show import show_inputs
    from harpsstar.synth.inputs import fetch, held, root

    if not show:
        with Stages() as progress:
            fetch(progress.stage("fetching"), jobs)
    show_inputs(held(), root())


@app.command()
def grid(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The grid to write.")
    ] = Path("grid.safetensors"),
    work: Annotated[
        Path | None,
        typer.Option(help="Folder for finished nodes; the same command resumes from it.",
                     show_default="work-NAME beside the output"),
    ] = None,
    vmic: Annotated[
        list[float] | None,
        typer.Option(min=0.0, help="Microturbulence, km/s; may be given more than once.",
                     show_default="1 and 2"),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes.", show_default="one per core")
    ] = None,
) -> None:
    """Synthesise every node with PySME (about an hour per vmic on two cores) and compress them.

    Interrupted or killed, the same command goes on where it stopped.
    """
    from harpsstar.cli._progress import Stages, work_folder
    from harpsstar.synth.grid import VMIC, compress, compute
    from harpsstar.synth.inputs import root

    folder, speeds = work_folder(output, work), tuple(sorted(set(vmic or VMIC)))
    with Stages() as progress:
        nodes = compute(root(), folder, vmic=speeds, jobs=jobs, progress=progress.stage("nodes"))
        typer.echo("compressing", err=True)
        facts = compress(root(), nodes, output, vmic=speeds)
    typer.echo(f"harpsstar: wrote {output}, residual rms {facts['residual_rms']}", err=True)


@app.command()
def observe(
    teff: _Teff,
    logg: _Logg,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The FITS file to write, or .fits.gz.",
                     show_default=False),
    ],
    m_h: _MH = 0.0,
    vsini: _Vsini = 2.0,
    vmic: _Vmic = None,
    vmac: _Vmac = None,
    rv: Annotated[float, typer.Option(help="Barycentric velocity of the star, km/s.")] = 0.0,
    berv: Annotated[float, typer.Option(help="Velocity of the Earth towards it, km/s.")] = 0.0,
    snr: Annotated[float, typer.Option(help="Per pixel at 5200 Å.")] = 100.0,
    format: Annotated[
        str, typer.Option(help="e2ds, s1d, s2d, s2d_blaze or s1d_table.")
    ] = "e2ds",
    instrument: Annotated[str, typer.Option(help="HARPS-N or HARPS.")] = "HARPS-N",
    seed: Annotated[int, typer.Option(min=0, help="Of the noise.")] = 0,
    target: Annotated[str, typer.Option(help="Name of the star.")] = "MOCK",
    blaze: Annotated[
        bool, typer.Option("--blaze", help="Write the blaze file beside it, too.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file.")] = False,
) -> None:
    """Write a mock observation of a star, as the pipelines would."""
    from harpsstar.synth.observe import NEW_FORMATS, blaze_frame, observe_star, write

    hdus = observe_star(
        teff, logg, m_h, vsini, vmic=vmic, vmac=vmac, rv=rv, berv=berv, snr=snr, format=format,
        instrument=instrument, seed=seed, target=target,
    )
    frame = blaze_frame(instrument, new=format in NEW_FORMATS) if blaze else None
    path = write(hdus, output, overwrite=overwrite, blaze=frame)
    typer.echo(f"harpsstar: wrote {path}", err=True)


@app.command()
def mismatch(
    spectrum: Annotated[
        Path, typer.Argument(help="A spectrum of the Sun with high signal.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The pattern to write.")
    ] = Path("mismatch.safetensors"),
) -> None:
    """Learn from the Sun, at its known labels, which pixels the emulator gets wrong."""
    from harpsstar.infer.mismatch import learn_from_file

    median = learn_from_file(spectrum, output)
    typer.echo(
        f"harpsstar: wrote {output}; the Sun is {median:.2%} of the continuum off at the median",
        err=True,
    )

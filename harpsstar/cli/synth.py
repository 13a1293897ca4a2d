"""``harpsstar synth``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from harpsstar.cli._files import Reads, Writes
from harpsstar.outputs.kinds import ARCHIVE, DATASET, ECSV, MOCK, PICTURE, TENSORS

app = typer.Typer(
    no_args_is_help=True, help="Where spectra come from: inputs, the grid, mock observations."
)

_Teff = Annotated[
    float | None, typer.Option(help="Effective temperature, K.", show_default=False)
]
_Logg = Annotated[
    float | None, typer.Option(help="log10 of the surface gravity in cm/s2.", show_default=False)
]
_MH = Annotated[float, typer.Option("--m-h", help="Metallicity, dex.")]
_Given: TypeAlias = float | None
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
    origin: Annotated[
        Path | None,
        typer.Option("--from", show_default=False,
                     help="Take them from a folder or an archive instead of the network."),
        Reads(),
    ] = None,
    archive: Annotated[
        Path | None,
        typer.Option(help="Put them into one zip archive, too: .zip.", show_default=False),
        Writes(ARCHIVE),
    ] = None,
) -> None:
    """Fetch the model atmospheres and line lists (60 MB) that a grid is computed from.

    They go to HARPSSTAR_CACHE, if set. Interrupted, the same command goes on where it stopped.
    """
    from harpsstar.cli._progress import Stages
    from harpsstar.cli._show import show_inputs
    from harpsstar.grid.inputs import adopt, fetch, held, pack, root

    if not show:
        with Stages() as progress:
            told = progress.stage("fetching")
            _ = fetch(told, jobs) if origin is None else adopt(origin, told)
    if archive is not None:
        typer.echo(f"harpsstar: wrote {archive}, {pack(archive) / 1e6:.0f} MB", err=True)
    show_inputs(held(), root())


@app.command()
def grid(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The grid to write."), Writes(TENSORS)
    ] = Path("grid.safetensors"),
    work: Annotated[
        Path | None,
        typer.Option(help="Folder for finished nodes; the same command resumes from it.",
                     show_default="work-NAME beside the output"),
        Writes(),
    ] = None,
    vmic: Annotated[
        list[float] | None,
        typer.Option(min=0.0, help="Microturbulence, km/s; may be given more than once.",
                     show_default="0.5, 1, 1.5, 2 and 3"),
    ] = None,
    alpha: Annotated[
        list[float] | None,
        typer.Option(help="[alpha/Fe], dex; may be given more than once.",
                     show_default="0, 0.2 and 0.4"),
    ] = None,
    vald: Annotated[
        Path | None,
        typer.Option(help="Your own VALD extract instead of the packaged line list.",
                     show_default=False),
        Reads(),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes.", show_default="one per core")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler that computes the nodes.",
                     show_default=False),
    ] = None,
) -> None:
    """Synthesise every node with PySME: five hours of two cores for the whole grid.

    They are compressed to one file. Interrupted or killed, the same command goes on where it
    stopped.
    """
    from harpsstar.cli._progress import Stages, work_folder
    from harpsstar.grid.build import ALPHA, VMIC, Axes, make
    from harpsstar.grid.inputs import root
    from harpsstar.grid.vald import grid_lines

    axes = Axes(vmic or VMIC, alpha or ALPHA, None if vald is None else grid_lines(vald))
    with Stages() as progress:
        facts = make(root(), work_folder(output, work), output, axes, jobs=jobs,
                     scheduler=scheduler, stage=progress.stage)  # fmt: skip
    typer.echo(f"harpsstar: wrote {output}, residual rms {facts['residual_rms']}", err=True)


@app.command()
def calibrate(
    sun: Annotated[Path, typer.Argument(help="Spectrum of the Sun.", show_default=False), Reads()],
    gap: Annotated[
        Path | None,
        typer.Option(help="A second spectrum of the Sun, for what the first does not cover.",
                     show_default=False),
        Reads(),
    ] = None,
    gap_range: Annotated[
        tuple[float, float], typer.Option(help="Where the second one is used, Å.")
    ] = (5303.5, 5338.0),
    gap_resolution: Annotated[
        float | None,
        typer.Option(help="Resolving power of the second one, if it is text.", show_default=False),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The table of corrections to write."),
        Writes(ECSV),
    ] = Path("solar-lines.ecsv"),
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Calibrate log gf, wavelengths and van der Waals widths of the line list on the Sun."""
    from harpsstar.grid.calibration import calibrate_files

    levels = calibrate_files(
        sun, output, gap=gap, gap_range=gap_range, gap_resolution=gap_resolution, jobs=jobs,
        tell=lambda text: typer.echo(text, err=True),
    )  # fmt: skip
    for name, (before, after) in levels.items():
        typer.echo(f"{name}: median |observed - model| {before:.2%} before, {after:.2%} after")


@app.command()
def observe(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", show_default=False,
                     help="The FITS file to write, or .fits.gz; with --night, a folder."),
        Writes(MOCK, folder_if="night"),
    ],
    teff: _Teff = None,
    logg: _Logg = None,
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
    seed: Annotated[int, typer.Option(min=0, help="Of the noise, or of the night.")] = 0,
    target: Annotated[str, typer.Option(help="Name of the star.")] = "MOCK",
    airmass: Annotated[float, typer.Option(help="Of the telluric lines, 1 to 5.")] = 1.0,
    water: Annotated[
        float, typer.Option(help="Precipitable water of the telluric lines, mm; 0 for none.")
    ] = 0.0,
    cosmics: Annotated[float, typer.Option(help="Cosmic ray hits left per order.")] = 0.0,
    gap: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Air wavelengths between which there is no detector, Å.",
                     show_default=False),
    ] = None,
    companion: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(metavar="TEFF LOGG RV RATIO", show_default=False,
                     help="A second star in the fibre; its light in units of the first one's."),
    ] = None,
    moon: Annotated[
        float, typer.Option(min=0.0, help="Moonlight in units of the star's light.")
    ] = 0.0,
    drift: Annotated[float, typer.Option(help="Of the spectrograph, m/s.")] = 0.0,
    header_rv_error: Annotated[
        float, typer.Option(help="Error of the velocity in the header, km/s.")
    ] = 0.0,
    night: Annotated[
        int | None,
        typer.Option(help="Instead: a whole night with this many exposures of drawn stars.",
                     show_default=False),
    ] = None,
    blaze: Annotated[
        bool, typer.Option("--blaze", help="Write the blaze file beside it, too.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files.")] = False,
) -> None:
    """Write a mock observation of a star, or a whole night, as the pipelines would."""
    from harpsstar.mock import NEW_FORMATS, Effects, blaze_frame, observe_star, write

    if night is not None:
        return _night(night, output, seed, instrument, overwrite)
    if teff is None or logg is None:
        raise typer.BadParameter("--teff and --logg of the star are needed, or --night")
    effects = Effects(airmass, water, cosmics, (gap,) if gap else (), (), drift, header_rv_error)
    hdus = observe_star(
        teff, logg, m_h, vsini, vmic=vmic, vmac=vmac, rv=rv, berv=berv, snr=snr, format=format,
        instrument=instrument, seed=seed, target=target, companion=companion, moon=moon,
        effects=effects,
    )
    frame = blaze_frame(instrument, new=format in NEW_FORMATS) if blaze else None
    path = write(hdus, output, overwrite=overwrite, blaze=frame)
    typer.echo(f"harpsstar: wrote {path}", err=True)


def _night(n: int, folder: Path, seed: int, instrument: str, overwrite: bool) -> None:
    from harpsstar.cli._progress import Stages
    from harpsstar.mock.night import TRUTH, observe_night

    with Stages() as progress:
        night = observe_night(n, folder, seed=seed, instrument=instrument, overwrite=overwrite,
                              progress=progress.stage("exposures"))
    typer.echo(f"harpsstar: wrote {night}; {TRUTH} tells what every file is", err=True)


@app.command()
def dataset(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The HDF5 file to write.", show_default=False),
        Writes(DATASET),
    ],
    preset: Annotated[
        str, typer.Option(help="paper, harpsn, or a TOML file."), Reads()
    ] = "paper",
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="At most about so many spectra, spread over the whole set.",
                     show_default="all"),
    ] = None,
    grid: Annotated[
        Path | None, typer.Option(help="A grid of your own.", show_default="the packaged one"),
        Reads(),
    ] = None,
) -> None:
    """Write a training set; the same preset and grid give the same bytes.

    Interrupted or killed, the same command goes on where it stopped.
    """
    from harpsstar.cli._progress import Stages
    from harpsstar.mock.dataset import make_dataset, read_preset
    from harpsstar.model.emulator import Emulator

    with Stages() as progress:
        facts = make_dataset(
            read_preset(preset), output, emulator=Emulator.load(grid), limit=limit,
            progress=progress.stage("spectra"), announce=_announce,
        )
    typer.echo(f"harpsstar: wrote {output}: {facts.spectra} spectra, {facts.training} to train "
               f"and {facts.test} to test, {facts.double} double", err=True)


def _announce(spectra: int, size: int) -> None:
    typer.echo(f"harpsstar: {spectra} spectra, {size / 1e9:.2f} GB", err=True)


@app.command()
def show(
    dataset: Annotated[
        Path, typer.Argument(help="A data set of `harpsstar synth dataset`.", show_default=False),
        Reads(),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The picture: .png, .pdf or .svg."),
        Writes(PICTURE),
    ] = Path("spectrum.png"),
    row: Annotated[
        int | None,
        typer.Option(help="Which spectrum.", show_default="the one nearest to the Sun"),
    ] = None,
) -> None:
    """Draw a spectrum of a training set: merged, in its orders, and as an image."""
    from harpsstar.mock.dataset.figure import show as draw

    row = draw(dataset, output, row=row)
    typer.echo(f"harpsstar: wrote {output}, spectrum {row} of {dataset}", err=True)


@app.command()
def mismatch(
    spectrum: Annotated[
        Path, typer.Argument(help="A spectrum of the Sun with high signal.", show_default=False),
        Reads(),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The pattern to write."), Writes(TENSORS)
    ] = Path("mismatch.safetensors"),
) -> None:
    """Learn from the Sun, at its known labels, which pixels the emulator gets wrong."""
    from harpsstar.model.mismatch import learn_from_file

    median = learn_from_file(spectrum, output)
    typer.echo(
        f"harpsstar: wrote {output}; the Sun is {median:.2%} of the continuum off at the median",
        err=True,
    )


@app.command()
def lines(
    check: Annotated[
        Path | None,
        typer.Option(metavar="SPECTRUM", help="Where does the model fail? Compare with this.",
                     show_default=False),
        Reads(),
    ] = None,
    teff: _Teff = None,
    logg: _Logg = None,
    m_h: Annotated[_Given, typer.Option("--m-h", help="Metallicity, dex.")] = None,
    vsini: Annotated[_Given, typer.Option(help="Projected rotation velocity, km/s.")] = None,
    vmic: Annotated[_Given, typer.Option(help="Microturbulence, km/s.")] = None,
    vmac: Annotated[_Given, typer.Option(help="Macroturbulence, km/s.")] = None,
    alpha: Annotated[_Given, typer.Option(help="Alpha elements relative to iron, dex.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Table of all places, .ecsv."),
        Writes(ECSV),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Picture of all places, .png, .pdf or .svg."),
        Writes(PICTURE),
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0.5, help="Scatters of the smoothed residual that count.")
    ] = 3.0,
    rows: Annotated[int, typer.Option("-n", min=0, help="Places to print.")] = 25,
    blaze_dir: Annotated[
        Path | None, typer.Option(help="Where blaze files are.", show_default="beside the file"),
        Reads(),
    ] = None,
) -> None:
    """What the line list holds or, with --check, where the model fails and which lines lie there.

    Labels that are not given are those that predict finds.
    """
    from harpsstar.cli._lines import show_check, show_line_summary
    from harpsstar.evaluate.line_tables import check_and_write
    from harpsstar.evaluate.lines import summarise
    from harpsstar.grid.inputs import root

    if check is None:
        return show_line_summary(summarise(root()))
    star = {"teff": teff, "logg": logg, "m_h": m_h, "vsini": vsini, "vmic": vmic, "vmac": vmac,
            "alpha": alpha}  # fmt: skip
    result = check_and_write(
        check, root(), given={name: x for name, x in star.items() if x is not None},
        threshold=threshold, blaze_dir=blaze_dir, output=output, plot=plot,
    )  # fmt: skip
    show_check(result, rows)

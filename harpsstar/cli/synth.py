"""``harpsstar synth``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from harpsstar.cli._files import Reads, Writes
from harpsstar.outputs.kinds import ARCHIVE, DATASET, ECSV, MOCK, PICTURE, TENSORS

app = typer.Typer(
    no_args_is_help=True,
    help="Compute synthetic spectra: model inputs, grid, mock observations, data sets.",
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
        bool, typer.Option("--list", help="Only list the inputs and their sources.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Number of parallel downloads.")] = 8,
    origin: Annotated[
        Path | None,
        typer.Option("--from", show_default=False,
                     help="Folder or archive to copy the inputs from instead of downloading."),
        Reads(),
    ] = None,
    archive: Annotated[
        Path | None,
        typer.Option(help="Also pack the inputs into this .zip archive.", show_default=False),
        Writes(ARCHIVE),
    ] = None,
) -> None:
    """Download the model atmospheres and line lists (60 MB) that a grid is computed from.

    They are stored in the folder HARPSSTAR_CACHE, if that variable is set. After an interruption,
    the same command continues where it stopped.
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
        Path, typer.Option("--output", "-o", help="Grid file to write."), Writes(TENSORS)
    ] = Path("grid.safetensors"),
    work: Annotated[
        Path | None,
        typer.Option(help="Folder for finished nodes; the same command resumes from it.",
                     show_default="work-NAME beside the output"),
        Writes(),
    ] = None,
    vmic: Annotated[
        list[float] | None,
        typer.Option(min=0.0, help="Microturbulence of the grid, km/s. Can be repeated.",
                     show_default="0.5, 1, 1.5, 2 and 3"),
    ] = None,
    alpha: Annotated[
        list[float] | None,
        typer.Option(help="[alpha/Fe] of the grid, dex. Can be repeated.",
                     show_default="0, 0.2 and 0.4"),
    ] = None,
    vald: Annotated[
        Path | None,
        typer.Option(help="VALD extract to use instead of the packaged line list.",
                     show_default=False),
        Reads(),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Number of processes.", show_default="one per core")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler whose workers compute the nodes.",
                     show_default=False),
    ] = None,
) -> None:
    """Compute the spectrum of every grid node with PySME, and compress the grid to one file.

    The whole grid takes five hours on two cores. After an interruption, the same command continues
    where it stopped.
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
        typer.Option(help="Second spectrum of the Sun, for wavelengths that the first lacks.",
                     show_default=False),
        Reads(),
    ] = None,
    gap_range: Annotated[
        tuple[float, float], typer.Option(help="Wavelengths at which the second is used, Å.")
    ] = (5303.5, 5338.0),
    gap_resolution: Annotated[
        float | None,
        typer.Option(
            help="Resolving power of the second, if it is a text file.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Table of corrections to write."),
        Writes(ECSV),
    ] = Path("solar-lines.ecsv"),
    jobs: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 2,
) -> None:
    """Derive solar corrections of log gf, wavelengths and van der Waals widths of the lines."""
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
                     help="FITS file to write (.fits or .fits.gz), or with --night a folder."),
        Writes(MOCK, folder_if="night"),
    ],
    teff: _Teff = None,
    logg: _Logg = None,
    m_h: _MH = 0.0,
    vsini: _Vsini = 2.0,
    vmic: _Vmic = None,
    vmac: _Vmac = None,
    rv: Annotated[float, typer.Option(help="Barycentric velocity of the star, km/s.")] = 0.0,
    berv: Annotated[float, typer.Option(help="Barycentric Earth radial velocity, km/s.")] = 0.0,
    snr: Annotated[float, typer.Option(help="Signal-to-noise ratio per pixel at 5200 Å.")] = 100.0,
    format: Annotated[
        str, typer.Option(help="Product: e2ds, s1d, s2d, s2d_blaze or s1d_table.")
    ] = "e2ds",
    instrument: Annotated[str, typer.Option(help="Spectrograph: HARPS-N or HARPS.")] = "HARPS-N",
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    target: Annotated[str, typer.Option(help="Name of the star.")] = "MOCK",
    airmass: Annotated[float, typer.Option(help="Airmass of the telluric lines, 1 to 5.")] = 1.0,
    water: Annotated[
        float, typer.Option(help="Precipitable water of the telluric lines, mm; 0 for none.")
    ] = 0.0,
    cosmics: Annotated[float, typer.Option(help="Mean number of cosmic-ray hits per order.")] = 0.0,
    gap: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Ends of a detector gap, as wavelengths in air, Å.",
                     show_default=False),
    ] = None,
    companion: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(metavar="TEFF LOGG RV RATIO", show_default=False,
                     help="Second star in the fibre; RATIO is its flux over that of the first."),
    ] = None,
    moon: Annotated[
        float, typer.Option(min=0.0, help="Flux of scattered moonlight over that of the star.")
    ] = 0.0,
    drift: Annotated[float, typer.Option(help="Drift of the spectrograph, m/s.")] = 0.0,
    header_rv_error: Annotated[
        float, typer.Option(help="Error to add to the radial velocity in the header, km/s.")
    ] = 0.0,
    night: Annotated[
        int | None,
        typer.Option(help="Write a whole night with this many exposures of random stars instead.",
                     show_default=False),
    ] = None,
    blaze: Annotated[
        bool, typer.Option("--blaze", help="Also write the blaze file, beside the product.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
) -> None:
    """Write a mock observation of a star, or a whole night, in the layout of the pipelines."""
    from harpsstar.mock import NEW_FORMATS, Effects, blaze_frame, observe_star, write

    if night is not None:
        return _night(night, output, seed, instrument, overwrite)
    if teff is None or logg is None:
        raise typer.BadParameter("give --teff and --logg of the star, or --night")
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
    typer.echo(f"harpsstar: wrote {night}; {TRUTH} lists what every file contains", err=True)


@app.command()
def dataset(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="HDF5 file to write.", show_default=False),
        Writes(DATASET),
    ],
    preset: Annotated[
        str, typer.Option(help="Preset: paper, harpsn or a TOML file."), Reads()
    ] = "paper",
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Approximate number of spectra, spread over the whole set.",
                     show_default="all"),
    ] = None,
    grid: Annotated[
        Path | None, typer.Option(help="Grid file to use.", show_default="the packaged one"),
        Reads(),
    ] = None,
) -> None:
    """Write a training set. The same preset and grid always give the same file.

    After an interruption, the same command continues where it stopped.
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
               f"and {facts.test} to test, {facts.double} duplicate labels", err=True)


def _announce(spectra: int, size: int) -> None:
    typer.echo(f"harpsstar: {spectra} spectra, {size / 1e9:.2f} GB", err=True)


@app.command()
def show(
    dataset: Annotated[
        Path, typer.Argument(
            help="Data set made by `harpsstar synth dataset`.", show_default=False
        ),
        Reads(),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Plot to write: .png, .pdf or .svg."),
        Writes(PICTURE),
    ] = Path("spectrum.png"),
    row: Annotated[
        int | None,
        typer.Option(help="Row of the spectrum.", show_default="the row closest to the Sun"),
    ] = None,
) -> None:
    """Plot a spectrum of a training set: merged, in orders, and as an image."""
    from harpsstar.mock.dataset.figure import show as draw

    row = draw(dataset, output, row=row)
    typer.echo(f"harpsstar: wrote {output}, spectrum {row} of {dataset}", err=True)


@app.command()
def mismatch(
    spectrum: Annotated[
        Path, typer.Argument(
            help="Spectrum of the Sun with a high signal-to-noise ratio.", show_default=False
        ),
        Reads(),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write."), Writes(TENSORS)
    ] = Path("mismatch.safetensors"),
) -> None:
    """Measure the error of the physics: residuals of the Sun from the emulator, at its labels."""
    from harpsstar.model.mismatch import learn_from_file

    median = learn_from_file(spectrum, output)
    typer.echo(
        f"harpsstar: wrote {output}; the median residual of the Sun is {median:.2%} "
        "of the continuum",
        err=True,
    )


@app.command()
def lines(
    check: Annotated[
        Path | None,
        typer.Option(metavar="SPECTRUM", help="Spectrum to compare the model with.",
                     show_default=False),
        Reads(),
    ] = None,
    teff: _Teff = None,
    logg: _Logg = None,
    m_h: Annotated[_Given, typer.Option("--m-h", help="Metallicity, dex.")] = None,
    vsini: Annotated[_Given, typer.Option(help="Projected rotation velocity, km/s.")] = None,
    vmic: Annotated[_Given, typer.Option(help="Microturbulence, km/s.")] = None,
    vmac: Annotated[_Given, typer.Option(help="Macroturbulence, km/s.")] = None,
    alpha: Annotated[_Given, typer.Option(help="[alpha/Fe], dex.")] = None,
    output: Annotated[
        Path | None, typer.Option(
            "--output", "-o", help="Table of all misfit intervals to write: .ecsv."
        ),
        Writes(ECSV),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(
            help="Plot of all misfit intervals to write: .png, .pdf or .svg."
        ),
        Writes(PICTURE),
    ] = None,
    threshold: Annotated[
        float, typer.Option(
            min=0.5, help="Smallest misfit to report, in units of the scatter of the smoothed "
                          "residual."
        )
    ] = 3.0,
    rows: Annotated[int, typer.Option("-n", min=0, help="Number of intervals to print.")] = 25,
    blaze_dir: Annotated[
        Path | None, typer.Option(
            help="Folder with the blaze files.", show_default="beside the file"
        ),
        Reads(),
    ] = None,
) -> None:
    """Summarise the line list or, with --check, list the misfits of the model and their lines.

    Labels that are not given are taken from predict.
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

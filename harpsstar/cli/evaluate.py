"""``harpsstar evaluate``."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from harpsstar.cli._files import Reads, Writes
from harpsstar.cli._paper import COMMANDS
from harpsstar.outputs.kinds import PICTURE, TRIALS

app = typer.Typer(no_args_is_help=True, help="Measure the accuracy of models and of the emulator.")

Model = Annotated[
    str,
    typer.Option(help="Name of a packaged model (see harpsstar models list) or a model file."),
    Reads(),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


class Interpolation(enum.StrEnum):
    """How the emulator goes between nodes."""

    CUBIC = "cubic"
    LINEAR = "linear"


Seed = Annotated[int, typer.Option(
    help="Random seed of the spectra, which differ from all training spectra."
)]


class Situation(enum.StrEnum):
    """What inference knows of the nuisances."""

    FREE = "free"
    FIXED = "fixed"


@app.command()
def accuracy(
    model: Model = "default",
    snr: Annotated[
        str, typer.Option(help="Signal-to-noise ratios per pixel, separated by commas.")
    ] = "20",
    n: Annotated[int, typer.Option("-n", help="Number of new synthetic spectra.")] = 3000,
    seed: Seed = 0,
    batch: Annotated[int, typer.Option(help="Number of spectra processed at a time.")] = 64,
    bound_stars: Annotated[int, typer.Option(
        help="Number of stars for which the Cramér-Rao bound is computed."
    )] = 300,
    teff: Annotated[
        str | None,
        typer.Option(help="Range of temperatures, K, as in 4000:6000.",
                     show_default="the whole grid"),
    ] = None,
    nuisances: Annotated[
        Situation,
        typer.Option(help="free: drawn from their priors and solved for. fixed: on their "
                          "relations and known, as are continuum and velocity."),
    ] = Situation.FREE,
    white: Annotated[bool, typer.Option("--white", help="Use white noise and no masks.")] = False,
    json: Json = False,
) -> None:
    """Errors, coverage and Cramér-Rao bound on new spectra, drawn from the training priors."""
    from harpsstar.cli._evaluate import numbers, show_accuracy, show_json
    from harpsstar.evaluate.accuracy import accuracy as measure
    from harpsstar.nn.zoo import load

    loaded, limits = load(model), None if teff is None else numbers(teff, ":", 2)
    results = [
        measure(loaded, snr=value, n=n, seed=seed, batch=batch, white=white, n_bound=bound_stars,
                nuisances=nuisances.value, teff_range=limits)  # type: ignore[arg-type]
        for value in numbers(snr)
    ]  # fmt: skip
    (show_json if json else show_accuracy)(results)


@app.command()
def calibration(
    model: Model = "default",
    snr: Annotated[
        str, typer.Option(help="Signal-to-noise ratios per pixel, separated by commas.")
    ] = "20,50,100,200",
    n: Annotated[int, typer.Option("-n", help="Number of spectra in each bin.")] = 1000,
    seed: Seed = 1,
    picture: Annotated[
        Path | None, typer.Option(help="Plot to write: .png, .pdf or .svg."), Writes(PICTURE)
    ] = None,
    json: Json = False,
) -> None:
    """Coverage, PIT, ENCE and sharpness of the error bars, by SNR and temperature."""
    from harpsstar.cli._evaluate import numbers, show_calibration, show_json
    from harpsstar.evaluate.calibration import calibration as measure
    from harpsstar.evaluate.calibration import draw
    from harpsstar.nn.zoo import load
    from harpsstar.plotting import check_picture

    if picture is not None:
        check_picture(picture)
    result = measure(load(model), snr=numbers(snr), n=n, seed=seed)
    (show_json if json else show_calibration)(result)
    if picture is not None:
        draw(result, picture)


@app.command()
def robustness(
    model: Model = "default",
    snr: Annotated[float, typer.Option(help="Signal-to-noise ratio per pixel.")] = 100.0,
    n: Annotated[int, typer.Option("-n", help="Number of spectra.")] = 500,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Bias, in sigma, for spectra with defects that the training spectra do not have."""
    from harpsstar.cli._evaluate import show_json, show_robustness
    from harpsstar.evaluate.robustness import robustness as measure
    from harpsstar.nn.zoo import load

    result = measure(load(model), snr=snr, n=n, seed=seed)
    (show_json if json else show_robustness)(result)


@app.command()
def flags(
    model: Model = "default",
    n: Annotated[int, typer.Option("-n", help="Total number of spectra.")] = 2000,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Shares of good, unusual, empty and damaged spectra that are flagged."""
    from harpsstar.cli._evaluate import show_flags, show_json
    from harpsstar.evaluate.flags import flags as measure
    from harpsstar.infer.predict import predictor

    result = measure(predictor(model), n=n, seed=seed)
    (show_json if json else show_flags)(result)


@app.command()
def card(model: Model = "default") -> None:
    """Print the model card as a page: purpose, training and accuracy of a model."""
    from harpsstar.evaluate.card import page
    from harpsstar.nn.zoo import read_card

    typer.echo(page(read_card(model)))


@app.command()
def stars(
    files: Annotated[
        list[Path], typer.Argument(help="Spectra of stars with known labels.",
                                   show_default=False), Reads(),
    ],
    model: Model = "default",
    blaze_dir: Annotated[
        Path | None, typer.Option(
            help="Folder with the blaze files.", show_default="beside each file"
        ),
        Reads(),
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(help="TOML file with reference labels.", show_default="the packaged one"),
        Reads(),
    ] = None,
    json: Json = False,
) -> None:
    """Compare labels of real spectra with the literature: differences and pulls."""
    from harpsstar.cli._evaluate import show_json, show_stars
    from harpsstar.evaluate.stars import evaluate_stars

    results = evaluate_stars(files, model=model, blaze_dir=blaze_dir, references=references)
    (show_json if json else show_stars)(results)


@app.command()
def emulator(
    interpolation: Annotated[
        Interpolation, typer.Option(help="Interpolation between nodes.")
    ] = Interpolation.CUBIC,
    grid: Annotated[
        Path | None,
        typer.Option(help="Grid file to use.", show_default="the packaged one"),
        Reads(),
    ] = None,
    synthesis: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Compare with PySME at N random stars between the "
                     "nodes; each takes about five seconds."),
    ] = 0,
    p02: Annotated[
        int,
        typer.Option("--p02", min=0, metavar="N", help="Compare with PySME at N model atmospheres "
                     "of [M/H] +0.2, which the grid does not contain."),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Random seed of the stars.")] = 0,
    json: Json = False,
) -> None:
    """Errors of compression and interpolation, as bias of labels: median and 90th percentile.

    The errors at left-out nodes need only the grid. --synthesis and --p02 also need the inputs of
    the grid (harpsstar synth inputs) and the extra synth.
    """
    from harpsstar.cli._evaluate import show_emulator, show_json
    from harpsstar.cli._progress import Stages
    from harpsstar.evaluate.emulator import emulator_accuracy
    from harpsstar.evaluate.synthesis import with_syntheses
    from harpsstar.grid.inputs import root
    from harpsstar.model.emulator import Emulator

    found = Emulator.load(grid, interpolation=interpolation)
    with Stages() as progress:
        result = with_syntheses(emulator_accuracy(found, seed=seed), found, root(),
                                off_node=synthesis, plane=p02, seed=seed, progress=progress.stage)
    (show_json if json else show_emulator)(result)


@app.command()
def fit(
    model: Model = "default",
    snr: Annotated[float, typer.Option(help="Signal-to-noise ratio per pixel.")] = 100.0,
    n: Annotated[int, typer.Option("-n", "--n", help="Number of synthetic stars.")] = 300,
    sbc: Annotated[
        int | None,
        typer.Option(help="Number of stars for simulation-based calibration with the sampler,"
                          " and for its comparison with Laplace.", show_default="none, no sampler"),
    ] = None,
    teff: Annotated[
        tuple[float, float], typer.Option(help="Range of temperatures of the stars, K.")
    ] = (4000.0, 7000.0),
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    journal: Annotated[
        Path | None,
        typer.Option(help="File of finished stars, from which the same command continues.",
                     show_default="none"),
        Writes(TRIALS),
    ] = None,
    ranks: Annotated[
        Path | None,
        typer.Option(
            help="Plot of the ranks (with --sbc) to write: .png, .pdf or .svg.", show_default=False
        ),
        Writes(PICTURE),
    ] = None,
    json: Json = False,
) -> None:
    """Errors and coverage of harpsstar fit, compared with the Cramér-Rao bound."""
    from harpsstar.cli._evaluate import show_json
    from harpsstar.cli._fit import show_quality
    from harpsstar.cli._progress import Stages
    from harpsstar.evaluate.posterior import draw_ranks, fit_quality

    with Stages() as progress:
        result = fit_quality(
            snr=snr, n=sbc or n, seed=seed, sampler="emcee" if sbc else "laplace", teff_range=teff,
            model=model, journal=journal, progress=progress.stage("stars"),
        )  # fmt: skip
    if ranks is not None:
        draw_ranks(result, ranks)
    (show_json if json else show_quality)(result)


@app.command()
def epochs(
    model: Model = "default",
    n: Annotated[int, typer.Option("-n", help="Number of synthetic stars.")] = 200,
    each: Annotated[int, typer.Option("--epochs", help="Number of exposures of each star.")] = 8,
    snr: Annotated[
        str, typer.Option(help="Range of signal-to-noise ratios per pixel.")
    ] = "40:200",
    teff: Annotated[str, typer.Option(help="Range of temperatures of the stars, K.")] = "4000:9000",
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(help="Plot to write: .png, .pdf or .svg."), Writes(PICTURE)
    ] = None,
    json: Json = False,
) -> None:
    """Test whether combined epochs of a star have the errors and the scatter that are expected."""
    from harpsstar.cli._evaluate import numbers, show_epochs, show_json
    from harpsstar.cli._progress import Stages
    from harpsstar.evaluate.epochs import draw, epoch_quality
    from harpsstar.plotting import check_picture

    (low, high), (cold, hot) = numbers(snr, ":", 2), numbers(teff, ":", 2)
    if plot is not None:
        check_picture(plot)
    with Stages() as progress:
        result = epoch_quality(n=n, epochs=each, seed=seed, model=model, snr=(low, high),
                               teff_range=(cold, hot), progress=progress.stage("stars"))
    (show_json if json else show_epochs)(result)
    if plot is not None:
        draw(result, plot)


for _command in COMMANDS:
    app.command()(_command)

"""``harpsstar evaluate``."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="How good models and the emulator are.")

Model = Annotated[str, typer.Option(help="Name (see harpsstar models list) or file of the model.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


class Interpolation(enum.StrEnum):
    """How the emulator goes between nodes."""

    CUBIC = "cubic"
    LINEAR = "linear"


@app.command()
def accuracy(
    model: Model = "default",
    snr: Annotated[float, typer.Option(help="Signal-to-noise ratio per pixel.")] = 20.0,
    n: Annotated[int, typer.Option("-n", help="Fresh synthetic spectra.")] = 3000,
    seed: Annotated[int, typer.Option(help="Of the spectra; no training has seen them.")] = 0,
    batch: Annotated[int, typer.Option(help="Spectra at a time.")] = 64,
    bound_stars: Annotated[int, typer.Option(help="Of how many to compute the bound.")] = 300,
    teff: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Only stars of these temperatures, K.", show_default="the whole grid"),
    ] = None,
    white: Annotated[bool, typer.Option("--white", help="White noise and no masks.")] = False,
    json: Json = False,
) -> None:
    """Errors, coverage and the bound on fresh spectra drawn from the priors of the training."""
    from harpsstar.cli._evaluate import show_accuracy, show_json
    from harpsstar.evaluate.accuracy import accuracy as measure
    from harpsstar.nn.zoo import load

    result = measure(load(model), snr=snr, n=n, seed=seed, batch=batch, teff_range=teff,
                     white=white, n_bound=bound_stars)  # fmt: skip
    (show_json if json else show_accuracy)(result)


@app.command()
def stars(
    files: Annotated[
        list[Path], typer.Argument(help="Spectra of stars whose labels are known.",
                                   show_default=False)
    ],
    model: Model = "default",
    blaze_dir: Annotated[
        Path | None, typer.Option(help="Where blaze files are.", show_default="beside each file")
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(help="TOML file of reference labels.", show_default="the packaged one"),
    ] = None,
    json: Json = False,
) -> None:
    """Differences from the literature, and pulls, of real spectra."""
    from harpsstar.cli._evaluate import show_json, show_stars
    from harpsstar.evaluate.stars import evaluate_stars

    results = evaluate_stars(files, model=model, blaze_dir=blaze_dir, references=references)
    (show_json if json else show_stars)(results)


@app.command()
def emulator(
    interpolation: Annotated[
        Interpolation, typer.Option(help="Between nodes.")
    ] = Interpolation.CUBIC,
    grid: Annotated[
        Path | None, typer.Option(help="Compressed grid.", show_default="the packaged one")
    ] = None,
    json: Json = False,
) -> None:
    """Compression residual, and interpolation error at left-out nodes as label bias."""
    from harpsstar.cli._evaluate import show_emulator, show_json
    from harpsstar.evaluate.emulator import emulator_accuracy
    from harpsstar.synth.emulator import Emulator

    result = emulator_accuracy(Emulator.load(grid, interpolation=interpolation))
    (show_json if json else show_emulator)(result)

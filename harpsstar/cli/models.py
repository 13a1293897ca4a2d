"""``harpsstar models``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harpsstar.cli._files import Reads, Writes
from harpsstar.outputs.kinds import TENSORS

app = typer.Typer(
    no_args_is_help=True, help="List the packaged models, show their cards, calibrate their error "
                               "bars."
)


@app.command(name="list")
def list_models() -> None:
    """List the models that come with harpsstar."""
    from harpsstar.cli._show import show_models
    from harpsstar.nn.zoo import packaged, read_card

    show_models({name: read_card(name) for name in packaged()})


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="Name or file of the model."), Reads()] = "default",
    full: Annotated[
        bool, typer.Option("--full", help="Show long lists in full.")
    ] = False,
) -> None:
    """Show the card of a model as JSON: labels, training, accuracy."""
    from harpsstar.cli._show import show_card
    from harpsstar.nn.zoo import read_card

    show_card(read_card(model), full=full)


@app.command()
def calibrate(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The model to write, a .safetensors file.",
                     show_default=False),
        Writes(TENSORS),
    ],
    model: Annotated[str, typer.Argument(help="Name or file of the model."), Reads()] = "default",
    snr: Annotated[
        str, typer.Option(
            help="Signal-to-noise ratios per pixel, increasing and separated by commas."
        )
    ] = "7,20,50,100,200,400,1000",
    spectra: Annotated[
        int, typer.Option(
            "-n", min=100, help="Number of test spectra at each signal-to-noise ratio."
        )
    ] = 5000,
) -> None:
    """Calibrate the error bars of a model on new synthetic spectra, with its weights unchanged."""
    from harpsstar.cli._evaluate import numbers
    from harpsstar.cli._progress import Stages
    from harpsstar.train.recalibrate import recalibrate
    from harpsstar.train.recipes import CalibrationOptions

    with Stages() as progress:
        new = recalibrate(model, output, CalibrationOptions(numbers(snr), spectra),
                          progress=progress)  # fmt: skip
    typer.echo(f"harpsstar: wrote {output}, SHA-256 {new.sha256}", err=True)

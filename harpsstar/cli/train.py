"""``harpsstar train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harpsstar.cli._files import Reads, Writes
from harpsstar.outputs.kinds import TENSORS


def train(
    recipe: Annotated[
        str,
        typer.Argument(help="A TOML file, or the name of a packaged recipe (default).",
                       show_default=False),
        Reads(),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The model to write, a .safetensors file.",
                     show_default=False),
        Writes(TENSORS),
    ],
    work: Annotated[
        Path | None,
        typer.Option(help="Folder for checkpoints; the same recipe resumes from it.",
                     show_default="work-NAME beside the output"),
        Writes(),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe, in "
                     "TOML: --set optimiser.epochs=10. Can be repeated.",
                     show_default=False),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Device: auto, cpu or cuda. auto uses a GPU if there is one.")
    ] = "auto",
    finish: Annotated[
        bool,
        typer.Option("--finish", help="Stop an interrupted training here: calibrate the error "
                     "bars of the best weights so far and write the model."),
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Number of CPU threads.", show_default="all cores"),
    ] = None,
) -> None:
    """Train a network on synthetic spectra, following a recipe.

    After an interruption, the same command continues where it stopped. To use several GPUs:
    torchrun --nproc-per-node N -m harpsstar.cli train …
    """
    from harpsstar.cli._progress import Stages, work_folder
    from harpsstar.train import world
    from harpsstar.train.recipes import read_recipe
    from harpsstar.train.run import train as train_network

    plan = read_recipe(recipe, tuple(change or ()))
    folder = work_folder(output, work)
    with Stages() as progress, world.enter(device, threads) as here:
        model = train_network(plan, output, folder=folder, progress=progress, world=here,
                              finish=finish)  # fmt: skip
    if model.sha256:
        typer.echo(f"harpsstar: wrote {output}, SHA-256 {model.sha256}", err=True)

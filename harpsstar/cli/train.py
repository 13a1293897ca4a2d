"""``harpsstar train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[
        str,
        typer.Argument(help="A TOML file, or the name of a packaged recipe (default).",
                       show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The model to write, a .safetensors file.",
                     show_default=False),
    ],
    work: Annotated[
        Path | None,
        typer.Option(help="Folder for work in progress; the same recipe resumes from it.",
                     show_default="work-NAME beside the output"),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Processor threads.", show_default="all cores"),
    ] = None,
) -> None:
    """Train a network on synthetic spectra, as a recipe says.

    Interrupted or killed, the same command goes on where it stopped.
    """
    from harpsstar.cli._progress import Stages, work_folder

    folder = work_folder(output, work)
    with Stages() as progress:
        import torch

        from harpsstar.train.loop import train as train_network
        from harpsstar.train.recipes import read_recipe

        torch.set_num_threads(threads or torch.get_num_threads())
        model = train_network(read_recipe(recipe), output, folder=folder, progress=progress)
    typer.echo(f"harpsstar: wrote {output}, SHA-256 {model.sha256}", err=True)

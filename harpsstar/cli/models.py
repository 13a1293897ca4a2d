"""``harpsstar models``."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="The models there are, and their cards.")


@app.command(name="list")
def list_models() -> None:
    """List the models that come with harpsstar."""
    from harpsstar.cli._show import show_models
    from harpsstar.nn.zoo import packaged, read_card

    show_models({name: read_card(name) for name in packaged()})


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="Name or file of a model.")] = "default",
) -> None:
    """Show the card of a model as JSON: labels, training, accuracy."""
    import json

    from harpsstar.nn.zoo import read_card

    typer.echo(json.dumps(read_card(model), indent=2, ensure_ascii=False))

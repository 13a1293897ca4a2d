"""The command line: each command parses, calls one library function and prints.

A command is a module of this package; its function is registered here. Modules import nothing at
the top that takes time, so that ``harpsstar --help`` answers at once.
"""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from typing import Annotated, Any

import typer

from harpsstar._version import __version__
from harpsstar.cli import (
    archive,
    evaluate,
    explain,
    fit,
    inspect,
    models,
    predict,
    synth,
    train,
    watch,
)
from harpsstar.cli._files import guard
from harpsstar.cli._help import Group, make_readable
from harpsstar.cli._streams import be_lenient, show_warning
from harpsstar.cli.exit import ExitCode, describe_codes
from harpsstar.errors import HarpsstarError, UnwritableError, unexpected

#: Narrower than this, a table of options has no room for their names.
_NARROW = 70


class _Group(Group):
    """Turn the package's errors and Ctrl-C into a message and an exit code, for every command."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = show_warning
                return super().invoke(ctx)
        except HarpsstarError as error:
            typer.echo(f"harpsstar: {error}", err=True)
            unwritable = isinstance(error, UnwritableError)
            raise typer.Exit(
                ExitCode.NOT_WRITTEN if unwritable else ExitCode.NOTHING_DONE
            ) from error
        except KeyboardInterrupt as error:
            typer.echo("harpsstar: interrupted, nothing was written", err=True)
            raise typer.Exit(ExitCode.INTERRUPTED) from error


app = typer.Typer(
    name="harpsstar",
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if shutil.get_terminal_size().columns >= _NARROW else None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=describe_codes(),
)
app.command()(predict.predict)
app.command()(fit.fit)
app.command()(explain.explain)
app.command()(watch.watch)
app.command()(inspect.inspect)
app.command()(train.train)
app.add_typer(archive.app, name="archive")
app.add_typer(synth.app, name="synth")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(models.app, name="models")
guard(app)
make_readable(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"harpsstar {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True,
                           help="Show the version and exit.")
    ] = False,
) -> None:
    """Stellar parameters with uncertainties from spectra of HARPS-N, HARPS and ESPRESSO."""


def main() -> None:
    """Run the command line; HARPSSTAR_DEBUG=1 shows the traceback of an unexpected error."""
    be_lenient()
    try:
        app(prog_name="harpsstar")
    except Exception as error:
        if os.environ.get("HARPSSTAR_DEBUG"):
            raise
        print(f"harpsstar: {unexpected(error)}\n"
              "This is a bug; HARPSSTAR_DEBUG=1 harpsstar ... shows the traceback.",
              file=sys.stderr)
        sys.exit(ExitCode.UNEXPECTED)

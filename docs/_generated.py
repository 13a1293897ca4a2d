"""Parts of pages that are made from the program, so that they cannot differ from it.

A page asks for one with a line that holds only ``<!-- generated: NAME -->``.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator
from typing import Any

import typer

_MARK = re.compile(r"^<!-- generated: ([a-z ]+) -->$", re.MULTILINE)


def commands() -> str:
    """Return the reference of every command, from the command line itself."""
    from harpsstar.cli import app

    return "\n".join(_command(typer.main.get_command(app), "harpsstar", 2))


def _command(command: Any, name: str, level: int) -> Iterator[str]:
    """Yield the lines of one command and of those below it."""
    context = command.make_context(name, [], resilient_parsing=True)
    anchor = name.replace(" ", "-")
    yield from (f"({anchor})=", f"{'#' * level} `{name}`", "")
    yield from (_escape(inspect.cleandoc(command.help or "")), "")
    usage = " ".join(command.collect_usage_pieces(context))
    yield from ("```text", f"{name} {usage}", "```", "")
    yield from _parameters(command, context)
    for below in getattr(command, "commands", {}).values():
        yield from _command(below, f"{name} {below.name}", min(level + 1, 4))


def _parameters(command: Any, context: Any) -> Iterator[str]:
    records = [parameter.get_help_record(context) for parameter in command.params
               if parameter.name not in ("install_completion", "show_completion")]
    rows = [f"| `{name.replace('  ', ' ')}` | {_escape(text)} |" for name, text in filter(
        None, records)]
    if rows:
        yield from ("| | |", "|---|---|", *rows, "")


def configurations() -> str:
    """Return a table of the keys of each configuration, from its dataclass."""
    from harpsstar.mock import simulate
    from harpsstar.mock.dataset import presets
    from harpsstar.train import recipes

    kinds = {
        "Recipe: `[optimiser]`": recipes.OptimiserOptions,
        "Recipe: `[network]` of a residual network": recipes.ResNetOptions,
        "Recipe: `[network]` of an attention network": recipes.AttentionOptions,
        "Recipe: `[network]` of the projector": recipes.NetworkOptions,
        "Recipe: `[denoiser]`": recipes.DenoiserOptions,
        "Recipe: `[data]` of networks of spectral images": recipes.SpectraOptions,
        "Recipe: `[data]` of the projector": recipes.DataOptions,
        "Recipe: `[priors]`": simulate.Priors,
        "Data set: the file of `harpsstar synth dataset --preset`": presets.Preset,
    }
    lines = []
    for title, kind in kinds.items():
        lines += [f"### {title}", "", "| key | type | default |", "|---|---|---|"]
        hints = typing.get_type_hints(kind)
        lines += [_key(each, hints[each.name]) for each in dataclasses.fields(kind)]
        lines += [""]
    return "\n".join(lines)


def _key(field: dataclasses.Field[Any], hint: Any) -> str:
    default = "required"
    if field.default is not dataclasses.MISSING:
        default = f"`{field.default!r}`"
    elif field.default_factory is not dataclasses.MISSING:
        default = "its own defaults"
    if dataclasses.is_dataclass(hint):
        kind = "table"
    else:
        kind = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
    kind = kind.replace("typing.", "").replace("|", "or")
    return f"| `{field.name}` | `{kind}` | {default} |"


def _escape(text: str) -> str:
    """Keep text from being read as Markdown; an option's dashes stay dashes."""
    return re.sub(r"([\[\]*_|<>~])", r"\\\1", text).replace("--", "\\-\\-")


_PARTS = {"commands": commands, "configurations": configurations}


def fill(text: str) -> str:
    """Return a page with its generated parts."""
    return _MARK.sub(lambda found: _PARTS[found[1]](), text)


def _on_read(app: Any, name: str, content: list[str]) -> None:
    content[0] = fill(content[0])


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", _on_read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

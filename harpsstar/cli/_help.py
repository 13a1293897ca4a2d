"""Help texts as they are meant: paragraphs without line breaks, and brackets that are no markup."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer


def unbroken(text: str) -> str:
    """Return a docstring with each paragraph on one line: the terminal breaks it."""
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


@contextmanager
def _readable(command: Any) -> Iterator[None]:
    """Show the texts of a command, of its parameters and of the commands below it."""
    from rich.markup import escape

    marked = command.rich_markup_mode == "rich"
    texts = [(item, item.help) for item in (command, *command.params, *_below(command))]
    try:
        for item, text in texts:
            if text:
                item.help = escape(unbroken(text)) if marked else unbroken(text)
        yield
    finally:
        for item, text in texts:
            item.help = text


def _below(command: Any) -> list[Any]:
    return list(getattr(command, "commands", {}).values())


class Command(typer.core.TyperCommand):
    """A command with a readable help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        with _readable(self):
            super().format_help(ctx, formatter)


class Group(typer.core.TyperGroup):
    """A group of commands with a readable help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        with _readable(self):
            super().format_help(ctx, formatter)


def make_readable(app: typer.Typer) -> None:
    """Use these classes for all commands and groups of an app that name none of their own."""
    for command in app.registered_commands:
        command.cls = Command
    for group in app.registered_groups:
        if group.typer_instance is not None:
            group.cls = Group
            make_readable(group.typer_instance)

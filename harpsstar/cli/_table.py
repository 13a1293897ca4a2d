"""Tables on standard output, in whatever room there is."""

from __future__ import annotations

import sys

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

#: Wide enough for every column where no terminal sets the width.
_UNLIMITED = 400
#: Narrower than this a folded path cannot be read.
_FOLDED = 16


def console() -> Console:
    """Return standard output, as wide as its terminal, or without an end in a file or a pipe."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _UNLIMITED)


def show_table(table: Table) -> None:
    """Print a table; where it would have to cut words or numbers, a block of lines for each row.

    Only cells whose text says ``overflow="fold"``, paths and hashes, may be cut, and go on below.
    """
    for column in table.columns:
        column.overflow = "fold"
    output = console()
    too_wide = table.show_header and _needed(table) > output.width
    output.print(_blocks(table) if too_wide else table)


def _needed(table: Table) -> int:
    """Return the width below which words are cut."""
    between = 2 if table.box is None else 3
    return 1 + sum(
        between
        + max(_needed_by(cell, whole=column.no_wrap) for cell in (column.header, *column.cells))
        for column in table.columns
    )


def _needed_by(cell: RenderableType, *, whole: bool) -> int:
    text = cell if isinstance(cell, Text) else Text.from_markup(str(cell))
    if whole:
        return cell_len(text.plain)
    longest = max(map(cell_len, text.plain.split()), default=0)
    return min(longest, _FOLDED) if text.overflow == "fold" else longest


def _blocks(table: Table) -> Group:
    """Return every row as lines of a heading and its cell."""
    parts: list[RenderableType] = [table.title] if table.title else []
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        block = Table(show_header=False, show_edge=False)
        block.add_column(style="bold", overflow="fold")
        block.add_column(overflow="fold")
        for column, cell in zip(table.columns, cells, strict=True):
            block.add_row(column.header, cell)
        parts += [block, ""]
    if table.caption:
        parts.append(table.caption)
    return Group(*parts)

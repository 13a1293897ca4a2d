"""What ``harpsstar explain`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from harpsstar.cli._table import show_table
from harpsstar.labels import LABELS

if TYPE_CHECKING:
    from harpsstar.infer.explanation import Explanation


def show_explanation(result: Explanation, n: int) -> None:
    """Show for each label the `n` lines that say most of it."""
    table = Table("label", "line", "share", "pull",
                  caption="share: part of the information about the label;"
                  " pull: shift of the label by the line, in units of its error from noise",
                  caption_justify="left")  # fmt: skip
    for label in LABELS:
        for i, line in enumerate(result.top(label.name, n)):
            cells = ("" if i else label.name, str(line["name"]),
                     f"{line[f'share_{label.name}']:.1%}",
                     f"{line[f'pull_{label.name}']:+.2f} σ")  # fmt: skip
            table.add_row(*map(Text, cells))
        table.add_section()
    show_table(table)

"""Tables lose nothing in a narrow terminal."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harpsstar.cli import _table

words = st.text(st.characters(categories=["L", "Nd"]), min_size=1, max_size=30)


# A Hangul filler is a letter that takes no room, an ideograph one that takes two columns.
@example(rows=[("\u3164" * 30, "a\u3164" * 15, "\u6f22" * 30)], width=20)
@given(
    rows=st.lists(st.tuples(words, words, words), min_size=1, max_size=4),
    width=st.integers(20, 200),
)
def test_no_character_is_lost_at_any_width(rows, width):
    shown = rendered(rows, width)
    assert Counter(letter for row in rows for cell in row for letter in cell) <= Counter(shown)
    assert "…" not in shown
    assert max(map(cell_len, shown.splitlines())) <= width


@pytest.mark.parametrize(("width", "blocks"), [(80, False), (44, True)])
def test_numbers_are_never_broken(width, blocks):
    rows = [("a/very/long/path/to/a/spectrum_e2ds_A.fits", "5772.25±70.75", "4.4375±0.1025")]
    shown = rendered(rows, width)
    assert "5772.25±70.75" in shown
    assert "4.4375±0.1025" in shown
    assert ("first" in shown.splitlines()[0]) == blocks


def rendered(rows, width):
    table = Table("first", "second", "third")
    for path, *cells in rows:
        table.add_row(Text(path, overflow="fold"), *cells)
    with pytest.MonkeyPatch.context() as patch:
        output = Console(width=width, highlight=False, force_terminal=False)
        patch.setattr(_table, "console", lambda: output)
        with output.capture() as capture:
            _table.show_table(table)
    return capture.get()

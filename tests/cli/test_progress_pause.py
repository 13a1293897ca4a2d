"""Time without work is not time of work: ``watch`` waits for hours."""

from __future__ import annotations

import io

from rich.console import Console

from harpsstar.archive.batch import Event
from harpsstar.cli import _progress
from harpsstar.cli._progress import Rows


def test_waiting_is_not_counted(monkeypatch):
    seconds = 0.0
    screen = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(_progress, "Console", lambda **options: screen)
    rows = Rows()
    rows._bar.get_time = lambda: seconds
    for task in rows._bar.tasks:
        task._get_time = rows._bar.get_time
    rows.event(Event("waiting", {}))
    assert not rows._bar.tasks
    rows("predicting", 0, 4)
    (task,) = rows._bar.tasks
    seconds = 2.0
    rows("predicting", 4, 4)
    assert task.elapsed == 2.0
    seconds = 3602.0
    assert task.elapsed == 2.0
    rows("predicting", 4, 6)
    seconds = 3604.0
    rows("predicting", 6, 6)
    assert rows._bar.tasks[0].elapsed == 2.0
    assert _progress._Rate().render(rows._bar.tasks[0]).plain == "1.0/s"

"""``harpsstar watch``: in a process of its own, stopped by a signal, and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

from harpsstar.cli.exit import ExitCode
from harpsstar.io.results import read_table
from tests.cli.signals import hear_interrupts


@contextmanager
def watching(folder, output):
    command = [sys.executable, "-m", "harpsstar.cli", "watch", folder, "-o", output, "--json",
               "--every", "0.2", "--jobs", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               preexec_fn=hear_interrupts)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(process, kind):
    """Read events up to one of this kind."""
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == kind:
            return event
    raise AssertionError(process.stderr.read())


def stop(process, number):
    process.send_signal(number)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == ExitCode.OK, errors
    assert "Traceback" not in errors


def test_files_are_done_as_they_come_and_after_a_restart(star, tmp_path):
    folder, output = tmp_path / "tonight", tmp_path / "t.ecsv"
    folder.mkdir()
    with watching(folder, output) as process:
        time.sleep(0.5)
        os.link(star, folder / "a.fits")
        until(process, "table")
        assert read_table(output)["file"].tolist() == [str(folder / "a.fits")]
        stop(process, signal.SIGTERM)
    (folder / "b.fits").write_text("no spectrum")
    with watching(folder, output) as process:
        assert until(process, "row")["row"]["file"] == str(folder / "b.fits")
        until(process, "table")
        stop(process, signal.SIGINT)
    assert [os.path.basename(name) for name in read_table(output)["file"]] == ["a.fits", "b.fits"]

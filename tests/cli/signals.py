"""What a test needs to interrupt a command in a process of its own."""

from __future__ import annotations

import signal


def hear_interrupts():
    """A shell's background jobs, tests among them, pass on that they ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

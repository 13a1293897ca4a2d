"""``python -m harpsstar``, and what the command ``harpsstar`` runs."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line; Ctrl-C is a sentence even while modules are still being imported."""
    try:
        from harpsstar.cli import main as run
    except KeyboardInterrupt:
        print("harpsstar: interrupted, nothing was written", file=sys.stderr)
        sys.exit(130)
    try:
        run()
    finally:
        # How it went is decided. What is left, taking leave of workers, is not to be interrupted.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()

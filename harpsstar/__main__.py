"""``python -m harpsstar``, and what the command ``harpsstar`` runs."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; Ctrl-C is a sentence even while modules are still being imported."""
    try:
        from harpsstar.cli import main as run
    except KeyboardInterrupt:
        print("harpsstar: interrupted, nothing was written", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()

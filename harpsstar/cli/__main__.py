"""``python -m harpsstar.cli``."""

from harpsstar.cli import main

if __name__ == "__main__":
    main()

"""What holds for every test."""

import os

# Several threads that wait for each other on a busy machine take a hundred times as long as one.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure(config):
    # Not in pyproject.toml: read from there, it would import an installed harpsstar before this
    # tree's is on the path.
    config.addinivalue_line("filterwarnings", "error::harpsstar.errors.HarpsstarWarning")

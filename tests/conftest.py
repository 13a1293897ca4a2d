"""What holds for every test: the same outcome on every machine, in any order, however often."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import HealthCheck, settings

# Several threads that wait for each other on a busy machine take a hundred times as long as one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Who wants several all the same gets those that sleep while they wait.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Help texts and messages are wrapped at the width of a terminal: that of the person who runs the
# tests must not matter, nor what else is set for colours, languages and harpsstar itself.
os.environ |= {"COLUMNS": "80", "LINES": "25", "PYTHONUTF8": "1"}
for _name in ("FORCE_COLOR", "NO_COLOR", "PY_COLORS", "CLICOLOR_FORCE", "GITHUB_ACTIONS",
              "TERMINAL_WIDTH", "HARPSSTAR_DEBUG", "HARPSSTAR_INSTRUMENTS"):  # fmt: skip
    os.environ.pop(_name, None)

# The examples are always the same ones, and how long one takes decides nothing. To search for new
# ones: HYPOTHESIS_PROFILE=random pytest --hypothesis-seed=7.
_COMMON = {
    "deadline": None, "database": None, "print_blob": True,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}  # fmt: skip
settings.register_profile("fixed", derandomize=True, **_COMMON)
settings.register_profile("random", **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


def pytest_addoption(parser):
    parser.addoption("--backwards", action="store_true",
                     help="run the last test first: no test may need another one before it")


def pytest_configure(config):
    # Not in pyproject.toml: read from there, it would import an installed harpsstar before this
    # tree's is on the path.
    config.addinivalue_line("filterwarnings", "error::harpsstar.errors.HarpsstarWarning")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--backwards"):
        items.reverse()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Random numbers that a test does not seed are the same whatever ran before it."""
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)

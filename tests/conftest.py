"""What holds for every test."""


def pytest_configure(config):
    # Not in pyproject.toml: read from there, it would import an installed harpsstar before this
    # tree's is on the path.
    config.addinivalue_line("filterwarnings", "error::harpsstar.errors.HarpsstarWarning")

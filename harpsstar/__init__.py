"""Stellar parameters with trustworthy uncertainties from HARPS-N and HARPS spectra.

::

    import harpsstar as hs

    spectrum = hs.read("HARPN.2016-01-08T02-30-21.236_e2ds_A.fits")
    table = hs.predict([spectrum])

Importing costs next to nothing: every public name is imported when it is first used. The readers
are registered with specutils as soon as both packages are imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harpsstar import _readers
from harpsstar._lazy import importer
from harpsstar._version import __version__
from harpsstar.errors import HarpsstarError, HarpsstarWarning

if TYPE_CHECKING:
    from harpsstar.archive.entrance import fit, predict
    from harpsstar.infer.explain import explain
    from harpsstar.infer.fit.velocity import velocity
    from harpsstar.io import read
    from harpsstar.io.arrays import from_arrays
    from harpsstar.io.results import read_table, to_pandas, write_table
    from harpsstar.model.emulator import Emulator

#: The module of each public name that is imported when it is first used.
_LAZY = {
    "Emulator": "harpsstar.model.emulator",
    "explain": "harpsstar.infer.explain",
    "fit": "harpsstar.archive.entrance",
    "from_arrays": "harpsstar.io.arrays",
    "predict": "harpsstar.archive.entrance",
    "read": "harpsstar.io",
    "read_table": "harpsstar.io.results",
    "to_pandas": "harpsstar.io.results",
    "velocity": "harpsstar.infer.fit.velocity",
    "write_table": "harpsstar.io.results",
}

__all__ = [
    "Emulator",
    "HarpsstarError",
    "HarpsstarWarning",
    "__version__",
    "explain",
    "fit",
    "from_arrays",
    "predict",
    "read",
    "read_table",
    "to_pandas",
    "velocity",
    "write_table",
]


__getattr__ = importer(globals(), _LAZY)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))


_readers.register_with_specutils()

"""Files of a kind that come with the package, named without folder and ending."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from harpsstar.errors import HarpsstarError, HarpsstarWarning

#: What the data set of Hüttel & Clemmensen was called once, and what it is called now.
FORMER, PAPER = "seeds", "paper"


def present_name(name: str) -> str:
    """Return ``paper`` for ``seeds`` and ``paper-…`` for ``seeds-…``, any other name as it is."""
    renamed = name == FORMER or name.startswith(f"{FORMER}-")
    return PAPER + name.removeprefix(FORMER) if renamed else name


def warn_of_former_name(kind: str, former: str) -> None:
    """Tell the user the present name of what was called `former`, as a ``HarpsstarWarning``."""
    warnings.warn(f"the {kind} {former} is now called {present_name(former)}; "
                  f"use the new name", HarpsstarWarning, stacklevel=3)  # fmt: skip


@dataclass(frozen=True)
class Packaged:
    """Where the files of a kind are, and what is said of one that does not exist.

    Attributes
    ----------
    package : str
        That holds the files.
    kind : str
        What one is called: ``"recipe"``.
    form : str
        What a user's own file is: ``"a TOML file"``.
    error : type
        Of :class:`~harpsstar.errors.HarpsstarError`.
    ending, beginning : str
        Of the names of the files.
    """

    package: str
    kind: str
    form: str
    error: type[HarpsstarError]
    ending: str = ".toml"
    beginning: str = ""

    def names(self) -> list[str]:
        """Names of all files, sorted."""
        files = (entry.name for entry in resources.files(self.package).iterdir())
        return sorted(
            name.removeprefix(self.beginning).removesuffix(self.ending)
            for name in files
            if name.startswith(self.beginning) and name.endswith(self.ending)
        )

    def locate(self, name: str | Path, beside: Path = Path()) -> Path:
        """Return the path of a packaged file by its name, or of a user's own, relative to a folder.

        A former name is understood, with a ``HarpsstarWarning``, where no file has it.

        Raises
        ------
        HarpsstarError
            Of the type :attr:`error`: there is neither.
        """
        names = self.names()
        if str(name) in names:
            file = f"{self.beginning}{name}{self.ending}"
            return Path(str(resources.files(self.package).joinpath(file)))
        path = beside / name
        if not path.is_file():
            present = present_name(str(name))
            if present != str(name) and present in names:
                warn_of_former_name(self.kind, str(name))
                return self.locate(present)
            raise self.error(
                f"no such {self.kind}", path=path,
                expected=f"{self.form} or one of the packaged {self.kind}s: {', '.join(names)}",
            )  # fmt: skip
        return path

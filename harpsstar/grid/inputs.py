"""Inputs of the synthesis: model atmospheres and line lists, where they are and where from.

They are not ours to pass on. ``harpsstar/data/registry.txt`` names every file with its SHA-256 (in
pooch's format) and ``sources.toml`` the public repository and commit that it comes from. Code that
needs them takes a ``root: Path``; the command line passes :func:`root`.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from harpsstar.config import from_toml
from harpsstar.errors import InputsMissingError, OutputError
from harpsstar.outputs import replacing
from harpsstar.outputs.kinds import ARCHIVE, CREATOR

#: Environment variable that names a folder with the inputs.
VARIABLE = "HARPSSTAR_CACHE"
#: Where GitHub serves single files: ``<HOST>/<repo>/<commit>/<path>``.
HOST = "https://raw.githubusercontent.com"
_RETRIES = 3


@dataclass(frozen=True)
class Source:
    """A public repository at one commit, as in ``sources.toml``.

    Attributes
    ----------
    folder : str
        Beginning of the names of its files, below :func:`root`.
    repo, commit, path : str
        GitHub ``owner/name``, 40 hexadecimal digits, and the folder in the repository.
    licence, citation : str
        One line each.
    commits : dict of str to str
        Other commits of single files, by their names below ``folder``.
    """

    folder: str
    repo: str
    commit: str
    path: str
    licence: str
    citation: str
    commits: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """``owner/name@commit``; of further commits the first ten digits."""
        others = dict.fromkeys(commit[:10] for commit in self.commits.values())
        return ",".join((f"{self.repo}@{self.commit}", *others))

    def url(self, name: str) -> str:
        """Return the address of the file ``name`` (which begins with ``folder``)."""
        rest = name.removeprefix(self.folder + "/")
        commit = self.commits.get(rest, self.commit)
        return f"{HOST}/{self.repo}/{commit}/{quote(f'{self.path}/{rest}')}"


@dataclass(frozen=True)
class Sources:
    """The tables of ``sources.toml``."""

    source: tuple[Source, ...]


@dataclass(frozen=True)
class Input:
    """A file that the synthesis needs.

    Attributes
    ----------
    name : str
        Path below :func:`root`, with forward slashes.
    sha256, url : str
        Its content, and where it can be had.
    origin, licence, citation : str
        Those of its :class:`Source`.
    """

    name: str
    sha256: str
    url: str
    origin: str = ""
    licence: str = ""
    citation: str = ""


@dataclass(frozen=True)
class Record(Input):
    """An :class:`Input`, and whether it is at hand with the right content."""

    present: bool = False


def root() -> Path:
    """Return the folder of the inputs: HARPSSTAR_CACHE if set, else pooch's cache for harpsstar.

    It need not exist. Its layout is ``atlas9-odfnew/grid<Z>odfnew/…`` and ``lines/<source>/…``.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    import pooch

    return Path(pooch.os_cache("harpsstar"))


def sources() -> tuple[Source, ...]:
    """Return the repositories that inputs come from."""
    return from_toml(Sources, str(resources.files("harpsstar.data") / "sources.toml")).source


def registry() -> tuple[Input, ...]:
    """Return every input that the package knows, sorted by name."""
    known = sources()
    text = resources.files("harpsstar.data").joinpath("registry.txt").read_text("utf-8")
    inputs = []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, sha256 = line.split()
        source = next(item for item in known if name.startswith(item.folder + "/"))
        url = source.url(name)
        inputs.append(Input(name, sha256, url, source.origin, source.licence, source.citation))
    return tuple(inputs)


def held(folder: Path | None = None, inputs: Iterable[Input] | None = None) -> list[Record]:
    """Tell of every input whether it is at hand, by its SHA-256.

    Parameters
    ----------
    folder : Path, optional
        :func:`root` by default.
    inputs : iterable of Input, optional
        :func:`registry` by default.
    """
    folder = root() if folder is None else folder
    return [
        Record(**vars(item), present=_sha256(folder / item.name) == item.sha256)
        for item in (registry() if inputs is None else inputs)
    ]


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def fetch(
    progress: Callable[[int, int], None] | None = None,
    jobs: int = 8,
    *,
    folder: Path | None = None,
    inputs: Iterable[Input] | None = None,
) -> Path:
    """Download the inputs that are missing or differ; write nothing when there are none.

    Every file appears whole, so that an interrupted run goes on where it stopped.

    Parameters
    ----------
    progress : callable, optional
        Called with (files at hand, files in all), first with what is there already.
    jobs : int
        Downloads at a time.
    folder : Path, optional
        :func:`root` by default.
    inputs : iterable of Input, optional
        :func:`registry` by default.

    Returns
    -------
    Path
        The folder, which now holds all inputs.

    Raises
    ------
    InputsMissingError
        A file cannot be downloaded or written, or is not what the registry says.
    """
    folder = root() if folder is None else folder
    records = held(folder, inputs)
    missing = [record for record in records if not record.present]
    counts = itertools.count(len(records) - len(missing))

    def arrived() -> None:
        done = next(counts)
        if progress is not None:
            progress(done, len(records))

    arrived()
    if missing:
        _make_folders(folder, missing)
        _download(folder, missing, jobs, arrived)
    return folder


def adopt(
    source: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    folder: Path | None = None,
    inputs: Iterable[Input] | None = None,
) -> Path:
    """Take the inputs that are missing from another folder or from an archive, not the network.

    Parameters
    ----------
    source : Path
        A folder laid out like :func:`root`, or what :func:`pack` wrote.
    progress, folder, inputs
        As in :func:`fetch`, which says what is returned, too.

    Raises
    ------
    InputsMissingError
        The source does not have them all, or has others under their names. What it has is taken.
    """
    folder = root() if folder is None else folder
    records = held(folder, inputs)
    lacking = []
    with _contents(source) as content_of:
        for done, record in enumerate(records):
            if progress is not None:
                progress(done, len(records))
            if record.present:
                continue
            content = content_of(record.name)
            if hashlib.sha256(content).hexdigest() == record.sha256:
                _write_whole(content, folder / record.name)
            else:
                lacking.append(record)
    if progress is not None:
        progress(len(records) - len(lacking), len(records))
    if lacking:
        raise InputsMissingError(
            f"{len(lacking)} of {len(records)} inputs are not there, or are others", path=source,
            expected=f"{lacking[0].name} with SHA-256 {lacking[0].sha256}, among others",
            hint="run `harpsstar synth inputs` where there is a network, with --archive",
        )  # fmt: skip
    return folder


@contextlib.contextmanager
def _contents(source: Path) -> Iterator[Callable[[str], bytes]]:
    """Give what returns a file of a folder or an archive, empty where there is none."""
    if not source.is_dir() and zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            names = frozenset(archive.namelist())
            yield lambda name: archive.read(name) if name in names else b""
        return

    def read(name: str) -> bytes:
        try:
            return (source / name).read_bytes()
        except OSError:
            return b""

    yield read


def _write_whole(content: bytes, target: Path) -> None:
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise OutputError(
            f"cannot be written ({error.strerror})", hint="check the folder", path=target
        ) from None


def pack(
    output: Path, *, folder: Path | None = None, inputs: Iterable[Input] | None = None
) -> int:
    """Put all inputs into one zip archive, the same bytes every time.

    For another computer, or for a file system that many small files burden.

    Parameters
    ----------
    output : Path
        The archive, replaced whole.
    folder, inputs
        As in :func:`fetch`.

    Returns
    -------
    int
        Bytes of the archive.

    Raises
    ------
    InputsMissingError
        Some are not at hand.
    OutputError
        It cannot be written.
    """
    folder = root() if folder is None else folder
    records = held(folder, inputs)
    missing = [record for record in records if not record.present]
    if missing:
        raise InputsMissingError(
            f"{len(missing)} of {len(records)} inputs are missing", path=folder,
            expected=f"{missing[0].name}, among others", hint="run `harpsstar synth inputs`",
        )  # fmt: skip
    with (
        replacing(output, ARCHIVE) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        archive.comment = f"inputs of {CREATOR}".encode()
        for record in records:
            # without the date of the file, and readable by everybody
            entry = zipfile.ZipInfo(record.name)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, (folder / record.name).read_bytes())
    return output.stat().st_size


def _download(
    folder: Path, missing: list[Record], jobs: int, arrived: Callable[[], None]
) -> None:
    """Download files at the same time; stop at the first that cannot be had."""
    import pooch

    store = pooch.Pooch(
        path=folder,
        base_url="",
        registry={record.name: record.sha256 for record in missing},
        urls={record.name: record.url for record in missing},
        retry_if_failed=_RETRIES,
    )
    log = pooch.get_logger()
    level = log.level
    log.setLevel("WARNING")  # it would tell of every single file
    pool = ThreadPoolExecutor(jobs)
    try:
        flying = {pool.submit(store.fetch, record.name): record for record in missing}
        for future in as_completed(flying):
            error = future.exception()
            if error is not None:
                raise _failure(folder, flying[future], error) from error
            arrived()
    finally:
        pool.shutdown(cancel_futures=True)
        log.setLevel(level)


def _make_folders(folder: Path, missing: list[Record]) -> None:
    # pooch makes them too, but its threads would trip over one another
    for record in missing:
        try:
            (folder / record.name).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _failure(folder, record, error) from error


def _failure(folder: Path, record: Record, error: BaseException) -> InputsMissingError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputsMissingError(
        f"cannot be fetched ({reason})",
        path=folder / record.name,
        expected=f"{record.url} with SHA-256 {record.sha256}",
        hint="run `harpsstar synth inputs` again, it resumes; or set "
        f"{VARIABLE} to a folder that has the files",
    )

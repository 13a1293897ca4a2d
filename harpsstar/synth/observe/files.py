"""Mock products on disk."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path

from astropy.io import fits

from harpsstar.errors import OutputError
from harpsstar.synth.observe.headers import blaze_file_of

__all__ = ["replace", "write"]


def write(
    hdus: fits.HDUList,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    blaze: fits.HDUList | None = None,
) -> Path:
    """Write a mock product, and on request its blaze file beside it under the header's name.

    Parameters
    ----------
    hdus : HDUList
        From :func:`harpsstar.synth.observe.observe`.
    path : path
        File to write; compressed if it ends in ``.gz``.
    overwrite : bool
        Replace an existing file.
    blaze : HDUList, optional
        From :func:`harpsstar.synth.observe.blaze_frame`.

    Raises
    ------
    OutputError
        The file exists, the folder does not, or cannot be written to.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise OutputError("file exists", hint="choose another name or overwrite it", path=path)
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    replace(buffer.getvalue(), path)
    if blaze is not None:
        buffer = io.BytesIO()
        blaze.writeto(buffer)
        replace(buffer.getvalue(), path.with_name(blaze_file_of(hdus[0].header)))
    return path


def replace(content: bytes, path: Path) -> None:
    """Write a file whole or not at all; compressed if its name ends in ``.gz``.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(
            f"cannot be written ({error.strerror})", hint="check the folder", path=path
        ) from None

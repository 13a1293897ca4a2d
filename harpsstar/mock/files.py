"""Mock products on disk."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path

from astropy.io import fits

from harpsstar.mock.headers import blaze_file_of
from harpsstar.outputs import replacing
from harpsstar.outputs.kinds import MOCK

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
        From :func:`harpsstar.mock.observe`.
    path : path
        File to write; compressed if it ends in ``.gz``.
    overwrite : bool
        Replace an existing file.
    blaze : HDUList, optional
        From :func:`harpsstar.mock.blaze_frame`.

    Raises
    ------
    OutputError
        The file exists, the folder does not, or cannot be written to.
    """
    path = Path(path)
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    replace(buffer.getvalue(), path, overwrite=overwrite)
    if blaze is not None:
        buffer = io.BytesIO()
        blaze.writeto(buffer)
        replace(buffer.getvalue(), path.with_name(blaze_file_of(hdus[0].header)))
    return path


def replace(content: bytes, path: Path, *, overwrite: bool | None = None) -> None:
    """Write a file whole or not at all; compressed if its name ends in ``.gz``.

    Raises
    ------
    OutputError
        It cannot be written, or must not be replaced, see :func:`harpsstar.outputs.check_file`.
    """
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    with replacing(path, MOCK, overwrite=overwrite) as temporary:
        temporary.write_bytes(content)

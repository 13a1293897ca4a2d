"""Pictures are written whole, in a known format, or refused before any work."""

from __future__ import annotations

import pytest

from harpsstar import plotting
from harpsstar.errors import OutputError


def figure(width=3.0):
    made = plotting.new_figure(width, 2.0)
    axis = made.subplots()
    plotting.style(axis)
    axis.plot([5160, 5190], [1, 1])
    plotting.name_lines(axis, 5160, 5190)
    return made


@pytest.mark.parametrize("suffix", plotting.FORMATS)
def test_the_same_picture_is_the_same_file(tmp_path, suffix):
    one, two = (plotting.save(figure(), tmp_path / f"{name}{suffix}") for name in "ab")
    assert one.read_bytes() == two.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"a{suffix}", f"b{suffix}"]


@pytest.mark.parametrize(("name", "why"), [
    ("a.gif", "unknown extension"), ("a", "unknown extension"), ("none/a.png", "does not exist"),
    ("folder.png", "is a folder"),
])
def test_what_cannot_be_written_is_refused(tmp_path, name, why):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match=why):
        plotting.check_picture(tmp_path / name)


def test_a_folder_is_made_unless_a_file_is_there(tmp_path):
    assert plotting.picture_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file"):
        plotting.picture_folder(tmp_path / "file")


def test_strong_lines_are_named():
    texts = [text.get_text() for text in figure(10.0).axes[0].texts]
    assert texts == ["Mg b4", "Fe II", "Mg b2", "Mg b1", "Ti II"]


def test_two_files_of_one_name_have_two_pictures():
    stems = plotting.Stems()
    assert [stems.of(name) for name in ("a/x.fits", "b/x.fits.gz", "y.fits")] == ["x", "x.2", "y"]


def test_no_global_state_is_touched():
    import matplotlib

    before = dict(matplotlib.rcParams)
    figure()
    assert dict(matplotlib.rcParams) == before

"""From names to files: in order, once each, whatever the folder looks like."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harpsstar.io.paths import find


@pytest.fixture
def night(tmp_path, monkeypatch):
    """A folder with two spectra, another deeper down, and things that are no FITS files."""
    spectra = ["b.fits", "a.FITS", "deep/er/c.fits.gz"]
    for name in [*spectra, "notes.txt", ".hidden.fits", ".git/d.fits"]:
        path = tmp_path / "night" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "night"


def names(found):
    assert all(item.problem is None for item in found)
    return [item.path.as_posix() for item in found]


def problem(inputs):
    (item,) = find(inputs)
    assert item.problem is not None
    assert str(item.path) in str(item.problem)
    return item.problem.found


def test_a_folder_is_searched_to_every_depth_for_visible_fits_and_text_files(night):
    assert names(find(["night"])) == ["night/a.FITS", "night/b.fits", "night/notes.txt",
                                     "night/deep/er/c.fits.gz"]


def test_files_are_taken_as_named_whatever_they_are_called(night):
    assert names(find([night / "notes.txt"])) == [(night / "notes.txt").as_posix()]


def test_patterns(night):
    assert names(find(["night/*.fits"])) == ["night/b.fits"]
    assert names(find(["night/**/*.fits.gz"])) == ["night/deep/er/c.fits.gz"]
    assert names(find(["nigh?"])) == names(find(["night"]))


def test_a_name_that_exists_is_no_pattern(night):
    (night / "a[1].fits").touch()
    assert names(find(["night/a[1].fits"])) == ["night/a[1].fits"]


def test_the_order_of_the_user_is_kept_and_every_file_comes_once(night):
    (night / "link.fits").symlink_to("a.FITS")
    inputs = ["night/b.fits", "night/link.fits", str(night / "b.fits"), "night"]
    assert names(find(inputs)) == ["night/b.fits", "night/link.fits", "night/notes.txt",
                                   "night/deep/er/c.fits.gz"]


@given(st.lists(st.sampled_from(["x", "y", "./x", "z/../x"]), max_size=8))
def test_missing_names_come_once_each_with_a_problem(inputs):
    found = find(inputs)
    assert all(item.problem is not None for item in found)
    firsts = list(dict.fromkeys(os.path.realpath(name) for name in inputs))
    assert [os.path.realpath(item.path) for item in found] == firsts


def test_loops_of_links_end(night):
    (night / "deep/up").symlink_to(night)
    (night / "deep/er/self").symlink_to(night / "deep/er")
    assert names(find(["night"])) == ["night/a.FITS", "night/b.fits", "night/notes.txt",
                                     "night/deep/er/c.fits.gz"]
    (night / "loop.fits").symlink_to("loop.fits")
    assert problem(["night/loop.fits"]) == "is a broken link"


def test_linked_folders_are_followed(night, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/link").symlink_to(night / "deep")
    assert names(find(["other"])) == ["other/link/er/c.fits.gz"]


def test_what_leads_to_no_file_has_a_reason(night, tmp_path):
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.fits")
    assert problem(["none.fits"]) == "no such file or folder"
    assert problem(["none*.fits"]) == "no file matches this pattern"
    assert problem(["empty"]) == "holds no FITS or text file"
    assert problem(["pipe.fits"]) == "is not a regular file"
    assert problem(["x" * 5000]) == "no such file or folder"


def test_a_problem_does_not_hide_the_other_inputs(night):
    found = find(["none.fits", "night/b.fits"])
    assert [item.problem is None for item in found] == [False, True]


def test_nothing_gives_nothing():
    assert find([]) == []

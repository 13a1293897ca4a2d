"""The page: whole, with nothing from elsewhere, and readable in a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harpsstar.archive.batch import Options, predict_files
from harpsstar.archive.pictures import N_POINTS, height, pack, unpack
from harpsstar.archive.report import page
from harpsstar.archive.summary import summarise
from harpsstar.io.results import Row, to_table
from tests.archive.faults import good

VOID = {"meta"}


class Reader(HTMLParser):
    """Elements, their text, and whether every one is closed in its turn."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.words, self.links = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def read(html):
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def night_page(spectrum, tmp_path_factory):
    """The page of a night with one failure and one spectrum unlike the others."""
    night = tmp_path_factory.mktemp("night")
    for name in "abc":
        (night / f"{name}.fits").write_bytes(spectrum)
    (night / "noise.fits").write_bytes(good(snr=3.0, target="HD <2>"))
    (night / "empty.fits").touch()
    path = night / "night.html"
    options = Options(jobs=0, report=path, command="harpsstar predict night")
    predict_files([night], night / "t.ecsv", options=options)
    return path


def test_the_page_shows_every_row(night_page):
    html = night_page.read_text(encoding="utf-8")
    reader = read(html)
    text = " ".join(reader.words)
    for word in ("harpsstar predict night", "HD 1", "HD <2>", "LOW_SNR", "empty file", "2 copies"):
        assert word in text
    for name in "abc":
        assert f"{name}.fits" in text
    assert reader.tags.count("circle") == 4
    # Four spectra, eight orders, flux and model.
    assert reader.tags.count("figure") == 4 * 8


def test_the_page_needs_nothing_else(night_page):
    html = night_page.read_text(encoding="utf-8")
    assert read(html).links == []
    assert not re.search(r"https?:|url\(|@import|<script", html)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
def test_a_browser_shows_the_page(night_page, tmp_path):
    """Without network: names lead nowhere, and there is no complaint."""
    picture = tmp_path / "page.png"
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
               "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}"]
    shot = subprocess.run(
        [*browser, "--window-size=1200,1600", f"--screenshot={picture}", night_page.as_uri()],
        capture_output=True, text=True, timeout=600,
    )
    assert picture.stat().st_size > 20_000, shot.stderr
    assert "CONSOLE" not in shot.stderr
    tree = subprocess.run([*browser, "--dump-dom", night_page.as_uri()], capture_output=True,
                          text=True, timeout=600).stdout
    assert tree.count("<circle") == 4
    assert tree.count("<figure>") == 4 * 8


@settings(max_examples=30)
@given(st.text(max_size=20), st.floats(), st.floats())
def test_whatever_a_header_says_the_page_is_whole(text, teff, bjd):
    rows = [("a", Row(file=text, target=text, teff=teff, bjd=bjd, flag_text=text, message=text)),
            ("b", Row.failed(text, text, target=text))]
    html = "".join(page(rows, summarise(to_table(row for _, row in rows)), {}, {text: text}, {}))
    assert "<script" not in html
    read(html)


def test_a_page_about_nothing():
    assert "Nothing." in "".join(page([], [], {}, {}, {}))


def test_a_picture_keeps_what_can_be_seen():
    x = np.linspace(0, 1, 4096)
    flux = np.stack([0.2 + 0.8 * x, np.ones(4096)])
    ivar = np.ones((2, 4096))
    ivar[1, :2048] = 0
    levels = unpack(pack(flux, flux**2, ivar))
    assert levels.shape == (2, 2, N_POINTS)
    top = height(int(levels[0, 1, -1]), 1.25)
    assert top == pytest.approx(1.0, abs=0.005)
    assert [height(int(level), 1.25) for level in levels[0, 1, :3]] == [None] * 3
    seen = [height(int(level), 1.25) for level in levels[1, 0]]
    np.testing.assert_allclose(seen, (flux[0] ** 2).reshape(N_POINTS, -1).mean(1), atol=0.005)

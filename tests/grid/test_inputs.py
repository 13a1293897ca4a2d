"""Inputs: the registry is right, and what is missing is fetched, once, whole."""

from __future__ import annotations

import re

import pytest

from harpsstar.errors import InputsMissingError, OutputError
from harpsstar.grid import atlas9, inputs
from harpsstar.grid.inputs import adopt, fetch, held, pack, registry, root, sources
from harpsstar.model import linelist

from .server import serve


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A server of twelve small inputs; failures are not tried again."""
    monkeypatch.setattr(inputs, "_RETRIES", 0)
    with serve(tmp_path / "web") as running:
        yield running


class TestTheRegistry:
    def test_it_names_what_the_line_list_and_the_decks_need_and_no_more(self):
        names = [item.name for item in registry()]
        lines = {
            source["file"].format(name=name)
            for source in linelist.configuration()["source"]
            for name in source.get("files", [""])
        }
        assert names == sorted(set(names))
        assert {name for name in names if name.startswith("lines/")} == lines
        for code in atlas9.METALLICITY_CODES | atlas9.HELD_OUT_CODES:
            folder = f"atlas9-odfnew/grid{code}odfnew/{code}_"
            assert sum(name.startswith(folder) for name in names) == 253
        assert len(names) == len(lines) + 8 * 253

    def test_its_hashes_are_those_of_the_shared_files(self, shared_inputs):
        records = held(shared_inputs)
        assert len(records) == len(registry())
        assert [record.name for record in records if not record.present] == []

    def test_addresses_are_those_of_one_file_of_one_commit(self):
        address = re.compile(
            r"https://raw\.githubusercontent\.com/[\w.-]+/[\w.-]+/[0-9a-f]{40}/[\w./-]+"
        )
        urls = {item.name: item.url for item in registry()}
        assert len(set(urls.values())) == len(urls)
        assert [url for url in urls.values() if not address.fullmatch(url)] == []
        assert all(url.endswith(name.rpartition("/")[2]) for name, url in urls.items())
        assert urls["atlas9-odfnew/gridp00odfnew/p00_5750_4.5.dat"] == (
            "https://raw.githubusercontent.com/msotov/SPECIES/"
            "9a3d6149facb3298583cc89660e9c75464a2255a/"
            "atm_models/atlas9/grids/gridp00odfnew/p00_5750_4.5.dat"
        )
        assert urls["lines/shah/5165.lin"].endswith("/sp-shah/Linelists/"
            "c92688ea6eb161bde2cdb1c00b09f17d9b4747a6/data/C/5165.lin")  # fmt: skip

    def test_every_source_says_whose_it_is_and_is_used(self):
        assert all(source.licence and source.citation for source in sources())
        used = {item.origin for item in registry()}
        assert used == {source.origin for source in sources()}
        names = [item.name for item in registry()]
        for source in sources():
            assert all(f"{source.folder}/{name}" in names for name in source.commits)

    def test_characters_that_an_address_cannot_hold_are_quoted(self):
        source = inputs.Source("lines/x", "a/b", "0" * 40, "some path", "", "")
        assert source.url("lines/x/c#d.txt").endswith("/some%20path/c%23d.txt")


class TestTheFolder:
    def test_it_is_the_one_named(self, monkeypatch, tmp_path):
        monkeypatch.setenv("HARPSSTAR_CACHE", str(tmp_path))
        assert root() == tmp_path

    @pytest.mark.parametrize("value", [None, ""])
    def test_it_is_the_users_cache_if_none_is_named(self, value, monkeypatch, tmp_path):
        monkeypatch.setenv("HARPSSTAR_CACHE", "")
        if value is None:
            monkeypatch.delenv("HARPSSTAR_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert "harpsstar" in root().parts
        assert root().is_absolute()
        assert list(tmp_path.iterdir()) == []

    def test_nothing_is_held_in_a_folder_that_is_not_there(self, tmp_path):
        assert not any(record.present for record in held(tmp_path / "none"))
        assert not (tmp_path / "none").exists()


class TestFetching:
    def test_everything_arrives_and_is_counted(self, served, tmp_path, capfd):
        seen = []
        folder = fetch(lambda *counts: seen.append(counts), folder=tmp_path / "cache",
                       inputs=served.inputs)
        assert folder == tmp_path / "cache"
        for item in served.inputs:
            expected = (served.folder / item.name).read_bytes()
            assert (folder / item.name).read_bytes() == expected
        assert seen == [(done, 12) for done in range(13)]
        assert all(record.present for record in held(folder, served.inputs))
        assert "".join(capfd.readouterr()) == ""

    def test_what_is_complete_is_neither_asked_for_nor_written(self, served, tmp_path):
        fetch(folder=tmp_path / "cache", inputs=served.inputs)
        served.asked.clear()
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
        seen = []
        fetch(lambda *counts: seen.append(counts), folder=tmp_path / "cache",
              inputs=served.inputs)
        assert served.asked == []
        assert seen == [(12, 12)]
        assert before == {path: path.stat().st_mtime_ns for path in before}

    def test_only_what_is_missing_or_damaged_is_asked_for(self, served, tmp_path):
        folder = fetch(folder=tmp_path / "cache", inputs=served.inputs)
        (folder / "decks/grid0/4.dat").unlink()
        (folder / "decks/grid1/5.dat").write_bytes(b"dec")
        served.asked.clear()
        fetch(folder=folder, inputs=served.inputs)
        assert sorted(served.asked) == ["decks/grid0/4.dat", "decks/grid1/5.dat"]
        assert all(record.present for record in held(folder, served.inputs))

    def test_an_interrupted_run_keeps_what_it_has(self, served, tmp_path):
        def stop(done, total):
            if done == 3:
                raise KeyboardInterrupt

        folder = tmp_path / "cache"
        with pytest.raises(KeyboardInterrupt):
            fetch(stop, jobs=1, folder=folder, inputs=served.inputs)
        kept = [record.name for record in held(folder, served.inputs) if record.present]
        assert 3 <= len(kept) < 12
        assert {path.name for path in folder.rglob("*") if path.is_file()} == {
            name.rpartition("/")[2] for name in kept
        }
        served.asked.clear()
        fetch(folder=folder, inputs=served.inputs)
        assert len(served.asked) == 12 - len(kept)

    def test_a_file_that_is_not_what_the_registry_says_is_refused(self, served, tmp_path):
        (served.folder / "decks/grid0/4.dat").write_bytes(b"another deck\n")
        with pytest.raises(InputsMissingError, match="hash") as caught:
            fetch(jobs=1, folder=tmp_path / "cache", inputs=served.inputs)
        assert caught.value.path == str(tmp_path / "cache/decks/grid0/4.dat")
        assert served.inputs[4].sha256 in caught.value.expected
        assert not (tmp_path / "cache/decks/grid0/4.dat").exists()

    def test_a_file_that_is_gone_is_told_with_its_address(self, served, tmp_path):
        (served.folder / "lines/a list.txt").unlink()
        with pytest.raises(InputsMissingError, match="404") as caught:
            fetch(folder=tmp_path / "cache", inputs=served.inputs)
        assert served.inputs[-1].url in caught.value.expected
        assert "HARPSSTAR_CACHE" in caught.value.hint

    def test_without_a_connection_one_sentence_says_so(self, served, tmp_path):
        nowhere = [inputs.Input("a/b.txt", "0" * 64, "http://127.0.0.1:9/b.txt")]
        with pytest.raises(InputsMissingError, match="cannot be fetched"):
            fetch(folder=tmp_path / "cache", inputs=nowhere)

    def test_a_folder_that_cannot_be_made_is_told(self, served, tmp_path):
        (tmp_path / "cache").write_bytes(b"a file in its place")
        with pytest.raises(InputsMissingError, match="cannot be fetched"):
            fetch(folder=tmp_path / "cache", inputs=served.inputs)
        assert served.asked == []

    def test_poochs_log_is_left_as_it_was(self, served, tmp_path):
        import pooch

        before = pooch.get_logger().level
        fetch(folder=tmp_path / "cache", inputs=served.inputs)
        assert pooch.get_logger().level == before


class TestWithoutANetwork:
    @pytest.fixture
    def cache(self, served, tmp_path):
        return fetch(folder=tmp_path / "cache", inputs=served.inputs)

    @pytest.mark.parametrize("packed", [False, True])
    def test_inputs_move_by_folder_and_by_archive(self, packed, served, cache, tmp_path):
        source = cache
        if packed:
            source = tmp_path / "inputs.zip"
            assert pack(source, folder=cache, inputs=served.inputs) == source.stat().st_size
        served.asked.clear()
        seen = []
        other = adopt(source, lambda *counts: seen.append(counts), folder=tmp_path / "other",
                      inputs=served.inputs)  # fmt: skip
        assert served.asked == []
        assert all(record.present for record in held(other, served.inputs))
        assert (seen[0], seen[-1]) == ((0, 12), (12, 12))
        assert len([path for path in other.rglob("*") if path.is_file()]) == 12

    def test_an_archive_is_the_same_every_time(self, served, cache, tmp_path):
        pack(tmp_path / "a.zip", folder=cache, inputs=served.inputs)
        for path in cache.rglob("*.dat"):
            path.touch()
        pack(tmp_path / "b.zip", folder=cache, inputs=served.inputs)
        assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()

    def test_what_the_source_lacks_or_has_wrong_is_told_and_the_rest_is_taken(
        self, served, cache, tmp_path
    ):
        (cache / "decks/grid0/4.dat").unlink()
        (cache / "decks/grid1/5.dat").write_bytes(b"another deck")
        with pytest.raises(InputsMissingError, match="2 of 12 inputs") as caught:
            adopt(cache, folder=tmp_path / "other", inputs=served.inputs)
        assert "decks/grid0/4.dat" in caught.value.expected
        assert sum(record.present for record in held(tmp_path / "other", served.inputs)) == 10
        with pytest.raises(InputsMissingError, match="2 of 12 inputs are missing"):
            pack(tmp_path / "a.zip", folder=cache, inputs=served.inputs)
        assert not (tmp_path / "a.zip").exists()

    def test_a_source_that_is_none(self, served, tmp_path):
        (tmp_path / "text.zip").write_text("no archive")
        for name in ("text.zip", "none"):
            with pytest.raises(InputsMissingError, match="12 of 12"):
                adopt(tmp_path / name, folder=tmp_path / "other", inputs=served.inputs)

    def test_places_that_cannot_be_written_to(self, served, cache, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(OutputError, match="cannot be written"):
            adopt(cache, folder=tmp_path / "file", inputs=served.inputs)
        with pytest.raises(OutputError, match="cannot be written"):
            pack(tmp_path / "none" / "a.zip", folder=cache, inputs=served.inputs)

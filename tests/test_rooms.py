"""The rooms of the package: arrows point one way, and there is no circle."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    not (ROOT / "harpsstar" / "cli" / "__init__.py").exists(),
    reason="the source is not beside the tests",
)


@pytest.fixture(scope="module")
def rooms():
    spec = importlib.util.spec_from_file_location("rooms", ROOT / ".ci" / "rooms.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["rooms"] = module  # dataclasses look their module up
    yield spec.loader.exec_module(module) or module
    del sys.modules["rooms"]


@pytest.fixture(scope="module")
def graph(rooms):
    return rooms.read(ROOT)


def test_every_room_has_a_layer(rooms, graph):
    assert rooms.homeless(graph) == []


def test_no_arrow_points_up(rooms, graph):
    assert [str(arrow) for arrow in rooms.upward(graph)] == []


def test_no_room_depends_on_itself_by_way_of_others(rooms, graph):
    assert rooms.circles(graph, rooms.ALL, rooms.room_of) == []


def test_no_module_imports_itself_by_way_of_others(rooms, graph):
    assert rooms.circles(graph, ("head", "function")) == []


def test_nor_with_the_imports_for_types(rooms, graph):
    assert rooms.circles(graph, rooms.ALL) == []


def test_spectra_know_no_emulator_networks_no_files_and_readers_no_networks(graph):
    """Rooms of one layer that could import each other, and must not."""
    never = {
        "spectra": {"io", "model", "mock", "grid", "nn"},
        "io": {"model", "mock", "grid", "nn"},
        "nn": {"io", "spectra", "model", "mock", "grid"},
        "model": {"mock", "grid", "nn"},
    }
    found = [
        str(arrow) for arrow in graph.arrows
        if arrow.target.split(".")[0] in never.get(arrow.source.split(".")[0], ())
    ]
    assert found == []


# ----------------------------------------------------------------- the graph sees what it must see


def tree(tmp_path, **changes):
    """A package of one module in each of some rooms, with the text of some of them changed."""
    sources = {
        "cli/a.py": "from harpsstar.infer import b\n",
        "infer/b.py": "import harpsstar.spectra.c as c\n",
        "spectra/c.py": "from ..errors import E\n",
        "spectra/d.py": "",
        "errors.py": "E = 1\n",
    } | {name.replace("__", "/") + ".py": text for name, text in changes.items()}
    for name, text in sources.items():
        path = tmp_path / "harpsstar" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        (path.parent / "__init__.py").touch()
    return tmp_path


def test_imports_of_every_form_are_arrows(rooms, tmp_path):
    graph = rooms.read(tree(tmp_path))
    assert [(a.source, a.target) for a in graph.arrows] == [
        ("cli.a", "infer.b"), ("infer.b", "spectra.c"), ("spectra.c", "errors"),
    ]  # fmt: skip
    assert rooms.faults(graph) == []
    assert "spectra" in rooms.text(graph)
    assert rooms.svg(graph).startswith("<svg")


@pytest.mark.parametrize(("text", "kind"), [
    ("from harpsstar.infer.b import x\n", "head"),
    ("def f():\n    import harpsstar.infer.b\n", "function"),
    ("class A:\n    def f(self):\n        if 1:\n            from ..infer import b\n", "function"),
    ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..infer.b import x\n", "types"),
])  # fmt: skip
def test_an_arrow_up_is_found_wherever_it_stands(rooms, tmp_path, text, kind):
    graph = rooms.read(tree(tmp_path, spectra__d=text))
    (arrow,) = rooms.upward(graph)
    assert (arrow.source, arrow.target, arrow.kind) == ("spectra.d", "infer.b", kind)
    assert any("spectra/d.py" in fault for fault in rooms.faults(graph))


def test_a_circle_is_found_by_kind(rooms, tmp_path):
    there = "def f():\n    from harpsstar.spectra.d import y\n"
    back = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .c import x\n"
    graph = rooms.read(tree(tmp_path, spectra__c=there, spectra__d=back))
    assert rooms.circles(graph, ("head", "function")) == []
    assert rooms.circles(graph, rooms.ALL) == [("spectra.c", "spectra.d")]
    (fault,) = rooms.faults(graph)
    assert "types" in fault
    graph = rooms.read(tree(tmp_path, spectra__c=there, spectra__d="from .c import x\n"))
    assert rooms.circles(graph, ("head", "function")) == [("spectra.c", "spectra.d")]


def test_rooms_of_one_layer_in_a_circle_are_found(rooms, tmp_path):
    """No module imports itself there, and no layer is crossed."""
    graph = rooms.read(tree(tmp_path, train__a="from harpsstar.infer.b import x\n",
                            infer__d="import harpsstar.train.e\n", train__e=""))  # fmt: skip
    assert rooms.upward(graph) == rooms.circles(graph, rooms.ALL) == []
    assert rooms.circles(graph, rooms.ALL, rooms.room_of) == [("infer", "train")]


def test_a_new_room_asks_for_its_layer(rooms, tmp_path):
    assert rooms.homeless(rooms.read(tree(tmp_path, cellar__a=""))) == ["cellar"]

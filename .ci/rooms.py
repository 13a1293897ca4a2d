"""The module graph of the package: rooms, arrows, and what must not be.

    python .ci/rooms.py                  a table, and what is wrong; ends with code 1 if anything is
    python .ci/rooms.py --svg rooms.svg  a picture, too

A room is a folder or a module directly below ``harpsstar/``. An arrow is an import, found in the
source: at the head of a module, inside a function, or for type checkers only (``TYPE_CHECKING``).
Every kind counts. Nothing is imported, so that a broken package can be drawn, too.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[1]
PACKAGE = "harpsstar"
#: From top to bottom: a room may import from its own layer and from those below, never from above.
LAYERS: tuple[tuple[str, ...], ...] = (
    (PACKAGE, "__main__"),
    ("cli",),
    ("archive",),
    ("paper", "evaluate", "train", "infer"),
    ("mock", "grid", "nn", "model", "io", "spectra"),
    (
        "instruments", "config", "plotting", "formatting", "outputs", "labels", "errors",
        "constants", "data", "_dask", "_lazy", "_optional", "_packaged", "_readers", "_tensors",
        "_threads", "_version",
    ),
)  # fmt: skip

Kind = Literal["head", "function", "types"]


@dataclass(frozen=True)
class Arrow:
    """An import of one module by another, both without the package's name; and where it stands."""

    source: str
    target: str
    kind: Kind
    file: str
    line: int

    def __str__(self) -> str:
        """Say it in one line."""
        where = {"head": "", "function": ", in a function", "types": ", for types"}[self.kind]
        return f"{self.source} -> {self.target}  ({self.file}:{self.line}{where})"


@dataclass(frozen=True)
class Graph:
    """Modules with their numbers of lines, and the arrows between them."""

    modules: Mapping[str, int]
    arrows: tuple[Arrow, ...]


def room_of(module: str) -> str:
    """Return the room of a module."""
    return module.split(".")[0]


def read(root: Path = ROOT) -> Graph:
    """Read the graph of the package below a folder."""
    files = {_name(path, root): path for path in sorted((root / PACKAGE).rglob("*.py"))}
    lines, arrows = {}, []
    for module, path in files.items():
        text = path.read_text(encoding="utf-8")
        lines[_short(module)] = text.count("\n")
        here = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for target, kind, line in _imports(ast.parse(text), here, files):
            if target != module:
                name = str(path.relative_to(root))
                arrows.append(Arrow(_short(module), _short(target), kind, name, line))
    return Graph(lines, tuple(dict.fromkeys(arrows)))


def _name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _short(module: str) -> str:
    return module.removeprefix(f"{PACKAGE}.")


def _imports(
    tree: ast.AST, package: str, known: Iterable[str]
) -> Iterator[tuple[str, Kind, int]]:
    """Yield the modules of the package that a module imports, how, and in which line."""
    for node, kind in _walk(tree, "head"):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = parts[: len(parts) - node.level + 1] if node.level else []
            base += [node.module] if node.module else []
            # from a import b: b may be a module or what a module holds
            names = [".".join([*base, alias.name]) for alias in node.names]
        for name in names:
            while name and name not in known:
                name = name.rpartition(".")[0]
            if name:
                yield name, kind, getattr(node, "lineno", 0)


def _walk(tree: ast.AST, kind: Kind) -> Iterator[tuple[ast.AST, Kind]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for each in node.body:
                yield each, "types"
                yield from _walk(each, "types")
            for each in node.orelse:
                yield each, kind
                yield from _walk(each, kind)
            continue
        yield node, kind
        lazy = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and kind == "head"
        yield from _walk(node, "function" if lazy else kind)


def homeless(graph: Graph) -> list[str]:
    """Return the rooms that stand in no layer."""
    known = {room for layer in LAYERS for room in layer}
    return sorted({room_of(module) for module in graph.modules} - known)


def upward(graph: Graph) -> list[Arrow]:
    """Return the arrows that point against the direction of the layers."""
    level = {room: i for i, layer in enumerate(LAYERS) for room in layer}
    return [
        arrow for arrow in graph.arrows
        if level.get(room_of(arrow.source), 0) > level.get(room_of(arrow.target), 0)
    ]


def circles(
    graph: Graph, kinds: Iterable[Kind], of: Callable[[str], str] = str
) -> list[tuple[str, ...]]:
    """Return what imports itself by way of others: sets of modules, or of rooms.

    Parameters
    ----------
    graph : Graph
    kinds : iterable of str
        Imports that count.
    of : callable
        :func:`room_of` for rooms; modules by default.
    """
    kinds = set(kinds)
    below: dict[str, set[str]] = {of(module): set() for module in graph.modules}
    for arrow in graph.arrows:
        if arrow.kind in kinds and of(arrow.source) != of(arrow.target):
            below[of(arrow.source)].add(of(arrow.target))
    reach = {node: _reach(node, below) for node in below}
    return sorted({
        tuple(sorted(other for other in reach[node] if node in reach[other]))
        for node in below if node in reach[node]
    })


def _reach(start: str, below: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        for node in below[ahead.pop()] - seen:
            seen.add(node)
            ahead.append(node)
    return seen


ALL: tuple[Kind, ...] = ("head", "function", "types")


def faults(graph: Graph) -> list[str]:
    """Return what is wrong, each in one line."""
    found = [f"{room} stands in no layer of .ci/rooms.py" for room in homeless(graph)]
    found += [f"upward: {arrow}" for arrow in upward(graph)]
    found += [f"rooms in a circle: {' '.join(each)}" for each in circles(graph, ALL, room_of)]
    real = circles(graph, ("head", "function"))
    found += [f"modules in a circle: {' '.join(each)}" for each in real]
    found += [f"modules in a circle, with imports for types: {' '.join(each)}"
              for each in circles(graph, ALL) if each not in real]  # fmt: skip
    return found


def between(graph: Graph) -> dict[tuple[str, str], int]:
    """Count the arrows from room to room."""
    pairs = [(room_of(a.source), room_of(a.target)) for a in graph.arrows]
    return {pair: pairs.count(pair) for pair in dict.fromkeys(pairs) if pair[0] != pair[1]}


def _size(graph: Graph, room: str) -> tuple[int, int]:
    lines = [n for module, n in graph.modules.items() if room_of(module) == room]
    return len(lines), sum(lines)


def text(graph: Graph) -> str:
    """Return a table of the rooms with their size and what they import from, layer by layer."""
    counts = between(graph)
    out = []
    for layer in LAYERS:
        for room in (room for room in layer if _size(graph, room)[0]):
            modules, lines = _size(graph, room)
            arrows = " ".join(f"{b}({n})" for (a, b), n in counts.items() if a == room)
            out.append(f"{room:12s} {modules:3d} modules {lines:6d} lines  -> {arrows or '-'}")
        out.append("")
    n_modules, n_lines = len(graph.modules), sum(graph.modules.values())
    out.append(f"{n_modules} modules, {n_lines} lines, {len(graph.arrows)} imports")
    return "\n".join(out)


_BOX, _GAP, _ROW, _MARGIN = (132, 38), 24, 120, 24


def svg(graph: Graph) -> str:
    """Return a picture: a row for each layer; arrows down are grey, arrows up and circles red.

    A dot is where an arrow ends. Arrows to the lowest layer, which all may use, are left out unless
    they are wrong, and so are modules with an underscore.
    """
    rows = [[room for room in layer if _size(graph, room)[0] and not room.startswith("_")]
            for layer in LAYERS]  # fmt: skip
    width = max(len(row) for row in rows) * (_BOX[0] + _GAP) + 2 * _MARGIN
    place: dict[str, tuple[float, float]] = {}
    for i, row in enumerate(rows):
        for k, room in enumerate(row):
            x = width / 2 + (k - (len(row) - 1) / 2) * (_BOX[0] + _GAP)
            place[room] = (x, _MARGIN + _BOX[1] / 2 + i * _ROW)
    bad = {(room_of(a.source), room_of(a.target)) for a in upward(graph)}
    for ring in circles(graph, ALL, room_of):
        bad |= {(a, b) for a in ring for b in ring}
    height = _MARGIN * 2 + _BOX[1] + (len(rows) - 1) * _ROW
    parts = [_line(place[a], place[b], n, (a, b) in bad)
             for (a, b), n in between(graph).items()
             if a in place and b in place and (b not in LAYERS[-1] or (a, b) in bad)]  # fmt: skip
    parts += [_box(room, place[room], graph) for room in place]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="13" text-anchor="middle">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _line(start: tuple[float, float], end: tuple[float, float], n: int, bad: bool) -> str:
    """Draw an arrow from box to box; rooms of one layer are joined by an arc above them."""
    colour, stroke = ("#D55E00", 2.0) if bad else ("#888888", 0.5 + 0.35 * min(n, 12) ** 0.5)
    style = f'fill="none" stroke="{colour}" stroke-width="{stroke:.2f}" stroke-opacity="0.7"'
    (x0, y0), (x1, y1) = start, end
    half = _BOX[1] / 2
    if y0 == y1:
        top = y0 - half - 8 - abs(x1 - x0) / 12
        path = f"M {x0} {y0 - half} Q {(x0 + x1) / 2} {top} {x1} {y1 - half}"
    else:
        down = 1 if y1 > y0 else -1
        path = f"M {x0} {y0 + down * half} L {x1} {y1 - down * half}"
    tip = f'<circle cx="{x1}" cy="{path.split()[-1]}" r="2.5" fill="{colour}"/>'
    return f'<path d="{path}" {style}/>{tip}'


def _box(room: str, place: tuple[float, float], graph: Graph) -> str:
    (x, y), (width, height) = place, _BOX
    modules, lines = _size(graph, room)
    return (
        f'<rect x="{x - width / 2}" y="{y - height / 2}" width="{width}" height="{height}" rx="5" '
        f'fill="#E8F1F8" stroke="#0072B2"/><text x="{x}" y="{y - 2}">{room}</text>'
        f'<text x="{x}" y="{y + 13}" font-size="10" fill="#555555">{modules} modules, '
        f"{lines} lines</text>"
    )


def main() -> None:
    """Print, draw, and say by the exit code whether all is well."""
    parser = argparse.ArgumentParser(description="The module graph of the package.")
    parser.add_argument("--svg", type=Path, help="write a picture to this file")
    options = parser.parse_args()
    graph = read()
    print(text(graph))
    if options.svg is not None:
        options.svg.write_text(svg(graph), encoding="utf-8")
    found = faults(graph)
    print("\n".join(found) if found else "no arrow points up, and there is no circle")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()

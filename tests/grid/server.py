"""A web server on this machine that serves a few small inputs, and notes what is asked for."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from harpsstar.grid.inputs import Input


@dataclass
class Served:
    """What the server offers, and the names that were asked for."""

    folder: Path
    inputs: tuple[Input, ...]
    asked: list[str] = field(default_factory=list)


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *args, asked, **options):
        self.asked = asked
        super().__init__(*args, **options)

    def do_GET(self):
        self.asked.append(self.path.removeprefix("/"))
        super().do_GET()

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[Served]:
    """Serve twelve files in three folders."""
    contents = {f"decks/grid{i % 2}/{i}.dat": f"deck {i}\n".encode() for i in range(11)}
    contents["lines/a list.txt"] = b"5183.6 Mg 1\n"
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    asked: list[str] = []
    handler = functools.partial(_Handler, directory=str(folder), asked=asked)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    host = f"http://127.0.0.1:{server.server_port}"
    inputs = tuple(
        Input(name, hashlib.sha256(content).hexdigest(), f"{host}/{name.replace(' ', '%20')}",
              "someone/something@0", "MIT", "Someone 2020")
        for name, content in contents.items()
    )
    try:
        yield Served(folder, inputs, asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

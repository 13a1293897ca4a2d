"""Print the one command in README.md's shell blocks that contains the given words."""

import re
import sys
from pathlib import Path

readme = Path(__file__).parents[1] / "README.md"
text = readme.read_text(encoding="utf-8")
blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
commands = [line for block in blocks for line in block.splitlines() if sys.argv[1] in line]
if len(commands) != 1:
    sys.exit(f"README.md has {len(commands)} commands with {sys.argv[1]!r}, one was expected")
print(commands[0])

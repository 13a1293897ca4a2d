"""Print every file of the installed package with its hash, one a line.

Of two environments, the same lines mean the same package.
"""

from importlib.metadata import files

for file in sorted(files("harpsstar") or [], key=str):
    if file.parts[0] == "harpsstar" and file.hash is not None:
        print(file, file.hash.value)

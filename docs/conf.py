"""The documentation site: ``python -m sphinx -W -b html docs docs/_build/html``.

Nothing here needs a network connection. ``HARPSSTAR_DOCS_LINKS=1`` adds links to the pages of
Python, numpy, astropy and torch, and fetches their inventories.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for the extension beside this file
sys.path.insert(0, str(Path(__file__).parents[1]))  # this tree, not an installed one

import harpsstar  # noqa: E402

project = "harpsstar"
author = "The harpsstar developers"
project_copyright = author
version = release = harpsstar.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_parser",
    "_generated",
]
exclude_patterns = ["_build", "examples/README.md"]
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_maximum_signature_line_length = 88

if os.environ.get("HARPSSTAR_DOCS_LINKS"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "astropy": ("https://docs.astropy.org/en/stable", None),
        "specutils": ("https://specutils.readthedocs.io/en/stable", None),
        "torch": ("https://pytorch.org/docs/stable", None),
    }

html_theme = "pydata_sphinx_theme"
html_title = f"harpsstar {release}"
html_static_path = ["_static"]
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
}

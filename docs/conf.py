"""Sphinx's settings: the pages of this folder, and API pages made from docstrings. Build them with ``make html``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import medimg_cli

project = "medimg"
version = release = medimg_cli.__version__
html_title = f"medimg {version}"
html_copy_source = html_show_sphinx = html_show_copyright = False
html_theme = "alabaster"
html_theme_options = {"description": "Medical images in physical space", "fixed_sidebar": True, "page_width": "1100px"}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "py:obj"

myst_heading_anchors = 3

napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
add_module_names = False
python_use_unqualified_type_names = True


def keep_colons(app: Any, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Keep napoleon from taking what stands before a colon in the text of a property for its type."""
    if what in ("attribute", "data", "property"):
        lines.insert(0, "\\ ")  # nothing, but no empty line


def setup(app: Any) -> None:
    """Be called before napoleon, which has priority 500."""
    app.connect("autodoc-process-docstring", keep_colons, priority=400)

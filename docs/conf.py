"""Sphinx configuration: Markdown pages, and pages made from the package itself (see generate.py)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from docutils import nodes

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import generate  # noqa: E402

import equireann_pyg  # noqa: E402

project = "equireann_pyg"
author = "the authors of equireann_pyg"
release = version = equireann_pyg.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "mathml",
]
exclude_patterns = ["_build", "generated/*.rst"]  # the latter are included in pages
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
copybutton_prompt_text = "$ "

html_math_renderer = "mathml"
html_show_copyright = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"equireann_pyg {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_ivar = True
napoleon_custom_sections = ["Shapes"]
python_use_unqualified_type_names = True

nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!equireann_pyg\b).*"),  # names of other packages: there is no index of theirs here
    (r"py:.*", r"equireann_pyg(\.\w+)*\.(_\w+|[A-Z])"),  # private base classes, type variables
]


def resolve(app: Any, env: Any, node: Any, content: nodes.Node) -> nodes.Node | None:
    """Link to an object of the package under whichever of its names a docstring has."""
    name = generate.documented_name(node.get("reftarget", ""), node.get("py:module"), node.get("py:class"))
    if node.get("refdomain") != "py" or name is None:
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, content)


def setup(app: Any) -> None:
    """Write the generated pages before Sphinx looks for files."""
    generate.write_all(HERE / "generated")
    app.connect("missing-reference", resolve)

"""Sphinx configuration: `sphinx-build -W docs docs/_build/html`."""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))

import error_page  # noqa: E402
import option_page  # noqa: E402

from xai_notebook.settings import package_version  # noqa: E402

project = "xai-notebook"
author = "the maintainers of xai-notebook"
copyright = "2026, the maintainers of xai-notebook"  # noqa: A001
release = package_version()

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_ext"]
suppress_warnings = ["misc.highlighting_failure"]  # prompts are not Python

# The tutorials are shown as saved; nothing is run.
nb_execution_mode = "off"
nb_mime_priority_overrides = [("html", "image/jpeg", None)]  # the HTML has the captions
myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
python_use_unqualified_type_names = True
default_role = "code"
napoleon_use_rtype = False

html_theme = "furo"
html_title = "xai-notebook"
html_static_path = ["_static"]
html_css_files = ["docs.css"]
copybutton_exclude = ".linenos, .gp"


def _copy_tutorial(notebook: Path, folder: Path) -> None:
    """Copy a notebook; pictures attached to its cells become files next to it."""
    found = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in found["cells"]:
        for name, bundle in cell.pop("attachments", {}).items():
            data = next(iter(bundle.values()))
            (folder / name).write_bytes(base64.b64decode(data))
            cell["source"] = [line.replace(f"attachment:{name}", name) for line in cell["source"]]
    (folder / notebook.name).write_text(json.dumps(found), encoding="utf-8")


def _write_pages() -> None:
    """Write the generated pages: tutorials, messages and options."""
    tutorials = HERE / "tutorials"
    tutorials.mkdir(exist_ok=True)
    for notebook in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
        _copy_tutorial(notebook, tutorials)
    error_page.write(HERE / "reference" / "messages.md")
    option_page.write(HERE / "reference" / "options.md")


def _link_to_tutorials(_app: Any, _page: str, source: list[str]) -> None:
    """Point links to notebooks of the repository to their copies in the documentation."""
    source[0] = re.sub(r"\.\./\.\./notebooks/(\w+\.ipynb)", r"../tutorials/\1", source[0])


def setup(app: Any) -> None:
    """Connect the handler above."""
    app.connect("source-read", _link_to_tutorials)


_write_pages()

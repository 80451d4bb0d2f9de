"""The documentation: its cells run, and it covers options, messages and public names."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import xai_notebook
import xai_notebook.client
import xai_notebook.errors
from harness import without_xai

if TYPE_CHECKING:
    from types import ModuleType

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted([DOCS / "index.md", *(DOCS / "howto").glob("*.md")])
CELL = re.compile(r"^```ipython3\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RUN = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for page, cells in json.load(sys.stdin):
    shell.reset(new_session=False)
    shell.run_cell("%reload_ext xai_notebook\\n%config XaiImage.budget = None")
    for cell in cells:
        result = shell.run_cell(cell)
        if not result.success:
            sys.exit(f"{page}: {cell}\\n{result.error_before_exec or result.error_in_exec!r}")
"""
"""Runs the pages one after the other in one process, each in its own namespace."""


def load_module(name: str) -> ModuleType:
    """Load a module of `docs/_ext`."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "_ext" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses need it
    spec.loader.exec_module(module)
    return module


@pytest.mark.timeout(300)
def test_every_cell_of_the_documentation_runs(tmp_path: Path) -> None:
    pages = [[page.name, CELL.findall(page.read_text(encoding="utf-8"))] for page in PAGES]
    assert sum(len(cells) for _, cells in pages) > 40
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=json.dumps(pages), cwd=tmp_path, timeout=280,
        env=without_xai() | {"XAI_NOTEBOOK_HOME": str(tmp_path / "home"),
                             "IPYTHONDIR": str(tmp_path / "ipython")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]


def test_the_page_of_options_is_up_to_date(tmp_path: Path) -> None:
    """`.ci/docs` writes the page."""
    load_module("option_page").write(tmp_path / "options.md")
    written = (tmp_path / "options.md").read_text(encoding="utf-8")
    assert (DOCS / "reference/options.md").read_text(encoding="utf-8") == written


def test_every_message_is_on_the_page(tmp_path: Path) -> None:
    """The page is generated from literals in the code, and each message has an anchor."""
    errors = load_module("error_page")
    collected = errors.collect()
    assert collected.unresolved == []
    errors.write(tmp_path / "messages.md")
    page = (tmp_path / "messages.md").read_text(encoding="utf-8")
    messages = [text for texts in collected.messages.values() for text in texts]
    assert len(messages) > 200
    assert all(f"`{message}`" in page for message in messages)
    anchors = re.findall(r"^\((error-[^)]+)\)=$", page, re.MULTILINE)
    assert len(anchors) == len(set(anchors)) == len(messages)


def test_every_public_name_has_a_page() -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*"))
    documented = set(re.findall(r"^\.\. auto\w+:: (?:[\w.]+\.)?(\w+)$", pages, re.MULTILINE))
    faces = (xai_notebook, xai_notebook.client, xai_notebook.errors)
    public = {name for face in faces for name in face.__all__}
    assert {name for name in public - documented if not name.startswith("_")} == set()


def test_links_and_paths_of_pages_exist() -> None:
    root = DOCS.parent
    for page in [*DOCS.glob("*.md"), *DOCS.glob("[hr]*/*.md"), *root.glob("*.md")]:
        text = page.read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
        dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
        assert (page.name, dead) == (page.name, [])
    for page in (root / "CONTRIBUTING.md", DOCS / "reference/house.md"):
        paths = re.findall(r"`([\w./]+\.(?:py|js|toml|md))`", page.read_text(encoding="utf-8"))
        browser = root / "xai_notebook/notebook/browser"
        folders = (root, root / "xai_notebook", browser, browser / "library")
        dead = [path for path in paths if not any((base / path).exists() for base in folders)]
        assert (page.name, dead) == (page.name, [])


def test_every_page_is_in_the_table_of_contents() -> None:
    contents = (DOCS / "index.md").read_text(encoding="utf-8")
    pages = [page.relative_to(DOCS).with_suffix("") for page in DOCS.rglob("*/*.md")]
    pages = [page for page in pages if not page.parts[0].startswith("_")]
    assert [str(page) for page in pages if f"\n{page.as_posix()}\n" not in contents] == []

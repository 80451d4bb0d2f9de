"""A panel's state in the next run of its cell."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from harness import KEY, Kernel, without_xai

if TYPE_CHECKING:
    from pathlib import Path

LOAD = """
%load_ext xai_notebook
import time
import xai_notebook as xai
def ask(panel, **values):
    made = len(panel.images)
    panel._receive(None, {"kind": "generate", "form": {**panel.form, **values}}, [])
    while len(panel.images) < made + int(panel.form["n"]) or panel.jobs:
        assert not panel.trouble and not [j for j in panel.jobs if j["state"] == "failed"]
        time.sleep(0.02)
"""
READ_ONLY = """
import os
import platformdirs
import xai_notebook.library
from xai_notebook.generation.session import current_session
user = os.geteuid()
os.seteuid(user or 65534)  # root may write anywhere
assert current_session().library().read_only
os.seteuid(user)
"""
PANEL = "panel = xai.panel('a barn')"
ABOVE = "1 + 1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the notebooks; their library is beside it."""
    made = tmp_path / "notebooks"
    made.mkdir()
    return made


class Opened(Kernel):
    """A kernel as JupyterLab starts it: notebook and cells have names."""

    def __init__(self, folder: Path, name: str = "story.ipynb") -> None:
        """Start it, and load the extension."""
        super().__init__(folder, JPY_SESSION_NAME=str(folder / name), XAI_NOTEBOOK_BACKEND="local")
        self.ask(LOAD, "load")

    def ask(self, code: str, cell: str) -> Any:
        """Run a cell, which must succeed, and return what it showed."""
        outcome = self.collect(self.start(code, cell))
        assert outcome.error is None, outcome.error
        return outcome


@pytest.fixture
def made(folder: Path) -> Path:
    """A notebook whose panel has made two pictures and then one."""
    kernel = Opened(folder)
    try:
        kernel.ask(PANEL, "aa")
        kernel.ask("ask(panel, n=2); ask(panel, n=1, prompt='a {{ 1 + 1 }} mill')", "bb")
        kernel.ask("import xai_notebook; xai_notebook.history()", "cc")
    finally:
        kernel.stop()
    return folder


def pictures(outcome: Any) -> list[int]:
    """Return the number of pictures in each output that has some."""
    found = [output["data"].get("text/html", "").count("<img ") for output in outcome.outputs]
    return [number for number in found if number]


def paid(folder: Path) -> int:
    """Return how many requests were answered by a server."""
    file = folder.parent / f"{folder.name}-home" / "library.sqlite3"
    with contextlib.closing(sqlite3.connect(file)) as library:
        (count,) = library.execute("SELECT count(*) FROM requests").fetchone()
    return int(count)


def test_a_panel_is_restored_after_a_restart(made: Path) -> None:
    """Pictures and form; nothing is ordered."""
    before = paid(made)
    kernel = Opened(made)
    try:
        assert pictures(kernel.ask(PANEL, "aa")) == [2, 1]
        told = kernel.ask(
            "print(panel.form['prompt'], panel.form['n'], len(panel.cards), len(panel.images), "
            "'--replay' in panel.cell, panel.spent)",
            "cc",
        )
        assert told.stdout == "a {{ 1 + 1 }} mill 1 3 3 True \n"
        # Running the cell once more in the same kernel is the same.
        assert pictures(kernel.ask(PANEL, "aa")) == [2, 1]
        kernel.ask("panel.images[0].delete()", "dd")
        assert pictures(kernel.ask(PANEL, "aa")) == [1, 1]
        # Another cell has nothing of it, nor has the second panel of this one.
        assert pictures(kernel.ask(PANEL, "ee")) == []
        assert pictures(kernel.ask(f"{PANEL}\nxai.panel('a second one')", "aa")) == [1, 1]
    finally:
        kernel.stop()
    assert paid(made) == before


def estrange(folder: Path) -> Path:
    """Replace the library by a copy that seems to come from another computer; return its folder."""
    library = folder.parent / f"{folder.name}-home"
    shutil.copytree(library, folder.parent / "copied")
    shutil.rmtree(library)
    (folder.parent / "copied").rename(library)
    with contextlib.closing(sqlite3.connect(library / "library.sqlite3")) as connection, connection:
        connection.execute("UPDATE identity SET id = 'a stranger'")
    return library


def test_forms_of_an_untrusted_library_are_not_restored(made: Path) -> None:
    """Their templates would read variables, and their inputs files."""
    estrange(made)
    told = "print(panel.form['prompt'], panel.prompts)"
    kernel = Opened(made)
    try:
        assert pictures(kernel.ask(PANEL, "aa")) == [2, 1]
        assert kernel.ask(told, "cc").stdout == "a barn []\n"
        kernel.ask("xai.trust_library()", "dd")
        kernel.ask(PANEL, "aa")
        assert kernel.ask(told, "cc").stdout.startswith("a {{ 1 + 1 }} mill ['")
    finally:
        kernel.stop()


def test_a_notice_explains_a_missing_form(made: Path) -> None:
    estrange(made)
    kernel = Opened(made)
    try:
        kernel.ask(f"{PANEL}\nother = xai.panel('a second one')", "aa")
        told = kernel.ask("print(other.notice or panel.notice, panel.trouble)", "cc").stdout
        assert told.startswith("This library was made on another computer, ")
        assert told.endswith("xai_notebook.trust_library() \n")  # and no trouble
        kernel.ask("ask(panel, n=1)", "dd")
        assert kernel.ask("print([panel.notice])", "cc").stdout == "['']\n"
        kernel.ask("xai.trust_library()", "ee")
        kernel.ask(PANEL, "aa")
        assert kernel.ask("print([panel.notice])", "cc").stdout == "['']\n"
    finally:
        kernel.stop()


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_read_only_library_can_be_trusted(unprivileged_folder: Path) -> None:
    folder = unprivileged_folder / "notebooks"
    folder.mkdir()
    kernel = Opened(folder)
    try:
        kernel.ask(PANEL, "aa")
        kernel.ask("ask(panel, n=1, prompt='a mill')", "bb")
    finally:
        kernel.stop()
    subprocess.run(["chmod", "-R", "a-w,a+rX", estrange(folder)], check=True)
    told = "print(panel.form['prompt'], bool(panel.notice), current_session().library().read_only)"
    kernel = Opened(folder)
    try:
        kernel.ask(READ_ONLY, "cc")
        assert pictures(kernel.ask(PANEL, "aa")) == [1]
        assert kernel.ask(told, "dd").stdout == "a barn True True\n"
        kernel.ask("xai.trust_library()", "ee")
        kernel.ask(PANEL, "aa")
        assert kernel.ask(told, "dd").stdout == "a mill False True\n"
    finally:
        kernel.stop()


def test_jobs_and_input_images_are_restored(folder: Path) -> None:
    kernel = Opened(folder)
    try:
        kernel.ask(PANEL, "aa")
        kernel.ask(
            "ask(panel); first = panel.cards[0]['id']\n"
            "panel._receive(None, {'kind': 'edit', 'id': first, 'name': 'it'}, [])\n"
            "while first not in panel._tray.images: time.sleep(0.02)\n"
            "form = {**panel.form, 'n': 2, 'inputs': [{'id': first, 'name': 'it'}]}\n"
            "panel._receive(None, {'kind': 'hand_over', 'form': form}, [])\n"
            "while not panel.said['text'].startswith('Submitted as'): time.sleep(0.02)\n"
            "xai.jobs()[0].wait()",
            "bb",
        )
    finally:
        kernel.stop()
    kernel = Opened(folder)
    try:
        assert pictures(kernel.ask(PANEL, "aa")) == [1, 2]
        told = kernel.ask("print(panel.cell, panel.trouble)", "cc").stdout
        assert "-n 2 --image=@" in told
        assert "No longer available" not in told
        kernel.ask("panel.images[0].delete()", "dd")
        kernel.ask(PANEL, "aa")
        told = kernel.ask("print(panel.cell, panel.trouble)", "cc").stdout
        assert "--image" not in told
        assert "No longer available as input images: @" in told
    finally:
        kernel.stop()


def test_options_of_a_changed_cell_win_over_the_stored_form(made: Path) -> None:
    kernel = Opened(made, "renamed.ipynb")
    try:
        assert pictures(kernel.ask("panel = xai.panel('a horse', n=4)", "aa")) == [2, 1]
        assert kernel.ask("print(panel.form['prompt'], panel.form['n'])", "cc").stdout == (
            "a horse 4\n"
        )
        kernel.ask("ask(panel, n=1)", "cc")
        assert pictures(kernel.ask("panel = xai.panel('a horse', n=4)", "aa")) == [2, 1, 1]
    finally:
        kernel.stop()
    kernel = Opened(made)  # the one it was copied from goes its own way
    try:
        assert pictures(kernel.ask(PANEL, "aa")) == [2, 1]
    finally:
        kernel.stop()


def test_visitors_get_no_stored_state(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOILA_PREHEAT", "False")
    kernel = Opened(made)
    try:
        assert pictures(kernel.ask(PANEL, "aa")) == []
        told = kernel.ask("print(panel.form['prompt'], panel.prompts, panel.cards)", "bb")
        assert told.stdout == "a barn [] []\n"
        kernel.ask("ask(panel, prompt='a secret of a visitor')", "bb")
    finally:
        kernel.stop()
    monkeypatch.delenv("VOILA_PREHEAT")
    kernel = Opened(made)
    try:
        assert pictures(kernel.ask(PANEL, "aa")) == [2, 1]
        assert "secret" not in kernel.ask("print(panel.prompts)", "bb").stdout
    finally:
        kernel.stop()


@pytest.mark.parametrize("tool", ["nbconvert", "papermill"])
def test_unattended_notebooks_are_found_by_their_code(made: Path, tool: str) -> None:
    """The tools name neither notebook nor cell. A notebook with other code starts anew."""
    before = paid(made)
    command = {
        "nbconvert": ["jupyter", "nbconvert", "--execute", "--to=notebook", "--output=done"],
        "papermill": ["papermill", "--no-progress-bar"],
    }[tool]
    variables = without_xai(os.environ) | {
        "XAI_API_KEY": KEY,
        "XAI_NOTEBOOK_BACKEND": "local",
        "XAI_NOTEBOOK_HOME": str(made.parent / f"{made.name}-home"),
        "IPYTHONDIR": str(made.parent / "ipython"),
    }
    for name, above, panel, expected in (
        ("story", ABOVE, PANEL, 3),
        ("stranger", "2 + 2", PANEL, 0),
        ("new", ABOVE, "panel = xai.panel('a stable')\nask(panel)", 1),
    ):
        cells = {"load": LOAD, "above": above, "aa": panel}
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(code, id=cell) for cell, code in cells.items()],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        )
        nbformat.write(notebook, made / f"{name}.ipynb")
        files = [f"{name}.ipynb"] + (["done.ipynb"] if tool == "papermill" else [])
        for _ in range(2):
            run = subprocess.run(
                [sys.executable, "-m", *command, *files],
                env=variables, cwd=made, capture_output=True, text=True, timeout=100, check=False,
            )  # fmt: skip
            # Jupyter chooses a kernel's ports before it binds them: another process may be faster.
            if "Address already in use" not in run.stderr:
                break
        assert run.returncode == 0, run.stderr
        text = (made / "done.ipynb").read_text()
        assert KEY not in text
        done = nbformat.reads(text, as_version=4)
        assert "widgets" in done.metadata
        html = "".join(output.data.get("text/html", "") for output in done.cells[2].outputs)
        assert html.count("<img ") == expected
    assert paid(made) == before + 1

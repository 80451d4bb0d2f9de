"""A panel's state in the next run of its cell."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from harness import KEY, Kernel, without_xai

if TYPE_CHECKING:
    from collections.abc import Iterator
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
assert current_session().library().database.read_only
os.seteuid(user)
"""
PANEL = "panel = xai.panel('a barn')"
ABOVE = "1 + 1"
NBCONVERT = ["jupyter", "nbconvert", "--execute", "--to=notebook", "--output=done", "other.ipynb"]
PAPERMILL = ["papermill", "--no-progress-bar", "other.ipynb", "done.ipynb"]


class Notebook(Kernel):
    """A kernel as JupyterLab starts it: it knows the notebook's name and the cells' ids."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder, JPY_SESSION_NAME=str(folder / name), XAI_NOTEBOOK_BACKEND="local")
        self.run_cell("load", LOAD)

    def run_cell(self, cell: str, code: str) -> str:
        """Run a cell, which must succeed, and return what it prints."""
        return str(self._collect(cell, code).stdout)

    def pictures(self, cell: str, code: str = PANEL) -> list[int]:
        """Run a cell, and return the number of pictures in each output that has some."""
        html = [out["data"].get("text/html", "") for out in self._collect(cell, code).outputs]
        return [page.count("<img ") for page in html if "<img " in page]

    def _collect(self, cell: str, code: str) -> Any:
        outcome = self.run(code, cell=cell)
        assert outcome.error is None, outcome.error
        return outcome


@contextlib.contextmanager
def open_notebook(folder: Path, name: str = "story.ipynb") -> Iterator[Notebook]:
    """Open a notebook with a kernel of its own until the block ends."""
    kernel = Notebook(folder, name)
    try:
        yield kernel
    finally:
        kernel.stop()


def home_of(folder: Path) -> Path:
    """Return the folder of the library that the notebooks of a folder use."""
    return folder.parent / f"{folder.name}-home"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook whose panel has made two pictures and then one, and a copy of its library."""
    folder = tmp_path_factory.mktemp("stories") / "notebooks"
    folder.mkdir()
    with open_notebook(folder) as notebook:
        notebook.run_cell("aa", PANEL)
        notebook.run_cell("bb", "ask(panel, n=2); ask(panel, n=1, prompt='a {{ 1 + 1 }} mill')")
        notebook.run_cell("cc", "import xai_notebook; xai_notebook.history()")
    shutil.copytree(home_of(folder), folder.parent / "copy")
    return folder


@pytest.fixture
def story(original: Path) -> Path:
    """The notebook's folder; the library is as the notebook left it."""
    shutil.rmtree(home_of(original))
    shutil.copytree(original.parent / "copy", home_of(original))
    return original


def count_requests(folder: Path) -> int:
    """Return how many requests are in the library."""
    with contextlib.closing(sqlite3.connect(home_of(folder) / "library.sqlite3")) as library:
        (count,) = library.execute("SELECT count(*) FROM requests").fetchone()
    return int(count)


def test_a_restart_restores_pictures_and_form_at_no_cost(story: Path) -> None:
    before = count_requests(story)
    with open_notebook(story) as notebook:
        assert notebook.pictures("aa") == [2, 1]
        printed = notebook.run_cell(
            "cc",
            "print(panel.form['prompt'], panel.form['n'], len(panel.cards), len(panel.images), "
            "'--replay' in panel.cell, panel.spent)",
        )
        assert printed == "a {{ 1 + 1 }} mill 1 3 3 True \n"
        assert notebook.pictures("aa") == [2, 1]  # the same kernel runs the cell again
        notebook.run_cell("dd", "panel.images[0].delete()")
        assert notebook.pictures("aa") == [1, 1]
        # Other cells, and the second panel of this cell, do not restore the pictures.
        assert notebook.pictures("ee") == []
        assert notebook.pictures("aa", f"{PANEL}\nxai.panel('a second one')") == [1, 1]
    assert count_requests(story) == before


def make_foreign(folder: Path) -> Path:
    """Give the library an id that was never trusted here; return its folder."""
    home = home_of(folder)
    with contextlib.closing(sqlite3.connect(home / "library.sqlite3")) as library, library:
        library.execute("UPDATE identity SET id = ?", (secrets.token_hex(8),))
    return home


def test_forms_of_an_untrusted_library_are_not_restored(story: Path) -> None:
    """Their templates would read variables, and their inputs files."""
    make_foreign(story)
    show = "print(panel.form['prompt'], panel.prompts)"
    with open_notebook(story) as notebook:
        assert notebook.pictures("aa") == [2, 1]
        assert notebook.run_cell("cc", show) == "a barn []\n"
        notebook.run_cell("dd", "xai.trust_library()")
        notebook.run_cell("aa", PANEL)
        assert notebook.run_cell("cc", show).startswith("a {{ 1 + 1 }} mill ['")


def test_a_notice_explains_a_missing_form(story: Path) -> None:
    make_foreign(story)
    with open_notebook(story) as notebook:
        notebook.run_cell("aa", f"{PANEL}\nother = xai.panel('a second one')")
        notice = notebook.run_cell("cc", "print(other.notice or panel.notice, panel.trouble)")
        assert notice.startswith("This library was made on another computer, ")
        assert notice.endswith("xai_notebook.trust_library() \n")  # and no trouble
        notebook.run_cell("dd", "ask(panel, n=1)")
        assert notebook.run_cell("cc", "print([panel.notice])") == "['']\n"
        notebook.run_cell("ee", "xai.trust_library()")
        notebook.run_cell("aa", PANEL)
        assert notebook.run_cell("cc", "print([panel.notice])") == "['']\n"


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_read_only_library_can_be_trusted(unprivileged_folder: Path) -> None:
    folder = unprivileged_folder / "notebooks"
    folder.mkdir()
    with open_notebook(folder) as notebook:
        notebook.run_cell("aa", PANEL)
        notebook.run_cell("bb", "ask(panel, n=1, prompt='a mill')")
    subprocess.run(["chmod", "-R", "a-w,a+rX", make_foreign(folder)], check=True)
    library = "current_session().library()"
    show = f"print(panel.form['prompt'], bool(panel.notice), {library}.database.read_only)"
    with open_notebook(folder) as notebook:
        notebook.run_cell("cc", READ_ONLY)
        assert notebook.pictures("aa") == [1]
        assert notebook.run_cell("dd", show) == "a barn True True\n"
        notebook.run_cell("ee", "xai.trust_library()")
        notebook.run_cell("aa", PANEL)
        assert notebook.run_cell("dd", show) == "a mill False True\n"


def test_jobs_and_input_images_are_restored(story: Path) -> None:
    show = "print(panel.cell, panel.trouble)"
    submit = (
        "edited = panel.cards[-1]['id']\n"
        "panel._receive(None, {'kind': 'edit', 'id': edited, 'name': 'it'}, [])\n"
        "while edited not in panel._tray.images: time.sleep(0.02)\n"
        "form = {**panel.form, 'n': 2, 'inputs': [{'id': edited, 'name': 'it'}]}\n"
        "panel._receive(None, {'kind': 'submit', 'form': form}, [])\n"
        "while not xai.jobs() or xai.jobs()[0].state == 'new': time.sleep(0.02)\n"
        "xai.jobs()[0].wait()"
    )
    with open_notebook(story) as notebook:
        notebook.run_cell("aa", PANEL)
        notebook.run_cell("bb", submit)
    with open_notebook(story) as notebook:
        assert notebook.pictures("aa") == [2, 1, 2]
        printed = notebook.run_cell("cc", show)
        assert "-n 2 --image=@" in printed
        assert "No longer available" not in printed
        notebook.run_cell("dd", "panel.images[2].delete()")
        notebook.run_cell("aa", PANEL)
        printed = notebook.run_cell("cc", show)
        assert "--image" not in printed
        assert "No longer available as input images: @" in printed


def test_options_of_a_changed_cell_win_over_the_stored_form(story: Path) -> None:
    panel = "panel = xai.panel('a horse', n=4)"
    with open_notebook(story, "renamed.ipynb") as notebook:
        assert notebook.pictures("aa", panel) == [2, 1]
        show = "print(panel.form['prompt'], panel.form['n'])"
        assert notebook.run_cell("cc", show) == "a horse 4\n"
        notebook.run_cell("cc", "ask(panel, n=1)")
        assert notebook.pictures("aa", panel) == [2, 1, 1]
    with open_notebook(story) as notebook:  # a copy does not change the original notebook
        assert notebook.pictures("aa") == [2, 1]


def test_visitors_get_no_stored_state(story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOILA_PREHEAT", "False")
    with open_notebook(story) as notebook:
        assert notebook.pictures("aa") == []
        show = "print(panel.form['prompt'], panel.prompts, panel.cards)"
        assert notebook.run_cell("bb", show) == "a barn [] []\n"
        notebook.run_cell("bb", "ask(panel, prompt='a secret of a visitor')")
    monkeypatch.delenv("VOILA_PREHEAT")
    with open_notebook(story) as notebook:
        assert notebook.pictures("aa") == [2, 1]
        assert "secret" not in notebook.run_cell("bb", "print(panel.prompts)")


@pytest.mark.parametrize(
    ("command", "above", "panel", "expected"),
    [
        (NBCONVERT, ABOVE, PANEL, 3),
        (PAPERMILL, ABOVE, PANEL, 3),
        (NBCONVERT, "2 + 2", PANEL, 0),
        (PAPERMILL, ABOVE, "panel = xai.panel('a stable')\nask(panel)", 1),
    ],
    ids=["nbconvert", "papermill", "other code above", "other panel"],
)
def test_unattended_notebooks_are_found_by_their_code(
    story: Path, command: list[str], above: str, panel: str, expected: int
) -> None:
    """These tools report neither notebook nor cell. A notebook with other code restores nothing."""
    before = count_requests(story)
    variables = without_xai(os.environ) | {
        "XAI_API_KEY": KEY,
        "XAI_NOTEBOOK_BACKEND": "local",
        "XAI_NOTEBOOK_HOME": str(home_of(story)),
        "IPYTHONDIR": str(story.parent / "ipython"),
    }
    for name, codes in (("story", (LOAD, ABOVE, PANEL)), ("other", (LOAD, above, panel))):
        cells = zip(("load", "above", "aa"), codes, strict=True)
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(code, id=cell) for cell, code in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        )
        nbformat.write(notebook, story / f"{name}.ipynb")
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-m", *command],
            env=variables, cwd=story, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        # Jupyter chooses a kernel's ports before it binds them: another process may be faster.
        if "Address already in use" not in run.stderr:
            break
    assert run.returncode == 0, run.stderr
    text = (story / "done.ipynb").read_text()
    assert KEY not in text
    done = nbformat.reads(text, as_version=4)
    assert "widgets" in done.metadata
    html = "".join(output.data.get("text/html", "") for output in done.cells[2].outputs)
    assert html.count("<img ") == expected
    assert count_requests(story) == before + ("ask(" in panel)

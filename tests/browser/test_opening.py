"""Opening a notebook runs nothing and asks for nothing, whatever it, or the browser, has stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nbformat
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

PANEL = "%load_ext xai_notebook\n%xai_panel"
HARM = "open('harm', 'w').close()"
MAKE = """async () => {
  const { commands } = jupyterapp, { execute } = commands;
  const made = new Promise(resolve => {
    commands.execute = (id, args) => id === "docmanager:open"
      ? Promise.resolve(resolve(args.path)) : execute.call(commands, id, args);
  });
  await execute.call(commands, "launcher:create");
  await execute.call(commands, "xai-notebook:panel", { cwd: "" });
  commands.execute = execute;
  return made;
}"""
"""Has the command make its notebook, but not open it; returns the path."""
LATER = """() => { const now = Date.now; Date.now = () => now.call(Date) + 61_000; }"""
COUNT = """async () => {
  const { kernel } = jupyterapp.shell.currentWidget.sessionContext.session;
  await kernel.requestExecute({ code: "", silent: true }).done; // by now, all is sent
  const asked = kernel.requestExecute({ code: "1", store_history: true });
  return (await asked.done).content.execution_count;
}"""
"""Runs a line; returns how many cells have run by then, this one included."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def fresh(lab: Any, page: Page) -> Iterator[Page]:
    """JupyterLab, loaded anew: a page whose clock may be changed."""
    page.goto(lab.url("lab?reset"))
    page.wait_for_function("() => window.jupyterapp?.commands.hasCommand('xai-notebook:panel')")
    yield page
    page.evaluate("() => localStorage.removeItem('xai-notebook:run')")
    page.goto("about:blank")  # the next test loads it with its own clock
    lab.clear()


def has_run(lab: Any, page: Page, name: str) -> bool:
    """Open a notebook; tell whether a cell of it has run by itself."""
    lab.open(page, name)
    return bool(page.evaluate(COUNT) > 1)


def change(lab: Any, name: str, edit: Callable[[Any], object]) -> None:
    """Edit a notebook on disk, as whoever can write there might."""
    notebook = nbformat.read(lab.folder / name, as_version=4)
    edit(notebook)
    nbformat.write(notebook, lab.folder / name)


def test_a_name_left_in_the_browser_runs_nothing(lab: Any, fresh: Page) -> None:
    """Nor does one that a notebook of that name comes with."""
    name = lab.add("Untitled.ipynb", HARM).name
    fresh.evaluate("name => localStorage.setItem('xai-notebook:run', name)", name)
    assert not has_run(lab, fresh, name)
    assert not (lab.folder / "harm").exists()


def test_the_new_notebook_runs_once(lab: Any, fresh: Page) -> None:
    """When it opens; opened again, with another kernel, it does not."""
    name = fresh.evaluate(MAKE)
    lab.open(fresh, name)
    fresh.get_by_role("heading", name="xAI images").wait_for(timeout=60_000)
    assert not has_run(lab, fresh, name)


@pytest.mark.parametrize(
    "edit",
    [
        lambda notebook: notebook.cells[0].update(source=HARM),
        lambda notebook: notebook.cells[0].update(source=f"{PANEL}\n{HARM}"),
        lambda notebook: notebook.cells[0].update(source=f"{PANEL} "),
        lambda notebook: notebook.cells.append(nbformat.v4.new_code_cell(HARM)),
        lambda notebook: notebook.cells.insert(0, nbformat.v4.new_markdown_cell("# Hi")),
        lambda notebook: notebook.cells[0].update(id="another"),
        lambda notebook: notebook.cells[0].update(cell_type="raw"),
    ],
    ids=["source", "more", "blank", "second cell", "cell above", "other id", "no code"],
)
def test_a_changed_notebook_does_not_run(
    lab: Any, fresh: Page, edit: Callable[[Any], object]
) -> None:
    """Between the moment that it was made and the moment that it opens."""
    name = fresh.evaluate(MAKE)
    change(lab, name, edit)
    assert not has_run(lab, fresh, name)
    assert not (lab.folder / "harm").exists()


def test_a_copy_of_the_new_notebook_does_not_run(lab: Any, fresh: Page) -> None:
    """Another notebook has the very cell, its id included."""
    name = fresh.evaluate(MAKE)
    (lab.folder / "copy.ipynb").write_bytes((lab.folder / name).read_bytes())
    assert not has_run(lab, fresh, "copy.ipynb")


def test_after_a_minute_the_new_notebook_does_not_run(lab: Any, fresh: Page) -> None:
    """Whoever opens it then may be somebody else."""
    name = fresh.evaluate(MAKE)
    fresh.evaluate(LATER)
    assert not has_run(lab, fresh, name)


def test_the_command_runs_its_own_cell_alone(lab: Any, fresh: Page) -> None:
    """Not the other cells that are selected beside the empty one that it fills."""
    lab.open(fresh, lab.add("chosen.ipynb", HARM, "").name)
    fresh.evaluate(
        "() => { const n = jupyterapp.shell.currentWidget.content; n.activeCellIndex = 0;"
        " n.extendContiguousSelectionTo(1); }"
    )
    fresh.evaluate("() => { jupyterapp.commands.execute('xai-notebook:panel'); }")
    fresh.get_by_role("heading", name="xAI images").wait_for(timeout=60_000)
    assert not (lab.folder / "harm").exists()

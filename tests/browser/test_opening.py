"""Opening a notebook runs no code, regardless of the contents of notebook and browser storage."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from harness import Kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

    from harness import Shoot

PANEL = "%load_ext xai_notebook\n%xai_panel"
HARM = "open('harm', 'w').close()"
CREATE_NOTEBOOK = """async () => {
  const { commands } = jupyterapp, { execute } = commands;
  const path = new Promise(resolve => {
    commands.execute = (id, args) => id === "docmanager:open"
      ? Promise.resolve(resolve(args.path)) : execute.call(commands, id, args);
  });
  await execute.call(commands, "launcher:create");
  await execute.call(commands, "xai-notebook:panel", { cwd: "" });
  commands.execute = execute;
  return path;
}"""
"""Run the panel command, but do not open the notebook that it creates; return the path."""
ADVANCE_CLOCK = """() => { const now = Date.now; Date.now = () => now.call(Date) + 61_000; }"""
"""Move the page's clock forward by 61 s."""
EXECUTION_COUNT = """async () => {
  const { kernel } = jupyterapp.shell.currentWidget.sessionContext.session;
  await kernel.requestExecute({ code: "", silent: true }).done; // all earlier requests are sent
  const counted = kernel.requestExecute({ code: "1", store_history: true });
  return (await counted.done).content.execution_count;
}"""
"""Run an expression; return the number of executions so far, including this one."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def fresh(lab: Any, page: Page) -> Iterator[Page]:
    """JupyterLab without open notebooks, in an empty folder."""
    if not lab.is_loaded(page):
        page.goto(lab.url("lab?reset"))
        page.wait_for_function("() => window.jupyterapp?.commands.hasCommand('xai-notebook:panel')")
        # Before the layout is restored, JupyterLab resets the current widget.
        page.evaluate("() => jupyterapp.restored")
    yield page
    if lab.is_loaded(page):
        page.evaluate("() => localStorage.removeItem('xai-notebook:run')")
        lab.close(page)
    lab.clear()


def open_runs_cells(lab: Any, page: Page, name: str) -> bool:
    lab.open(page, name)
    return bool(page.evaluate(EXECUTION_COUNT) > 1)


def change(lab: Any, name: str, edit: Callable[[Any], object]) -> None:
    notebook = nbformat.read(lab.folder / name, as_version=4)
    edit(notebook)
    nbformat.write(notebook, lab.folder / name)


def test_browser_storage_runs_nothing(lab: Any, fresh: Page) -> None:
    name = lab.add("Untitled.ipynb", HARM).name
    fresh.evaluate("name => localStorage.setItem('xai-notebook:run', name)", name)
    assert not open_runs_cells(lab, fresh, name)
    assert not (lab.folder / "harm").exists()


def test_the_new_notebook_runs_once(lab: Any, fresh: Page, shoot: Shoot) -> None:
    name = fresh.evaluate(CREATE_NOTEBOOK)
    lab.open(fresh, name)
    fresh.get_by_role("heading", name="xAI images").wait_for(timeout=60_000)
    shoot(fresh, "new-panel")
    assert not open_runs_cells(lab, fresh, name)


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
    ids=["source", "new line", "blank", "second cell", "cell above", "other id", "raw cell"],
)
def test_a_changed_notebook_does_not_run(
    lab: Any, fresh: Page, edit: Callable[[Any], object]
) -> None:
    name = fresh.evaluate(CREATE_NOTEBOOK)
    change(lab, name, edit)
    assert not open_runs_cells(lab, fresh, name)
    assert not (lab.folder / "harm").exists()


def test_a_copy_of_the_new_notebook_does_not_run(lab: Any, fresh: Page) -> None:
    name = fresh.evaluate(CREATE_NOTEBOOK)
    (lab.folder / "copy.ipynb").write_bytes((lab.folder / name).read_bytes())
    assert not open_runs_cells(lab, fresh, "copy.ipynb")


def test_the_permission_to_run_expires_after_a_minute(lab: Any, fresh: Page) -> None:
    name = fresh.evaluate(CREATE_NOTEBOOK)
    fresh.evaluate(ADVANCE_CLOCK)
    assert not open_runs_cells(lab, fresh, name)
    fresh.goto("about:blank")  # the next test loads JupyterLab with an unmodified clock


def test_the_command_runs_only_its_own_cell(lab: Any, fresh: Page) -> None:
    lab.open(fresh, lab.add("chosen.ipynb", HARM, "").name)
    fresh.wait_for_function("() => jupyterapp.shell.currentWidget?.content")
    fresh.evaluate(
        "() => { const n = jupyterapp.shell.currentWidget.content; n.activeCellIndex = 0;"
        " n.extendContiguousSelectionTo(1); }"
    )
    fresh.evaluate("() => { jupyterapp.commands.execute('xai-notebook:panel'); }")
    fresh.get_by_role("heading", name="xAI images").wait_for(timeout=60_000)
    assert not (lab.folder / "harm").exists()


DUMP_WIDGET_STATE = """\
import json, ipywidgets
import xai_notebook as xai
panel, library = xai.panel("a fox"), xai.library()
state = ipywidgets.Widget.get_manager_state()
json.dump([state, panel.model_id, library.model_id], open("state.json", "w"))
"""
MARKUP = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>"
CARD = {
    "id": "image1", "picture": 1, "group": 1, "name": MARKUP, "ok": True, "title": MARKUP,
    "error": MARKUP, "alt": MARKUP, "label": MARKUP, "asked": MARKUP, "prompt": MARKUP,
    "written": True, "facts": [MARKUP], "replayed": True, "size": [1e9, -1], "saved": MARKUP,
    "trouble": MARKUP, "starred": True, "tags": [MARKUP],
}  # fmt: skip
PIXEL = "R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
OUTPUT = f"""\
<div class="xai-result"><figure>
<img src="data:image/gif;base64,{PIXEL}" width="60" height="60"
  class="xai-opens" data-key="image1" data-action="delete"
  alt="x, generated from the prompt: {MARKUP.replace("<", "&lt;")}">
<figcaption><strong>Prompt:</strong> <bdi>{MARKUP.replace("<", "&lt;")}</bdi></figcaption>
</figure></div>
<section class="xai-widget xai-panel xai-alive" data-key="image1">
<span class="xai-primary" role="button" data-action="generate">Generate</span></section>"""
VIEW = "application/vnd.jupyter.widget-view+json"
WIDGETS = "application/vnd.jupyter.widget-state+json"
PAGE_STATE = """() => ({
  hacked: window.hacked,
  cells: [...jupyterapp.shell.currentWidget.content.widgets]
    .map(({ model }) => model.sharedModel.getSource()),
})"""


@pytest.fixture(scope="module")
def hostile(lab: Any, page: Page, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return a function that writes a hostile notebook and returns its name.

    Its outputs imitate our markup, and its widgets are ours with a state that an attacker chose.
    """
    page.goto("about:blank")  # the notebook is opened by its address
    folder = tmp_path_factory.mktemp("attacker")
    kernel = Kernel(folder)
    try:
        outcome = kernel.run(DUMP_WIDGET_STATE)
    finally:
        kernel.stop()
    assert outcome.error is None, outcome.error
    state, panel, library = json.loads((folder / "state.json").read_text())
    state["state"][panel]["state"] |= {
        **dict.fromkeys(
            ("trouble", "notice", "destination", "spent", "saved", "models_note"), MARKUP
        ),
        "cell": HARM,
        "cell_id": "first",
        "cards": [CARD],
        "prompts": [MARKUP],
        "earlier": 1e99,
        "jobs": [{"id": "j", "prompt": MARKUP, "state": "running", "line": MARKUP, "n": 3}],
        "form": {"prompt": MARKUP, "inputs": [{"id": "image1", "name": MARKUP}], "n": 10},
        "said": {"number": 1, "text": MARKUP},
    }
    state["state"][library]["state"] |= {"words": MARKUP, "order": MARKUP, "filters": {}}

    def write(kernel: str) -> str:
        outputs = [
            nbformat.v4.new_output("display_data", {VIEW: {"model_id": model}})
            for model in (panel, library)
        ]
        outputs.append(nbformat.v4.new_output("display_data", {"text/html": OUTPUT}))
        first = nbformat.v4.new_code_cell(HARM, id="first", outputs=outputs)
        metadata = {
            "kernelspec": {"name": kernel, "display_name": kernel},
            "widgets": {WIDGETS: state},
        }
        cells = [first, nbformat.v4.new_code_cell(HARM)]
        notebook = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
        name = f"hostile-{kernel}.ipynb"
        nbformat.write(notebook, lab.folder / name)
        return name

    return write


@pytest.mark.parametrize("kernel", ["python3", "no-such-kernel"])
def test_a_hostile_notebook_does_nothing(
    lab: Any, page: Page, hostile: Callable[[str], str], kernel: str, shoot: Shoot
) -> None:
    """It makes no difference whether the notebook is trusted."""
    name = hostile(kernel)
    before = sorted(lab.home.rglob("*.jpg"))
    requested_urls: list[str] = []
    page.on("request", note := lambda request: requested_urls.append(request.url))
    lab.show(page, name)
    if kernel == "python3":
        lab.wait_for_kernel(page)
    else:
        page.locator(".jp-Dialog button", has_text="No Kernel").click()
    picture = page.locator("figure img.xai-opens")
    picture.wait_for()

    def check_no_effects() -> None:
        if kernel == "python3":
            assert page.evaluate(EXECUTION_COUNT) in {1, 2}  # the count includes this query
        assert page.evaluate(PAGE_STATE) == {"hacked": None, "cells": [HARM, HARM]}
        assert not (lab.folder / "harm").exists()
        assert sorted(lab.home.rglob("*.jpg")) == before
        origin = f"http://127.0.0.1:{lab.port}/"
        assert [
            url for url in requested_urls if not url.startswith((origin, "data:", "blob:"))
        ] == []

    check_no_effects()
    page.evaluate("() => { jupyterapp.commands.execute('notebook:trust'); }")
    page.locator(".jp-Dialog button.jp-mod-warn").click()
    page.locator(".jp-Dialog").wait_for(state="detached")
    page.wait_for_function(
        "() => [...jupyterapp.shell.currentWidget.content.model.cells].every(c => c.trusted)"
    )
    page.locator(".jp-mod-trusted figure img.xai-opens").wait_for()
    if kernel == "python3":  # otherwise jupyterlab_widgets restores no widgets (manager.ts)
        page.get_by_role("heading", name="xAI images").wait_for()
        page.get_by_role("heading", name="Your pictures").wait_for()
    shoot(page, f"hostile-{kernel}")
    picture.click()
    page.get_by_role("dialog").get_by_text("window.hacked=1").first.wait_for()
    check_no_effects()
    page.remove_listener("request", note)
    page.keyboard.press("Escape")

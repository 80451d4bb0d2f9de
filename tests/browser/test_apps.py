"""Panel and library in apps without IPython, in a real Chromium: marimo and Solara.

Tests of packages that are not installed are skipped; `.ci/services` installs all of them.
"""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import requests

from browser.conftest import CONTRAST, LOADED
from harness import KEY, needs_package, until, without_xai
from numbering_server import start_numbering_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page

    from harness import Shoot
    from numbering_server import NumberingServer

HEAD = """
import marimo
app = marimo.App()

@app.cell
def _():
    import marimo as mo
    import xai_notebook as xai
    light = "dusk"
    return light, mo, xai
"""
PANEL = (
    HEAD
    + """
@app.cell
def _(mo):
    button = mo.ui.button(label="Run again")
    button
    return (button,)

@app.cell
def _(button, mo, xai):
    button
    panel = mo.ui.anywidget(xai.panel("an owl"))
    panel
    return (panel,)

@app.cell
def _(mo, panel):
    mo.md(f"prompts: {[image.prompt for image in panel.images]}")
    return

if __name__ == "__main__":
    app.run()
"""
)
LIBRARY = (
    HEAD
    + """
@app.cell
def _(mo, xai):
    xai.generate("a fox")
    xai.generate("a grey owl")
    library = mo.ui.anywidget(xai.library())
    library
    return (library,)

@app.cell
def _(library, mo):
    mo.md(f"selected: {[image.prompt for image in library.selected]}")
    return

if __name__ == "__main__":
    app.run()
"""
)
SOLARA = """
import solara
import xai_notebook as xai

@solara.component
def Page():
    panel = solara.use_memo(lambda: xai.panel("an owl"), [])
    library = solara.use_memo(xai.library, [])
    solara.display(panel)
    solara.display(library)
"""
DROP = """(element, text) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], "photo.png", { type: "image/png" }));
  for (const type of ["dragenter", "dragover", "drop"])
    element.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, composed: true }));
}"""
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR4nGP8z8DAwMDAxMDAwMDAAAANHQEDasKb6Q"
    "AAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="module")
def images() -> Iterator[NumberingServer]:
    with start_numbering_server() as server:
        yield server


@dataclass
class Tool:
    """A running server of marimo or Solara."""

    browser: Browser
    address: str

    @contextlib.contextmanager
    def open(self, path: str = "", **options: Any) -> Iterator[Page]:
        """Open a page with a browser profile of its own."""
        context = self.browser.new_context(viewport={"width": 1280, "height": 1000}, **options)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.goto(f"{self.address}/{path}")
        yield page
        context.close()


@contextlib.contextmanager
def start(folder: Path, images: NumberingServer, browser: Browser, *command: str) -> Iterator[Tool]:
    """Start a server for the folder on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **without_xai(),
        "XAI_API_KEY": KEY,
        "XAI_API_HOST": images.host,
        "XAI_NOTEBOOK_HOME": str(folder / "home"),
        "HOME": str(folder),  # settings of the developer's marimo
        "XDG_CONFIG_HOME": str(folder),
    }
    log = folder / "server.log"
    arguments = [sys.executable, "-m", *command, "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments, env=environment, stdout=output, stderr=output, cwd=folder
        )
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, log.read_text(errors="replace")
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(address, timeout=60).ok
        return False

    try:
        until(answers)
        yield Tool(browser, address)
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def marimo(
    images: NumberingServer, browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tool]:
    """Marimo's editor, with the notebooks of these tests."""
    folder = tmp_path_factory.mktemp("marimo")
    (folder / "panel.py").write_text(PANEL)
    (folder / "again.py").write_text(PANEL.replace("an owl", "a whale"))
    (folder / "library.py").write_text(LIBRARY)
    (folder / "pyproject.toml").write_text(
        "[tool.marimo.runtime]\nauto_instantiate = true\n[tool.marimo.display]\ntheme = 'system'\n"
    )
    command = ("marimo", "--yes", "edit", str(folder), "--headless", "--no-token",
               "--skip-update-check")  # fmt: skip
    with start(folder, images, browser, *command) as tool:
        yield tool


def focused(page: Page) -> str:
    """Return the classes of the focused element, in shadow trees, too."""
    return str(
        page.evaluate("""() => {
          let element = document.activeElement;
          while (element.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
          return element.className;
        }""")
    )


def wait_for_pictures(panel: Locator, count: int) -> None:
    panel.locator(".xai-card img").nth(count - 1).wait_for()
    until(lambda: all(image.evaluate(LOADED) for image in panel.locator(".xai-card img").all()))


@needs_package("marimo")
def test_the_panel_works_in_marimo(marimo: Tool, images: NumberingServer, shoot: Shoot) -> None:
    """By keyboard and by drop; other cells follow."""
    with marimo.open("?file=panel.py") as page:
        panel = page.locator(".xai-panel.xai-alive")
        panel.evaluate("element => { element.dataset.first = 'true'; }")
        area = panel.get_by_role("textbox", name="Prompt")
        area.click()
        area.press("Control+a")
        page.keyboard.type("a fox at {{ light }}")
        panel.get_by_label("Images", exact=True).fill("2")
        area.press("Control+Enter")
        wait_for_pictures(panel, 2)
        page.get_by_text("prompts: ['a fox at dusk', 'a fox at dusk']").wait_for()
        assert images.prompts == ["a fox at dusk"]
        assert panel.get_attribute("data-first") == "true"  # the cell has not run again
        code = panel.get_by_role("group", name="Equivalent call").text_content()
        assert code == "xai.generate('a fox at dusk', n=2, replay=True)"

        panel.get_by_role("button", name="More: image 1 of 2").press("Enter")
        panel.get_by_role("menuitem", name="Star", exact=True).press("Enter")
        panel.locator(".xai-star:visible").wait_for()
        assert "xai-dots" in focused(page)

        panel.locator(".xai-picture").first.press("Enter")
        viewer = panel.get_by_role("dialog", name="Picture 1 of 2")
        viewer.get_by_role("heading", name="The call that made it").wait_for()
        assert focused(page) == "xai-view"
        page.keyboard.press("ArrowRight")
        panel.get_by_role("dialog", name="Picture 2 of 2").wait_for()
        page.keyboard.press("*")
        until(lambda: panel.locator(".xai-star:visible").count() == 2)
        shoot(page, "marimo-viewer")
        page.keyboard.press("Escape")
        panel.get_by_role("dialog").wait_for(state="hidden")

        panel.evaluate(DROP, PNG)
        panel.get_by_role("list", name="Images to edit").get_by_text("photo.png").wait_for()
        panel.locator(".xai-thumb img:visible").wait_for()
        shoot(page, "marimo-panel")


@needs_package("marimo")
def test_a_rerun_in_marimo_keeps_form_pictures_and_generations(
    marimo: Tool, images: NumberingServer
) -> None:
    with marimo.open("?file=again.py") as page:
        panel = page.locator(".xai-panel.xai-alive")
        panel.get_by_role("textbox", name="Prompt").fill("a fox at {{ light }}")
        panel.locator(".xai-primary").click()
        wait_for_pictures(panel, 1)
        images.replies_left = 0
        panel.locator(".xai-primary").click()
        until(lambda: images.waiting_calls == 1)
        panel.evaluate("element => { element.dataset.old = 'true'; }")
        page.get_by_role("button", name="Run again").click()
        panel = page.locator(".xai-panel.xai-alive:not([data-old])")
        panel.get_by_role("button", name="Cancel: a fox at {{ light }}").wait_for()
        prompt = panel.get_by_role("textbox", name="Prompt").input_value()
        assert prompt == "a fox at {{ light }}"
        images.replies_left = None
        wait_for_pictures(panel, 2)

        images.replies_left = 0
        panel.locator(".xai-primary").click()
        until(lambda: images.waiting_calls == 1)
        panel.get_by_role("button", name="Cancel: a fox at {{ light }}").click()
        panel.get_by_text("Cancelled.").first.wait_for()
        until(lambda: images.waiting_calls == 0)
        images.replies_left = None


@needs_package("marimo")
def test_the_library_works_in_marimo(marimo: Tool, shoot: Shoot) -> None:
    """In the dark theme: search, selection that other cells follow, export, star and viewer."""
    with marimo.open("?file=library.py", color_scheme="dark") as page:
        library = page.locator(".xai-library")
        library.get_by_text(re.compile(r"^\d pictures")).wait_for()
        library.get_by_label("Search").fill("grey")
        library.get_by_text(re.compile("^1 picture,")).wait_for()
        tile = library.locator(".xai-tile.xai-pictured")
        tile.click()
        page.get_by_text("selected: ['a grey owl']").wait_for()
        assert library.get_by_role("button", name="Use as variable").count() == 0
        library.get_by_role("button", name="Star", exact=True).click()
        library.get_by_text("1 picture starred.").wait_for()
        library.get_by_role("button", name="Export").click()
        library.get_by_text(re.compile("^Saved .*a-grey-owl")).wait_for()
        for text in (library.locator(".xai-title").first, library.get_by_text("1 selected")):
            assert text.evaluate(CONTRAST) > 4.5
        ground = library.evaluate("element => getComputedStyle(element).backgroundColor")
        assert ground != "rgb(255, 255, 255)"
        shoot(page, "marimo-library")
        tile.dblclick()
        viewer = library.get_by_role("dialog", name="Picture 1 of 1")
        viewer.get_by_text("xai.generate('a grey owl')").wait_for()
        shoot(page, "marimo-library-viewer")
        page.keyboard.press("Escape")
        viewer.wait_for(state="hidden")
        assert "xai-shelf" in focused(page)


@needs_package("marimo")
def test_a_marimo_app_is_for_visitors(
    images: NumberingServer, browser: Browser, tmp_path: Path
) -> None:
    """`marimo run` offers a page to others, who make pictures and change nothing."""
    (tmp_path / "panel.py").write_text(PANEL)
    command = ("marimo", "run", str(tmp_path / "panel.py"), "--headless", "--no-token")
    with start(tmp_path, images, browser, *command) as tool, tool.open() as page:
        panel = page.locator(".xai-panel.xai-alive")
        panel.locator(".xai-primary").click()
        wait_for_pictures(panel, 1)
        assert images.prompts[-1] == "an owl"
        assert panel.get_by_role("button", name=re.compile("Save|Submit")).count() == 0


@needs_package("solara")
def test_panel_and_library_work_in_solara(
    images: NumberingServer, browser: Browser, tmp_path: Path, shoot: Shoot
) -> None:
    """Two pages of one process, each with its own panel; the author allows them everything."""
    app = tmp_path / "app.py"
    app.write_text(SOLARA + "\nxai.configure(visitors=False)\n")
    with (
        start(tmp_path, images, browser, "solara", "run", str(app), "--no-open") as tool,
        tool.open() as first,
        tool.open() as second,
    ):
        for page, prompt in ((first, "a red fox"), (second, "a blue whale")):
            panel = page.locator(".xai-panel.xai-alive")
            panel.get_by_role("textbox", name="Prompt").fill(prompt)
            panel.locator(".xai-primary").click()
            wait_for_pictures(panel, 1)
            assert images.prompts[-1] == prompt
        for page, prompt in ((first, "a red fox"), (second, "a blue whale")):
            panel = page.locator(".xai-panel.xai-alive")
            assert panel.locator(".xai-card").count() == 1
            panel.locator(".xai-picture").click()
            viewer = panel.get_by_role("dialog", name="Picture 1 of 1")
            viewer.get_by_text(f"xai.generate('{prompt}')").wait_for()
            page.keyboard.press("*")
            viewer.get_by_role("button", name="Remove star").wait_for()
            shoot(page, f"solara-{prompt[2:5]}")
            page.keyboard.press("Escape")
        library = first.locator(".xai-library")
        library.get_by_label("Search").fill("whale")
        library.get_by_text(re.compile("^1 picture,")).wait_for()
        library.locator(".xai-tile.xai-pictured").dblclick()
        library.get_by_role("dialog").get_by_text("xai.generate('a blue whale')").wait_for()
        shoot(first, "solara-library")

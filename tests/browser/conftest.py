"""A real JupyterLab and a real Chromium, driven by Playwright.

Without a browser these tests are skipped; in CI that is an error.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import nbformat
import pytest
import requests
from axe_playwright_python.sync_playwright import Axe

from harness import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page, ViewportSize

    from harness import Shoot

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
LABEXTENSION = Path(__file__).parents[2] / "xai_notebook" / "notebook" / "static" / "lab"
STARTED = re.compile(r"http://127\.0\.0\.1:(\d+)/")
CONTRAST = """node => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const luminance = (...colors) => {  // of the last color, blended over those before it
    for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
      .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  };
  const backgrounds = [];
  let opacity = 1;
  for (let n = node; n; n = n.parentElement) {
    backgrounds.unshift(getComputedStyle(n).backgroundColor);
    opacity *= Number(getComputedStyle(n).opacity);
  }
  const back = luminance("white", ...backgrounds);
  canvas.globalAlpha = opacity;
  const front = luminance(getComputedStyle(node).color);
  const [a, b] = [front, back].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}"""
"""Return the contrast of a text with its background; the background is painted first."""
LOADED = "image => image.complete && image.naturalWidth > 0"
# The "idle" indicator appears too early: commands still do nothing then.
READY = """async () => {
  const app = window.jupyterapp;
  const widget = app.shell.currentWidget;
  if (!widget || !widget.context || !widget.sessionContext) return false;
  await widget.context.ready;
  await widget.sessionContext.ready;
  return true;
}"""

CLOSE = """async () => {
  for (const widget of [...jupyterapp.shell.widgets("main")]) {
    if (widget.sessionContext?.session) await widget.sessionContext.shutdown();
    widget.dispose();
  }
}"""
RESET_PREFERENCES = """async () => {
  for (const name of Object.keys(localStorage))
    if (name.startsWith("xai-")) localStorage.removeItem(name);
  const theme = "JupyterLab Light";
  await jupyterapp.commands.execute("apputils:change-theme", { theme });
}"""
CLOSE_VIEWERS = """() => {
  for (const viewer of document.querySelectorAll("dialog.xai-viewer[open]")) viewer.close();
}"""
RUN_ALL = """() => Promise.race([
  jupyterapp.commands.execute("notebook:run-all-cells"),
  new Promise((_, fail) => setTimeout(fail, 120_000, new Error("cells run for 120 s"))),
])"""
THEME = "async theme => jupyterapp.commands.execute('apputils:change-theme', {theme})"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
SIZE: Final[ViewportSize] = {"width": 1280, "height": 1000}
OPEN = "path => { jupyterapp.commands.execute('docmanager:open', {path}); }"


@dataclass
class Lab:
    """A running Jupyter server and the folder it serves.

    Attributes:
        folder: The folder that the server serves.
        port: The server's port on 127.0.0.1.
        token: The server's access token.
        kernelspec: The folder of the kernel specification.
        home: The folder of the library that new kernels use.
    """

    folder: Path
    port: int
    token: str
    kernelspec: Path
    home: Path = Path()

    def use(self, home: Path) -> None:
        """Set the library folder of kernels that start later."""
        self.home = home
        self.kernelspec.mkdir(parents=True, exist_ok=True)
        spec = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": "Python 3",
            "language": "python",
            "env": {"XAI_NOTEBOOK_HOME": str(home)},
        }
        (self.kernelspec / "kernel.json").write_text(json.dumps(spec))

    def clear(self) -> None:
        """Stop every kernel, and empty the folder."""
        for kernel in requests.get(self.url("api/kernels"), timeout=60).json():
            requests.delete(self.url(f"api/kernels/{kernel['id']}"), timeout=60)
        for entry in self.folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def add(self, name: str, *cells: str) -> Path:
        """Write a notebook of code cells and return its path."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        )
        path = self.folder / name
        path.write_text(nbformat.writes(notebook))
        return path

    def url(self, path: str) -> str:
        """Return the address of a page of this server."""
        mark = "&" if "?" in path else "?"
        return f"http://127.0.0.1:{self.port}/{path}{mark}token={self.token}"

    def open(self, page: Page, name: str) -> None:
        """Open a notebook in JupyterLab and wait until its kernel is ready."""
        self.show(page, name)
        self.wait_for_kernel(page)

    @staticmethod
    def is_loaded(page: Page) -> bool:
        """Tell whether the page shows JupyterLab."""
        return bool(page.evaluate("() => Boolean(window.jupyterapp)"))

    @staticmethod
    def close(page: Page) -> None:
        """Close all notebooks with their kernels."""
        page.evaluate(CLOSE)

    def wait_for_kernel(self, page: Page) -> None:
        """Wait until the kernel of the open notebook is ready."""
        page.wait_for_function(READY, timeout=60_000)

    def show(self, page: Page, name: str) -> None:
        """Show only this notebook in JupyterLab; load JupyterLab first if necessary."""
        if self.is_loaded(page):
            self.close(page)
            page.evaluate(OPEN, name)
        else:
            page.goto(self.url(f"lab/tree/{name}?reset"))
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)

    def run(self, page: Page, name: str, *cells: str) -> None:
        """Write a notebook, open it in JupyterLab and run every cell, which must succeed."""
        self.open(page, self.add(name, *cells).name)
        assert self.run_all(page)

    def show_foreign(self, page: Page, name: str, notebook: Any) -> None:
        """Show a notebook like one from another person: unsigned, with an unknown kernel."""
        notebook.metadata["kernelspec"] = {"name": "no-such-kernel", "display_name": "None"}
        notebook.metadata["language_info"] = {"name": "no-such-language"}
        nbformat.write(notebook, self.folder / name)
        self.show(page, name)
        page.locator(".jp-Dialog button", has_text="No Kernel").click()
        page.locator(".jp-Dialog").wait_for(state="detached")

    def run_all(self, page: Page) -> bool:
        """Run every cell; False if one of them failed."""
        return bool(page.evaluate(RUN_ALL))

    @staticmethod
    def set_theme(page: Page, theme: str) -> None:
        """Change JupyterLab's theme and wait until it is loaded."""
        page.evaluate(THEME, theme)
        page.wait_for_function(
            "theme => document.body.dataset.jpThemeName === theme && "
            "getComputedStyle(document.body).getPropertyValue('--jp-layout-color0') !== ''",
            arg=theme,
        )

    @staticmethod
    def hide_sidebar(page: Page) -> None:
        """Hide the file browser, which is 300 pixels wide."""
        if page.locator("#jp-left-stack").is_visible():
            page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")

    @staticmethod
    def contrast(node: Locator) -> float:
        """Return the contrast of a text with its background, from 1 to 21."""
        return float(node.evaluate(CONTRAST))

    @staticmethod
    def wait_for_picture(image: Locator) -> None:
        """Wait until a picture is loaded."""
        image.wait_for()
        until(lambda: image.evaluate(LOADED))

    @staticmethod
    def violations(page: Page, part: str) -> list[Any]:
        """Return the violations of WCAG 2.1 AA that axe-core finds in a part of the page."""
        options = {"runOnly": {"type": "tag", "values": WCAG}, "resultTypes": ["violations"]}
        violations = Axe().run(page, context=part, options=options).response["violations"]
        return [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in violations]

    def save(self, page: Page, name: str) -> Any:
        """Save the open notebook and return what is on disk."""
        page.evaluate("async () => await jupyterapp.commands.execute('docmanager:save')")
        return nbformat.read(self.folder / name, as_version=4)


def _chromium() -> str:
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    reason = f"no browser: install one of {', '.join(BROWSERS)} (Debian: apt-get install chromium)"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A headless Chromium for the tests of this package.

    Playwright keeps an event loop running in the main thread, where other tests use `asyncio.run`.
    So the browser is stopped after the tests of this package.
    """
    path = _chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS, timeout=120_000)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def window(browser: Browser) -> Iterator[Page]:
    """One page for all modules, because JupyterLab takes seconds to load."""
    context = browser.new_context()
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


@pytest.fixture(autouse=True)
def _no_open_viewer(window: Page) -> Iterator[None]:
    """Close a viewer that a failed test left open: under it, the next tests would fail, too."""
    yield
    window.evaluate(CLOSE_VIEWERS)


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Lab]:
    """A Jupyter server without an API key, in a temporary folder."""
    with start_lab(tmp_path_factory.mktemp("lab")) as started:
        yield started


@pytest.fixture(scope="module")
def lab(server: Lab, window: Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The server, with an empty folder and a library for this module."""
    server.use(tmp_path_factory.mktemp("library"))
    yield server
    if server.is_loaded(window):
        server.close(window)
        window.evaluate(RESET_PREFERENCES)
    server.clear()


@pytest.fixture(scope="module")
def page(window: Page) -> Page:
    window.set_viewport_size(SIZE)
    return window


@contextlib.contextmanager
def start_lab(folder: Path) -> Iterator[Lab]:
    """Start a Jupyter server on a free port, and stop it with its kernels."""
    token = secrets.token_hex(16)
    settings = folder.parent / f"{folder.name}-jupyter"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("XAI_")},
        "JUPYTER_CONFIG_DIR": str(settings / "config"),
        "JUPYTER_DATA_DIR": str(settings / "data"),
        "JUPYTER_PATH": str(settings / "tree"),
        "JUPYTER_RUNTIME_DIR": str(settings / "runtime"),
        "IPYTHONDIR": str(settings / "ipython"),
        "JUPYTERLAB_SETTINGS_DIR": str(settings / "lab"),
    }
    command = [
        sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
        "--port=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}",
        "--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True",
    ]  # fmt: skip
    log = settings / "server.log"
    # Otherwise a question about news covers a corner of every screenshot.
    news = settings / "lab" / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True)
    (news / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    # The extension of this source tree, even if another version is installed.
    extensions = settings / "tree" / "labextensions"
    extensions.mkdir(parents=True)
    (extensions / "xai-notebook").symlink_to(LABEXTENSION)
    with log.open("wb") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        yield Lab(folder, _port(server, log), token, settings / "tree" / "kernels" / "python3")
    finally:
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _port(server: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and server.poll() is None:
        if found := STARTED.search(log.read_text(errors="replace")):
            return int(found[1])
        time.sleep(0.1)
    raise AssertionError(f"no Jupyter server: {log.read_text(errors='replace')[-2000:]}")


@pytest.fixture
def shoot() -> Shoot:
    """Take screenshots into the folder that the variable SCREENSHOTS names, if it is set."""
    folder = os.environ.get("SCREENSHOTS")

    def shoot(page: Page, name: str) -> None:
        if folder:
            page.screenshot(path=Path(folder) / f"{name}.png")

    return shoot

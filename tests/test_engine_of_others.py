"""A server of the OpenAI images API that nobody here wrote: what a notebook makes of its pictures.

aimock comes from npm, and answers generations and edits with the pictures of its fixtures.
"""

from __future__ import annotations

import base64
import getpass
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher

from harness import until
from openai_stub import png
from xai_notebook.notebook.panel.widget import Panel
from xai_notebook.pictures.display import to_html

if TYPE_CHECKING:
    from collections.abc import Iterator

    from IPython.core.interactiveshell import InteractiveShell

PACKAGE = "@copilotkit/aimock"
VERSION = "1.43.0"
MODEL = "gpt-image-1"
MADE, HAT = png("teal", (96, 64)), png("purple", (80, 80))


def fixture(data: bytes, **match: str) -> dict[str, Any]:
    """Return what aimock answers a request with."""
    images = [{"b64Json": base64.b64encode(data).decode()}]
    return {"match": {"endpoint": "image", **match}, "response": {"images": images}}


@pytest.fixture(scope="module")
def aimock() -> Path:
    """Return the folder that it is installed in, once per machine."""
    folder = (
        Path(tempfile.gettempdir()) / f"xai-notebook-tests-{getpass.getuser()}-aimock-{VERSION}"
    )
    if not (folder / "complete").exists():
        npm = shutil.which("npm")
        if npm is None or shutil.which("node") is None:
            pytest.skip("no npm: aimock comes from there")
        command = [npm, "install", "--silent", "--ignore-scripts", "--prefix", str(folder)]
        done = subprocess.run(
            [*command, f"{PACKAGE}@{VERSION}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if done.returncode:
            reason = f"npm could not fetch aimock: {done.stderr.strip()[-200:]}"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        (folder / "complete").touch()
    return folder / "node_modules" / PACKAGE


@pytest.fixture(scope="module")
def engine(aimock: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run it, and return its address."""
    fixtures = tmp_path_factory.mktemp("aimock") / "fixtures.json"
    fixtures.write_text(json.dumps({"fixtures": [fixture(HAT, userMessage="hat"), fixture(MADE)]}))
    command = ["node", str(aimock / "dist" / "cli.js"), "--port", "0", "--fixtures", str(fixtures)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        found = None
        for line in process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                break
        assert found, "aimock did not start"
        yield f"{found[0]}/v1#{MODEL}"
        process.terminate()
        process.wait()


@pytest.fixture
def cells(engine: str, shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> Any:
    """IPython that has it for its engine."""
    monkeypatch.setenv("XAI_NOTEBOOK_ENGINE", engine)
    return shell


def of(images: Any) -> list[tuple[str, bytes]]:
    """Return model and bytes of pictures."""
    return [(image.model, image.data) for image in images]


def test_several_pictures(cells: InteractiveShell) -> None:
    """It gives one an order, whatever it is asked: the rest is ordered after it."""
    made = cells.run_cell_magic("xai_image", "-n 3", "a red fox")
    assert of(made) == [(MODEL, MADE)] * 3
    assert MODEL in to_html(made)
    assert "preview" not in to_html(made).lower()


def test_an_edit(cells: InteractiveShell) -> None:
    """A form with the picture in it, which is answered as edits are."""
    cells.run_cell_magic("xai_image", "--as fox", "a red fox")
    assert of(cells.run_cell_magic("xai_image", "-i fox", "give it a hat")) == [(MODEL, HAT)]


def test_many_prompts(cells: InteractiveShell) -> None:
    """`--each`."""
    made = cells.run_cell_magic("xai_image", "--each", "a fox\nan owl with a hat\na whale")
    assert of(made) == [(MODEL, MADE), (MODEL, HAT), (MODEL, MADE)]


def test_a_job(cells: InteractiveShell) -> None:
    """`--batch`: the embedded server has the engine work it off."""
    cells.run_cell_magic("xai_image", "--batch --each --as job", "a fox\nan owl with a hat")
    made = cells.user_ns["job"].wait()
    assert of(made) == [(MODEL, MADE), (MODEL, HAT)]
    assert MODEL in made.notes[0]


def test_the_panel(cells: InteractiveShell) -> None:
    """Its form, its gallery, and the outputs below it."""
    cells.display_pub = CapturingDisplayPublisher()
    cells.kernel = SimpleNamespace()  # type: ignore[attr-defined]  # a notebook
    panel = Panel("", {}, cells)
    form = {**panel.form, "prompt": "a red fox", "n": "2"}
    panel._receive(None, {"kind": "generate", "form": form}, [])
    until(lambda: panel.trouble or (len(panel.images) == 2 and not panel.jobs), 60)
    assert not panel.trouble
    assert of(panel.images) == [(MODEL, MADE)] * 2
    published: Any = cells.display_pub
    assert any(MODEL in output["data"].get("text/html", "") for output in published.outputs)

"""The magic in JupyterLab: display, saved notebooks, hostile text, interrupts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from harness import KEY, serve, until
from numbering_server import start_numbering_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Locator, Page

    from harness import Served, Shoot

QUICKSTART = Path(__file__).resolve().parents[2] / "notebooks" / "01_quickstart.ipynb"
ARE_VISIBLE = (
    "images => images.every(i => i.complete && i.naturalWidth > 100 && i.clientWidth > 100)"
)
HOSTILE = (
    "<script>window.hacked=1</script></figcaption></figure> <img src=x onerror=window.hacked=1> "
    "\"double\" 'single' &amp; 🦊❄️ שועל אדום $x^2$ $$y$$ \\(z\\) [link](javascript:alert) **b**"
)
LONG = "word " * 999 + "end $x$"
RESTART = "async () => await jupyterapp.shell.currentWidget.sessionContext.restartKernel()"
RUN_CELL = """async number => {
  const notebook = jupyterapp.shell.currentWidget.content;
  notebook.deselectAll();
  notebook.activeCellIndex = number;
  await jupyterapp.commands.execute("notebook:run-cell");
}"""
CONNECT = """\
import os
os.environ["XAI_API_HOST"] = "{address}"
os.environ["XAI_API_KEY"] = "{key}"
%load_ext xai_notebook"""
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def served() -> Iterator[Served]:
    with serve() as server:
        yield server


def cell_output(page: Page, number: int) -> Locator:
    """Return the output of a code cell, scrolled into view."""
    cell = page.locator(".jp-CodeCell").nth(number)
    cell.scroll_into_view_if_needed()
    return cell.locator(".jp-OutputArea-output")


def check_pictures(output: Locator, count: int) -> None:
    output.locator("figure img").nth(count - 1).wait_for(timeout=30_000)
    images = output.locator("figure img")
    assert images.count() == output.locator("figcaption").count() == count
    until(lambda: images.evaluate_all(ARE_VISIBLE))
    for image in images.all():
        assert "generated from the prompt: " in (image.get_attribute("alt") or "")
        image.wait_for()


def test_the_quickstart_is_shown_live_untrusted_and_exported(
    lab: Any, page: Page, shoot: Shoot
) -> None:
    notebook = nbformat.read(QUICKSTART, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    name = QUICKSTART.name
    nbformat.write(notebook, lab.folder / name)
    lab.open(page, name)
    assert lab.run_all(page)
    check_pictures(cell_output(page, 2), 4)
    shoot(page, "quickstart")
    saved = lab.save(page, name)
    assert sum("<figure" in str(cell.get("outputs")) for cell in saved.cells) >= 3

    lab.show_foreign(page, f"foreign-{name}", saved)
    assert not page.evaluate(
        "() => jupyterapp.shell.currentWidget.sessionContext.session || "
        "[...jupyterapp.shell.currentWidget.content.model.cells]"
        ".some(cell => cell.type === 'code' && cell.trusted)"
    )
    check_pictures(cell_output(page, 2), 4)
    assert "Rewritten prompt:" in (page.locator("figcaption").first.text_content() or "")
    shoot(page, "quickstart-untrusted")

    done = subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "html", str(lab.folder / name)],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    html = page.context.new_page()
    html.goto((lab.folder / name).with_suffix(".html").as_uri())
    check_pictures(html.locator(".jp-OutputArea-output:has(figure)").first, 4)
    shoot(html, "quickstart-html")
    html.close()


def check_hostile_text_is_literal(page: Page, outputs: Locator) -> None:
    """Check that hostile text is shown as typed and has done nothing."""
    captions = outputs.locator("figcaption")
    captions.nth(1).wait_for(state="attached", timeout=30_000)
    first, second = (captions.nth(i).text_content() or "" for i in (0, 1))
    assert first.count(HOSTILE) == 3  # rewritten prompt, prompt as written, model
    assert LONG.strip() in second
    alt = outputs.locator("figure img").first.get_attribute("alt") or ""
    assert "<script>window.hacked=1</script>" in alt
    assert page.evaluate("() => window.hacked") is None
    assert outputs.locator("script, a, figure figure, strong + b").count() == 0
    assert outputs.locator("mjx-container, .MathJax, .katex").count() == 0
    assert outputs.locator("figure img").count() == 2


def wait_for_typesetting(page: Page) -> None:
    """Wait until the formula in the last cell is typeset, and with it all others."""
    cell_output(page, 3).locator("mjx-container").first.wait_for(state="attached", timeout=30_000)


def test_hostile_text_is_shown_literally(
    lab: Any, page: Page, served: Served, shoot: Shoot
) -> None:
    served.faults.up_sampled = False
    served.faults.chat_text = HOSTILE
    served.faults.model_name = HOSTILE
    name = "hostile.ipynb"
    lab.run(
        page,
        name,
        CONNECT.format(address=served.address, key=KEY),
        f"%%xai_image --rewrite\n{HOSTILE}",
        f"%%xai_image\n{LONG}",
        "from IPython.display import Math\nMath('x^2')",
    )
    cell_output(page, 2).locator("figure").wait_for(timeout=30_000)
    wait_for_typesetting(page)
    check_hostile_text_is_literal(page, page.locator(".jp-OutputArea-output:has(figure)"))
    shoot(page, "hostile")
    lab.show_foreign(page, "foreign.ipynb", lab.save(page, name))
    wait_for_typesetting(page)
    check_hostile_text_is_literal(page, page.locator(".jp-OutputArea-output:has(figure)"))


def test_both_themes_have_enough_contrast(lab: Any, page: Page, shoot: Shoot) -> None:
    name = lab.add(
        "dark.ipynb",
        "%load_ext xai_notebook",
        "%xai_image -n 2 --fresh a lighthouse at night [moderated:2]",
        "%xai_image -n 11 too many",
    ).name
    lab.open(page, name)
    assert not lab.run_all(page)
    outputs = page.locator(".jp-OutputArea-output")
    outputs.locator("figure").nth(1).wait_for(timeout=30_000)
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        lab.set_theme(page, theme)
        shoot(page, f"notebook-{theme[11:]}")
        for node in outputs.locator("figcaption div, figure > div, summary, bdi").all():
            if node.is_visible():
                assert lab.contrast(node) >= 4.5, (theme, node.text_content())
    lab.set_theme(page, "JupyterLab Light")


def test_the_stop_button_interrupts(lab: Any, page: Page, served: Served) -> None:
    name = lab.add(
        "stop.ipynb",
        CONNECT.format(address=served.address, key=KEY),
        "%xai_image --fresh a slow fox",
        "%xai_image --fresh a quick fox",
    ).name
    lab.open(page, name)
    served.faults.delay = lambda request: 60.0 if "slow" in request.prompt else 0.0
    page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")
    call = served.wait_for_call(1)
    page.get_by_text("Making an image").wait_for(timeout=30_000)
    page.get_by_title("Interrupt the kernel").or_(
        page.locator("[data-command='notebook:interrupt-kernel']")
    ).first.click()
    until(lambda: call.cancelled, 20)  # long before the 60 s it would have taken
    cell_output(page, 1).get_by_text("what had arrived is in the library").wait_for(timeout=30_000)
    page.get_by_text("Making an image").wait_for(state="detached", timeout=30_000)
    page.evaluate(RUN_CELL, 2)
    check_pictures(cell_output(page, 2), 1)


def test_run_all_replays_what_the_notebook_showed_last(lab: Any, page: Page) -> None:
    """A cell run again by hand gets new pictures."""
    with start_numbering_server() as image_server:
        request = "print([image.sha256[:12] for image in xai.generate('a fox')])"
        loop = "for _ in range(2): " + request
        name = lab.add(
            "replay.ipynb",
            CONNECT.format(address=image_server.host, key=KEY) + "\nimport xai_notebook as xai",
            *(request, request, loop, "%xai_image --as four a fox", "print(four[0].sha256[:12])"),
        ).name

        def run_all() -> list[str]:
            assert lab.run_all(page)
            return shown()

        def shown() -> list[str]:
            cells = lab.save(page, name).cells
            return [out.text for cell in cells for out in cell.outputs if "text" in out]

        lab.open(page, name)
        first = run_all()
        assert len(image_server.image_counts) == 5
        for _ in range(2):
            page.evaluate(RESTART)
            lab.wait_for_kernel(page)
            assert run_all() == first
        assert len(image_server.image_counts) == 5
        for number in (2, 3):
            page.evaluate(RUN_CELL, number)
        again = shown()
        assert len(image_server.image_counts) == 8
        assert [old == new for old, new in zip(first, again, strict=True)] == [
            *(True, False, False, True)
        ]
        page.evaluate(RESTART)
        lab.wait_for_kernel(page)
        assert run_all() == again
        assert len(image_server.image_counts) == 8

"""The progress display in JupyterLab, and its replacement by the pictures."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

import grpc
import nbformat
import pytest

from harness import hold_until, serve, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from harness import Served, Shoot

RUN = "async () => { jupyterapp.commands.execute('notebook:run-all-cells'); }"
OUTPUT = ".jp-OutputArea-output"
ASPECT_RATIOS = "boxes => boxes.map(box => box.clientHeight && box.clientWidth / box.clientHeight)"
PROGRESS_AFTER_SCROLLING = """() => {
    const inSight = (element) => {
        const { left, top, right, bottom } = element.getBoundingClientRect();
        return element.contains(document.elementFromPoint((left + right) / 2, (top + bottom) / 2));
    };
    const output = document.querySelector(".jp-OutputArea-output:has(.xai-progress)");
    [...output?.querySelectorAll(".xai-waiting") ?? []].at(-1)?.scrollIntoView(false);
    const picture = output?.querySelector("figure");
    const progress = output?.querySelector(".xai-progress");
    return progress && picture && !inSight(picture) && inSight(progress);
}"""
PROGRESS_BAR = f'{OUTPUT} [role="progressbar"]'


@pytest.fixture(scope="module")
def slow() -> Iterator[Served]:
    """A server shared by the tests of this module; each test sets its faults."""
    with serve() as served:
        yield served


def setup_cell(address: str) -> str:
    """Return the first cell: it sets the server address and an empty, temporary library."""
    return (
        "import os, tempfile\n"
        f"os.environ['XAI_API_HOST'] = '{address}'\n"
        "os.environ['XAI_NOTEBOOK_HOME'] = tempfile.mkdtemp()\n"
        "%load_ext xai_notebook\n%config XaiImage.rate = 0\n"
        "prompts = [f'a fox, {i} of 30' for i in range(30)]"
    )


def second_cell_html(notebook: Any) -> str:
    (output,) = notebook.cells[1].outputs
    return "".join(output["data"]["text/html"])


def test_placeholders_become_pictures_in_place(
    slow: Served, lab: Any, page: Page, shoot: Shoot
) -> None:
    slow.faults.failures = [grpc.StatusCode.UNAVAILABLE] * 3  # the fourth attempt is held
    looked = threading.Event()
    slow.faults.delay = hold_until(lambda _: looked.is_set())
    cell = "%%xai_image -n 4 --aspect-ratio 16:9\na red fox in fresh snow"
    lab.open(page, lab.add("one.ipynb", setup_cell(slow.address), cell).name)
    page.evaluate(RUN)
    boxes = page.locator(f"{OUTPUT} .xai-waiting")
    boxes.nth(3).wait_for()
    # The boxes are re-rendered every second and briefly have no size.
    ratios = until(lambda: all(found := boxes.evaluate_all(ASPECT_RATIOS)) and found)
    assert ratios == [pytest.approx(16 / 9, rel=0.02)] * 4
    shoot(page, "placeholders")
    looked.set()
    page.locator(f"{OUTPUT} figure img").nth(3).wait_for()
    assert boxes.count() == 0
    shoot(page, "pictures")
    notebook = lab.save(page, "one.ipynb")
    assert not re.search("xai-waiting|attempt|Making", second_cell_html(notebook))


def test_the_progress_bar_advances_and_is_replaced(
    slow: Served, lab: Any, page: Page, shoot: Shoot
) -> None:
    slow.reset()
    released = set(range(8))
    # The prompts are "a fox, 0 of 30" to "a fox, 29 of 30".
    slow.faults.delay = hold_until(lambda prompt: int(prompt.split()[2]) in released)
    slow.faults.cost_ticks = 7 * 10**8
    cell = "%xai_image --each prompts --aspect-ratio 1:1"
    lab.open(page, lab.add("many.ipynb", setup_cell(slow.address), cell).name)
    page.evaluate(RUN)
    bar = page.locator(PROGRESS_BAR)
    bar.wait_for()
    advanced = "node => Number(node.getAttribute('aria-valuenow')) > 0"
    page.wait_for_function(
        f"() => [...document.querySelectorAll({PROGRESS_BAR!r})].some({advanced})"
    )
    shoot(page, "bar")
    early = float(bar.get_attribute("aria-valuenow") or 0)
    assert 0 < early < 100
    released.update(range(16))
    more = f'node => Number(node.getAttribute("aria-valuenow")) > {early}'
    page.wait_for_function(f"() => [...document.querySelectorAll({PROGRESS_BAR!r})].some({more})")
    released.update(range(30))
    page.get_by_text("30 of 30 prompts").wait_for(timeout=60_000)
    assert bar.count() == 0
    assert page.locator(f"{OUTPUT} figure img").count() == 24
    assert "and 6 more" in (page.locator(OUTPUT).last.text_content() or "")
    shoot(page, "grid")
    notebook = lab.save(page, "many.ipynb")
    assert "progressbar" not in second_cell_html(notebook)


@pytest.mark.parametrize("interface", ["lab", "notebooks"])
def test_pictures_are_shown_while_others_are_made(
    slow: Served, lab: Any, page: Page, shoot: Shoot, interface: str
) -> None:
    """An interrupt keeps the pictures that have arrived."""
    slow.reset()
    # At most five requests are answered and four in flight, so a tenth is never sent, even if
    # the page is slow.
    slow.faults.delay = lambda request: 0.2 if int(request.prompt.split()[-1]) < 5 else 600
    cell = "%%xai_image --each --as many\n" + "\n".join(f"a fox at dawn {i}" for i in range(20))
    lab.add("partial.ipynb", setup_cell(slow.address).replace("rate = 0", "rate = 2"), cell)
    if interface == "lab":
        lab.open(page, "partial.ipynb")
    else:
        page = page.context.new_page()
        page.goto(lab.url("notebooks/partial.ipynb"))
        page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        lab.wait_for_kernel(page)
    sent = len(slow.calls)
    page.evaluate(RUN)
    pictures = page.locator(f"{OUTPUT} figure img")
    pictures.nth(2).wait_for()
    assert len(slow.calls) - sent < 10
    # One query counts both: the next picture may arrive between two queries.
    assert page.locator(f"{OUTPUT} figure :is(img, .xai-waiting)").count() == 20
    pictures.nth(4).wait_for()
    # The progress stays in sight when the user scrolls to the last placeholders. An update on a
    # busy machine may reset the page's position.
    until(lambda: page.evaluate(PROGRESS_AFTER_SCROLLING), 30)
    shoot(page, "partial")
    page.evaluate("() => jupyterapp.commands.execute('notebook:interrupt-kernel')")
    page.get_by_text("interrupted: run the cell again").wait_for()
    page.get_by_text("KeyboardInterrupt").first.wait_for()  # the traceback is added after the grid
    assert pictures.count() == 5
    shoot(page, "stopped")
    grid, error = lab.save(page, "partial.ipynb").cells[1].outputs
    assert error["output_type"] == "error"
    html = "".join(grid["data"]["text/html"])
    assert html.count("<img") == 5
    assert not re.search("xai-waiting|progressbar|Making", html)
    if interface == "notebooks":
        page.close()


def test_history_shows_the_magic_of_each_picture(
    slow: Served, lab: Any, page: Page, shoot: Shoot
) -> None:
    slow.reset()
    first = f"{setup_cell(slow.address)}\n%xai_image -n 2 a hare at dusk"
    lab.run(page, "past.ipynb", first, "%xai_history -n 6")
    folded = page.locator(f"{OUTPUT} summary", has_text="Magic that made it")
    folded.first.wait_for()
    folded.first.click()
    code = page.locator(f"{OUTPUT} details[open] pre").first
    assert code.inner_text().startswith("%%xai_image -n 2\na hare at dusk")
    code.scroll_into_view_if_needed()
    shoot(page, "history")


def test_a_matrix_is_rendered_in_an_untrusted_notebook(
    slow: Served, lab: Any, page: Page, shoot: Shoot
) -> None:
    slow.reset()
    cell = "%%xai_image --matrix aspect_ratio=1:1,16:9,9:16\na {fox|hare|lighthouse|boat|mill}"
    lab.run(page, "matrix.ipynb", setup_cell(slow.address), cell)
    check_matrix(page)
    shoot(page, "matrix")
    notebook = lab.save(page, "matrix.ipynb")
    unsigned = lab.folder / "unsigned.ipynb"
    html = "".join(notebook.cells[1].outputs[0]["data"]["text/html"]).replace("lighthouse", "tower")
    notebook.cells[1].outputs[0]["data"]["text/html"] = html
    nbformat.write(notebook, unsigned)
    lab.show(page, unsigned.name)
    page.get_by_role("rowheader", name="tower").wait_for()
    trusted = "[...jupyterapp.shell.currentWidget.content.model.cells].map(cell => cell.trusted)"
    assert page.evaluate(trusted) == [False, False]
    check_matrix(page)
    shoot(page, "untrusted")


def check_matrix(page: Page) -> None:
    """Check that a table scrolls inside the page, with names for its rows and columns."""
    table = page.locator(f"{OUTPUT} table")
    table.wait_for()
    assert table.get_by_role("columnheader").all_text_contents() == [
        "aspect ratio 1:1", "aspect ratio 16:9", "aspect ratio 9:16",
    ]  # fmt: skip
    assert table.get_by_role("rowheader").count() == 5
    pictures = table.locator("img")
    assert pictures.count() == 15
    lefts = {round(picture.bounding_box()["x"]) for picture in pictures.all()}  # type: ignore[index]
    assert len(lefts) == 3
    style = "node => getComputedStyle(node).overflowX"
    assert page.locator(f"{OUTPUT} div:has(> table)").evaluate(style) == "auto"

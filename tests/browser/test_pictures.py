"""Pictures in cell outputs open in the viewer, from the data in the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness import until

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from harness import Shoot

CELLS = (
    "%load_ext xai_notebook",
    "%%xai_image -n 3\na red fox in fresh snow",
    "%xai_image -r 2k a lighthouse",
    "from IPython.display import HTML\nHTML('<figure><img alt=other src=data:image/gif;base64,>')",
)
ACTIVE = "document.activeElement.alt"

pytestmark = pytest.mark.timeout(300)


def pictures(page: Page) -> Locator:
    return page.locator(".jp-OutputArea-output figure > img.xai-opens")


def viewer(page: Page) -> Locator:
    return page.locator("dialog.xai-viewer[open]")


def title(page: Page) -> str:
    return viewer(page).get_by_role("heading", level=2).inner_text()


def wait_for_title(page: Page, expected: str) -> None:
    until(lambda: title(page) == expected, 30)


def check_keys(page: Page) -> None:
    """Open the second of three pictures with Enter, go to the last one, enlarge, and close."""
    pictures(page).nth(1).focus()
    page.keyboard.press("Enter")
    wait_for_title(page, "Picture 2 of 3")
    shown = viewer(page).locator(".xai-view img")
    # The viewer may show the original by now, so the alternative text identifies the picture.
    assert shown.get_attribute("alt") == pictures(page).nth(1).get_attribute("alt")
    until(lambda: shown.evaluate("image => image.naturalWidth"))
    page.keyboard.press("ArrowRight")
    wait_for_title(page, "Picture 3 of 3")
    assert shown.get_attribute("alt") == pictures(page).nth(2).get_attribute("alt")
    page.keyboard.press("ArrowRight")  # past the last one
    page.keyboard.press("ArrowLeft")
    wait_for_title(page, "Picture 2 of 3")
    percent = viewer(page).locator(".xai-percent")
    fit = percent.inner_text()
    page.keyboard.press("+")
    until(lambda: percent.inner_text() != fit)
    page.keyboard.press("Escape")
    viewer(page).wait_for(state="detached")
    assert page.evaluate(ACTIVE).startswith("Image 2 of 3, ")


def test_pictures_open_in_the_viewer(lab: Any, page: Page, shoot: Shoot) -> None:
    """Images from other code do not open."""
    lab.run(page, "open.ipynb", *CELLS)
    until(lambda: pictures(page).count() == 4, 60)
    page.locator("img[alt=other]").wait_for(state="attached")
    assert "xai-opens" not in (page.locator("img[alt=other]").get_attribute("class") or "")

    check_keys(page)
    cells = page.evaluate("() => jupyterapp.shell.currentWidget.content.mode")
    assert cells == "command"  # Enter opened the picture and did not edit the cell
    pictures(page).nth(0).click()
    wait_for_title(page, "Picture 1 of 3")
    about = viewer(page).locator(".xai-about")
    assert "a red fox in fresh snow" in about.inner_text()
    assert "1024 × 1024" in about.get_by_role("list", name="Facts").inner_text()
    shown = viewer(page).locator(".xai-view img")
    until(lambda: shown.evaluate("image => image.naturalWidth") == 1024, 60)  # the original
    assert viewer(page).get_by_text("This is the preview").count() == 0
    for part in ("dialog.xai-viewer", ".jp-OutputArea-output:has(figure)"):
        assert lab.violations(page, part) == []
    shoot(page, "cell-viewer")
    page.keyboard.press("Escape")
    viewer(page).wait_for(state="detached")


def test_pictures_open_without_a_kernel(lab: Any, page: Page) -> None:
    lab.run(page, "made.ipynb", *CELLS[:2])
    until(lambda: pictures(page).count() == 3, 60)
    lab.show_foreign(page, "foreign.ipynb", lab.save(page, "made.ipynb"))
    until(lambda: pictures(page).count() == 3, 60)
    check_keys(page)
    pictures(page).nth(0).click()
    viewer(page).get_by_text("This is the preview in the notebook.").wait_for()
    shown = viewer(page).locator(".xai-view img")
    assert shown.get_attribute("src") == pictures(page).nth(0).get_attribute("src")
    page.keyboard.press("Escape")
    tab = page.context.new_page()
    tab.goto(lab.url("notebooks/made.ipynb"))
    tab.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    until(lambda: pictures(tab).count() == 3, 60)
    check_keys(tab)
    tab.close()

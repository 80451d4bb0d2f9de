"""The library in JupyterLab: search, choose, tidy, view, by keyboard too."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

import many_pictures
from harness import until

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from harness import Shoot

COUNT = 2000
NOTEBOOK = "%load_ext xai_notebook\nimport xai_notebook as xai\nplace = xai.library()"
LOADED = "image => image.complete && image.naturalWidth > 0"


@pytest.fixture(scope="module")
def shown(lab: Any, page: Page) -> Page:
    """A page with a notebook that shows a library of 2,000 pictures."""
    many_pictures.fill(lab.home, COUNT)
    lab.add("place.ipynb", NOTEBOOK)
    lab.open(page, "place.ipynb")
    assert lab.run_all(page)
    page.locator(".xai-tile img:visible").first.wait_for()
    return page


@pytest.fixture
def errors(shown: Page) -> Any:
    """Check that the page has no errors during a test."""
    found: list[str] = []
    shown.on("pageerror", lambda error: found.append(str(error)))
    yield found
    assert found == []


def ask(page: Page, code: str) -> str:
    """Run code in the notebook's kernel and return what it prints."""
    script = """async code => {
        const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
        const future = kernel.requestExecute({code, store_history: false});
        let said = "";
        future.onIOPub = ({content}) => (said += content.text ?? content.evalue ?? "");
        await future.done;
        return said;
    }"""
    return str(page.evaluate(script, code)).strip()


def search(page: Page, words: str, count: str) -> None:
    page.get_by_label("Search", exact=True).fill(words)
    page.locator(".xai-library .xai-chip").filter(has_text=re.compile(f"^{count} ")).wait_for()


def test_only_visible_tiles_are_in_the_page(shown: Page, errors: Any) -> None:
    catalog = shown.get_by_role("listbox", name="Pictures")
    assert shown.locator(".xai-library .xai-chip").inner_text().startswith("2,000 pictures, ")
    assert shown.locator(".xai-tile").count() < 80
    catalog.evaluate("shelf => (shelf.scrollTop = shelf.scrollHeight)")
    last = shown.get_by_role("option", name=re.compile("in study1;")).first
    last.wait_for()
    image = last.locator("img")
    until(lambda: image.evaluate(LOADED))
    assert last.get_attribute("aria-posinset") == last.get_attribute("aria-setsize") == "2000"
    assert shown.locator(".xai-tile").count() < 80


def test_search_as_you_type(shown: Page, errors: Any) -> None:
    search(shown, "study199", "11")
    assert shown.locator(".xai-tile").count() == 11
    search(shown, "nothing like it", "0")
    shown.get_by_text("No pictures match. Remove words or filters.").wait_for()
    search(shown, "", "2,000")


def test_the_keyboard_is_enough_in_the_library(shown: Page, errors: Any, lab: Any) -> None:
    search(shown, "study195", "11")
    keys = shown.keyboard
    shown.get_by_role("listbox", name="Pictures").focus()
    keys.press("Home")
    keys.press("Space")
    keys.press("Shift+ArrowRight")
    shown.get_by_text("2 selected").wait_for()
    keys.press("*")
    shown.get_by_text("2 pictures starred.").wait_for()
    shown.get_by_role("textbox", name="Tag", exact=True).focus()
    keys.type("noir")
    keys.press("Enter")
    shown.get_by_text("2 pictures tagged noir.").wait_for()
    assert ask(shown, "print([(i.starred, i.tags) for i in place.selected])") == (
        "[(True, ('noir',)), (True, ('noir',))]"
    )
    shown.get_by_role("button", name="Compare").press("Enter")
    dialog = shown.get_by_role("dialog", name="Compare")
    dialog.get_by_role("slider").press("ArrowRight")
    assert "51%" in str(dialog.locator("img").nth(1).get_attribute("style"))
    keys.press("Escape")
    shown.get_by_role("button", name="Export").press("Enter")
    shown.get_by_text("Saved 2 pictures in").wait_for()
    assert len(list(lab.folder.glob("*.jpg"))) == 2
    shown.get_by_role("listbox", name="Pictures").focus()
    keys.press("Home")
    keys.press("Escape")
    keys.press("Space")
    shown.get_by_text("1 selected").wait_for()
    keys.press("Delete")
    shown.get_by_text("Moved 1 picture to the trash, which keeps pictures for 30 days.").wait_for()
    shown.locator(".xai-library .xai-chip").filter(has_text="10 pictures").wait_for()
    shown.get_by_role("button", name="Undo").press("Enter")
    shown.locator(".xai-library .xai-chip").filter(has_text="11 pictures").wait_for()
    search(shown, "", "2,000")


def test_a_star_from_a_cell_is_shown(shown: Page, errors: Any) -> None:
    search(shown, "study1777", "1")
    tile = shown.locator(".xai-tile")
    assert tile.locator(".xai-star").is_hidden()
    ask(shown, "xai.history('study1777').star()")
    tile.locator(".xai-star").wait_for()
    search(shown, "", "2,000")


def test_a_variable_is_never_overwritten(shown: Page, errors: Any) -> None:
    search(shown, "study1666", "1")
    shown.locator(".xai-tile").click()
    name = shown.get_by_role("textbox", name="Name of the variable")
    name.fill("place")
    name.press("Enter")
    shown.get_by_text("The name place is already in use. Choose another name.").wait_for()
    name.fill("harbour")
    name.press("Enter")
    shown.get_by_text("harbour is now an ImageBatch of 1 picture.").wait_for()
    assert "study1666" in ask(shown, "print(harbour[0].prompt)")
    search(shown, "", "2,000")


def test_the_viewer_goes_through_the_pictures(shown: Page, errors: Any) -> None:
    search(shown, "study188", "11")
    shown.get_by_role("listbox", name="Pictures").focus()
    shown.keyboard.press("Home")
    shown.keyboard.press("Enter")
    dialog = shown.get_by_role("dialog", name=re.compile(r"Picture \d+ of 11"))
    dialog.locator(".xai-prompt").filter(has_text="in study1889").wait_for()
    until(lambda: dialog.locator(".xai-plane img").evaluate(LOADED))
    shown.keyboard.press("ArrowRight")
    dialog.locator(".xai-prompt").filter(has_text="in study1888").wait_for()
    assert "%%xai_image" in dialog.locator("pre").inner_text()
    shown.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    search(shown, "", "2,000")


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_the_library_meets_wcag_aa(
    shown: Page, lab: Any, errors: Any, theme: str, shoot: Shoot
) -> None:
    lab.set_theme(shown, theme)
    if shown.locator("#jp-left-stack").is_visible():  # the file browser takes 300 pixels
        shown.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
    for width in (1600, 1280, 360):
        shown.set_viewport_size({"width": width, "height": 1000})
        assert lab.violations(shown, ".xai-library") == []
        shoot(shown, f"library-{theme[11:]}-{width}")
    shown.set_viewport_size({"width": 1280, "height": 1000})
    shown.locator(".xai-tile").first.dblclick()
    shown.get_by_role("dialog").locator(".xai-plane img").wait_for()
    assert lab.violations(shown, ".xai-viewer") == []
    shoot(shown, f"viewer-{theme[11:]}")
    shown.keyboard.press("Escape")


def test_edit_in_a_panel_reuses_the_open_one(shown: Page, errors: Any) -> None:
    search(shown, "study1555", "1")
    shown.locator(".xai-tile").click()
    edit = shown.locator(".xai-library").get_by_role("button", name="Edit in a panel").first
    edit.click()
    shown.get_by_text("Added to a new panel below this library.").wait_for()
    panel = shown.get_by_role("region", name="xAI image panel")
    panel.locator(".xai-inputs li").wait_for()
    edit.click()
    shown.get_by_text("Added to the panel of this notebook.").wait_for()
    panel.locator(".xai-inputs li").filter(has_text="a picture from the library").wait_for()
    assert shown.get_by_role("region", name="xAI image panel").count() == 1


def test_panel_and_library_show_each_others_changes(shown: Page, errors: Any) -> None:
    made = "[fox] = xai.generate('a fox'); [edit] = fox.edit('in snow')"
    ask(shown, f"{made}; panel = xai.panel('an owl'); panel.take(edit)")
    library = shown.locator(".xai-library")
    search(shown, "", "2,002")
    search(shown, "in snow", "1")
    library.locator(".xai-tile").dblclick()
    viewer = library.get_by_role("dialog")
    viewer.get_by_role("listitem").filter(has_text="Made from this").get_by_role("button").click()
    viewer.locator(".xai-prompt").get_by_text("a fox", exact=True).wait_for()
    viewer.get_by_role("button", name="An edit of it").click()
    viewer.locator(".xai-prompt").get_by_text("in snow", exact=True).wait_for()
    tag = viewer.get_by_role("textbox", name="Add a tag")
    tag.fill("winter")
    tag.press("Enter")
    viewer.get_by_role("button", name="Take the tag winter away").wait_for()
    viewer.get_by_role("button", name="Before and after").click()
    viewer.get_by_role("button", name="Back to the picture").click()
    shown.keyboard.press("*")
    viewer.get_by_role("button", name="Take the star away").wait_for()
    shown.keyboard.press("Escape")
    assert ask(shown, "print(edit.starred, edit.tags)") == "True ('winter',)"
    library.locator(".xai-tile .xai-star").wait_for()
    ask(shown, "edit.star(value=False)")
    library.locator(".xai-tile .xai-star").wait_for(state="hidden")
    search(shown, "", "2,002")

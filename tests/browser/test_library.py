"""The library widget in JupyterLab: search, select, organize and view, also by keyboard."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

import many_pictures

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from harness import Shoot

COUNT = 2000
NOTEBOOK = "%load_ext xai_notebook\nimport xai_notebook as xai\ngallery = xai.library()"


@pytest.fixture(scope="module")
def library_page(lab: Any, page: Page) -> Page:
    """A page with a notebook that shows a library of 2,000 pictures."""
    many_pictures.fill(lab.home, COUNT)
    lab.run(page, "library.ipynb", NOTEBOOK)
    page.locator(".xai-tile img:visible").first.wait_for()
    return page


@pytest.fixture
def errors(library_page: Page) -> Any:
    """Check that the page has no errors during a test."""
    found: list[str] = []
    library_page.on("pageerror", lambda error: found.append(str(error)))
    yield found
    assert found == []


def run_in_kernel(page: Page, code: str) -> str:
    script = """async code => {
        const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
        const future = kernel.requestExecute({code, store_history: false});
        let output = "";
        future.onIOPub = ({content}) => (output += content.text ?? content.evalue ?? "");
        await future.done;
        return output;
    }"""
    return str(page.evaluate(script, code)).strip()


def search(page: Page, words: str, count: str) -> None:
    page.get_by_label("Search", exact=True).fill(words)
    wait_for_count(page, count)


def wait_for_count(page: Page, count: str) -> None:
    page.locator(".xai-library .xai-chip").filter(has_text=re.compile(f"^{count} ")).wait_for()


def test_only_visible_tiles_are_in_the_page(library_page: Page, errors: Any, lab: Any) -> None:
    listbox = library_page.get_by_role("listbox", name="Pictures")
    wait_for_count(library_page, "2,000")
    assert library_page.locator(".xai-tile").count() < 80
    listbox.evaluate("listbox => (listbox.scrollTop = listbox.scrollHeight)")
    last = library_page.get_by_role("option", name=re.compile("in study1;")).first
    last.wait_for()
    lab.wait_for_picture(last.locator("img"))
    assert last.get_attribute("aria-posinset") == last.get_attribute("aria-setsize") == "2000"
    assert library_page.locator(".xai-tile").count() < 80


def test_results_follow_the_search_words_while_typing(library_page: Page, errors: Any) -> None:
    search(library_page, "study199", "11")
    assert library_page.locator(".xai-tile").count() == 11
    search(library_page, "nothing like it", "0")
    library_page.get_by_text("No pictures match. Remove words or filters.").wait_for()
    search(library_page, "", "2,000")


def test_the_library_can_be_used_by_keyboard_alone(
    library_page: Page, errors: Any, lab: Any
) -> None:
    search(library_page, "study195", "11")
    keys = library_page.keyboard
    library_page.get_by_role("listbox", name="Pictures").focus()
    keys.press("Home")
    keys.press("Space")
    keys.press("Shift+ArrowRight")
    library_page.get_by_text("2 selected").wait_for()
    keys.press("*")
    library_page.get_by_text("2 pictures starred.").wait_for()
    library_page.get_by_role("textbox", name="Tag", exact=True).focus()
    keys.type("noir")
    keys.press("Enter")
    library_page.get_by_text("2 pictures tagged noir.").wait_for()
    printed = run_in_kernel(library_page, "print([(i.starred, i.tags) for i in gallery.selected])")
    assert printed == "[(True, ('noir',)), (True, ('noir',))]"
    library_page.get_by_role("button", name="Compare").press("Enter")
    dialog = library_page.get_by_role("dialog", name="Compare")
    dialog.get_by_role("slider").press("ArrowRight")
    assert "51%" in str(dialog.locator("img").nth(1).get_attribute("style"))
    keys.press("Escape")
    library_page.get_by_role("button", name="Export").press("Enter")
    library_page.get_by_text("Saved 2 pictures in").wait_for()
    assert len(list(lab.folder.glob("*.jpg"))) == 2
    library_page.get_by_role("listbox", name="Pictures").focus()
    keys.press("Home")
    keys.press("Escape")
    keys.press("Space")
    library_page.get_by_text("1 selected").wait_for()
    keys.press("Delete")
    message = "Moved 1 picture to the trash, which keeps pictures for 30 days."
    library_page.get_by_text(message).wait_for()
    wait_for_count(library_page, "10")
    library_page.get_by_role("button", name="Undo").press("Enter")
    wait_for_count(library_page, "11")
    search(library_page, "", "2,000")


def test_a_star_set_in_a_cell_appears_in_the_widget(library_page: Page, errors: Any) -> None:
    search(library_page, "study1777", "1")
    tile = library_page.locator(".xai-tile")
    assert tile.locator(".xai-star").is_hidden()
    run_in_kernel(library_page, "xai.history('study1777').star()")
    tile.locator(".xai-star").wait_for()
    search(library_page, "", "2,000")


def test_a_variable_is_never_overwritten(library_page: Page, errors: Any) -> None:
    search(library_page, "study1666", "1")
    library_page.locator(".xai-tile").click()
    name = library_page.get_by_role("textbox", name="Name of the variable")
    name.fill("gallery")
    name.press("Enter")
    message = "The name gallery is already in use. Choose another name."
    library_page.get_by_text(message).wait_for()
    name.fill("harbour")
    name.press("Enter")
    library_page.get_by_text("harbour is now an ImageBatch of 1 picture.").wait_for()
    assert "study1666" in run_in_kernel(library_page, "print(harbour[0].prompt)")
    search(library_page, "", "2,000")


def test_arrow_keys_move_through_the_viewer(library_page: Page, errors: Any, lab: Any) -> None:
    search(library_page, "study188", "11")
    library_page.get_by_role("listbox", name="Pictures").focus()
    library_page.keyboard.press("Home")
    library_page.keyboard.press("Enter")
    dialog = library_page.get_by_role("dialog", name=re.compile(r"Picture \d+ of 11"))
    dialog.locator(".xai-prompt").filter(has_text="in study1889").wait_for()
    lab.wait_for_picture(dialog.locator(".xai-plane img"))
    library_page.keyboard.press("ArrowRight")
    dialog.locator(".xai-prompt").filter(has_text="in study1888").wait_for()
    assert "%%xai_image" in dialog.locator("pre").inner_text()
    library_page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    search(library_page, "", "2,000")


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_the_library_meets_wcag_aa(
    library_page: Page, lab: Any, errors: Any, theme: str, shoot: Shoot
) -> None:
    lab.set_theme(library_page, theme)
    lab.hide_sidebar(library_page)
    for width in (1600, 1280, 360):
        library_page.set_viewport_size({"width": width, "height": 1000})
        assert lab.violations(library_page, ".xai-library") == []
        shoot(library_page, f"library-{theme[11:]}-{width}")
    library_page.set_viewport_size({"width": 1280, "height": 1000})
    library_page.locator(".xai-tile").first.dblclick()
    library_page.get_by_role("dialog").locator(".xai-plane img").wait_for()
    assert lab.violations(library_page, ".xai-viewer") == []
    shoot(library_page, f"viewer-{theme[11:]}")
    library_page.keyboard.press("Escape")


def test_edit_in_a_panel_reuses_an_open_panel(library_page: Page, errors: Any) -> None:
    search(library_page, "study1555", "1")
    library_page.locator(".xai-tile").click()
    edit = library_page.locator(".xai-library").get_by_role("button", name="Edit in a panel").first
    edit.click()
    library_page.get_by_text("Added to a new panel below this library.").wait_for()
    panel = library_page.get_by_role("region", name="xAI image panel")
    panel.locator(".xai-inputs li").wait_for()
    edit.click()
    library_page.get_by_text("Added to the panel of this notebook.").wait_for()
    panel.locator(".xai-inputs li").filter(has_text="a picture from the library").wait_for()
    assert library_page.get_by_role("region", name="xAI image panel").count() == 1


def test_panel_and_library_show_each_others_changes(library_page: Page, errors: Any) -> None:
    code = "[fox] = xai.generate('a fox'); [edit] = fox.edit('in snow')"
    run_in_kernel(library_page, f"{code}; panel = xai.panel('an owl'); panel.take(edit)")
    library = library_page.locator(".xai-library")
    search(library_page, "", "2,002")
    search(library_page, "in snow", "1")
    library.locator(".xai-tile").dblclick()
    viewer = library.get_by_role("dialog")
    viewer.get_by_role("listitem").filter(has_text="Source").get_by_role("button").click()
    viewer.locator(".xai-prompt").get_by_text("a fox", exact=True).wait_for()
    viewer.get_by_role("button", name="Edit of this picture").click()
    viewer.locator(".xai-prompt").get_by_text("in snow", exact=True).wait_for()
    tag = viewer.get_by_role("textbox", name="Add a tag")
    tag.fill("winter")
    tag.press("Enter")
    viewer.get_by_role("button", name="Remove the tag winter").wait_for()
    viewer.get_by_role("button", name="Before and after").click()
    viewer.get_by_role("button", name="Back to the picture").click()
    library_page.keyboard.press("*")
    viewer.get_by_role("button", name="Remove star").wait_for()
    library_page.keyboard.press("Escape")
    assert run_in_kernel(library_page, "print(edit.starred, edit.tags)") == "True ('winter',)"
    library.locator(".xai-tile .xai-star").wait_for()
    run_in_kernel(library_page, "edit.star(value=False)")
    library.locator(".xai-tile .xai-star").wait_for(state="hidden")
    search(library_page, "", "2,002")

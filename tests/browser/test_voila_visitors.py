"""A Voila app from the visitor's point of view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from harness import Shoot

APP = """\
import xai_notebook as xai
db_password = "hunter2"
panel = xai.panel("a small boat", export="{folder}")
"""
LIBRARY = "xai.library()"
WRITE_BUTTONS = (
    *("Save", "Save all", "Submit as a job", "Insert as cell", "Star", "Export", "Delete"),
)

pytestmark = pytest.mark.timeout(300)


def test_visitors_are_isolated_and_read_only(lab: Any, page: Page, shoot: Shoot) -> None:
    """Visitors see no rendered templates, no buttons that write and no pictures of others."""
    lab.run(page, "author.ipynb", "%load_ext xai_notebook\n%xai_image a private owl")
    folder = lab.folder / "exported"
    lab.add("app.ipynb", APP.format(folder=folder), LIBRARY)
    tab = page.context.new_page()
    tab.set_viewport_size({"width": 1100, "height": 1300})
    tab.set_default_timeout(60_000)
    tab.goto(lab.url("voila/render/app.ipynb"))
    panel, library = tab.locator(".xai-panel"), tab.locator(".xai-library")
    panel.get_by_label("Prompt", exact=True).fill("a boat called {{ db_password }}")
    panel.locator(".xai-primary").click()
    picture = panel.locator(".xai-card img[src]")
    lab.wait_for_picture(picture)
    panel.get_by_text("a boat called {{ db_password }}").first.wait_for()
    assert "hunter2" not in tab.content()
    assert not folder.exists()
    library.get_by_label("Search").fill("b")  # triggers a new query
    library.get_by_text("1 picture", exact=True).wait_for()
    library.get_by_label("Search").fill("owl")
    library.get_by_text("0 pictures", exact=True).wait_for()
    library.get_by_label("Search").fill("")
    library.get_by_text("1 picture", exact=True).wait_for()
    for name in WRITE_BUTTONS:
        assert tab.get_by_role("button", name=name, exact=True).count() == 0, name
    assert tab.get_by_label("Save every image as a file").count() == 0
    shoot(tab, "visitor")
    picture.click()
    dialog = panel.get_by_role("dialog")
    dialog.get_by_text("Loading the original").wait_for(state="hidden")
    assert dialog.get_by_role("button", name="Save (S)").count() == 0
    assert dialog.get_by_role("heading", name="The cell that made it").count() == 0
    shoot(tab, "visitor-viewer")
    tab.close()

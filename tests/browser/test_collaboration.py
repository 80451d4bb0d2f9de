"""Two users of jupyter-collaboration have one notebook open; `.ci/tools` installs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness import needs_package

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from harness import Shoot

PICTURES = ".jp-OutputArea img[src^='data:image/jpeg']"
CELLS = ("%load_ext xai_notebook", "%xai_image -n 2 a red fox", "%xai_panel an owl")


@needs_package("jupyter_collaboration")
def test_both_users_see_the_pictures(lab: Any, page: Page, browser: Browser, shoot: Shoot) -> None:
    """The panel is there for the other user after a reload; before, a sentence is in its place."""
    name = lab.add("shared.ipynb", *CELLS).name
    lab.open(page, name)
    context = browser.new_context()
    context.set_default_timeout(60_000)
    other = context.new_page()
    lab.open(other, name)
    assert lab.run_all(page)
    page.locator(".xai-panel .xai-primary").wait_for()
    other.get_by_text("The xAI image panel works while its kernel runs").wait_for()
    shoot(other, "collaboration-other")
    assert [each.locator(PICTURES).count() for each in (page, other)] == [2, 2]
    other.reload()
    lab.wait_for_kernel(other)
    other.locator(".xai-panel .xai-primary").wait_for()
    shoot(other, "collaboration-reloaded")
    assert other.locator(PICTURES).count() == 2
    context.close()

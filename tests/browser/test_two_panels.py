"""Two widgets in one notebook, and panels after a restart of the kernel."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from harness import KEY, serve

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from harness import Shoot

OPEN = "%load_ext xai_notebook\n%xai_panel -n 2 a red fox"
IDS = "() => [...document.querySelectorAll('.xai-panel [id]')].map((element) => element.id)"
LABELS_OF_OTHER_PANELS = """() => [...document.querySelectorAll('.xai-panel')].map((panel) =>
    [...panel.querySelectorAll('label[for]')].filter((label) => !panel.contains(label.control)))
    .flat().length"""
LEAKED_STYLES = """name => {
  const sheets = [...document.querySelectorAll("style")].filter(
    (sheet) => sheet.textContent.includes(".xai-widget"));
  const ownSheet = sheets.find((sheet) => sheet.textContent.includes(`.${name}`));
  const distinct = new Map(sheets.map((sheet) => [sheet.textContent, sheet])).values();
  const root = document.querySelector(`section.${name}`);
  const declared = (rules) => [...rules].flatMap((rule) =>
    [...(rule.style ?? []), ...declared(rule.cssRules ?? [])]);
  const properties = new Set(sheets.flatMap((sheet) => declared(sheet.sheet.cssRules)));
  const computedStyles = () => [root, ...root.querySelectorAll("*")].map((element) => {
    const style = getComputedStyle(element);
    return [...properties].map((property) => `${property}: ${style.getPropertyValue(property)}`);
  });
  for (const sheet of sheets) sheet.disabled = sheet !== ownSheet;
  const stylesAlone = computedStyles().map((styles) => new Set(styles));
  for (const sheet of sheets) sheet.disabled = false;
  const changed = new Set();
  for (const last of distinct) {
    document.head.append(last);
    for (const [index, styles] of computedStyles().entries())
      for (const line of styles.filter((line) => !stylesAlone[index].has(line)))
        changed.add(`${[root, ...root.querySelectorAll("*")][index].className}: ${line}`);
  }
  return [...changed].filter((line) => !line.includes(": --"));
}"""
"""Return the styles of a widget that change if the other style sheets apply, in any order."""
BOXES = "boxes => boxes.map((box) => box.checked)"


@pytest.fixture
def panels(lab: Any, page: Page) -> Page:
    lab.run(page, "two.ipynb", OPEN, "%xai_panel a grey owl")
    page.locator(".xai-panel .xai-primary").nth(1).wait_for()
    return page


def test_two_panels_are_independent_and_survive_a_restart(
    panels: Page, lab: Any, shoot: Shoot
) -> None:
    errors: list[str] = []
    # JupyterLab may log a validation error for a message that the kernel restart truncates.
    panels.on("pageerror", lambda error: errors.append(str(error))
              if "Kernel message validation" not in str(error) else None)  # fmt: skip
    ids = panels.evaluate(IDS)
    assert len(ids) == len(set(ids)) > 20
    assert panels.evaluate(LABELS_OF_OTHER_PANELS) == 0
    second = panels.locator(".xai-panel").nth(1)
    second.get_by_label("Rewrite the prompt first").check()
    boxes = panels.locator(".xai-panel").get_by_label("Rewrite the prompt first")
    assert boxes.evaluate_all(BOXES) == [False, True]
    second.get_by_label("Rewrite the prompt first").uncheck()

    first = panels.locator(".xai-panel").first
    assert first.get_by_label("Images", exact=True).input_value() == "2"
    first.locator(".xai-primary").click()
    picture = first.locator(".xai-card img").first
    lab.wait_for_picture(picture)
    panels.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    gone = re.compile("has restarted or stopped. Run this cell again")
    for panel in (first, second):
        panel.get_by_role("alert").filter(has_text=gone).wait_for()
    first.locator(".xai-picture").first.click()
    dialog = panels.get_by_role("dialog", name="Picture 1 of 2")
    dialog.get_by_text("This is a preview").wait_for()
    assert dialog.locator(".xai-plane img").evaluate("image => image.naturalWidth") > 0
    shoot(panels, "restarted")
    dialog.get_by_role("button", name="Close").click()
    first.locator(".xai-primary").click()
    first.get_by_role("alert").filter(has_text=gone).wait_for()

    # Running the cell again, as the alert says, restores the pictures, also in the saved notebook.
    lab.wait_for_kernel(panels)
    assert lab.run_all(panels)
    lab.wait_for_picture(picture)
    assert first.locator(".xai-card").count() == 2
    assert panels.locator(".xai-panel").nth(1).locator(".xai-card").count() == 0
    shoot(panels, "again")
    saved = lab.save(panels, "two.ipynb")
    assert nbformat.writes(saved).count("<img ") == 2
    with contextlib.closing(sqlite3.connect(lab.home / "library.sqlite3")) as library:
        (request_count,) = library.execute("SELECT count(*) FROM requests").fetchone()
    assert request_count == 1
    assert errors == []


SLOW = """\
import os
os.environ |= {{"XAI_API_HOST": "{address}", "XAI_API_KEY": "{key}"}}
%load_ext xai_notebook
%xai_panel a train that is late"""


def test_a_kernel_restart_ends_running_generations(lab: Any, page: Page) -> None:
    with serve() as served:
        served.faults.delay = 60.0
        lab.run(page, "late.ipynb", SLOW.format(address=served.address, key=KEY))
        panel = page.locator(".xai-panel")
        job, boxes = panel.locator(".xai-job"), panel.locator(".xai-box")
        panel.locator(".xai-primary").click()
        job.get_by_role("button", name="Cancel").wait_for()
        boxes.wait_for()
        page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
        job.get_by_text("Stopped: the kernel ended.").wait_for()
    assert (job.get_by_role("button").count(), boxes.count()) == (0, 0)
    generate = panel.get_by_role("button", name="Generate")
    generate.click()
    assert generate.is_enabled()
    panel.get_by_label("Prompt", exact=True).fill("a train that never comes")
    panel.get_by_role("alert").filter(has_text="Run this cell again").wait_for()


def test_style_sheets_of_panel_and_library_do_not_interfere(
    lab: Any, page: Page, shoot: Shoot
) -> None:
    lab.run(page, "both.ipynb", OPEN, "%xai_library")
    panel, library = page.locator(".xai-panel"), page.locator(".xai-library")
    library.get_by_role("status").filter(has_text="picture").wait_for()
    panel.locator(".xai-primary").click()
    panel.locator(".xai-card img[src]").first.wait_for()
    button = panel.get_by_role("button", name="Generate", exact=True)
    button.wait_for()  # all animations are finished
    shoot(page, "panel-and-library")
    text_color, background = button.evaluate(
        "e => [getComputedStyle(e.closest('.xai-panel')).color, getComputedStyle(e).background]"
    )
    assert background.startswith(text_color)
    panel.locator(".xai-picture").first.click()
    panel.get_by_role("dialog").get_by_text("Loading the original").wait_for(state="hidden")
    for name in ("xai-panel", "xai-library"):
        assert page.evaluate(LEAKED_STYLES, name) == []
    panel.get_by_role("dialog").get_by_role("button", name="Close").click()

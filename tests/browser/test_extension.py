"""The extension for JupyterLab and Notebook 7: prompt highlighting and two commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness import until

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from harness import Shoot

PROMPT = """\
%%xai_image -n 4 --as foxes --frsh
a cat's dream in "blue", for {{ light }} (and None :) class
"""
CODE = """\
for x in range(3):
    y = f"in {x}"  # it's
"""
LINES = """\
z = [1, "two"]
%xai_image -n 2 --full a cat's dream in "blue" for {{ light }} --as z
foxes = %xai_image a dog's None
"""
THEMES = ("JupyterLab Light", "JupyterLab Dark")
SPANS = """content => [...content.querySelectorAll("span")]
  .filter(span => !span.querySelector("span"))
  .map(span => [span.textContent, span.className, getComputedStyle(span).color])"""
SOURCES = """() => [...jupyterapp.shell.currentWidget.content.widgets]
  .map(({ model }) => model.sharedModel.getSource())"""
SET_SECOND = """text => jupyterapp.shell.currentWidget.content.widgets[1]
  .model.sharedModel.setSource(text)"""
EXECUTE = "command => { jupyterapp.commands.execute(command); }"

pytestmark = pytest.mark.timeout(300)


def editor(page: Page, number: int) -> Locator:
    return page.locator(".jp-CodeCell").nth(number).locator(".cm-content")


def source(page: Page, number: int) -> str:
    return str(page.evaluate(SOURCES)[number])


def language(page: Page, number: int) -> str | None:
    return editor(page, number).get_attribute("data-language")


def wait_for_language(page: Page, number: int, name: str) -> None:
    until(lambda: language(page, number) == name, 30)


def go_to_end(page: Page, number: int) -> None:
    editor(page, number).click()
    page.keyboard.press("Control+End")


def set_auto_closing(page: Page, *, enabled: bool) -> None:
    """Set whether editors close brackets and quotes, and wait for the change."""
    command = "notebook:toggle-autoclosing-brackets"
    page.evaluate(EXECUTE, command)
    page.wait_for_function(
        "([command, enabled]) => jupyterapp.commands.isToggled(command) === enabled",
        arg=[command, enabled],
    )


def test_a_prompt_cell_is_highlighted_as_a_prompt_not_as_python(
    lab: Any, page: Page, shoot: Shoot
) -> None:
    lab.open(page, lab.add("text.ipynb", PROMPT, CODE, LINES).name)
    wait_for_language(page, 0, "xai-prompt")
    wait_for_language(page, 1, "python")
    for theme in THEMES:
        lab.set_theme(page, theme)
        shoot(page, f"text-{theme[11:].lower()}")
        spans = editor(page, 0).evaluate(SPANS)
        assert [(text, classes) for text, classes, _ in spans] == [
            ("%%xai_image", "xai-magic"),
            ("-n", "xai-option"),
            ("4", "xai-value"),
            ("--as", "xai-option"),
            ("foxes", "xai-value"),
            ("{{ light }}", "xai-template"),
        ]
        assert len({color for _, _, color in spans}) == 4
        for span in page.locator(".cm-content [class^=xai-]").all():
            assert lab.contrast(span) >= 4.5, (theme, span.text_content())
    lab.set_theme(page, THEMES[0])


def test_a_line_magic_is_highlighted_as_a_prompt_not_as_python(lab: Any, page: Page) -> None:
    lab.open(page, lab.add("lines.ipynb", LINES, "x").name)
    wait_for_language(page, 0, "python")
    lines = editor(page, 0).locator(".cm-line")
    magic_line = lines.nth(1).evaluate(SPANS)
    assert {classes.split()[-1] for _, classes, _ in magic_line} == {
        *("xai-magic", "xai-option", "xai-value", "xai-text", "xai-template")
    }
    default_color = editor(page, 1).evaluate("node => getComputedStyle(node).color")
    for text, classes, color in magic_line + lines.nth(2).evaluate(SPANS):
        if classes == "xai-text":
            assert color == default_color, text
    assert "".join(text for text, classes, _ in magic_line if classes == "xai-text").split() == [
        *("a", "cat's", "dream", "in", '"blue"', "for")
    ]
    python_line = lines.nth(0).evaluate(SPANS)
    assert len({color for _, _, color in python_line} - {default_color}) >= 2
    assert not any("xai" in classes for _, classes, _ in python_line)


def test_quotes_and_brackets_are_not_closed_in_prompts(lab: Any, page: Page) -> None:
    lab.open(page, lab.add("quotes.ipynb", "%%xai_image", "%%time", "x = 1").name)
    wait_for_language(page, 0, "xai-prompt")
    set_auto_closing(page, enabled=True)
    try:
        for number, typed, got in (
            (2, "\ny = ('", "x = 1\ny = ('')"),
            (0, "\n  a cat's \"(dream", "%%xai_image\n  a cat's \"(dream"),
            (1, "\n%xai_image a cat's (dream", "%%time\n%xai_image a cat's (dream"),
        ):
            go_to_end(page, number)
            page.keyboard.type(typed)
            assert source(page, number) == got
        go_to_end(page, 0)
        page.keyboard.press("Backspace")
        page.keyboard.press("Enter")  # keeps the previous line's indentation
        page.keyboard.type("second")
        assert source(page, 0) == "%%xai_image\n  a cat's \"(drea\n  second"
    finally:
        set_auto_closing(page, enabled=False)


def test_the_magic_switches_the_language(lab: Any, page: Page) -> None:
    """Undo reverts typed text, not language changes."""
    lab.open(page, lab.add("switch.ipynb", "a = 1", "b = 2").name)
    wait_for_language(page, 0, "python")
    content = editor(page, 0)
    content.click()
    page.keyboard.press("Control+Home")
    page.keyboard.type("%%xai_imag")
    assert language(page, 0) == "python"
    page.keyboard.type("e")
    assert language(page, 0) == "python"  # %%xai_imagea
    page.keyboard.press("Enter")
    assert language(page, 0) == "xai-prompt"
    assert content.evaluate("node => node.classList.contains('cm-lineWrapping')")
    page.keyboard.press("Control+Home")
    page.keyboard.type("\n\n")  # IPython allows blank lines before a cell magic
    assert language(page, 0) == "xai-prompt"
    page.keyboard.type("# ")
    assert language(page, 0) == "python"
    assert not content.evaluate("node => node.classList.contains('cm-lineWrapping')")
    while source(page, 0) != "a = 1":
        before = source(page, 0)
        page.keyboard.press("Control+z")
        assert source(page, 0) != before
    assert language(page, 0) == "python"
    page.keyboard.press("Control+Shift+z")
    assert source(page, 0) != "a = 1"
    assert language(page, 1) == "python"
    # Edits by collaborators or by programs arrive in the same way.
    page.evaluate(SET_SECOND, "%%xai_image\na fox")
    assert language(page, 1) == "xai-prompt"
    page.evaluate(SET_SECOND, "b = 2")
    assert language(page, 1) == "python"


def test_tab_completes_options_of_a_prompt_cell(lab: Any, page: Page) -> None:
    lab.run(page, "tab.ipynb", "%load_ext xai_notebook", "")
    editor(page, 1).click()
    page.keyboard.type("%%xai_image --as")
    assert language(page, 1) == "xai-prompt"
    page.keyboard.press("Tab")
    items = page.locator(".jp-Completer-item")
    items.first.wait_for()
    values = [item.get_attribute("data-value") or "" for item in items.all()]
    assert [value.strip() for value in values] == ["--as", "--aspect-ratio"]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    until(lambda: source(page, 1) == "%%xai_image --aspect-ratio")


def test_ten_thousand_lines_can_be_edited(lab: Any, page: Page) -> None:
    lines = [f"a cat's dream number {number} in {{{{ light }}}}" for number in range(10_000)]
    lab.open(page, lab.add("long.ipynb", "\n".join(["%%xai_image --each", *lines])).name)
    wait_for_language(page, 0, "xai-prompt")
    go_to_end(page, 0)
    page.keyboard.type(" it's")
    assert source(page, 0).endswith("9999 in {{ light }} it's")
    last = editor(page, 0).locator(".cm-line").last
    until(lambda: last.locator(".xai-template").count() == 1, 30)
    assert last.locator("span").count() == 1


def test_search_matches_are_readable(lab: Any, page: Page) -> None:
    lab.open(page, lab.add("search.ipynb", LINES).name)
    wait_for_language(page, 0, "python")
    editor(page, 0).click()
    page.keyboard.press("Control+f")
    page.locator(".jp-DocumentSearch-input").first.fill("dream")
    match = editor(page, 0).locator(".cm-searching")
    match.first.wait_for(timeout=30_000)
    inside = match.first.locator("span").first
    assert lab.contrast(inside) >= 4.5
    page.keyboard.press("Escape")


def test_launcher_and_palette_open_panel_and_library(lab: Any, page: Page, shoot: Shoot) -> None:
    lab.show(page, lab.add("launcher.ipynb", "x = 1").name)
    page.evaluate(EXECUTE, "launcher:create")
    cards = page.locator(".jp-LauncherCard")
    cards.filter(has_text="xAI image library").last.wait_for()
    shoot(page, "launcher")
    cards.filter(has_text="xAI image panel").last.click()
    page.get_by_role("heading", name="xAI images").wait_for(timeout=60_000)
    assert page.evaluate(SOURCES) == ["%load_ext xai_notebook\n%xai_panel"]

    page.keyboard.press("Control+Shift+c")
    page.locator(".lm-CommandPalette-input").fill("xAI image library")
    page.locator(".lm-CommandPalette-item").first.wait_for()
    shoot(page, "palette")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Your pictures").wait_for(timeout=60_000)
    assert page.evaluate(SOURCES) == ["%load_ext xai_notebook\n%xai_panel", "%xai_library"]


def test_an_empty_cell_is_reused(lab: Any, page: Page) -> None:
    lab.open(page, lab.add("empty.ipynb", "").name)
    page.evaluate(EXECUTE, "xai-notebook:panel")
    page.get_by_role("heading", name="xAI images").wait_for(timeout=60_000)
    assert page.evaluate(SOURCES) == ["%load_ext xai_notebook\n%xai_panel"]


def test_notebook_7_has_commands_and_highlighting(lab: Any, page: Page, shoot: Shoot) -> None:
    lab.add("seven.ipynb", PROMPT)
    tree = page.context.new_page()
    tree.goto(lab.url("tree"))
    tree.wait_for_function("() => window.jupyterapp?.commands.hasCommand('xai-notebook:library')")
    with tree.expect_popup() as popup:
        tree.evaluate(EXECUTE, "xai-notebook:library")
    tab = popup.value
    tab.get_by_role("heading", name="Your pictures").wait_for(timeout=60_000)
    assert tab.evaluate(SOURCES) == ["%load_ext xai_notebook\n%xai_library"]
    shoot(tab, "notebook7-library")
    tab.goto(lab.url("notebooks/seven.ipynb"))
    tab.wait_for_selector(".cm-content[data-language=xai-prompt]", timeout=60_000)
    assert [classes for _, classes, _ in editor(tab, 0).evaluate(SPANS)][-1] == "xai-template"
    shoot(tab, "notebook7-text")
    tab.close()
    tree.close()

"""The panel in a real browser. Most tests share one open notebook."""

from __future__ import annotations

import base64
import contextlib
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import nbformat
import pytest
from nbformat.sign import NotebookNotary
from PIL import Image

from harness import KEY, hold_until, serve, until
from xai_notebook import read_metadata
from xai_notebook.library import Library
from xai_notebook.notebook.publisher import NOTE
from xai_notebook.pictures.xmp import embed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import ConsoleMessage, Locator, Page

    from harness import Served

OPEN = """\
import os, pathlib
os.environ["XAI_API_HOST"] = "{address}"
os.environ["XAI_API_KEY"] = pathlib.Path("key.txt").read_text()
%load_ext xai_notebook
import xai_notebook as xai
panel = xai.panel()"""
UNRELATED_CONSOLE_ERRORS = re.compile(
    r"favicon|404|WebSocket|ResizeObserver|lsp|csp|preload|manifest", re.IGNORECASE
)


RELEASED: set[str] = set()
"""Prompts with the word "slow" that the server no longer holds back."""


@dataclass
class Driver:
    """Drives a panel like a user."""

    page: Page
    lab: Any
    name: str
    served: Served
    console: list[str]

    @property
    def root(self) -> Locator:
        """The panel."""
        return self.page.locator(".xai-panel").first

    def button(self, name: str) -> Locator:
        """The buttons whose accessible name begins with `name`."""
        return self.root.get_by_role("button", name=re.compile("^" + re.escape(name)))

    def field(self, label: str) -> Locator:
        """The field with the label `label`."""
        return self.root.get_by_label(label, exact=True)

    def generate(self, prompt: str, count: int = 1) -> None:
        """Type a prompt and press Generate."""
        self.field("Prompt").fill(prompt)
        self.field("Images").fill(str(count))
        self.root.locator(".xai-primary").click()

    def choose_from_menu(self, item: str, card: str = "image") -> None:
        """Open the More menu of the first card named `card` and choose `item`."""
        self.button(f"More: {card}").first.click()
        self.root.get_by_role("menuitem", name=item, exact=True).click()

    def expect(self, prompt: str, count: int = 1) -> Locator:
        """Wait until the newest group shows `prompt` with loaded pictures; return its cards."""
        words = re.compile(re.escape(prompt), re.IGNORECASE)
        cards = self.root.locator(".xai-group:first-child").filter(has_text=words).locator("li")
        cards.nth(count - 1).wait_for()
        for picture in cards.locator("img").all():
            picture.scroll_into_view_if_needed()
            self.lab.wait_for_picture(picture)
        return cards

    def stored(self, words: str, number: int = 0) -> Any:
        """Return a picture of the library by words of its prompt, the newest first."""
        with contextlib.closing(Library.open(self.lab.home)) as library:
            return library.history(words, number + 1)[number]

    def remove_input(self, name: str = "") -> None:
        """Remove the first input image with this name."""
        self.button(f"Remove {name}".strip()).first.click()

    def make(self, prompt: str, count: int = 1) -> Locator:
        """Generate, and return the cards."""
        self.generate(prompt, count)
        return self.expect(prompt, count)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve() as served:
        served.faults.delay = hold_until(lambda text: "slow" not in text or text in RELEASED)
        yield served


@pytest.fixture(scope="module")
def panel(page: Page, lab: Any, served: Served) -> Driver:
    """A notebook with a panel and one more cell."""
    console: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and not UNRELATED_CONSOLE_ERRORS.search(message.text):
            console.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: console.append(str(error)))
    (lab.folder / "key.txt").write_text(KEY)
    lab.add("panel.ipynb", OPEN.format(address=served.address), "1 + 1")
    lab.open(page, "panel.ipynb")
    assert lab.run_all(page)
    page.locator(".xai-panel .xai-primary").wait_for()
    return Driver(page, lab, "panel.ipynb", served, console)


def test_four_pictures_are_made_and_one_is_saved(panel: Driver) -> None:
    panel.field("Resolution").select_option("2k")
    cards = panel.make("four lanterns on a river", 4)
    assert cards.count() == 4
    for text in cards.locator(".xai-prompt").all_text_contents()[::2]:
        assert text.startswith("Rewritten prompt Four lanterns on a river")
    panel.button("Save: image 3 of 4").click()
    saved = cards.nth(2).locator(".xai-file", has_text="Saved as")
    saved.wait_for()
    file = panel.lab.folder / (saved.text_content() or "").removeprefix("Saved as ")
    assert read_metadata(file).prompt == "four lanterns on a river"
    third = panel.stored("four lanterns", 2)
    with Image.open(file) as ours, Image.open(io.BytesIO(third.data)) as original:
        assert ours.size == original.size == (2048, 2048)
        assert ours.tobytes() == original.tobytes()
    panel.field("Resolution").select_option("")


def test_the_saved_notebook_is_small_and_has_no_key(panel: Driver) -> None:
    notebook = panel.lab.save(panel.page, panel.name)
    file = panel.lab.folder / panel.name
    assert 60_000 < file.stat().st_size < 400_000
    assert KEY not in file.read_text()
    outputs = notebook.cells[0].outputs
    assert outputs[1].data["text/plain"] == NOTE
    assert outputs[2].data["text/html"].count("<img ") == 4
    assert "Rewritten prompt: Four lanterns on a river" in outputs[2].data["text/plain"]


@pytest.fixture(scope="module")
def second_page(panel: Driver) -> Iterator[Page]:
    page = panel.page.context.new_page()
    yield page
    page.close()


@pytest.fixture
def front_page(panel: Driver, second_page: Page) -> Iterator[Page]:
    """Bring the second page to the front; restore the panel's page afterwards."""
    second_page.bring_to_front()
    yield second_page
    panel.page.bring_to_front()  # browsers throttle rendering of background pages


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "untrusted"])
def test_pictures_are_shown_without_a_kernel(
    panel: Driver, front_page: Page, *, trusted: bool
) -> None:
    """A note replaces the error that JupyterLab shows for a widget without a kernel."""
    name = f"reopened-{trusted}.ipynb"
    notebook = nbformat.read(panel.lab.folder / panel.name, as_version=4)
    notebook.metadata["kernelspec"]["name"] = "no-such-kernel"
    if trusted:
        folder = panel.lab.folder
        data = folder.parent / f"{folder.name}-jupyter" / "data"
        notary = NotebookNotary(data_dir=str(data))
        notary.sign(notebook)
        notary.store.close()
    nbformat.write(notebook, panel.lab.folder / name)
    panel.lab.show(front_page, name)
    front_page.wait_for_selector(".xai-panel-result img", timeout=20_000)
    assert front_page.locator(".xai-panel-result img").count() == 4
    caption = front_page.locator(".xai-panel-result figcaption").first
    assert "Four lanterns on a river" in (caption.text_content() or "")
    front_page.locator(".xai-panel-note").wait_for()
    stale_widget = front_page.locator(".jupyter-widgets")
    if trusted:
        stale_widget.wait_for(state="attached")
        assert "widget" in (stale_widget.text_content() or "")
    assert not stale_widget.or_(front_page.get_by_text("Error displaying widget")).is_visible()


def test_cancel_reaches_the_server(panel: Driver) -> None:
    calls_before = len(panel.served.calls)
    panel.generate("a slow train")
    call = panel.served.wait_for_call(calls_before + 1)
    panel.button("Cancel: a slow train").click()
    until(lambda: call.ended, 15)
    assert call.cancelled
    panel.root.locator(".xai-job").get_by_text("Cancelled.").wait_for()
    assert panel.make("a train that arrives").count() == 1


def test_placeholders_are_shown_above_the_pictures(panel: Driver) -> None:
    panel.make("a loaf of bread")
    panel.field("Aspect ratio").select_option("16:9")
    panel.generate("a slow cake", 3)
    boxes = panel.root.locator(".xai-box")
    boxes.nth(2).wait_for()
    first = panel.root.locator(".xai-groups > :first-child")
    assert first.inner_text() == "a slow cake"
    picture: Any = panel.root.locator(".xai-picture").first.bounding_box()
    box: Any = boxes.first.bounding_box()
    assert box["width"] / box["height"] == pytest.approx(16 / 9, rel=0.01)
    assert box["y"] < picture["y"]
    panel.button("Cancel: a slow cake").click()
    boxes.first.wait_for(state="detached")
    panel.field("Aspect ratio").select_option("")


def test_generating_does_not_block_the_kernel(panel: Driver) -> None:
    """Takes the fastest of three cell runs; a blocked kernel would delay all three."""
    calls_before = len(panel.served.calls)
    panel.generate("a slow snail")
    call = panel.served.wait_for_call(calls_before + 1)
    cell = "jupyterapp.shell.currentWidget.content.widgets[1].model"
    run = f"""async () => {{
      jupyterapp.shell.currentWidget.content.activeCellIndex = 1;
      {cell}.sharedModel.setSource("20 + 22");
      const started = performance.now();
      await jupyterapp.commands.execute("notebook:run-cell");
      return performance.now() - started;
    }}"""
    milliseconds = min(panel.page.evaluate(run) for _ in range(3))
    result = panel.page.evaluate(f"() => {cell}.outputs.get(0).data['text/plain']")
    assert result == "42"
    assert milliseconds < 500
    assert call.ended is None
    RELEASED.add("a slow snail")
    panel.expect("a slow snail")


def test_different_prompts_run_concurrently_and_equal_ones_wait(panel: Driver) -> None:
    calls_before = len(panel.served.calls)
    panel.generate("first, slow")
    panel.served.wait_for_call(calls_before + 1)
    panel.generate("first, slow")
    panel.root.locator(".xai-job").get_by_text("Queued").wait_for()
    panel.generate("second beside it")
    panel.served.wait_for_call(calls_before + 2)
    panel.button("Cancel: first, slow").last.click()
    panel.root.locator(".xai-job").get_by_text("Cancelled before it began.").wait_for()
    RELEASED.add("first, slow")
    panel.expect("first, slow")
    assert len(panel.served.calls) == calls_before + 2


def test_a_prompt_is_submitted_as_a_batch_job(panel: Driver) -> None:
    panel.field("Prompt").fill("a heron as a job")
    panel.field("Images").fill("3")
    panel.button("Submit as a job").click()
    output = panel.page.locator(".jp-OutputArea-output").filter(has_text="a heron as a job")
    output.locator("figure").nth(2).wait_for(timeout=30_000)
    until(panel.button("Generate").is_enabled)
    assert not panel.root.locator(".xai-alert").is_visible()


def test_edit_this_sets_the_only_input_image_and_records_the_parent(panel: Driver) -> None:
    panel.make("a plain teapot")
    panel.button("Edit this: image").first.click()
    panel.root.locator(".xai-inputs li img").wait_for()
    assert panel.field("Prompt").evaluate("field => field === document.activeElement")
    panel.make("give it a blue glaze")
    assert panel.stored("blue glaze").request.inputs[0].parent == panel.stored("teapot").sha256
    assert panel.served.last.image.image_url.startswith("data:image/jpeg;base64,")
    panel.button("Edit this: image").first.click()  # replaces the input image
    assert panel.root.locator(".xai-inputs li").count() == 1
    assert panel.field("Prompt").evaluate("field => field.selectionEnd - field.selectionStart") > 0
    panel.make("add a lid")
    assert not panel.served.last.images
    assert panel.stored("add a lid").request.inputs[0].parent == panel.stored("blue glaze").sha256
    panel.remove_input()


def test_input_images_can_be_added_as_references_and_removed(panel: Driver) -> None:
    panel.make("a clay bowl")
    panel.make("a linen cloth")
    panel.button("Edit this: image").first.click()
    item = panel.root.locator(".xai-inputs li")
    item.locator("img").wait_for()
    panel.root.locator(".xai-group").nth(1).get_by_role("button", name="More: image").click()
    panel.root.get_by_role("menuitem", name="Add as reference").click()
    until(lambda: item.count() == 2)
    assert item.all_inner_texts() == ["a linen cloth\nRemove", "a clay bowl\nRemove"]
    panel.root.get_by_text("What should change?").wait_for()
    panel.remove_input()
    panel.remove_input()
    assert item.count() == 0
    assert not panel.root.get_by_text("What should change?").count()


def test_uploaded_files_become_input_images_and_can_be_removed(
    panel: Driver, tmp_path: Path
) -> None:
    Image.new("RGB", (700, 500), "teal").save(tmp_path / "sea <b>.png")
    Image.new("RGB", (300, 300), "tan").save(tmp_path / "sand.png")
    (tmp_path / "notes.png").write_text("no image at all")
    files = panel.root.locator("input[type=file]")
    files.set_input_files([tmp_path / "sea <b>.png", tmp_path / "sand.png", tmp_path / "notes.png"])
    items = panel.root.locator(".xai-inputs li")
    panel.root.get_by_role("alert").filter(
        has_text="notes.png is a text file; the API accepts"
    ).wait_for()
    until(lambda: items.locator("img:visible").count() == 2)
    assert items.count() == 2
    assert "notes" not in (panel.root.locator(".xai-cell").text_content() or "")
    panel.make("a beach of both")
    assert [len(panel.served.last.images), panel.served.last.prompt] == [2, "a beach of both"]
    panel.remove_input("sea <b>.png")
    panel.remove_input("sand.png")
    assert not panel.root.locator("b").count()


DROP = """([selector, name, type, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type }));
  const target = document.querySelector(selector);
  const options = { dataTransfer: data, bubbles: true, cancelable: true };
  for (const kind of ["dragover", "drop"]) target.dispatchEvent(new DragEvent(kind, options));
}"""


PASTE = (
    DROP.replace("DragEvent(kind, options)", "ClipboardEvent(kind, options)")
    .replace("""["dragover", "drop"]""", """["paste"]""")
    .replace("dataTransfer: data", "clipboardData: data")
)


def test_files_and_cards_can_be_dropped_or_pasted(panel: Driver) -> None:
    panel.make("a windmill")
    data = base64.b64encode(panel.stored("windmill").data).decode()
    items = panel.root.locator(".xai-inputs li")
    panel.page.evaluate(DROP, [".xai-panel header", "plain.jpg", "image/jpeg", data])
    items.get_by_text("plain.jpg").wait_for()
    panel.remove_input("plain.jpg")
    panel.page.evaluate(PASTE, [".xai-panel select", "pasted.jpg", "image/jpeg", data])
    items.get_by_text("pasted.jpg").wait_for()
    panel.remove_input("pasted.jpg")
    panel.root.locator(".xai-card").first.drag_to(panel.root.locator(".xai-drop"))
    items.get_by_text("a windmill").wait_for()
    panel.remove_input("a windmill")
    assert panel.console == []


def test_a_dropped_export_sets_the_form_or_becomes_an_input_image(panel: Driver) -> None:
    panel.field("Aspect ratio").select_option("3:2")
    panel.make("a lighthouse to export")
    picture = panel.stored("lighthouse to export")
    exported = base64.b64encode(embed(picture, picture.data)).decode()
    plain = base64.b64encode(picture.data).decode()
    panel.field("Aspect ratio").select_option("")
    panel.field("Prompt").fill("the earlier prompt")
    items = panel.root.locator(".xai-inputs li")
    panel.page.evaluate(DROP, [".xai-panel header", "plain.jpg", "image/jpeg", plain])
    items.get_by_text("plain.jpg").wait_for()
    panel.page.evaluate(DROP, [".xai-panel header", "export.jpg", "image/jpeg", exported])
    panel.root.get_by_text("The form now has the prompt and options of export.jpg.").wait_for()
    assert panel.field("Prompt").input_value() == "a lighthouse to export"
    assert panel.field("Aspect ratio").input_value() == "3:2"
    assert items.count() == 0
    panel.button("Edit the picture instead").click()
    assert panel.field("Prompt").input_value() == "the earlier prompt"
    until(lambda: items.count() == 2)
    panel.remove_input("plain.jpg")
    panel.remove_input("export.jpg")


def test_the_equivalent_cell_can_be_inserted_and_collapsed(panel: Driver) -> None:
    stored = "localStorage.getItem('xai-panel-cell')"
    cells = """() => jupyterapp.shell.currentWidget.content.widgets.map(
      ({ model }) => model.sharedModel.source)"""
    before = panel.page.evaluate(cells)
    panel.field("Prompt").fill("a cell of its own")
    panel.root.get_by_text("a cell of its own").wait_for()
    panel.button("Insert as cell").click()
    assert panel.page.evaluate(cells) == [before[0], "%%xai_image\na cell of its own", *before[1:]]
    panel.page.evaluate(
        "() => jupyterapp.shell.currentWidget.content.model.sharedModel.deleteCell(1)"
    )
    for state in ("folded", "shown"):
        panel.root.get_by_text("The same as a cell").click()
        assert panel.root.locator(".xai-cell").is_visible() == (state == "shown")
        # The page stores the state later than it shows it.
        until(lambda state=state: panel.page.evaluate(stored) == state)  # type: ignore[misc]


def test_the_size_of_the_cards_is_set_and_remembered(panel: Driver) -> None:
    panel.make("a grain of sand")
    card, slider = panel.root.locator(".xai-card").first, panel.field("Size")
    for size in (160, 400):
        slider.fill(str(size))
        until(lambda size=size: size <= card.evaluate("card => card.offsetWidth") < 2 * size)  # type: ignore[misc]
        assert panel.page.evaluate("localStorage.getItem('xai-panel-tile')") == str(size)
    slider.fill("200")


def test_a_failed_generation_can_be_tried_again(panel: Driver) -> None:
    panel.served.faults.fail_when = lambda request, _: (
        grpc.StatusCode.INVALID_ARGUMENT if "stubborn" in request.prompt else None
    )
    panel.generate("a stubborn mule")
    panel.button("Dismiss: a stubborn mule").wait_for()
    panel.served.faults.fail_when = None
    panel.button("Try again: a stubborn mule").click()
    panel.expect("a stubborn mule")
    assert not panel.root.locator(".xai-job").filter(has_text="stubborn").count()


def test_errors_are_alerts(panel: Driver) -> None:
    panel.served.faults.fail_when = lambda request, _: (
        (grpc.StatusCode.UNAVAILABLE, "<b>down</b>") if "unlucky" in request.prompt else None
    )
    panel.generate("an unlucky number")
    panel.root.locator(".xai-job").get_by_text(re.compile(r"attempt \d of 5")).wait_for()
    alert = panel.root.get_by_role("alert").filter(has_text="<b>down</b>")
    alert.wait_for()
    panel.button("Dismiss: an unlucky number").click()
    panel.generate("eleven friends", 11)
    outside = panel.root.get_by_text("Images: 11 is outside 1 to 10 images")
    # The cell's note may show the same text before the alert replaces it.
    until(lambda: outside.count() == 1 and outside.get_attribute("role") == "alert")
    # The bar shows no cost estimate for an invalid count.
    assert panel.root.locator(".xai-bar").get_by_text("about").count() == 0
    panel.field("Images").fill("1")
    outside.wait_for(state="hidden")
    panel.generate("{{ nobody }}")
    panel.root.get_by_role("alert").filter(has_text="'nobody' is undefined").wait_for()
    assert panel.console == []


def test_moderated_images_get_a_card_without_a_picture(panel: Driver) -> None:
    panel.generate("two clowns [moderated:2]", 2)
    cards = panel.root.locator(".xai-group").filter(has_text="two clowns").locator("li")
    cards.filter(has_text="Moderated. The image was withheld").wait_for()
    assert cards.locator("img").count() == 1
    assert not panel.button("Save: image 2 of 2").count()


def test_options_that_the_model_does_not_support_are_disabled(panel: Driver) -> None:
    panel.field("Model").select_option("grok-imagine-image-2.0")
    assert panel.field("Quality").is_enabled()
    panel.field("Model").select_option("grok-2-image")
    assert panel.field("Quality").is_disabled()
    panel.root.get_by_text("Not supported by this model").wait_for()
    assert panel.button("Add images to edit").is_disabled()
    panel.root.get_by_text("This model does not take images.").wait_for()
    panel.field("Model").select_option("grok-imagine-image")


def test_the_equivalent_cell_reflects_the_form_and_can_be_copied(panel: Driver) -> None:
    panel.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    panel.field("Prompt").fill("a kite;")
    panel.field("Images").fill("1")
    panel.field("Aspect ratio").select_option("3:2")
    # The empty template keeps the final semicolon, which the magic would drop.
    expected = "%%xai_image --aspect-ratio=3:2\na kite;{{ '' }}"
    until(lambda: panel.root.locator(".xai-cell").text_content() == expected)
    panel.button("Copy the cell").click()
    panel.root.get_by_role("status").get_by_text("Cell copied to the clipboard.").wait_for(
        state="attached"
    )
    assert panel.page.evaluate("navigator.clipboard.readText()") == expected
    panel.field("Aspect ratio").select_option("")


def test_template_syntax_in_server_text_is_never_rendered(panel: Driver) -> None:
    evil = "{{ get_ipython().system('touch ran') }} \x01{% set a = 1 %}\x01 {{ light }};"
    faults = panel.served.faults
    faults.chat_text, faults.up_sampled = evil, False
    panel.root.get_by_label("Rewrite the prompt first").check()
    panel.make("a harmless word")
    assert panel.served.last.prompt == evil
    panel.root.get_by_label("Rewrite the prompt first").uncheck()
    panel.choose_from_menu("Use the rewritten prompt")
    until(lambda: panel.field("Prompt").input_value().startswith("{{ '{{' }} get_ipython()"))
    calls_before = len(panel.served.calls)
    panel.root.locator(".xai-primary").click()
    panel.served.wait_for_call(calls_before + 1)
    assert panel.served.last.prompt == evil
    panel.field("Prompt").press("Control+Home")
    panel.field("Prompt").type("a fox, ")
    panel.root.locator(".xai-primary").click()
    panel.served.wait_for_call(calls_before + 2)
    assert panel.served.last.prompt == f"a fox, {evil}"
    cell_preview = panel.root.locator(".xai-cell").filter(has_text="a fox, ")
    cell_preview = cell_preview.filter(has_text="--replay")
    # With --replay, the library would answer instead of the server.
    cell = (cell_preview.text_content() or "").replace("--replay", "--fresh")
    set_and_run = """async source => {
      jupyterapp.shell.currentWidget.content.activeCellIndex = 1;
      jupyterapp.shell.currentWidget.content.widgets[1].model.sharedModel.setSource(source);
      await jupyterapp.commands.execute("notebook:run-cell");
    }"""
    panel.page.evaluate(set_and_run, cell)
    panel.served.wait_for_call(calls_before + 3)
    assert panel.served.last.prompt == f"a fox, {evil}"
    assert not (panel.lab.folder / "ran").exists()
    faults.chat_text, faults.up_sampled = None, True


def test_the_panel_can_be_used_by_keyboard_alone(panel: Driver) -> None:
    prompt, page = panel.field("Prompt"), panel.page
    prompt.fill("a key on a table")
    prompt.focus()
    name = """() => (document.activeElement.labels?.[0] ?? document.activeElement)
      .textContent.trim().slice(0, 18)"""
    names = []
    for _ in range(4):
        page.keyboard.press("Tab")
        names.append(page.evaluate(name))
    assert names == ["Add images to edit", "Rewrite the prompt", "Model", "Images"]
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    cells = "() => jupyterapp.shell.currentWidget.content.widgets.length"
    before = page.evaluate(cells)
    panel.button("Copy the cell").focus()
    # JupyterLab's shortcuts (delete, insert, cut) must not work while a button has the focus.
    for key in ("d", "d", "a", "x"):
        page.keyboard.press(key)
    assert page.evaluate(cells) == before
    prompt.focus()
    page.keyboard.press("Control+Enter")
    panel.expect("a key on a table")
    prompt.fill("something else")
    panel.button("More: image").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    until(lambda: prompt.input_value() == "a key on a table")
    panel.button("Undo").click()
    assert prompt.input_value() == "something else"
    prompt.focus()
    page.keyboard.press("ArrowUp")
    assert prompt.input_value() == "a key on a table"
    page.keyboard.press("ArrowDown")
    assert prompt.input_value() == "something else"
    page.keyboard.press("Control+s")
    dirty = "() => jupyterapp.shell.currentWidget.context.model.dirty"
    until(lambda: not page.evaluate(dirty))


def test_the_viewer_can_be_used_by_keyboard(panel: Driver) -> None:
    panel.make("twin peaks", 2)
    opener = panel.root.locator(".xai-picture").first
    keyboard = panel.page.keyboard
    opener.focus()
    keyboard.press("Enter")
    dialog = panel.page.get_by_role("dialog", name=re.compile("Picture 1 of"))
    full = dialog.locator(".xai-plane img")
    until(lambda: full.evaluate("image => image.naturalWidth") == 1024)
    horizontal_offset = "box => (box = box.getBoundingClientRect()).left + box.right - innerWidth"
    assert abs(dialog.evaluate(horizontal_offset)) <= 2
    fitted_box = full.bounding_box()
    keyboard.press("1")
    rendered_width = "image => image.getBoundingClientRect().width"
    assert full.evaluate(rendered_width) == pytest.approx(1024, abs=1)
    keyboard.press("0")
    assert full.bounding_box() == fitted_box
    first = full.get_attribute("alt")
    keyboard.press("ArrowRight")
    dialog = panel.page.get_by_role("dialog", name=re.compile("Picture 2 of"))
    full = dialog.locator(".xai-plane img")
    until(lambda: full.get_attribute("alt") != first)
    assert not panel.lab.violations(panel.page, ".xai-viewer")
    keyboard.press("s")
    panel.root.locator(".xai-card").nth(1).get_by_text("Saved as").wait_for(state="attached")
    keyboard.press("Escape")
    assert not dialog.is_visible()
    assert opener.evaluate("button => button === document.activeElement")


def test_two_pictures_can_be_compared(panel: Driver) -> None:
    panel.make("two sandcastles", 2)
    keyboard = panel.page.keyboard
    focused = "element => element === document.activeElement"
    panel.choose_from_menu("Compare", "image 1 of 2")
    assert panel.button("Stop comparing").evaluate(focused)
    keyboard.press("Escape")
    assert not panel.root.locator(".xai-comparing").count()
    assert panel.button("More: image 1 of 2").first.evaluate(focused)
    panel.choose_from_menu("Compare", "image 1 of 2")
    dialog = panel.page.get_by_role("dialog", name="Compare")
    panel.root.locator(".xai-picture").nth(1).click()
    dialog.wait_for()
    keyboard.press("Escape")
    assert not panel.root.locator(".xai-comparing").count()
    panel.choose_from_menu("Compare", "image 1 of 2")
    panel.button("Compare: image 2 of 2").first.click()
    assert dialog.locator(".xai-plane img").count() == 2
    dialog.get_by_role("slider").fill("80")
    assert "80%" in (dialog.locator(".xai-plane img").last.get_attribute("style") or "")
    assert not panel.lab.violations(panel.page, ".xai-viewer")
    dialog.get_by_role("button", name="Close").click()
    assert not panel.root.locator(".xai-comparing").is_visible()


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_the_panel_meets_wcag_aa(panel: Driver, theme: str) -> None:
    panel.lab.set_theme(panel.page, theme)
    panel.root.get_by_text("More", exact=True).click()
    panel.served.faults.fail_when = lambda request, _: (
        grpc.StatusCode.INVALID_ARGUMENT if "refused" in request.prompt else None
    )
    panel.generate("refused by the server")
    panel.button("Dismiss: refused").wait_for()
    panel.generate("a slow ship")
    panel.button("Cancel: a slow ship").wait_for()
    panel.button("More: image").first.click()
    panel.root.get_by_role("menu").wait_for()
    assert not panel.lab.violations(panel.page, ".xai-panel")
    panel.page.keyboard.press("Escape")
    panel.choose_from_menu("Use all")
    panel.button("Undo").wait_for()
    panel.button("Edit this: image").first.click()
    panel.root.locator(".xai-inputs img:visible").wait_for()
    panel.field("Images").fill("12")
    panel.root.get_by_text("Images: 12 is outside").wait_for()
    panel.choose_from_menu("Compare")
    panel.button("Stop comparing").wait_for()
    assert not panel.lab.violations(panel.page, ".xai-panel")
    panel.page.keyboard.press("Escape")
    panel.button("Undo").click()
    panel.field("Images").fill("1")
    panel.button("Cancel: a slow ship").click()
    panel.root.get_by_text("More", exact=True).click()
    panel.lab.set_theme(panel.page, "JupyterLab Light")


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_the_panel_fits_every_width(panel: Driver, width: int) -> None:
    panel.lab.hide_sidebar(panel.page)
    panel.page.set_viewport_size({"width": width, "height": 1000})
    overflowing = """() => {
      const panel = document.querySelector(".xai-panel");
      const right = panel.getBoundingClientRect().right + 0.5;
      const outside = [...panel.querySelectorAll("*")].filter(
        (element) => element.getBoundingClientRect().right > right
          && !element.closest(".xai-unseen, dialog"));
      const holder = panel.parentElement;
      return [outside.map((element) => element.className), holder.scrollWidth - holder.clientWidth];
    }"""
    until(lambda: panel.page.evaluate("innerWidth") == width)
    panel.page.wait_for_function(
        f"() => JSON.stringify(({overflowing})()) === '[[],0]'", timeout=5000
    )
    panel.page.set_viewport_size({"width": 1280, "height": 1000})


def test_the_static_outputs_below_the_panel_can_be_toggled(panel: Driver) -> None:
    outputs = panel.page.locator(".xai-panel-result").first
    assert not outputs.is_visible()
    panel.button("Show them").click()
    outputs.wait_for(state="visible")
    panel.button("Hide them").click()
    outputs.wait_for(state="hidden")


@pytest.mark.parametrize("path", ["notebooks/boat.ipynb", "voila/render/boat.ipynb"])
def test_notebook_7_and_voila_show_the_panel(panel: Driver, path: str) -> None:
    panel.lab.add("boat.ipynb", "import xai_notebook as xai\nxai.panel('a small boat')")
    page = panel.page.context.new_page()
    page.set_viewport_size({"width": 1100, "height": 900})
    page.set_default_timeout(60_000)
    page.goto(panel.lab.url(path))
    if path.startswith("notebooks"):
        run_first_cell(panel.lab, page)
    root = page.locator(".xai-panel")
    root.locator(".xai-primary").click()
    panel.lab.wait_for_picture(root.locator(".xai-card img[src]"))
    root.get_by_text("Local preview").wait_for()
    # Voila shows no cells, so none can be inserted.
    insert = root.get_by_role("button", name="Insert as cell")
    assert insert.is_visible() == path.startswith("notebooks")
    assert page.locator(".xai-panel").count() == 1
    page.close()


def run_first_cell(lab: Any, page: Page) -> None:
    """Run the first cell once the kernel is ready; earlier, JupyterLab would open a dialog."""
    cell = page.locator(".jp-Cell .cm-content").first
    cell.wait_for()
    lab.wait_for_kernel(page)
    cell.click()
    page.keyboard.press("Control+Enter")
    page.locator(".xai-panel").wait_for()

"""The panel without a browser: form, cell, queue, uploads, and unattended notebooks."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from ipywidgets import Widget
from PIL import Image

import xai_notebook
from harness import CENT, KEY, until
from xai_notebook import settings
from xai_notebook.arguments.line import parse
from xai_notebook.arguments.options import Options, resolve
from xai_notebook.arguments.templates import fill
from xai_notebook.errors import InputImageError, OptionError
from xai_notebook.notebook.panel import inputs
from xai_notebook.notebook.panel.form import Form, takes_images
from xai_notebook.notebook.panel.inputs import UploadBuffer
from xai_notebook.notebook.panel.widget import Panel, preview_of
from xai_notebook.notebook.picture_widget import explain

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from harness import Kernel, Served

DRIVE = """
import time
def ask(panel, **values):
    made = len(panel.images)
    panel._receive(None, {"kind": "generate", "form": {**panel.form, **values}}, [])
    while len(panel.images) < made + int(panel.form["n"]) or panel.jobs:
        assert not panel.trouble, panel.trouble
        assert not [job for job in panel.jobs if job["state"] == "failed"], panel.jobs
        time.sleep(0.02)
    return panel.images[made:]
"""


@pytest.fixture
def shown(keyed: Served, notebook_shell: InteractiveShell) -> Panel:
    return Panel("", {}, notebook_shell)


def tell(panel: Panel, kind: str, *buffers: bytes, **content: Any) -> None:
    panel._receive(None, {"kind": kind, **content}, list(buffers))


def make(panel: Panel, prompt: str, **values: Any) -> None:
    """Generate, and wait for the end, which the panel announces to screen readers in `said`."""
    before = panel.said
    tell(panel, "generate", form={**panel.form, "prompt": prompt, **values})
    until(lambda: panel.trouble or (panel.said != before and have_ended(panel)))


def xai_call(code: str) -> tuple[str, Options]:
    """Return the prompt and the options of a call of `xai.generate`."""
    names = {"xai": SimpleNamespace(generate=lambda prompt, **given: (prompt, resolve(given)))}
    result: tuple[str, Options] = eval(code, names)
    return result


def have_ended(panel: Panel) -> bool:
    return all(job["state"] in {"failed", "cancelled"} for job in panel.jobs)


def test_plain_ipython_gets_a_hint(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.run_cell("%xai_panel a fox")
    assert capsys.readouterr().out == (
        "The panel needs a notebook or an app (JupyterLab, Notebook 7, VS Code, Colab, marimo, "
        "Voila or Solara). Here, use %xai_image PROMPT, or xai_notebook.generate(PROMPT).\n"
    )


def test_scripts_get_the_panel_and_a_hint_without_magics(
    keyed: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    panel = xai_notebook.panel("a {{ b }}", n=2)
    assert (panel.form["prompt"], panel.form["n"]) == ("a {{ '{{' }} b }}", 2)
    assert not panel.images
    assert "Here, use xai_notebook.generate(PROMPT).\n" in capsys.readouterr().out
    with pytest.raises(OptionError, match="-n/--count: 11 is outside"):
        xai_notebook.panel(n=11)
    assert keyed.calls == []


def test_a_panel_made_again_by_the_same_call_keeps_form_pictures_and_generations(
    keyed: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in marimo, which runs the cell again; templates take the variables of the module."""
    monkeypatch.setitem(globals(), "light", "dusk")

    def call() -> Panel:
        return xai_notebook.panel()

    first = call()
    make(first, "a fox at {{ light }}", n=2)
    assert [image.prompt for image in first.images] == ["a fox at dusk"] * 2
    assert first.cell == "xai.generate('a fox at dusk', n=2, replay=True)"
    keyed.faults.delay = 60.0
    tell(first, "generate", form={**first.form, "prompt": "an owl"})
    until(lambda: first.jobs)
    second = call()
    assert [card["asked"] for card in second.cards] == ["a fox at dusk"] * 2
    assert second.form["prompt"] == "an owl"
    (job,) = second.jobs
    tell(second, "cancel", id=job["id"])
    until(lambda: [job["state"] for job in second.jobs] == ["cancelled"])
    assert xai_notebook.panel().cards == []


def test_options_of_the_magic_fill_the_form(shown: Panel, shell: InteractiveShell) -> None:
    del shown
    shell.run_cell("%xai_panel -n 10 --aspect-ratio=16:9 a fox").raise_error()
    view = "application/vnd.jupyter.widget-view+json"
    published: Any = shell.display_pub
    data = [output["data"] for output in published.outputs]
    (key,) = {each[view]["model_id"] for each in data if view in each}
    form = Widget.get_manager_state()["state"][key]["state"]["form"]
    assert (form["n"], form["aspect_ratio"], form["prompt"]) == (10, "16:9", "a fox")
    with pytest.raises(OptionError, match="-n/--count: 11 is outside"):
        shell.run_cell("%xai_panel -n 11 a fox").raise_error()


VALUES = st.fixed_dictionaries(
    {
        "n": st.integers(1, 10),
        "model": st.sampled_from(settings.KNOWN_MODELS),
        "aspect_ratio": st.sampled_from(["", *settings.ASPECT_RATIOS]),
        "resolution": st.sampled_from(["", *settings.RESOLUTIONS]),
        "user": st.sampled_from(["", "u-1", "two words"]),
        "timeout": st.sampled_from(["", "30", 2.5]),
        "export": st.booleans(),
        "folder": st.sampled_from(["", "my pictures"]),
        "rewrite": st.booleans(),
    }
)
PROMPTS = ["a fox", "two\nlines", "{{ light }} on snow", "ends with;", "100 % $x$"]
CONFIGURED = [{}, {"n": 4, "model": "grok-imagine-image-2.0", "format": "url"}]


@hypothesis_settings(deadline=None)  # the first example imports modules
@given(values=VALUES, prompt=st.sampled_from(PROMPTS), configured=st.sampled_from(CONFIGURED))
def test_the_equivalent_cell_has_the_options_of_the_form(
    values: dict[str, Any], prompt: str, configured: dict[str, Any]
) -> None:
    form, first, _ = Form.from_options(prompt, {}, configured)
    head, _, body = form.cell(first | values, ["a photo.png"]).partition("\n")
    options = resolve(form.options(first | values) | {"image": ["a photo.png"]}, configured)
    assert resolve(parse(head.removeprefix("%%xai_image ")).given, configured) == options
    names = {"light": "dusk"}
    assert fill(body.removesuffix(";"), names) == fill(prompt, names)


@hypothesis_settings(deadline=None)
@given(values=VALUES, prompt=st.sampled_from(["a fox", 'it\'s\n"two" lines']))
def test_the_equivalent_call_has_the_options_of_the_form(
    values: dict[str, Any], prompt: str
) -> None:
    form, first, _ = Form.from_options(prompt, {}, {})
    labels = ["a photo.png", "@37ab22b5"]
    code = form.call(first | values, prompt, labels)
    assert xai_call(code) == (prompt, resolve(form.options(first | values) | {"image": labels}))


def test_the_form_starts_with_arguments_then_configured_values() -> None:
    """Options without a field stay in the cell."""
    configured = {"n": 3, "aspect_ratio": "16:9", "timeout": 60.0}
    form, values, _ = Form.from_options("a fox", {"n": 5, "format": "url"}, configured)
    assert [values["n"], values["aspect_ratio"], values["timeout"]] == [5, "16:9", ""]
    assert form.cell(values, []) == "%%xai_image -n 5 --aspect-ratio=16:9 --format=url\na fox"


@pytest.mark.parametrize(
    "given", [{"each": ["a", "b"]}, {"dry_run": True}, {"model": ["a", "b"]}, {"n": 11}]
)
def test_options_that_a_form_cannot_hold_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        Form.from_options("", given, {})


def test_a_generation_becomes_cards_outputs_and_costs(shown: Panel, keyed: Served) -> None:
    keyed.faults.cost_ticks = 200_000_000
    make(shown, "a fox & <b>friends</b>", n=2, aspect_ratio="16:9")
    assert [card["name"] for card in shown.cards] == ["image 1 of 2", "image 2 of 2"]
    assert shown.cards[0]["asked"] == "a fox & <b>friends</b>"
    assert shown.cards[0]["facts"][1] == "1360 × 768"
    assert shown.spent == "$0.04 so far"
    (output,) = shown._shell.display_pub.outputs
    assert output["data"]["text/html"].count("<img ") == 2
    assert "<b>friends" not in output["data"]["text/html"]
    assert len(shown.images) == 2


def test_models_come_with_prices_and_abilities(shown: Panel, keyed: Served) -> None:
    keyed.faults.image_price = 7 * CENT
    tell(shown, "models")
    until(lambda: not shown.asking)
    assert {model["price"] for model in shown.models} == {0.07}
    assert not takes_images(shown.models, "grok-2-image")
    assert shown.destination == keyed.address


def test_without_the_list_of_models_the_known_names_stay(shown: Panel, keyed: Served) -> None:
    keyed.faults.models_failure = (grpc.StatusCode.PERMISSION_DENIED, "not for you")
    tell(shown, "models")
    until(lambda: "These are the known names" in shown.models_note)
    until(lambda: not shown.asking)
    assert [model["name"] for model in shown.models] == list(settings.KNOWN_MODELS)


def test_a_failure_is_a_line_in_the_panel(
    shown: Panel, keyed: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    keyed.faults.failures = [(grpc.StatusCode.INVALID_ARGUMENT, "no \x1b[31mfoxes")]
    make(shown, "a fox")
    (job,) = shown.jobs
    assert job["state"] == "failed"
    assert "no " in job["line"]
    assert "\x1b" not in job["line"]
    assert capfd.readouterr() == ("", "")


def test_the_queue_is_limited(shown: Panel, keyed: Served) -> None:
    keyed.faults.delay = lambda _: 60.0
    for _ in range(52):
        tell(shown, "generate", form={**shown.form, "prompt": "a fox"})
    until(lambda: shown.trouble)
    assert shown.trouble.startswith("50 generations are already queued or running.")
    assert len(shown._queue.jobs) == 50
    for job in list(shown.jobs):
        tell(shown, "cancel", id=job["id"])
    until(lambda: have_ended(shown))


def test_pictures_are_shown_when_their_export_fails(shown: Panel, tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("")
    make(shown, "a fox", export=True, folder=str(blocked))
    assert shown.jobs[0]["line"].startswith(f"{blocked} is not a folder.")
    assert shown.cards[0]["ok"]


def test_uploads_come_in_parts_and_have_an_id_in_the_cell(shown: Panel, tmp_path: Path) -> None:
    Image.effect_noise((300, 200), 60).save(tmp_path / "noise.png")
    data = (tmp_path / "noise.png").read_bytes()
    half = len(data) // 2
    for part in (data[:half], data[half:]):
        tell(shown, "upload", part, id="u1", name="noise.png", parts=2)
    tell(shown, "form", form={**shown.form, "inputs": [{"id": "u1", "name": "noise.png"}]})
    until(lambda: "--image=@" in shown.cell)
    (file,) = (tmp_path / "home" / "inputs").iterdir()
    assert file.read_bytes() == data
    assert f"--image=@{file.name[:8]}\n" in shown.cell


def test_a_failed_export_is_repeated_without_a_new_request(
    keyed: Served, notebook_shell: InteractiveShell
) -> None:
    blocked = Path("pictures")
    blocked.write_text("no folder")
    panel = Panel("", {"export": "pictures"}, notebook_shell)
    make(panel, "a fox")
    assert [job["state"] for job in panel.jobs] == ["failed"]
    blocked.unlink()
    make(panel, "a fox")
    assert (panel.jobs, len(list(blocked.iterdir())), len(keyed.calls)) == ([], 1, 1)
    make(panel, "a fox")
    assert len(keyed.calls) == 2


@pytest.mark.parametrize(
    ("field", "message"),
    [("folder", "Folder: {{ … }} works only in the prompt."), ("user", "End user's id: {{")],
)
def test_templates_in_other_fields_are_refused(field: str, message: str) -> None:
    form, values, _ = Form.from_options("a fox", {}, {})
    with pytest.raises(OptionError, match=re.escape(message)):
        form.options(values | {field: "{{ x }}"})


def test_size_and_number_of_uploads_are_limited(
    shown: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(shown, "send", lambda content, buffers=(): sent.append(content))
    part = bytes(1 << 20)

    def inputs_sent() -> list[Any]:
        return [message for message in sent if message["kind"] == "input"]

    def errors() -> dict[str, str]:
        return {message["id"]: message["error"] for message in inputs_sent()}

    tell(shown, "upload", part, id="parts", name="x.png", parts=129)
    for _ in range(66):
        tell(shown, "upload", part, id="large", name="x.png", parts=100)
    until(lambda: len(errors()) == 2)
    assert all("more than 64 MiB" in error for error in errors().values())
    for number in range(11):
        tell(shown, "upload", part, id=f"many{number}", name="x.png", parts=2)
    until(lambda: len(errors()) == 3)
    assert errors()["many10"].startswith("More than 10 files are being uploaded.")
    tell(shown, "upload", part, id="many10", name="x.png", parts=2)  # its second part
    tell(shown, "upload", part, id="many0", name="x.png", parts=2)  # whole, and no picture
    until(lambda: "many0" in errors())
    assert [message["id"] for message in inputs_sent()].count("many10") == 1


def test_an_upload_that_browsers_cannot_show_has_a_preview() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(buffer, "TIFF")
    source = inputs.from_upload("scan.tif", buffer.getvalue(), None)
    assert source.note == "scan.tif: converted from TIFF."
    assert preview_of(source.preview()).startswith(b"\xff\xd8")


@pytest.mark.parametrize("data", [b"no picture", b"\x89PNG\r\n\x1a\nbytes"])
def test_errors_of_uploads_name_the_file(data: bytes) -> None:
    with pytest.raises(InputImageError, match=r"^fox and bytes\.png (is a text|cannot be)"):
        inputs.from_upload("fox and bytes.png", data, None)


def test_unfinished_uploads_are_limited_to_128_mib() -> None:
    uploads = UploadBuffer()
    part = bytes(32 << 20)
    for key in ("a", "b"):
        assert uploads.add(key, part, 3) is None
        assert uploads.add(key, part, 3) is None
    with pytest.raises(InputImageError, match="More than 128 MiB are being uploaded"):
        uploads.add("c", part, 1)
    assert uploads.add("c", part, 1) is None  # later parts of a refused upload are dropped
    for upload in uploads._uploads.values():
        upload.last_part -= 61  # the page that sent them was closed
    assert uploads.add("d", part, 1) == part


def test_stored_uploads_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unused uploads are dropped first."""
    monkeypatch.setattr(inputs, "MAX_HELD", 250)
    tray = inputs.Tray({})
    tray.images = {key: inputs.TrayImage(b"", key, key, bytes(100)) for key in "abc"}
    tray.make_room({"b", "c"})
    assert list(tray.images) == ["b", "c"]
    tray.images["d"] = inputs.TrayImage(b"", "d", "d", bytes(100))
    with pytest.raises(InputImageError, match="Remove some first"):
        tray.make_room({"b", "c", "d"})
    assert list(tray.images) == ["b", "c"]


def test_an_invalid_value_leaves_a_reason_instead_of_a_cell(shown: Panel) -> None:
    tell(shown, "form", form={**shown.form, "n": "99"})
    until(lambda: not shown.cell)
    assert shown.cell_note == "Images: 99 is outside 1 to 10 images."


def test_a_repeated_error_is_sent_again(shown: Panel) -> None:
    heard: list[str] = []
    shown.observe(lambda change: heard.append(change["new"]), "trouble")
    tell(shown, "more", id="no card")
    until(lambda: len(heard) == 1)
    tell(shown, "more", id="no card")
    until(lambda: len(heard) == 3)  # cleared and set again, so that the page gets an event
    assert heard[0] == heard[2]


@pytest.mark.parametrize(
    ("error", "start"),
    [
        (
            OptionError("-e/--export: ../x is outside"),
            "Save every image as a file: ../x is outside",
        ),
        (OptionError("--image fox.gif is a GIF"), "Images to edit fox.gif is a GIF"),
        (OptionError("run %%xai_image --image-like=x"), "run %%xai_image --image-like=x"),
        (OptionError("set --timeout=5 or -n 2"), "set --timeout=5 or Images 2"),
        (RuntimeError("cannot schedule new futures after interpreter shutdown"), "The kernel has"),
        (ValueError("x"), "ValueError: x. Please report this to the makers of xai-notebook."),
    ],
)
def test_errors_name_fields_instead_of_flags(error: Exception, start: str) -> None:
    assert explain(error).startswith(start)


def test_the_budget_is_shown_and_kept(shown: Panel, keyed: Served) -> None:
    keyed.faults.cost_ticks = keyed.faults.image_price = 2 * CENT
    shown._shell.run_line_magic("config", "XaiImage.budget = 0.05")
    make(shown, "a fox")
    make(shown, "an owl")
    until(lambda: shown.spent == "$0.01 of $0.05 left")
    make(shown, "a bear")
    (job,) = shown.jobs
    reason = "This is expected to cost $0.02, and $0.01 of XaiImage.budget $0.05 is left."
    assert job["line"].startswith(reason)
    assert (len(keyed.calls), shown.spent) == (2, "$0.01 of $0.05 left")


def test_the_expected_cost_includes_the_rewrite(shown: Panel, keyed: Served) -> None:
    keyed.faults.cost_ticks = keyed.faults.image_price = 2 * CENT
    tell(shown, "models")
    until(lambda: shown.expected and shown.expected[0])
    assert shown.expected[:2] == [pytest.approx(0.02), pytest.approx(0.04)]
    tell(shown, "form", form={**shown.form, "rewrite": True})
    until(lambda: shown.expected[0] != pytest.approx(0.02))
    assert shown.expected[3] == pytest.approx(0.081)


def test_the_note_on_saved_files_has_no_path(shown: Panel) -> None:
    make(shown, "a fox", n=2)
    tell(shown, "save", ids=[card["id"] for card in shown.cards])
    until(lambda: shown.saved)
    assert shown.saved == "2 saved in the notebook's folder"


def test_the_state_is_small_and_has_no_key(shown: Panel) -> None:
    make(shown, "a fox", n=4)
    state = {name: value for name, value in shown.get_state().items() if name[0] != "_"}
    text = json.dumps(state, default=str)
    assert KEY not in text
    assert len(text) < 12_000
    assert "password" not in json.dumps(shown.get_state(), default=str).lower()


def test_the_equivalent_cell_replays_the_pictures(kernel: Kernel) -> None:
    outcome = kernel.run(
        DRIVE
        + "panel = xai.panel('a lighthouse', count=2)\n"
        + "ask(panel); second = ask(panel)\n"
        + "again = get_ipython().run_cell(panel.cell).result\n"
        + "assert '--replay' in panel.cell\n"
        + "print([i.sha256 for i in again] == [i.sha256 for i in second], again[0].replayed)"
    )
    assert outcome.error is None
    assert outcome.stdout == "True True\n"


def test_outputs_are_added_to_the_cell_of_the_panel(kernel: Kernel) -> None:
    kernel.run(DRIVE)
    first = kernel.start("other = xai.panel('a barn')")
    outcome = kernel.collect(first)
    assert "application/vnd.jupyter.widget-view+json" in outcome.outputs[0]["data"]
    second = kernel.start("_ = ask(other); time.sleep(0.3)")
    parents = []
    while True:
        message = kernel.client.get_iopub_msg(timeout=30)
        if message["msg_type"] == "display_data":
            parents.append(message["parent_header"]["msg_id"])
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            break
    kernel.client.get_shell_msg(timeout=30)
    assert parents == [first]
    assert second not in parents


def test_a_panel_is_shown_once(kernel: Kernel) -> None:
    outcome = kernel.run("panel = xai.panel()\npanel")
    data = [output["data"] for output in outcome.outputs]
    views = [each for each in data if len(each) > 1 and "text/html" not in each]
    assert len(views) == 1
    assert len(kernel.run("panel").outputs) == 1

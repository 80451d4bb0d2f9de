"""Only text that the user types as a template is filled; all other text is sent literally."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from PIL import Image

import xai_notebook as xai
from harness import tiny, until
from xai_notebook import errors
from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.notebook.panel.widget import Panel
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.xmp import embed, read_metadata

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from harness import Served

EVIL = [
    "{{ get_ipython().system('touch x') }}",
    "{{ light }}",
    "{% set a = get_ipython().system('touch x') %}{# b #}",
    "\x01{% set a = get_ipython().system('touch x') %}\x01 {{ a }}",
    "{{ '{{' }} {{{ }}} {{",
    "!touch x",
    "%%bash touch x; --image=secret.png;",
]


@pytest.fixture(autouse=True)
def _prepared(keyed: Served, shell: InteractiveShell) -> None:
    keyed.faults.garbage = tiny()
    shell.user_ns |= {"light": "dawn", "evil": EVIL, "series": pd.Series(EVIL)}
    shell.user_ns |= {"frame": pd.DataFrame({"prompt": EVIL}), "stream": iter(EVIL)}
    Path("secret.png").write_bytes(tiny())
    Path("rows.txt").write_text("\n".join(EVIL), encoding="utf-8")
    pd.DataFrame({"prompt": EVIL}).to_csv("rows.csv", index=False)


def prompts(keyed: Served) -> list[str]:
    """Return the prompts received; check that no code was run."""
    assert not Path("x").exists()
    return sorted(call.message.prompt for call in keyed.calls)


@pytest.mark.parametrize(
    "source", ["evil", "series", "frame", "frame.prompt", "stream", "rows.csv", "rows.txt"]
)
def test_rows_are_literal(shell: InteractiveShell, keyed: Served, source: str) -> None:
    shell.run_line_magic("config", "XaiImage.rate = 0")
    shell.run_cell(f"%xai_image --each {source}").raise_error()
    assert prompts(keyed) == sorted(EVIL)


def test_lines_of_a_body_are_templates(shell: InteractiveShell, keyed: Served) -> None:
    shell.run_cell("%%xai_image --each\na fox {{ light }}\nan owl {{ 1 + 1 }}").raise_error()
    assert prompts(keyed) == ["a fox dawn", "an owl 2"]


def test_prompts_of_generate_are_literal(keyed: Served, shell: InteractiveShell) -> None:
    for text in EVIL:
        xai.generate(text)
    xai.generate(each=EVIL)
    assert prompts(keyed) == sorted(EVIL * 2)


def crafted(folder: Path, **changes: Any) -> Path:
    """Write a picture with the metadata of a stranger."""
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9)).save(buffer, "PNG")
    request = replace(ImageRequest("a fox", "grok-imagine-image"), **changes)
    path = folder / "crafted.png"
    path.write_bytes(embed(Picture(request=request, model="grok"), buffer.getvalue()))
    return path


@pytest.mark.parametrize("text", EVIL)
def test_the_cell_of_a_strangers_picture_is_literal(
    shell: InteractiveShell, keyed: Served, text: str, tmp_path: Path
) -> None:
    cell = read_metadata(crafted(tmp_path, prompt=text)).cell
    shell.run_cell(cell).raise_error()
    assert prompts(keyed) == [text]
    assert not keyed.last.HasField("image")


@pytest.mark.parametrize("option", ["rewrite_model", "model", "aspect_ratio", "quality"])
def test_values_of_metadata_do_not_become_options(
    shell: InteractiveShell, keyed: Served, tmp_path: Path, option: str
) -> None:
    path = crafted(tmp_path, **{option: "--image=secret.png"})
    shell.run_cell(read_metadata(path).cell)
    assert not [call for call in keyed.calls if call.message.HasField("image")]


@pytest.mark.parametrize("label", ["secret.png", "light", "https://example.com/a.png"])
def test_the_cell_of_a_strangers_picture_opens_no_files(
    shell: InteractiveShell, keyed: Served, tmp_path: Path, label: str
) -> None:
    path = crafted(tmp_path, inputs=(InputImage("", "", label),))
    cell = read_metadata(path).cell
    assert f"--image=choose:{label}" in cell
    message = "Replace it with your own path, URL or variable"
    with pytest.raises(errors.InputImageError, match=message):
        shell.run_cell(cell).raise_error()
    assert keyed.calls == []


@pytest.mark.parametrize("text", EVIL)
def test_a_rewritten_prompt_is_literal(
    shell: InteractiveShell, keyed: Served, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.display_pub = CapturingDisplayPublisher()
    shell.kernel = SimpleNamespace()  # type: ignore[attr-defined]
    panel = Panel("", {}, shell)
    keyed.faults.up_sampled, keyed.faults.chat_text = False, text

    def generate(**values: Any) -> None:
        before = len(panel.cards)
        panel._receive(None, {"kind": "generate", "form": {**panel.form, **values}}, [])
        until(lambda: len(panel.cards) > before or panel.trouble)
        assert not panel.trouble

    generate(prompt="a fox", rewrite=True)
    sent: list[Any] = []
    monkeypatch.setattr(panel, "send", lambda content, _=(): sent.append(content))
    panel._receive(None, {"kind": "use", "id": panel.cards[0]["id"], "words": True}, [])
    fills = until(lambda: [message for message in sent if message["kind"] == "fill"])
    generate(**fills[0]["form"])
    shell.run_cell(panel.cell.replace("--replay", "--fresh")).raise_error()
    assert prompts(keyed) == [text] * 3


def test_the_field_of_a_panel_made_in_python_is_literal(
    shell: InteractiveShell, keyed: Served
) -> None:
    """The prompt of `%xai_panel` is typed, so it is a template."""
    shell.kernel = SimpleNamespace()  # type: ignore[attr-defined]
    shell.display_pub = CapturingDisplayPublisher()
    assert xai.panel("a {{ light }}").form["prompt"] == "a {{ '{{' }} light }}"
    assert xai.panel("a fox").form["prompt"] == "a fox"

"""Going on from a picture: ask for it again, with its words, more of it, and after a failure."""

from __future__ import annotations

import io
from dataclasses import replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from PIL import Image

import xai_notebook as xai
from harness import CENT, tiny, until
from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.errors import InputImageError
from xai_notebook.notebook.panel.widget import Panel
from xai_notebook.pictures.results import GeneratedImage
from xai_notebook.pictures.xmp import embed

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from harness import Served

LITERAL = "{{ light }} and {% set a = get_ipython().system('touch x') %}"


class Open:
    """A panel with nobody in front of it, and what it told the browser."""

    def __init__(self, shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
        """Open it."""
        self.panel = Panel("", {}, shell)
        self.sent: list[dict[str, Any]] = []
        monkeypatch.setattr(self.panel, "send", lambda said, _=(): self.sent.append(said))

    def tell(self, kind: str, *buffers: bytes, **content: Any) -> None:
        """Say what a browser would say."""
        self.panel._receive(None, {"kind": kind, **content}, list(buffers))

    def make(self, **values: Any) -> str:
        """Generate, and return the card of the first picture."""
        return self.wait(lambda: self.tell("generate", form={**self.panel.form, **values}))

    def wait(self, ask: Any) -> str:
        """Ask for something, and return the card of the first picture that comes."""
        before = len(self.panel.cards)
        ask()
        until(lambda: len(self.panel.cards) > before or self.panel.trouble)
        assert not self.panel.trouble
        until(lambda: not self.panel.jobs)
        return str(self.panel.cards[before]["id"])

    def filled(self, kind: str, *buffers: bytes, **content: Any) -> dict[str, Any]:
        """Say something, and return what the form is to become."""
        before = len(self.sent)
        self.tell(kind, *buffers, **content)
        until(lambda: any(said["kind"] == "fill" for said in self.sent[before:]))
        return next(said for said in self.sent[before:] if said["kind"] == "fill")


@pytest.fixture
def opened(keyed: Served, shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> Open:
    """An empty panel."""
    del keyed
    shell.display_pub = CapturingDisplayPublisher()
    shell.kernel = SimpleNamespace()  # type: ignore[attr-defined]  # a notebook
    shell.user_ns["light"] = "dawn"
    return Open(shell, monkeypatch)


def test_use_all_asks_for_the_same(opened: Open, keyed: Served) -> None:
    """Prompt, model, shape, size, count and inputs; the library names the input in a few digits."""
    first = opened.make(prompt="a fox")
    opened.tell("edit", id=first, name="image 1, made here")
    until(lambda: first in opened.panel._tray.images)
    asked = {"prompt": "in snow", "n": 2, "aspect_ratio": "16:9", "resolution": "2k"}
    second = opened.make(**asked, inputs=[{"id": first, "name": "image 1, made here"}])
    made = opened.panel.images[0]
    assert f"--image=@{(made.sha256 or '')[:8]} " in opened.panel.cell
    opened.tell("form", form={**opened.panel.form, "prompt": "", "n": 1, "inputs": []})
    form = opened.filled("use", id=second)["form"]
    assert {name: form[name] for name in asked} == asked
    opened.make(**form)
    requests = [call.message for call in keyed.calls[-2:]]
    assert requests[0].SerializeToString() == requests[1].SerializeToString()


def test_the_rewritten_words_are_text(opened: Open, keyed: Served) -> None:
    """The second choice; neither a rewrite nor a filled template becomes a template."""
    keyed.faults.up_sampled, keyed.faults.chat_text = False, LITERAL
    card = opened.make(prompt="a fox at {{ light }}", rewrite=True)
    assert opened.panel.images[0].rewritten_prompt == LITERAL
    plain = opened.filled("use", id=card)["form"]
    assert (plain["prompt"], plain["rewrite"]) == ("a fox at dawn", True)
    words = opened.filled("use", id=card, words=True)["form"]
    assert words["rewrite"] is False
    opened.make(**words)
    assert keyed.calls[-1].message.prompt == LITERAL
    assert not Path("x").exists()


def test_more_like_this_leaves_the_form(opened: Open, keyed: Served) -> None:
    """The same request once more, and another picture."""
    card = opened.make(prompt="a fox", aspect_ratio="16:9")
    opened.tell("form", form={**opened.panel.form, "prompt": "an owl", "aspect_ratio": ""})
    until(lambda: opened.panel.form["prompt"] == "an owl")
    opened.wait(lambda: opened.tell("more", id=card))
    first, second = [call.message for call in keyed.calls]
    assert first.SerializeToString() == second.SerializeToString()
    assert opened.panel.form["prompt"] == "an owl"


def test_a_failed_generation_is_tried_again(opened: Open, keyed: Served) -> None:
    """With what it had asked for, whatever the form says by then."""
    keyed.faults.failures = [(grpc.StatusCode.INVALID_ARGUMENT, "not today")]
    opened.tell("generate", form={**opened.panel.form, "prompt": "a fox"})
    until(lambda: [job["state"] for job in opened.panel.jobs] == ["failed"])
    opened.tell("form", form={**opened.panel.form, "prompt": "an owl"})
    opened.wait(lambda: opened.tell("again", id=opened.panel.jobs[0]["id"]))
    assert [call.message.prompt for call in keyed.calls] == ["a fox", "a fox"]
    assert opened.panel.prompts == ["a fox"]


def crafted(**changes: Any) -> bytes:
    """Return a file that tells of a request."""
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9)).save(buffer, "PNG")
    request = replace(ImageRequest("a fox", "grok-imagine-image"), **changes)
    return embed(GeneratedImage(request=request, model="grok"), buffer.getvalue())


def test_an_exported_file_restores_its_request(opened: Open, keyed: Served) -> None:
    """Dropped beside the inputs; on them it is a picture to edit, as a file without words is."""
    data = crafted(prompt=LITERAL, n=3, aspect_ratio="16:9", model="grok-of-tomorrow")
    filled = opened.filled("upload", data, id="u1", name="fox.png", parts=1, restore=True)
    assert (filled["form"]["n"], filled["form"]["aspect_ratio"]) == (3, "16:9")
    assert filled["upload"] == "u1"
    assert "grok-of-tomorrow" in {model["name"] for model in opened.panel.models}
    opened.make(**filled["form"] | {"model": "grok-imagine-image"})
    assert keyed.calls[-1].message.prompt == LITERAL
    assert not Path("x").exists()
    before = len(opened.sent)
    opened.tell("upload", data, id="u2", name="fox.png", parts=1)
    opened.tell("upload", tiny(), id="u3", name="plain.jpg", parts=1, restore=True)
    until(lambda: len([one for one in opened.sent[before:] if one["kind"] == "input"]) == 2)
    assert not [one for one in opened.sent[before:] if one["kind"] == "fill"]


@pytest.mark.parametrize("label", ["secret.png", "light", "https://example.com/a.png", "@"])
def test_a_strangers_file_names_no_input(opened: Open, label: str) -> None:
    """It can say what was edited, and opens nothing of it."""
    Path("secret.png").write_bytes(tiny())
    data = crafted(inputs=(InputImage("", "", label),), aspect_ratio="--image=secret.png")
    filled = opened.filled("upload", data, id="u1", name="fox.png", parts=1, restore=True)
    assert (filled["form"]["inputs"], filled["form"]["aspect_ratio"]) == ([], "")
    assert f"Not here any more, and no input: {label}." in filled["note"]


def test_a_strangers_file_names_no_picture_by_a_part_of_its_digest(opened: Open) -> None:
    """A few digits are an id, which its own user may give; a file would guess."""
    card = opened.make(prompt="a fox")
    digest = opened.panel._album.images[card].sha256 or ""
    for part, found in ((digest[:1], 0), (digest[:8], 0), (digest, 1)):
        data = crafted(inputs=(InputImage("", part, "it"),))
        filled = opened.filled("upload", data, id=part, name="a.png", parts=1, restore=True)
        assert len(filled["form"]["inputs"]) == found


def alike() -> tuple[bytes, bytes]:
    """Return two pictures whose ids begin with the same 8 digits."""
    seen: dict[str, bytes] = {}
    for number in count():
        data = tiny() + b"%d" % number
        digits = sha256(data).hexdigest()[:8]
        if digits in seen:
            return seen[digits], data
        seen[digits] = data
    raise AssertionError


def test_ids_of_the_library(keyed: Served, shell: InteractiveShell) -> None:
    """A few digits name a picture; unknown and ambiguous ones say so, and nothing is sent."""
    shell.run_cell("%load_ext xai_notebook")
    made = xai.generate("a fox")[0]
    shell.run_cell(f"%xai_image -i @{(made.sha256 or '')[:8].upper()} in snow").raise_error()
    assert keyed.last.HasField("image")
    (edited,) = xai.history(n=1)
    assert edited.request.inputs[0].parent == made.sha256
    one, other = alike()
    home = Path(made.path or "").parents[2] / "inputs"
    home.mkdir()
    for data in (one, other):
        (home / f"{sha256(data).hexdigest()}.jpg").write_bytes(data)
    digits = sha256(one).hexdigest()
    with pytest.raises(
        InputImageError, match=f"Write more digits: @{digits[:8]}. or @{digits[:8]}"
    ):
        xai.generate("in snow", image=f"@{digits[:8]}")
    with pytest.raises(InputImageError, match="no picture of your library has this id"):
        xai.generate("in snow", image="@00000000")
    assert len(keyed.calls) == 2
    assert xai.generate("in snow", image=f"@{digits[:16]}")
    made.delete()
    with pytest.raises(InputImageError, match="or be deleted"):
        xai.generate("in snow", image=f"@{(made.sha256 or '')[:8]}")


def test_as_many_run_at_once_as_are_configured(opened: Open, keyed: Served) -> None:
    """Two of three, and of one prompt one after the other; each can be cancelled."""
    panel = opened.panel
    keyed.faults.delay = lambda request: 30.0 if "slow" in request.prompt else 0.0
    for prompt in ("slow one", "slow one", "slow two"):
        opened.tell("generate", form={**panel.form, "prompt": prompt})
    until(lambda: [job["state"] for job in panel.jobs] == ["running", "queued", "running"])
    until(lambda: len(keyed.calls) == 2)
    for job in panel.jobs:
        opened.tell("cancel", id=job["id"])
    until(lambda: {job["state"] for job in panel.jobs} == {"cancelled"})
    assert sorted(call.message.prompt for call in keyed.calls) == ["slow one", "slow two"]


def test_generate_makes_another_picture_whatever_is_configured(
    opened: Open, keyed: Served, shell: InteractiveShell
) -> None:
    """A default of reuse is for cells and programs."""
    shell.run_line_magic("config", "XaiImage.reuse = True")
    for _ in range(2):
        opened.make(prompt="a fox")
    assert len(keyed.calls) == 2


def test_a_star_of_the_library_shows_in_the_panel(opened: Open) -> None:
    """And one given in the panel is the library's; the viewer is told, too."""
    card = opened.make(prompt="a fox")
    (image,) = opened.panel.images
    opened.tell("star", ids=[image.id], value=True)
    until(lambda: opened.panel.cards[0]["starred"])
    assert image.starred
    (told,) = [said for said in opened.sent if said["kind"] == "changed"]
    assert [(row["id"], row["starred"]) for row in told["rows"]] == [(image.id, True)]
    image.tag("noir")
    image.star(value=False)
    until(lambda: opened.panel.cards[0]["tags"] == ["noir"])
    until(lambda: not opened.panel.cards[0]["starred"])
    again = opened.make(prompt="a fox", n=1)
    assert (card, again) == ("image1", "image2")


def test_a_card_is_shown_in_full(opened: Open) -> None:
    """By the library's facts; what was edited from it is among its relatives."""
    card = opened.make(prompt="a fox")
    opened.tell("edit", id=card, name="it")
    until(lambda: card in opened.panel._tray.images)
    opened.make(prompt="in snow", inputs=[{"id": card, "name": "it"}])
    (fox, edit) = opened.panel.images
    opened.tell("picture", card=card, request=7)
    until(lambda: opened.sent[-1].get("request") == 7)
    shown = opened.sent[-1]
    assert (shown["id"], shown["cell"]) == (fox.id, fox.cell)
    assert shown["lineage"] == {"ancestors": [], "descendants": [edit.id]}
    opened.tell("picture", id=10**6, request=8)
    until(lambda: opened.sent[-1].get("request") == 8)
    assert (opened.sent[-1]["kind"], opened.panel.trouble) == ("error", "")


def test_a_replayed_card_says_what_it_was_made_for(
    opened: Open, keyed: Served, shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another panel is answered by the library: nobody has paid twice, and no card says so."""
    keyed.faults.cost_ticks = 2 * CENT
    opened.make(prompt="a fox")
    again = Open(shell, monkeypatch)
    again.make(prompt="a fox")
    facts = [one.panel.cards[0]["facts"][-1] for one in (opened, again)]
    assert facts == ["$0.02", "made for $0.02"]
    assert (len(keyed.calls), again.panel.spent) == (1, "")

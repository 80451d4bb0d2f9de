"""Requests that start from a picture, a file or a failed generation of the panel."""

from __future__ import annotations

import io
from dataclasses import replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from PIL import Image

import xai_notebook as xai
from harness import CENT, tiny, until
from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.errors import InputImageError
from xai_notebook.notebook.panel.widget import Panel
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.xmp import embed

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from harness import Served
    from notebook.conftest import Page

LITERAL = "{{ light }} and {% set a = get_ipython().system('touch x') %}"


@pytest.fixture
def opened(
    keyed: Served, notebook_shell: InteractiveShell, open_page: Callable[[Any], Page]
) -> Page:
    notebook_shell.user_ns["light"] = "dawn"
    return open_page(Panel("", {}, notebook_shell))


def filled(page: Page, kind: str, *parts: bytes, **content: Any) -> dict[str, Any]:
    """Send a message, and return the next reply that fills the form."""
    before = len(page.got(kind="fill"))
    page.tell(kind, *parts, **content)
    until(lambda: len(page.got(kind="fill")) > before)
    return page.got(kind="fill")[before]


def test_use_all_repeats_the_request(opened: Page, keyed: Served) -> None:
    first = opened.make(prompt="a fox")["id"]
    opened.tell("edit", id=first, name="image 1, made here")
    until(lambda: first in opened.widget._tray.images)
    values: Any = {"prompt": "in snow", "n": 2, "aspect_ratio": "16:9", "resolution": "2k"}
    second = opened.make(**values, inputs=[{"id": first, "name": "image 1, made here"}])["id"]
    digest = opened.widget.images[0].sha256 or ""
    assert f"--image=@{digest[:8]} " in opened.widget.cell
    opened.tell("form", form={**opened.widget.form, "prompt": "", "n": 1, "inputs": []})
    form = filled(opened, "use", id=second)["form"]
    assert {name: form[name] for name in values} == values
    opened.make(**form)
    requests = [call.message for call in keyed.calls[-2:]]
    assert requests[0].SerializeToString() == requests[1].SerializeToString()


def test_rewritten_prompts_are_never_templates(opened: Page, keyed: Served) -> None:
    keyed.faults.up_sampled, keyed.faults.chat_text = False, LITERAL
    card = opened.make(prompt="a fox at {{ light }}", rewrite=True)["id"]
    assert opened.widget.images[0].rewritten_prompt == LITERAL
    plain = filled(opened, "use", id=card)["form"]
    assert (plain["prompt"], plain["rewrite"]) == ("a fox at dawn", True)
    words = filled(opened, "use", id=card, words=True)["form"]
    assert words["rewrite"] is False
    opened.make(**words)
    assert keyed.calls[-1].message.prompt == LITERAL
    assert not Path("x").exists()


def test_more_like_this_repeats_the_request_and_leaves_the_form(
    opened: Page, keyed: Served
) -> None:
    card = opened.make(prompt="a fox", aspect_ratio="16:9")["id"]
    opened.tell("form", form={**opened.widget.form, "prompt": "an owl", "aspect_ratio": ""})
    until(lambda: opened.widget.form["prompt"] == "an owl")
    opened.make(lambda: opened.tell("more", id=card))
    first, second = [call.message for call in keyed.calls]
    assert first.SerializeToString() == second.SerializeToString()
    assert opened.widget.form["prompt"] == "an owl"


def test_a_failed_generation_is_repeated_as_it_was(opened: Page, keyed: Served) -> None:
    keyed.faults.failures = [(grpc.StatusCode.INVALID_ARGUMENT, "not today")]
    opened.tell("generate", form={**opened.widget.form, "prompt": "a fox"})
    until(lambda: [job["state"] for job in opened.widget.jobs] == ["failed"])
    opened.tell("form", form={**opened.widget.form, "prompt": "an owl"})
    opened.make(lambda: opened.tell("again", id=opened.widget.jobs[0]["id"]))
    assert [call.message.prompt for call in keyed.calls] == ["a fox", "a fox"]
    assert opened.widget.prompts == ["a fox"]


def crafted(**changes: Any) -> bytes:
    """Return a file with a request in its metadata."""
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9)).save(buffer, "PNG")
    request = replace(ImageRequest("a fox", "grok-imagine-image"), **changes)
    return embed(Picture(request=request, model="grok"), buffer.getvalue())


def test_a_dropped_export_fills_the_form(opened: Page, keyed: Served) -> None:
    data = crafted(prompt=LITERAL, n=3, aspect_ratio="16:9", model="grok-of-tomorrow")
    reply = filled(opened, "upload", data, id="u1", name="fox.png", parts=1, restore=True)
    assert (reply["form"]["n"], reply["form"]["aspect_ratio"]) == (3, "16:9")
    assert reply["upload"] == "u1"
    assert "grok-of-tomorrow" in {model["name"] for model in opened.widget.models}
    opened.make(**reply["form"] | {"model": "grok-imagine-image"})
    assert keyed.calls[-1].message.prompt == LITERAL
    assert not Path("x").exists()
    opened.tell("upload", data, id="u2", name="fox.png", parts=1)
    opened.tell("upload", tiny(), id="u3", name="plain.jpg", parts=1, restore=True)
    until(lambda: len(opened.got(kind="input")) == 3)
    assert len(opened.got(kind="fill")) == 1


@pytest.mark.parametrize("label", ["secret.png", "light", "https://example.com/a.png", "@"])
def test_metadata_of_a_file_opens_no_inputs(opened: Page, label: str) -> None:
    Path("secret.png").write_bytes(tiny())
    data = crafted(inputs=(InputImage("", "", label),), aspect_ratio="--image=secret.png")
    reply = filled(opened, "upload", data, id="u1", name="fox.png", parts=1, restore=True)
    assert (reply["form"]["inputs"], reply["form"]["aspect_ratio"]) == ([], "")
    assert f"No longer available as input images: {label}." in reply["note"]


def test_metadata_names_inputs_by_whole_digests_only(opened: Page) -> None:
    card = opened.make(prompt="a fox")["id"]
    digest = opened.widget._album.images[card].sha256 or ""
    for part, found in ((digest[:1], 0), (digest[:8], 0), (digest, 1)):
        data = crafted(inputs=(InputImage("", part, "it"),))
        reply = filled(opened, "upload", data, id=part, name="a.png", parts=1, restore=True)
        assert len(reply["form"]["inputs"]) == found


def colliding_pictures() -> tuple[bytes, bytes]:
    """Return two pictures whose ids begin with the same 8 digits."""
    picture, numbers = tiny(), {}
    for number in count():
        digits = sha256(picture + b"%d" % number).hexdigest()[:8]
        if digits in numbers:
            return picture + b"%d" % numbers[digits], picture + b"%d" % number
        numbers[digits] = number
    raise AssertionError


def test_a_few_digits_of_a_digest_name_a_picture(keyed: Served, shell: InteractiveShell) -> None:
    shell.run_cell("%load_ext xai_notebook")
    fox = xai.generate("a fox")[0]
    digest = fox.sha256 or ""
    shell.run_cell(f"%xai_image -i @{digest[:8].upper()} in snow").raise_error()
    assert keyed.last.HasField("image")
    (edited,) = xai.history(n=1)
    assert edited.request.inputs[0].parent == digest
    pictures = colliding_pictures()
    home = Path(fox.path or "").parents[2] / "inputs"
    home.mkdir()
    for data in pictures:
        (home / f"{sha256(data).hexdigest()}.jpg").write_bytes(data)
    digits = sha256(pictures[0]).hexdigest()
    with pytest.raises(
        InputImageError, match=f"Write more digits: @{digits[:8]}. or @{digits[:8]}"
    ):
        xai.generate("in snow", image=f"@{digits[:8]}")
    with pytest.raises(InputImageError, match="no picture of your library has this id"):
        xai.generate("in snow", image="@00000000")
    assert len(keyed.calls) == 2
    assert xai.generate("in snow", image=f"@{digits[:16]}")
    fox.delete()
    with pytest.raises(InputImageError, match="or be deleted"):
        xai.generate("in snow", image=f"@{digest[:8]}")


def test_generations_run_concurrently_but_equal_prompts_in_turn(
    opened: Page, keyed: Served
) -> None:
    panel = opened.widget
    keyed.faults.delay = lambda request: 30.0 if "slow" in request.prompt else 0.0
    for number, prompt in enumerate(("slow one", "slow one", "slow two"), 1):
        opened.tell("generate", form={**panel.form, "prompt": prompt})
        until(lambda: len(panel.jobs) == number)  # noqa: B023  # called in the same round
    until(lambda: [job["state"] for job in panel.jobs] == ["running", "queued", "running"])
    until(lambda: len(keyed.calls) == 2)
    for job in panel.jobs:
        opened.tell("cancel", id=job["id"])
    until(lambda: {job["state"] for job in panel.jobs} == {"cancelled"})
    assert sorted(call.message.prompt for call in keyed.calls) == ["slow one", "slow two"]


def test_generate_ignores_a_configured_reuse(
    opened: Page, keyed: Served, shell: InteractiveShell
) -> None:
    shell.run_line_magic("config", "XaiImage.reuse = True")
    for _ in range(2):
        opened.make(prompt="a fox")
    assert len(keyed.calls) == 2


def test_stars_and_tags_are_shared_with_the_library(opened: Page) -> None:
    card = opened.make(prompt="a fox")["id"]
    (image,) = opened.widget.images
    opened.tell("star", ids=[image.id], value=True)
    until(lambda: opened.widget.cards[0]["starred"])
    assert image.starred
    (changed,) = opened.got(kind="changed")
    assert [(row["id"], row["starred"]) for row in changed["rows"]] == [(image.id, True)]
    image.tag("noir")
    image.star(value=False)
    until(lambda: opened.widget.cards[0]["tags"] == ["noir"])
    until(lambda: not opened.widget.cards[0]["starred"])
    again = opened.make(prompt="a fox", n=1)["id"]
    assert (card, again) == ("image1", "image2")


def test_the_viewer_shows_a_card_with_its_relatives(opened: Page) -> None:
    card = opened.make(prompt="a fox")["id"]
    opened.tell("edit", id=card, name="it")
    until(lambda: card in opened.widget._tray.images)
    opened.make(prompt="in snow", inputs=[{"id": card, "name": "it"}])
    (fox, edit) = opened.widget.images
    shown = opened.ask("picture", card=card)
    assert (shown["id"], shown["cell"]) == (fox.id, fox.cell)
    assert shown["lineage"] == {"ancestors": [], "descendants": [edit.id]}
    assert opened.ask("picture", id=10**6)["kind"] == "error"
    assert opened.widget.trouble == ""


def test_a_replayed_card_has_its_former_cost(
    opened: Page, keyed: Served, shell: InteractiveShell, open_page: Callable[[Any], Page]
) -> None:
    keyed.faults.cost_ticks = 2 * CENT
    opened.make(prompt="a fox")
    again = open_page(Panel("", {}, shell))
    again.make(prompt="a fox")
    facts = [page.widget.cards[0]["facts"][-1] for page in (opened, again)]
    assert facts == ["$0.02", "made for $0.02"]
    assert (len(keyed.calls), again.widget.spent) == (1, "")

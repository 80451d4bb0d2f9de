"""Captions: what stands under pictures, once above them, and how much of it."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from PIL import Image

from xai_notebook.client.request import ImageRequest
from xai_notebook.pictures.picture import WITHHELD, Picture
from xai_notebook.pictures.render.grid import to_html
from xai_notebook.pictures.results import GeneratedImage, ImageBatch

LONG = "a lighthouse in a storm " * 30


def picture(prompt: str = "a fox", **values: Any) -> GeneratedImage:
    buffer = io.BytesIO()
    size = values.get("size") or (64, 64)
    Image.new("RGB", size, "teal").save(buffer, "JPEG")
    given = {"cached": buffer.getvalue(), "size": size, "model": "m", **values}
    return GeneratedImage(Picture(request=ImageRequest(prompt, "m"), **given))


def withheld(prompt: str = "a fox", **values: Any) -> GeneratedImage:
    return picture(prompt, status="moderated", error=WITHHELD, cached=None, size=None, **values)


def told(html: str) -> str:
    return re.sub("<.*?>", " ", html)


def test_what_all_share_stands_once_above() -> None:
    """Under the pictures is only what differs."""
    html = to_html(ImageBatch(picture() for _ in range(3)))
    assert told(html).count("a fox") == 1
    assert html.index("a fox</bdi>") < html.index("<figure")


@pytest.mark.parametrize("size", [(1, 65_000), (65_000, 1)])
def test_a_line_of_pixels_is_shown(size: tuple[int, int]) -> None:
    """Whatever shape a server sends, its card has a caption."""
    html = to_html(ImageBatch([picture(size=size, rewritten_prompt=LONG)]))
    assert "a lighthouse" in told(html)
    assert "<img " in html


def test_a_shared_prompt_with_several_rewrites() -> None:
    """What was written stands above, what was made of it under each picture."""
    html = to_html(ImageBatch(picture(rewritten_prompt=f"A fox, {n}.") for n in "xyz"))
    above, *cards = html.split("<figure ")
    assert "Prompt: a fox" in " ".join(told(above).split())
    for card, name in zip(cards, "xyz", strict=True):
        assert f"A fox, {name}." in told(card)
        assert "Prompt as written" not in card


def test_different_prompts_stay_under_their_pictures() -> None:
    """And so does the prompt of a single one."""
    for batch in (ImageBatch([picture("a fox"), picture("an owl")]), ImageBatch([picture()])):
        assert to_html(batch).startswith("<div><figure")


def test_each_says_how_python_calls_it() -> None:
    """As in `foxes[2]`, also where something was not sent; one alone needs no number."""
    batch = ImageBatch([picture("a"), picture("b", status="unsent"), picture("c")])
    assert re.findall(r"\[\d+\]", told(to_html(batch))) == ["[0]", "[2]"]
    assert "[0]" not in to_html(ImageBatch([picture()]))


def test_equal_withheld_pictures_are_one_card() -> None:
    """How many, why, which, and what all of them cost."""
    html = to_html(ImageBatch([picture(), *[withheld(cost_usd=0.02) for _ in range(3)]]))
    assert html.count("<figure ") == 2
    assert "3 pictures were withheld by moderation. Change the prompt." in told(html)
    assert "[1:4]" in html
    assert "$0.06" in html
    apart = to_html(ImageBatch([withheld("a"), withheld("b")]))
    assert apart.count("The image was withheld") == 2


@pytest.mark.parametrize("rewritten", [None, LONG])
def test_all_of_it(rewritten: str | None) -> None:
    """Nothing is folded but the prompt as written."""
    html = to_html(ImageBatch([picture(LONG, rewritten_prompt=rewritten)]).shown(captions="full"))
    assert html.count("<details") == (rewritten is not None)
    assert LONG in html.partition("<details")[0]


@pytest.mark.parametrize("captions", ["short", None])
def test_three_lines_of_it(captions: str | None) -> None:
    """The rest is folded, and so is what was written; what surely fits is not."""
    html = to_html(ImageBatch([picture("x", rewritten_prompt=LONG)]).shown(captions=captions))
    assert html.count("<details") == 1
    head, rest = html.split("</summary>")
    assert "max-height:4.35em" in head
    assert len(told(head)) < 300
    assert LONG in rest
    assert "Prompt as written: x" in " ".join(told(rest).split())
    short = to_html(ImageBatch([picture("short")]).shown(captions=captions))
    assert "<details" not in short


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(640, 640), (640, 288), (288, 640)])
def test_as_much_as_fits_in_three_lines(columns: int, size: tuple[int, int]) -> None:
    """Of a narrow card less is shown at once."""
    html = to_html(ImageBatch([picture(LONG, size=size)], columns=columns))
    (head,) = re.findall("<summary.*?</bdi></summary>", html)
    pixels = min(900 / columns, 640, 640 * size[0] / size[1])
    assert len(told(head)) < 3 * pixels / 6


def test_none_of_it() -> None:
    """Pictures alone, with their alternative texts; what went wrong is said all the same."""
    html = to_html(
        ImageBatch([picture("x", notes=("Mind this.",)), withheld()]).shown(captions="none")
    )
    assert html.count("<figcaption") == 1
    assert "Mind this." in html
    assert "withheld" in html
    assert "Prompt:" not in html
    assert "generated from the prompt: x" in html

"""Captions of cards and of the grid."""

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


def test_a_common_prompt_is_above_the_grid() -> None:
    html = to_html(ImageBatch(picture() for _ in range(3)))
    assert told(html).count("a fox") == 1
    assert html.index("a fox</bdi>") < html.index("<figure")


@pytest.mark.parametrize("size", [(1, 65_000), (65_000, 1)])
def test_extreme_shapes_have_captions(size: tuple[int, int]) -> None:
    html = to_html(ImageBatch([picture(size=size, rewritten_prompt=LONG)]))
    assert "a lighthouse" in told(html)
    assert "<img " in html


def test_rewrites_of_a_common_prompt_are_below_each_picture() -> None:
    html = to_html(ImageBatch(picture(rewritten_prompt=f"A fox, {n}.") for n in "xyz"))
    above, *cards = html.split("<figure ")
    assert "Prompt: a fox" in " ".join(told(above).split())
    for card, name in zip(cards, "xyz", strict=True):
        assert f"A fox, {name}." in told(card)
        assert "Prompt as written" not in card


def test_other_prompts_are_below_their_pictures() -> None:
    for batch in (ImageBatch([picture("a fox"), picture("an owl")]), ImageBatch([picture()])):
        assert to_html(batch).startswith("<div><figure")


def test_cards_show_their_index_unless_alone() -> None:
    """Unsent images count, too."""
    batch = ImageBatch([picture("a"), picture("b", status="unsent"), picture("c")])
    assert re.findall(r"\[\d+\]", told(to_html(batch))) == ["[0]", "[2]"]
    assert "[0]" not in to_html(ImageBatch([picture()]))


def test_equal_withheld_pictures_share_a_card() -> None:
    html = to_html(ImageBatch([picture(), *[withheld(cost_usd=0.02) for _ in range(3)]]))
    assert html.count("<figure ") == 2
    assert "3 pictures were withheld by moderation. Change the prompt." in told(html)
    assert "[1:4]" in html
    assert "$0.06" in html
    apart = to_html(ImageBatch([withheld("a"), withheld("b")]))
    assert apart.count("The image was withheld") == 2


@pytest.mark.parametrize("rewritten", [None, LONG])
def test_full_captions_fold_only_the_prompt_as_written(rewritten: str | None) -> None:
    html = to_html(ImageBatch([picture(LONG, rewritten_prompt=rewritten)]).shown(captions="full"))
    assert html.count("<details") == (rewritten is not None)
    assert LONG in html.partition("<details")[0]


@pytest.mark.parametrize("captions", ["short", None])
def test_short_captions_fold_after_three_lines(captions: str | None) -> None:
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
def test_narrow_cards_fold_earlier(columns: int, size: tuple[int, int]) -> None:
    html = to_html(ImageBatch([picture(LONG, size=size)], columns=columns))
    (head,) = re.findall("<summary.*?</bdi></summary>", html)
    pixels = min(900 / columns, 640, 640 * size[0] / size[1])
    assert len(told(head)) < 3 * pixels / 6


def test_without_captions_alt_texts_notes_and_errors_remain() -> None:
    html = to_html(
        ImageBatch([picture("x", notes=("Mind this.",)), withheld()]).shown(captions="none")
    )
    assert html.count("<figcaption") == 1
    assert "Mind this." in html
    assert "withheld" in html
    assert "Prompt:" not in html
    assert "generated from the prompt: x" in html

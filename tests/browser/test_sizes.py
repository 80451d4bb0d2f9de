"""Grids fit the page: pictures neither too tall for a screen nor too small to see."""

from __future__ import annotations

import io
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from xai_notebook.client.request import ImageRequest
from xai_notebook.pictures.display import to_html
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.results import GeneratedImage, ImageBatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

PROMPT = "a lighthouse in extraordinarily uncompromising weather, seen from the harbour wall"
SHAPES = {"square": (1024, 1024), "tall": (704, 1565), "wide": (1565, 704)}
LOADED = "() => [...document.images].every((image) => image.complete)"
MEASURE = """() => ({
    overflow: document.documentElement.scrollWidth - innerWidth,
    pictures: [...document.images].map((image) => image.getBoundingClientRect()),
    caption: document.querySelector('figcaption').getBoundingClientRect().top,
})"""


@pytest.fixture(scope="module")
def blank(browser: Browser) -> Iterator[Page]:
    """An empty page."""
    page = browser.new_page()
    yield page
    page.close()


def grid(count: int, size: tuple[int, int]) -> str:
    """Return the grid of so many pictures of one size."""
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, "JPEG")
    picture = Picture(
        request=ImageRequest(PROMPT, "m", n=count), model="m", size=size,
        media_type="image/jpeg", cached=buffer.getvalue(),
    )  # fmt: skip
    return to_html(ImageBatch(GeneratedImage.of(picture, index=i) for i in range(count)))


def measure(page: Page, html: str, width: int, height: int) -> Any:
    """Return what a window of that size shows."""
    page.set_viewport_size({"width": width, "height": height})
    page.set_content(f"<body style='font: 14px sans-serif; margin: 8px'>{html}</body>")
    page.wait_for_function(LOADED)
    return page.evaluate(MEASURE)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 2, 4, 7, 10])
def test_pictures_fit_every_width(blank: Page, count: int, shape: str) -> None:
    """No sideways scroll, and no picture narrower than 150 pixels."""
    html = grid(count, SHAPES[shape])
    for width in (420, 700, 1600):
        seen = measure(blank, html, width, 900)
        assert seen["overflow"] <= 0
        assert len(seen["pictures"]) == count
        assert min(picture["width"] for picture in seen["pictures"]) >= 150


def test_a_matrix_scrolls_inside_the_page(blank: Page) -> None:
    """Its columns stay columns in a narrow page, whose own width does not grow."""
    buffer = io.BytesIO()
    Image.new("RGB", (640, 640), "teal").save(buffer, "JPEG")
    batch = ImageBatch(
        GeneratedImage.of(
            Picture(request=ImageRequest(PROMPT, "m"), size=(640, 640), cached=buffer.getvalue()),
            chosen=chosen,
        )
        for chosen in product(("lighthouse", "b", "c", "d", "e"), ("dawn", "noon", "night"))
    )
    for width in (420, 700, 1600):
        seen = measure(blank, to_html(batch), width, 900)
        assert seen["overflow"] <= 0
        assert min(picture["width"] for picture in seen["pictures"]) >= 150
        assert len({picture["x"] for picture in seen["pictures"]}) == 3
        assert len({picture["y"] for picture in seen["pictures"]}) == 5
    scroll = "node => node.scrollWidth > node.clientWidth"
    measure(blank, to_html(batch), 420, 900)
    assert blank.locator("div:has(> table)").evaluate(scroll)


@pytest.mark.parametrize("shape", SHAPES)
def test_one_picture_and_its_caption_are_in_sight(blank: Page, shape: str) -> None:
    """On a laptop nobody scrolls to read what made a picture, and nothing is distorted."""
    seen = measure(blank, grid(1, SHAPES[shape]), 1366, 768)
    (picture,) = seen["pictures"]
    width, height = SHAPES[shape]
    assert picture["height"] <= 0.71 * 768
    assert seen["caption"] + 20 < 768
    assert picture["width"] / picture["height"] == pytest.approx(width / height, rel=0.02)

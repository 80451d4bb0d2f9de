"""Grid layout: pictures fit the page and are not too small."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbconvert import HTMLExporter
from PIL import Image

from xai_notebook.client.request import ImageRequest
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.render.grid import mimebundle, to_html
from xai_notebook.pictures.results import GeneratedImage, ImageBatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

PROMPT = "a lighthouse in extraordinarily uncompromising weather, seen from the harbour wall"
SHAPES = {"square": (1024, 1024), "tall": (704, 1565), "wide": (1565, 704)}
LOADED = "() => [...document.images].every((image) => image.complete)"
MEASURE = """() => {
    const captions = [...document.querySelectorAll('figcaption')];
    const broken = [];
    for (const caption of captions) {
        const walker = document.createTreeWalker(caption, NodeFilter.SHOW_TEXT);
        for (let node = walker.nextNode(); node; node = walker.nextNode()) {
            for (const word of node.data.matchAll(/[^ \\u00a0]+/g)) {
                const range = document.createRange();
                range.setStart(node, word.index);
                range.setEnd(node, word.index + word[0].length);
                const lines = new Set([...range.getClientRects()].map((box) => box.top));
                if (lines.size > 1) broken.push(word[0]);
            }
        }
    }
    return {
        broken,
        overflow: document.documentElement.scrollWidth - innerWidth,
        pictures: [...document.images].map((image) => image.getBoundingClientRect()),
        caption: captions[0].getBoundingClientRect().top,
    };
}"""


@pytest.fixture(scope="module")
def blank(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    yield page
    page.close()


def picture(size: tuple[int, int]) -> Picture:
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, "JPEG")
    request = ImageRequest(PROMPT, "m")
    return Picture(request=request, model="m", size=size, cached=buffer.getvalue())


def grid(count: int, size: tuple[int, int]) -> str:
    return to_html(ImageBatch(GeneratedImage(picture(size), index=i) for i in range(count)))


def measure(page: Page, html: str, width: int, height: int) -> Any:
    """Render `html` in a window of the given size and measure it."""
    page.set_viewport_size({"width": width, "height": height})
    page.set_content(f"<body style='font: 14px sans-serif; margin: 8px'>{html}</body>")
    page.wait_for_function(LOADED)
    return page.evaluate(MEASURE)


def check(measured: Any, count: int, page_width: int, *, fills_width: bool) -> None:
    """Check the measurements of a grid; `fills_width`: its rows are as wide as the page."""
    assert measured["overflow"] <= 0
    assert measured["broken"] == []
    assert len(measured["pictures"]) == count
    assert min(picture["width"] for picture in measured["pictures"]) >= 150
    if fills_width:
        assert max(picture["right"] for picture in measured["pictures"]) > 0.85 * page_width


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 2, 4, 7, 10])
def test_pictures_fit_every_width(blank: Page, count: int, shape: str) -> None:
    html = grid(count, SHAPES[shape])
    for width in (420, 700, 1600):
        fills_width = shape != "tall" and (count > 4 or width < 700)
        check(measure(blank, html, width, 900), count, width, fills_width=fills_width)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_exported_page_fits_a_phone(blank: Page, shape: str) -> None:
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(
                "%xai_image", outputs=[nbformat.v4.new_output("display_data", {"text/html": html})]
            )
            for html in (grid(count, SHAPES[shape]) for count in (1, 2, 4, 7, 10))
        ]
    )
    page, _ = HTMLExporter().from_notebook_node(notebook)
    blank.set_viewport_size({"width": 400, "height": 800})
    blank.set_content(page)
    blank.wait_for_function(LOADED)
    # 24 pictures: 1 + 2 + 4 + 7 + 10.
    check(blank.evaluate(MEASURE), 24, 400, fills_width=shape != "tall")


def test_sanitized_html_has_the_same_layout(blank: Page, lab: Any, page: Page) -> None:
    lab.add("empty.ipynb", "")
    lab.show(page, "empty.ipynb")
    sanitize = "h => jupyterapp.shell.currentWidget.content.rendermime.sanitizer.sanitize(h)"
    for shape, width in product(SHAPES, (400, 700, 1600)):
        html = grid(7, SHAPES[shape])
        assert measure(blank, page.evaluate(sanitize, html), width, 900) == measure(
            blank, html, width, 900
        )


def test_a_matrix_scrolls_inside_the_page(blank: Page) -> None:
    axes = product(("lighthouse", "b", "c", "d", "e"), ("dawn", "noon", "night"))
    batch = ImageBatch(GeneratedImage(picture((640, 640)), chosen=values) for values in axes)
    for width in (420, 700, 1600):
        measured = measure(blank, to_html(batch), width, 900)
        assert measured["overflow"] <= 0
        assert min(picture["width"] for picture in measured["pictures"]) >= 150
        assert len({picture["x"] for picture in measured["pictures"]}) == 3
        assert len({picture["y"] for picture in measured["pictures"]}) == 5
    scroll = "node => node.scrollWidth > node.clientWidth"
    measure(blank, to_html(batch), 420, 900)
    assert blank.locator("div:has(> table)").evaluate(scroll)


def test_the_first_picture_and_its_caption_are_visible_without_scrolling(
    page: Page, lab: Any
) -> None:
    page.set_viewport_size({"width": 1366, "height": 768})
    lab.run(page, "first.ipynb", "%load_ext xai_notebook", "%%xai_image\na red fox in fresh snow")
    page.locator("figure img").wait_for()
    page.wait_for_function(LOADED)
    bottoms = "nodes => nodes.map(node => node.getBoundingClientRect().bottom)"
    (panel,) = page.locator(".jp-WindowedPanel-outer").evaluate_all(bottoms)
    assert page.locator("figcaption strong").evaluate_all(bottoms)[0] <= panel


@pytest.mark.parametrize("shape", SHAPES)
def test_one_picture_and_its_caption_fit_a_laptop(blank: Page, shape: str) -> None:
    measured = measure(blank, grid(1, SHAPES[shape]), 1366, 768)
    (picture,) = measured["pictures"]
    width, height = SHAPES[shape]
    assert picture["height"] <= 0.67 * 768
    assert measured["caption"] + 20 < 768
    assert picture["width"] / picture["height"] == pytest.approx(width / height, rel=0.02)


def test_captions_are_unfolded_on_paper_and_on_slides(blank: Page) -> None:
    long = "a lighthouse in a storm " * 30
    images = [picture((1024, 1024)) for _ in range(4)]
    batch = ImageBatch(
        GeneratedImage(replace(image, rewritten_prompt=f"{long}{number}"), index=number)
        for number, image in enumerate(images)
    )
    html = mimebundle(batch)["text/html"]
    measure(blank, html, 400, 900)
    whole, summary = blank.locator("summary + div"), blank.locator("summary").first
    assert not any(part.is_visible() for part in whole.all())
    lines = "node => Math.round(node.clientHeight / parseFloat(getComputedStyle(node).lineHeight))"
    assert summary.evaluate(lines) == 3
    summary.click()
    assert [part.is_visible() for part in whole.all()] == [True, False, False, False]
    blank.emulate_media(media="print")
    assert all(part.is_visible() for part in whole.all())
    assert not any(part.is_visible() for part in blank.locator("summary > bdi").all())
    blank.emulate_media(media="screen")
    size = "width: 960px; height: 700px; position: relative"
    slide = (
        f"<div class='reveal'><div class='slides' style='{size}'><section>{html}</section></div>"
    )
    measure(blank, slide, 1280, 720)
    assert all(part.is_visible() for part in whole.all())
    section = blank.locator("section")
    assert section.evaluate("node => node.clientHeight") <= 700
    bottoms = "nodes => nodes.map(node => node.getBoundingClientRect().bottom)"
    assert max(blank.locator("img").evaluate_all(bottoms)) < 700

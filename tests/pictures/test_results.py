"""`GeneratedImage` and `ImageBatch`: immutable, and usable as arrays."""

from __future__ import annotations

import io
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from xai_notebook.client.request import ImageRequest
from xai_notebook.errors import ModeratedError
from xai_notebook.generation.jobs.job import JobList
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.render.tables import CostTable, Plan
from xai_notebook.pictures.results import GeneratedImage, ImageBatch

REQUEST = ImageRequest("a red fox", "grok-imagine-image")


@pytest.mark.parametrize("name", ["status", "cost_usd", "index", "chosen", "maker", "exported"])
def test_an_image_is_immutable(name: str) -> None:
    batch = ImageBatch([GeneratedImage(Picture(request=REQUEST))])
    with pytest.raises(FrozenInstanceError):
        setattr(batch[0], name, "x")


@pytest.mark.parametrize("name", ["images", "notes", "columns"])
def test_a_batch_is_immutable(name: str) -> None:
    batch = ImageBatch([GeneratedImage(Picture(request=REQUEST))])
    with pytest.raises(FrozenInstanceError):
        setattr(batch, name, ())
    one_column = batch.shown(columns=1)
    assert (one_column.columns, batch.columns, one_column.images) == (1, None, batch.images)


def test_an_image_has_the_attributes_of_its_picture() -> None:
    picture = Picture(
        request=REQUEST, position=3, model="grok", size=(4, 3), file=Path("a.png"), notes=("x",)
    )
    image = GeneratedImage(picture, index=1, chosen=("low",))
    for name in Picture.__slots__:
        assert getattr(image, name) == getattr(picture, name)
    assert (image.index, image.position, image.label) == (1, 3, "low")
    assert image.path == picture.file
    assert repr(image) == "<GeneratedImage 1 ok 4x3 'a red fox'>"


def png_image(mode: str = "RGB", colour: Any = (200, 40, 40), **options: Any) -> GeneratedImage:
    buffer = io.BytesIO()
    Image.new(mode, (8, 6), colour).save(buffer, "PNG", **options)
    return GeneratedImage(Picture(request=REQUEST, cached=buffer.getvalue()))


def test_an_image_is_an_array_of_its_pixels() -> None:
    pixels = np.asarray(png_image())
    assert pixels.shape == (6, 8, 3)
    assert pixels.dtype == np.uint8
    assert pixels[5, 7].tolist() == [200, 40, 40]
    assert np.asarray(png_image("L", 7))[0, 0].tolist() == [7, 7, 7]
    assert np.asarray(png_image("RGBA", (0, 0, 0, 0)))[0, 0].tolist() == [255, 255, 255]
    assert np.asarray(png_image(), dtype=float).dtype == float
    assert np.array(png_image(), copy=True).flags.writeable


def test_an_array_of_an_image_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert np.asarray(png_image(exif=exif)).shape == (8, 6, 3)


def test_an_array_of_a_withheld_image_raises_its_error() -> None:
    with pytest.raises(ModeratedError, match="withheld"):
        np.asarray(GeneratedImage(Picture(request=REQUEST, status="moderated", error="withheld")))


def test_a_batch_is_an_array_of_its_images() -> None:
    moderated = GeneratedImage(Picture(request=REQUEST, status="moderated", error="withheld"))
    batch = ImageBatch([png_image(), moderated])
    array = np.asarray(batch)
    assert array.shape == (2,)
    assert array.dtype == object
    assert array.tolist() == list(batch)
    with pytest.raises(TypeError, match=r"numpy\.stack"):
        np.asarray(batch, dtype=float)


def test_results_are_html_in_front_ends_without_ipython() -> None:
    """`_mime_` is for marimo, `_repr_html_` for Streamlit and holoviz Panel."""
    batch = ImageBatch([png_image(), png_image()])
    plan = Plan((REQUEST,), "local", "", {}, (0.0,))
    shown = (batch, batch[0], plan, CostTable([]), JobList([]))
    assert [value._mime_()[0] for value in shown] == ["text/html"] * 5
    htmls = [value._repr_html_() for value in shown]
    assert [value._mime_()[1] for value in shown] == htmls
    assert [html.count("data:image/jpeg;base64,") for html in htmls] == [2, 1, 0, 0, 0]
    assert htmls[0] == batch._repr_mimebundle_()["text/html"]
    assert "a red fox" in htmls[2]
    sentence = "No jobs yet. generate(…, batch=True) submits the requests of a call as one job."
    assert htmls[4] == f"<div>{sentence}</div>"


def test_ipython_renders_a_batch_once() -> None:
    """The bundle has HTML, so IPython does not ask for it again."""

    class Counted(ImageBatch):
        def _repr_html_(self) -> str:
            raise AssertionError

    data, _ = DisplayFormatter().format(Counted([png_image()]))
    assert {*data} == {"text/plain", "text/html", "image/jpeg"}


def test_a_batch_that_cannot_be_drawn_says_so_in_every_front_end() -> None:
    calls: list[str] = []
    batch = ImageBatch([png_image()], undrawn=lambda: calls.append("undrawn"))
    object.__setattr__(batch, "columns", "two")  # which raises while the grid is laid out
    for draw in (batch._repr_html_, batch._repr_mimebundle_, batch._mime_):
        with pytest.raises(TypeError):
            draw()
    assert calls == ["undrawn"] * 3

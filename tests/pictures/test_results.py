"""What users hold cannot be changed from anywhere."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from xai_notebook.client.request import ImageRequest
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.results import GeneratedImage, ImageBatch

REQUEST = ImageRequest("a red fox", "grok-imagine-image")


@pytest.mark.parametrize("name", ["status", "cost_usd", "index", "chosen", "maker", "exported"])
def test_an_image_cannot_be_changed(name: str) -> None:
    """Neither what a reply said of it, nor its place in the batch."""
    batch = ImageBatch([GeneratedImage(request=REQUEST)])
    with pytest.raises(FrozenInstanceError):
        setattr(batch[0], name, "x")


@pytest.mark.parametrize("name", ["images", "notes", "columns"])
def test_a_batch_cannot_be_changed(name: str) -> None:
    """Shown otherwise, it is another one."""
    batch = ImageBatch([GeneratedImage(request=REQUEST)])
    with pytest.raises(FrozenInstanceError):
        setattr(batch, name, ())
    wide = batch.shown(columns=1)
    assert (wide.columns, batch.columns, wide.images) == (1, None, batch.images)


def test_an_image_says_all_that_its_picture_says() -> None:
    """Its place in the library and its place in the batch are two."""
    picture = Picture(
        request=REQUEST, position=3, model="grok", size=(4, 3), file=Path("a.png"), notes=("x",)
    )
    image = GeneratedImage.of(picture, index=1, chosen=("low",))
    for name in Picture.__slots__:
        assert getattr(image, name) == getattr(picture, name)
    assert (image.index, image.position, image.label) == (1, 3, "low")
    assert image.path == picture.file
    assert repr(image) == "<GeneratedImage 1 ok 4x3 'a red fox'>"

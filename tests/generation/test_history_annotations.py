"""Stars, tags and the trash in Python: `image.star()`, `batch.delete()`, `empty_trash()`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import xai_notebook
from xai_notebook.client.request import ImageRequest
from xai_notebook.errors import LibraryError, XaiError
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.results import GeneratedImage, ImageBatch

if TYPE_CHECKING:
    from harness import Served
    from xai_notebook.generation.session import Session


def test_an_image_and_a_batch_are_annotated(session: Session, quick: Served) -> None:
    """A change through one object is visible in all other objects of the same image."""
    batch = session.generate("a fox", n=3)
    batch[0].star()
    batch[1:].tag("noir")
    batch[2].untag("noir")
    images = session.history.search("fox")
    assert [image.starred for image in images] == [True, False, False]
    assert [image.tags for image in images] == [(), ("noir",), ()]
    images.star(value=False)
    assert not batch[0].starred


def test_a_restored_picture_answers(session: Session, quick: Served) -> None:
    (image,) = session.generate("a fox")
    image.delete()
    image.restore()
    assert session.generate("a fox", replay=True)[0].data == image.data


def test_emptying_the_trash_returns_the_number_of_pictures(session: Session, quick: Served) -> None:
    """The originals are removed."""
    batch = session.generate("a fox", n=2)
    batch.delete()
    assert xai_notebook.empty_trash() == 2
    assert not any(image.file and image.file.exists() for image in batch)
    assert xai_notebook.empty_trash() == 0


def test_images_outside_of_a_library_cannot_be_annotated(session: Session) -> None:
    """Deleting an empty batch does nothing."""
    request = ImageRequest(prompt="a fox", model="m")
    with pytest.raises(LibraryError, match="not in the library"):
        GeneratedImage(Picture(request=request), maker=session).star()
    with pytest.raises(XaiError, match="not made by a session"):
        GeneratedImage(Picture(request=request)).star()
    ImageBatch().delete()

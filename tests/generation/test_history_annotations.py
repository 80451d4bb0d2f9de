"""Stars, tags and the trash in Python: `image.star()`, `batch.delete()`, `empty_trash()`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import xai_notebook
from xai_notebook.client.request import ImageRequest
from xai_notebook.errors import LibraryError, OptionError, XaiError
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.results import GeneratedImage, ImageBatch

if TYPE_CHECKING:
    from harness import Served
    from xai_notebook.generation.session import Session


def test_one_image_and_a_batch_are_marked(session: Session, quick: Served) -> None:
    """Every object of an image shows its star and tags."""
    batch = session.generate("a fox", n=3)
    batch[0].star()
    batch[1:].tag("noir")
    batch[2].untag("noir")
    found = session.history.search("fox")
    assert [image.starred for image in found] == [True, False, False]
    assert [image.tags for image in found] == [(), ("noir",), ()]
    found.star(value=False)
    assert not batch[0].starred


def test_what_was_deleted_is_made_anew(session: Session, quick: Served) -> None:
    """A picture in the trash does not answer; restored, it does."""
    (image,) = session.generate("a fox")
    image.delete()
    image.restore()
    assert session.generate("a fox", replay=True)[0].data == image.data
    sent = len(quick.calls)
    image.delete()
    session.generate("a fox")
    assert len(quick.calls) == sent + 1


def test_emptying_says_how_many(session: Session, quick: Served) -> None:
    """The originals are removed."""
    batch = session.generate("a fox", n=2)
    batch.delete()
    assert xai_notebook.empty_trash() == 2
    assert not any(image.file and image.file.exists() for image in batch)
    assert xai_notebook.empty_trash() == 0


def test_an_empty_tag_is_refused(session: Session, quick: Served) -> None:
    with pytest.raises(OptionError, match="A tag is"):
        session.generate("a fox").tag(" ")


def test_what_is_in_no_library_cannot_be_marked(session: Session) -> None:
    """An empty batch has nothing to mark."""
    request = ImageRequest(prompt="a fox", model="m")
    with pytest.raises(LibraryError, match="not in the library"):
        GeneratedImage(Picture(request=request), maker=session).star()
    with pytest.raises(XaiError, match="not made by a session"):
        GeneratedImage(Picture(request=request)).star()
    ImageBatch().delete()

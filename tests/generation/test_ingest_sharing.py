"""`--share`: a public link for each picture."""

from __future__ import annotations

import urllib.request
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from xai_notebook.arguments.options import resolve
from xai_notebook.client import bounds, wire
from xai_notebook.errors import OptionError
from xai_notebook.library import Library
from xai_notebook.pictures.render.grid import plain_text, to_html

if TYPE_CHECKING:
    from harness import Kernels, Served


def download(url: str) -> bytes:
    with urllib.request.urlopen(url) as reply:
        return bytes(reply.read())


def test_a_shared_picture_has_a_link(kernels: Kernels, quick: Served) -> None:
    """The link leads to the original; the caption shows the last day of the link."""
    batch = kernels().generate("a <fox>", n=2, share=2)
    assert [download(image.public_url or "") for image in batch] == [i.data for i in batch]
    storage = quick.last.storage_options
    assert storage.filename == "a-fox.jpg"
    assert storage.expires_after == storage.public_url.expires_after == 2 * 24 * 3600
    image = batch[0]
    assert image.public_url_expires is not None
    left = image.public_url_expires - datetime.now(timezone.utc)
    assert timedelta(days=1, hours=23) < left <= timedelta(days=2)
    day = f"{image.public_url_expires.astimezone():%Y-%m-%d}"
    assert f'<a href="{image.public_url}"' in to_html(batch)
    assert f"until {day}" in to_html(batch)
    assert f"public link until {day}: {image.public_url}" in plain_text(batch)


def test_a_replayed_picture_keeps_its_link(kernels: Kernels, quick: Served) -> None:
    """Another kernel shows the same link, and sends nothing."""
    first = kernels().generate("a fox", share=True)
    again = kernels().generate("a fox", share=True)
    assert again[0].replayed
    assert again[0].public_url == first[0].public_url
    assert again[0].public_url_expires == first[0].public_url_expires
    assert len(quick.calls) == 1
    assert not quick.server.counts[wire.UPLOAD_FILE]


def test_a_stored_picture_is_shared(kernels: Kernels, quick: Served) -> None:
    kernels().generate("a fox")
    other = kernels()
    (image,) = other.generate("a fox", share=1)
    (later,) = other.history.search("fox")
    assert image.replayed
    assert download(image.public_url or "") == image.data
    assert later.public_url == image.public_url
    assert len(quick.calls) == 1


def test_the_default_lifetime_is_the_maximum(kernels: Kernels, quick: Served) -> None:
    """This holds for new and for stored pictures. A link expires with its file."""
    (new,) = kernels().generate("a fox", share=True)
    kernels().generate("a wolf")
    (stored,) = kernels().generate("a wolf", share=True)
    for image in (new, stored):
        assert image.public_url_expires is not None
        left = image.public_url_expires - datetime.now(timezone.utc)
        assert timedelta(days=29, hours=23) < left <= timedelta(days=30)
    (link,) = [c.message for c in quick.server.requests if c.method == wire.CREATE_PUBLIC_URL]
    assert not link.HasField("expires_after")  # the store would refuse a link longer than the file


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("fault", ["storage_error", "public_url_error"])
def test_a_failed_share_is_a_note(
    kernels: Kernels, quick: Served, fault: str, *, stored: bool
) -> None:
    """The picture itself is shown."""
    if stored:
        kernels().generate("a fox")
    setattr(quick.faults.files, fault, "no room for that")
    (image,) = kernels().generate("a fox", share=1)
    assert image.status == "ok"
    assert image.public_url is None or (stored and fault == "storage_error")
    if image.public_url is None:
        assert any("Not shared" in note and "no room" in note for note in image.notes)


def test_an_expired_link_is_not_shown(kernels: Kernels, quick: Served) -> None:
    """The caption shows when the link expired, and the next `share` makes a new link."""
    session = kernels()
    (image,) = session.generate("a fox", share=1)
    past = datetime.now(timezone.utc) - timedelta(days=3)
    object.__setattr__(image.picture, "public_url_expires", past)
    html = to_html(session.generate("a fox").shown(images=[image]))
    assert f"public link expired on {past.astimezone():%Y-%m-%d}" in html
    assert "<a href" not in html
    library = Library.open(session.library().home)
    library.store_link(image.picture)
    library.close()
    (again,) = kernels().generate("a fox", share=1)
    assert again.is_public
    assert again.public_url != image.public_url


@pytest.mark.parametrize("value", ["0", "31", "0.01", "never", "-1"])
def test_a_lifetime_out_of_bounds_is_refused(value: str) -> None:
    """The store accepts an hour to 30 days."""
    with pytest.raises(OptionError, match="--share"):
        resolve({"share": value})


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://files.x.ai/a?b=c", True),
        ("http://127.0.0.1:80/a", True),
        ("http://files.x.ai/a", False),
        ("javascript:alert(1)", False),
        ("https://a b", False),
        ("https://a/\u202e", False),
        ("https://" + "a" * 2000, False),
    ],
)
def test_only_safe_addresses_are_links(url: str, *, good: bool) -> None:
    assert (bounds.link(url) == url) is good

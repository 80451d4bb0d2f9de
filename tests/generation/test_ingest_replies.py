"""Paid replies that are malformed: everything usable is kept."""

from __future__ import annotations

import base64
import resource
import time
from typing import TYPE_CHECKING, Any

import pytest

from harness import CENT, tiny
from numbering_server import numbered
from xai_notebook.client import wire
from xai_notebook.library import Library
from xai_notebook.library.catalog import Query

if TYPE_CHECKING:
    from harness import Kernels, Served
    from numbering_server import NumberingServer


def reply(*images: dict[str, Any], cost_ticks: int = 2 * CENT) -> bytes:
    """Return the bytes of a reply with these images."""
    message = wire.ImageResponse(model="grok-test")
    for image in images:
        message.images.add(**{"respect_moderation": True, **image})
    message.usage.cost_in_usd_ticks = cost_ticks
    return bytes(message.SerializeToString())


def encoded(number: int = 0) -> str:
    return base64.b64encode(numbered(number)).decode()


@pytest.mark.parametrize(
    ("format_", "field", "value"),
    [
        ("base64", "base64", f" DATA:image/jpeg;BASE64,{encoded()}"),
        ("base64", "base64", encoded().rstrip("=")),
        ("base64", "base64", encoded().replace("+", "-").replace("/", "_")),
        ("base64", "base64", encoded()[:30] + "\r\n" + encoded()[30:]),
        ("url", "base64", encoded()),
        ("url", "url", f"data:image/jpeg;base64,{encoded()}"),
        ("base64", "url", None),
        ("base64", "base64", None),
    ],
)
def test_a_picture_is_accepted_in_any_form(
    image_server: NumberingServer, new_session: Kernels, format_: str, field: str, value: str | None
) -> None:
    """Unusual base64, base64 instead of a URL, a URL instead of base64."""
    image_server.fixed_reply = reply({field: value or image_server.url(0)})
    (image,) = new_session().generate("a fox", format=format_)
    assert (image.status, image.data, image.error) == ("ok", numbered(0), None)
    (again,) = new_session().generate("a fox", format=format_)
    assert (again.data, again.replayed, image_server.image_counts) == (numbered(0), True, [1])


def test_invalid_utf8_in_a_prompt_loses_no_picture(
    image_server: NumberingServer, new_session: Kernels
) -> None:
    """The invalid bytes are replaced."""
    image_server.fixed_reply = reply({"base64": encoded(), "up_sampled_prompt": "a r~d fox"})
    image_server.fixed_reply = image_server.fixed_reply.replace(b"~", b"\xff")
    batch = new_session().generate("a fox")
    assert (batch[0].data, batch[0].rewritten_prompt) == (numbered(0), "a r\ufffdd fox")
    assert batch.cost_usd == pytest.approx(0.02)
    assert "a r\ufffdd fox" in new_session().generate("a fox")._repr_mimebundle_()["text/html"]


def test_unrequested_images_are_kept(image_server: NumberingServer, new_session: Kernels) -> None:
    """Additional images were paid for, so they are stored and shown; a note explains them."""
    image_server.fixed_reply = reply(
        *({"base64": encoded(number)} for number in range(3)), {"base64": ""}, cost_ticks=8 * CENT
    )
    batch = new_session().generate("a fox", n=2)
    assert [image.data for image in batch] == [numbered(number) for number in range(3)]
    assert batch.notes == ("The server sent 4 images instead of 2; 3 are kept.",)
    assert batch.cost_usd == pytest.approx(0.08)
    session = new_session()
    assert len(session.history.search()) == 3
    assert [image.data for image in session.generate("a fox", n=2)] == [numbered(0), numbered(1)]
    assert image_server.image_counts == [2]


def test_millions_of_empty_images_need_little_memory(
    image_server: NumberingServer, new_session: Kernels
) -> None:
    """Ten million empty images are one card, in the memory of a few copies of their bytes."""
    session = new_session()
    image_server.fixed_reply = reply({"base64": encoded()})
    session.generate("a fox")  # imports and connects
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    image_server.fixed_reply = b"\x0a\x00" * 10_000_000
    (image,) = session.generate("an empty fox")
    assert image.status in {"moderated", "missing"}
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300_000  # kB: a few copies of 20 MB, on both sides


def test_the_timeout_includes_the_downloads(kernels: Kernels, quick: Served) -> None:
    """One deadline covers call and downloads; pending images are downloaded later."""
    quick.faults.download_delay = 20
    session = kernels()
    begin = time.monotonic()
    for _ in range(2):
        batch: Any = session.generate("a fox", n=3, format="url", timeout=1.5)
        assert [image.status for image in batch] == ["pending"] * 3
    assert time.monotonic() - begin < 10
    assert all("took longer than 1." in image.error for image in batch)
    quick.faults.download_delay = 0
    for kernel in (session, kernels()):
        again: Any = kernel.generate("a fox", n=3, format="url")
        assert [image.data for image in again] == [tiny()] * 3
    assert len(quick.calls) == 1


@pytest.mark.parametrize("killed", [False, True], ids=["kept", "recovered"])
def test_a_reply_with_a_cost_and_no_image_is_in_the_ledger(
    image_server: NumberingServer,
    new_session: Kernels,
    monkeypatch: pytest.MonkeyPatch,
    *,
    killed: bool,
) -> None:
    """The reply answers no request, and causes no failure."""
    image_server.fixed_reply = reply()
    session = new_session()
    with monkeypatch.context() as patched:
        if killed:
            patched.setattr(Library, "add_replies", lambda _, replies: [[] for _ in replies])
            patched.setattr(Library, "settle", lambda _: None)
        batch: Any = session.generate("a fox")
        assert [image.status for image in batch] == ["missing"]
        session.close()
    session = new_session()
    assert len(session.history.search()) == len(session.history.search("fox")) == 0
    (row,) = session.history.costs()
    assert (row.requests, row.images, row.cost_usd, row.model) == (1, 0, 0.02, "grok-test")
    image_server.fixed_reply = reply({"base64": encoded()})
    again: Any = session.generate("a fox")
    assert (len(again.ok), image_server.image_counts) == (1, [1, 1])
    assert [image.prompt for image in session.history.search("fox")] == ["a fox"]
    (row,) = session.history.costs()
    assert (row.requests, row.images, row.cost_usd) == (2, 1, 0.04)
    assert len(session.library().catalog.find(Query()).ids) == 1
    again.delete()
    session.library().annotations.empty_trash()
    assert sum(row.cost_usd or 0 for row in session.history.costs()) == 0.04

"""Paid replies that are malformed: everything usable is kept."""

from __future__ import annotations

import base64
import contextlib
import resource
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from harness import KEY, start_images, tiny
from xai_notebook.client import wire
from xai_notebook.generation.event_loop import BackgroundLoop
from xai_notebook.library import Library
from xai_notebook.library.catalog import Query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xai_notebook.generation.session import Session


class Oddity:
    """A server that answers every image call with the bytes `answer`, and serves pictures."""

    def __init__(self, loop: BackgroundLoop) -> None:
        self.answer = b""
        self.calls = 0
        self.released = threading.Event()
        self.released.set()
        self.status = 200
        oddity = self

        async def generate(request: bytes, context: Any) -> bytes:
            self.calls += 1
            return self.answer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                oddity.released.wait(20)
                with contextlib.suppress(OSError):
                    self.send_response(oddity.status)
                    self.end_headers()
                    self.wfile.write(tiny(int(self.path[1:])))

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        class Web(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self.loop = loop
        endless = [("grpc.max_send_message_length", -1)]
        self.server, self.port = loop.run(start_images(generate, endless))
        self.web = Web(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.web.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, number: int = 0) -> str:
        """Return the address of a picture."""
        return f"http://127.0.0.1:{self.web.server_address[1]}/{number}"

    def reply(self, *images: dict[str, Any]) -> None:
        """Answer with these images."""
        made = [wire.GeneratedImage(**{"respect_moderation": True, **one}) for one in images]
        message = wire.ImageResponse(images=made, model="grok-test")
        message.usage.cost_in_usd_ticks = 200_000_000 * len(images)
        self.answer = message.SerializeToString()

    def stop(self) -> None:
        """Stop both servers."""
        self.released.set()
        self.web.shutdown()
        self.web.server_close()
        self.loop.run(self.server.stop(None))


@pytest.fixture
def odd() -> Iterator[Oddity]:
    """A server of malformed replies."""
    loop = BackgroundLoop()
    oddity = Oddity(loop)
    yield oddity
    oddity.stop()
    loop.stop()


@pytest.fixture
def kernels(
    odd: Oddity, monkeypatch: pytest.MonkeyPatch, new_session: Callable[[], Session]
) -> Callable[[], Session]:
    """Make sessions that talk to it, each like a fresh kernel with the same library."""
    monkeypatch.setenv("XAI_API_KEY", KEY)
    monkeypatch.setenv("XAI_API_HOST", f"localhost:{odd.port}")
    return new_session


def encoded(number: int = 0) -> str:
    """Return a picture in base64."""
    return base64.b64encode(tiny(number)).decode()


@pytest.mark.parametrize(
    ("asked", "field", "dress"),
    [
        ("base64", "base64", lambda odd: f" DATA:image/jpeg;BASE64,{encoded()}"),
        ("base64", "base64", lambda odd: encoded().rstrip("=")),
        ("base64", "base64", lambda odd: encoded().replace("+", "-").replace("/", "_")),
        ("base64", "base64", lambda odd: encoded()[:30] + "\r\n" + encoded()[30:]),
        ("url", "base64", lambda odd: encoded()),
        ("url", "url", lambda odd: f"data:image/jpeg;base64,{encoded()}"),
        ("base64", "url", lambda odd: odd.url()),
        ("base64", "base64", lambda odd: odd.url()),
    ],
)
def test_a_picture_is_taken_in_any_form(
    odd: Oddity, kernels: Any, asked: str, field: str, dress: Any
) -> None:
    """Unusual base64, base64 instead of a URL, a URL instead of base64."""
    odd.reply({field: dress(odd)})
    (image,) = kernels().generate("a fox", format=asked)
    assert (image.status, image.data, image.error) == ("ok", tiny(), None)
    (again,) = kernels().generate("a fox", format=asked)
    assert (again.data, again.replayed, odd.calls) == (tiny(), True, 1)


def test_a_prompt_that_is_not_utf8_costs_no_picture(odd: Oddity, kernels: Any) -> None:
    """Broken letters of the prompt are replaced."""
    odd.reply({"base64": encoded(), "up_sampled_prompt": "a r~d fox"})
    odd.answer = odd.answer.replace(b"~", b"\xff")
    batch = kernels().generate("a fox")
    assert (batch[0].data, batch[0].rewritten_prompt) == (tiny(), "a r\ufffdd fox")
    assert batch.cost_usd == pytest.approx(0.02)
    assert "a r\ufffdd fox" in kernels().generate("a fox")._repr_mimebundle_()["text/html"]


def test_more_images_than_asked_for_are_kept(odd: Oddity, kernels: Any) -> None:
    """They were paid for: they are stored, shown and explained."""
    odd.reply(*({"base64": encoded(number)} for number in range(3)), {"base64": ""})
    batch = kernels().generate("a fox", n=2)
    assert [image.data for image in batch] == [tiny(number) for number in range(3)]
    assert batch.notes == ("The server sent 4 images instead of 2; 3 are kept.",)
    assert batch.cost_usd == pytest.approx(0.08)
    session = kernels()
    assert len(session.history.search()) == 3
    assert [image.data for image in session.generate("a fox", n=2)] == [tiny(0), tiny(1)]
    assert odd.calls == 1


def test_twenty_megabytes_of_empty_images_cost_little(odd: Oddity, kernels: Any) -> None:
    """Ten million empty images are one card, in the memory of a few copies of their bytes."""
    session = kernels()
    odd.reply({"base64": encoded()})
    session.generate("a fox")  # imports and connects
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    odd.answer = b"\x0a\x00" * 10_000_000
    (image,) = session.generate("an empty fox")
    assert image.status in {"moderated", "missing"}
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300_000  # kB: a few copies of 20 MB, on both sides


def test_the_timeout_bounds_the_downloads(odd: Oddity, kernels: Any) -> None:
    """One deadline covers call and downloads; pending images are downloaded later."""
    odd.reply(*({"url": odd.url(number)} for number in range(3)))
    odd.released.clear()
    session = kernels()
    begin = time.monotonic()
    batch = session.generate("a fox", n=3, format="url", timeout=1.5)
    assert time.monotonic() - begin < 10
    assert [image.status for image in batch] == ["pending"] * 3
    assert all("longer than 1." in image.error for image in batch)
    again = session.generate("a fox", n=3, format="url", timeout=1.5)  # in the same kernel
    assert [image.status for image in again] == ["pending"] * 3
    odd.released.set()
    for kernel in (session, kernels()):
        found = kernel.generate("a fox", n=3, format="url")
        assert [image.data for image in found] == [tiny(number) for number in range(3)]
    assert odd.calls == 1


def test_what_is_gone_is_made_again(odd: Oddity, kernels: Any) -> None:
    """An image whose URL expired before it was downloaded no longer answers."""
    odd.reply({"url": odd.url()})
    odd.status = 503
    assert kernels().generate("a fox", format="url")[0].status == "pending"
    assert kernels().generate("a fox", format="url")[0].status == "pending"
    assert odd.calls == 1
    odd.status = 404
    kernels().generate("a fox", format="url")
    assert odd.calls == 2


@pytest.mark.parametrize("killed", [False, True], ids=["kept", "recovered"])
def test_a_reply_with_a_cost_and_no_image(
    odd: Oddity,
    kernels: Callable[[], Session],
    monkeypatch: pytest.MonkeyPatch,
    *,
    killed: bool,
) -> None:
    """Its cost counts, it answers nothing, and nothing fails because of it."""
    message = wire.ImageResponse(model="grok-test")
    message.usage.cost_in_usd_ticks = 200_000_000
    odd.answer = message.SerializeToString()
    session = kernels()
    with monkeypatch.context() as patched:
        if killed:
            patched.setattr(Library, "add_replies", lambda _, replies: [[] for _ in replies])
            patched.setattr(Library, "settle", lambda _: None)
        batch: Any = session.generate("a fox")
        assert [image.status for image in batch] == ["missing"]
        session.close()
    session = kernels()
    assert len(session.history.search()) == len(session.history.search("fox")) == 0
    (row,) = session.history.costs()
    assert (row.requests, row.images, row.cost_usd, row.model) == (1, 0, 0.02, "grok-test")
    odd.reply({"base64": base64.b64encode(tiny()).decode()})
    again: Any = session.generate("a fox")
    assert (len(again.ok), odd.calls) == (1, 2)
    assert [image.prompt for image in session.history.search("fox")] == ["a fox"]
    (row,) = session.history.costs()
    assert (row.requests, row.images, row.cost_usd) == (2, 1, 0.04)
    catalog = session.library().catalog.find(Query())
    assert len(catalog.ids) == 1
    again.delete()
    session.library().annotations.empty_trash()
    assert sum(row.cost_usd or 0 for row in session.history.costs()) == 0.04
    session.close()

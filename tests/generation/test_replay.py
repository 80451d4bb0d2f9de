"""Which requests stored images answer, and how replayed images look. Slots: `test_replay_slots`."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from harness import KEY, serve, settings_of, tiny, until
from xai_notebook.errors import LibraryError
from xai_notebook.generation.backends import INSTRUCTION
from xai_notebook.generation.session import Session
from xai_notebook.library import Library
from xai_notebook.library.storage.database import FILE
from xai_notebook.library.storage.schema import _LINE_ENDS, MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness import Served


@pytest.fixture
def sessions(quick: Served) -> Iterator[Any]:
    """Make sessions, each like a fresh kernel with the same library."""
    made = []

    def make(**variables: str) -> Session:
        variables = {"XAI_API_HOST": quick.address, "XAI_API_KEY": KEY, **variables}
        session = Session(settings_of(**variables))
        made.append(session)
        return session

    yield make
    for session in made:
        session.close()


@pytest.mark.parametrize(
    "other",
    [
        {"model": "grok-imagine-image-quality"},
        {"aspect_ratio": "16:9"},
        {"resolution": "2k"},
        {"user": "someone"},
        {"image": "other.png"},
        {"image": ["one.png", "other.png"]},
        {"image": ["other.png", "one.png"]},
    ],
    ids=str,
)
def test_other_requests_are_not_answered(
    sessions: Any, quick: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: Any
) -> None:
    """Another model, option or input image makes another request."""
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for name, colour in (("one.png", "red"), ("other.png", "blue")):
        Image.new("RGB", (4, 4), colour).save(name)
    for options in ({}, {"image": "one.png"}, {"image": ["one.png", "other.png", "one.png"]}):
        sessions().generate("a fox", **options)
    assert not sessions().generate("a fox", **other)[0].replayed
    assert len(quick.calls) == 4


def test_other_hosts_are_not_answered(sessions: Any, quick: Served) -> None:
    """Neither another server's nor the embedded server's pictures answer."""
    sessions().generate("a fox")
    with serve() as second:
        second.faults.garbage = tiny(7)
        (image,) = sessions(XAI_API_HOST=second.address).generate("a fox")
        assert not image.replayed
        assert image.data == tiny(7)
    (image,) = sessions().generate("a fox", local=True)
    assert not image.replayed
    assert len(quick.calls) == 1


def test_the_way_it_travels_does_not_count(sessions: Any, quick: Served) -> None:
    """An image that came as base64 answers a request for URLs."""
    (first,) = sessions().generate("a fox", format="base64")
    (again,) = sessions().generate("a fox", format="url")
    assert again.replayed
    assert again.data == first.data == tiny()
    assert len(quick.calls) == 1


def test_what_earlier_versions_stored_with_other_line_ends_answers(
    sessions: Any, quick: Served, tmp_path: Path
) -> None:
    r"""Earlier versions distinguished `\\r\\n` from `\\n`, in requests and rewrites."""
    before = sessions(XAI_NOTEBOOK_HOME=str(tmp_path))
    made = before.generate("a fox\nin snow", n=2)
    owl = before.generate("an owl\nat night", rewrite=True)
    before.close()
    calls = len(quick.calls)
    with closing(sqlite3.connect(tmp_path / FILE)) as connection, connection:
        (host,) = connection.execute("SELECT DISTINCT host FROM requests").fetchone()
        model = owl[0].request.rewrite_model
        for prompt in ("a fox\r\nin snow", owl[0].request.prompt):
            parts = ["xai", host, prompt, "grok-imagine-image", None, None, None, None, []]
            connection.execute(
                "UPDATE requests SET fingerprint = ?, prompt = ? WHERE prompt = ?",
                (digest_of(parts), prompt, prompt.replace("\r\n", "\n")),
            )
        key = digest_of(["xai", host, model, INSTRUCTION, "an owl\r\nat night"])
        connection.execute("UPDATE rewrites SET key = ?", (key,))
        connection.execute(f"PRAGMA user_version = {MIGRATIONS.index(_LINE_ENDS)}")
    after = sessions(XAI_NOTEBOOK_HOME=str(tmp_path))
    again = after.generate("a fox\nin snow", n=2, replay=True)
    assert [image.sha256 for image in again] == [image.sha256 for image in made]
    again = after.generate("an owl\nat night", rewrite=True)
    assert [image.sha256 for image in again] == [image.sha256 for image in owl]
    assert len(quick.calls) == calls


def digest_of(parts: list[Any]) -> str:
    """Return a fingerprint or a rewrite key."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def test_a_replayed_image_says_so(sessions: Any, quick: Served) -> None:
    """With a badge on its card."""
    first = sessions().generate("a fox")._repr_mimebundle_()["text/html"]
    again = sessions().generate("a fox")._repr_mimebundle_()["text/html"]
    assert ("replayed</span>" in first, "replayed</span>" in again) == (False, True)


def test_a_download_that_a_kill_cut_short_is_made_up_for(sessions: Any, quick: Served) -> None:
    """The next kernel downloads the image from its URL, without a new call."""
    quick.faults.download_delay = 30
    killed = sessions()
    call = killed.prepare("a fox", {"format": "url"})
    future = killed.loop.submit(killed.run(call))
    library = killed.library()
    until(lambda: library.find(_fingerprint(quick)))
    future.cancel()
    quick.faults.download_delay = 0
    (image,) = sessions().generate("a fox", format="url")
    assert image.data == tiny()
    assert image.replayed
    assert len(quick.calls) == 1


def test_a_download_that_another_kernel_ends_meanwhile(
    sessions: Any, quick: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is pending when looked up, but not a moment later: nothing is made again."""
    quick.faults.download_status = 503
    sessions().generate("a fox", format="url")
    url_of = Library.url_of

    def late(self: Library, image: Any) -> str | None:
        self.complete(image, tiny())
        return url_of(self, image)

    monkeypatch.setattr(Library, "url_of", late)
    (image,) = sessions().generate("a fox", format="url")
    assert (image.data, image.replayed) == (tiny(), True)
    assert len(quick.calls) == 1


def _fingerprint(server: Served) -> str:
    from xai_notebook.client.request import ImageRequest
    from xai_notebook.settings import DEFAULT_MODEL

    return ImageRequest("a fox", DEFAULT_MODEL).fingerprint("xai", server.address)


def test_two_kernels_share_what_either_made(sessions: Any, quick: Served, tmp_path: Path) -> None:
    """A running kernel replays what another has just stored."""
    first, second = sessions(), sessions()
    second.generate("a hare")
    first.generate("a fox")
    assert second.generate("a fox")[0].replayed
    library = Library.open(first.library().home)
    assert len(library.history()) == 2
    library.close()


def test_replay_without_stored_images_is_an_error(sessions: Any, quick: Served) -> None:
    """The message names both cures."""
    with pytest.raises(LibraryError, match=r"has 0 of the 1 .* Without --replay, or with --reuse"):
        sessions().generate("never made", replay=True)
    assert quick.calls == []

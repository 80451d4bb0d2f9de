"""Which requests stored images answer. Slots: `test_replay_slots`."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from harness import CENT, serve, tiny
from xai_notebook.generation.backends import INSTRUCTION
from xai_notebook.library import Library
from xai_notebook.library.storage.database import FILE
from xai_notebook.library.storage.schema import _LINE_ENDS, MIGRATIONS

if TYPE_CHECKING:
    from pathlib import Path

    from harness import Kernels, Served


def test_another_kernel_shows_what_is_stored(kernels: Kernels, quick: Served) -> None:
    """The images cost nothing and are marked as replayed. Both kernels run all the time."""
    quick.faults.cost_ticks = 7 * CENT
    first, second = kernels(), kernels()
    second.generate("a hare")
    original: Any = first.generate("a fox", n=2)
    again: Any = second.generate("a fox", n=2)
    assert [image.data for image in again] == [image.data for image in original] == [tiny()] * 2
    assert [image.replayed for image in again] == [True, True]
    assert (original.spent_usd, again.spent_usd) == (pytest.approx(0.14), 0)
    assert original.cost_usd == again.cost_usd == pytest.approx(0.14)
    assert second.history.costs().total_usd == pytest.approx(0.21)
    html = [batch._repr_mimebundle_()["text/html"] for batch in (original, again)]
    assert ["replayed</span>" in text for text in html] == [False, True]
    assert len(quick.calls) == 2


def test_replay_can_be_switched_off(kernels: Kernels, quick: Served) -> None:
    kernels().generate("a fox")
    other = kernels()
    other.configured = lambda: {"replay": False}
    assert not other.generate("a fox")[0].replayed


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
    kernels: Kernels, quick: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: Any
) -> None:
    """Another model, option or input image makes another request."""
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for name, colour in (("one.png", "red"), ("other.png", "blue")):
        Image.new("RGB", (4, 4), colour).save(name)
    for options in ({}, {"image": "one.png"}, {"image": ["one.png", "other.png", "one.png"]}):
        kernels().generate("a fox", **options)
    assert not kernels().generate("a fox", **other)[0].replayed
    assert len(quick.calls) == 4


def test_pictures_of_other_hosts_do_not_answer(
    kernels: Kernels, quick: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded server is another host, too."""
    kernels().generate("a fox")
    (image,) = kernels().generate("a fox", local=True)
    assert not image.replayed
    with serve() as second:
        second.faults.garbage = tiny(7)
        monkeypatch.setenv("XAI_API_HOST", second.address)
        (image,) = kernels().generate("a fox")
        assert image.data == tiny(7)
    assert not image.replayed
    assert len(quick.calls) == 1


def test_an_image_in_base64_answers_a_request_for_a_url(kernels: Kernels, quick: Served) -> None:
    kernels().generate("a fox", format="base64")
    (again,) = kernels().generate("a fox", format="url")
    assert (again.data, again.replayed) == (tiny(), True)
    assert len(quick.calls) == 1


def test_line_ends_of_earlier_versions_do_not_matter(kernels: Kernels, quick: Served) -> None:
    r"""Earlier versions distinguished `\r\n` from `\n`, in requests and rewrites."""
    before = kernels()
    original = before.generate("a fox\nin snow", n=2)
    owl = before.generate("an owl\nat night", rewrite=True)
    file = before.library().home / FILE
    before.close()
    calls = len(quick.calls)
    with closing(sqlite3.connect(file)) as connection, connection:
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
    after = kernels()
    again = after.generate("a fox\nin snow", n=2, replay=True)
    assert [image.sha256 for image in again] == [image.sha256 for image in original]
    again = after.generate("an owl\nat night", rewrite=True)
    assert [image.sha256 for image in again] == [image.sha256 for image in owl]
    assert len(quick.calls) == calls


def digest_of(parts: list[Any]) -> str:
    """Return a fingerprint or a rewrite key."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def test_another_kernel_completes_a_download_after_the_look_up(
    kernels: Kernels, quick: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image is not made again."""
    quick.faults.download_status = 503
    kernels().generate("a fox", format="url")
    url_of = Library.url_of

    def complete_before(self: Library, image: Any) -> str | None:
        self.complete(image, tiny())
        return url_of(self, image)

    monkeypatch.setattr(Library, "url_of", complete_before)
    (image,) = kernels().generate("a fox", format="url")
    assert (image.data, image.replayed) == (tiny(), True)
    assert len(quick.calls) == 1

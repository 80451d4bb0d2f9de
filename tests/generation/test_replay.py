"""Stored images answer a request again: when they do, when they don't, and what is shown."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient

from harness import KEY, serve, settings_of, tiny, until
from xai_notebook.generation.backends import INSTRUCTION
from xai_notebook.generation.session import Session
from xai_notebook.library import Library
from xai_notebook.library.storage.database import FILE
from xai_notebook.library.storage.schema import _LINE_ENDS, MIGRATIONS
from xai_notebook.pictures.results import ImageBatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Served

QUICKSTART = Path(__file__).parents[2] / "notebooks" / "01_quickstart.ipynb"


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


def execute(folder: Path, address: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the quickstart in a fresh kernel and return the notebook."""
    folder.mkdir()
    notebook = nbformat.read(QUICKSTART, as_version=4)
    monkeypatch.setenv("XAI_API_HOST", address)
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(home))
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return notebook


def pictures(notebook: Any) -> list[str]:
    """Return the data URI of every picture in a notebook's outputs."""
    return [
        part.split('"')[0]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        for part in output.get("data", {}).get("text/html", "").split('<img src="')[1:]
    ]


def digests(home: Path) -> set[str]:
    """Return the digest of every original in a library, checked against its name."""
    found = set()
    for file in (home / "images").glob("??/*"):
        assert hashlib.sha256(file.read_bytes()).hexdigest() == file.stem
        found.add(file.stem)
    return found


def test_the_quickstart_run_twice_asks_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Restart and run all: the second kernel makes no image call and shows the same pictures."""
    home = tmp_path / "library"
    with serve() as served:
        first = execute(tmp_path / "a", served.address, home, monkeypatch)
        calls, originals = len(served.calls), digests(home)
        second = execute(tmp_path / "b", served.address, home, monkeypatch)
        assert calls > 0
        assert len(served.calls) == calls
    assert pictures(second) == pictures(first) != []
    assert digests(home) == originals


def test_the_second_time_in_a_kernel_is_new(sessions: Any, quick: Served) -> None:
    """Running a cell again means: other pictures, please."""
    sessions().generate("a fox")
    kernel = sessions()
    assert [kernel.generate("a fox")[0].replayed for _ in range(3)] == [True, False, False]
    assert len(quick.calls) == 3


def test_two_become_four(sessions: Any, quick: Served) -> None:
    """N grown from 2 to 4 asks for 2 more, and the next kernel for none."""
    first = sessions().generate("a fox", n=2)
    grown = sessions().generate("a fox", n=4)
    assert [call.message.n for call in quick.calls] == [2, 2]
    assert [image.replayed for image in grown] == [True, True, False, False]
    assert [image.index for image in grown] == [0, 1, 2, 3]
    assert [image.sha256 for image in grown[:2]] == [image.sha256 for image in first]
    again = sessions().generate("a fox", n=4)
    assert len(quick.calls) == 2
    assert [image.id for image in again] == [image.id for image in grown]


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
    """Another model, option or input image is another request."""
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for name, colour in (("one.png", "red"), ("other.png", "blue")):
        Image.new("RGB", (4, 4), colour).save(name)
    for options in ({}, {"image": "one.png"}, {"image": ["one.png", "other.png", "one.png"]}):
        sessions().generate("a fox", **options)
    assert not sessions().generate("a fox", **other)[0].replayed
    assert len(quick.calls) == 4


def test_other_hosts_are_not_answered(sessions: Any, quick: Served) -> None:
    """Pictures of one server never pass for those of another, or of the embedded one."""
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
    """What came as base64 answers a request for URLs, with the same bytes."""
    (first,) = sessions().generate("a fox", format="base64")
    (again,) = sessions().generate("a fox", format="url")
    assert again.replayed
    assert again.data == first.data == tiny()
    assert len(quick.calls) == 1


def test_what_earlier_versions_stored_with_other_line_ends_answers(
    sessions: Any, quick: Served, tmp_path: Path
) -> None:
    r"""They took a prompt with `\\r\\n` for another one; what was rewritten is found as well."""
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
    """Return the digest under which the library looks for something."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def test_a_replayed_image_says_so(sessions: Any, quick: Served) -> None:
    """A badge on its card, and only there."""
    first = sessions().generate("a fox")._repr_mimebundle_()["text/html"]
    again = sessions().generate("a fox")._repr_mimebundle_()["text/html"]
    assert ("replayed</span>" in first, "replayed</span>" in again) == (False, True)


def test_a_download_that_a_kill_cut_short_is_made_up_for(sessions: Any, quick: Served) -> None:
    """The next kernel fetches what was paid for from its URL, without a new call."""
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
    """What waits at a URL when it is looked for, and no more a moment later, is not made again."""
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


def test_identical_prompts_have_pictures_of_their_own(sessions: Any, quick: Served) -> None:
    """A prompt that stands three times in a list is three requests, in this kernel and the next."""
    made = sessions().generate(each=["a fox"] * 3)
    assert len(quick.calls) == 3
    again = sessions().generate(each=["a fox"] * 3)
    assert isinstance(again, ImageBatch)
    assert len(quick.calls) == 3
    assert [image.id for image in again] == [image.id for image in made]


def test_two_kernels_share_what_either_made(sessions: Any, quick: Served, tmp_path: Path) -> None:
    """What one kernel stored answers another that is running already."""
    first, second = sessions(), sessions()
    second.generate("a hare")
    first.generate("a fox")
    assert second.generate("a fox")[0].replayed
    library = Library.open(first.library().home)
    assert len(library.history()) == 2
    library.close()

"""Fixtures of the library's tests: open libraries, pictures, saved replies, raw databases."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from xai_notebook.client.request import ImageRequest
from xai_notebook.library import Library, Reply
from xai_notebook.library.storage import database, schema
from xai_notebook.pictures.picture import Picture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Opens = Callable[[Path], Library]
    Save = Callable[..., list[Picture]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def opens() -> Iterator[Opens]:
    """Return a function that opens a library until the end of the test."""
    with contextlib.ExitStack() as stack:
        yield lambda home: stack.enter_context(contextlib.closing(Library.open(home)))


@pytest.fixture
def library(opens: Opens, home: Path) -> Library:
    return opens(home)


@pytest.fixture
def raw() -> Callable[[Path], contextlib.AbstractContextManager[sqlite3.Connection]]:
    """Return a function that connects to a library's database behind its back."""
    return connect


@contextlib.contextmanager
def connect(home: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(home / database.FILE)) as connection, connection:
        yield connection


@pytest.fixture(scope="session")
def picture() -> Callable[[], bytes]:
    """Return a function that makes a new JPEG of 64 by 48 pixels at each call."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(buffer, "JPEG")
    numbers = itertools.count()
    return lambda: buffer.getvalue() + b"%d" % next(numbers)


@pytest.fixture
def save(library: Library) -> Save:
    """Return a function that saves a reply to a request and returns its images."""

    def save(
        prompt: str = "a red fox",
        payloads: list[bytes | str | None] | None = None,
        *,
        to: Library = library,
        start: int = 0,
        **changes: Any,
    ) -> list[Picture]:
        payloads = payloads or []
        of_reply = {
            "fingerprint": changes.pop("fingerprint", f"fingerprint of {prompt}"),
            "backend": changes.pop("backend", "xai"),
            "host": changes.pop("host", "api.x.ai"),
            "notebook": changes.pop("notebook", None),
            "cost_usd": changes.pop("cost_usd", None),
            "model": changes.pop("answered_by", "grok-imagine-image"),
            "place": changes.pop("place", 0),
        }
        image_values = changes.pop("image", {})
        request = ImageRequest(
            prompt=prompt, **{"model": "grok", "n": max(len(payloads), 1), **changes}
        )
        images = [
            Picture(
                **{
                    "request": request,
                    "position": start + number,
                    "model": of_reply["model"],
                    "cached": payload if isinstance(payload, bytes) else None,
                    **image_values,
                }
            )
            for number, payload in enumerate(payloads)
        ]
        return to.add(Reply(request, images, payloads, **of_reply))

    return save


@pytest.fixture
def make_old() -> Callable[[Path, bytes], None]:
    """Return a function that makes a library of version 1 with one picture."""
    return old_library


def old_library(home: Path, data: bytes) -> None:
    """Make a library of version 1 with one picture."""
    digest = hashlib.sha256(data).hexdigest()
    file = home / "images" / digest[:2] / f"{digest}.jpg"
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    with connect(home) as connection:
        for statement in schema.MIGRATIONS[0]:
            connection.execute(statement)
        connection.execute(
            "INSERT INTO requests VALUES (1, 'f', 'xai', 'api.x.ai', 'an old fox', 'grok', 'grok', "
            "1, NULL, NULL, NULL, '[]', NULL, 'base64', NULL, NULL, NULL, 0.02, 0, 1700000000.0)"
        )
        connection.execute(
            "INSERT INTO images VALUES (1, 1, 0, 'ok', 'grok', NULL, NULL, 0.02, ?, 'image/jpeg', "
            "64, 48, NULL, NULL, '[]', 1700000000.0)",
            (digest,),
        )
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")

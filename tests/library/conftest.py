"""Fixtures of the library's tests: open libraries, pictures, saved replies, raw databases."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import sqlite3
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from xai_notebook.client.request import ImageRequest
from xai_notebook.library import Library, Reply
from xai_notebook.library.storage import database, schema
from xai_notebook.pictures.picture import Picture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from harness import MakeOld, Opens, Save


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
    """Return a function that connects to a database directly, without a `Library`."""
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
    """Return a function that saves a reply, made by `make_reply`, and returns its images."""

    def save(*reply: Any, to: Library = library, **changes: Any) -> list[Picture]:
        return to.add(make_reply(*reply, **changes))

    return save


@pytest.fixture
def reply() -> Callable[..., Reply]:
    return make_reply


def make_reply(
    prompt: str = "a red fox",
    payloads: Sequence[bytes | str | None] = (),
    *,
    start: int = 0,
    answered_by: str = "grok-imagine-image",
    image: Mapping[str, Any] = MappingProxyType({}),
    **changes: Any,
) -> Reply:
    """Return a reply to a request.

    Args:
        prompt: Prompt of the request.
        payloads: Bytes or URL of each image; None: it is missing.
        start: Position of the first image.
        answered_by: Model of the reply.
        image: Other values of each image.
        changes: Other values of the reply and the request.
    """
    values: dict[str, Any] = {
        "fingerprint": f"fingerprint of {prompt}", "backend": "xai", "host": "api.x.ai",
        "notebook": None, "cost_usd": None, "place": 0,
    }  # fmt: skip
    values |= {name: changes.pop(name) for name in values if name in changes}
    options = {"model": "grok", "n": max(len(payloads), 1), **changes}
    request = ImageRequest(prompt=prompt, **options)
    images = []
    for position, payload in enumerate(payloads, start):
        cached = payload if isinstance(payload, bytes) else None
        known = {"position": position, "model": answered_by, "cached": cached, **image}
        images.append(Picture(request=request, **known))
    return Reply(request, images, payloads, model=answered_by, **values)


@pytest.fixture
def make_old() -> MakeOld:
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

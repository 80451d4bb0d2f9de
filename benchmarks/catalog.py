"""A library with many images: insert, look up for a replay, search."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import stub
from bench import Row, absolute, compare, point, versus
from xai_notebook.generation.session import Session
from xai_notebook.settings import DEFAULT_MODEL, Configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench import Plan
    from xai_notebook.library import Library
    from xai_notebook.library.records import Reply
    from xai_notebook.pictures.picture import Picture

__all__ = ["at_size", "bundle", "library", "opened"]

_BAR = 0.020
"""Seconds."""
_FILES = 500
"""Files on disk, which many rows share, so that filling the library takes seconds."""
_CHUNK = 2000
"""Replies saved in one transaction."""
_NOBODY = "localhost:1"
"""A host that is never contacted."""
_DRAWN = ("insert of 300 kB", "replay look-up", "search, common words")
_WORDS = (
    *("red", "amber", "teal", "violet", "fox", "owl"),
    *("whale", "lantern", "harbour", "glacier", "orchard", "comet"),
)


def _request(number: int) -> tuple[str, str]:
    """Return prompt and fingerprint of request `number`."""
    words = [_WORDS[number // 7**power % len(_WORDS)] for power in range(4)]
    prompt = f"{' '.join(words)} in study{number}"
    return prompt, hashlib.sha256(prompt.encode()).hexdigest()


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Library]:
    """Open a library that is closed at the end."""
    from xai_notebook.library import Library

    library = Library.open(folder)
    try:
        yield library
    finally:
        library.close()


def fill(library: Library, first: int, last: int) -> None:
    """Add the requests from `first` to `last`, one small image each."""
    for start in range(first, last, _CHUNK):
        numbers = range(start, min(start + _CHUNK, last))
        replies = [_reply(number, stub.picture(number % _FILES, size=2000)) for number in numbers]
        for saved in library.add_replies(replies):
            if isinstance(saved, Exception):
                raise saved


def _reply(number: int, data: bytes) -> Reply:
    from xai_notebook.client.request import ImageRequest
    from xai_notebook.library.records import Reply
    from xai_notebook.pictures.picture import Picture

    prompt, fingerprint = _request(number)
    request = ImageRequest(prompt=prompt, model="m")
    images = [Picture(request=request, model="m", cost_usd=0.02)]
    return Reply(request, images, [data], fingerprint, "xai", "api.x.ai", None, 0.02, "m")


def add(library: Library, number: int) -> None:
    """Save a reply with one image of 300 kB, durably."""
    library.add(_reply(number, stub.picture(number, size=300_000)))


def at_size(library: Library, size: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each operation in a library of `size` images."""
    fresh = iter(range(10_000_000, 20_000_000))
    step = max(size // 13, 1)
    wanted = iter(number * step % size for number in range(1, 10_000))
    inserts, finds, common, rare, newest, costs = compare(
        rounds,
        lambda: add(library, next(fresh)),
        lambda: _found(library.find(_request(next(wanted))[1], count=4)),
        lambda: library.history("fox lan", 24),
        lambda: _found(library.history(f"study{next(wanted)}", 24)),
        lambda: _found(library.history("", 24)),
        library.spending.costs,
    )
    return {
        "insert of 300 kB": inserts,
        "replay look-up": finds,
        "search, common words": common,
        "search, one rare word": rare,
        "newest 24": newest,
        "cost table": costs,
    }


def _found(images: list[Picture]) -> None:
    if not images:
        raise AssertionError("the library holds it, and did not find it")


def library(plan: Plan) -> list[Row]:
    """Insert, replay, search and the ledger in a library that grows to 100,000 images."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        had = 0
        for size in [10**power for power in range(5 if plan.quick else 6)]:
            with opened(Path(folder)) as catalog:
                fill(catalog, had, size)
                found = at_size(catalog, size, plan.rounds)
            had = size
            rows += [point(f"library: {name}", size, found[name]) for name in _DRAWN]
        begun = time.perf_counter()
        with opened(Path(folder)):
            opening = time.perf_counter() - begun
    work = f"library of {size:,} images"
    limits = {name: None if name == "cost table" else _BAR for name in found}
    return [
        *(absolute(f"{work}: {name}", found[name], bar=limits[name]) for name in found),
        absolute(f"{work}: open", [opening]),
        *rows,
    ]


def bundle(plan: Plan) -> list[Row]:
    """Run a notebook of 1,000 pictures that a bundle answers, beside one that the library does."""
    count = plan.size(1000)
    prompts = [_request(number)[0] for number in range(count)]
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)  # where the notebook is
        folder = Path(name)
        with opened(folder / "home") as catalog:
            ids = set()
            for number, prompt in enumerate(prompts):
                (picture,) = catalog.add(_asked(prompt, stub.picture(number, size=300_000)))
                ids.add(picture.id or 0)
            catalog.bundle_writer.pack(folder / "story.xai", is_notebook=lambda _: False, ids=ids)
        (folder / "story.xai").rename(folder / "away")

        def run(home: str) -> None:
            session = Session(
                replace(Configuration.from_environment(), api_host=_NOBODY, home=folder / home)
            )
            made = session.generate(each=prompts, replay=True)
            assert len(made.ok) == count
            session.close()

        def from_library() -> None:
            run("home")

        def from_bundle() -> None:
            (folder / "away").rename(folder / "story.xai")
            run("empty")
            (folder / "story.xai").rename(folder / "away")

        ours, theirs = compare(plan.at_most(5), from_bundle, from_library)
    work = f"replay of {count:,} pictures of 300 kB from a bundle"
    return [versus(work, "from the library", ours, theirs, bar=2.0)]


def _asked(prompt: str, data: bytes) -> Reply:
    """Return a reply as a session at `_NOBODY` would look for it."""
    reply = _reply(0, data)
    request = replace(reply.request, prompt=prompt, model=DEFAULT_MODEL)
    images = [replace(picture, request=request) for picture in reply.pictures]
    fingerprint = request.fingerprint("xai", _NOBODY)
    return replace(reply, request=request, pictures=images, fingerprint=fingerprint, host=_NOBODY)

"""Measure insert, replay look-up and search in a library with many images."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import tempfile
import time
import tracemalloc
from dataclasses import replace
from functools import partial
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

__all__ = ["bundle", "history", "measure_library", "open_library", "time_operations"]

_LIMIT_SECONDS = 0.020
"""Limit of each operation, in seconds."""
_HISTORY_SECONDS = 1.0
"""Limit of a history of 10,000 images, in seconds."""
_DISTINCT_FILES = 500
"""Distinct image files; rows share them, so that filling the library is fast."""
_CHUNK = 2000
"""Replies saved in one transaction."""
_UNUSED_HOST = "localhost:1"
"""A host that is never contacted."""
_PLOTTED = ("insert of 300 kB", "replay look-up", "search, common words")
_WORDS = (
    *("red", "amber", "teal", "violet", "fox", "owl"),
    *("whale", "lantern", "harbour", "glacier", "orchard", "comet"),
)


def _request(number: int) -> tuple[str, str]:
    """Return prompt and fingerprint of request `number`."""
    # Each position changes at another rate, which spreads the words evenly over the prompts.
    words = [_WORDS[number // 7**power % len(_WORDS)] for power in range(4)]
    prompt = f"{' '.join(words)} in study{number}"
    return prompt, hashlib.sha256(prompt.encode()).hexdigest()


@contextlib.contextmanager
def open_library(folder: Path) -> Iterator[Library]:
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
        replies = [
            _reply(number, stub.picture(number % _DISTINCT_FILES, size=2000)) for number in numbers
        ]
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


def time_operations(library: Library, size: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each operation in a library of `size` images."""
    new_numbers = iter(range(10_000_000, 20_000_000))
    step = max(size // 13, 1)
    existing_numbers = iter(number * step % size for number in range(1, 10_000))
    inserts, finds, common, rare, newest, costs = compare(
        rounds,
        lambda: add(library, next(new_numbers)),
        lambda: _require_images(library.find(_request(next(existing_numbers))[1], count=4)),
        lambda: library.history("fox lan", 24),
        lambda: _require_images(library.history(f"study{next(existing_numbers)}", 24)),
        lambda: _require_images(library.history("", 24)),
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


def _require_images(images: list[Picture]) -> None:
    if not images:
        raise AssertionError("the library did not find an image that it holds")


def measure_library(plan: Plan) -> list[Row]:
    """Measure insert, replay, search and the cost table while a library grows to 100,000 images."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        previous_size = 0
        for size in [10**power for power in range(5 if plan.quick else 6)]:
            with open_library(Path(folder)) as library:
                fill(library, previous_size, size)
                times = time_operations(library, size, plan.rounds)
            previous_size = size
            rows += [point(f"library: {name}", size, times[name]) for name in _PLOTTED]
        start = time.perf_counter()
        with open_library(Path(folder)):
            opening = time.perf_counter() - start
    work = f"library of {size:,} images"
    limits = {name: None if name == "cost table" else _LIMIT_SECONDS for name in times}
    return [
        *(absolute(f"{work}: {name}", times[name], limit=limits[name]) for name in times),
        absolute(f"{work}: open", [opening]),
        *rows,
    ]


def history(plan: Plan) -> list[Row]:
    """Return all of 10,000 images as a batch: seconds, and the memory per image."""
    count = plan.size(10_000)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with open_library(home) as library:
            fill(library, 0, count)
        session = Session(
            replace(Configuration.from_environment(), api_host=_UNUSED_HOST, home=home)
        )
        everything = partial(session.history.search, n=None)
        (times,) = compare(plan.rounds, everything)
        gc.collect()
        tracemalloc.start()
        batch = everything()
        assert len(batch) == count
        memory = tracemalloc.get_traced_memory()[0] / count
        tracemalloc.stop()
        (shown,) = compare(plan.at_most(5), lambda: everything()._repr_mimebundle_())
        session.close()
    work = f"history of {count:,} images"
    return [
        absolute(work, times, limit=_HISTORY_SECONDS),
        absolute(f"{work}, as the output of a cell", shown),
        absolute(f"{work}: memory per image", [memory], "bytes"),
    ]


def bundle(plan: Plan) -> list[Row]:
    """Compare replaying 1,000 pictures from a bundle with replaying them from the library."""
    count = plan.size(1000)
    prompts = [_request(number)[0] for number in range(count)]
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)  # bundles are looked up in the notebook's folder
        folder = Path(name)
        with open_library(folder / "home") as library:
            ids = set()
            for number, prompt in enumerate(prompts):
                (picture,) = library.add(
                    _reply_for_replay(prompt, stub.picture(number, size=300_000))
                )
                ids.add(picture.id or 0)
            library.bundle_writer.pack(folder / "story.xai", is_notebook=lambda _: False, ids=ids)
        (folder / "story.xai").rename(folder / "away")  # hidden while the library is measured

        def run(home: str) -> None:
            session = Session(
                replace(Configuration.from_environment(), api_host=_UNUSED_HOST, home=folder / home)
            )
            batch = session.generate(each=prompts, replay=True)
            assert len(batch.ok) == count
            session.close()

        def from_library() -> None:
            run("home")

        def from_bundle() -> None:
            (folder / "away").rename(folder / "story.xai")
            run("empty")
            (folder / "story.xai").rename(folder / "away")

        bundle_times, library_times = compare(plan.at_most(5), from_bundle, from_library)
        os.chdir(here)
    work = f"replay of {count:,} pictures of 300 kB from a bundle"
    return [versus(work, "from the library", bundle_times, library_times, limit=2.0)]


def _reply_for_replay(prompt: str, data: bytes) -> Reply:
    """Return a reply with the cache key that a session with host `_UNUSED_HOST` looks up."""
    reply = _reply(0, data)
    request = replace(reply.request, prompt=prompt, model=DEFAULT_MODEL)
    images = [replace(picture, request=request) for picture in reply.pictures]
    fingerprint = request.fingerprint("xai", _UNUSED_HOST)
    return replace(
        reply, request=request, pictures=images, fingerprint=fingerprint, host=_UNUSED_HOST
    )

"""The cache of thumbnails: made once, deletable, bounded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from xai_notebook.library.thumbnails import Thumbnails

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def digest(number: int) -> str:
    return f"{number:02x}" + "0" * 62


@pytest.fixture
def original() -> Callable[[], bytes]:
    return lambda: b"the original"


def test_a_thumbnail_is_made_once(tmp_path: Path, original: Callable[[], bytes]) -> None:
    originals: list[bytes] = []

    def make(data: bytes) -> bytes:
        originals.append(data)
        return b"small"

    for _ in range(2):
        thumbnails = Thumbnails(tmp_path / "cache", make)
        assert thumbnails.get(digest(2)) is None  # only the cache is searched
        assert thumbnails.get(digest(1), original) == b"small"
        assert thumbnails.get(digest(1)) == b"small"
    assert originals == [b"the original"]


def test_a_thumbnail_is_made_without_a_writable_cache(
    tmp_path: Path, original: Callable[[], bytes]
) -> None:
    (tmp_path / "cache").write_text("a file, and no folder")
    assert Thumbnails(tmp_path / "cache", bytes).get(digest(1), original) == b"the original"


def test_the_least_recently_used_are_deleted_first(
    tmp_path: Path, original: Callable[[], bytes]
) -> None:
    thumbnails = Thumbnails(tmp_path / "cache", lambda _: b"x" * 100, limit=350)
    for number in range(5):
        thumbnails.get(digest(number), original)
        os.utime(tmp_path / "cache" / f"{number:02x}" / f"{digest(number)}.jpg", (number, number))
    thumbnails.get(digest(0), original)
    thumbnails.clear_up()
    left = {path.name[:2] for path in (tmp_path / "cache").glob("*/*")}
    assert left == {"00", "04"}

"""The bundles of a folder: which there are, and what they answer."""

from __future__ import annotations

import stat
import threading
from contextlib import suppress
from dataclasses import replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Final

from xai_notebook.client import bounds
from xai_notebook.client.media import dimensions, media_type
from xai_notebook.errors import LibraryError, MissingImageError
from xai_notebook.library.bundle import (
    MAX_LIST_BYTES,
    MAX_PICTURES,
    Allowance,
    Bundle,
    Entry,
    Shown,
    TooLargeError,
)
from xai_notebook.pictures.picture import WITHHELD, Picture
from xai_notebook.settings import MAX_IMAGE_PIXELS, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from xai_notebook.client.request import ImageRequest

__all__ = ["SUFFIX", "Bundles", "answers", "picture_of"]

SUFFIX: Final = ".xai"
_MOST: Final = 32
"""Bundles of a folder that are read; a folder full of them is no notebook's."""
TOGETHER: Final = Allowance(MAX_LIST_BYTES, 2 * MAX_PICTURES)
"""What is read of all bundles of a folder together: a few seconds' work, and 100 MB of memory."""

_Stamp = tuple[int, int, int, int]


class Bundles:
    """The bundles beside a notebook. Safe to use from any thread.

    The one that is named like the notebook answers first, then the others by their names. A bundle
    is read when it is first needed and when it has changed; it is never written to.
    """

    def __init__(self) -> None:
        """Look into no folder yet."""
        self._lock = threading.Lock()
        self._listed: tuple[Path, str | None, int] | None = None
        self._files: list[Path] = []
        self._read: dict[Path, tuple[_Stamp, Allowance, Bundle | LibraryError]] = {}

    def of(self, folder: Path, stem: str | None) -> tuple[list[Bundle], list[str]]:
        """Return the bundles that answer in a folder, and why others do not, a sentence each.

        Args:
            folder: The notebook's.
            stem: The notebook's name without its ending, where known.
        """
        found = self._all(folder, stem)
        return (
            [one for one in found if isinstance(one, Bundle)],
            [str(one) for one in found if isinstance(one, LibraryError)],
        )

    def _all(self, folder: Path, stem: str | None) -> list[Bundle | LibraryError]:
        with self._lock, suppress(OSError):
            self._list(folder, stem)
            return list(self._opened())
        return []

    def _list(self, folder: Path, stem: str | None) -> None:
        """Look for bundles, if the folder has changed."""
        state = (folder, stem, folder.stat().st_mtime_ns)
        if state == self._listed:
            return
        files = [file for file in folder.iterdir() if file.suffix == SUFFIX]
        files.sort(key=lambda file: (file.stem != stem, file.name))
        self._files = files[:_MOST]
        self._read = {file: read for file, read in self._read.items() if file in self._files}
        self._listed = state

    def _opened(self) -> Iterator[Bundle | LibraryError]:
        """Yield the bundles, or why one is not used, as long as they are within the allowance."""
        left = TOGETHER
        for file in self._files:
            try:
                found = file.stat()
            except OSError:
                continue
            if not stat.S_ISREG(found.st_mode):  # a pipe would keep its reader waiting
                continue
            stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            known = self._read.get(file)
            if known is None or known[0] != stamp or not _still_holds(known[2], known[1], left):
                known = self._read[file] = (stamp, left, _opened(file, left))
            if isinstance(read := known[2], Bundle):
                left = Allowance(
                    left.bytes - read.weight.bytes, left.pictures - read.weight.pictures
                )
            yield read


def _still_holds(read: Bundle | LibraryError, before: Allowance, left: Allowance) -> bool:
    """Tell whether a bundle would be read, or refused, as it was before."""
    if isinstance(read, Bundle):
        return read.weight.bytes <= left.bytes and read.weight.pictures <= left.pictures
    grown = left.bytes > before.bytes or left.pictures > before.pictures
    return not (isinstance(read, TooLargeError) and grown)


def _opened(file: Path, left: Allowance) -> Bundle | LibraryError:
    """Return a bundle, or why it is not used."""
    most, name = Allowance(), bounds.line(file.name)
    try:
        return Bundle(file, Allowance(*map(min, left, most)))
    except TooLargeError:
        return TooLargeError(
            f"{name} was not used: the bundles of this folder list more than "
            f"{TOGETHER.pictures:,} pictures or {TOGETHER.bytes // MIB} MiB together, or it alone "
            f"more than {most.pictures:,}. Move some to another folder, or take them into your "
            f'library with xai.unpack("{name}").'
        )
    except LibraryError as error:
        return LibraryError(str(error))  # the frames of the first would keep what they have read


def answers(
    bundles: list[Bundle],
    request: ImageRequest,
    place: int | None,
    missing: set[int],
    rewrite_model: str | None = None,
) -> tuple[list[Picture], list[str]]:
    """Return what bundles have of a request, and what was wrong with the rest, a sentence each.

    Args:
        bundles: In the order in which they answer.
        request: What is asked for, whatever server is asked.
        place: Of the request; None: wherever there is something.
        missing: The positions that are wanted.
        rewrite_model: As in `Bundle.find`.
    """
    found: dict[int, Picture] = {}
    problems: list[str] = []
    for bundle in bundles:
        for entry, image in bundle.find(request, place, rewrite_model):
            if image.position in missing and image.position not in found:
                try:
                    found[image.position] = picture_of(bundle, entry, image, request)
                except LibraryError as error:
                    problems.append(str(error))
    return [found[position] for position in sorted(found)], problems


def picture_of(bundle: Bundle, entry: Entry, image: Shown, request: ImageRequest) -> Picture:
    """Return a picture of a bundle.

    Args:
        bundle: Which has it.
        entry: The request it was made for.
        image: What the bundle says of it.
        request: The request it answers: none of the bundle's words are in it.

    Returns:
        The picture, with what the bundle says of it for its caption.

    Raises:
        LibraryError: Its original is damaged, or has more pixels than a picture may have.
    """
    told = Picture(
        request=request,
        position=image.position,
        model=image.model,
        rewritten_prompt=image.rewritten_prompt or _rewritten(entry),
        rewritten_by=image.rewritten_by,
        cost_usd=image.cost_usd,
        created=entry.created,
        replayed=True,
        bundle=bundle.name,
    )
    if image.sha256 is None:
        return replace(told, status="moderated", error=WITHHELD)
    held = partial(_read_again, bundle, image.sha256)
    data = bundle.read(image.sha256)
    size = dimensions(data)
    if media_type(data) is None or (size is not None and prod(size) > MAX_IMAGE_PIXELS):
        raise LibraryError(f"A picture in {bundle.name} is no image, and was not used.")
    return replace(told, sha256=image.sha256, media_type=media_type(data), size=size, held=held)


def _rewritten(entry: Entry) -> str | None:
    """Return the prompt of a request if it is not the one that its user wrote."""
    return None if entry.request.original_prompt is None else entry.request.prompt


def _read_again(bundle: Bundle, sha256: str) -> bytes:
    """Return an original that was there and whole; a thousand of them need not be in memory.

    Raises:
        MissingImageError: It is not there any more.
    """
    try:
        return bundle.read(sha256)
    except LibraryError as error:
        raise MissingImageError(str(error)) from error

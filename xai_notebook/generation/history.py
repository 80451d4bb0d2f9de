"""Past images: search, ids, annotations, bundles and costs.

Separate because the history only needs the library, whereas the session runs calls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import index
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.client import bounds
from xai_notebook.errors import LibraryError, OptionError
from xai_notebook.frontend import has_magics, is_for_visitors
from xai_notebook.generation.bundles import BundleLookup, pack, unpack
from xai_notebook.library.catalog import Annotation, Query
from xai_notebook.pictures.picture import SHOWN
from xai_notebook.pictures.render.tables import CostTable
from xai_notebook.pictures.results import GeneratedImage, ImageBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from xai_notebook.library import Library
    from xai_notebook.library.bundles import BundleFolder, Packed
    from xai_notebook.library.merge import Merged
    from xai_notebook.pictures.picture import Picture

_ID_LENGTHS: Final = (8, 12, 16, 32)
"""Lengths that are tried for an id, which is the beginning of a digest."""
_MAX_CARDS: Final = 100
"""Maximum number of cards in the grid of a history, whose previews are part of the notebook."""


@dataclass(slots=True, eq=False, repr=False)
class History:
    """The images of the current library, as `GeneratedImage` and `ImageBatch`.

    Attributes:
        library: Returns the open library, or raises a `LibraryError`.
        shown: Ids of the images that calls of this kernel returned, by the library's folder.
        shown_from_bundles: Digests of the images that this kernel's calls took from bundles.
        bundles: The bundles in the notebook's folder.
        maker: The session, for methods of the images such as `edit`.
    """

    library: Callable[[], Library]
    shown: Mapping[Path, Collection[int]]
    shown_from_bundles: Collection[str]
    bundles: BundleFolder
    maker: Any

    def visible(self, ids: Sequence[int]) -> Sequence[int]:
        """Return the ids that the user may see: all, or for visitors those in `shown`."""
        if not is_for_visitors():
            return ids
        own = self.shown.get(self.library().home, ())
        return [each for each in ids if each in own]

    def _visible(self, pictures: Iterable[Picture]) -> list[Picture]:
        found = list(pictures)
        seen = set(self.visible([picture.id or 0 for picture in found]))
        return [picture for picture in found if (picture.id or 0) in seen]

    def search(self, words: str = "", n: int | None = 24, *, magic: bool = False) -> ImageBatch:
        """Return past images, newest first.

        Args:
            words: See `xai_notebook.history`.
            n: Maximum number of images; None: all.
            magic: Whether a line about omitted images names the magic instead of the function.

        Raises:
            OptionError: `n` is not a positive integer.
            LibraryError: The library cannot be opened.
        """
        n, library = _checked_limit(n), self.library()
        if is_for_visitors():
            ids = self.visible(library.catalog.find(Query(words=words)).ids)
            total = len(ids)
            pictures = [row.picture for row in library.catalog.rows(ids[:n])]
        else:
            pictures = library.history(words, n and n + 1)  # one more tells whether some are left
            total = len(pictures)
            if n is not None and total > n:
                total, pictures = max(total, library.count(words)), pictures[:n]
        found = self.as_batch(pictures)
        summary = None
        if n is not None and total > n:
            words = " ".join(words.split())
            call = f"xai.history({words!r}, n=None)" if words else "xai.history(n=None)"
            if magic:
                call = f"%xai_history -n all {words}".rstrip()
            matching = "matching pictures" if words else "pictures"
            summary = f"The newest {len(found):,} of {total:,} {matching}; {call} returns all."
        elif not found:
            made_with = "%xai_image" if has_magics() else "xai.generate()"
            summary = (
                f"Nothing in the library has all of these words: {words.strip()}"
                if words.strip()
                else f"The library is empty. What you make with {made_with} will appear here."
            )
        limit = SHOWN if n is None else min(n, _MAX_CARDS)
        return ImageBatch(found, cells=True, limit=limit, summary=summary)

    def lineage(self, image: GeneratedImage) -> ImageBatch:
        """Return the images that `image` was made from, oldest first, followed by `image`.

        Raises:
            LibraryError: The library cannot be opened.
        """
        if image.sha256 is None:
            return ImageBatch([image])
        pictures = self._visible(self.library().catalog.lineage(image.sha256))
        return self.as_batch(pictures) or ImageBatch([image])

    def find_by_digest(self, digits: str) -> dict[str, GeneratedImage | Path]:
        """Return images and files whose digest starts with `digits`, by digest.

        Searches the images in the library and the input files of panels; if none matches, the
        bundles in the notebook's folder.

        Args:
            digits: Hexadecimal digits in lower case.

        Raises:
            LibraryError: The library cannot be opened.
        """
        library, found = self.library(), dict[str, "GeneratedImage | Path"]()
        made = self._visible(library.catalog.find_by_digest(digits))
        if is_for_visitors():  # input files may be those of other users
            return {image.sha256 or "": image for image in self.as_batch(made)}
        found |= library.input_files.find(digits)
        if not (found or made):
            made = list(BundleLookup(self.bundles).find_by_digest(digits).values())
        return found | {image.sha256 or "": image for image in self.as_batch(made)}

    def id_of(self, sha256: str) -> str:
        """Return the shortest unambiguous id of a picture, for `--image`.

        Args:
            sha256: Digest of the original bytes.

        Raises:
            LibraryError: The library cannot be opened.
        """
        lengths = (n for n in _ID_LENGTHS if len(self.find_by_digest(sha256[:n])) <= 1)
        return f"@{sha256[: next(lengths, len(sha256))]}"

    def mark(
        self,
        images: Sequence[GeneratedImage],
        *,
        starred: bool | None = None,
        tag: str | None = None,
        untag: str | None = None,
        deleted: bool | None = None,
    ) -> None:
        """Star or tag images, or move them to the trash; None leaves a property as it is.

        Raises:
            OptionError: A tag is empty or has invalid characters.
            LibraryError: An image is not in the library, or the library cannot be written to.
        """
        ids, marks = self._rows_of(images), self.library().annotations
        if starred is not None:
            marks.star(ids, value=starred)
        if tag is not None:
            marks.tag(ids, tag)
        if untag is not None:
            marks.untag(ids, untag)
        if deleted is not None:
            (marks.delete if deleted else marks.restore)(ids)

    def annotation(self, image: GeneratedImage) -> Annotation:
        """Return the star and the tags of an image; see `mark`.

        Raises:
            LibraryError: The image is not in the library, or the library cannot be opened.
        """
        (row,) = self._rows_of([image])
        return self.library().annotations.of([row]).get(row) or Annotation()

    def _rows_of(self, images: Sequence[GeneratedImage]) -> list[int]:
        """Return the ids of images, which may come from a pickle or from another library.

        Raises:
            LibraryError: An image is not in the library, or the library cannot be opened.
        """
        rows = self.library().catalog.find_rows([image.picture for image in images])
        found = [row for row in rows if row is not None]
        if len(found) < len(rows):
            raise LibraryError(
                f"Image {images[rows.index(None)].index} is not in the library in use. If another "
                "library has the image, set XAI_NOTEBOOK_HOME to the folder of that library."
            )
        return found

    def as_batch(self, pictures: Sequence[Picture]) -> ImageBatch:
        """Return pictures of the library as an `ImageBatch`."""
        return ImageBatch(
            GeneratedImage(
                replace(picture, replayed=True), index=picture.position, maker=self.maker
            )
            for picture in pictures
        )

    def has_shown(self) -> bool:
        """Tell whether calls of this kernel have returned images."""
        return bool(self.shown_from_bundles or any(self.shown.values()))

    def pack(self, path: str | Path | None = None) -> Packed:
        """Write the pictures of this notebook into a bundle; see `xai_notebook.pack`."""
        library = self.library()
        shown = self.shown.get(library.home, ())
        return pack(library, path, shown, self.shown_from_bundles, self.bundles)

    def unpack(self, path: str | Path) -> ImageBatch:
        """Import a bundle into the library; see `xai_notebook.unpack`."""
        new, problems = unpack(self.library(), path)
        summary = None if new else "The library already has all pictures of this bundle."
        return ImageBatch(self.as_batch(new), cells=True, notes=problems, summary=summary)

    def merged(self, merged: Merged, home: Path) -> ImageBatch:
        """Return the new images of a merge with the library in `home`, and notes about it."""
        name = bounds.line(home.name) or "the other library"
        summary = None if merged.pictures else f"The library already has all pictures of {name}."
        return ImageBatch(
            self.as_batch(merged.pictures), cells=True, notes=merged.notes(name), summary=summary
        )

    def costs(self) -> CostTable:
        """Return the costs in the library, by day and model.

        Raises:
            LibraryError: The library cannot be opened.
        """
        return CostTable(self.library().spending.costs())


def _checked_limit(n: Any) -> int | None:
    try:
        limit = None if n is None else index(n)
    except TypeError:
        limit = 0
    if isinstance(n, bool) or (limit is not None and limit < 1):
        raise OptionError(
            f"n: {n!r} is not a number of images. Use a whole number from 1, or None for all."
        )
    return limit

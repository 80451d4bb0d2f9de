"""Bundles in the way of a prompt: they answer after the library, and go into it when told to."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from xai_notebook import frontend
from xai_notebook.errors import ExportError, LibraryError, MissingImageError, OptionError
from xai_notebook.generation.backends import LOCAL_HOST
from xai_notebook.generation.event_loop import Batched
from xai_notebook.library import Reply
from xai_notebook.library.bundles import SUFFIX, Bundle, BundleFolder, answers, picture_of
from xai_notebook.library.replies import look_at
from xai_notebook.settings import DEFAULT_API_HOST, MIB

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.generation.progress import Progress
    from xai_notebook.library import Library
    from xai_notebook.library.bundles import BundleEntry
    from xai_notebook.pictures.picture import Picture

__all__ = ["BundleLookup", "pack", "unpack"]

_AT_ONCE: Final = 16
"""Requests whose pictures are in memory while a bundle is unpacked."""
_MEMORY: Final = 64 * MIB
"""Bytes of those pictures, after which they are saved."""


class _Asked(NamedTuple):
    """What a request lacks.

    Attributes:
        request: What is asked for.
        place: Of the request; None: wherever there is something.
        missing: Positions.
        rewrite_model: As in `Bundle.find`.
    """

    request: ImageRequest
    place: int | None
    missing: set[int]
    rewrite_model: str | None = None


@dataclass(frozen=True, slots=True)
class BundleLookup:
    """The bundles beside a notebook, as they answer its calls.

    Attributes:
        bundles: What has been read of them.
        folder: The notebook's.
        stem: Its name, where known: the bundle named like it answers first.
    """

    bundles: BundleFolder
    folder: Path
    stem: str | None
    _take: Batched[_Asked, tuple[list[Picture], list[str]]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Let requests that come at the same time be looked for together."""
        object.__setattr__(self, "_take", Batched(self._take_each))  # it is frozen

    @classmethod
    def here(cls, bundles: BundleFolder) -> BundleLookup:
        """Return those beside the notebook that runs."""
        file = frontend.notebook_file()
        try:
            folder = frontend.notebook_folder()
        except OSError:  # the working directory is gone
            folder = Path("/nowhere")
        return cls(bundles, folder, None if file is None else file.stem)

    async def fill(
        self, found: list[Picture], request: ImageRequest, place: int | None, progress: Progress
    ) -> list[Picture]:
        """Return the pictures of a request, those that are missing taken from bundles.

        Args:
            found: What the library has.
            request: What is asked for.
            place: Of the request; None: wherever there is something.
            progress: Takes notes of bundles and pictures that were refused.
        """
        missing = {*range(request.n)} - {picture.position for picture in found}
        if not missing:
            return found
        seen = await self._seen(_Asked(request, place, missing), progress)
        return sorted([*found, *seen], key=lambda picture: picture.position)

    async def rewritten(
        self, request: ImageRequest, model: str, place: int | None, progress: Progress
    ) -> list[Picture]:
        """Return the pictures that were made of a request, its prompt rewritten elsewhere.

        Args:
            request: As its user wrote it.
            model: The chat model that rewrites it.
            place: As in `fill`.
            progress: As in `fill`.
        """
        asked = replace(request, rewrite_model=model)
        return await self._seen(_Asked(asked, place, {*range(request.n)}, model), progress)

    def rewrites_of(self, request: ImageRequest, model: str) -> set[str]:
        """Return what a request's prompt was rewritten to elsewhere; see `Bundle.rewrites_of`."""
        bundles, _ = self.bundles.of(self.folder, self.stem)
        return {text for bundle in bundles for text in bundle.rewrites_of(request, model)}

    async def _seen(self, asked: _Asked, progress: Progress) -> list[Picture]:
        """Return pictures of bundles that can be read, by their positions."""
        taken, problems = await self._take(asked)
        for sentence in problems:
            progress.note(sentence)
        seen = [picture for picture in await look_at(taken) if picture.status != "failed"]
        if len(seen) < len(taken):
            progress.note("A picture of a bundle cannot be read, and was not used.")
        return seen

    def _take_each(self, asked: Sequence[_Asked]) -> list[tuple[list[Picture], list[str]]]:
        bundles, refusals = self.bundles.of(self.folder, self.stem)
        taken = (answers(bundles, *one) for one in asked)
        return [(pictures, [*refusals, *problems]) for pictures, problems in taken]

    def refusals(self) -> list[str]:
        """Return why bundles do not answer, a sentence each."""
        return self.bundles.of(self.folder, self.stem)[1]

    def named(self, digits: str, limit: int = 2) -> dict[str, Picture]:
        """Return pictures whose originals' digests begin so, by their digests.

        Args:
            digits: Hexadecimal, in lower case.
            limit: At most so many.
        """
        bundles, _ = self.bundles.of(self.folder, self.stem)
        found: dict[str, Picture] = {}
        for bundle in bundles:
            for entry in bundle.entries:
                for image in entry.images:
                    digest = image.sha256 or ""
                    if digest.startswith(digits) and digest not in found and len(found) < limit:
                        with suppress(LibraryError):  # damaged: it names nothing
                            found[digest] = picture_of(bundle, image, entry.request)
        return found


def pack(library: Library, path: str | Path | None, ids: Collection[int]) -> Path:
    """Write a bundle of the notebook that runs; see `xai_notebook.pack`.

    Args:
        library: Where the pictures are.
        path: As given; None: beside the notebook, under its name.
        ids: Images that it has shown.
    """
    notebook = frontend.notebook_name()
    if path is None:
        file = frontend.notebook_file()
        if file is None:
            raise OptionError(
                'Nobody says what this notebook is called. Name the file: xai.pack("story.xai")'
            )
        target = frontend.notebook_folder() / f"{file.stem}{SUFFIX}"
    else:
        target = frontend.notebook_folder() / Path(path).expanduser()
    if target.suffix != SUFFIX:
        raise OptionError(f"A bundle's name ends in {SUFFIX}, for it to be found: {target.name}")
    if not target.parent.is_dir():
        raise ExportError(f"There is no folder for {target.name}. Create it first.")
    library.bundle_writer.pack(target, is_notebook=lambda name: name == notebook, ids=ids)
    return target


def unpack(library: Library, path: str | Path) -> tuple[list[Picture], list[str]]:
    """Take the pictures of a bundle into the library; see `xai_notebook.unpack`.

    Returns:
        What is new in the library, and why pictures were refused, a sentence each.
    """
    bundle = Bundle(frontend.notebook_folder() / Path(path).expanduser())
    taken: list[Picture] = []
    problems: list[str] = []
    replies: list[Reply] = []
    size = 0
    for entry in bundle.entries:
        for reply in _replies(library, bundle, entry, problems):
            replies.append(reply)
            size += sum(map(len, filter(None, reply.payloads)))
            if len(replies) >= _AT_ONCE or size >= _MEMORY:
                taken += _saved(library, replies)
                size = 0
    taken += _saved(library, replies)
    return taken, list(dict.fromkeys(problems))


def _saved(library: Library, replies: list[Reply]) -> list[Picture]:
    """Save replies, which are forgotten here then, and return their pictures."""
    found: list[Picture] = []
    for saved in library.add_replies(replies) if replies else ():
        if isinstance(saved, LibraryError):
            raise saved
        found += saved
    replies.clear()
    return found


def _replies(
    library: Library, bundle: Bundle, entry: BundleEntry, problems: list[str]
) -> Iterator[Reply]:
    """Yield what is new of a request as the library takes it, in parts if it is large.

    None of it cost anything here, or says what anything costs.
    """
    host = DEFAULT_API_HOST if entry.backend == "xai" else LOCAL_HOST
    fingerprint = entry.request.fingerprint(entry.backend, host)
    there = {picture.position for picture in library.find(fingerprint, place=entry.place)}
    reply = partial(
        Reply,
        entry.request,
        fingerprint=fingerprint,
        backend=entry.backend,
        host=host,
        notebook=None,
        cost_usd=0.0,  # whoever made them has paid
        model=entry.answered_by,
        place=entry.place,
        created=entry.created.timestamp(),
    )
    pictures: list[Picture] = []
    payloads: list[bytes | str | None] = []
    size = 0
    for image in entry.images:
        if image.position in there:
            continue
        there.add(image.position)
        try:
            picture = picture_of(bundle, image, entry.request)
            payloads.append(picture.data if picture.held else None)
        except (LibraryError, MissingImageError) as error:
            problems.append(str(error))
            continue
        pictures.append(picture)
        size += len(payloads[-1] or b"")
        if size >= _MEMORY:
            yield reply(pictures, payloads)
            pictures, payloads, size = [], [], 0
    if pictures:
        yield reply(pictures, payloads)

"""Bundles beside the notebook: replay, pack and unpack.

`BundleLookup` finds images for calls in the `.xai` files of the notebook's folder, and of the
working directory if papermill runs the notebook from there. `pack` writes such a file from the
library; `unpack` imports a file into the library.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from xai_notebook import frontend
from xai_notebook.client import bounds
from xai_notebook.errors import ExportError, LibraryError, MissingImageError, OptionError
from xai_notebook.generation.backends import LOCAL_HOST
from xai_notebook.generation.event_loop import Batched
from xai_notebook.library import Reply
from xai_notebook.library.bundles import SUFFIX, Bundle, BundleFolder, find_answers, open_picture
from xai_notebook.library.replies import inspect_pictures
from xai_notebook.settings import DEFAULT_API_HOST, MIB

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.generation.progress import Progress
    from xai_notebook.library import Library
    from xai_notebook.library.bundles import BundleEntry, Packed
    from xai_notebook.pictures.picture import Picture

_MAX_REPLIES: Final = 16
"""Maximum replies that are saved together while a bundle is unpacked."""
_MAX_NAMES: Final = 5
"""Maximum names of bundles in a message."""
_MAX_BYTES: Final = 64 * MIB
"""Bytes of pictures at which the collected replies are saved."""


class _Query(NamedTuple):
    """Arguments of `find_answers`, without the bundles."""

    request: ImageRequest
    place: int | None
    missing: set[int]
    rewrite_model: str | None = None


class BundleLookup:
    """Finds images for calls in the bundles of a notebook's folders."""

    def __init__(self, bundles: BundleFolder) -> None:
        """Prepare the lookup for the running notebook; the bundle of the same name comes first."""
        file = frontend.notebook_file()
        try:
            self._folders = [frontend.notebook_folder()]
        except OSError:  # the working directory has been deleted
            self._folders = [Path("/nowhere")]
        # Frontends for people name their notebook or, as Colab, the cell; papermill and nbclient
        # name neither.
        shell = frontend.running_shell()
        named = file is not None or frontend.request_cell(shell) is not None
        self._unattended = not named and frontend.in_kernel(shell)
        if self._unattended and (file := frontend.papermill_notebook()) is not None:
            self._folders = [*dict.fromkeys([file.parent, *self._folders])]
        self._file = file
        stem = None if file is None else file.stem
        self._read = partial(bundles.read, self._folders[0], stem, self._folders[1:])
        self._answer = Batched(self._answer_each)  # read the folder once for many requests

    async def fill(
        self,
        found: Sequence[Picture],
        request: ImageRequest,
        place: int | None,
        progress: Progress,
        *,
        rewrite_model: str | None = None,
    ) -> list[Picture]:
        """Return the pictures of a request in order of position; missing ones come from bundles.

        Args:
            found: Pictures from the library.
            request: The request.
            place: Place of the request; None: any place.
            progress: Receives notes about refused bundles and pictures.
            rewrite_model: Look for pictures whose prompt this chat model has rewritten for another
                user; `request` has the prompt as written.
        """
        missing = {*range(request.n)} - {picture.position for picture in found}
        if not missing:
            return [*found]
        pictures, problems = await self._answer(_Query(request, place, missing, rewrite_model))
        for sentence in problems:
            progress.note(sentence)
        readable = [each for each in await inspect_pictures(pictures) if each.status != "failed"]
        if len(readable) < len(pictures):
            progress.note("A picture of a bundle cannot be read and is ignored.")
        return sorted([*found, *readable], key=lambda picture: picture.position)

    def rewrites_of(self, request: ImageRequest, model: str) -> set[str]:
        """Return the rewritten prompts of a request; see `Bundle.rewrites_of`."""
        bundles, _ = self._read()
        return {text for bundle in bundles for text in bundle.rewrites_of(request, model)}

    def _answer_each(self, queries: Sequence[_Query]) -> list[tuple[list[Picture], list[str]]]:
        bundles, refusals = self._read()
        if not bundles:
            return [([], refusals) for _ in queries]
        answered = (find_answers(bundles, *query) for query in queries)
        return [(pictures, [*refusals, *problems]) for pictures, problems in answered]

    def advice(self) -> str:
        """Say where bundles were looked for, and what to do if none of them has a picture."""
        found, refusals = self._read()
        folders = " and ".join(map(_name_of, self._folders))
        if found:
            names = [bundle.name for bundle in found[:_MAX_NAMES]]
            names += ["…"] * (len(found) > _MAX_NAMES)
            sentences = [
                f"The rest is not in {', '.join(names)} (searched: {folders}).",
                "Pack the notebook again where it shows its pictures: xai.pack().",
            ]
        elif refusals:
            sentences = [f"No usable bundle was found in {folders}."]
        elif self._file is not None:
            sentences = [
                f"No bundle was found in {folders}.",
                f"Put {bounds.line(self._file.stem)}{SUFFIX} into {_name_of(self._folders[0])}.",
            ]
        elif self._unattended:
            sentences = [f"No bundle was found in {folders}."]
            sentences.append(
                "Put the notebook's bundle there, or run the notebook in the bundle's folder: "
                "papermill --cwd FOLDER."
            )
        else:
            sentences = [f"No bundle was found in {folders}.", "Put the notebook's bundle there."]
        if not found and not refusals and not self._unattended:
            sentences.append("Without --replay, or with --reuse instead, the rest is generated.")
        return " ".join([*sentences, *refusals])

    def find_by_digest(self, digits: str, limit: int = 2) -> dict[str, Picture]:
        """Return pictures whose digest starts with `digits`, by digest.

        Args:
            digits: Hexadecimal digits in lower case.
            limit: Maximum number of pictures.
        """
        found: dict[str, Picture] = {}
        for bundle in self._read()[0]:
            for entry in bundle.entries:
                for image in entry.images:
                    digest = image.sha256 or ""
                    if digest.startswith(digits) and digest not in found and len(found) < limit:
                        with suppress(LibraryError):  # a damaged picture
                            found[digest] = open_picture(bundle, image, entry.request)
        return found

    def find_entries(self, digests: Collection[str]) -> Iterator[tuple[Bundle, BundleEntry]]:
        """Yield the entries that have pictures with these digests, without their other pictures."""
        for bundle in self._read()[0]:
            for entry in bundle.entries:
                images = tuple(image for image in entry.images if image.sha256 in digests)
                if images:
                    yield bundle, replace(entry, images=images)


def _name_of(folder: Path) -> str:
    """Return a folder's name for a saved output, which must not contain the path of a home."""
    with suppress(OSError, ValueError):
        name = str(folder.relative_to(Path.cwd()))
        return "the working directory" if name == "." else f"the folder {name}"
    return f"the folder {folder.name}"


def _default_bundle() -> Path:
    """Return the path of the running notebook's bundle: the notebook's path with `.xai`.

    If the notebook's name is unknown, as with nbconvert, the only notebook in the folder names the
    bundle.

    Raises:
        OptionError: The notebook's name is unknown.
    """
    example = "%xai_pack {}" if frontend.has_magics() else "xai.pack('{}')"
    file = frontend.notebook_file()
    if file is None and frontend.in_kernel(frontend.running_shell()):
        if (file := frontend.papermill_notebook()) is not None:
            return file.with_suffix(SUFFIX)
        found = _notebooks_of(frontend.resolve_folder(None))
        if len(found) > 1:
            names = [bounds.line(each.name) for each in found[:_MAX_NAMES]]
            names += ["…"] * (len(found) > _MAX_NAMES)
            raise OptionError(
                f"This folder has {len(found):,} notebooks: {', '.join(names)}. Name the bundle: "
                f"{example.format(f'{bounds.line(found[0].stem)}{SUFFIX}')}"
            )
        file = next(iter(found), None)
    if file is None:
        raise OptionError(
            f"The notebook's name is unknown. Name the file: {example.format(f'story{SUFFIX}')}"
        )
    return Path(f"{file.stem}{SUFFIX}")


def _notebooks_of(folder: Path) -> list[Path]:
    """Return the notebooks of a folder by name; none if it cannot be listed."""
    with suppress(OSError):
        files = (file for file in folder.glob("*.ipynb") if not file.name.startswith("."))
        return sorted(file for file in files if file.is_file())
    return []


def pack(
    library: Library,
    path: str | Path | None,
    ids: Collection[int],
    digests: Collection[str],
    bundles: BundleFolder,
) -> Packed:
    """Write a bundle of the running notebook; see `xai_notebook.pack`.

    Args:
        library: Library with the pictures.
        path: Path that the user gave; None: the notebook's path with the suffix `.xai`.
        ids: Ids of images that the notebook has shown.
        digests: Digests of pictures that the notebook has shown from bundles.
        bundles: The bundles in the notebook's folder.
    """
    notebook = frontend.notebook_name()
    path = _default_bundle() if path is None else frontend.user_path(path)
    target = frontend.resolve_folder(None) / path
    if target.suffix != SUFFIX:
        raise OptionError(f"The name of a bundle must end in {SUFFIX}: {target.name}")
    if not target.parent.is_dir():
        raise ExportError(f"The folder for {target.name} does not exist. Create it first.")
    answers = BundleLookup(bundles).find_entries(digests) if digests else ()
    return library.bundle_writer.pack(
        target, is_notebook=lambda name: name == notebook, ids=ids, answers=answers
    )


def unpack(library: Library, path: str | Path) -> tuple[list[Picture], list[str]]:
    """Import the pictures of a bundle into the library; see `xai_notebook.unpack`.

    Returns:
        The pictures that are new in the library, and one sentence for each problem.
    """
    bundle = Bundle(frontend.notebook_folder() / frontend.user_path(path))
    pictures: list[Picture] = []
    problems: list[str] = []
    replies: list[Reply] = []
    size = 0

    def save() -> None:
        for saved in library.add_replies(replies) if replies else ():
            if isinstance(saved, LibraryError):
                raise saved
            pictures.extend(saved)
        replies.clear()

    for entry in bundle.entries:
        for reply in _new_replies(library, bundle, entry, problems):
            replies.append(reply)
            size += sum(map(len, filter(None, reply.payloads)))
            if len(replies) >= _MAX_REPLIES or size >= _MAX_BYTES:
                save()
                size = 0
    save()
    return pictures, list(dict.fromkeys(problems))


def _new_replies(
    library: Library, bundle: Bundle, entry: BundleEntry, problems: list[str]
) -> Iterator[Reply]:
    """Yield the new pictures of a request as replies without cost; large ones are split."""
    host = DEFAULT_API_HOST if entry.backend == "xai" else LOCAL_HOST
    fingerprint = entry.request.fingerprint(entry.backend, host)
    present = {picture.position for picture in library.find(fingerprint, place=entry.place)}
    reply = partial(
        Reply,
        entry.request,
        fingerprint=fingerprint,
        backend=entry.backend,
        host=host,
        notebook=None,
        cost_usd=0.0,  # paid by the author of the bundle
        model=entry.answered_by,
        place=entry.place,
        created=entry.created.timestamp(),
    )
    pictures: list[Picture] = []
    payloads: list[bytes | str | None] = []
    size = 0
    for image in entry.images:
        if image.position in present:
            continue
        present.add(image.position)
        try:
            picture = open_picture(bundle, image, entry.request)
            payloads.append(picture.data if picture.held else None)
        except (LibraryError, MissingImageError) as error:
            problems.append(str(error))
            continue
        pictures.append(picture)
        size += len(payloads[-1] or b"")
        if size >= _MAX_BYTES:
            yield reply(pictures, payloads)
            pictures, payloads, size = [], [], 0
    if pictures:
        yield reply(pictures, payloads)

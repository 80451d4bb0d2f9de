"""Export images: readable file names, atomic writes, no overwriting unless asked.

Separate because naming and writing files does not need batches, sessions or pickles.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import sys
import threading
import time
import unicodedata
from collections import Counter, deque
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from xai_notebook.client.media import EXTENSIONS, media_type
from xai_notebook.errors import ExportError, MetadataError, OptionError, ReplyError
from xai_notebook.frontend import (
    SavedPath,
    in_kernel,
    is_unattended,
    log_line,
    notebook_folder,
    resolve_folder,
    running_shell,
    short_path,
    write_stderr,
)
from xai_notebook.pictures.files import (
    PendingFile,
    fold,
    has_content,
    name_problem,
    remove_stale,
    sync_files,
    sync_folders,
    write_atomically,
)
from xai_notebook.pictures.picture import is_missing, label_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Executor, Future

    from xai_notebook.pictures.manifest import Manifest
    from xai_notebook.pictures.picture import Card

T = TypeVar("T")

UNTOUCHED: Final = (
    "Exported unchanged: the file has Content Credentials, and added metadata would make their "
    "signature invalid."
)
"""Note for an image that was exported without the requested metadata."""
_MAX_SLUG: Final = 60
"""Maximum characters of the prompt in a file name."""
_MAX_SLUG_BYTES: Final = 120
"""Maximum UTF-8 bytes of the prompt in a file name; file systems allow 255 for the entire name."""
_MAX_COPIES: Final = 1000
_EXTENSIONS: Final = frozenset({*EXTENSIONS.values(), ".jpeg"})
_NEVER_WRITTEN: Final = frozenset({
    ".avif", ".bmp", ".heic", ".heif", ".ico", ".jp2", ".jxl", ".pdf", ".psd", ".svg", ".tga",
    ".tif", ".tiff",
})  # fmt: skip
"""Extensions of pictures and drawings in formats that servers do not send."""
_VARIATION_SELECTORS: Final = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Characters that select a variant of a character, such as an emoji in colour."""
_THREADS: Final = 3
_GROUP: Final = 64
"""Maximum number of files that are synced together."""
_GROUP_BYTES: Final = 32 << 20
"""Number of bytes from which a group is complete."""
_POLL: Final = 0.2
"""Seconds between two checks for an interrupt, which Windows does not deliver during a wait."""


# Names

FIELDS: Final = ("key", "row", "n", "prompt", "id", "date")
"""Fields of a name pattern."""
_TOKEN: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")


@dataclass(frozen=True, slots=True)
class NamePattern:
    """A pattern for file names, such as `{key}-{n}`.

    Attributes:
        text: The pattern as written.
        parts: For each folder and the file, the literal texts and the fields, as pairs of
            `(text, is_field)`.
    """

    text: str
    parts: tuple[tuple[tuple[str, bool], ...], ...]

    @classmethod
    def parse(cls, text: str) -> NamePattern:
        """Read a pattern.

        Raises:
            OptionError: The pattern is invalid.
        """
        if not isinstance(text, str):
            raise OptionError(f"The name is a {type(text).__name__}. Give text such as '{{key}}'.")
        parts: list[list[tuple[str, bool]]] = [[]]
        for match in _TOKEN.finditer(text):
            token, name = match[0], match[1]
            if name is not None:
                if name not in FIELDS:
                    known = ", ".join(f"{{{each}}}" for each in FIELDS)
                    raise OptionError(
                        f"The name {text!r} has an unknown field {token}. The fields are {known}; "
                        "write {{ and }} for braces."
                    )
                parts[-1].append((name, True))
            elif token in {"{", "}"}:
                raise OptionError(
                    f"The name {text!r} has a single {token}. Write a field such as {{key}}, or "
                    f"{token * 2} for the character itself."
                )
            else:
                first, *rest = {"{{": "{", "}}": "}"}.get(token, token).split("/")
                parts[-1].append((first, False))
                parts += [[(each, False)] for each in rest]
        last = parts[-1]
        if last and not last[-1][1]:
            # A letter in front, because a name that begins with a dot has no extension.
            stem, extension = os.path.splitext(f"x{last[-1][0]}")  # noqa: PTH122  # not a path
            if extension.lower() in _EXTENSIONS:
                last[-1] = (stem[1:], False)
        pattern = cls(text, tuple(tuple(pair for pair in part if pair[0]) for part in parts))
        pattern._check()
        return pattern

    def _check(self) -> None:
        """Check the literal text of the pattern."""
        if not any(self.parts):
            raise OptionError("The name is empty. Give a pattern such as {key} or {prompt}-{n}.")
        if not all(self.parts):
            raise OptionError(
                f"The name {self.text!r} has an empty part beside a slash. Give a name for each "
                "folder and for the file."
            )
        for position, part in enumerate(self.parts, 1):
            text = "".join("x" if is_field else text for text, is_field in part)
            if problem := name_problem(text, folder=position < len(self.parts)):
                raise OptionError(f"The name {self.text!r} is not possible: it {problem}.")

    @property
    def fields(self) -> frozenset[str]:
        """The fields that the pattern uses."""
        return frozenset(text for part in self.parts for text, is_field in part if is_field)

    def fill(self, image: Card, number: int) -> str:
        """Return the path of an image below the folder, with `/`, without its extension.

        Args:
            image: The image, with its row and key.
            number: The value of `{n}`.

        Raises:
            ExportError: A field has no value, or the value cannot be part of a file name.
        """
        values = {name: self._value(name, image, number) for name in self.fields}
        filled = []
        for position, part in enumerate(self.parts, 1):
            name = "".join(values[text] if is_field else text for text, is_field in part)
            name = unicodedata.normalize("NFC", name)
            if problem := name_problem(name, folder=position < len(self.parts)):
                raise ExportError(
                    f"{_capitalized(_where(image))} cannot have the file name {_shorten(name)}: "
                    f"it {problem}. Change the value, or name the files by other fields, such as "
                    "{n} or {id}."
                )
            filled.append(name)
        return "/".join(filled)

    def _value(self, name: str, image: Card, number: int) -> str:
        """Return the value of a field as text."""
        value: Any = {"key": image.key, "row": image.row, "n": number}.get(name)
        if name == "prompt":
            value = _slug(image.prompt)
        elif name == "id":
            value = (image.sha256 or hashlib.sha256(image.data).hexdigest())[:8]
        elif name == "date":
            value = _day(image)
        text = "" if is_missing(value) else label_text(value)
        levels = value if isinstance(value, tuple) else (value,)
        if any(isinstance(level, datetime) for level in levels):
            text = text.replace(":", "-")  # which Windows does not allow
        if not text and name in {"key", "row"}:
            given = "key=COLUMN" if name == "key" else "each=TABLE"
            raise ExportError(
                f"The name {self.text!r} has {{{name}}}, but {_where(image)} has no "
                f"{name}. Make the images with {given}, or use {{prompt}}, {{n}} or {{id}}."
            )
        if not text:
            raise ExportError(
                f"The name {self.text!r} has {{prompt}}, but the prompt of "
                f"{_where(image)} has no letters or digits. Use {{row}}, {{n}} or {{id}}."
            )
        return text


def _where(image: Card) -> str:
    """Return how messages name an image."""
    if image.row is None:
        return f"image {image.index + 1}"
    return f"row {_shorten(image.row) if isinstance(image.row, str) else image.row}"


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _shorten(name: str) -> str:
    return repr(name if len(name) <= _MAX_SLUG else name[: _MAX_SLUG - 1] + "…")


def _row_id(image: Card) -> tuple[str, ...]:
    """Identify the row of an image; labels that are equal in Python, such as 1 and True, differ."""
    return (repr(image.row), repr(image.key))


def plan_names(images: Sequence[Card], pattern: NamePattern, *, every: Sequence[Card]) -> list[str]:
    """Return the path of each image below the folder, without its extension.

    Args:
        images: The images to export.
        pattern: The pattern of the names.
        every: All cards of the batch, with those that have no image: they count for `{n}`.

    Raises:
        ExportError: A name is invalid, or two images have the same name.
    """
    from_table = {id(card): card.row is not None or card.key is not None for card in every}
    positions = {id(card): number for number, card in enumerate(every, 1)}
    indices: dict[tuple[str, ...], set[int]] = {}
    for card in every:
        if from_table[id(card)]:
            indices.setdefault(_row_id(card), set()).add(card.index)
    numbers = {
        id(card): card.index + 1 if from_table[id(card)] else positions[id(card)] for card in every
    }
    names = [pattern.fill(image, numbers[id(image)]) for image in images]
    if "n" not in pattern.fields:
        repeated = Counter(fold(name) for name in names)
        counted: Counter[str] = Counter()
        for position, image in enumerate(images):
            if from_table[id(image)]:
                if len(indices[_row_id(image)]) > 1:
                    names[position] += f"-{image.index + 1}"
            elif repeated[same := fold(names[position])] > 1:
                counted[same] += 1
                names[position] += f"-{counted[same]}"
    owners: dict[str, Card] = {}
    for name, image in zip(names, images, strict=True):
        other = owners.setdefault(fold(name), image)
        if other is not image:
            differ = numbers[id(other)] != numbers[id(image)]
            fields = ("row", "n", "id") if differ else ("row", "id")
            cures = " or ".join(f"{{{each}}}" for each in fields if each not in pattern.fields)
            raise ExportError(
                f"{_capitalized(_where(other))} and {_where(image)} have the same file name "
                f"{_shorten(name)}; upper and lower case count as the same. Add {cures} to the "
                f"name {pattern.text!r}."
            )
    return names


def check_pattern(
    pattern: NamePattern, folder: str | Path | None, *, table: bool = True, key: bool = True
) -> None:
    """Check a pattern before images are made.

    Args:
        pattern: The pattern.
        folder: The folder of the export.
        table: Whether the images are made from a table.
        key: Whether a column of the table is the key.

    Raises:
        OptionError: A field of the pattern has no value, or the folder names a file.
    """
    if "key" in pattern.fields and not key:
        raise OptionError(
            f"The name {pattern.text!r} has {{key}}, but no column is the key. Give --key COLUMN."
        )
    if "row" in pattern.fields and not table:
        raise OptionError(
            f"The name {pattern.text!r} has {{row}}, but there is no table. Give --each TABLE, or "
            "use {prompt}, {n} or {id}."
        )
    if split_folder(folder)[1]:
        raise OptionError(
            f"The name {pattern.text!r} and {folder} both name the file. Give a folder, or leave "
            "out the name."
        )


def describe_export(folder: str | None, name: str | None) -> str | None:
    """Return the folder and the names of exported files for a plan; None without an export."""
    if folder is None:
        return None
    shown = short_path(folder) if folder else "the notebook's folder"
    return shown if name is None else f"{shown}, named {name}"


def split_folder(folder: str | Path | None) -> tuple[str | Path | None, str]:
    """Return the folder, and the given file name without its extension; "" without a file name.

    Raises:
        ExportError: The folder is invalid, or the file name has the extension of a format that is
            never written.
    """
    target = resolve_folder(folder)
    path = Path(folder or "")
    suffix = path.suffix.lower()
    if suffix not in _EXTENSIONS | _NEVER_WRITTEN or target.is_dir():
        return folder, ""
    if suffix in _NEVER_WRITTEN:
        raise ExportError(
            f"{folder} cannot be written: images are saved in the format that the server sent. "
            "Give a folder, or a name that ends with .jpg, which is corrected to match the image."
        )
    return path.parent, path.stem


def _stem(image: Card) -> str:
    """Return a file name that consists of the day, the prompt and the digest.

    The date at the start avoids names that Windows reserves, such as `CON`.
    """
    digest = (image.sha256 or hashlib.sha256(image.data).hexdigest())[:8]
    return "-".join(part for part in (_day(image), _slug(image.prompt), digest) if part)


def _day(image: Card) -> str:
    return image.created.astimezone().strftime("%Y-%m-%d")


def _slug(prompt: str) -> str:
    """Return the letters and digits of a prompt, in any script, joined by hyphens.

    Combining marks are kept for scripts such as Arabic, Hindi and Thai; emoji, control and
    bidirectional characters are removed.
    """
    text = ""
    # NFKC follows lower(), because lower() can decompose characters such as "İ".
    for char in unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", prompt).lower()):
        kind = unicodedata.category(char)
        is_mark = kind in {"Mn", "Mc"} and not _VARIATION_SELECTORS.match(char)
        text += char if kind[0] in "LN" or (is_mark and text[-1:] not in {"", "-"}) else "-"
    text = re.sub("-+", "-", text).strip("-")
    if len(text) <= _MAX_SLUG and len(text.encode()) <= _MAX_SLUG_BYTES:
        return text
    cut = text[:_MAX_SLUG].encode()[:_MAX_SLUG_BYTES].decode(errors="ignore")
    words = cut.rpartition("-")[0]
    ends_at_word = text.startswith(cut + "-")
    # Scripts without spaces and very long words are cut at any character.
    return cut if ends_at_word or len(words) < len(cut) // 2 else words.strip("-")


# Files


@dataclass(slots=True)
class _Item:
    """One image on its way into a file.

    Attributes:
        image: The image.
        stem: The path below the folder, without an extension.
        path: The path of the file.
        notes: Notes for the user.
        size: The size of the file in bytes.
        pending: The written file, until it gets its name; None if the file exists already.
        gone: Why the original is missing.
    """

    image: Card
    stem: str
    path: Path = field(default_factory=Path)
    notes: tuple[str, ...] = ()
    size: int = 0
    pending: PendingFile | None = None
    gone: ReplyError | None = None


def export_images(
    images: Sequence[Card],
    folder: str | Path | None = None,
    *,
    metadata: bool = True,
    name: str | None = None,
    overwrite: bool = False,
    manifest: str | None = None,
    every: Sequence[Card] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> list[Path]:
    """Write images into a folder and return the absolute paths; set `exported` of each image.

    An existing file with exactly this content is reused. By default, other files are not
    overwritten: the new file gets the suffix `-2`, `-3` and so on.

    Args:
        images: The images, each with an original.
        folder: Created if missing; see `frontend.resolve_folder`. A path with an image extension,
            such as `cover.jpg`, names the file; the extension is corrected to match the image.
        metadata: Add the provenance as XMP. A file with Content Credentials is always written
            unchanged, with a note.
        name: Pattern of the file names; see `ImageBatch.export`.
        overwrite: Replace existing files of the same names, and the manifest.
        manifest: Name of a table of the files; see `ImageBatch.export`.
        every: All cards of the batch, with those that have no image.
        progress: Called with the number of finished images and of all images; by default, long
            exports show their progress on standard error.

    Raises:
        OptionError: The pattern is invalid.
        ExportError: A file cannot be written. The images are not affected.
        ReplyError: An image has no original bytes; the others are written.
    """
    pattern = None if name is None else NamePattern.parse(name)
    if pattern is not None:
        check_pattern(pattern, folder)
    folder, stem = split_folder(folder)
    target = resolve_folder(folder).absolute()
    if pattern is not None:
        stems = plan_names(images, pattern, every=every or images)
    else:
        stems = _default_names(images, stem, unique=overwrite or manifest is not None)
    items = [_Item(image, each) for image, each in zip(images, stems, strict=True)]
    named = bool(pattern or stem)
    export = _Export(target, metadata=metadata, overwrite=overwrite, named=named)
    with _Reporter(len(items), progress) as report:
        try:
            if manifest is not None:
                # Imported here because most exports have no manifest.
                from xai_notebook.pictures.manifest import Manifest  # noqa: PLC0415

                by_stem = dict(zip(stems, images, strict=True))
                export.manifest = Manifest.open(target, manifest, by_stem, overwrite=overwrite)
            export.check(items)
            export.run(items, report)
        except OSError as error:
            if isinstance(error, ExportError):
                raise
            raise ExportError(_explain(error, target)) from error
    gone = next((item.gone for item in items if item.gone is not None), None)
    if gone is not None:
        raise gone
    return [SavedPath(item.path) for item in items]


def _default_names(images: Sequence[Card], stem: str, *, unique: bool) -> list[str]:
    """Return the names without a pattern: the given one, or day, prompt and digest.

    Without a library, the name needs the digest of the original: a thread computes it later, and
    the name is empty here.
    """
    if not unique:
        return [stem or ("" if image.sha256 is None else _stem(image)) for image in images]
    used: set[str] = set()
    names = []
    for image in images:
        first = name = stem or _stem(image)
        number = 1
        while fold(name) in used:
            number += 1
            name = f"{first}-{number}"
        used.add(fold(name))
        names.append(name)
    return names


def export_bytes(data: bytes, name: str, folder: str | Path | None = None) -> Path:
    """Write a file into a folder and return its absolute path; see `export_images`."""
    target = resolve_folder(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        for path in _free_names(target.absolute() / name):
            if not os.path.lexists(path) and write_atomically(path, data):
                return SavedPath(path)
            # Checked last, because another export of the same image may have just created the file.
            if has_content(path, data):
                return SavedPath(path)
    except OSError as error:
        raise ExportError(_explain(error, target)) from error
    raise ExportError(_explain(_no_free_name(name), target))


class _Export:
    """Writes files in threads, syncs them in groups, and gives them their names in order."""

    def __init__(self, folder: Path, *, metadata: bool, overwrite: bool, named: bool) -> None:
        """Prepare an export.

        Args:
            folder: The folder, which need not exist.
            metadata: Add the provenance as XMP.
            overwrite: Replace existing files.
            named: Whether the user chose the names.
        """
        self.folder = folder
        self.metadata = metadata
        self.overwrite = overwrite
        self.named = named
        self.manifest: Manifest | None = None
        self.done: list[_Item] = []
        self._existing: dict[str, list[Path]] = {}
        self._claimed: frozenset[str] = frozenset()
        self._stopped = threading.Event()
        self._folders: set[Path] = set()
        self._unsynced: set[Path] = set()
        self._lock = threading.Lock()
        self._writing: deque[Future[_Item]] = deque()
        self._group: list[_Item] = []
        self._syncing: deque[tuple[Future[None], list[_Item]]] = deque()

    def check(self, items: Sequence[_Item]) -> None:
        """Refuse names that lead out of the folder, or whose file must not be replaced.

        Raises:
            ExportError: A folder of a name is a link or the manifest. Or a link, a folder or a
                file whose name differs only in case would be replaced.
        """
        for below in {item.stem.rpartition("/")[0] for item in items} - {""}:
            path = self.folder
            for part in below.split("/"):
                path /= part
                if self.manifest is not None and self.manifest.is_at(path):
                    raise ExportError(
                        f"{short_path(path)} would be a folder of images and the manifest. Give "
                        "the manifest another name."
                    )
                if path.is_symlink():
                    raise ExportError(
                        f"{short_path(path)} is a link. Remove it, or give the names another "
                        "folder."
                    )
        if self.overwrite:
            self._check_existing(items)

    def _check_existing(self, items: Sequence[_Item]) -> None:
        listings: dict[str, dict[str, list[os.DirEntry[str]]]] = {}
        for item in items:
            below, _, name = item.stem.rpartition("/")
            if below not in listings:
                listings[below] = _pictures_in(self.folder / below)
            for entry in listings[below].get(fold(name), ()):
                if entry.is_symlink() or not entry.is_file():
                    raise ExportError(
                        f"{short_path(entry.path)} is a link or a folder, and is not replaced. "
                        "Remove it, or give another name."
                    )
                found = os.path.splitext(entry.name)[0]  # noqa: PTH122  # a name, not a path
                same = unicodedata.normalize("NFC", found) == unicodedata.normalize("NFC", name)
                if not same:
                    raise ExportError(
                        f"{_capitalized(_where(item.image))} would replace {entry.name}, which "
                        f"differs from its name {name} only in upper and lower case. Remove that "
                        "file, or give another name."
                    )
                self._existing.setdefault(item.stem, []).append(Path(entry.path))

    def _remove_old_formats(self, item: _Item) -> None:
        """Remove earlier pictures of this name in other formats, such as `a.png` for `a.jpg`.

        A file is an earlier picture if the manifest lists it or if it has the metadata of an
        export. Other files of this name, such as photos of the user, stay.
        """
        if not self.named:
            return
        for old in self._existing.get(item.stem, ()):
            if old.suffix.lower() == item.path.suffix:
                continue
            if (self.manifest is not None and self.manifest.lists(old)) or _is_export(old):
                old.unlink(missing_ok=True)

    def run(self, items: Sequence[_Item], report: Callable[[], None]) -> None:
        """Write all items, calling `report` after each, and then the manifest.

        Raises:
            OSError: A file cannot be written; the files before it are complete.
        """
        self._claimed = frozenset(fold(item.stem) for item in items)
        try:
            if len(items) == 1:
                self._prepare(items[0])
                self._sync(items)
                self._publish(items, report)
            else:
                self._run_in_threads(items, report)
        except OSError:
            self._sync_folders()
            raise
        self._sync_folders()
        if self.manifest is not None:
            self.manifest.write([(item.image, item.path) for item in self.done])

    def _sync_folders(self) -> None:
        sync_folders({item.path.parent for item in self.done} | self._unsynced)

    def _run_in_threads(self, items: Iterable[_Item], report: Callable[[], None]) -> None:
        # Imported here because loading the extension does not need threads.
        from xai_notebook.client.workers import FallbackThreadPool  # noqa: PLC0415

        source = iter(items)
        writers = FallbackThreadPool(_THREADS, thread_name_prefix="xai-notebook-export")
        syncer = FallbackThreadPool(1, thread_name_prefix="xai-notebook-sync")
        try:
            try:
                while True:
                    for item in islice(source, 2 * _THREADS - len(self._writing)):
                        self._writing.append(writers.submit(self._prepare, item))
                    if not self._writing:
                        break
                    self._group.append(_result(self._writing[0]))
                    self._writing.popleft()
                    if self._is_group_full():
                        self._start_sync(syncer)
                        if len(self._syncing) > 1:
                            self._publish_first(report)
            except OSError:  # such as a full disk: complete the files before this one
                self._publish_all(syncer, report)
                raise
            self._publish_all(syncer, report)
        finally:
            self._stop()
            for pool in (writers, syncer):
                pool.shutdown(wait=False, cancel_futures=True)

    def _is_group_full(self) -> bool:
        size = sum(item.size for item in self._group)
        return len(self._group) >= _GROUP or size >= _GROUP_BYTES

    def _start_sync(self, syncer: Executor) -> None:
        if self._group:
            self._syncing.append((syncer.submit(self._sync, self._group), self._group))
            self._group = []

    def _publish_all(self, syncer: Executor, report: Callable[[], None]) -> None:
        self._start_sync(syncer)
        while self._syncing:
            self._publish_first(report)

    def _publish_first(self, report: Callable[[], None]) -> None:
        """Wait for the first group, and publish it."""
        synced, group = self._syncing[0]
        _result(synced)
        self._publish(group, report)
        self._syncing.popleft()

    def _stop(self) -> None:
        """Remove all files that have no name yet, also those that threads are writing."""
        self._stopped.set()
        for future in self._writing:
            future.add_done_callback(_discard_result)
        for item in chain(self._group, *(group for _, group in self._syncing)):
            _discard(item)

    def _prepare(self, item: _Item) -> _Item:
        """Write an image to a file without a name; runs in a thread."""
        if self._stopped.is_set():
            return item
        image = item.image
        try:
            data, item.notes = image.data, image.notes
        except ReplyError as error:
            item.gone = error
            return item
        extension = EXTENSIONS.get(media_type(data) or "", ".bin")
        if self.metadata:
            # Imported here because it loads an XML parser.
            from xai_notebook.pictures.xmp import embed, has_credentials  # noqa: PLC0415

            original, data = data, embed(image.picture, data)
            if data is original and has_credentials(data) and UNTOUCHED not in item.notes:
                item.notes = (*item.notes, UNTOUCHED)
        item.path = self.folder / f"{item.stem or _stem(image)}{extension}"
        item.size = len(data)
        self._make_folder(item.path.parent)
        if not has_content(item.path, data):
            item.pending = PendingFile(item.path.parent, data)
        return item

    def _make_folder(self, folder: Path) -> None:
        if folder in self._folders:
            return
        with self._lock:
            missing = folder
            while not missing.exists():
                missing = missing.parent
                self._unsynced.add(missing)
            folder.mkdir(parents=True, exist_ok=True)
            remove_stale(folder)
            self._folders.add(folder)

    def _sync(self, group: Sequence[_Item]) -> None:
        files = [item.pending for item in group if item.pending is not None]
        sync_files(files, self.folder)

    def _publish(self, group: Sequence[_Item], report: Callable[[], None]) -> None:
        """Give files their names."""
        for item in group:
            if item.gone is None:
                if item.pending is not None:
                    self._name(item, item.pending)
                self._remove_old_formats(item)
                self.done.append(item)
                # The card shows the last export. This is the only change to an image.
                object.__setattr__(item.image, "exported", SavedPath(item.path))
                if item.notes != item.image.notes:
                    picture = replace(item.image.picture, notes=item.notes)
                    object.__setattr__(item.image, "picture", picture)
            report()

    def _name(self, item: _Item, pending: PendingFile) -> None:
        """Give a file the first free name, or use an existing file with this content."""
        if self.overwrite:
            pending.publish(item.path, overwrite=True)
            return
        first = item.path
        for path in _free_names(first):
            below = path.with_suffix("").relative_to(self.folder).as_posix()
            if path != first and fold(below) in self._claimed:
                continue  # the name of another image of this export
            if not os.path.lexists(path) and pending.publish(path):
                item.path = path
                return
            # Checked last, because another export of the same image may have just created the file.
            if pending.equals(path):
                pending.discard()
                item.path = path
                return
        raise _no_free_name(first.name)


def _free_names(path: Path) -> Iterator[Path]:
    """Yield a path, then the path with `-2`, `-3` and so on before its extension."""
    yield path
    stem, extension = os.path.splitext(path.name)  # noqa: PTH122  # as many dots as the name has
    for number in range(2, _MAX_COPIES):
        yield path.with_name(f"{stem}-{number}{extension}")


def _no_free_name(name: str) -> FileExistsError:
    return FileExistsError(errno.EEXIST, f"{_MAX_COPIES} files have this name already", name)


def _pictures_in(folder: Path) -> dict[str, list[os.DirEntry[str]]]:
    """Return the entries of a folder with an image extension, by their folded stem."""
    found: dict[str, list[os.DirEntry[str]]] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                stem, extension = os.path.splitext(entry.name)  # noqa: PTH122
                if extension.lower() in _EXTENSIONS | {".bin"}:
                    found.setdefault(fold(stem), []).append(entry)
    except OSError:  # a missing folder; other errors are raised when a file is written
        return {}
    return found


def _is_export(path: Path) -> bool:
    """Tell whether a file has the metadata of an export."""
    # Imported here because it loads an XML parser.
    from xai_notebook.pictures.xmp import read_metadata  # noqa: PLC0415

    try:
        read_metadata(path)
    except MetadataError:
        return False
    return True


def _result(future: Future[T]) -> T:
    """Return a future's result; unlike `Future.result`, interruptible on every platform."""
    while True:
        try:
            return future.result(_POLL)
        except FutureTimeoutError:
            if future.done():
                raise


def _discard(item: _Item) -> None:
    if item.pending is not None:
        item.pending.discard()
        item.pending = None


def _discard_result(future: Future[_Item]) -> None:
    with suppress(BaseException):
        _discard(future.result(0))


def _explain(error: OSError, folder: Path) -> str:
    """Return the cause of an error and advice, in one line."""
    safe = "The image itself is safe."
    shown = short_path(folder)
    subject = _capitalized(shown) if folder == notebook_folder() else shown
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return f"The disk of {shown} is full. Free some space and export again. {safe}"
    if isinstance(error, FileExistsError | NotADirectoryError) and not folder.is_dir():
        return f"{subject} is not a folder. Export to another one. {safe}"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"{subject} cannot be written to. Export to another folder. {safe}"
    return f"Cannot write to {shown}: {error.strerror or error}. Export to another folder. {safe}"


# Progress

_FIRST_REPORT: Final = 2.0
"""Seconds before progress is shown, so that short exports show none."""
_LINE_EVERY: Final = 0.5
_LOG_EVERY: Final = 30.0
"""Seconds between two lines where a line cannot be replaced, such as a log."""


class _Reporter:
    """Counts finished images, and shows the progress of a long export."""

    def __init__(self, total: int, callback: Callable[[int, int], object] | None) -> None:
        self._total = total
        self._callback = callback
        self._done = 0
        self._width = 0
        self._live = _is_live()
        self._quiet = threading.current_thread() is not threading.main_thread()
        self._due = time.monotonic() + (_FIRST_REPORT if self._live else _LOG_EVERY)

    def __enter__(self) -> Callable[[], None]:
        return self._count

    def __exit__(self, *_: object) -> None:
        if self._width:
            write_stderr("\r" + " " * self._width + "\r")

    def _count(self) -> None:
        self._done += 1
        if self._callback is not None:
            self._callback(self._done, self._total)
        elif not self._quiet and time.monotonic() >= self._due:
            self._show()

    def _show(self) -> None:
        line = f"Exporting images: {self._done:,} of {self._total:,}"
        self._due = time.monotonic() + (_LINE_EVERY if self._live else _LOG_EVERY)
        if self._live:
            write_stderr("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            log_line(line)


def _is_live() -> bool:
    """Tell whether somebody can see a line of standard error that is replaced."""
    if in_kernel(running_shell()):
        return not is_unattended()
    return sys.stderr is not None and sys.stderr.isatty()

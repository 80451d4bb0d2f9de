"""Export images: readable file names, atomic writes, no overwriting.

Separate because naming and writing files does not need batches, sessions or pickles.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from xai_notebook.client.media import EXTENSIONS, media_type
from xai_notebook.errors import ExportError
from xai_notebook.frontend import resolve_folder
from xai_notebook.pictures.files import write_atomically

if TYPE_CHECKING:
    from xai_notebook.pictures.picture import Card

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
_VARIATION_SELECTORS: Final = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Characters that select a variant of a character, such as an emoji in colour."""


def export_image(
    image: Card, folder: str | Path | None = None, *, metadata: bool = True
) -> tuple[Path, tuple[str, ...]]:
    """Write an image into a folder.

    An existing file with exactly this content is reused. Other files are never overwritten: the new
    file gets the suffix `-2`, `-3` and so on.

    Args:
        image: An image with original bytes.
        folder: Created if missing; see `frontend.resolve_folder`. A path with an image extension,
            such as `cover.jpg`, names the file; the extension is corrected to match the image.
        metadata: Add the provenance as XMP. A file with Content Credentials is always written
            unchanged, with a note.

    Returns:
        The file's absolute path, and the image's notes, including notes about the file.

    Raises:
        ExportError: The file cannot be written. The image is not affected.
        ReplyError: The image has no original bytes.
    """
    data, notes = image.data, image.notes
    extension = EXTENSIONS.get(media_type(data) or "", ".bin")
    folder, stem = _split_name(folder)
    name = (stem or _stem(image, data)) + extension
    if metadata:
        # Imported here because it loads an XML parser.
        from xai_notebook.pictures.xmp import embed, has_credentials  # noqa: PLC0415

        data = embed(image.picture, data)
        if has_credentials(data) and UNTOUCHED not in notes:
            notes = (*notes, UNTOUCHED)
    return export_bytes(data, name, folder), notes


def export_bytes(data: bytes, name: str, folder: str | Path | None = None) -> Path:
    """Write a file into a folder and return its absolute path; see `export_image`."""
    target = resolve_folder(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        return _write(target.absolute(), name, data)
    except OSError as error:
        raise ExportError(_explain(error, target)) from error


def _split_name(folder: str | Path | None) -> tuple[str | Path | None, str]:
    """Return the folder, and the given file name without its extension; "" without a file name."""
    path = Path(folder or "")
    if path.suffix.lower() not in _EXTENSIONS or resolve_folder(folder).is_dir():
        return folder, ""
    return path.parent, path.stem


def _stem(image: Card, data: bytes) -> str:
    """Return a file name that consists of the day, the prompt and the digest.

    The date at the start avoids names that Windows reserves, such as `CON`.
    """
    day = image.created.astimezone().strftime("%Y-%m-%d")
    digest = (image.sha256 or hashlib.sha256(data).hexdigest())[:8]
    return "-".join(part for part in (day, _slug(image.prompt), digest) if part)


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


def _write(folder: Path, name: str, data: bytes) -> Path:
    """Write a file under the first free name, or return an existing file with this content."""
    stem, extension = os.path.splitext(name)  # noqa: PTH122  # a name, not a path
    for suffix in ("", *(f"-{number}" for number in range(2, _MAX_COPIES))):
        path = folder / f"{stem}{suffix}{extension}"
        if not os.path.lexists(path) and write_atomically(path, data):
            return path
        # Checked last, because another export of the same image may have just created the file.
        if _has_content(path, data):
            return path
    raise FileExistsError(errno.EEXIST, f"{_MAX_COPIES} files have this name already", name)


def _has_content(path: Path, data: bytes) -> bool:
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


def _explain(error: OSError, folder: Path) -> str:
    """Return the cause of an error and advice, in one line."""
    safe = "The image itself is safe."
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return f"The disk of {folder} is full. Free some space and export again. {safe}"
    if isinstance(error, FileExistsError | NotADirectoryError) and not folder.is_dir():
        return f"{folder} is not a folder. Export to another one. {safe}"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"{folder} cannot be written to. Export to another folder. {safe}"
    return f"Cannot write to {folder}: {error.strerror or error}. Export to another folder. {safe}"

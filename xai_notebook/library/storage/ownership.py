"""Private files and folders of the library, and whether the library is the user's own.

A library may have been copied from another person. It counts as the user's own if this package
created it, or if the user has trusted it explicitly. This is recorded outside the library.
"""

from __future__ import annotations

import hashlib
import os
from itertools import takewhile
from pathlib import Path
from typing import Final

from xai_notebook.settings import home_folder, variable

_FLAGS: Final[int] = (
    getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
)
"""Flags for every file. Links are not followed: a copied library may link to other files."""
_CONTENTS: Final = frozenset(
    {"images", "spool", "inputs", "cache", "jobs", "processes", "locks", "owner.json"}
)
"""Names in the folder of a library, in addition to its database."""
_MARKED: Final[set[str]] = set()
"""Marks of this process, in case the state folder cannot be written to."""


def open_private(file: Path | str, flags: int) -> int:
    """Open a file that only its owner may read and write, whatever the umask.

    Args:
        file: Path of the file; its folder exists.
        flags: As for `os.open`.

    Returns:
        The file descriptor.

    Raises:
        OSError: The file cannot be opened, or is a symbolic link.
    """
    descriptor = os.open(file, flags | _FLAGS, 0o600)
    if flags & os.O_CREAT and hasattr(os, "fchmod"):  # not on Windows
        os.fchmod(descriptor, 0o600)  # the umask may have taken away some rights
    return descriptor


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, accessible only to their owner.

    Existing folders keep their permissions.

    Raises:
        OSError: The folder cannot be created, or the path is a file.
    """
    missing = [*takewhile(lambda each: not each.is_dir(), (folder, *folder.parents))]
    for each in reversed(missing):
        try:
            each.mkdir(0o700)
        except FileExistsError:  # another thread or process was faster
            if not each.is_dir():
                raise
        else:
            each.chmod(0o700)  # the umask may have taken away some rights


def is_own(library_id: str, home: Path) -> bool:
    """Tell whether the library with this id and folder is the user's own."""
    return _mark(library_id, home) in _MARKED or is_remembered(library_id, home)


def is_remembered(library_id: str, home: Path) -> bool:
    """Tell whether later processes will recognise a library as the user's own."""
    if os.path.exists(_state_folder() / _mark(library_id, home)):  # noqa: PTH110  # raises nothing
        return True
    trusted = variable("XAI_NOTEBOOK_TRUSTED_HOME")
    return bool(trusted) and os.path.realpath(home_folder(trusted)) == os.path.realpath(home)


def mark_folder(home: Path) -> None:
    """Mark a folder, unless it has library files: a library created there is the user's own.

    Raises:
        OSError: The folder does not exist or cannot be listed.
    """
    names = os.listdir(home)  # noqa: PTH208
    if not any(name in _CONTENTS or name.startswith("library.sqlite3") for name in names):
        mark_as_own(_folder_id(home), home)


def is_marked_folder(home: Path) -> bool:
    """Tell whether `mark_folder` has marked this folder."""
    return is_own(_folder_id(home), home)


def mark_as_own(library_id: str, home: Path) -> None:
    """Record that a library is the user's own, for later processes too if possible."""
    name = _mark(library_id, home)
    _MARKED.add(name)
    if is_remembered(library_id, home):
        return
    try:
        make_folder(_state_folder())
        os.close(open_private(_state_folder() / name, os.O_CREAT | os.O_WRONLY))
    except OSError:  # for example a read-only home in a container
        return


def _folder_id(home: Path) -> str:
    return f"folder {home.stat().st_ino}"


def _mark(library_id: str, home: Path) -> str:
    text = f"{library_id}\0{os.path.realpath(home)}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _state_folder() -> Path:
    import platformdirs  # noqa: PLC0415  # takes a few ms, only when a library is opened

    # Not the package's name, which on macOS and Windows is the library's default folder.
    return Path(platformdirs.user_state_dir("xai-notebook-libraries", appauthor=False))

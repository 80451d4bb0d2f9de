"""Files and folders of the library: for their owner alone, and never reached through a link."""

from __future__ import annotations

import hashlib
import os
from itertools import takewhile
from pathlib import Path
from typing import Final

from xai_notebook.settings import home_folder, variable

__all__ = [
    "claim",
    "is_claimed",
    "is_own",
    "is_remembered",
    "make_folder",
    "mark_as_own",
    "open_private",
]

_FLAGS: Final[int] = (
    getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
)
"""A library that was copied from somebody may hold links to files that are not part of it."""


def open_private(file: Path | str, flags: int) -> int:
    """Open a file that only its owner may read and write, whatever the umask.

    Args:
        file: In a folder that exists.
        flags: As `os.open` takes them.

    Returns:
        The file's descriptor.

    Raises:
        OSError: It cannot be opened, or is a symbolic link.
    """
    descriptor = os.open(file, flags | _FLAGS, 0o600)
    if flags & os.O_CREAT and hasattr(os, "fchmod"):  # not on Windows
        os.fchmod(descriptor, 0o600)  # the umask may have taken some of it
    return descriptor


def make_folder(folder: Path) -> None:
    """Create a folder, and those above it that are missing, for their owner alone.

    Folders that exist keep their permissions.

    Raises:
        OSError: It cannot be created, or something else has its name.
    """
    missing = [*takewhile(lambda each: not each.is_dir(), (folder, *folder.parents))]
    for each in reversed(missing):
        try:
            each.mkdir(0o700)
        except FileExistsError:  # another thread or process was faster
            if not each.is_dir():
                raise
        else:
            each.chmod(0o700)  # the umask may have taken some of it


_PARTS: Final = frozenset(
    {"images", "spool", "inputs", "cache", "jobs", "processes", "locks", "owner.json"}
)
"""What lies in the folder of a library, beside its database."""

_MARKED: Final[set[str]] = set()
"""Marks of this process, which count where the folder cannot be written to."""


def is_own(library_id: str, home: Path) -> bool:
    """Tell whether a library is the user's own.

    Args:
        library_id: As the library says it.
        home: Its folder.
    """
    return _mark(library_id, home) in _MARKED or is_remembered(library_id, home)


def is_remembered(library_id: str, home: Path) -> bool:
    """Tell whether later processes will know that a library is the user's own.

    Args:
        library_id: As the library says it.
        home: Its folder.
    """
    if os.path.exists(_folder() / _mark(library_id, home)):  # noqa: PTH110  # raises nothing
        return True
    trusted = variable("XAI_NOTEBOOK_TRUSTED_HOME")
    return bool(trusted) and os.path.realpath(home_folder(trusted)) == os.path.realpath(home)


def claim(home: Path) -> None:
    """Mark a folder in which nothing of a library lies yet: one that is made there is the user's.

    Args:
        home: An existing folder.

    Raises:
        OSError: It cannot be listed.
    """
    names = os.listdir(home)  # noqa: PTH208
    if not any(name in _PARTS or name.startswith("library.sqlite3") for name in names):
        mark_as_own(_folder_id(home), home)


def is_claimed(home: Path) -> bool:
    """Tell whether `claim` has marked a folder, which is still the same."""
    return is_own(_folder_id(home), home)


def _folder_id(home: Path) -> str:
    return f"folder {home.stat().st_ino}"


def mark_as_own(library_id: str, home: Path) -> None:
    """Remember, beyond this process if possible, that a library is the user's own.

    Args:
        library_id: As the library says it.
        home: Its folder.
    """
    name = _mark(library_id, home)
    _MARKED.add(name)
    try:
        make_folder(_folder())
        os.close(open_private(_folder() / name, os.O_CREAT | os.O_WRONLY))
    except OSError:  # the home of a container, say
        return


def _mark(library_id: str, home: Path) -> str:
    text = f"{library_id}\0{os.path.realpath(home)}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _folder() -> Path:
    import platformdirs  # noqa: PLC0415  # a few ms, for those who open a library

    # Not the package's own name: on macOS and Windows that is the library's usual folder.
    return Path(platformdirs.user_state_dir("xai-notebook-libraries", appauthor=False))

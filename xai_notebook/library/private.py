"""Files and folders of the library: for their owner alone, and never reached through a link."""

from __future__ import annotations

import os
from itertools import takewhile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["make_folder", "open_private"]

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

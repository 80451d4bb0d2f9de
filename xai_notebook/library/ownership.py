"""Which libraries are this user's own, and not somebody else's that was copied here.

A library has a random id. For each one that is created on this computer, or that the user has said
to be theirs, a mark is left in the user's state folder, outside of the library: an empty file named
by the id and the library's folder. A copy, or a library that was moved, has no mark.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from xai_notebook.library.private import make_folder, open_private
from xai_notebook.settings import home_folder, variable

__all__ = ["is_own", "mark_as_own"]

_MARKED: Final[set[str]] = set()
"""Marks of this process, which count where the folder cannot be written to."""


def is_own(library_id: str, home: Path) -> bool:
    """Tell whether a library is the user's own.

    Args:
        library_id: As the library says it.
        home: Its folder.
    """
    name = _mark(library_id, home)
    if name in _MARKED or os.path.exists(_folder() / name):  # noqa: PTH110  # raises nothing
        return True
    trusted = variable("XAI_NOTEBOOK_TRUSTED_HOME")
    return bool(trusted) and os.path.realpath(home_folder(trusted)) == os.path.realpath(home)


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

"""Reads the painter's data: INI files in UTF-8, comments after `;`, longer values indented."""

from __future__ import annotations

import configparser
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DATA", "RecordError", "choices", "read_records"]

DATA: Final = Path(__file__).parent / "data"


class RecordError(ValueError):
    """A record cannot be used; the message says which, where and why."""


def read_records(path: Path) -> dict[str, Mapping[str, str]]:
    """Return the sections of a file in their order, each with its keys and values.

    Raises:
        RecordError: A line is neither a section, a key with its value, nor the value's next line,
            or a section or a key occurs twice.
    """
    parser = configparser.RawConfigParser(
        delimiters=("=",), comment_prefixes=(";",), empty_lines_in_values=False
    )
    try:
        parser.read_string(path.read_text(encoding="utf-8"), source=path.name)
    except configparser.Error as error:
        raise RecordError(str(error)) from error
    return {name: parser[name] for name in parser.sections()}


@functools.cache
def choices(name: str) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Return the sections of a file in `DATA`, each value as what stands between its bars."""
    return {
        section: {key: tuple(" ".join(text.split()).split(" | ")) for key, text in record.items()}
        for section, record in read_records(DATA / name).items()
    }

"""Text of others, fit to be shown: bounded, without control characters, as literal HTML."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Final

from xai_notebook.client.bounds import clean

__all__ = ["LONGEST", "NAME", "bounded", "clean", "dollars", "short_path", "text"]

LONGEST: Final = 8_000
"""Characters of one text in a card; what says more says so, and has the rest in Python."""
NAME: Final = 200
"""Characters of a name: a model's, a file's, a row's."""
_TYPESET: Final = re.compile(r"[$\\]")


def dollars(amount: float | None) -> str:
    """Return US dollars as they stand everywhere: cents, and what is less only below a dollar."""
    if amount is None:
        return "unknown"
    if amount >= 1 or abs(amount - round(amount, 2)) < 1e-6:  # noqa: PLR2004  # sums are not exact
        return f"${amount:,.2f}"
    return f"${amount:.4f}".rstrip("0")


def bounded(value: str, limit: int = LONGEST) -> str:
    """Return text with at most `limit` characters of its own, and how many it had."""
    if len(value) <= limit:
        return value
    return f"{value[:limit]} … ({len(value):,} characters in all; the image has them in Python)"


def text(value: str, limit: int = LONGEST) -> str:
    """Return untrusted text as HTML that shows it literally.

    Notebooks typeset TeX between dollars or backslashed brackets even in HTML; a delimiter in an
    element of its own is left alone. The direction of the text follows its own letters.

    Args:
        value: From a server, a file or a user.
        limit: Characters shown; a note says how many there are.
    """
    escaped = html.escape(clean(bounded(value, limit))).replace("\n", "<br>")
    return f'<bdi dir="auto">{_TYPESET.sub(_isolated, escaped)}</bdi>'


def _isolated(match: re.Match[str]) -> str:
    return f"<span>{match.group()}</span>"


def short_path(path: Path) -> str:
    """Return a path relative to the working directory when it is inside."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)

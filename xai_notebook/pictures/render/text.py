"""Untrusted text for display: shortened, without control characters, escaped for HTML."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from xai_notebook.client.bounds import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST: Final = 8_000
"""Maximum characters of a text in a card; the complete text is available in Python."""
NAME: Final = 200
"""Maximum characters of a name, such as that of a model, a file or a row."""
_TEX: Final = re.compile(r"[$\\]")


def dollars(amount: float | None) -> str:
    """Format US dollars: two decimals, up to four below a dollar."""
    if amount is None:
        return "unknown"
    if amount >= 1 or abs(amount - round(amount, 2)) < 1e-6:  # noqa: PLR2004  # sums are not exact
        return f"${amount:,.2f}"
    return f"${amount:.4f}".rstrip("0")


def bounded(value: str, limit: int = LONGEST) -> str:
    """Return at most `limit` characters of a text, and its length if it is longer."""
    if len(value) <= limit:
        return value
    return f"{value[:limit]} … ({len(value):,} characters in all; the image has them in Python)"


def text(value: str, limit: int = LONGEST) -> str:
    """Return untrusted text as HTML that shows it literally, cut like `bounded`.

    Notebooks typeset TeX in HTML, too, unless its delimiter is in a separate element. The direction
    of the text follows its letters.
    """
    escaped = html.escape(clean(bounded(value, limit))).replace("\n", "<br>")
    isolated = _TEX.sub(r"<span>\g<0></span>", escaped)
    return f'<bdi dir="auto">{isolated}</bdi>'


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines of plain text with aligned columns."""
    cleaned = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cleaned, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cleaned)


def short_path(path: Path) -> str:
    """Return a path, relative to the working directory if it is inside."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)

"""Prepare untrusted text for display: shorten it, remove control characters, escape HTML."""

from __future__ import annotations

import html
import re
import textwrap
from typing import TYPE_CHECKING, Final

from xai_notebook.client.bounds import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST: Final = 8_000
"""Maximum characters of a text in a card; Python returns the complete text."""
NAME: Final = 200
"""Maximum characters of a name, such as the name of a model, a file or a row."""
CELL: Final = "text-align:left;padding:0.5em;line-height:normal"
"""Style of the cells of a table, as in Jupyter; other front ends have no padding."""
_TEX: Final = re.compile(r"[$\\]")


def dollars(amount: float | None) -> str:
    """Format US dollars with two decimals, or up to four for amounts below one dollar."""
    if amount is None:
        return "unknown"
    if amount >= 1 or abs(amount - round(amount, 2)) < 1e-6:  # noqa: PLR2004  # rounding errors of sums
        return f"${amount:,.2f}"
    return f"${amount:.4f}".rstrip("0")


def duration(seconds: float) -> str:
    """Format a time span with its two largest units."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.0f} s"


def first_words(value: str, limit: int, ellipsis: str = " …") -> str:
    """Return the first words of a text. Without white space, as in Chinese, it is cut anywhere."""
    value = " ".join(value.split())
    if len(value) <= limit:
        return value
    head = textwrap.shorten(value, limit, placeholder=ellipsis)
    return head if len(head) > limit // 2 else f"{value[:limit]}…"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 image` or `2,000 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def file_size(size: int) -> str:
    """Format a number of bytes in kB or MB."""
    return f"{size / 1e3:,.0f} kB" if size < 999_500 else f"{size / 1e6:,.1f} MB"  # noqa: PLR2004


def bounded(value: str, limit: int = LONGEST) -> str:
    """Return the text; if it has more than `limit` characters, cut it and append its length."""
    if len(value) <= limit:
        return value
    return f"{value[:limit]} … ({len(value):,} characters in all; the image has them in Python)"


def text(value: str, limit: int = LONGEST) -> str:
    """Return HTML that shows untrusted text literally; long text is cut by `bounded`.

    Notebooks also typeset TeX in HTML, unless its delimiter is in a separate element. The letters
    of the text determine its direction.
    """
    escaped = html.escape(clean(bounded(value, limit))).replace("\n", "<br>")
    isolated = _TEX.sub(r"<span>\g<0></span>", escaped)
    return f'<bdi dir="auto">{isolated}</bdi>'


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines of plain text with aligned columns."""
    cleaned = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cleaned, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cleaned)

"""What stands under the pictures of a grid, and once above all: prompts under honest labels."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

from xai_notebook.pictures.text import LONGEST, clean, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xai_notebook.pictures.picture import Card

__all__ = ["Captions"]

_THREE_LINES: Final = "max-height:4.35em;line-height:1.45;overflow:hidden"
_FIT: Final = {1: 260, 2: 165, 3: 100}
"""Characters that three lines of a card hold, by the columns of its grid."""
_FIT_NARROW: Final = 66
"""The same for more columns."""
_LEAST: Final = 20
"""The same for any card: a server may send a picture one pixel wide."""
_WORTH_FOLDING: Final = 1.3
"""How much longer a prompt must be: one that is only a little longer is shown whole."""
_SURELY_FITS: Final = 60
"""Characters that three lines of any card hold."""
_WRITTEN: Final = "Prompt as written"


class Captions:
    """The captions of one grid."""

    def __init__(
        self, cards: Sequence[Card], columns: int, *, style: str | None, share: bool = True
    ) -> None:
        """Find out what the cards have in common.

        Args:
            cards: All that are shown.
            columns: Side by side.
            style: `"full"`, `"short"` (three lines, the rest folded) or `"none"`; None: what is
                long for its card is folded, to three lines.
            share: What all have in common stands above the grid.
        """
        self._style = style
        self._fit = _FIT.get(columns, _FIT_NARROW)
        share = share and len(cards) > 1 and style != "none"
        self._one_prompt = share and len({card.prompt for card in cards}) == 1
        self._all_alike = self._one_prompt and len({card.rewritten_prompt for card in cards}) == 1
        self._first = cards[0] if cards else None

    @property
    def above(self) -> str:
        """What is said once, as HTML; it may be nothing."""
        image = self._first
        if image is None or not self._one_prompt:
            return ""
        told = (
            self._both(image, _FIT[1])
            if self._all_alike
            else self._told("Prompt", image.prompt, _FIT[1])
        )
        return f'<div style="margin:4px 0 12px;max-width:60em;line-height:1.45">{told}</div>'

    def under(self, image: Card, size: tuple[int, int]) -> str:
        """Return what is said of one image, as HTML.

        Args:
            image: Which.
            size: Width and height of what its card shows: a tall picture has a narrow card.
        """
        if self._style == "none" or self._all_alike:
            return ""
        fit = max(_LEAST, min(self._fit, _FIT[1] * size[0] // max(size[1], 1)))
        if not self._one_prompt:
            return self._both(image, fit)
        rewritten = image.rewritten_prompt
        return self._told("Rewritten prompt", rewritten, fit) if rewritten else ""

    @property
    def wanted(self) -> bool:
        """Whether anything stands under pictures."""
        return self._style != "none"

    def _both(self, image: Card, fit: int) -> str:
        """Return the prompt that made an image, and the one that was written."""
        if not image.rewritten_prompt:
            return self._told("Prompt", image.prompt, fit)
        return self._told("Rewritten prompt", image.rewritten_prompt, fit, image.prompt)

    def _told(self, label: str, prompt: str, fit: int, written: str | None = None) -> str:
        """Return a prompt, or its first three lines with the rest behind them.

        Args:
            label: What it is.
            prompt: All of it.
            fit: Characters that three lines hold.
            written: What the user wrote, where that is another one.
        """
        label = f"<strong>{label}:</strong>"
        fits = _SURELY_FITS if self._style == "short" else fit * _WORTH_FOLDING
        if self._style == "full" or len(prompt) <= fits:
            shown = f"<div>{label} {text(prompt)}</div>"
            if written is None:
                return shown
            return f"{shown}<details><summary>{_WRITTEN}</summary>{text(written)}</details>"
        behind = f"<div><strong>{_WRITTEN}:</strong> {text(written)}</div>" if written else ""
        return (
            f'<details><summary style="{_THREE_LINES}">{label} {text(_start(prompt, fit))}'
            f"</summary><div>{text(prompt)}</div>{behind}</details>"
        )


def _start(prompt: str, most: int) -> str:
    """Return the first words of a prompt."""
    start = clean(prompt[:LONGEST])
    head = textwrap.shorten(start, most, placeholder="\N{NO-BREAK SPACE}…")
    return head if len(head) > most // 2 else f"{start[:most]}…"  # no white space to break at

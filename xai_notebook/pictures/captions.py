"""What stands under the pictures of a grid, and once above all: prompts under honest labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from xai_notebook.pictures.text import folded, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xai_notebook.pictures.picture import Card

__all__ = ["Captions"]

_THREE_LINES: Final = "max-height:4.35em;line-height:1.45;overflow:hidden"
_SURELY_FITS: Final = 60
"""Characters that three lines of the narrowest card hold."""
_CLAMPED: Final = 400
"""Characters that three lines of the widest page hold."""


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
                long for its card is folded.
            share: What all have in common stands above the grid.
        """
        self._style = style
        self._narrow = columns > 2  # noqa: PLR2004  # cards of a third of the page
        share = share and len(cards) > 1 and style != "none"
        self._one_prompt = share and len({card.prompt for card in cards}) == 1
        self._all_alike = self._one_prompt and len({card.rewritten_prompt for card in cards}) == 1
        self._first = cards[0] if cards else None

    @property
    def above(self) -> str:
        """What is said once, as HTML; it may be nothing."""
        if self._first is None or not self._one_prompt:
            return ""
        told = (
            self._both(self._first) if self._all_alike else self._line("Prompt", self._first.prompt)
        )
        return f'<div style="margin:4px 0 12px;max-width:60em;line-height:1.45">{told}</div>'

    def under(self, image: Card) -> str:
        """Return what is said of one image, as HTML."""
        if self._style == "none" or self._all_alike:
            return ""
        if not self._one_prompt:
            return self._both(image)
        rewritten = image.rewritten_prompt
        return self._line("Rewritten prompt", rewritten) if rewritten else ""

    @property
    def wanted(self) -> bool:
        """Whether anything stands under pictures."""
        return self._style != "none"

    def _both(self, image: Card) -> str:
        """Return the prompt that made an image, and the one that was written."""
        if not image.rewritten_prompt:
            return self._line("Prompt", image.prompt)
        return self._line("Rewritten prompt", image.rewritten_prompt) + (
            f"<details><summary>Prompt as written</summary>{text(image.prompt)}</details>"
        )

    def _line(self, label: str, told: str) -> str:
        label = f"<strong>{label}:</strong>"
        if self._style == "full":
            return f"<div>{label} {text(told)}</div>"
        if self._style != "short":
            narrow = self._narrow and not self._one_prompt
            return f"<div>{label} {folded(told, narrow=narrow)}</div>"
        if len(told) <= _SURELY_FITS:
            return f"<div>{label} {text(told)}</div>"
        return (
            f'<div style="{_THREE_LINES}">{label} {text(told[:_CLAMPED])}</div>'
            f"<details><summary>All {len(told):,} characters</summary>{text(told)}</details>"
        )

"""One card of a grid in HTML: a picture or what stands in its place, and its caption."""

from __future__ import annotations

import html
import textwrap
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

import pybase64

from xai_notebook.client.bounds import link
from xai_notebook.pictures.render.previews import (
    LIMITS,
    SIDES,
    SMALL_SIDE,
    Awaited,
    PreviewSource,
    Shown,
)
from xai_notebook.pictures.render.text import LONGEST, NAME, clean, dollars, short_path, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xai_notebook.client.request import InputImage
    from xai_notebook.pictures.picture import Card, Grid, Picture

__all__ = [
    "NARROWEST",
    "TITLES",
    "Captions",
    "CardPosition",
    "alt_text",
    "facts",
    "figure",
    "heading_of",
    "inputs_of",
    "notes_of",
    "until",
]

_ALT: Final = 240
_TALLEST: Final = 640
"""Pixels: a picture and the first line of its caption fit on a laptop's screen."""
_GAP: Final = 14
NARROWEST: Final = 168 + _GAP
"""Pixels of a card: where that many do not fit side by side, fewer stand in a row."""
_FIGURE: Final = (
    "display:inline-block;vertical-align:top;box-sizing:border-box;"
    f"width:{{width}};max-width:{{pixels}}px;margin:0;padding:0 {_GAP}px 18px 0"
)
_IMG: Final = (
    "display:block;width:auto;height:auto;max-width:min(100%,66vh*{width}/{height});"
    "border-radius:6px"
)
"""Two thirds of the window's height: JupyterLab takes no `vh` for a height itself."""
_PLACE: Final = (
    "width:min(100%,66vh*{width}/{height},{width}px);aspect-ratio:{width}/{height};"
    "border-radius:6px;background-color:rgba(128,128,128,0.13)"
)
"""Where a picture will be: as large as `_IMG` will make it."""
_CAPTION: Final = "margin-top:6px;font-size:0.92em;line-height:1.45;overflow-wrap:break-word"
_CARD: Final = (
    "padding:18px 16px;border:1px dashed rgba(128,128,128,0.7);border-radius:6px;"
    "line-height:1.45;overflow-wrap:break-word"
)
_FACTS: Final = "font-size:0.9em;opacity:0.85"
TITLES: Final = {
    "moderated": "Moderated",
    "missing": "Missing",
    "damaged": "Damaged",
    "pending": "Waiting",
}
"""What stands over a card without a picture; otherwise it failed."""
_BADGE: Final = (
    "border:1px solid rgba(128,128,128,0.7);border-radius:9px;padding:0 7px;white-space:nowrap"
)
_DAMAGED: Final = (
    "Not all of this picture can be decoded; what can be is shown. Ask again with --fresh for "
    "another one."
)


class CardPosition(NamedTuple):
    """Where an image is in its batch.

    Attributes:
        number: As in `batch[number]`.
        total: Images of the batch.
        alike: How many its card stands for, from this one on.
    """

    number: int
    total: int
    alike: int = 1

    @property
    def told(self) -> str:
        """As users write it."""
        return (
            f"[{self.number}]" if self.alike == 1 else f"[{self.number}:{self.number + self.alike}]"
        )


def notes_of(lines: Iterable[str]) -> str:
    """Return lines for the user, small."""
    return "".join(f'<div style="{_FACTS}">{text(line)}</div>' for line in lines)


def heading_of(label: str, batch: Grid) -> str:
    """Return the line above a row of a comparison: what it is, and what it cost."""
    costs = [image.cost_usd for image in batch.images if image.label == label]
    known = [cost for cost in costs if cost]
    cost = f" · {dollars(sum(known))}" if known and len(known) == len(costs) else ""
    return f'<div style="margin:4px 0 8px"><strong>{text(label, NAME)}</strong>{cost}</div>'


def _style(size: tuple[int, int], columns: int) -> str:
    """Return the style of a card: no wider than its picture may be."""
    width, height = size
    pixels = max(min(width, _TALLEST * width // height) + _GAP, NARROWEST)
    return _FIGURE.format(width=_share(columns), pixels=pixels)


@cache
def _share(columns: int) -> str:
    """Return the width of so many cards side by side: of fewer, where they would be too narrow.

    It is an expression of the width that there is: sanitizers leave no rules for several widths.
    """
    if columns == 1:
        return "100%"
    fewer = _share(columns - 1)
    return f"clamp({10_000 // columns / 100:g}%,({columns * NARROWEST}px - 100%)*999,{fewer})"


def inputs_of(image: Card, columns: int) -> str:
    """Return a card for each image that `image` was made from."""
    inputs = image.request.inputs
    names = ["Before"] if len(inputs) == 1 else [f"Input {n}" for n, _ in enumerate(inputs, 1)]
    return "".join(
        _input(source, name, columns) for source, name in zip(inputs, names, strict=True)
    )


def _input(source: InputImage, name: str, columns: int) -> str:
    uri = source.url
    if uri.startswith("data:"):
        from xai_notebook.pictures.pixels import preview  # noqa: PLC0415  # PIL

        data = pybase64.b64decode(uri.partition(",")[2])
        small, size, _ = preview(data, side=SIDES.get(columns, SMALL_SIDE), limit=LIMITS[1][1])
        uri = f"data:image/jpeg;base64,{pybase64.b64encode_as_string(small)}"
        picture = (
            f'<img src="{uri}" alt="{name}: {html.escape(clean(source.label[:NAME]))}" '
            f'width="{size[0]}" height="{size[1]}" '
            f'style="{_IMG.format(width=size[0], height=size[1])}">'
        )
    else:
        picture, size = f'<div style="{_CARD}">{text(source.label, NAME)}</div>', (SMALL_SIDE,) * 2
    style = _style(size, columns)
    caption = f"<strong>{name}:</strong> {text(source.label, NAME)}"
    return (
        f'<figure style="{style}">{picture}'
        f'<figcaption style="{_CAPTION}">{caption}</figcaption></figure>'
    )


def figure(
    image: Card,
    source: Shown,
    place: CardPosition,
    captions: Captions,
    *,
    columns: int,
    heading: str = "",
    cells: bool = False,
) -> str:
    """Return the card of an image.

    Args:
        image: What it is about.
        source: What it shows.
        place: Where it is among the others.
        captions: Of the grid.
        columns: Of the grid.
        heading: HTML above the picture.
        cells: It is a look back: say when, and the magic that asks for it again.
    """
    drawn = (
        source
        if isinstance(source, (PreviewSource, Awaited))
        else Awaited((SMALL_SIDE, SMALL_SIDE))
    )
    style = _style(drawn.size, columns)
    told = (
        captions.under(image, drawn.size) + facts(image, place, dated=cells)
        if captions.wanted
        else ""
    )
    told += notes_of(image.notes) + (_cell(image) if cells else "")
    caption = f'<figcaption style="{_CAPTION}">{told}</figcaption>' if told else ""
    picture = _picture(image, source, place)
    return f'<figure style="{style}">{heading}{picture}{caption}</figure>'


def _cell(image: Card) -> str:
    """Return the magic that asks for an image again, folded away."""
    return (
        "<details><summary>Magic that made it</summary>"
        f'<pre style="white-space:pre-wrap"><code>{text(image.cell)}</code></pre></details>'
    )


def _picture(image: Card, source: Shown, place: CardPosition) -> str:
    if isinstance(source, PreviewSource):
        width, height = source.size
        alt = (
            alt_text(image.picture, place.number + 1, place.total)
            if source.whole
            else f"Damaged. {_DAMAGED}"
        )
        return (
            f'<img src="{source.uri}" alt="{html.escape(alt)}" '
            f'width="{width}" height="{height}" '
            f'style="{_IMG.format(width=width, height=height)}">'
        ) + ("" if source.whole else f"<div><strong>Damaged.</strong> {_DAMAGED}</div>")
    if isinstance(source, Awaited):
        width, height = source.size
        return (
            f'<div class="xai-waiting" style="{_PLACE.format(width=width, height=height)}"></div>'
        )
    title = TITLES.get(image.status, "Failed")
    reason = source or image.error or ""
    if place.alike > 1:
        reason = reason.replace("The image was", f"{place.alike} pictures were")
    return f'<div style="{_CARD}"><strong>{title}.</strong> {text(reason)}</div>'


def alt_text(image: Picture, number: int = 1, total: int = 1) -> str:
    """Return what a reader hears in place of the picture."""
    prompt = clean((image.rewritten_prompt or image.prompt)[:LONGEST])
    prompt = textwrap.shorten(prompt, _ALT, placeholder=" …")
    place = f"Image {number} of {total}" if total > 1 else "Image"
    return f"{place}, generated from the prompt: {prompt}"


def facts(image: Card, place: CardPosition, *, dated: bool = False) -> str:
    """Return the small line under a caption: index, model, size, cost, badges, file.

    Args:
        image: What it is about.
        place: Where it is among the others.
        dated: It is a look back: say when, and not that it is stored.
    """
    items = [place.told] if place.total > 1 else []
    items += [text(image.model, NAME)] if image.model else []
    if image.rewritten_by and image.rewritten_prompt:
        items.append(f"rewritten by {text(image.rewritten_by, NAME)}")
    if image.size:
        items.append(f'<span style="white-space:nowrap">{image.size[0]} × {image.size[1]}</span>')
    cost = dollars(image.cost_usd * place.alike) if image.cost_usd else None
    if cost and (dated or not image.replayed):
        items.append(cost)
    if dated:
        items.append(f"{image.created.astimezone():%Y-%m-%d %H:%M}")
    elif image.bundle is not None:
        items.append(f"{image.created.astimezone():%Y-%m-%d}")
        items.append(f'<span style="{_BADGE}">from {text(image.bundle, NAME)}</span>')
    elif image.replayed:
        made = f" (made for {cost})" if cost else ""
        items.append(f'<span style="{_BADGE}">replayed</span>{made}')
    if link(image.public_url) is not None:
        items.append(_link(image))
    if image.exported is not None:
        items.append(f"saved as <code>{text(short_path(image.exported))}</code>")
    return f'<div style="{_FACTS}">{" · ".join(items)}</div>' if items else ""


def _link(image: Card) -> str:
    """Return the public link of an image, and until when it is one."""
    when = until(image)
    if not image.is_public:
        return f"public link expired{when}"
    url = html.escape(image.public_url or "")
    return f'<a href="{url}" target="_blank" rel="noopener noreferrer">public link</a>{when}'


def until(image: Card) -> str:
    """Return until when a public link is one, or when it ended; nothing where that is not said."""
    expires = image.public_url_expires
    if expires is None:
        return ""
    return f" {'until' if image.is_public else 'on'} {expires.astimezone():%Y-%m-%d}"


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

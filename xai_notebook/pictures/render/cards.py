"""Render the cards of a grid in HTML: a picture or the reason why it is missing, and a caption."""

from __future__ import annotations

import html
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

import pybase64

from xai_notebook.client.bounds import clean, link
from xai_notebook.frontend import short_path
from xai_notebook.pictures.render.previews import (
    LIMITS,
    SIDES,
    SMALL_SIDE,
    Placeholder,
    PreviewSource,
    Shown,
)
from xai_notebook.pictures.render.text import LONGEST, NAME, dollars, first_words, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xai_notebook.client.request import InputImage
    from xai_notebook.pictures.picture import Card, Grid, Picture

_MAX_ALT: Final = 240
"""Maximum characters of a prompt in an alternative text."""
_MAX_HEIGHT: Final = 640
"""Maximum height of a picture in pixels; it fits on a laptop screen with a line of the caption."""
_GAP: Final = 14
NARROWEST: Final = 168 + _GAP
"""Minimum width of a card in pixels; in a narrow window, a row has fewer cards."""
_FIGURE: Final = (
    "display:inline-block;vertical-align:top;box-sizing:border-box;"
    f"width:{{width}};max-width:{{pixels}}px;margin:0;padding:0 {_GAP}px 18px 0"
)
_IMG: Final = (
    "display:block;width:auto;height:auto;max-width:min(100%,66vh*{width}/{height});"
    "border-radius:6px"
)
"""The width limits the height to two thirds of the window: JupyterLab's sanitizer allows `vh` in
widths only."""
_PLACEHOLDER: Final = (
    "width:min(100%,66vh*{width}/{height},{width}px);aspect-ratio:{width}/{height};"
    "border-radius:6px;background-color:rgba(128,128,128,0.13)"
)
"""The same size as the picture will have with `_IMG`."""
_CAPTION: Final = "margin-top:6px;font-size:0.92em;line-height:1.45;overflow-wrap:break-word"
_CARD: Final = (
    "padding:18px 16px;border:1px dashed rgba(128,128,128,0.7);border-radius:6px;"
    "line-height:1.45;overflow-wrap:break-word"
)
_FACTS: Final = "font-size:0.9em;opacity:0.85"
TITLES: Final = {
    "moderated": "Moderated", "missing": "Missing", "damaged": "Damaged", "pending": "Waiting",
}  # fmt: skip
"""Titles of cards without a picture, by status; the title of other cards is `Failed`."""
_BADGE: Final = (
    "border:1px solid rgba(128,128,128,0.7);border-radius:9px;padding:0 7px;white-space:nowrap"
)
_DAMAGED: Final = (
    "Only the part of this picture that can be decoded is shown. Ask again with --fresh for "
    "another picture."
)


class CardPosition(NamedTuple):
    """Position of a card in its batch.

    Attributes:
        number: Index of the image, as in `batch[number]`.
        total: Number of images in the batch.
        alike: Number of images that share the card, including this image.
    """

    number: int
    total: int
    alike: int = 1

    @property
    def subscript(self) -> str:
        """The index or slice in Python syntax, such as `[2]` or `[2:5]`."""
        end = f":{self.number + self.alike}" if self.alike > 1 else ""
        return f"[{self.number}{end}]"


def notes_of(lines: Iterable[str]) -> str:
    """Return notes for the user as HTML in small print."""
    return "".join(f'<div style="{_FACTS}">{text(line)}</div>' for line in lines)


def heading_of(label: str, batch: Grid) -> str:
    """Return the heading for a label of a comparison: the label, and the cost if known."""
    costs = [image.cost_usd or 0.0 for image in batch.images if image.label == label]
    cost = f" · {dollars(sum(costs))}" if all(costs) else ""
    return f'<div style="margin:4px 0 8px"><strong>{text(label, NAME)}</strong>{cost}</div>'


def _style(size: tuple[int, int], columns: int) -> str:
    """Return the style of a card, as wide as its picture at most, but at least `NARROWEST`."""
    width, height = size
    pixels = max(min(width, _MAX_HEIGHT * width // height) + _GAP, NARROWEST)
    return _FIGURE.format(width=_width(columns), pixels=pixels)


@cache
def _width(columns: int) -> str:
    """Return the CSS width of a card in a row of `columns` cards, or fewer in a narrow window.

    The width is a CSS expression, because sanitizers remove media queries.
    """
    if columns == 1:
        return "100%"
    fewer = _width(columns - 1)
    return f"clamp({10_000 // columns / 100:g}%,({columns * NARROWEST}px - 100%)*999,{fewer})"


def inputs_of(image: Card, columns: int) -> str:
    """Return HTML with a card for each input image of `image`."""
    inputs = image.request.inputs
    names = ["Before"] if len(inputs) == 1 else [f"Input {n}" for n, _ in enumerate(inputs, 1)]
    return "".join(
        _input(source, name, columns) for source, name in zip(inputs, names, strict=True)
    )


def _input(source: InputImage, name: str, columns: int) -> str:
    if source.url.startswith("data:"):
        from xai_notebook.pictures.pixels import preview  # noqa: PLC0415  # PIL

        data = pybase64.b64decode(source.url.partition(",")[2])
        small, size, _ = preview(data, side=SIDES.get(columns, SMALL_SIDE), limit=LIMITS[1][1])
        uri = f"data:image/jpeg;base64,{pybase64.b64encode_as_string(small)}"
        alt = f"{name}: {clean(source.label[:NAME])}"
        picture = _img(PreviewSource(uri, size, whole=True), alt)
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
    position: CardPosition,
    captions: Captions,
    *,
    columns: int,
    heading: str = "",
    cells: bool = False,
) -> str:
    """Return the card of an image; `source` is its picture, or the reason why it is missing.

    `heading` is HTML above the picture. With `cells`, the card also shows the creation time and the
    magic that requests the image again.
    """
    size = source.size if isinstance(source, (PreviewSource, Placeholder)) else (SMALL_SIDE,) * 2
    caption = ""
    if captions.wanted:
        caption = captions.under(image, size) + facts(image, position, dated=cells)
    caption += notes_of(image.notes) + (_cell(image) if cells else "")
    if caption:
        caption = f'<figcaption style="{_CAPTION}">{caption}</figcaption>'
    picture = _picture(image, source, position)
    return f'<figure style="{_style(size, columns)}">{heading}{picture}{caption}</figure>'


def _cell(image: Card) -> str:
    """Return the magic that requests an image again, folded."""
    return (
        "<details><summary>Magic that made it</summary>"
        f'<pre style="white-space:pre-wrap"><code>{text(image.cell)}</code></pre></details>'
    )


def _picture(image: Card, source: Shown, position: CardPosition) -> str:
    if isinstance(source, PreviewSource):
        if source.whole:
            alt = alt_text(image.picture, position.number + 1, position.total)
            return _img(source, alt, image.sha256)
        damaged = f"<div><strong>Damaged.</strong> {_DAMAGED}</div>"
        return _img(source, f"Damaged. {_DAMAGED}") + damaged
    if isinstance(source, Placeholder):
        style = _PLACEHOLDER.format(width=source.size[0], height=source.size[1])
        return f'<div class="xai-waiting" style="{style}"></div>'
    title = TITLES.get(image.status, "Failed")
    reason = source or image.error or ""
    if position.alike > 1:
        reason = reason.replace("The image was", f"{position.alike} pictures were")
    return f'<div style="{_CARD}"><strong>{title}.</strong> {text(reason)}</div>'


def _img(source: PreviewSource, alt: str, sha256: str | None = None) -> str:
    """Return the preview as HTML; JupyterLab finds the original by the digest in the class."""
    width, height = source.size
    digest = f' class="sha256-{html.escape(sha256[:64])}"' if sha256 else ""
    return (
        f'<img src="{source.uri}" alt="{html.escape(alt)}" width="{width}" height="{height}" '
        f'style="{_IMG.format(width=width, height=height)}"{digest}>'
    )


def alt_text(image: Picture, number: int = 1, total: int = 1) -> str:
    """Return the alternative text of a picture."""
    prompt = clean((image.rewritten_prompt or image.prompt)[:LONGEST])
    prompt = first_words(prompt, _MAX_ALT)
    name = f"Image {number} of {total}" if total > 1 else "Image"
    return f"{name}, generated from the prompt: {prompt}"


def facts(image: Card, position: CardPosition, *, dated: bool = False) -> str:
    """Return the small line under a caption: index, model, size, cost, badges, file.

    If `dated` is true, the creation time replaces the badge of a replayed image.
    """
    items = [position.subscript] if position.total > 1 else []
    items += [text(image.model, NAME)] if image.model else []
    if image.rewritten_by and image.rewritten_prompt:
        items.append(f"rewritten by {text(image.rewritten_by, NAME)}")
    if image.size:
        items.append(f'<span style="white-space:nowrap">{image.size[0]} × {image.size[1]}</span>')
    cost = dollars(image.cost_usd * position.alike) if image.cost_usd else None
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
    """Return the public link of an image and the day on which it expires."""
    when = until(image)
    if not image.is_public:
        return f"public link expired{when}"
    url = html.escape(image.public_url or "")
    return f'<a href="{url}" target="_blank" rel="noopener noreferrer">public link</a>{when}'


def until(image: Card) -> str:
    """Return the day on which a public link expires or expired, as text; empty if unknown."""
    expires = image.public_url_expires
    if expires is None:
        return ""
    return f" {'until' if image.is_public else 'on'} {expires.astimezone():%Y-%m-%d}"


_THREE_LINES: Final = "max-height:4.35em;line-height:1.45;overflow:hidden"
_FIT: Final = {1: 260, 2: 165, 3: 100}
"""Number of characters that fit in three lines of a card, by the columns of the grid."""
_FIT_NARROW: Final = 66
"""Number of characters that fit in three lines of a card, for more columns."""
_MIN_FIT: Final = 20
"""Minimum number of characters in three lines: a server can send a picture one pixel wide."""
_WORTH_FOLDING: Final = 1.3
"""A prompt is folded if it is longer than the characters that fit, multiplied by this factor."""
_SURELY_FITS: Final = 60
"""Number of characters that fit in three lines of a card in any grid."""
_WRITTEN: Final = "Prompt as written"


class Captions:
    """The captions of one grid."""

    def __init__(
        self, cards: Sequence[Card], columns: int, *, style: str | None, share_prompts: bool = True
    ) -> None:
        """Determine which prompts the cards have in common.

        Args:
            cards: All cards of the grid.
            columns: Cards per row.
            style: `"full"`, `"short"` (three lines, the rest folded) or `"none"`; None folds
                prompts that are long for their card to three lines.
            share_prompts: Show common prompts once, above the grid.
        """
        self._style = style
        self._fit = _FIT.get(columns, _FIT_NARROW)
        share_prompts = share_prompts and len(cards) > 1 and style != "none"
        self._one_prompt = share_prompts and len({card.prompt for card in cards}) == 1
        self._all_alike = self._one_prompt and len({card.rewritten_prompt for card in cards}) == 1
        self._first = cards[0] if cards else None

    @property
    def above(self) -> str:
        """The common prompts as HTML; empty if the prompts differ."""
        image = self._first
        if image is None or not self._one_prompt:
            return ""
        if self._all_alike:
            prompts = self._both(image, _FIT[1])
        else:
            prompts = self._prompt("Prompt", image.prompt, _FIT[1])
        return f'<div style="margin:4px 0 12px;max-width:60em;line-height:1.45">{prompts}</div>'

    def under(self, image: Card, size: tuple[int, int]) -> str:
        """Return the prompts of an image that are not shown above the grid, as HTML.

        Tall pictures, by the `size` of the preview, have narrow cards.
        """
        if self._style == "none" or self._all_alike:
            return ""
        fit = max(_MIN_FIT, min(self._fit, _FIT[1] * size[0] // max(size[1], 1)))
        if not self._one_prompt:
            return self._both(image, fit)
        rewritten = image.rewritten_prompt
        return self._prompt("Rewritten prompt", rewritten, fit) if rewritten else ""

    @property
    def wanted(self) -> bool:
        """Whether the pictures have captions."""
        return self._style != "none"

    def _both(self, image: Card, fit: int) -> str:
        """Return the prompt that made an image, and the prompt as written if it was rewritten."""
        if not image.rewritten_prompt:
            return self._prompt("Prompt", image.prompt, fit)
        return self._prompt("Rewritten prompt", image.rewritten_prompt, fit, image.prompt)

    def _prompt(self, label: str, prompt: str, fit: int, written: str | None = None) -> str:
        """Return a prompt as HTML; a long prompt is folded to three lines, `fit` characters."""
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


def _start(prompt: str, limit: int) -> str:
    """Return the first words of a prompt."""
    return first_words(clean(prompt[:LONGEST]), limit, "\N{NO-BREAK SPACE}…")

"""Results as MIME bundles: a captioned grid in HTML, and sentences for everything else.

The HTML must survive what strips it: JupyterLab cleans untrusted notebooks
(no script, style element or button), GitHub drops every style. So pictures are
`<img>` with data URIs and alt texts, the layout is inline and may vanish, and
nothing depends on it. Colours are inherited, so light and dark themes both fit.
"""

from __future__ import annotations

import html
import shutil
import textwrap
from typing import TYPE_CHECKING, Any, Final

import pybase64

from xai_notebook.frontend import in_terminal
from xai_notebook.pictures.previews import LIMITS, SIDES, SMALL_SIDE, Source, make_previews
from xai_notebook.pictures.text import (
    LONGEST,
    NAME,
    bounded,
    clean,
    dollars,
    folded,
    short_path,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xai_notebook.pictures.picture import Card, Grid

__all__ = ["grid_columns", "mimebundle", "plain_text", "to_html"]

_ALT: Final = 240
_TALLEST: Final = 640
"""Pixels: a picture and the first line of its caption fit on a laptop's screen."""
_NARROWEST: Final = 194
"""Pixels of a card: where that many do not fit side by side, fewer stand in a row."""
_GAP: Final = 14
_FIGURE: Final = (
    "display:inline-block;vertical-align:top;box-sizing:border-box;"
    f"width:{{width}}%;min-width:{_NARROWEST}px;max-width:{{pixels}}px;"
    f"margin:0;padding:0 {_GAP}px 18px 0"
)
_IMG: Final = (
    "display:block;max-width:100%;max-height:70vh;width:auto;height:auto;border-radius:6px"
)
_CAPTION: Final = "margin-top:6px;font-size:0.92em;line-height:1.45;overflow-wrap:anywhere"
_CARD: Final = (
    "padding:18px 16px;border:1px dashed rgba(128,128,128,0.7);border-radius:6px;"
    "line-height:1.45;overflow-wrap:anywhere"
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


def mimebundle(batch: Grid) -> dict[str, Any]:
    """Return text/html and text/plain for a batch, and image/jpeg of what is shown.

    The text is the same on every run, so that notebooks can be compared; paths of the library
    stand in it only in a plain terminal, where it is all there is to see.
    """
    if in_terminal():
        return {"text/plain": _wrapped(plain_text(batch, paths=True))}
    pictures = _pictures(batch)
    bundle = {"text/html": to_html(batch, pictures), "text/plain": plain_text(batch)}
    if sheet := _sheet(batch, pictures):
        bundle["image/jpeg"] = sheet  # for paper: LaTeX and PDF take no HTML
    return bundle


def _wrapped(told: str) -> str:
    """Return text whose lines end between words where the terminal ends; paths stay whole."""
    width = max(shutil.get_terminal_size().columns - 1, 40)
    lines = []
    for line in told.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        lines += textwrap.wrap(
            line.strip(), width, initial_indent=indent, subsequent_indent=indent,
            break_long_words=False, break_on_hyphens=False, replace_whitespace=False,
        ) or [""]  # fmt: skip
    return "\n".join(lines)


def plain_text(batch: Grid, *, paths: bool = False) -> str:
    """Return a sentence or two per image.

    Args:
        batch: What to tell about.
        paths: Name the library's file where an image was not exported.
    """
    sent = _sent(batch)
    total = len(sent)
    lines = [] if total else ["No images."]
    for number, image in enumerate(sent[: batch.limit], 1):
        head = f"Image {number} of {total}. " if total > 1 else ""
        head += f"{bounded(image.label, NAME)}. " if image.label else ""
        lines.append(head + _sentence(image))
        if paths and (told := _plain_facts(image)):
            lines.append(f"  {told}")
        where = image.exported or (image.file if paths else None)
        if where is not None:
            lines.append(f"  {'saved as ' if image.exported else ''}{short_path(where)}")
        if image.is_public:
            lines.append(f"  public link{_until(image)}: {image.public_url}")
        lines += [f"  {note}" for note in image.notes]
        if batch.cells:
            lines.append(textwrap.indent(bounded(image.cell), "  "))
    if (more := total - batch.limit) > 0:
        lines.append(f"… and {more:,} more.")
    lines += [line for line in (batch.summary, *batch.notes) if line]
    return "\n".join(clean(bounded(line)) for line in lines)


def _sent(batch: Grid) -> Sequence[Card]:
    """Return the images with a card of their own; the summary counts what was never asked for."""
    return [image for image in batch.images if image.status != "unsent"]


def _plain_facts(image: Card) -> str:
    """Return what a terminal tells beside the caption: size, cost, whether it is stored."""
    items = [f"{image.size[0]} × {image.size[1]}"] if image.size else []
    cost = dollars(image.cost_usd) if image.cost_usd else ""
    if image.replayed:
        items.append(f"replayed (made for {cost})" if cost else "replayed")
    elif cost:
        items.append(cost)
    return " · ".join(items)


def _sentence(image: Card) -> str:
    caption = textwrap.shorten(image.caption[:LONGEST], 600, placeholder=" …")
    if image.status == "ok":
        return caption
    return f"No picture: {bounded(image.error or '')} {caption}"


def _columns(batch: Grid, count: int) -> int:
    columns = batch.columns or (2 if batch.compare else grid_columns(count))
    return min(columns, 2) if batch.compare else columns


def _pictures(batch: Grid) -> list[Source | str | None]:
    shown = _sent(batch)[: batch.limit]
    return make_previews(shown, _columns(batch, len(shown)), full=batch.full)


def _sheet(batch: Grid, pictures: Sequence[Source | str | None]) -> str:
    """Return what is shown as one small JPEG, in base64; empty: there is no picture."""
    from xai_notebook.pictures.sheet import small_sheet  # noqa: PLC0415  # PIL

    shown = _sent(batch)[: batch.limit]
    there = [
        (image, pybase64.b64decode(source.uri.partition(",")[2]))
        for image, source in zip(shown, pictures, strict=True)
        if isinstance(source, Source) and source.whole
    ]
    if not there:
        return ""
    drawn = small_sheet(there, columns=_columns(batch, len(shown)))
    return pybase64.b64encode_as_string(drawn)


def to_html(batch: Grid, pictures: Sequence[Source | str | None] | None = None) -> str:
    """Return the captioned grid of a batch.

    Args:
        batch: What to show.
        pictures: Its previews, if they have been made.
    """
    sent = _sent(batch)
    shown = sent[: batch.limit]
    columns = _columns(batch, len(shown))
    pictures = _pictures(batch) if pictures is None else pictures
    cards = []
    # One picture each: the label stands in its figure, and the figures side by side.
    single = len({image.label for image in shown}) == len(shown) and not batch.compare
    for number, (image, source) in enumerate(zip(shown, pictures, strict=True), 1):
        previous = shown[number - 2].label if number > 1 else None
        if image.label and image.label != previous and not single:
            cards.append(_heading(image.label, batch))
        if batch.compare and image.request.inputs:
            cards.append(_before(image, columns))
        heading = _heading(image.label, batch) if single and image.label else ""
        place = (number, len(sent))
        cards.append(
            _figure(image, source, place, columns=columns, heading=heading, cells=batch.cells)
        )
    lines = [batch.summary] if batch.summary else []
    if (more := len(sent) - batch.limit) > 0:
        lines.insert(0, f"… and {more:,} more, not shown here.")
    lines += batch.notes
    if not cards:
        lines.insert(0, "No images.")
    return f"<div>{''.join(cards)}{_notes(lines)}</div>"


def _notes(lines: Iterable[str]) -> str:
    return "".join(f'<div style="{_FACTS}">{text(line)}</div>' for line in lines)


def _heading(label: str, batch: Grid) -> str:
    """Return the line above a row of a comparison: what it is, and what it cost."""
    costs = [image.cost_usd for image in batch.images if image.label == label]
    known = [cost for cost in costs if cost]
    cost = f" · {dollars(sum(known))}" if known and len(known) == len(costs) else ""
    return f'<div style="margin:4px 0 8px"><strong>{text(label, NAME)}</strong>{cost}</div>'


def _before(image: Card, columns: int) -> str:
    """Return the card of the image that `image` was made from."""
    source = image.request.inputs[0]
    uri = source.url
    if uri.startswith("data:"):
        from xai_notebook.pictures.pixels import preview  # noqa: PLC0415  # PIL

        data = pybase64.b64decode(uri.partition(",")[2])
        small, size, _ = preview(data, side=SIDES.get(columns, SMALL_SIDE), limit=LIMITS[1][1])
        uri = f"data:image/jpeg;base64,{pybase64.b64encode_as_string(small)}"
        picture = (
            f'<img src="{uri}" alt="Before: {html.escape(clean(source.label[:NAME]))}" '
            f'width="{size[0]}" height="{size[1]}" style="{_IMG}">'
        )
    else:
        picture = f'<div style="{_CARD}">{text(source.label, NAME)}</div>'
    style = _FIGURE.format(width=100 // columns, pixels=SIDES.get(columns, SMALL_SIDE) + _GAP)
    caption = f"<strong>Before:</strong> {text(source.label, NAME)}"
    return (
        f'<figure style="{style}">{picture}'
        f'<figcaption style="{_CAPTION}">{caption}</figcaption></figure>'
    )


def grid_columns(count: int) -> int:
    """Return how many pictures of `count` stand side by side."""
    return count if count <= 2 else 2 if count == 4 else 3 if count <= 6 else 4  # noqa: PLR2004


def _figure(
    image: Card,
    source: Source | str | None,
    place: tuple[int, int],
    *,
    columns: int,
    heading: str = "",
    cells: bool = False,
) -> str:
    width, height = source.size if isinstance(source, Source) else (SMALL_SIDE, SMALL_SIDE)
    pixels = max(min(width, _TALLEST * width // height), _NARROWEST)
    style = _FIGURE.format(width=100 // columns, pixels=pixels + _GAP)
    return (
        f'<figure style="{style}">{heading}{_picture(image, source, *place)}'
        f'<figcaption style="{_CAPTION}">{_caption(image, columns)}'
        f"{facts(image, dated=cells)}{_notes(image.notes)}"
        f"{_cell(image) if cells else ''}</figcaption></figure>"
    )


def _cell(image: Card) -> str:
    """Return the magic that asks for an image again, folded away."""
    return (
        "<details><summary>Magic that made it</summary>"
        f'<pre style="white-space:pre-wrap"><code>{text(image.cell)}</code></pre></details>'
    )


def _picture(
    image: Card,
    source: Source | str | None,
    number: int,
    total: int,
) -> str:
    if isinstance(source, Source):
        width, height = source.size
        alt = alt_text(image, number, total) if source.whole else f"Damaged. {_DAMAGED}"
        return (
            f'<img src="{source.uri}" alt="{html.escape(alt)}" '
            f'width="{width}" height="{height}" style="{_IMG}">'
        ) + ("" if source.whole else f"<div><strong>Damaged.</strong> {_DAMAGED}</div>")
    title = TITLES.get(image.status, "Failed")
    reason = source or image.error or ""
    return f'<div style="{_CARD}"><strong>{title}.</strong> {text(reason)}</div>'


def alt_text(image: Card, number: int = 1, total: int = 1) -> str:
    """Return what a reader hears in place of the picture."""
    prompt = clean((image.rewritten_prompt or image.prompt)[:LONGEST])
    prompt = textwrap.shorten(prompt, _ALT, placeholder=" …")
    place = f"Image {number} of {total}" if total > 1 else "Image"
    return f"{place}, generated from the prompt: {prompt}"


def _caption(image: Card, columns: int) -> str:
    """Return the prompt that made the image, under the label it deserves."""
    narrow = columns > 2  # noqa: PLR2004  # cards of a third of the page
    if not image.rewritten_prompt:
        return f"<div><strong>Prompt:</strong> {folded(image.prompt, narrow=narrow)}</div>"
    rewritten = folded(image.rewritten_prompt, narrow=narrow)
    return (
        f"<div><strong>Rewritten prompt:</strong> {rewritten}</div>"
        f"<details><summary>Prompt as written</summary>{text(image.prompt)}</details>"
    )


def facts(image: Card, *, dated: bool = False) -> str:
    """Return the small line under a caption: model, size, cost, badges, file.

    Args:
        image: What it is about.
        dated: It is a look back: say when, and not that it is stored.
    """
    items = [text(image.model, NAME)] if image.model else []
    if image.rewritten_by and image.rewritten_prompt:
        items.append(f"rewritten by {text(image.rewritten_by, NAME)}")
    if image.size:
        items.append(f"{image.size[0]} × {image.size[1]}")
    cost = dollars(image.cost_usd) if image.cost_usd else None
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
    if image.public_url is not None:
        items.append(_link(image))
    if image.exported is not None:
        items.append(f"saved as <code>{text(short_path(image.exported))}</code>")
    return f'<div style="{_FACTS}">{" · ".join(items)}</div>' if items else ""


def _link(image: Card) -> str:
    """Return the public link of an image, and until when it is one."""
    until = _until(image)
    if not image.is_public:
        return f"public link expired{until}"
    url = html.escape(image.public_url or "")
    return f'<a href="{url}" target="_blank" rel="noopener noreferrer">public link</a>{until}'


def _until(image: Card) -> str:
    expires = image.public_url_expires
    if expires is None:
        return ""
    return f" {'until' if image.is_public else 'on'} {expires.astimezone():%Y-%m-%d}"

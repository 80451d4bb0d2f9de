"""Results as MIME bundles: a captioned grid in HTML, and sentences for everything else.

The HTML must survive what strips it: JupyterLab cleans untrusted notebooks
(no script, style element or button), GitHub drops every style. So pictures are
`<img>` with data URIs and alt texts, the layout is inline and may vanish, and
nothing depends on it. Colours are inherited, so light and dark themes both fit.
"""

from __future__ import annotations

import shutil
import textwrap
from typing import TYPE_CHECKING, Any

import pybase64

from xai_notebook.frontend import in_terminal
from xai_notebook.pictures.cards import before, figure, heading_of, notes_of, until
from xai_notebook.pictures.previews import Previews, Shown, Source
from xai_notebook.pictures.text import LONGEST, NAME, bounded, clean, dollars, short_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xai_notebook.pictures.picture import Card, Grid

__all__ = ["grid_columns", "mimebundle", "plain_text", "preview", "to_html"]


def mimebundle(batch: Grid, previews: Previews | None = None) -> dict[str, Any]:
    """Return text/html and text/plain for a batch, and image/jpeg of what is shown.

    The text is the same on every run, so that notebooks can be compared; paths of the library
    stand in it only in a plain terminal, where it is all there is to see.

    Args:
        batch: What to show.
        previews: Those that have been made.
    """
    if in_terminal():
        return {"text/plain": _wrapped(plain_text(batch, paths=True))}
    pictures = preview(batch, previews)
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
            lines.append(f"  public link{until(image)}: {image.public_url}")
        lines += [f"  {note}" for note in image.notes]
        if batch.cells:
            lines.append(textwrap.indent(bounded(image.cell), "  "))
    if total > batch.limit:
        lines.append(_more(batch, sent))
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


def preview(
    batch: Grid, previews: Previews | None = None, *, most: int | None = None
) -> list[Shown]:
    """Return what each card of a batch shows.

    Args:
        batch: What to show.
        previews: Those that have been made, to which what is made now is added.
        most: Previews to make now, of a batch that is still growing; None: all.
    """
    shown = _sent(batch)[: batch.limit]
    full = batch.full and most is None
    columns = _columns(batch, len(shown))
    return (previews or Previews()).make(shown, columns, full=full, most=most)


def _sheet(batch: Grid, pictures: Sequence[Shown]) -> str:
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


def to_html(batch: Grid, pictures: Sequence[Shown] | None = None) -> str:
    """Return the captioned grid of a batch.

    Args:
        batch: What to show.
        pictures: Its previews, if they have been made.
    """
    sent = _sent(batch)
    shown = sent[: batch.limit]
    columns = _columns(batch, len(shown))
    pictures = preview(batch) if pictures is None else pictures
    cards = []
    # One picture each: the label stands in its figure, and the figures side by side.
    single = len({image.label for image in shown}) == len(shown) and not batch.compare
    for number, (image, source) in enumerate(zip(shown, pictures, strict=True), 1):
        previous = shown[number - 2].label if number > 1 else None
        if image.label and image.label != previous and not single:
            cards.append(heading_of(image.label, batch))
        if batch.compare and image.request.inputs:
            cards.append(before(image, columns))
        heading = heading_of(image.label, batch) if single and image.label else ""
        place = (number, len(sent))
        cards.append(
            figure(image, source, place, columns=columns, heading=heading, cells=batch.cells)
        )
    lines = [batch.summary] if batch.summary else []
    if len(sent) > batch.limit:
        lines.insert(0, _more(batch, sent))
    lines += batch.notes
    if not cards:
        lines.insert(0, "No images.")
    return f"<div>{''.join(cards)}{notes_of(lines)}</div>"


def _more(batch: Grid, sent: Sequence[Card]) -> str:
    """Return how many cards are not shown, and what shows them."""
    first = next(i for i, image in enumerate(batch.images) if image is sent[batch.limit])
    left = len(sent) - batch.limit
    return f"… and {left:,} more: {batch.name or '_'}[{first}:] shows them."


def grid_columns(count: int) -> int:
    """Return how many pictures of `count` stand side by side."""
    return count if count <= 2 else 2 if count == 4 else 3 if count <= 6 else 4  # noqa: PLR2004

"""Render batches as MIME bundles: a grid with captions in HTML, plain text, and a JPEG for print.

The HTML must survive sanitizers: JupyterLab removes scripts, style elements and buttons from
untrusted notebooks, and GitHub removes all styles. Therefore, pictures are `<img>` elements with
data URIs and alternative texts, and the grid is readable without its inline styles. Text has the
colours of the theme.
"""

from __future__ import annotations

import math
import shutil
import textwrap
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import pybase64

from xai_notebook.client.bounds import clean
from xai_notebook.client.request import ImageRequest
from xai_notebook.frontend import has_magics, in_terminal, running_shell, short_path
from xai_notebook.pictures.picture import (
    HIDDEN,
    Card,
    Matrix,
    Picture,
    first_cards,
    matrix_of,
)
from xai_notebook.pictures.render import cards
from xai_notebook.pictures.render.previews import Previews, PreviewSource, Shown
from xai_notebook.pictures.render.text import LONGEST, NAME, bounded, dollars, first_words, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from xai_notebook.pictures.picture import Grid

_TABLE: Final = "border-collapse:collapse;table-layout:auto;margin:0 0 12px;font-size:inherit"
_HEAD: Final = "text-align:left;vertical-align:top;font-weight:bold;padding:8px 14px 8px 0"
_NAME: Final = "min-width:56px;max-width:150px;overflow-wrap:break-word"
_CELL: Final = "text-align:left;vertical-align:top;padding:8px 0 0"
_DAMAGED: Final = "The data of this picture is damaged. The other pictures are not affected."
_MAX_ON_SHEET: Final = 240
"""Maximum number of pictures on the sheet that replaces a grid in print."""
_SECTION: Final = "margin:4px 0 8px;font-size:1.08em"
_FOLDED: Final = (
    "& summary:has(bdi){display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:3}"
    "& summary:has(bdi)::before{content:'\\25B8\\A0'}"
    "& [open]>summary:has(bdi)::before{content:'\\25BE\\A0'}"
)
"""Three lines of a long prompt, in a narrow window, too; a summary of this kind has no marker."""
_UNFOLDED: Final = (
    "@supports selector(::details-content){"
    "& details::details-content{display:contents;content-visibility:visible}"
    "& summary{max-height:none!important;list-style:none}"
    "& summary>strong+bdi{display:none}"  # the first words; the whole prompt follows
    "& summary:has(bdi),& summary:has(bdi)+div{display:inline}"
    "& details>summary:has(bdi)::before{content:none}}"
    "& td>div{min-width:0!important}"
)
_ON_PAPER: Final = (
    "&{orphans:1;widows:1}& figure,& tr{break-inside:avoid}& figure>img{max-height:85vh}"
    "&>div:first-child{break-after:avoid}& div{overflow:visible!important}"
)
_ON_SLIDES: Final = (
    "&{font-size:16px}& figcaption{font-size:calc(17px - 3px*var(--xai-rows,1));"
    "line-height:1.3!important}& figure{padding-bottom:8px!important}"
    "& img{margin:0;max-height:calc(380px/var(--xai-rows,1) - 25px*var(--xai-rows,1))}"
    ".reveal .slides section:not(.stack):has(.xai-pictures){max-height:100%;overflow-y:auto}"
)
_STYLE: Final = (
    f"<style>{_FOLDED.replace('&', '.xai-pictures')}"
    f"@media print{{{(_UNFOLDED + _ON_PAPER).replace('&', '.xai-pictures')}}}"
    f"{(_UNFOLDED + _ON_SLIDES).replace('&', '.reveal .xai-pictures')}</style>"
)
"""Folded captions end with an ellipsis. On paper and on the slides of nbconvert, where nobody can
unfold or scroll, captions are unfolded and pictures are not cut. Sanitizers remove this element,
and the grid stays as it is."""
_MAX_ROWS: Final = 2
"""Maximum rows of a grid that are made to fit a slide; slides with more rows scroll."""


def mimebundle(batch: Grid, previews: Previews | None = None) -> dict[str, Any]:
    """Return text/html, text/plain and image/jpeg of a batch; only text/plain in a terminal.

    The text is the same on every run, so that notebooks can be compared. Only in a terminal, which
    shows text alone, it includes sizes, costs and paths of the library. Existing `previews` are
    reused.
    """
    if in_terminal():
        return {"text/plain": plain_text(batch, terminal=True)}
    pictures = preview(batch, previews)
    bundle = {"text/html": page_html(batch, pictures), "text/plain": plain_text(batch)}
    if sheet := _sheet(batch, pictures):
        bundle["image/jpeg"] = sheet  # LaTeX and PDF cannot show HTML
    return bundle


def plain_text(batch: Grid, *, terminal: bool = False) -> str:
    """Return a sentence or two per image.

    For a terminal, the text includes sizes, costs and library paths, and is wrapped between words
    at the terminal's width; paths are not broken.
    """
    shown = _shown(batch)
    total = sum(image.status not in HIDDEN for image in batch.images)
    lines = [] if total else ["No images."]
    for number, image in enumerate(shown, 1):
        head = f"Image {number} of {total}. " if total > 1 else ""
        try:
            lines += _lines_of(image, head, terminal=terminal, cells=batch.cells)
        except Exception:  # noqa: BLE001  # see `to_html`
            lines.append(f"{head}No picture: {_DAMAGED}")
    if total > len(shown):
        lines.append(_more(batch, shown))
    lines += [line for line in (batch.summary, *batch.notes) if line]
    plain = "\n".join(clean(bounded(line)) for line in lines)
    if not terminal:
        return plain
    width = max(shutil.get_terminal_size().columns - 1, 40)
    lines = []
    for line in plain.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        lines += textwrap.wrap(
            line.strip(), width, initial_indent=indent, subsequent_indent=indent,
            break_long_words=False, break_on_hyphens=False, replace_whitespace=False,
        ) or [""]  # fmt: skip
    return "\n".join(lines)


def _lines_of(image: Card, head: str, *, terminal: bool, cells: bool) -> list[str]:
    """Return the lines of one image; see `plain_text`."""
    head += f"{bounded(image.label, NAME)}. " if image.label else ""
    caption = first_words(image.caption[:LONGEST], 600)
    if image.status != "ok":
        caption = f"No picture: {bounded(image.error or '')} {caption}"
    lines = [head + caption]
    if terminal:
        size = f"{image.size[0]} × {image.size[1]}" if image.size else ""
        cost = dollars(image.cost_usd) if image.cost_usd else ""
        replayed = f"replayed (made for {cost})" if cost else "replayed"
        facts = " · ".join(filter(None, (size, replayed if image.replayed else cost)))
        lines += [f"  {facts}"] if facts else []
    if image.exported is not None:
        lines.append(f"  saved as {short_path(image.exported)}")
    elif terminal and image.file is not None:
        lines.append(f"  {short_path(image.file)}")
    if image.is_public:
        lines.append(f"  public link{cards.until(image)}: {image.public_url}")
    lines += [f"  {note}" for note in image.notes]
    if cells:
        lines.append(textwrap.indent(bounded(image.cell), "  "))
    return lines


def _shown(batch: Grid) -> Sequence[Card]:
    """Return the images that get a card; unsent images appear in the summary only."""
    sent = [image for image in batch.images if image.status not in HIDDEN]
    return sent[: batch.limit] if batch.columns else first_cards(sent, batch.limit)


def _layout(batch: Grid) -> tuple[Sequence[Card], int, Matrix | None]:
    """Return the images that get a card, the cards per row, and the matrix of a comparison."""
    shown = _shown(batch)
    if batch.columns:
        return shown, batch.columns, None
    if matrix := matrix_of(shown):
        return shown, len(matrix.columns), matrix
    before = len(shown[0].request.inputs) if batch.compare and shown else 0
    return shown, grid_columns(before + len(shown)), None


def preview(
    batch: Grid, previews: Previews | None = None, *, most: int | None = None
) -> list[Shown]:
    """Return the preview of each card; see `Previews.make`. `previews` stores new previews."""
    shown, columns, _ = _layout(batch)
    full = batch.full and most is None
    return (previews or Previews()).make(shown, columns, full=full, most=most)


def _sheet(batch: Grid, pictures: Sequence[Shown]) -> str:
    """Return the grid as one small JPEG in base64; empty if there are no pictures."""
    from xai_notebook.pictures.render.contact_sheet import small_sheet  # noqa: PLC0415  # PIL

    shown, columns, matrix = _layout(batch)
    shown = shown if matrix else shown[:_MAX_ON_SHEET]  # a JPEG has at most 65,535 lines
    whole = [
        (image, pybase64.b64decode(source.uri.partition(",")[2]))
        for image, source in zip(shown, pictures, strict=False)
        if isinstance(source, PreviewSource) and source.whole
    ]
    if not whole:
        return ""
    sheet = small_sheet(whole, columns=None if matrix else columns)
    return pybase64.b64encode_as_string(sheet)


def page_html(batch: Grid, pictures: Sequence[Shown] | None = None) -> str:
    """Return `to_html` with the styles for paper and slides, which a live update does not need."""
    html = to_html(batch, pictures).removeprefix("<div>")
    shown, columns, _ = _layout(batch)
    rows = min(math.ceil(len(shown) / max(columns, 1)), _MAX_ROWS) or 1
    return f'<div class="xai-pictures" style="--xai-rows:{rows}">{html}{_STYLE}'


def to_html(batch: Grid, pictures: Sequence[Shown] | None = None) -> str:
    """Return the grid of a batch with captions as HTML; `pictures` are existing previews."""
    shown, columns, matrix = _layout(batch)
    pictures = preview(batch) if pictures is None else pictures
    total = sum(image.status not in HIDDEN for image in batch.images)
    captions = cards.Captions(shown, columns, style=batch.captions, share_prompts=not batch.cells)
    indices = {id(image): index for index, image in enumerate(batch.images)}

    def card(number: int, columns: int, heading: str = "", alike: int = 1) -> str:
        image = shown[number]
        draw = partial(
            cards.figure,
            position=cards.CardPosition(indices[id(image)], len(batch.images), alike),
            captions=captions, columns=columns, heading=heading, cells=batch.cells,
        )  # fmt: skip
        try:
            return draw(image, pictures[number])
        except Exception:  # noqa: BLE001  # a bad value affects its card only
            request = ImageRequest(prompt="", model="")
            damaged = Picture(request=request, status="damaged", error=_DAMAGED)
            return draw(Card(damaged, index=image.index), None)

    lines = [batch.summary] if batch.summary else []
    if total > len(shown):
        lines.insert(0, _more(batch, shown))
    lines += batch.notes
    if not shown:
        lines.insert(0, "No images.")
    if matrix is not None:
        top = cards.inputs_of(shown[0], columns) if batch.compare else ""
        body = top + _tables(matrix, lambda number: card(number, 1))
    else:
        body = _in_rows(batch, shown, columns, card)
    return f"<div>{captions.above}{body}{cards.notes_of(lines)}</div>"


def _in_rows(
    batch: Grid, shown: Sequence[Card], columns: int, card: Callable[[int, int, str, int], str]
) -> str:
    """Return cards in rows as HTML, below their labels and after their input images."""
    # With one picture per label, the label is part of the figure.
    single = len({image.label for image in shown}) == len(shown)
    parts = []
    previous = None
    for number, alike in _card_groups(shown):
        image = shown[number]
        inputs = image.request.inputs
        if batch.compare and inputs and (previous is None or inputs != previous.request.inputs):
            parts.append(cards.inputs_of(image, columns))
        heading = cards.heading_of(image.label, batch) if image.label else ""
        if heading and not single and (previous is None or image.label != previous.label):
            parts.append(heading)
        parts.append(card(number, columns, heading if single else "", alike))
        previous = image
    return "".join(parts)


def _card_groups(shown: Sequence[Card]) -> Iterator[tuple[int, int]]:
    """Yield the index of the first image of each card, and the number of images on the card.

    Consecutive images that were withheld for the same reason share a card.
    """

    def group_key(number: int) -> object:
        image = shown[number]
        return (image.prompt, image.label, image.error) if image.status == "moderated" else number

    for _, numbers in groupby(range(len(shown)), group_key):
        first, *others = numbers
        yield first, 1 + len(others)


def _tables(matrix: Matrix, card: Callable[[int], str]) -> str:
    """Return a table for each section of a matrix; tables scroll sideways in a narrow window."""
    head = "".join(_header("col", name) for name in matrix.columns)
    parts = []
    for section in matrix.sections:
        if section.name:
            parts.append(
                f'<div style="{_SECTION}"><strong>{text(section.name, NAME)}</strong></div>'
            )
        rows = []
        for name, cells in section.rows:
            pictures = (
                f'<td style="{_CELL}"><div style="min-width:{cards.NARROWEST}px">'
                f"{''.join(map(card, numbers))}</div></td>"
                for numbers in cells
            )
            rows.append(
                f'<tr style="background:none">{_header("row", name)}{"".join(pictures)}</tr>'
            )
        parts.append(
            f'<div style="overflow-x:auto"><table style="{_TABLE}"><thead><tr><td></td>{head}</tr>'
            f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
        )
    return "".join(parts)


def _header(scope: str, name: str) -> str:
    inside = f'<div style="{_NAME}">{text(name, NAME)}</div>'
    return f'<th scope="{scope}" style="{_HEAD}">{inside}</th>'


def _more(batch: Grid, shown: Sequence[Card]) -> str:
    """Return a line with the number of omitted cards and the expression that shows them."""
    end = next(i for i, image in enumerate(batch.images, 1) if image is shown[-1])
    omitted = sum(image.status not in HIDDEN for image in batch.images[end:])
    name = batch.name or ("_" if running_shell() else "the slice ")  # `_` is IPython's last result
    line = f"… and {omitted:,} more: {name}[{end}:] shows them."
    if batch.summary and has_magics():  # of many prompts
        line += " %xai_library shows all pictures."
    return line


def grid_columns(count: int) -> int:
    """Return the number of columns for a grid of `count` pictures."""
    return count if count <= 2 else 2 if count == 4 else 3 if count <= 6 else 4  # noqa: PLR2004

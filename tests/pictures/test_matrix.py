"""Comparisons as matrices: in HTML, and on the contact sheet."""

from __future__ import annotations

import io
import re
from itertools import product
from typing import Any

import pytest
from PIL import Image, ImageDraw

from xai_notebook.client.request import ImageRequest
from xai_notebook.pictures.picture import Picture, matrix_of
from xai_notebook.pictures.render.grid import mimebundle, plain_text, to_html
from xai_notebook.pictures.results import GeneratedImage, ImageBatch

ROWS = ("fox", "hare", "owl", "boat", "mill")
COLUMNS = ("dawn", "noon", "night")


def picture(*chosen: str, colour: tuple[int, int, int] = (0, 90, 90), **more: Any) -> Any:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(buffer, "PNG")
    request = ImageRequest(" ".join(chosen), "m")
    given = {"cached": buffer.getvalue(), "size": (64, 64), "model": "m", **more}
    return GeneratedImage(Picture(request=request, **given), chosen=chosen)


def comparison(*axes: tuple[str, ...]) -> ImageBatch:
    return ImageBatch(picture(*chosen) for chosen in product(*axes))


def table(html: str) -> list[list[str]]:
    """Return the rows of the only table: its headers, and the prompts of its cells."""
    (body,) = re.findall(r"<table.*?</table>", html)
    rows = []
    for row in re.findall(r"<tr.*?</tr>", body):
        cells = re.findall(r"<t[hd].*?</t[hd]>", row)
        rows.append([re.sub("<.*?>", "", cell).removeprefix("Prompt:").strip() for cell in cells])
    return rows


def test_the_last_axis_gives_columns_and_the_one_before_rows() -> None:
    head, *rows = table(to_html(comparison(ROWS, COLUMNS)))
    assert head == ["", *COLUMNS]
    assert [row[0] for row in rows] == list(ROWS)
    for name, *cells in rows:
        assert [cell.partition("[")[0] for cell in cells] == [
            f"{name} {column}" for column in COLUMNS
        ]


def test_further_axes_are_sections() -> None:
    html = to_html(comparison(("ink", "oil"), ROWS[:2], COLUMNS))
    assert html.count("<table") == 2
    assert html.index("ink") < html.index("<table") < html.index("oil") < html.rindex("<table")


@pytest.mark.parametrize("axes", [(), (COLUMNS,), (("fox",), COLUMNS), (ROWS, ("dawn",))])
def test_a_single_row_or_column_is_a_grid(axes: tuple[tuple[str, ...], ...]) -> None:
    assert "<table" not in to_html(comparison(*axes))


def test_a_chosen_number_of_columns_gives_a_grid() -> None:
    assert "<table" not in to_html(comparison(ROWS, COLUMNS).shown(columns=2))


def test_a_missing_card_leaves_an_empty_cell() -> None:
    batch = comparison(ROWS[:2], COLUMNS)
    some = batch.shown(images=[*batch[:4], batch[5]])
    _, first, second = table(to_html(some))
    assert "" not in first
    assert [bool(cell) for cell in second[1:]] == [True, False, True]


def test_only_whole_rows_are_shown() -> None:
    batch = comparison(tuple(f"row {i}" for i in range(9)), COLUMNS).shown(limit=23)
    rows = table(to_html(batch))
    assert len(rows) == 1 + 7
    assert "… and 6 more: the slice [21:] shows them." in to_html(batch)
    assert "… and 6 more: the slice [21:] shows them." in plain_text(batch)


def test_names_are_shown_literally() -> None:
    html = to_html(comparison(("<script>", "b"), ("<img src=x>", "$d$")))
    assert "<script>" not in html
    assert "<img src=x" not in html


def test_the_sheet_is_the_same_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, tuple[int, int]] = {}
    draw = ImageDraw.ImageDraw.multiline_text

    def note(self: Any, corner: Any, text: str, *more: Any, **given: Any) -> None:
        written.setdefault(text, corner)
        draw(self, corner, text, *more, **given)

    monkeypatch.setattr(ImageDraw.ImageDraw, "multiline_text", note)
    pairs = list(product(ROWS, COLUMNS))
    colours = [(10 * number, 200 - 10 * number, 60) for number in range(len(pairs))]
    batch = ImageBatch(
        picture(*chosen, colour=colour) for chosen, colour in zip(pairs, colours, strict=True)
    )
    sheet = batch.contact_sheet(max_pixels=600_000)
    pixels = sheet.load()
    assert pixels is not None
    for chosen, colour in zip(pairs, colours, strict=True):
        row, column = written[chosen[0]], written[chosen[1]]
        assert row[0] < column[0]
        assert column[1] < row[1]
        x, y = int(column[0]) + 70, int(row[1]) + 10  # small pictures stand in the middle
        assert pixels[x, y] == pytest.approx(colour, abs=3)
    written.clear()
    assert mimebundle(batch)["image/jpeg"]
    assert {*ROWS, *COLUMNS} <= written.keys()


def test_a_slice_of_a_matrix_is_a_matrix() -> None:
    batch = comparison(ROWS, COLUMNS)
    assert matrix_of(batch[3:9]) is not None
    assert matrix_of(batch[3:6]) is None

"""Figures: every record can be drawn, and invalid records are errors."""

from __future__ import annotations

import io
import itertools
import shutil
from typing import TYPE_CHECKING, cast

import pytest
from PIL import Image

from xai_notebook.server.painting import figures, paint
from xai_notebook.server.painting.figures import RecordError
from xai_notebook.server.painting.scene import read_scene, vocabulary
from xai_notebook.server.painting.subjects import draw, draw_figure

if TYPE_CHECKING:
    from pathlib import Path

RED, GREEN = (200, 20, 20), (20, 160, 20)
SUBJECTS = [figure for figure in figures.known_figures().values() if figure.height]
PIECES = [figure.name for figure in figures.known_figures().values() if not figure.height]
SNAIL = """
[snail]
words = snail schnecke escargot
home = meadow forest
height = 0.3
colour = #ff00ff
head = 0.5 0.5 0.1
parts =
    #00ff00: line 0.16 0.08 -0.6,0.06 0.4,0.08 0.5,0.5
    colour: circle 0,0.5 0.44
"""


def is_magenta(red: int, green: int, blue: int) -> bool:
    """Tell whether a colour is that of the snail, in any light."""
    return min(red, blue) > green + 90


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the painter read a copy of its records; tests can add others."""
    copy = tmp_path / "figures"
    shutil.copytree(figures.FOLDER, copy)
    monkeypatch.setattr(figures, "FOLDER", copy)
    return copy


@pytest.mark.parametrize("figure", SUBJECTS, ids=lambda figure: figure.name)
def test_every_figure_stands_upright(figure: figures.Figure) -> None:
    """In its own colour and in another, a figure has about its nominal height."""
    for colour in (None, RED):
        parts = draw_figure(figure, colour, GREEN, helmet=True)
        heights = [y for _, shapes in parts for shape in shapes for _, y in shape]
        assert 0.55 < max(heights) < 1.6
        assert min(heights) > -0.3


@pytest.mark.parametrize("figure", SUBJECTS, ids=lambda figure: figure.name)
def test_every_figure_takes_on_a_named_colour(figure: figures.Figure) -> None:
    own, red = (
        [tone for tone, _ in draw_figure(figure, colour, GREEN, helmet=False)]
        for colour in (None, RED)
    )
    assert own != red


@pytest.mark.parametrize("name", PIECES)
def test_every_piece_of_a_figure_can_be_drawn(name: str) -> None:
    assert draw(name, {"colour": RED, "light": GREEN})


def test_no_word_means_two_figures() -> None:
    for meanings in vocabulary().meanings.values():
        assert sum(meaning.kind == "subject" for meaning in meanings) <= 1


def test_one_record_adds_a_figure(folder: Path) -> None:
    """The record suffices for vocabulary, counts, colours, settings and painting."""
    (folder / "snails.ini").write_text(SNAIL)
    scene = read_scene("two blue snails and a Schnecke")
    assert [subject.name for subject in scene.subjects] == ["snail", "snail"]
    assert scene.subjects[0].colour == vocabulary().colours["blue"]
    assert scene.setting in {"meadow", "forest"}
    snail, meadow = (
        cast(
            "list[tuple[int, tuple[int, ...]]]",
            Image.open(io.BytesIO(paint(f"{what} in a meadow at noon"))).getcolors(1 << 20),
        )
        for what in ("a snail", "nothing")
    )
    assert sum(count for count, tone in snail if is_magenta(*tone)) > 5000
    assert not any(is_magenta(*tone) for _, tone in meadow)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("[snail]\nwords", "snails.ini"),
        (SNAIL + SNAIL, "snail"),
        (SNAIL.replace("[snail]", "[cat]"), "another figure has this name"),
        (SNAIL.replace("home = meadow", "home = moon"), "home: 'moon' is not one of city, desert"),
        (SNAIL.replace("height = 0.3", "height = tall"), "height: could not convert"),
        (SNAIL.replace("height = 0.3\n", ""), "a record with words needs a height"),
        (SNAIL.replace("home = meadow forest\n", ""), "needs a home and a colour"),
        (SNAIL.replace("colour = #ff00ff\n", ""), "needs a home and a colour"),
        (SNAIL.replace("head = ", "hat = "), "'hat' is not a key: use words, home"),
        (SNAIL.replace("words = snail", "words = Snail"), "words: 'Snail' is not a word"),
        (SNAIL.replace("words = snail", "words = snail#12"), "'#12' is not a colour"),
        (SNAIL.replace("home = ", "stands = sky\nhome = "), "stands: 'sky' is not one of ground"),
        (SNAIL.replace("#00ff00: ", ""), "needs a tone before it"),
        (SNAIL.replace("parts =", "build = legs 1\nparts ="), "either parts or a build"),
    ],
)
def test_an_invalid_record_is_an_error_with_file_and_cause(
    folder: Path, wrong: str, message: str
) -> None:
    (folder / "snails.ini").write_text(wrong)
    with pytest.raises(RecordError, match=r"snails\.ini") as caught:
        figures.known_figures()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("circle", "cirkle", "'cirkle' is not a shape: use polygon, blob"),
        ("0,0.5 0.44", "0,0.5", "circle does not take 1 points and 0 sizes"),
        ("0,0.5 0.44", "0,0.5 wide", "could not convert string to float: 'wide'"),
        ("0.44", "0.44 | spin 3", "'spin' is not a change: use mirror, turn or at"),
        ("colour:", "color:", "'color' is not a colour: write it as #rrggbb"),
        ("colour: circle", "figure shell in colour\n    colour: circle",
         "The figure 'shell' does not exist"),
    ],
)  # fmt: skip
def test_an_invalid_line_is_an_error_with_record_and_cause(
    folder: Path, old: str, new: str, message: str
) -> None:
    (folder / "snails.ini").write_text(SNAIL.replace(old, new))
    with pytest.raises(RecordError, match=r"\[snail\]") as caught:
        draw("snail", {"colour": RED})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("build", "message"),
    [("legs 0.3, wings 2", "'wings' is not a measure: use legs"), ("ear square", "ear-square")],
)
def test_an_invalid_build_is_an_error(folder: Path, build: str, message: str) -> None:
    record = SNAIL.partition("head")[0] + f"build = {build}\n"
    (folder / "snails.ini").write_text(record)
    figure = figures.known_figures()["snail"]
    with pytest.raises(RecordError, match=message):
        draw_figure(figure, None, GREEN, helmet=False)


def test_words_and_records_have_the_same_settings() -> None:
    meanings = itertools.chain.from_iterable(vocabulary().meanings.values())
    settings_of_words = {meaning.value for meaning in meanings if meaning.kind == "setting"}
    assert settings_of_words == set(figures.SETTINGS)

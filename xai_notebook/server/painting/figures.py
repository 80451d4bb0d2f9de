"""Loads the data files of the painter, mainly the records of the figures in `data/figures`."""

from __future__ import annotations

import configparser
import functools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.server.painting.colours import parse_colour

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from xai_notebook.server.painting.colours import Colour

DATA: Final = Path(__file__).parent / "data"
FOLDER: Final = DATA / "figures"


class RecordError(ValueError):
    """A record is invalid. The message gives the location and the reason."""


def read_records(path: Path) -> dict[str, Mapping[str, str]]:
    """Return the sections of a file in order, with their keys and values.

    Raises:
        RecordError: The syntax is invalid, or a section or key occurs twice.
    """
    parser = configparser.RawConfigParser(
        delimiters=("=",), comment_prefixes=(";",), empty_lines_in_values=False
    )
    try:
        parser.read_string(path.read_text(encoding="utf-8"), source=path.name)
    except configparser.Error as error:
        raise RecordError(str(error)) from error
    return {name: parser[name] for name in parser.sections()}


@functools.cache
def choices(name: str) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Return the sections of a file in `DATA`, with each value split at ` | `."""
    return {
        section: {key: tuple(" ".join(text.split()).split(" | ")) for key, text in record.items()}
        for section, record in read_records(DATA / name).items()
    }


SETTINGS: Final = (
    "city", "desert", "forest", "lake", "meadow", "moonscape", "mountains", "room", "sea", "space",
    "street", "underwater",
)  # fmt: skip
"""Settings of a scene; `scenery` paints them."""
_STANDS: Final = ("ground", "far", "water", "depths", "air", "hands")
_YES: Final = ("yes",)
_CONTINUATION: Final = re.compile(r"\n(?=[-\d|])")
_WORD: Final = re.compile(r"([^\W\d_]+)(#\w+)?")


@dataclass(frozen=True)
class Figure:
    """The record of a figure, or of a piece that figures include.

    Attributes:
        name: The name of the record's section.
        words: Words for the figure in lower case, without regular plurals. A word can imply a
            colour, such as `crow#2e2e38`.
        home: Possible settings if the prompt names no setting.
        height: Height in an ordinary shot, as a fraction of the picture's shorter side. 0 for a
            piece.
        stands: Position of the figure: `ground`, `far` (large, in the background), `water`
            (floats, in the background), `depths` (under water), `air`, or `hands` (held by the
            first subject).
        blooms: Whether many copies grow in a meadow.
        lamp: Height of the figure's lamp, which is lit in the dark, as a fraction of its height.
        beam: Whether the lamp has a beam.
        colour: The tone `colour` of the parts, if the prompt names no colour.
        dye: Share of the prompt's colour in the figure's colour, 0 to 1.
        head: Position of a helmet as x, y and radius; only for creatures.
        parts: Tones with their shapes, the most distant first; see `subjects.draw`.
        build: Measures of a quadruped instead of parts; see `subjects.draw_quadruped`.
    """

    name: str
    words: Mapping[str, Colour | None] = field(default_factory=dict)
    home: tuple[str, ...] = ()
    height: float = 0.0
    stands: str = "ground"
    blooms: bool = False
    lamp: float | None = None
    beam: bool = False
    colour: str = ""
    dye: float = 1.0
    head: tuple[float, float, float] | None = None
    parts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    build: str = ""

    @property
    def lives(self) -> bool:
        """Whether the figure is a living creature."""
        return self.head is not None or bool(self.build)


def known_figures() -> Mapping[str, Figure]:
    """Return every figure by its name.

    Raises:
        RecordError: A record does not match `Figure`.
    """
    return _read(FOLDER)


@functools.cache
def _read(folder: Path) -> Mapping[str, Figure]:
    figures: dict[str, Figure] = {}
    for path in sorted(folder.glob("*.ini")):
        for name, record in read_records(path).items():
            if name in figures:
                raise RecordError(f"{path.name}, [{name}]: another figure has this name.")
            try:
                figures[name] = _figure(name, record)
            except ValueError as error:
                raise RecordError(f"{path.name}, [{name}]: {error}") from error
    return figures


def _figure(name: str, record: Mapping[str, str]) -> Figure:
    values = {key: _read_value(key, text) for key, text in record.items()}
    figure = Figure(name, **values)
    if bool(figure.parts) == bool(figure.build):
        raise ValueError("it needs either parts or a build.")
    if figure.height and not (figure.home and figure.colour):
        raise ValueError("a record with a height needs a home and a colour.")
    if figure.words and not figure.height:
        raise ValueError("a record with words needs a height.")
    return figure


def _read_value(key: str, text: str) -> Any:
    if key not in _READERS:
        raise ValueError(f"{key!r} is not a key: use {', '.join(_READERS)}.")
    try:
        return _READERS[key](text)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def _one_of(text: str, known: Collection[str]) -> str:
    if text not in known:
        raise ValueError(f"{text!r} is not one of {', '.join(known)}.")
    return text


def _words(text: str) -> Mapping[str, Colour | None]:
    words: dict[str, Colour | None] = {}
    for item in text.split():
        match = _WORD.fullmatch(item)
        if match is None or not item.islower():
            raise ValueError(f"{item!r} is not a word in lower case, alone or followed by #rrggbb.")
        words[match[1]] = parse_colour(match[2]) if match[2] else None
    return words


def _head(text: str) -> tuple[float, float, float]:
    x, y, radius = (float(number) for number in text.split())
    return x, y, radius


def _parts(text: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    parts: list[tuple[str, tuple[str, ...]]] = []
    for line in _CONTINUATION.sub(" ", text.strip()).split("\n"):
        tone, colon, shape = line.rpartition(": ")
        if line.startswith("figure "):
            parts.append((line, ()))
        elif colon:
            parts.append((tone, (shape,)))
        elif parts and parts[-1][1]:
            parts[-1] = (parts[-1][0], (*parts[-1][1], line))
        else:
            raise ValueError(f"{line!r} needs a tone before it or in a line above.")
    return tuple(parts)


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "words": _words,
    "home": lambda text: tuple(_one_of(setting, SETTINGS) for setting in text.split()),
    "height": float,
    "stands": lambda text: _one_of(text, _STANDS),
    "blooms": lambda text: _one_of(text, _YES) in _YES,
    "lamp": float,
    "beam": lambda text: _one_of(text, _YES) in _YES,
    "colour": str,
    "dye": float,
    "head": _head,
    "parts": _parts,
    "build": lambda text: " ".join(text.split()),
}

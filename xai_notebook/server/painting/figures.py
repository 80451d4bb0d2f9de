"""The figures that may stand in a picture: one record each in `data/figures`, read once."""

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

__all__ = [
    "DATA",
    "FOLDER",
    "PLACES",
    "Figure",
    "RecordError",
    "choices",
    "known_figures",
    "read_records",
]

DATA: Final = Path(__file__).parent / "data"


class RecordError(ValueError):
    """A record cannot be used; the message says which, where and why."""


def read_records(path: Path) -> dict[str, Mapping[str, str]]:
    """Return the sections of a file in their order, each with its keys and values.

    Raises:
        RecordError: A line is neither a section, a key with its value, nor the value's next line,
            or a section or a key occurs twice.
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
    """Return the sections of a file in `DATA`, each value as what stands between its bars."""
    return {
        section: {key: tuple(" ".join(text.split()).split(" | ")) for key, text in record.items()}
        for section, record in read_records(DATA / name).items()
    }


FOLDER: Final = DATA / "figures"
PLACES: Final = (
    "city", "desert", "forest", "lake", "meadow", "moonscape", "mountains", "room", "sea", "space",
    "street", "underwater",
)  # fmt: skip
"""Where a scene may be: what `places` paints."""
_STANDS: Final = ("ground", "far", "water", "depths", "air", "hands")
_YES: Final = ("yes",)
_NEXT_LINE: Final = re.compile(r"\n(?=[-\d|])")
_WORD: Final = re.compile(r"([^\W\d_]+)(#\w+)?")


@dataclass(frozen=True)
class Figure:
    """A record: all there is to say about a figure, or about a piece that others are made of.

    Pieces have no height.

    Attributes:
        name: In brackets above the record.
        words: What people call it, lower-case; plain plurals are understood without being listed.
            `crow#2e2e38` is a word for one that has a colour of its own.
        home: Places where it may be when the prompt does not say where.
        height: In an ordinary shot, as a fraction of the picture's shorter side.
        stands: `ground`; `far`: further back, being large; `water`: on it where there is some,
            further back too; `depths`: in water; `air`; `hands`: of the first subject.
        blooms: It is never alone in a meadow.
        lamp: Height at which it is lit when it is dark, as a fraction of its own height.
        beam: That light turns.
        colour: The tone that `colour` stands for in its parts when the prompt names no other.
        dye: How much of a colour that was named it takes on, 0 to 1.
        head: Where a helmet goes: x, y and radius; only creatures have one.
        parts: What draws it, the most distant first: tones and their shapes (see `drawing`).
        build: The measures of an animal on four legs (see `quadrupeds`), instead of parts.
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
        """Whether it is a creature."""
        return self.head is not None or bool(self.build)


def known_figures() -> Mapping[str, Figure]:
    """Return every figure by its name.

    Raises:
        RecordError: A record is not as `Figure` describes it.
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
        raise ValueError("whatever has a height has a home and a colour too.")
    if figure.words and not figure.height:
        raise ValueError("whatever has words has a height too.")
    return figure


def _read_value(key: str, text: str) -> Any:
    if key not in _READERS:
        raise ValueError(f"{key!r} is no key: use {', '.join(_READERS)}.")
    try:
        return _READERS[key](text)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def _one_of(text: str, known: Collection[str]) -> str:
    if text not in known:
        raise ValueError(f"{text!r} is none of {', '.join(known)}.")
    return text


def _words(text: str) -> Mapping[str, Colour | None]:
    words: dict[str, Colour | None] = {}
    for item in text.split():
        match = _WORD.fullmatch(item)
        if match is None or not item.islower():
            raise ValueError(f"{item!r} is no word in lower case, alone or with #rrggbb after it.")
        words[match[1]] = parse_colour(match[2]) if match[2] else None
    return words


def _head(text: str) -> tuple[float, float, float]:
    x, y, radius = (float(number) for number in text.split())
    return x, y, radius


def _parts(text: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    parts: list[tuple[str, tuple[str, ...]]] = []
    for line in _NEXT_LINE.sub(" ", text.strip()).split("\n"):
        tone, colon, shape = line.rpartition(": ")
        if line.startswith("figure "):
            parts.append((line, ()))
        elif colon:
            parts.append((tone, (shape,)))
        elif parts and parts[-1][1]:
            parts[-1] = (parts[-1][0], (*parts[-1][1], line))
        else:
            raise ValueError(f"{line!r} needs a tone before it, or above.")
    return tuple(parts)


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "words": _words,
    "home": lambda text: tuple(_one_of(place, PLACES) for place in text.split()),
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

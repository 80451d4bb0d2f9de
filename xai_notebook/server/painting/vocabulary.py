"""The words the painter understands: those of `data/words.ini`, and what the figures are called."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from xai_notebook.server.painting import figures
from xai_notebook.server.painting.colours import parse_colour
from xai_notebook.server.painting.records import DATA, read_records

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from xai_notebook.server.painting.colours import Colour

__all__ = ["KINDS", "Meaning", "Vocabulary", "vocabulary"]

KINDS: Final = ("time", "weather", "season", "place", "style", "sky", "subject")
"""What a word may speak of; a subject is a figure."""


@dataclass(frozen=True)
class Meaning:
    """One of the things a word may say.

    Attributes:
        kind: One of `KINDS`.
        value: Which time, weather … or figure it is.
        colour: Of a subject that is not like others of its kind.
    """

    kind: str
    value: str
    colour: Colour | None = None


@dataclass(frozen=True)
class Vocabulary:
    """All words, in lower case.

    Attributes:
        meanings: Words of the `KINDS`.
        colours: Words of colours.
        surfaces: Things a colour word can belong to without being a subject: what they are.
        numbers: How many there are of what follows.
        negations: What follows is not there.
    """

    meanings: Mapping[str, tuple[Meaning, ...]]
    colours: Mapping[str, Colour]
    surfaces: Mapping[str, str]
    numbers: Mapping[str, int]
    negations: frozenset[str]

    def look_up(self, word: str) -> tuple[Meaning, ...]:
        """Return what a lower-case word means, in the singular or a plain plural."""
        for ending, letter in (("", ""), ("s", ""), ("es", ""), ("ies", "y")):
            stem = word[: len(word) - len(ending)] + letter if word.endswith(ending) else ""
            if len(stem) > 1 and stem in self.meanings:
                return self.meanings[stem]
        return ()


def vocabulary() -> Vocabulary:
    """Return the words; they are read when they are first asked for."""
    return _learn(figures.FOLDER)


@functools.cache
def _learn(_folder: Path) -> Vocabulary:
    """Read the words; the folder is that of the figures."""
    lists = {kind: _by_word(values) for kind, values in read_records(DATA / "words.ini").items()}
    meanings: dict[str, tuple[Meaning, ...]] = {}
    for kind in KINDS[:-1]:
        for word, value in lists[kind].items():
            meanings[word] = (*meanings.get(word, ()), Meaning(kind, value))
    for figure in figures.known_figures().values():
        for word, colour in figure.words.items():
            meaning = Meaning("subject", figure.name, colour)
            meanings[word] = (*meanings.get(word, ()), meaning)
    return Vocabulary(
        meanings,
        colours={word: parse_colour(value) for word, value in lists["colour"].items()},
        surfaces=lists["surface"],
        numbers={word: int(value) for word, value in lists["number"].items()},
        negations=frozenset(lists["negation"]),
    )


def _by_word(values: Mapping[str, str]) -> dict[str, str]:
    return {word: value for value, words in values.items() for word in words.split()}

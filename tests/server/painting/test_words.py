"""The words of a prompt: none that was ever understood is forgotten."""

from __future__ import annotations

from pathlib import Path

from xai_notebook.server.painting import vocabulary

KNOWN = Path(__file__).with_name("known_words.txt")
"""A line says what words mean, then the words."""


def meanings(word: str) -> set[str]:
    """Return all that a word says, as the list writes it."""
    found = {f"{kind} {value}" for kind, value in vocabulary.look_up(word)}
    if word in vocabulary.COLOURS:
        found.add("colour #{:02x}{:02x}{:02x}".format(*vocabulary.COLOURS[word]))
    if word in vocabulary.SURFACES:
        found.add(f"surface {vocabulary.SURFACES[word]}")
    if word in vocabulary.NUMBERS:
        found.add(f"number {vocabulary.NUMBERS[word]}")
    if word in vocabulary.NEGATIONS:
        found.add("negation -")
    return found


def test_no_word_is_forgotten() -> None:
    """Every word still says at least what it once said."""
    forgotten = []
    for line in KNOWN.read_text(encoding="utf-8").splitlines():
        meaning, words = line.split(": ")
        forgotten += [(meaning, word) for word in words.split() if meaning not in meanings(word)]
    assert forgotten == []

"""The words of a prompt: none that was ever understood is forgotten."""

from __future__ import annotations

from pathlib import Path

from xai_notebook.server.painting.scene import vocabulary

KNOWN = Path(__file__).with_name("known_words.txt")
"""A line says what words mean, then the words."""


def meanings(word: str) -> set[str]:
    """Return all meanings of a word in the notation of the file."""
    known = vocabulary()
    found = {f"{meaning.kind} {meaning.value}" for meaning in known.look_up(word)}
    if word in known.colours:
        found.add("colour #{:02x}{:02x}{:02x}".format(*known.colours[word]))
    if word in known.surfaces:
        found.add(f"surface {known.surfaces[word]}")
    if word in known.numbers:
        found.add(f"number {known.numbers[word]}")
    if word in known.negations:
        found.add("negation -")
    return found


def test_every_known_word_keeps_its_meaning() -> None:
    forgotten = []
    for line in KNOWN.read_text(encoding="utf-8").splitlines():
        meaning, words = line.split(": ")
        forgotten += [(meaning, word) for word in words.split() if meaning not in meanings(word)]
    assert forgotten == []

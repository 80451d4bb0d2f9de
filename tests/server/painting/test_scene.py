"""Understanding and rewriting prompts, without painting."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from xai_notebook.server.painting.scene import read_scene, rewrite, vocabulary


def test_a_colour_belongs_to_the_next_subject_or_surface() -> None:
    scene = read_scene("a green bicycle against a yellow wall")
    (bicycle,) = scene.subjects
    assert (bicycle.name, bicycle.colour) == ("bicycle", vocabulary().colours["green"])
    assert scene.backdrop == vocabulary().colours["yellow"]
    assert scene.colours == ()


@pytest.mark.parametrize(
    ("prompt", "setting", "weather", "time"),
    [
        ("a lighthouse in a storm at night", "sea", "storm", "night"),
        ("ein Wald im Nebel, Morgen", "forest", "fog", "dawn"),
        ("un faro en la nieve al atardecer", "sea", "snow", "dusk"),
        ("un renard dans le désert à midi", "desert", None, "day"),
        ("a cat on the moon", "moonscape", None, "night"),
    ],
)
def test_words_of_four_languages_set_setting_weather_and_time(
    prompt: str, setting: str, weather: str | None, time: str
) -> None:
    scene = read_scene(prompt)
    assert (scene.setting, scene.time) == (setting, time)
    assert weather is None or scene.weather == weather


def test_negated_words_are_left_out() -> None:
    assert read_scene("a meadow with no tree").subjects == ()


def test_the_first_five_pictures_have_different_views() -> None:
    assert len({read_scene("a fox", index).shot.name for index in range(5)}) == 5


@pytest.mark.parametrize("mark", ["[moderated]", "[moderated:2]"])
def test_moderation_marks_do_not_change_the_rewritten_prompt(mark: str) -> None:
    assert rewrite(f"a fox {mark}") == rewrite("a fox")


PROMPTS = ["a fox", "rain in the city", "fog", "a storm at sea", "pencil sketch of a car", "snow",
           "an oil painting of a hill", "noir street", "watercolor boat at dusk"]  # fmt: skip


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_rewritten_prompt_is_not_rewritten_again(prompt: str) -> None:
    for index in range(4):
        rewritten = rewrite(prompt, index)
        assert rewrite(rewritten, 1, "other") == rewritten
        assert rewrite(rewritten, edit=True) == rewritten


@pytest.mark.parametrize("prompt", PROMPTS)
def test_rewriting_adds_no_subject_and_no_colour(prompt: str) -> None:
    for index in range(4):
        scene, again = read_scene(prompt, index), read_scene(rewrite(prompt, index), index)
        assert again.subjects == scene.subjects
        assert again.colours == scene.colours
        assert again.sky == scene.sky
        assert (again.time, again.style) == (scene.time, scene.style)


def test_prompts_of_more_than_forty_words_are_unchanged() -> None:
    prompt = "a fox, " + ", ".join(["with one more thing to say"] * 8)
    assert rewrite(prompt) == prompt


def test_edits_are_rewritten_as_instructions() -> None:
    """The result names the change and what to keep, but neither lens nor view."""
    night = rewrite("make it night", edit=True)
    assert night.startswith("Make it night, with ")
    assert night.endswith("; keep the composition, the subject and everything else as they are.")
    assert "lens" not in night
    assert "feels" not in night
    assert rewrite(night, edit=True) == night
    assert rewrite("snow", edit=True).startswith("Change the picture: snow, with ")


@pytest.mark.parametrize(
    ("prompt", "subjects", "setting"),
    [
        ("a beach with palm trees", ["palm"], "sea"),
        ("an ice cream on the beach", ["icecream"], "sea"),
        ("a turtle under water", ["turtle"], "underwater"),
        ("a cat reading a book", ["cat", "reading"], "room"),
        ("a rose in a vase", ["vase"], "room"),
        ("planet earth", ["earth"], "space"),
        ("a camel in the desert", ["camel"], "desert"),
        ("the water cycle", [], "lake"),
        ("a bowl of ramen on a wooden table", ["bowl"], "room"),
        ("a portrait in a garden", ["person"], "meadow"),
        ("portrait of a fox in the forest", ["fox"], "forest"),
        ("two cats", ["cat", "cat"], "room"),
        ("three small red apples and a cup", ["apple"] * 3, "room"),
        ("a horse and 2 dogs", ["horse", "dog", "dog"], "meadow"),
        ("two weeks with a cat and a dog", ["cat", "dog"], "meadow"),
    ],
)
def test_subjects_are_counted_and_phrases_understood(
    prompt: str, subjects: list[str], setting: str
) -> None:
    scene = read_scene(prompt)
    assert [subject.name for subject in scene.subjects] == subjects
    if len(subjects) == 1:
        assert scene.setting == setting


def test_rewriting_imports_neither_pillow_nor_ipython() -> None:
    code = (
        "import sys; from xai_notebook.server import EmbeddedServer;"
        "from xai_notebook.server.painting import rewrite; rewrite('a fox');"
        "assert not {'PIL', 'IPython', 'ipywidgets', 'traitlets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


KNOWN = Path(__file__).with_name("known_words.txt")
"""Each line has a meaning, a colon and the words with this meaning."""


def meanings(word: str) -> set[str]:
    """Return all meanings of a word in the notation of the file."""
    known = vocabulary()
    result = {f"{meaning.kind} {meaning.value}" for meaning in known.look_up(word)}
    if word in known.colours:
        result.add("colour #{:02x}{:02x}{:02x}".format(*known.colours[word]))
    if word in known.surfaces:
        result.add(f"surface {known.surfaces[word]}")
    if word in known.numbers:
        result.add(f"number {known.numbers[word]}")
    if word in known.negations:
        result.add("negation -")
    return result


def test_every_known_word_keeps_its_meaning() -> None:
    forgotten = []
    for line in KNOWN.read_text(encoding="utf-8").splitlines():
        meaning, words = line.split(": ")
        forgotten += [(meaning, word) for word in words.split() if meaning not in meanings(word)]
    assert forgotten == []

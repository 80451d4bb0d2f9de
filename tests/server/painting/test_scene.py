"""Reading prompts, without painting."""

from __future__ import annotations

import subprocess
import sys

import pytest

from xai_notebook.server.painting.scene import read_scene, rewrite, vocabulary


def test_colours_go_with_what_they_stand_before() -> None:
    """A colour belongs to the subject or surface after it."""
    scene = read_scene("a green bicycle against a yellow wall")
    assert [(s.name, s.colour) for s in scene.subjects] == [
        ("bicycle", vocabulary().colours["green"])
    ]
    assert scene.backdrop == vocabulary().colours["yellow"]
    assert scene.colours == ()


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a lighthouse in a storm at night", ("sea", "storm", "night")),
        ("ein Wald im Nebel, Morgen", ("forest", "fog", "dawn")),
        ("un faro en la nieve al atardecer", ("sea", "snow", "dusk")),
        ("un renard dans le désert à midi", ("desert", None, "day")),
        ("a cat on the moon", ("moonscape", None, "night")),
    ],
)
def test_words_set_place_weather_and_time(
    prompt: str, expected: tuple[str, str | None, str]
) -> None:
    """English, German, French and Spanish words are understood."""
    scene = read_scene(prompt)
    place, weather, when = expected
    assert scene.setting == place
    assert scene.time == when
    assert weather is None or scene.weather == weather


def test_negated_words_are_left_out() -> None:
    """What is said not to be there is not there."""
    assert read_scene("a meadow with no tree").subjects == ()


def test_takes_have_different_views() -> None:
    """The first five pictures are seen from five sides."""
    assert len({read_scene("a fox", index).shot.name for index in range(5)}) == 5


def test_moderation_marks_are_no_part_of_the_scene() -> None:
    """The rehearsal mark changes neither the picture nor the rewritten prompt."""
    assert rewrite("a fox") == rewrite("a fox [moderated:2]").replace(" [moderated:2]", "")
    assert "[" not in rewrite("a fox [moderated]")


PROMPTS = ["a fox", "rain in the city", "fog", "a storm at sea", "pencil sketch of a car", "snow",
           "an oil painting of a hill", "noir street", "watercolor boat at dusk"]  # fmt: skip


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_rewritten_prompt_is_never_rewritten(prompt: str) -> None:
    """What comes back from a rewrite is sent on as it is, also for edits."""
    for index in range(4):
        rewritten = rewrite(prompt, index)
        assert rewrite(rewritten, 1, "other") == rewritten
        assert rewrite(rewritten, edit=True) == rewritten


@pytest.mark.parametrize("prompt", PROMPTS)
def test_rewriting_adds_no_subject_and_no_colour(prompt: str) -> None:
    """A rewritten prompt is read as the same scene."""
    for index in range(4):
        scene, again = read_scene(prompt, index), read_scene(rewrite(prompt, index), index)
        assert again.subjects == scene.subjects
        assert again.colours == scene.colours
        assert again.sky == scene.sky
        assert (again.time, again.style) == (scene.time, scene.style)


def test_detailed_prompts_stay_as_they_are() -> None:
    """Nothing is added to a prompt of more than forty words."""
    prompt = "a fox, " + ", ".join(["with one more thing to say"] * 8)
    assert rewrite(prompt) == prompt


def test_edits_are_rewritten_as_instructions() -> None:
    """An edit says what changes and what stays; it speaks of neither lens nor view."""
    night = rewrite("make it night", edit=True)
    assert night.startswith("Make it night, with ")
    assert night.endswith("; keep the composition, the subject and everything else as they are.")
    assert "lens" not in night
    assert "feels" not in night
    assert rewrite(night, edit=True) == night
    assert rewrite("snow", edit=True).startswith("Change the picture: snow, with ")


@pytest.mark.parametrize(
    ("prompt", "subjects", "place"),
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
def test_phrases(prompt: str, subjects: list[str], place: str) -> None:
    """Some things take more than one word."""
    scene = read_scene(prompt)
    assert [subject.name for subject in scene.subjects] == subjects
    if len(subjects) == 1:
        assert scene.setting == place


def test_rewriting_needs_no_pillow() -> None:
    """Reading and rewriting prompts does not import Pillow: cold starts stay quick."""
    code = (
        "import sys; from xai_notebook.server import EmbeddedServer;"
        "from xai_notebook.server.painting import rewrite; rewrite('a fox');"
        "assert not {'PIL', 'IPython', 'ipywidgets', 'traitlets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""`--matrix`: its requests and their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from xai_notebook.errors import OptionError

if TYPE_CHECKING:
    from harness import Served
    from xai_notebook.generation.session import Session


def test_axes_of_prompt_options_and_models_are_combined(session: Session, server: Served) -> None:
    """Alternatives of the prompt vary slowest, models fastest."""
    batch = session.generate(
        "a {red|blue} fox", matrix={"aspect_ratio": ["1:1", "2:1"]},
        model=["grok-imagine-image", "grok-imagine-image-2.0"],
    )  # fmt: skip
    requests = [(image.prompt, image.request.aspect_ratio, image.request.model) for image in batch]
    assert requests == [
        (f"a {colour} fox", ratio, model)
        for colour in ("red", "blue")
        for ratio in ("1:1", "2:1")
        for model in ("grok-imagine-image", "grok-imagine-image-2.0")
    ]
    assert len(server.calls) == 8
    assert batch[7].chosen == ("blue", "aspect ratio 2:1", "grok-imagine-image-2.0")
    assert {round(image.size[0] / image.size[1]) for image in batch if image.size} == {1, 2}


def test_one_option_can_be_the_only_axis(session: Session, server: Served) -> None:
    batch = session.generate("a fox", matrix="model=grok-imagine-image,grok-imagine-image-2.0")
    assert [image.label for image in batch] == ["grok-imagine-image", "grok-imagine-image-2.0"]
    assert len(server.calls) == 2


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ("aspekt_ratio=1:1,2:1", "Did you mean aspect_ratio"),
        (True, "found no {a|b}"),
        ({"aspect_ratio": ["1:1"] * 2, "quality": ["low", "hi"]}, "'hi' is not one of"),
    ],
)
def test_invalid_axes_are_refused_before_anything_is_sent(
    session: Session, server: Served, matrix: object, message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        session.generate("a fox", matrix=matrix)
    assert not server.calls


def test_too_many_combinations_are_refused(session: Session, server: Served) -> None:
    """Axes of the prompt and of options count together."""
    prompt = "{a|b|c|d|e|f|g|h} " * 2 + "fox"
    with pytest.raises(OptionError, match="832 combinations are more than 500"):
        session.generate(prompt, matrix={"aspect_ratio": [
            "1:1", "3:4", "4:3", "9:16", "16:9", "2:3", "3:2", "9:19.5", "19.5:9", "9:20", "20:9",
            "1:2", "2:1",
        ]})  # fmt: skip
    assert not server.calls


def test_the_plan_lists_every_value_of_an_axis(session: Session) -> None:
    plan = session.generate("a fox", matrix={"aspect_ratio": ["1:1", "2:1"]}, dry_run=True)
    assert ("aspect ratio", "1:1, 2:1") in plan.rows()

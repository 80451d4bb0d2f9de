"""Rewrites that fail: a nicety, which never keeps a picture from being made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

if TYPE_CHECKING:
    from harness import Served
    from xai_notebook.generation.session import Session


def test_a_failure_leaves_the_prompt_as_written(session: Session, quick: Served) -> None:
    """The picture is made, the note says why, and no caption speaks of a rewrite."""
    quick.faults.chat_failure = (grpc.StatusCode.INVALID_ARGUMENT, "too poetic")
    batch = session.generate("a fox", rewrite="chat")
    assert quick.last.prompt == batch[0].prompt == "a fox"
    assert batch[0].rewritten_by is None
    (note,) = batch.notes
    assert note.startswith("Not rewritten, sent as written:")
    assert "too poetic" in note


@pytest.mark.parametrize("text", ["", " \n", '""'])
def test_an_empty_answer_is_no_prompt(session: Session, quick: Served, text: str) -> None:
    """What was written is sent, and what answered nothing is named."""
    quick.faults.chat_text = text
    batch = session.generate("a fox", rewrite="chat")
    assert quick.last.prompt == "a fox"
    (note,) = batch.notes
    assert note.startswith("Not rewritten, sent as written:")
    assert "chat" in note


@pytest.mark.parametrize("text", ['"A fox, red."', "“A fox, red.”", "  A fox, red.\n"])
def test_quotes_around_an_answer_are_left_out(session: Session, quick: Served, text: str) -> None:
    """Chat models like to put them there."""
    quick.faults.chat_text = text
    session.generate("a fox", rewrite="chat")
    assert quick.last.prompt == "A fox, red."

"""The interface for engines in Python."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import grpc
import pytest

from bare_client import ask, image_request, refusal
from openai_stub import EDIT, enormous_png, png
from xai_notebook.client import wire
from xai_notebook.server.engine import Engine
from xai_notebook.server.validation import Model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xai_notebook.server.engine import EngineInput
    from xai_notebook.server.validation import ImageOrder


class _RecordingEngine(Engine):
    """An engine like the one in the documentation, which records its orders."""

    def __init__(self) -> None:
        self.orders: list[tuple[ImageOrder, int, Sequence[EngineInput]]] = []
        self.state = "new"
        self.made = png()

    async def start(self) -> None:
        self.state = "started"

    async def close(self) -> None:
        self.state = "closed"

    async def models(self) -> tuple[Model, ...]:
        return (Model("mine-1", ("mine",), 0, version="7"), Model("flat-1", (), 0, edits=False))

    async def make(self, order: ImageOrder, index: int, inputs: Sequence[EngineInput]) -> bytes:
        self.orders.append((order, index, inputs))
        return self.made


def test_an_engine_gets_the_checked_request_and_each_index() -> None:
    """The reply has the engine's model and media type."""
    engine = _RecordingEngine()
    reply = ask(image_request(n=3, prompt="a fox [moderated:2]"), engine=engine)
    assert reply.model == "mine-1"
    assert [index for _, index, _ in engine.orders] == [0, 1, 2]
    assert engine.orders[0][0].prompt == "a fox [moderated:2]"
    encoded = base64.b64encode(png()).decode()
    expected = [(f"data:image/png;base64,{encoded}", "")] * 3
    assert [(image.base64, image.up_sampled_prompt) for image in reply.images] == expected
    assert engine.state == "closed"


def test_an_engine_gets_inputs_as_sent_and_decoded() -> None:
    engine = _RecordingEngine()
    ask(image_request(**EDIT), engine=engine)
    ((_, _, (source,)),) = engine.orders
    assert source.data == png("navy")
    assert source.image.size == (64, 48)


def test_the_models_of_an_engine_are_listed() -> None:
    listed = ask(wire.Empty(), wire.LIST_IMAGE_GENERATION_MODELS, engine=_RecordingEngine()).models
    assert [(model.name, list(model.aliases), model.version) for model in listed] == [
        ("mine-1", ["mine"], "7"),
        ("flat-1", [], ""),
    ]
    assert wire.Modality.IMAGE not in listed[1].input_modalities


@pytest.mark.parametrize("made", [b"", b"<html>", png()[:60], enormous_png()])
def test_pictures_of_an_engine_are_checked(made: bytes) -> None:
    engine = _RecordingEngine()
    engine.made = made
    code, details, _ = refusal(image_request(), engine=engine)
    assert code is grpc.StatusCode.INTERNAL
    assert "mine-1 made a picture that cannot be used" in details

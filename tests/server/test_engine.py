"""Engines: their choice, and the interface for engines in Python."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from bare_client import dial, image_request
from openai_stub import EDIT, enormous_png, png
from xai_notebook.client import wire
from xai_notebook.errors import ConfigurationError
from xai_notebook.server import EmbeddedServer
from xai_notebook.server.__main__ import main
from xai_notebook.server.engine import Engine, PaintingEngine
from xai_notebook.server.openai_engine import OpenAIEngine
from xai_notebook.server.runner import choose_engine
from xai_notebook.server.validation import Model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xai_notebook.server.engine import EngineInput
    from xai_notebook.server.validation import ImageOrder


class Mine(Engine):
    """An engine as the documentation shows it."""

    def __init__(self) -> None:
        self.orders: list[tuple[ImageOrder, int, Sequence[EngineInput]]] = []
        self.state = "new"
        self.made = png()

    async def start(self) -> None:
        """Note it."""
        self.state = "started"

    async def close(self) -> None:
        """Note it."""
        self.state = "closed"

    async def models(self) -> tuple[Model, ...]:
        """Return two."""
        return (Model("mine-1", ("mine",), 0, version="7"), Model("flat-1", (), 0, edits=False))

    async def make(self, order: ImageOrder, index: int, inputs: Sequence[EngineInput]) -> bytes:
        """Return the same picture always."""
        self.orders.append((order, index, inputs))
        return self.made


def broken() -> Engine:
    raise OSError("no GPU")


def offer(monkeypatch: pytest.MonkeyPatch, **targets: str) -> None:
    """Pretend that an installed package has these entry points."""
    points = [metadata.EntryPoint(n, v, "xai_notebook.engines") for n, v in targets.items()]
    found = {"xai_notebook.engines": points}
    monkeypatch.setattr(metadata, "entry_points", lambda group: found[group])
    monkeypatch.setitem(sys.modules, "an_engine", sys.modules[__name__])


def ask(engine: Engine, request: Any, method: str = wire.GENERATE_IMAGE) -> Any:
    async def run() -> Any:
        async with EmbeddedServer(engine=engine) as server, dial(server) as call:
            return await call(method, request)

    return asyncio.run(run())


def test_the_painter_is_the_default() -> None:
    assert [type(choose_engine(wanted)) for wanted in ("", "painting")] == [PaintingEngine] * 2
    assert isinstance(EmbeddedServer().engine, PaintingEngine)


def test_an_entry_point_is_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, mine="an_engine:Mine")
    engine = choose_engine("mine")
    assert isinstance(engine, Mine)
    assert engine.location == "mine"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("paint", "one of: painting, bad, broken, gone, mine"),
        ("bad", "returned no engine"),
        ("broken", "no GPU"),
        ("gone", "cannot be loaded: ModuleNotFoundError"),
    ],
)
def test_an_invalid_engine_is_an_error(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    offer(
        monkeypatch,
        mine="an_engine:Mine", bad="builtins:dict", broken="an_engine:broken", gone="no_such:Thing",
    )  # fmt: skip
    with pytest.raises(ConfigurationError, match=text):
        choose_engine(name)


def test_a_url_is_an_images_api() -> None:
    assert isinstance(choose_engine("http://localhost:8000/v1"), OpenAIEngine)


def test_the_command_line_refuses_an_invalid_engine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--engine", "http://example.com/v1"]) == 1
    assert "without TLS" in capsys.readouterr().err


def test_pictures_of_an_engine() -> None:
    """It gets the checked request and each index; the reply has its model and media type."""
    engine = Mine()
    reply = ask(engine, image_request(n=3, prompt="a fox [moderated:2]"))
    assert reply.model == "mine-1"
    assert [index for _, index, _ in engine.orders] == [0, 1, 2]
    assert engine.orders[0][0].prompt == "a fox [moderated:2]"
    encoded = base64.b64encode(png()).decode()
    assert [image.base64 for image in reply.images] == [f"data:image/png;base64,{encoded}"] * 3
    assert [image.up_sampled_prompt for image in reply.images] == [""] * 3
    assert engine.state == "closed"


def test_an_engine_gets_inputs_as_sent_and_decoded() -> None:
    engine = Mine()
    ask(engine, image_request(**EDIT))
    ((_, _, (source,)),) = engine.orders
    assert source.data == png("navy")
    assert source.image.size == (64, 48)


def test_the_models_of_an_engine_are_listed() -> None:
    listed = ask(Mine(), wire.Empty(), wire.LIST_IMAGE_GENERATION_MODELS).models
    assert [(one.name, list(one.aliases), one.version) for one in listed] == [
        ("mine-1", ["mine"], "7"),
        ("flat-1", [], ""),
    ]
    assert wire.Modality.IMAGE not in listed[1].input_modalities


@pytest.mark.parametrize("made", [b"", b"<html>", png()[:60], enormous_png()])
def test_pictures_of_an_engine_are_checked(made: bytes) -> None:
    engine = Mine()
    engine.made = made
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        ask(engine, image_request())
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "mine-1 made a picture that cannot be used" in (caught.value.details() or "")


def test_the_painter_imports_neither_http_nor_package_metadata() -> None:
    code = (
        "import sys, json; from xai_notebook.server.runner import choose_engine; "
        "from xai_notebook.server import EmbeddedServer; EmbeddedServer(engine=choose_engine('')); "
        "print(json.dumps([name for name in ('requests', 'PIL', 'importlib.metadata', "
        "'xai_notebook.server.openai_engine', 'requests.adapters') "
        "if name in sys.modules]))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == []

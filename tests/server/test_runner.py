"""Start and stop of an embedded server, and the choice of its engine."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from bare_client import dial, image_request
from xai_notebook.client import wire
from xai_notebook.errors import ConfigurationError
from xai_notebook.server import EmbeddedServer
from xai_notebook.server.engine import Engine, PaintingEngine
from xai_notebook.server.openai_engine import OpenAIEngine
from xai_notebook.server.runner import choose_engine


async def test_a_taken_port_is_an_error_without_output(capfd: pytest.CaptureFixture[str]) -> None:
    async with EmbeddedServer() as server:
        with pytest.raises(ConfigurationError, match="probably in use"):
            await EmbeddedServer(port=server.port).start()
    assert capfd.readouterr().err == ""


def test_only_loopback_can_be_bound() -> None:
    with pytest.raises(ConfigurationError, match="loopback"):
        EmbeddedServer(host="0.0.0.0")


async def test_a_server_can_be_stopped_twice_and_started_again() -> None:
    server = EmbeddedServer()
    await server.start()
    await server.stop()
    await server.stop()
    async with server, dial(server) as call:
        assert len((await call(wire.GENERATE_IMAGE, image_request())).images) == 1


def broken() -> Engine:
    raise OSError("no GPU")


@pytest.fixture
def entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package with entry points for engines."""
    targets = {
        "mine": "xai_notebook.server.engine:PaintingEngine",
        "bad": "builtins:dict",
        "broken": "an_engine:broken",
        "gone": "no_such:Thing",
    }
    points = [metadata.EntryPoint(n, v, "xai_notebook.engines") for n, v in targets.items()]
    groups = {"xai_notebook.engines": points}
    monkeypatch.setattr(metadata, "entry_points", lambda group: groups[group])
    monkeypatch.setitem(sys.modules, "an_engine", sys.modules[__name__])


def test_the_painter_is_the_default() -> None:
    assert [type(choose_engine(name)) for name in ("", "painting")] == [PaintingEngine] * 2
    assert isinstance(EmbeddedServer().engine, PaintingEngine)


def test_an_entry_point_is_found_by_name(entry_points: None) -> None:
    engine = choose_engine("mine")
    assert isinstance(engine, PaintingEngine)
    assert engine.location == "mine"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("paint", "one of: painting, bad, broken, gone, mine"),
        ("bad", "did not return an engine"),
        ("broken", "no GPU"),
        ("gone", "cannot be loaded: ModuleNotFoundError"),
    ],
)
def test_an_invalid_engine_is_an_error(entry_points: None, name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        choose_engine(name)


def test_a_url_chooses_the_engine_for_the_openai_api() -> None:
    assert isinstance(choose_engine("http://localhost:8000/v1"), OpenAIEngine)


def test_the_painter_imports_neither_http_nor_package_metadata() -> None:
    code = (
        "import sys; from xai_notebook.server.runner import choose_engine; "
        "from xai_notebook.server import EmbeddedServer; EmbeddedServer(engine=choose_engine('')); "
        "assert not {'requests', 'PIL', 'importlib.metadata', "
        "'xai_notebook.server.openai_engine'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

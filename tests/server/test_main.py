"""The command line: `python -m xai_notebook.server`."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from xai_notebook.client import AsyncClient
from xai_notebook.errors import ApiError
from xai_notebook.server.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = [sys.executable, "-m", "xai_notebook.server"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_the_process_cleanly(number: Any) -> None:
    """The process prints one line when it is ready, and exits with status 0 and no other output."""
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        line = process.stdout.readline()
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert line.startswith("listening on 127.0.0.1:")
    assert int(line.rsplit(":", 1)[1]) > 0
    assert (process.returncode, out, err) == (0, "", "")


@pytest.fixture
def fail(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs a command, which must fail, and returns its line on stderr."""

    def run(*arguments: str) -> str:
        status = main(arguments)
        output, error = capfd.readouterr()
        assert (status, output, error.count("\n")) == (1, "", 1)
        return error

    return run


def test_a_taken_port_is_one_line_on_stderr(fail: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "in use" in fail("--port", str(taken.getsockname()[1]))


def test_an_invalid_engine_is_one_line_on_stderr(fail: Callable[..., str]) -> None:
    assert "without TLS" in fail("--engine", "http://example.com/v1")


def test_help_documents_simulated_moderation(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    assert "[moderated:2]" in text
    assert "XAI_NOTEBOOK_SERVER_KEY" in text


def statuses(*arguments: str, **environment: str) -> tuple[str, str, str]:
    """Start the process; return the statuses without and with the key "right", and stderr."""
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **environment},
    ) as process:  # fmt: skip
        port = process.stdout.readline().rsplit(":", 1)[1].strip()
        codes = [asyncio.run(list_models(f"127.0.0.1:{port}", key)) for key in ("", "right")]
        visible = Path(f"/proc/{process.pid}/cmdline").read_bytes() if os.name == "posix" else b""
        process.terminate()
        _, err = process.communicate(timeout=20)
    assert (b"right" in visible) == ("--api-key" in arguments)
    return codes[0], codes[1], err


async def list_models(address: str, key: str) -> str:
    """Ask for the models; return the name of the status."""
    async with AsyncClient(key, api_host=address) as client:
        try:
            await client.models.list_image_generation_models()
        except ApiError as error:
            return error.code
    return "OK"


def test_the_key_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    """The list of processes does not contain the key."""
    file = tmp_path / "key"
    file.write_text("right\n")
    expected = ("UNAUTHENTICATED", "OK", "")
    assert statuses("--api-key-file", str(file)) == expected
    assert statuses(XAI_NOTEBOOK_SERVER_KEY=" right ") == expected


def test_a_key_on_the_command_line_works_with_a_warning() -> None:
    without, with_key, err = statuses("--api-key", "right")
    assert (without, with_key) == ("UNAUTHENTICATED", "OK")
    assert "XAI_NOTEBOOK_SERVER_KEY or --api-key-file" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "text"), [(None, "No such file"), (b"", "is empty"), (b"two words", "characters")]
)
def test_an_invalid_key_file_is_one_line_on_stderr(
    tmp_path: Path, fail: Callable[..., str], content: bytes | None, text: str
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    assert text in fail("--api-key-file", str(file))

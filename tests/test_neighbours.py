"""The package in one process with xAI's SDK, and behind proxies: nothing is printed to stderr."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from harness import KEY, serve, start_kernel, without_xai

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OURS = (
    "import xai_notebook as xai\nmade = xai.generate('a red fox')\nassert made[0].status == 'ok'\n"
)
THEIRS = """
import os, xai_sdk
client = xai_sdk.Client(
    api_key=os.environ["XAI_API_KEY"],
    api_host=os.environ["XAI_API_HOST"],
    channel_options=[("grpc.enable_http_proxy", 0)],
)
response = client.image.sample(
    prompt="an owl", model="grok-imagine-image", image_format="base64"
)
assert response.image[:3] == b"\\xff\\xd8\\xff"
"""
ASYNC = """
import asyncio, os, xai_sdk, xai_notebook as xai
async def main():
    client = xai_sdk.AsyncClient(
        api_key=os.environ["XAI_API_KEY"], api_host=os.environ["XAI_API_HOST"]
    )
    theirs, ours = await asyncio.gather(
        client.image.sample("an owl", "grok-imagine-image", image_format="base64"),
        xai.agenerate("a red fox"),
    )
    assert (await theirs.image)[:3] == ours[0].data[:3]
    await client.close()
asyncio.run(main())
"""


@pytest.mark.parametrize(
    "code",
    [
        OURS + THEIRS,
        THEIRS + OURS,
        "import xai_sdk\n" + OURS + THEIRS,
        "import xai_notebook.client, xai_notebook.server\n" + THEIRS + OURS,
        ASYNC,
    ],
    ids=["ours-first", "theirs-first", "imported-first", "ours-imported-first", "at-once"],
)
def test_the_sdk_works_in_the_same_process(code: str, tmp_path: object) -> None:
    with serve() as server:
        environment = without_xai() | {
            "XAI_API_KEY": KEY,
            "XAI_API_HOST": server.address,
            "XAI_NOTEBOOK_HOME": f"{tmp_path}/home",
        }
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True, text=True, timeout=60, env=environment, check=False,
        )  # fmt: skip
        prompts = sorted(call.message.prompt for call in server.calls)
    assert (done.returncode, done.stderr) == (0, "")
    assert prompts == ["a red fox", "an owl"]


@pytest.mark.parametrize("module", ["client", "server", "generation.session"])
@pytest.mark.parametrize("given", [None, "1"])
def test_the_fork_handlers_of_grpc_are_off_by_default(module: str, given: str | None) -> None:
    """The handlers print into the output of a few in a thousand `!command` lines."""
    name = "GRPC_ENABLE_FORK_SUPPORT"
    environment = {key: value for key, value in without_xai().items() if key != name}
    code = (
        f"import os, sys, importlib.abc\n"
        f"class Finder(importlib.abc.MetaPathFinder):\n"
        f"    def find_spec(self, name, path, target=None):\n"
        f"        if name == 'grpc': print(os.environ.get({name!r}))\n"
        f"sys.meta_path.insert(0, Finder())\n"
        f"import xai_notebook.{module}, xai_notebook.server.runner, grpc"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=60, check=True,
        env=environment | ({name: given} if given else {}),
    )  # fmt: skip
    assert done.stdout.strip() == (given or "0")


PROXIES = {
    "forbidden": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    "password": b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
    "garbage": b"\x00\x01 what?\r\n\r\n" * 10,
    "garbage inside": b"HTTP/1.1 200 OK\r\n\r\n" + b"\x00\x01 what?\r\n\r\n" * 10,
    "closes": b"",
}
REFUSED = """
import xai_notebook as xai
try:
    xai.generate("a red fox", timeout=5)
except xai.XaiError as error:
    print(error)
"""
FORKED = """
import os, sys, warnings
import xai_notebook as xai
made, job = xai.generate("a red fox"), xai.generate("an owl", batch=True)
actions = [
    lambda: xai.generate("a pear"), lambda: xai.generate(each=["a plum", "a fig"]),
    lambda: made[0].edit("at night"), lambda: made.redo(0), job.refresh, job.wait, xai.jobs,
]
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads
    child = os.fork()
if child == 0:
    for action in actions:
        try:
            action()
        except xai.XaiError as error:
            print(type(error).__name__)
    sys.exit()
os.waitpid(child, 0)
"""
ENDING = """
import sys, threading, time
import xai_notebook as xai
def paint():
    try:
        xai.generate(each=["a fox", "an owl"] * 9)
    except xai.XaiError:
        pass  # the program exits during the call
threading.Thread(target=paint, daemon=True).start()
while not xai.history():
    time.sleep(0.01)
sys.exit()
"""


@contextlib.contextmanager
def proxy(answer: bytes) -> Iterator[str]:
    """Run a proxy that answers each CONNECT with the same bytes, and closes."""

    def serve_all() -> None:
        with contextlib.suppress(OSError):  # the listener is shut down
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(65536)
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve_all)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def variables_of_proxy(address: str) -> dict[str, str]:
    return {"XAI_API_KEY": KEY, "XAI_API_HOST": "api.x.ai", "https_proxy": address}


def run_code(code: str, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code with the package's setting of gRPC's log; collect file descriptors 1 and 2."""
    inherited = {name: value for name, value in without_xai().items() if "GRPC" not in name}
    home = {"XAI_NOTEBOOK_HOME": str(tmp_path / "home"), "XAI_NOTEBOOK_BACKEND": "auto"}
    return subprocess.run(
        [sys.executable, "-W", "default", "-c", code],
        capture_output=True, text=True, timeout=60, check=False, env=inherited | home | variables,
    )  # fmt: skip


@pytest.mark.parametrize("answer", PROXIES.values(), ids=PROXIES)
def test_only_the_error_reports_a_refusing_proxy(answer: bytes, tmp_path: Path) -> None:
    with proxy(answer) as address:
        done = run_code(REFUSED, tmp_path, **variables_of_proxy(address))
    assert done.stdout.startswith("api.x.ai cannot be reached")
    assert done.stderr == ""


def test_the_log_of_grpc_can_be_turned_on(tmp_path: Path) -> None:
    with proxy(PROXIES["forbidden"]) as address:
        done = run_code(REFUSED, tmp_path, GRPC_VERBOSITY="ERROR", **variables_of_proxy(address))
    assert "HTTP proxy returned response code 403" in done.stderr


def test_a_refusing_proxy_prints_nothing_into_a_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    with (
        proxy(PROXIES["password"]) as address,
        start_kernel(tmp_path / "work", **variables_of_proxy(address)) as kernel,
    ):
        shown = kernel.run(f"{REFUSED}\n!true")
    assert shown.stdout.startswith("api.x.ai cannot be reached")
    assert shown.stderr == ""


def test_a_forked_process_raises_errors_and_prints_no_warnings(tmp_path: Path) -> None:
    done = run_code(FORKED, tmp_path, XAI_NOTEBOOK_BACKEND="local")
    assert done.stdout.split() == ["ForkedProcessError"] * 7
    assert done.stderr == ""


def test_a_program_that_exits_during_calls_prints_no_warnings(tmp_path: Path) -> None:
    done = run_code(ENDING, tmp_path, XAI_NOTEBOOK_BACKEND="local")
    assert (done.returncode, done.stderr) == (0, "")

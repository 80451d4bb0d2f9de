"""Tools for tests: servers on loopback, real kernels, processes to be killed, small disks."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from jupyter_client.manager import KernelManager
from PIL import Image

from xai_notebook.client import wire
from xai_notebook.generation.event_loop import BackgroundLoop
from xai_notebook.library.storage.lock import is_alive
from xai_notebook.server import EmbeddedServer, Faults
from xai_notebook.settings import Configuration

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from jupyter_client.blocking.client import BlockingKernelClient

    from xai_notebook.generation.session import Session
    from xai_notebook.library import Library
    from xai_notebook.server import SeenCall

    Kernels = Callable[[], Session]
    """Makes sessions, each like a fresh kernel with the same library."""
    Opens = Callable[[Path], Library]
    Save = Callable[..., list[Any]]
    NewJpeg = Callable[[], bytes]
    Raw = Callable[[Path], contextlib.AbstractContextManager[sqlite3.Connection]]
    MakeOld = Callable[[Path, bytes], None]
    """These five are types of fixtures in `tests/library`."""
    Shoot = Callable[[Any, str], None]
    """Takes a screenshot of a page, with a name."""

KEY = "xai-key-of-the-tests-7f3a9c"
GENERATE = "/xai_api.Image/GenerateImage"
CENT = 10**8
"""Ticks in a US cent."""


def without_xai(environ: Any = os.environ) -> dict[str, str]:
    """Return the environment without our variables and without a surrounding notebook."""
    return {
        name: value
        for name, value in environ.items()
        if not name.upper().startswith("XAI_") and name != "JPY_SESSION_NAME"
    }


def settings_of(**variables: str) -> Configuration:
    """Return the configuration of the environment with these variables changed."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return Configuration.from_environment()


def needs_package(name: str) -> pytest.MarkDecorator:
    """Return a mark that skips a test if a Python package is not installed."""
    return pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed")


async def start_images(
    generate: Any,
    options: Any = (("grpc.max_send_message_length", -1),),
    list_models: Any = None,
) -> tuple[grpc.aio.Server, int]:
    """Start a server of image calls; return it and its port.

    Args:
        generate: Takes the bytes of a request and the context, and returns the reply's bytes.
        options: gRPC options of the server.
        list_models: Answers requests for the list of models and prices; None: they fail.
    """
    server = grpc.aio.server(options=options)
    handlers = {"GenerateImage": grpc.unary_unary_rpc_method_handler(generate)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("xai_api.Image", handlers),)
    )
    if list_models is not None:
        method = wire.LIST_IMAGE_GENERATION_MODELS.strip("/").split("/")
        handlers = {method[1]: grpc.unary_unary_rpc_method_handler(list_models)}
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(method[0], handlers),)
        )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


def hold_until(
    may_pass: Callable[[str], bool],
) -> Callable[[wire.GenerateImageRequest], Coroutine[Any, Any, None]]:
    """Return a value for `Faults.delay`: a reply waits until `may_pass(prompt)` is true.

    So a test can look at a temporary state for as long as it needs.
    """

    async def delay(request: wire.GenerateImageRequest) -> None:
        while not may_pass(request.prompt):  # noqa: ASYNC110  # changes in another thread
            await asyncio.sleep(0.01)

    return delay


@dataclass
class Served:
    """An embedded server on a background loop."""

    server: EmbeddedServer
    loop: BackgroundLoop

    @property
    def address(self) -> str:
        """The server's host and port."""
        return self.server.address

    @property
    def faults(self) -> Faults:
        """The faults that the server simulates."""
        return self.server.faults

    @property
    def calls(self) -> list[SeenCall]:
        """The image calls that the server has seen."""
        return [call for call in self.server.requests if call.method == GENERATE]

    @property
    def last(self) -> Any:
        """The last image request, as a message."""
        return self.calls[-1].message

    def reset(self) -> None:
        """Remove all faults."""
        for option in dataclasses.fields(Faults):
            if option.init:
                setattr(self.faults, option.name, getattr(Faults(), option.name))

    def wait_for_call(self, count: int, seconds: float = 60.0) -> SeenCall:
        """Return image call number `count`, once it has arrived."""
        return until(lambda: self.calls[count - 1] if len(self.calls) >= count else None, seconds)


def tiny(number: int = 0) -> bytes:
    """Return a valid JPEG of one pixel, a different one for each number."""
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1), (number % 256, number // 256 % 256, 0)).save(buffer, "JPEG")
    return buffer.getvalue()


def until(look: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait until `look` returns a true value, and return it."""
    deadline = time.monotonic() + seconds
    while not (value := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(0.005)
    return value


def fork() -> int:
    """Fork this process, although it has threads; return 0 in the child."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads
        return os.fork()


FORK_SERVER = """
import json, os, signal, sys, time, traceback
from pathlib import Path
import grpc, requests, xai_notebook.library, xai_notebook.pictures.pixels, xai_notebook.client
import xai_notebook.arguments.options, xai_notebook.generation.jobs.manager
from xai_notebook.generation.session import Session

def report(text):
    os.write(reports, text.encode())

signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # a victim that has ended leaves no zombie
for line in sys.stdin:
    if child := os.fork():
        print(child, flush=True)
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(2, 1)  # `print` would disturb the answers of this process
    pipe, environment, code = json.loads(line)
    os.environ.clear()
    os.environ.update(environment)
    reports = os.open(pipe, os.O_WRONLY)
    try:
        exec(code)
    except BaseException:
        report(traceback.format_exc())
    os._exit(0)
"""


@contextlib.contextmanager
def fork_server() -> Iterator[subprocess.Popen[str]]:
    """Run a process that forks others, or skip the test where processes cannot be forked.

    It has imported everything and has not used gRPC, so a new process starts in milliseconds.
    """
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this platform")
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", FORK_SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield process


class Victim:
    """A process to be killed.

    Attributes:
        reports: A stream of the texts that its code passes to `report`; it ends with the process.
    """

    def __init__(self, process: int, pipe: Path) -> None:
        self.process = process
        self.reports = pipe.open("rb", buffering=0)
        self._ended = False

    def wait(self) -> str:
        """Wait for the process to end; return its remaining reports, or an error's traceback."""
        reports = self.reports.read().decode()
        self._ended = True
        return reports

    def kill(self) -> float:
        """Kill the process, unless it has ended; return the time, on the monotonic clock."""
        killed = time.monotonic()
        if not self._ended:  # otherwise another process may have the id by now
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process, signal.SIGKILL)
            until(lambda: not is_alive(self.process))  # a write to the disk is finished first
            self._ended = True
        return killed


class Victims:
    """Starts processes to be killed."""

    def __init__(self, server: subprocess.Popen[str], folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._started: list[Victim] = []

    def start(self, code: str, **variables: str) -> Victim:
        """Run code in a new process, with `variables` added to this process' environment."""
        assert self._server.stdin
        assert self._server.stdout
        pipe = self._folder / f"{len(self._started)}"
        os.mkfifo(pipe)
        task = [str(pipe), {**os.environ, **variables}, code]
        print(json.dumps(task), file=self._server.stdin, flush=True)
        self._started.append(Victim(int(self._server.stdout.readline()), pipe))
        return self._started[-1]

    def close(self) -> None:
        """Kill all processes."""
        for victim in self._started:
            victim.kill()
            victim.reports.close()


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Drop root, which ignores permissions, while the block runs."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@contextlib.contextmanager
def small_disk_at(folder: Path, size: str) -> Iterator[Path]:
    """Mount a disk of a size such as `"8m"`, or skip the test if that is not permitted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    linux = sys.platform == "linux"
    if not linux or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def serve(**options: Any) -> Iterator[Served]:
    """Run an embedded server until the block ends."""
    loop = BackgroundLoop()
    server = EmbeddedServer(**options)
    loop.run(server.start())
    try:
        yield Served(server, loop)
    finally:
        loop.run(server.stop(None))
        loop.stop()


@dataclass
class Outcome:
    """The outputs of one cell."""

    outputs: list[dict[str, Any]] = field(default_factory=list)
    stdout: str = ""
    stderr: str = ""
    error: dict[str, Any] | None = None
    seconds: float = 0.0
    aborted: bool = False
    """The kernel did not run the cell, because it still handled the error of the cell before."""

    @property
    def html(self) -> list[str]:
        """Every HTML output, in order."""
        return [out["data"]["text/html"] for out in self.outputs if "text/html" in out["data"]]

    @property
    def text(self) -> list[str]:
        """Every plain text output, in order."""
        return [out["data"].get("text/plain", "") for out in self.outputs]

    @property
    def traceback(self) -> str:
        """The error output as text."""
        return "\n".join(self.error["traceback"]) if self.error else ""


class Kernel:
    """A real kernel in a process of its own."""

    program: Path | None = None
    """The kernel's program; None: ipykernel."""

    def __init__(self, folder: Path, **variables: str) -> None:
        """Start the kernel in `folder`, and wait until it is ready."""
        # The kernel neither reads the user's settings nor leaves files in the user's folders.
        private = {
            name: str(folder.parent / f"{folder.name}-{name.lower()}")
            for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")
        }
        self.home = folder.parent / f"{folder.name}-home"
        environment = without_xai() | private | {"XAI_NOTEBOOK_HOME": str(self.home)} | variables
        try:
            self._connect(folder, environment)
        except RuntimeError:
            if self.manager.is_alive():
                raise
            # It died: another process had taken a port that was chosen for it.
            self.client.stop_channels()
            self.manager.shutdown_kernel(now=True)
            self._connect(folder, environment)

    def _connect(self, folder: Path, environment: dict[str, str]) -> None:
        self.manager = KernelManager(kernel_name="python3")
        if self.program is not None:
            assert self.manager.kernel_spec
            command = [sys.executable, str(self.program), "-f", "{connection_file}"]
            self.manager.kernel_spec.argv = command
        self.manager.start_kernel(cwd=str(folder), env=environment)
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def start(self, code: str, cell: str | None = None, *, console: bool = False) -> str:
        """Start a cell, and return the id of its message.

        Args:
            code: The cell's code.
            cell: The cell's id, which only some frontends send, such as JupyterLab and VS Code.
            console: Allow standard input, as `jupyter console` does.
        """
        if cell is None:
            return str(self.client.execute(code, store_history=True, allow_stdin=console))
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
        session = self.client.session
        message = session.msg("execute_request", content, metadata={"cellId": cell})
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def see(self, identity: str, text: str, timeout: float = 60) -> Outcome:
        """Wait until an output of a running cell contains `text`; return the outputs so far."""
        return self.collect(identity, timeout, shows=text)

    def collect(
        self,
        identity: str,
        timeout: float = 60,
        *,
        outcome: Outcome | None = None,
        shows: str | None = None,
    ) -> Outcome:
        """Wait for the end of a cell and return its outputs.

        Args:
            identity: The id of the cell's message.
            timeout: Longest time without a message, in seconds.
            outcome: The cell's outputs so far.
            shows: Return as soon as an output contains this text.
        """
        outcome = outcome or Outcome()
        started = time.monotonic()
        while shows is None or not any(shows in str(output["data"]) for output in outcome.outputs):
            message = self.client.get_iopub_msg(timeout=timeout)
            if message["parent_header"].get("msg_id") != identity:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                name = content["name"]
                setattr(outcome, name, getattr(outcome, name) + content["text"])
            elif kind in {"execute_result", "display_data"}:
                outcome.outputs.append({"kind": kind, **content})
            elif kind == "update_display_data":
                for output in outcome.outputs:
                    if output.get("transient") == content["transient"]:
                        output["data"] = content["data"]
            elif kind == "error":
                outcome.error = content
            elif kind == "status" and content["execution_state"] == "idle":
                reply = self.reply_to(identity, timeout)
                outcome.aborted = reply["content"]["status"] == "aborted"
                outcome.seconds = time.monotonic() - started
                break
        return outcome

    def reply_to(self, identity: str, timeout: float = 60) -> dict[str, Any]:
        """Return the reply to a message; ignore other replies."""
        reply: dict[str, Any] = {"parent_header": {}}
        while reply["parent_header"].get("msg_id") != identity:
            reply = self.client.get_shell_msg(timeout=timeout)
        return reply

    def run(self, code: str, timeout: float = 60, cell: str | None = None) -> Outcome:
        """Run a cell to its end."""
        outcome = self.collect(self.start(code, cell), timeout)
        # After an error, ipykernel may abort the next cell.
        return self.collect(self.start(code, cell), timeout) if outcome.aborted else outcome

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        provisioner: Any = self.manager.provisioner
        os.kill(provisioner.pid, signal.SIGKILL)
        until(lambda: provisioner.process.poll() is not None)

    def stop(self) -> None:
        """End the process."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@contextlib.contextmanager
def start_kernel(folder: Path, **variables: str) -> Iterator[Kernel]:
    """Run a kernel until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    kernel = Kernel(folder, **variables)
    try:
        yield kernel
    finally:
        kernel.stop()

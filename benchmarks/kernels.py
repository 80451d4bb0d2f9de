"""Times in a kernel: loading, the first picture, the panel, ten pictures, interrupts; functions."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import stub
from bench import Row, absolute, versus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench import Plan

__all__ = ["cold", "functions", "interrupts", "loading", "pixels"]

SDK = "import xai_sdk"
_EXCLUDED = ("XAI_API_KEY", "XAI_API_HOST", "XAI_NOTEBOOK_BACKEND", "PYTHONDONTWRITEBYTECODE")
"""Environment variables that would change the result: without byte code, imports compile."""


class Kernel:
    """A real IPython kernel, timed from the frontend."""

    def __init__(self, client: Any, manager: Any) -> None:
        self.client = client
        self.manager = manager

    def run(self, code: str, *, until: str = "") -> float:
        """Return the seconds from Enter until the cell is idle.

        Args:
            code: The cell.
            until: Stop the clock at the first output that contains this text.

        Raises:
            RuntimeError: The cell failed, or no output contained the text.
        """
        begun = time.perf_counter()
        message_id = self.client.execute(code)
        seen = 0.0
        while True:
            message = self.client.get_iopub_msg(timeout=120)
            if message["parent_header"].get("msg_id") != message_id:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "error":
                raise RuntimeError("\n".join(content["traceback"]))
            if until and not seen and until in str(content.get("data", "")):
                seen = time.perf_counter() - begun
            if kind == "status" and content["execution_state"] == "idle":
                break
        if until and not seen:
            raise RuntimeError(f"no output of {code!r} contains {until!r}")
        return seen or time.perf_counter() - begun

    def interrupt(self, code: str, *, after: float) -> float:
        """Return the seconds from an interrupt until a long-running cell is idle.

        Args:
            code: The cell.
            after: Seconds from the start of the cell to the interrupt.
        """
        message_id = self.client.execute(code)
        time.sleep(after)
        begun = time.perf_counter()
        self.manager.interrupt_kernel()
        while True:
            message = self.client.get_iopub_msg(timeout=120)
            if (
                message["parent_header"].get("msg_id") == message_id
                and message["content"].get("execution_state") == "idle"
            ):
                return time.perf_counter() - begun


@contextlib.contextmanager
def kernel(**environ: str) -> Iterator[Kernel]:
    """Start a kernel with an empty library."""
    from jupyter_client.manager import KernelManager

    with tempfile.TemporaryDirectory() as home:
        variables = {name: value for name, value in os.environ.items() if name not in _EXCLUDED}
        manager = KernelManager(kernel_name="python3")
        with Path(os.devnull).open("w") as nowhere:
            manager.start_kernel(
                env={**variables, "XAI_NOTEBOOK_HOME": home, **environ}, stderr=nowhere, cwd=home
            )
        client = manager.client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=120)
            running = Kernel(client, manager)
            running.run("pass")
            time.sleep(0.2)  # the kernel finishes its startup
            yield running
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


_LOADING = """
import sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
begun = time.perf_counter()
if sys.argv[1] == "ours":
    shell.run_line_magic("load_ext", "xai_notebook")
else:
    import xai_sdk
print(time.perf_counter() - begun)
"""


def loading(plan: Plan) -> list[Row]:
    """Loading, in new IPython processes with cached byte code."""
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    with tempfile.TemporaryDirectory() as home:
        variables = {name: value for name, value in os.environ.items() if name not in _EXCLUDED}
        for number in range(-2, plan.rounds):
            for side, seconds in times.items():
                done = subprocess.run(
                    [sys.executable, "-c", _LOADING, side],
                    env={**variables, "IPYTHONDIR": home},
                    capture_output=True,
                    text=True,
                    check=True,
                )
                if number >= 0:
                    seconds.append(float(done.stdout))
    return [versus("%load_ext xai_notebook", SDK, *times.values(), limit=1 / 40)]


def cold(plan: Plan) -> list[Row]:
    """The first picture and the panel, each in a new kernel."""
    firsts, panels, imports, widgets = [], [], [], []
    for number in range(-1, plan.at_most(9)):
        with kernel() as running:
            imported = running.run(SDK)
        with kernel() as running:
            load = running.run("%load_ext xai_notebook")
            first = running.run("%xai_image a red fox in fresh snow", until="<figcaption")
        with kernel() as running:
            running.run("%load_ext xai_notebook")
            panel = running.run("%xai_panel")
        with kernel() as running:
            plain = running.run("import ipywidgets; display(ipywidgets.Text())")
        if number >= 0:  # the first round fills caches
            firsts.append(load + first)
            panels.append(panel)
            imports.append(imported)
            widgets.append(plain)
    work = "first captioned image, cold kernel, embedded server"
    return [
        versus(work, SDK, firsts, imports, limit=2),
        versus("%xai_panel, first time", "import ipywidgets; one text field", panels, widgets),
    ]


_BY_HAND = """
import asyncio, io
from PIL import Image
from IPython.display import display
import xai_sdk
client = xai_sdk.AsyncClient(api_key="none", api_host="{address}")
for response in await client.image.sample_batch("{prompt}", "m", n=10, image_format="url"):
    display(Image.open(io.BytesIO(await response.image)))
"""


def pixels(plan: Plan) -> list[Row]:
    """Time from Enter to pictures for ten URLs that take 100 ms each."""
    ours, first, whole = [], [], []
    with stub.started() as (address, _), kernel(XAI_API_HOST=address) as running:
        running.run("%load_ext xai_notebook")
        for number in range(-1, plan.at_most(5)):
            prompt = f"wait=0.1 take {number}"
            cell = _BY_HAND.format(address=address, prompt=prompt)
            times = (
                running.run(f"%xai_image --fresh -n 10 -f url {prompt}", until="<img"),
                running.run(cell, until="image/png"),
                running.run(cell),
            )
            if number >= 0:
                for column, seconds in zip((ours, first, whole), times, strict=True):
                    column.append(seconds)
    work = "Enter to ten pictures, URLs at 100 ms"
    return [
        versus(work, "SDK + PIL: the first of them", ours, first),
        versus(work, "SDK + PIL: all ten", ours, whole),
        absolute("Enter to first pixels, 10 URLs at 100 ms", ours),
    ]


def interrupts(plan: Plan) -> list[Row]:
    """Time from an interrupt to an idle kernel."""
    ours, sleeps = [], []
    with stub.started() as (address, _), kernel(XAI_API_HOST=address) as running:
        running.run("%load_ext xai_notebook")
        running.run("%xai_image --fresh a first fox")
        for number in range(plan.rounds):
            ours.append(running.interrupt(f"%xai_image --fresh delay=60 fox {number}", after=1.0))
            sleeps.append(running.interrupt("import time; time.sleep(60)", after=1.0))
    work = "interrupt during a call, until the kernel is idle"
    return [versus(work, "time.sleep(60)", ours, sleeps), absolute(work, ours, limit=0.5)]


_TRACED = """
import contextlib, inspect, io, json, pathlib, sys, threading
from IPython.terminal.interactiveshell import TerminalInteractiveShell
import xai_notebook

root = pathlib.Path(xai_notebook.__file__).parent
called = set()

def note(frame, event, argument):
    code = frame.f_code
    is_function = code.co_flags & inspect.CO_OPTIMIZED and code.co_name[0] != "<"  # no class body
    if event == "call" and is_function and code.co_filename.startswith(str(root)):
        called.add((code.co_filename, code.co_firstlineno))

def traced(prompt):
    called.clear()
    sys.setprofile(note)
    with contextlib.redirect_stdout(io.StringIO()):
        shell.run_cell(f"%%xai_image\\n{prompt}", store_history=True)
    sys.setprofile(None)
    painter = str(root / "server" / "painting")
    own = [file for file, _ in called if not file.startswith(painter)]
    return len(own), len(set(own))

threading.setprofile(note)
shell = TerminalInteractiveShell.instance()
shell.run_line_magic("load_ext", "xai_notebook")
cold, _, warm = (traced(prompt) for prompt in ("a fox", "an owl", "a hare"))
print(json.dumps([*cold, *warm]))
"""


_LIMITS = {
    "functions of one cold cell": 400,
    "files of one cold cell": None,
    "functions of one warm cell": 200,
    "files of one warm cell": 45,
}


def functions(_: Plan) -> list[Row]:
    """Count functions and files of the package that a cell runs, without the painter's."""
    variables = {name: value for name, value in os.environ.items() if name not in _EXCLUDED}
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [sys.executable, "-c", _TRACED],
            env={**variables, "IPYTHONDIR": home, "XAI_NOTEBOOK_HOME": home},
            capture_output=True,
            text=True,
            check=True,
        )
    counts = json.loads(done.stdout.splitlines()[-1])
    return [
        absolute(work, [count], "", limit=limit)
        for (work, limit), count in zip(_LIMITS.items(), counts, strict=True)
    ]

"""Scripts and notebooks that run unattended: lines of progress, and Ctrl-C."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import nbformat
import pytest

from harness import start_kernel, until
from numbering_server import execute

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numbering_server import NumberingServer

IMPORT = """
import logging, sys
import xai_notebook as xai
from xai_notebook.generation import progress
progress.LOG_INTERVAL = 0.2
xai.configure(rate=0, concurrency=2)
foxes = [f"fox {number}" for number in range(40)]
"""
LINE = r"xai-notebook: 5 of 40 prompts, \$0\.10 spent, about \d+ s left"


@contextlib.contextmanager
def script(code: str) -> Iterator[subprocess.Popen[str]]:
    """Run a script; its output is that of stderr."""
    command = [sys.executable, "-c", IMPORT + code]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def next_line(process: subprocess.Popen[str], pattern: str) -> str:
    """Return the next line that matches a pattern."""
    assert process.stderr
    return next(line for line in process.stderr if re.search(pattern, line))


# Lines


@pytest.mark.parametrize(
    "code",
    [
        "xai.generate(each=foxes)",
        "for _ in xai.stream(each=foxes): pass",
        "import asyncio\nasyncio.run(xai.agenerate(each=foxes))",
    ],
    ids=["generate", "stream", "agenerate"],
)
def test_a_script_writes_lines_to_stderr(image_server: NumberingServer, code: str) -> None:
    image_server.replies_left = 5
    with script(code) as process:
        assert re.fullmatch(LINE, next_line(process, "5 of 40").strip())
        image_server.replies_left = None
        assert process.wait(60) == 0


def test_a_log_of_the_user_gets_the_lines_instead(image_server: NumberingServer) -> None:
    image_server.replies_left = 5
    log = "logging.basicConfig(level=logging.INFO, format='LOG %(name)s %(message)s')\n"
    with script(f"{log}xai.generate(each=foxes)") as process:
        line = next_line(process, "5 of 40").strip()
        assert re.fullmatch(f"LOG xai_notebook {LINE}", line)
        image_server.replies_left = None
        assert process.stderr
        lines = [line for line in process.stderr if "prompts" in line]
        assert all(line.startswith("LOG") for line in lines)


def test_a_log_that_prints_only_warnings_does_not_hide_them(image_server: NumberingServer) -> None:
    image_server.replies_left = 5
    with script("logging.basicConfig()\nxai.generate(each=foxes)") as process:
        assert re.fullmatch(LINE, next_line(process, "5 of 40").strip())


@pytest.mark.parametrize(
    "code",
    [
        "progress.LOG_INTERVAL = 30\nxai.generate(each=foxes, progress=report)",
        "xai.configure(patience=600)\nxai.generate(each=foxes, progress=report)",
        "xai.generate('a fox', progress=report)",
    ],
    ids=["30 s", "patience", "one prompt"],
)
def test_a_short_call_writes_no_line(image_server: NumberingServer, code: str) -> None:
    """It is held for several of the intervals between two lines."""
    image_server.replies_left = 0
    report = "calls = []\ndef report(state):\n    calls.append(print(state, flush=True))\n"
    command = [sys.executable, "-c", IMPORT + report + code]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        for _ in range(5):
            assert process.stdout.readline()
        image_server.replies_left = None
        assert process.stderr.read() == ""


CELLS = ("%load_ext xai_notebook", IMPORT)
MAGIC = "%%xai_image --each\n" + "\n".join(f"owl {number}" for number in range(12))


def test_papermill_logs_the_lines(image_server: NumberingServer, tmp_path: Path) -> None:
    cells = [*CELLS, "xai.generate(each=foxes)", MAGIC]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(notebook, tmp_path / "in.ipynb")
    image_server.replies_left = 5
    options = ("-k", "python3", "--no-progress-bar", "--log-output")
    command = [sys.executable, "-m", "papermill", *options, "in.ipynb", "out.ipynb"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert re.search(LINE, next_line(process, "xai-notebook: 5 of 40"))
        image_server.replies_left = 38
        assert next_line(process, "xai-notebook: 3 of 12 prompts")
        image_server.replies_left = None
        assert process.stderr
        process.stderr.read()
        assert process.wait(60) == 0


def test_patience_keeps_the_saved_outputs_clean(
    image_server: NumberingServer, tmp_path: Path
) -> None:
    quiet = "%config XaiImage.patience = 600\n%config XaiImage.rate = 10"
    client = execute(tmp_path, *CELLS, quiet, "xai.generate(each=foxes[:8])", MAGIC)
    for cell in client.nb.cells[3:]:
        assert [output.output_type for output in cell.outputs] == ["execute_result"]


def test_a_live_frontend_gets_no_lines(image_server: NumberingServer, tmp_path: Path) -> None:
    """JupyterLab names the cell; nbclient names none."""
    with start_kernel(tmp_path / "lab", XAI_API_HOST=image_server.host, XAI_API_KEY="k") as kernel:
        for cell in (*CELLS, "%config XaiImage.rate = 10"):
            assert kernel.run(cell).error is None
        assert kernel.run("xai.generate(each=foxes[:8])", cell="one").stderr == ""
        assert "of 8 prompts" in kernel.run("xai.generate(each=foxes[8:16])").stderr


# Ctrl-C


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("xai.generate(each=foxes)", "KeyboardInterrupt"),
        ("for _ in xai.stream(each=foxes): pass", "KeyboardInterrupt"),
        ("asyncio.run(xai.agenerate(each=foxes))", "CancelledError"),
        ("asyncio.run(use())", "CancelledError"),
    ],
    ids=["generate", "stream", "agenerate", "async stream"],
)
def test_ctrl_c_says_what_is_kept(image_server: NumberingServer, code: str, error: str) -> None:
    image_server.replies_left = 5
    asynchronous = (
        "import asyncio\nasync def use():\n    async for _ in xai.stream(each=foxes): pass\n"
    )
    wrapped = (
        f"try:\n    {code}\nfinally:\n    print(len(xai.history(last=True).ok), file=sys.stderr)\n"
    )
    with script(asynchronous + wrapped) as process:
        next_line(process, "5 of 40")
        process.send_signal(signal.SIGINT)
        until(lambda: not image_server.waiting_calls, 0.7)
        assert process.stderr
        output = process.stderr.read()
    assert re.search("^5$", output, re.MULTILINE)
    printed = sys.version_info >= (3, 11) or error == "KeyboardInterrupt"  # by `asyncio.run`
    assert not printed or re.search(
        rf"{error}: 5 of 40 prompts are in the library, \$0\.10 spent\. Run it again to make the "
        r"rest: stored images answer\. Outside of a notebook, give reuse=True for that\. "
        r"xai\.history\(last=True\) returns this batch\.",
        output,
    )
    image_server.replies_left = None
    with script("assert len(xai.generate(each=foxes, reuse=True).ok) == 40") as process:
        assert process.wait(60) == 0
    assert len(image_server.image_counts) == 40

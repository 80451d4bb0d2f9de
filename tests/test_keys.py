"""The key of a kernel appears in no output, file or traceback."""

from __future__ import annotations

import ast
import base64
import os
import re
import traceback
from typing import TYPE_CHECKING

import grpc
import nbformat
import pytest
from nbclient import NotebookClient

from harness import serve, start_kernel, without_xai

if TYPE_CHECKING:
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

KEY = "xai-unique-52b1e07c9d4f"
"""No cell contains the key: cells read it from the environment, as users' cells do."""

CATCH = """
import traceback
try:
    xai.generate('please fail', fresh=True)
except Exception as error:
    print(repr(error), vars(error))
    traced = traceback.TracebackException.from_exception(error, capture_locals=True)
    print(''.join(traced.format()))
"""
CELLS = [
    "%load_ext xai_notebook\nimport xai_notebook as xai",
    "%xai_image -n 2 --export pictures a red fox",
    "xai.generate('an owl', format='url', user='u1')",
    "await xai.agenerate('a cat')",
    "%xai_image --dry-run a dog",
    "%xai_history",
    "xai.costs()",
    "%config XaiImage",
    "from xai_notebook.generation.session import current_session; _session = current_session()",
    "print(repr(_session), vars(_session), vars(_session.backends))",
    "print([repr(c.client) + str(vars(c.client)) for c in _session.backends.connected.values()])",
    "import logging; logging.basicConfig(level=logging.DEBUG)",
    "%xai_image --fresh a logged fox",
    "%xmode Verbose",
    "%xai_image --fresh please fail",
    "%tb",
    "xai.generate('please fail', fresh=True)",
    "%tb",
    CATCH,
    "%xai_image --model nope a red fox",
    "%tb",
    "%xai_image --timeout 0.001 a red fox",
    "%tb",
    "xai.panel()",
    "print(_session._configuration())",
    "%xai_image --rewrite --fresh an echo",
    "%whos",
]


FAILURES = {
    "XAI_NOTEBOOK_HOME=~nobody-of-that-name": "xai.history()",
    "XAI_NOTEBOOK_HOME=gone/home": "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone');"
    "xai.generate('a fox', replay=True)",
    "XAI_NOTEBOOK_HOME=/dev/null/home": "%xai_image --replay a fox",
    "XAI_NOTEBOOK_BACKEND=moon": "%xai_image a fox",
    "XAI_API_HOST=http://example.com": "xai.generate('a fox', fresh=True)",
    "XAI_API_HOST=localhost:1": "xai.generate('a fox', fresh=True, timeout=0.2)",
    "SSL_CERT_FILE=/nowhere": "xai.generate('a fox', fresh=True, timeout=0.2)",
    "HTTPS_PROXY=socks5://proxy:1": "xai.generate('a fox', fresh=True, timeout=0.2)",
    f"XAI_API_KEY=two words-{KEY}": "xai.generate('a fox')",
    f"XAI_API_KEY={KEY}\nX": "%xai_image a fox",
    f"XAI_API_KEY=ключ-{KEY}": "xai.generate('a fox')",
    "A=1": "xai.generate('a fox', image=['nowhere.png'])",
    "A=2": "xai.generate(each='nowhere.csv')",
    "A=3": "xai.generate('a fox', export='/dev/null/x', local=True)",
    "A=4": "await xai.agenerate('')",
    "A=5": "from xai_notebook.client import AsyncClient; AsyncClient(b'123', api_host='x y')",
}
"""Cells that fail, by the environment variable that is set before; `A` has no meaning."""


def occurrences(folder: Path, key: str) -> list[str]:
    """Return the files below a folder that contain the key or have it in their names."""
    return [
        str(path)
        for path in folder.rglob("*")
        if key in path.name or (path.is_file() and key.encode() in path.read_bytes())
    ]


@pytest.mark.parametrize("echo", [False, True], ids=["silent", "echoing"])
def test_the_key_is_found_nowhere(tmp_path: Path, echo: bool) -> None:  # noqa: FBT001
    """An echoing server repeats the key in an error, a model's name and a rewritten prompt."""
    folder = tmp_path / "work"
    details = f"the key {KEY} is not good" if echo else "no"
    with (
        serve(api_key=KEY) as server,
        start_kernel(folder, XAI_API_KEY=KEY, XAI_API_HOST=server.address) as kernel,
    ):
        if echo:
            server.faults.model_name = f"grok {KEY}"
            server.faults.chat_text = f"an echo of {base64.b64encode(KEY.encode()).decode()}"
        server.faults.fail_when = lambda request, _: (
            (grpc.StatusCode.INVALID_ARGUMENT, details) if "fail" in request.prompt else None
        )
        outcomes = [kernel.run(cell) for cell in CELLS]
        assert server.calls[0].status == "OK"
        assert kernel.home.exists()
    encoded = base64.b64encode(KEY.encode()).decode()[:24]
    for cell, outcome in zip(CELLS, outcomes, strict=True):
        assert KEY not in str(vars(outcome)), cell
        assert encoded not in str(vars(outcome)), cell
    assert [outcome for outcome in outcomes[:8] if outcome.error] == []
    assert any("InvalidRequestError" in outcome.traceback for outcome in outcomes)
    assert list(folder.rglob("*.jpg"))
    assert occurrences(tmp_path, KEY) == []
    assert occurrences(tmp_path, encoded) == []


def test_the_key_of_the_kernels_server_is_found_nowhere(tmp_path: Path) -> None:
    """Only the kernel's memory holds the key: child processes do not get it."""
    find = (
        "import gc; print([key.reveal() for key in gc.get_objects() "
        "if type(key).__name__ == 'ApiKey'])"
    )
    print_environment = (
        "print(open('/proc/self/environ').read(), open('/proc/self/cmdline').read())",
        "!env; ps -eo args",
    )
    with start_kernel(tmp_path / "work") as kernel:
        outcomes = [kernel.run(cell) for cell in (*CELLS, *print_environment)]
        (key,) = set(ast.literal_eval(kernel.run(find).stdout))
    assert len(key) >= 43
    for outcome in outcomes:
        assert key not in str(vars(outcome))
    assert any("Verbose" in cell for cell in CELLS)
    assert occurrences(tmp_path, key) == []


def test_a_saved_notebook_and_its_widgets_hold_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    failing = re.compile("fail|%tb|nope|timeout")
    cells = [cell for cell in CELLS if not failing.search(cell)]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    with serve(api_key=KEY) as server:
        environment = without_xai() | {
            "XAI_API_KEY": KEY,
            "XAI_API_HOST": server.address,
            "XAI_NOTEBOOK_HOME": str(tmp_path / "home"),
        }
        resources = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(notebook, store_widget_state=True, resources=resources).execute(
            env=environment
        )
    saved = nbformat.writes(notebook)
    assert "application/vnd.jupyter.widget-state+json" in saved
    assert re.search("data:image/jpeg", saved)
    assert KEY not in saved
    assert occurrences(tmp_path, KEY) == []


@pytest.mark.parametrize("variable", FAILURES, ids=lambda text: text.partition("=")[0])
def test_tracebacks_with_values_do_not_contain_the_key(
    shell: InteractiveShell,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    variable: str,
) -> None:
    monkeypatch.setenv("XAI_API_KEY", KEY)
    monkeypatch.setenv(*variable.split("="))
    shell.run_cell("import os; import xai_notebook as xai\n%xmode Verbose")
    result = shell.run_cell(FAILURES[variable])
    error = result.error_in_exec
    assert error is not None
    os.chdir(tmp_path)  # a cell may have deleted the working directory
    shell.run_cell("%tb")
    shown = "".join(capsys.readouterr())
    kind = (type(error), error, error.__traceback__)
    shown += "".join(shell.InteractiveTB.structured_traceback(*kind, 0, 9))
    shown += "".join(traceback.TracebackException(*kind, capture_locals=True).format())
    assert type(error).__name__ in shown
    assert KEY not in shown

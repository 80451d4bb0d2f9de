"""`python -m xai_notebook.server` as a process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest

COMMAND = [sys.executable, "-m", "xai_notebook.server"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_it_cleanly(number: Any) -> None:
    """It prints one line when it is ready, and a signal ends it with status 0 and no noise."""
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        line = process.stdout.readline()
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert line.startswith("listening on 127.0.0.1:")
    assert int(line.rsplit(":", 1)[1]) > 0
    assert (process.returncode, out, err) == (0, "", "")


def test_a_taken_port_ends_it_with_one_line() -> None:
    """A port that is taken is an error without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "--port", str(port)], capture_output=True, text=True, check=False, timeout=20
        )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "taken" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_documents_the_rehearsal_of_moderation() -> None:
    """--help names the marks and the variable for the key."""
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True)
    assert "[moderated:2]" in done.stdout
    assert "XAI_NOTEBOOK_SERVER_KEY" in done.stdout

"""Fixtures for the tests of the embedded server: a clock, and a server in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sdk_client import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock() -> Clock:
    """Return a clock that the test sets."""
    return Clock()


@pytest.fixture(scope="session")
def server_process() -> Iterator[str]:
    """Run `python -m xai_notebook.server` with the key "right"; yield its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "xai_notebook.server"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "XAI_NOTEBOOK_SERVER_KEY": "right"},
    )
    assert process.stdout is not None
    try:
        port = process.stdout.readline().rsplit(":", 1)[1].strip()
        yield f"localhost:{port}"
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()

"""`kill -9` at any moment between submit and collect: no request twice, no picture missing.

`JOB_KILLS=30 pytest tests/test_job_kills.py` for as many as one likes.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from harness import KEY, serve, tiny
from xai_notebook.generation.session import Session
from xai_notebook.server import BatchFaults, Faults

if TYPE_CHECKING:
    from pathlib import Path

KILLS = int(os.environ.get("JOB_KILLS", "8"))
IMAGES = 60
PROMPTS = [f"fox {number}" for number in range(IMAGES)]
VICTIMS = """
import os, sys
import grpc, requests, xai_notebook.library, xai_notebook.pictures.pixels, xai_notebook.client
import xai_notebook.generation.handing
from xai_notebook.generation import following, submitting
from xai_notebook.generation.session import Session

submitting._CALL_REQUESTS = 7
following._FIRST_PAUSE = 0.02
for line in sys.stdin:
    children = []
    for _ in range(2):
        child = os.fork()
        if not child:
            session = Session()
            session.generate(each=[f"fox {i}" for i in range(int(line))], batch=True).wait()
            os._exit(0)
        children.append(child)
    print(*children, flush=True)
    for child in children:
        os.waitpid(child, 0)
    print("over", flush=True)
"""
"""Forks before gRPC is used: a victim is there in milliseconds."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.timeout(60 + 10 * KILLS)
def test_a_job_survives_every_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two kernels run the same cell at once and are killed at random moments; then the next two.

    Now and then a reply is lost as well. A kernel that is killed may leave a call on its way, to
    arrive after the next one has looked: there the service has to refuse an id that it has.
    """
    chance = random.Random(1)
    faults = Faults(garbage=tiny(), batches=BatchFaults(pace=IMAGES / 3, lost_creates=1))
    with serve(faults=faults) as served:
        monkeypatch.setenv("XAI_API_KEY", KEY)
        monkeypatch.setenv("XAI_API_HOST", served.address)
        monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(tmp_path / "home"))
        command = [sys.executable, "-W", "ignore", "-c", VICTIMS]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin
            assert process.stdout
            for number in range(KILLS):
                served.faults.batches.lost_adds = number % 2
                process.stdin.write(f"{IMAGES}\n")
                process.stdin.flush()
                for child in map(int, process.stdout.readline().split()):
                    time.sleep(chance.uniform(0, 0.4))
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
                assert process.stdout.readline() == "over\n"
            process.stdin.close()
        served.faults.batches.lost_adds = 0
        with contextlib.closing(Session()) as session:
            job: Any = session.generate(each=PROMPTS, batch=True)
            batch = job.wait()
            assert Counter(image.prompt for image in batch.ok) == Counter(PROMPTS)
            assert len(session.history(n=1000)) == IMAGES
        batches = served.server._service._batches._batches.values()
        held = Counter(one.image_request.prompt for each in batches for one in each.requests)
        assert held == Counter(PROMPTS)

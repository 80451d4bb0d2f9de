"""`kill -9` at any moment between submit and collect: each request is sent once, no image lost.

`JOB_KILLS=300 pytest tests/test_job_kills.py` kills more often.
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

from batch_service import SILENCE, Failure, batch_service
from harness import KEY
from xai_notebook.generation.jobs import submitter
from xai_notebook.generation.session import Session

if TYPE_CHECKING:
    from pathlib import Path

KILLS = int(os.environ.get("JOB_KILLS", "30"))
IMAGES = 28
KILLS_OF_A_JOB = 3
VICTIMS = """
import os, sys
import grpc, requests, xai_notebook.library, xai_notebook.pictures.pixels, xai_notebook.client
import xai_notebook.generation.jobs.manager
from xai_notebook.client.transport import retry
from xai_notebook.generation.jobs import poller, submitter
from xai_notebook.generation.session import Session

submitter._CALL_REQUESTS = 4
submitter.LOOK_PAUSES = (0.02,) * 6
submitter.ANSWER_SECONDS = 2.0
poller._BACKOFF = retry.Backoff(0.02, 0.1)
for line in sys.stdin:
    job, images = map(int, line.split())
    children = []
    for _ in range(2):
        child = os.fork()
        if not child:
            session = Session()
            prompts = [f"fox {job} {number}" for number in range(images)]
            session.generate(each=prompts, batch=True).wait()
            os._exit(0)
        children.append(child)
    print(*children, flush=True)
    for child in children:
        os.waitpid(child, 0)
    print("over", flush=True)
"""
"""Forks before gRPC is used, so that a victim starts in milliseconds."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.timeout(60 + 10 * KILLS)
def test_a_job_survives_every_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two kernels at a time run the same cell and are killed; after three pairs, the next cell.

    Every second call that adds something is served and answered with an error, or never, and what
    it adds is listed two looks late. The service counts a repeated request twice.
    """
    chance = random.Random(1)
    answers = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL", SILENCE)
    monkeypatch.setattr(submitter, "LOOK_PAUSES", (0.02,) * 6)
    with batch_service() as service:
        service.rate = IMAGES * 2
        service.counts, service.late = False, 2
        monkeypatch.setenv("XAI_API_KEY", KEY)
        monkeypatch.setenv("XAI_API_HOST", service.host)
        monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(tmp_path / "home"))
        command = [sys.executable, "-W", "ignore", "-c", VICTIMS]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin
            assert process.stdout
            for number in range(KILLS):
                for calls in (service.creates, service.adds):
                    calls.clear()
                    if chance.random() < 0.5:
                        calls.append(Failure(chance.choice(answers)))
                process.stdin.write(f"{number // KILLS_OF_A_JOB} {IMAGES}\n")
                process.stdin.flush()
                for child in map(int, process.stdout.readline().split()):
                    time.sleep(chance.uniform(0, 0.3))
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
                assert process.stdout.readline() == "over\n"
            process.stdin.close()
        service.creates.clear()
        service.adds.clear()
        everything = []
        with contextlib.closing(Session()) as session:
            for number in range(-(-KILLS // KILLS_OF_A_JOB)):
                prompts = [f"fox {number} {image}" for image in range(IMAGES)]
                job: Any = session.generate(each=prompts, batch=True)
                assert [image.prompt for image in job.wait().ok] == prompts
                everything += prompts
            assert len(session.history.search(n=len(everything) + 1)) == len(everything)
            spent = sum(row.cost_usd for row in session.history.costs())
        assert service.ordered == Counter(everything)
        assert spent == pytest.approx(service.cost_usd)

"""`kill -9` at any moment between submit and collect: each request is sent once, no image lost.

`JOB_KILLS=300 pytest tests/test_job_kills.py` kills more often.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from batch_service import SILENCE, Failure, batch_service
from harness import KEY
from xai_notebook.generation.jobs import submitter
from xai_notebook.generation.session import Session

if TYPE_CHECKING:
    from harness import Victims

KILLS = int(os.environ.get("JOB_KILLS", "30"))
IMAGES = 28
KILLS_OF_A_JOB = 3
VICTIM = """
from xai_notebook.client.transport import retry
from xai_notebook.generation.jobs import poller, submitter

submitter._CALL_REQUESTS = 4
submitter.LOOK_PAUSES = (0.02,) * 6
submitter.ANSWER_SECONDS = 2.0
poller._BACKOFF = retry.Backoff(0.02, 0.1)
Session().generate(each={prompts}, batch=True).wait()
"""


@pytest.mark.timeout(60 + 10 * KILLS)
def test_a_job_survives_every_kill(monkeypatch: pytest.MonkeyPatch, victims: Victims) -> None:
    """Pairs of kernels run the same cell and are killed; each cell is run by three pairs.

    In half of the runs, a call that creates a batch or adds requests is served, but gets an error
    or no answer. What a call adds is listed two looks late. A repeated request counts twice.
    """
    chance = random.Random(1)
    answers = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL", SILENCE)
    jobs = [
        [f"fox {number} {image}" for image in range(IMAGES)]
        for number in range(-(-KILLS // KILLS_OF_A_JOB))
    ]
    monkeypatch.setattr(submitter, "LOOK_PAUSES", (0.02,) * 6)
    with batch_service() as service:
        service.rate = IMAGES * 2
        service.counts, service.late = False, 2
        monkeypatch.setenv("XAI_API_KEY", KEY)
        monkeypatch.setenv("XAI_API_HOST", service.host)
        for number in range(KILLS):
            for calls in (service.creates, service.adds):
                calls.clear()
                if chance.random() < 0.5:
                    calls.append(Failure(chance.choice(answers)))
            code = VICTIM.format(prompts=jobs[number // KILLS_OF_A_JOB])
            for victim in [victims.start(code), victims.start(code)]:
                time.sleep(chance.uniform(0, 0.3))
                victim.kill()
        service.creates.clear()
        service.adds.clear()
        prompts = [prompt for prompts in jobs for prompt in prompts]
        with contextlib.closing(Session()) as session:
            for each in jobs:
                job: Any = session.generate(each=each, batch=True)
                assert [image.prompt for image in job.wait().ok] == each
            assert len(session.history.search(n=len(prompts) + 1)) == len(prompts)
            spent = sum(row.cost_usd for row in session.history.costs())
        assert service.submitted == Counter(prompts)
        assert spent == pytest.approx(service.cost_usd)

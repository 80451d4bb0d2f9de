"""Jobs in a real kernel: the card under the cell and its updates."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness import serve, start_kernel, tiny
from xai_notebook.server import BatchFaults, Faults

if TYPE_CHECKING:
    from pathlib import Path

CELL = "%%xai_image --batch --each --as job\na red fox\na blue fox\na green fox"
LOAD = "%load_ext xai_notebook\nimport xai_notebook as xai"


def test_a_jobs_card_follows_the_job(tmp_path: Path) -> None:
    """The job makes no progress until the test changes the server's pace."""
    faults = Faults(garbage=tiny(), image_price=2 * 10**8, batches=BatchFaults(pace=1e-6))
    with (
        serve(faults=faults) as server,
        start_kernel(tmp_path, XAI_API_KEY="none", XAI_API_HOST=server.address) as kernel,
    ):
        assert kernel.run(LOAD).error is None
        cell = kernel.run(CELL)
        assert cell.error is None
        (card,) = cell.outputs
        assert card["kind"] == "display_data"
        assert card["transient"]["display_id"]
        # Nothing updates a card after nbclient has run the cell.
        line, hint = card["data"]["text/plain"].splitlines()
        assert line == "Job Running: 3 images, 0 in the library, $0.06 at list price."
        name = re.fullmatch(
            "After the kernel has stopped, run this cell again, or %xai_jobs, to see how the job "
            "(xai-notebook-.*) ends.",
            hint,
        )
        assert name is not None
        assert name[1] in card["data"]["text/html"]
        assert "run this cell again, or %xai_jobs," in card["data"]["text/html"]
        assert 'role="progressbar"' in card["data"]["text/html"]
        assert kernel.run("assert job is _ and job.state == 'running', job").error is None

        jobs = kernel.run("%xai_jobs -n 3")
        assert "Running" in jobs.text[0]
        assert "0 of 3" in jobs.html[0]

        waiting = kernel.start("batch = job.wait()")
        outcome = kernel.see(waiting, "Running: 3 images")
        assert "After the kernel" not in "".join(outcome.text)
        faults.batches.pace = 1e6
        for batch in server.server._service._batches._batches.values():
            for entry in batch.entries.values():
                entry.due = 0.0
        outcome = kernel.collect(waiting, outcome=outcome)
        assert outcome.error is None
        assert outcome.text == [""]  # progress is cleared; an assignment shows nothing
        for code in ("batch", "job"):
            assert kernel.run(code).html[0].count("<figure") == 3

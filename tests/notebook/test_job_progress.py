"""Jobs in a real kernel: the card under the cell and its updates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import serve, start_kernel, tiny
from xai_notebook.server import BatchFaults, Faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness import Kernel, Served

CELL = "%%xai_image --batch --each --as job\na red fox\na blue fox\na green fox"
LOAD = "%load_ext xai_notebook\nimport xai_notebook as xai"


@pytest.fixture(scope="module")
def slow() -> Iterator[Served]:
    """A server whose jobs make no progress until the test lets them."""
    faults = Faults(garbage=tiny(), image_price=2 * 10**8, batches=BatchFaults(pace=1e-6))
    with serve(faults=faults) as served:
        yield served


@pytest.fixture(scope="module")
def reader(slow: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("jobs")
    with start_kernel(folder, XAI_API_KEY="none", XAI_API_HOST=slow.address) as kernel:
        assert kernel.run(LOAD).error is None
        yield kernel


def test_a_jobs_card_follows_the_job(reader: Kernel, slow: Served, tmp_path: Path) -> None:
    cell = reader.run(CELL)
    assert cell.error is None
    (card,) = cell.outputs
    assert card["kind"] == "display_data"
    assert card["transient"]["display_id"]
    assert "Job Submitting: 3 images" in card["data"]["text/plain"]
    assert "$0.06" in card["data"]["text/plain"]
    assert 'role="progressbar"' in card["data"]["text/html"]
    assert reader.run("assert job is _ and job.state == 'running', job").error is None

    again = reader.run("%xai_jobs -n 3")
    assert "Running" in again.text[0]
    assert "0 of 3" in again.html[0]

    waiting = reader.start("batch = job.wait()")
    shown = reader.see(waiting, "Running: 3 images")
    slow.faults.batches.pace = 1e6
    for batch in slow.server._service._batches._batches.values():
        for entry in batch.entries.values():
            entry.due = 0.0
    done = reader.collect(waiting, outcome=shown)
    assert done.error is None
    assert done.text == [""]  # the value is shown instead
    grid = reader.run("batch")
    assert grid.html[0].count("<figure") == 3
    assert reader.run("job").html[0].count("<figure") == 3


def test_xai_jobs_takes_only_n(reader: Kernel) -> None:
    outcome = reader.run("%xai_jobs foxes")
    assert "%xai_jobs takes only -n N." in outcome.stderr + outcome.traceback

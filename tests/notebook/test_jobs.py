"""Jobs in a real kernel: the card under the cell, and what becomes of it."""

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
    """A server that does nothing of a job before it is told to."""
    faults = Faults(garbage=tiny(), image_price=2 * 10**8, batches=BatchFaults(pace=1e-6))
    with serve(faults=faults) as served:
        yield served


@pytest.fixture(scope="module")
def reader(slow: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel that asks it."""
    folder = tmp_path_factory.mktemp("jobs")
    with start_kernel(folder, XAI_API_KEY="none", XAI_API_HOST=slow.address) as kernel:
        assert kernel.run(LOAD).error is None
        yield kernel


def test_a_card_becomes_the_grid(reader: Kernel, slow: Served, tmp_path: Path) -> None:
    """One output under the cell: count and price before the hand-over, then how far it is.

    The cell returns at once; a wait in another cell shows how far it is and gives the images.
    """
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
        batch.due[:] = [0.0] * len(batch.due)
    done = reader.collect(waiting, outcome=shown)
    assert done.error is None
    assert done.text == [""]  # the images take its place
    grid = reader.run("batch")
    assert grid.html[0].count("<figure") == 3
    assert reader.run("job").html[0].count("<figure") == 3


def test_only_n_is_taken(reader: Kernel) -> None:
    """Anything else is refused."""
    outcome = reader.run("%xai_jobs foxes")
    assert "%xai_jobs takes only -n N." in outcome.stderr + outcome.traceback

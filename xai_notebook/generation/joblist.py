"""`JobList`: the jobs that the library knows, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from xai_notebook.generation.jobs import BatchJob
from xai_notebook.pictures.render.job_card import table_html, table_text

__all__ = ["JobList"]

_NONE: Final = "No jobs yet. --batch hands the requests of a cell over as one."


class JobList(Sequence[BatchJob]):
    """Jobs, the newest first. A sequence of `BatchJob`, shown as a table."""

    def __init__(self, jobs: Sequence[BatchJob]) -> None:
        """Hold them."""
        self._jobs = tuple(jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, index: Any) -> Any:
        return self._jobs[index]

    def __repr__(self) -> str:
        return table_text([job.card for job in self]) if self._jobs else _NONE

    def _repr_html_(self) -> str:
        return table_html([job.card for job in self]) if self._jobs else f"<div>{_NONE}</div>"

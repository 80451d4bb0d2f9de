"""The state of a panel from the last run of its cell: form, prompts, pictures and jobs.

A widget dies with its kernel, and running a cell clears its outputs. The library keeps the state,
so a panel's cell shows its earlier pictures, and Run All leaves a notebook with all of them.

A cell is identified by its id. nbclient and papermill send neither the id nor the notebook's name:
then the notebook is searched among those of the folder that had panels, by the code that has run
so far, and nothing is stored. Visitors of a page get no state.

Separate because it reads and writes the library and knows no widget.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from xai_notebook.errors import LibraryError, XaiError
from xai_notebook.frontend import (
    cell_identity,
    is_for_visitors,
    notebook_folder,
    notebook_name,
)
from xai_notebook.library.panels import PanelLocation
from xai_notebook.library.records import DAMAGE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from xai_notebook.generation.jobs.job import BatchJob
    from xai_notebook.generation.session import Session
    from xai_notebook.library import Library
    from xai_notebook.pictures.results import GeneratedImage, ImageBatch

_MOST_PICTURES: Final = 200
"""Pictures that are shown again, the newest: each takes time, and room in the notebook."""
_MOST_NAMES: Final = 50
"""Cells and jobs that are stored, the newest."""
_JOBS_SEARCHED: Final = 500
"""The newest jobs of the library, among which the stored ones are looked up."""
_LARGEST_NOTEBOOK: Final = 64 << 20
"""Bytes of a notebook that is searched."""


class PanelRestore:
    """The stored state of one panel. Errors of the library only cost the state.

    Attributes:
        form: The last values of the form; empty if the cell asks for others than it did then.
        done: The cells whose pictures the library has.
        jobs: Names of the jobs that were handed over.
        prompts: As they were typed, oldest first.
        batches: The earlier pictures, oldest first.
        left_out: How many older pictures are not in `batches`.
        notice: Why stored form and prompts are not used; empty if they are.
    """

    def __init__(self, session: Session, shell: Any, first_values: Mapping[str, Any]) -> None:
        """Read the state from the session's library.

        Args:
            session: The kernel's.
            shell: The running IPython, in the cell of the panel.
            first_values: Of the form, as the cell asks for them.
        """
        self.form: dict[str, Any] = {}
        self.done: list[str] = []
        self.jobs: list[str] = []
        self.prompts: list[str] = []
        self.batches: list[ImageBatch] = []
        self.left_out = 0
        self.notice = ""
        self._first_values = json.loads(json.dumps(first_values, default=str))
        self._session = session
        self._location = None
        if not is_for_visitors():
            self._location = _location_of(shell)
            with suppress(LibraryError):
                self._read(session.library(), shell)

    def _read(self, library: Library, shell: Any) -> None:
        location = self._location or _location_by_code(shell, library)
        record = None if location is None else library.panels.find(location)
        if record is None:
            return
        if (distrust := library.distrust) is not None:  # templates of a stranger must not be filled
            self.notice = str(distrust)
        else:
            self.prompts = _texts(record.state.get("prompts"))
            form = record.state.get("form")
            if record.state.get("asked") == self._first_values and isinstance(form, dict):
                self.form = form
        self.done = _texts(record.state.get("done"))
        self.jobs = _texts(record.state.get("jobs"))
        room = _MOST_PICTURES
        for ids in reversed(record.batches):
            rows = [row.picture for row in library.catalog.rows(ids) if not row.annotation.deleted]
            batch = self._session.history.as_batch(rows)
            if batch and room > 0:
                self.batches.insert(0, batch)
            else:
                self.left_out += len(batch)
            room -= len(batch)

    def handed_over(self) -> list[BatchJob]:
        """Return the jobs that were handed over, oldest first, in their present state."""
        if not self.jobs:
            return []
        with suppress(XaiError):
            newest = self._session.jobs(_JOBS_SEARCHED)
            return [job for job in reversed(newest) if job.name in self.jobs]
        return []

    def keep(self) -> None:
        """Store the state; blocks for milliseconds."""
        with suppress(LibraryError):
            if self._location is not None:
                self._session.library().panels.keep(self._location, self._state())

    def add(self, images: Sequence[GeneratedImage]) -> None:
        """Store new pictures and the state; blocks for milliseconds."""
        with suppress(LibraryError):
            if self._location is not None:
                ids = [image.id for image in images if image.id is not None]
                self._session.library().panels.add(self._location, self._state(), ids)

    def _state(self) -> dict[str, Any]:
        return {
            "asked": self._first_values,
            "form": self.form,
            "done": self.done[-_MOST_NAMES:],
            "jobs": self.jobs[-_MOST_NAMES:],
            "prompts": self.prompts,
        }


def _texts(value: object) -> list[str]:
    """Return a stored list of texts; a damaged row can hold anything."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _location_of(shell: Any) -> PanelLocation | None:
    """Return where the panel of the running cell stands; None if the frontend does not tell."""
    identity, notebook = cell_identity(shell, object()), notebook_name()
    if (identity is None and notebook is None) or not hasattr(shell, "get_parent"):
        return None
    cell = str(identity or _digest(_code_of(shell)))
    return PanelLocation(str(notebook_folder()), cell, _panels_before(shell), notebook or "")


def _location_by_code(shell: Any, library: Library) -> PanelLocation | None:
    """Return where the panel stands in a notebook with the code that has run; None if unclear."""
    if not hasattr(shell, "get_parent"):
        return None
    ran = {source.strip() for source in shell.history_manager.input_hist_raw}
    found = list(_candidates(library, _code_of(shell), _panels_before(shell), ran))
    most = max((cells_above for cells_above, _ in found), default=0)
    best = [location for cells_above, location in found if cells_above == most]
    # Two notebooks may begin the same. A copy has the same cell: the one used last counts.
    return best[0] if len({location.cell for location in best}) == 1 else None


def _code_of(shell: Any) -> str:
    return str((shell.get_parent().get("content") or {}).get("code") or "").strip()


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()


_SHOWN: Final[WeakKeyDictionary[Any, tuple[int, int]]] = WeakKeyDictionary()
"""By shell: the run of a cell that last showed a panel, and how many panels it showed before."""


def _panels_before(shell: Any) -> int:
    """Return how many panels this run of a cell has shown before this one."""
    run, number = _SHOWN.get(shell, (None, 0))
    number = number + 1 if run == shell.execution_count else 0
    _SHOWN[shell] = shell.execution_count, number
    return number


def _candidates(
    library: Library, code: str, number: int, ran: set[str]
) -> Iterator[tuple[int, PanelLocation]]:
    """Yield locations in notebooks that have the cell, and whose code above it has all run.

    Each with the number of cells above it.
    """
    folder = str(notebook_folder())
    for location in library.panels.in_folder(folder):
        if location.number != number:
            continue
        cells = _code_cells(Path(folder, location.notebook))
        for position, (identity, source) in enumerate(cells):
            same = source == code and location.cell in {identity, _digest(code)}
            if same and ran.issuperset(above for _, above in cells[:position]):
                yield position, location
                break


def _code_cells(file: Path) -> list[tuple[str, str]]:
    """Return id and code of a notebook's cells that have code; empty if it cannot be read."""
    with suppress(*DAMAGE):
        if file.stat().st_size > _LARGEST_NOTEBOOK:
            return []
        cells = json.loads(file.read_bytes())["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        found = [(str(cell.get("id")), "".join(cell["source"]).strip()) for cell in code]
        return [(identity, source) for identity, source in found if source]
    return []

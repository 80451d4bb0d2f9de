"""The state of a panel from the last run of its cell: form, prompts, pictures and jobs.

A widget ends with its kernel, and running a cell clears its outputs. The library stores the state,
so that a panel's cell shows its earlier pictures again, and Run All keeps them in the notebook.

A cell is identified by its id. nbclient and papermill send neither the cell id nor the notebook's
name. In that case, the notebook is found among the notebooks with panels in the folder by comparing
the code that has run so far, and no state is stored. Visitors of an app get no state.

Separate because it only uses the library and is independent of the widget.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from xai_notebook.errors import LibraryError, XaiError
from xai_notebook.frontend import cell_identity, is_for_visitors, notebook_folder, notebook_name
from xai_notebook.library.panels import PanelLocation
from xai_notebook.library.records import DAMAGE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import FrameType

    from xai_notebook.generation.jobs.job import BatchJob
    from xai_notebook.generation.session import Session
    from xai_notebook.library import Library
    from xai_notebook.pictures.results import GeneratedImage, ImageBatch

_MAX_PICTURES: Final = 200
"""Maximum pictures that are shown again (the newest), to limit time and notebook size."""
_MAX_NAMES: Final = 50
"""Maximum cells and jobs that are stored; the newest are kept."""
_JOBS_SEARCHED: Final = 500
"""Number of newest jobs in the library among which the panel's jobs are searched."""
_MAX_NOTEBOOK: Final = 64 << 20
"""Maximum bytes of a notebook file that is searched."""


class PanelRestore:
    """The stored state of one panel. If the library fails, the panel starts without state.

    Attributes:
        form: The last values of the form; empty if the initial values in the cell have changed.
        first_values: Values of the form that the cell sets.
        done: Equivalent cells whose pictures are in the library.
        jobs: Names of the submitted jobs.
        prompts: Prompts as typed, oldest first.
        batches: Earlier pictures, oldest first.
        left_out: Number of older pictures that are not in `batches`.
        notice: Why the stored form and prompts are not used; empty if they are used.
    """

    def __init__(
        self,
        session: Session,
        shell: Any,
        first_values: Mapping[str, Any],
        location: PanelLocation | None = None,
    ) -> None:
        """Read the state from the session's library.

        Args:
            session: The session, which has the library.
            shell: IPython of the kernel that runs the cell, or None.
            first_values: Values of the form that the cell sets.
            location: Location of the panel if `shell` is None.
        """
        self.form: dict[str, Any] = {}
        self.done: list[str] = []
        self.jobs: list[str] = []
        self.prompts: list[str] = []
        self.batches: list[ImageBatch] = []
        self.left_out = 0
        self.notice = ""
        self.first_values = json.loads(json.dumps(first_values, default=str))
        self._session = session
        self._location = None
        if not is_for_visitors():
            self._location = _location_of(shell) if shell else location
            with suppress(LibraryError):
                self._read(session.library(), shell)

    def _read(self, library: Library, shell: Any) -> None:
        location = self._location or (_location_by_code(shell, library) if shell else None)
        record = None if location is None else library.panels.find(location)
        if record is None:
            return
        if (distrust := library.distrust) is not None:  # its templates are not trusted
            self.notice = str(distrust)
        else:
            self.prompts = _texts(record.state.get("prompts"))
            form = record.state.get("form")
            if record.state.get("asked") == self.first_values and isinstance(form, dict):
                self.form = form
        self.done = _texts(record.state.get("done"))
        self.jobs = _texts(record.state.get("jobs"))
        room = _MAX_PICTURES
        for ids in reversed(record.batches):
            rows = [row.picture for row in library.catalog.rows(ids) if not row.annotation.deleted]
            batch = self._session.history.as_batch(rows)
            if batch and room > 0:
                self.batches.insert(0, batch)
            else:
                self.left_out += len(batch)
            room -= len(batch)

    def submitted_jobs(self) -> list[BatchJob]:
        """Return the submitted jobs in their current state, oldest first."""
        if not self.jobs:
            return []
        with suppress(XaiError):
            newest = self._session.jobs(_JOBS_SEARCHED)
            return [job for job in reversed(newest) if job.name in self.jobs]
        return []

    def save(self, images: Sequence[GeneratedImage]) -> None:
        """Store the state and new pictures; blocks for milliseconds."""
        if self._location is None:
            return
        state = {
            "asked": self.first_values, "form": self.form, "done": self.done[-_MAX_NAMES:],
            "jobs": self.jobs[-_MAX_NAMES:], "prompts": self.prompts,
        }  # fmt: skip
        with suppress(LibraryError):
            panels = self._session.library().panels
            if images:
                ids = [image.id for image in images if image.id is not None]
                panels.add(self._location, state, ids)
            else:
                panels.keep(self._location, state)


def location_of_call(caller: FrameType) -> PanelLocation | None:
    """Return the location of a panel that is made outside IPython; None if it has no source.

    In marimo the source is the cell's. The cell's id there is its position in the file, so it would
    change when a cell is added above; the source and the position of the call in it do not.
    """
    file = caller.f_globals.get("__file__")
    try:
        source = inspect.getsource(caller)
    except (OSError, TypeError):
        return None
    line = caller.f_lineno - caller.f_code.co_firstlineno
    cell = _digest(f"{line}:{caller.f_lasti}\n{source}")
    return PanelLocation(str(notebook_folder()), cell, 0, Path(file).name if file else "")


def _texts(value: object) -> list[str]:
    """Return the strings of a stored list; a damaged row can contain anything."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _location_of(shell: Any) -> PanelLocation | None:
    """Return the location of the running cell's panel, or None if it is unknown."""
    identity, notebook = cell_identity(shell, object()), notebook_name()
    if (identity is None and notebook is None) or not hasattr(shell, "get_parent"):
        return None
    cell = str(identity or _digest(_code_of(shell)))
    return PanelLocation(str(notebook_folder()), cell, _panels_before(shell), notebook or "")


def _location_by_code(shell: Any, library: Library) -> PanelLocation | None:
    """Return the panel's location, found by the code that has run; None if ambiguous."""
    if not hasattr(shell, "get_parent"):
        return None
    ran = {source.strip() for source in shell.history_manager.input_hist_raw}
    candidates = list(_candidates(library, _code_of(shell), _panels_before(shell), ran))
    most = max((cells_above for cells_above, _ in candidates), default=0)
    best = [location for cells_above, location in candidates if cells_above == most]
    # Different notebooks may start with the same code. Copies share the cell; use the latest.
    return best[0] if len({location.cell for location in best}) == 1 else None


def _code_of(shell: Any) -> str:
    return str((shell.get_parent().get("content") or {}).get("code") or "").strip()


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()


_SHOWN: Final[WeakKeyDictionary[Any, tuple[int, int]]] = WeakKeyDictionary()
"""By shell: the last run of a cell that showed a panel, and the number of its earlier panels."""


def _panels_before(shell: Any) -> int:
    """Return the number of panels that this run of the cell has already shown."""
    run, number = _SHOWN.get(shell, (None, 0))
    number = number + 1 if run == shell.execution_count else 0
    _SHOWN[shell] = shell.execution_count, number
    return number


def _candidates(
    library: Library, code: str, number: int, ran: set[str]
) -> Iterator[tuple[int, PanelLocation]]:
    """Yield the locations of matching cells, each with the number of code cells above the cell.

    A cell matches if it has the code and the panel number, and all code above it has run.
    """
    folder = str(notebook_folder())
    for location in library.panels.find_in_folder(folder):
        if location.number != number:
            continue
        cells = _code_cells(Path(folder, location.notebook))
        for position, (identity, source) in enumerate(cells):
            same = source == code and location.cell in {identity, _digest(code)}
            if same and ran.issuperset(above for _, above in cells[:position]):
                yield position, location
                break


def _code_cells(file: Path) -> list[tuple[str, str]]:
    """Return id and code of a notebook's code cells; empty if the file cannot be read."""
    with suppress(*DAMAGE):
        if file.stat().st_size > _MAX_NOTEBOOK:
            return []
        cells = json.loads(file.read_bytes())["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        sources = [(str(cell.get("id")), "".join(cell["source"]).strip()) for cell in code]
        return [(identity, source) for identity, source in sources if source]
    return []

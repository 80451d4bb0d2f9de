"""What a panel was when its cell ran last: the library keeps its form and its pictures.

A widget dies with its kernel, and running a cell clears its outputs. So the cell that shows a panel
shows what this panel has made before, and Run All leaves a notebook with all of its pictures.

A cell is known by its id. nbclient and papermill say neither the id nor the notebook: then the
notebook is looked for among those of the folder that had panels, by the code that has run so far.
Nothing is written down then; and for visitors of a page, nothing is looked for, either.

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

__all__ = ["PanelRestore"]

MOST: Final = 200
"""Pictures that are shown again, the newest: each takes time and room in the notebook."""
_NAMES: Final = 50
"""Cells and jobs that are remembered, the last."""
_LOOKED_AT: Final = 500
"""Jobs of the library among which these are looked for, the newest."""
_LARGEST_NOTEBOOK: Final = 64 << 20
"""Bytes of a notebook that is looked into."""
_SHOWN: Final[WeakKeyDictionary[Any, tuple[int, int]]] = WeakKeyDictionary()
"""Which run of a cell showed a panel last, and how many before that one, by the shell."""


class PanelRestore:
    """Of one panel, in the library of its session. Where nothing can be kept, nothing is.

    Attributes:
        form: The last one, if the panel is asked for as it was then; empty: begin anew.
        done: The cells whose pictures the library has.
        jobs: Names of what was handed over.
        prompts: As they were typed, the last one at the end.
        batches: What was made before, oldest first.
        left_out: How many older pictures there are.
        notice: Why the form and the prompts that were kept are not used; empty: they are.
    """

    def __init__(self, session: Session, shell: Any, asked: Mapping[str, Any]) -> None:
        """Look back.

        Args:
            session: Whose library it is.
            shell: The running IPython, in the cell of the panel.
            asked: The first values of the form, if it is the first time.
        """
        self.form: dict[str, Any] = {}
        self.done: list[str] = []
        self.jobs: list[str] = []
        self.prompts: list[str] = []
        self.batches: list[ImageBatch] = []
        self.left_out = 0
        self.notice = ""
        self._asked = json.loads(json.dumps(asked, default=str))
        self._session = session
        self._place = None if is_for_visitors() else _place_of(shell)
        if not is_for_visitors():
            with suppress(LibraryError):
                self._recall(session.library(), shell)

    def _recall(self, library: Library, shell: Any) -> None:
        place = self._place or _by_its_code(shell, library)
        kept = None if place is None else library.panels.find(place)
        if kept is None:
            return
        if (error := library.distrust) is not None:  # what others typed is no template here
            self.notice = str(error)
        else:
            self.prompts = _texts(kept.state.get("prompts"))
            form = kept.state.get("form")
            if kept.state.get("asked") == self._asked and isinstance(form, dict):
                self.form = form
        self.done = _texts(kept.state.get("done"))
        self.jobs = _texts(kept.state.get("jobs"))
        room = MOST
        for ids in reversed(kept.batches):
            batch = self._pictures(library, ids)
            if batch and room > 0:
                self.batches.insert(0, batch)
            else:
                self.left_out += len(batch)
            room -= len(batch)

    def _pictures(self, library: Library, ids: Sequence[int]) -> ImageBatch:
        """Return pictures by their rows, without those that the user has deleted."""
        rows = [row.picture for row in library.catalog.rows(ids) if not row.mark.deleted]
        return self._session.history.as_batch(rows)

    def handed_over(self) -> list[BatchJob]:
        """Return the jobs that were handed over, the oldest first, as far as they are now."""
        if not self.jobs:
            return []
        with suppress(XaiError):
            known = self._session.jobs(_LOOKED_AT)
            return [job for job in reversed(known) if job.name in self.jobs]
        return []

    def keep(self) -> None:
        """Write down what the form is now; blocks for milliseconds."""
        with suppress(LibraryError):
            if self._place is not None:
                self._session.library().panels.keep(self._place, self._state())

    def add(self, images: Sequence[GeneratedImage]) -> None:
        """Write down what has been made, and the form; blocks for milliseconds."""
        with suppress(LibraryError):
            if self._place is not None:
                ids = [image.id for image in images if image.id is not None]
                self._session.library().panels.add(self._place, self._state(), ids)

    def _state(self) -> dict[str, Any]:
        done, jobs = self.done[-_NAMES:], self.jobs[-_NAMES:]
        known = {"done": done, "jobs": jobs, "prompts": self.prompts}
        return {"asked": self._asked, "form": self.form, **known}


def _texts(value: object) -> list[str]:
    """Return a list of texts that the library has kept; a row can hold anything."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _place_of(shell: Any) -> PanelLocation | None:
    """Return where the panel of the running cell stands; None: nobody says."""
    identity, notebook = cell_identity(shell, object()), notebook_name()
    if (identity is None and notebook is None) or not hasattr(shell, "get_parent"):
        return None
    cell = str(identity or _digest(_code_of(shell)))
    return PanelLocation(str(notebook_folder()), cell, _count(shell), notebook or "")


def _by_its_code(shell: Any, library: Library) -> PanelLocation | None:
    """Return the place of a panel in a notebook that nobody names; None: it cannot be told."""
    if not hasattr(shell, "get_parent"):
        return None
    ran = {source.strip() for source in shell.history_manager.input_hist_raw}
    found = list(_candidates(library, _code_of(shell), _count(shell), ran))
    most = max((above for above, _ in found), default=0)
    best = [place for above, place in found if above == most]
    # Two notebooks may begin the same; a copy has the same cell, and the one used last counts.
    return best[0] if len({place.cell for place in best}) == 1 else None


def _code_of(shell: Any) -> str:
    return str((shell.get_parent().get("content") or {}).get("code") or "").strip()


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()


def _count(shell: Any) -> int:
    """Return how many panels this run of a cell has shown before."""
    run, number = _SHOWN.get(shell, (None, 0))
    number = number + 1 if run == shell.execution_count else 0
    _SHOWN[shell] = shell.execution_count, number
    return number


def _candidates(
    library: Library, code: str, number: int, ran: set[str]
) -> Iterator[tuple[int, PanelLocation]]:
    """Yield places of such a cell, in notebooks all of whose code above it has run.

    Each with the number of the cells above it.
    """
    folder = str(notebook_folder())
    for place in library.panels.in_folder(folder):
        if place.number != number:
            continue
        cells = _code_cells(Path(folder, place.notebook))
        for position, (identity, source) in enumerate(cells):
            same = source == code and place.cell in {identity, _digest(code)}
            if same and ran.issuperset(above for _, above in cells[:position]):
                yield position, place
                break


def _code_cells(file: Path) -> list[tuple[str, str]]:
    """Return id and code of a notebook's cells; nothing of what is none."""
    with suppress(*DAMAGE):
        if file.stat().st_size > _LARGEST_NOTEBOOK:
            return []
        cells = json.loads(file.read_bytes())["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        found = [(str(cell.get("id")), "".join(cell["source"]).strip()) for cell in code]
        return [(identity, source) for identity, source in found if source]
    return []

"""The library as a place: `%xai_library` and `xai_notebook.library()`.

    queries.py   filters as users and the browser give them -> the shelf's query
    widget.py    the widget: what the browser asks, what it is told

What runs in the browser is built from `notebook/browser`. Only what is seen is in the page: rows
and thumbnails travel as messages, by position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xai_notebook.frontend import in_kernel, running_shell
from xai_notebook.notebook.library_view.queries import query_of

if TYPE_CHECKING:
    from xai_notebook.notebook.library_view.widget import Place

__all__ = ["library"]


class _Hint(str):
    """A line that a display shows as it is."""

    __slots__ = ()
    __repr__ = str.__str__


NO_FRONTEND = _Hint(
    "The library needs a notebook (JupyterLab, Notebook 7, VS Code, Colab or Voila). Here, use "
    "%xai_history WORDS, or xai_notebook.history(WORDS)."
)


def library(words: str = "", **filters: Any) -> Place | None:
    """Show every picture ever made: search, look, compare, star, tag, delete, export.

    Args:
        words: What stands in the search field: all of them must occur in the prompts, the model's
            or the notebook's name; the last one may be the beginning of a word.
        **filters: `order` ("newest", "cost" or "model"); `model`; `since` and `until` (a date, a
            datetime or their ISO text); `notebook=True` (this one's alone); `starred=True`; `tag`;
            `status` ("ok", "moderated", "pending", "failed", "trash", "all"); `backend` ("xai",
            "local").

    Returns:
        The place; its `selected` are the pictures chosen in it. None where no front end can show
        it.

    Raises:
        OptionError: A filter is none, or its value means nothing.
        LibraryError: The library cannot be opened.
    """
    from IPython.display import display  # noqa: PLC0415

    query = query_of(words, filters)
    shell = running_shell()
    if not in_kernel(shell):
        display(NO_FRONTEND)  # type: ignore[no-untyped-call]
        return None
    from xai_notebook.notebook.library_view.widget import Place  # noqa: PLC0415  # ipywidgets

    shown = Place(query, shell)
    shown.show()
    return shown

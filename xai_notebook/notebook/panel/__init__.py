"""The panel: the form of `%xai_panel` and `xai_notebook.panel()`.

A request made in it is the magic's request: same session, same option table, same library.

    form.py      values of the form <-> options; the equivalent cell
    uploads.py   files on their way from the browser
    inputs.py    pictures to edit
    pictures.py  what is said and asked of pictures
    jobs.py      generations, as many at once as are configured
    gallery.py   what a card shows; previews, originals, files
    memory.py    what the panel was when its cell ran last
    outputs.py   results as real outputs under the panel's cell
    widget.py    the widget: what it shares with the browser, and what it does when told

The front end is an anywidget: keys, accessible names, live regions, dropped files and the
clipboard need JavaScript, which plain ipywidgets cannot ship. It is built from `notebook/browser`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xai_notebook.frontend import in_kernel, running_shell
from xai_notebook.pictures.magic_source import escape

if TYPE_CHECKING:
    from xai_notebook.notebook.panel.widget import Panel

__all__ = ["panel", "show_panel"]


class _Hint(str):
    """A line that a display shows as it is."""

    __slots__ = ()
    __repr__ = str.__str__


NO_FRONTEND = _Hint(
    "The panel needs a notebook (JupyterLab, Notebook 7, VS Code, Colab or Voila). Here, use "
    "%xai_image PROMPT, or xai_notebook.generate(PROMPT)."
)


def show_panel(prompt: str = "", **options: Any) -> Panel | None:
    """Show the form under the running cell.

    Args:
        prompt: What stands in the prompt's field: a template, as if it was typed there.
        options: First values, by the names of `generate()`.

    Returns:
        The panel; its `images` are what it has made. None where no front end can show it.

    Raises:
        OptionError: An option is wrong, or none that a form can have.
    """
    from IPython.display import display  # noqa: PLC0415

    shell = running_shell()
    if not in_kernel(shell):
        display(NO_FRONTEND)  # type: ignore[no-untyped-call]
        return None
    from xai_notebook.notebook.panel.widget import Panel  # noqa: PLC0415  # ipywidgets: 100 ms

    shown = Panel(prompt, options, shell)
    shown.show()
    return shown


def panel(prompt: str = "", **options: Any) -> Panel | None:
    """Show the form; options are its first values, as for `generate`.

    Args:
        prompt: What stands in the prompt's field. It is literal: `{{` appears as `{{ '{{' }}`.
        **options: By the names of `generate`.
    """
    return show_panel(escape(prompt), **options)

"""The panel of `%xai_panel` and `xai_notebook.panel()`: a form for requests, and their images.

The panel uses the same session, option table and library as the magic.

    form.py      conversion between form values and options; the equivalent cell
    inputs.py    input images, and uploads from the browser
    queue.py     queue of generations, several at a time
    restore.py   the state of a panel from the last run of its cell
    widget.py    the widget: synced traits, messages, cards

The frontend is an anywidget, built from `notebook/browser`: keys, accessible names, live regions,
dropped files and the clipboard need JavaScript, which plain ipywidgets cannot ship.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.frontend import in_kernel, running_shell
from xai_notebook.pictures.magic_source import escape

if TYPE_CHECKING:
    from xai_notebook.notebook.panel.widget import Panel

__all__ = ["panel", "show_panel"]

NO_FRONTEND: Final = (
    "The panel needs a notebook (JupyterLab, Notebook 7, VS Code, Colab or Voila). Here, use "
    "%xai_image PROMPT, or xai_notebook.generate(PROMPT)."
)


def panel(prompt: str = "", **options: Any) -> Panel | None:
    """Show the form under the running cell.

    Args:
        prompt: Initial text of the prompt field. It is literal: `{{` appears as `{{ '{{' }}`.
        **options: Initial values, by the option names of `generate`.

    Returns:
        The panel, whose `images` are its generated images. None if widgets cannot be shown.

    Raises:
        OptionError: An option is invalid, or the form does not support it.
    """
    return show_panel(escape(prompt), **options)


def show_panel(prompt: str = "", **options: Any) -> Panel | None:
    """Like `panel`, but the prompt is a template, as if the user had typed it."""
    shell = running_shell()
    if not in_kernel(shell):
        sys.stdout.write(f"{NO_FRONTEND}\n")
        return None
    from xai_notebook.notebook.panel.widget import Panel  # noqa: PLC0415  # ipywidgets: 100 ms

    shown = Panel(prompt, options, shell)
    shown.show()
    return shown

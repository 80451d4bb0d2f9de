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
from typing import TYPE_CHECKING, Any

from xai_notebook.frontend import in_kernel, running_shell
from xai_notebook.pictures.magic_source import escape

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

    from xai_notebook.notebook.panel.widget import Panel

__all__ = ["panel", "show_panel"]


def panel(prompt: str = "", **options: Any) -> Panel:
    """Make the panel: a form for requests, with its images.

    In Jupyter the panel appears under the running cell, once. In marimo and Solara it is a widget
    to place: `mo.ui.anywidget(xai.panel())`, `solara.display(panel)`. In scripts and terminals,
    which cannot show widgets, a message says so.

    Args:
        prompt: Initial text of the prompt field. It is literal: `{{` appears as `{{ '{{' }}`.
        **options: Initial values, by the option names of `generate`.

    Returns:
        The panel, an anywidget. Its `images` are its generated images.

    Raises:
        OptionError: An option is invalid, or the form does not support it.
    """
    return show_panel(escape(prompt), options, sys._getframe(1))  # noqa: SLF001  # its variables


def show_panel(prompt: str, options: Mapping[str, Any], caller: FrameType | None = None) -> Panel:
    """Like `panel`, but the prompt is a template, as if the user had typed it.

    `caller` is the code that makes the panel; outside IPython, templates take its variables.
    """
    from xai_notebook.notebook.panel.restore import location_of_call  # noqa: PLC0415  # not at load
    from xai_notebook.notebook.panel.widget import Panel  # noqa: PLC0415  # ipywidgets: 100 ms

    shell = running_shell()
    if in_kernel(shell):
        shown = Panel(prompt, options, shell)
    elif caller is None:
        shown = Panel(prompt, options, None, shell.user_ns)
    else:
        location = location_of_call(caller)
        shown = Panel(prompt, options, None, caller.f_globals, location)
    shown.show()
    return shown

"""Load the extension into IPython and unload it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from traitlets import TraitError

from xai_notebook.errors import ConfigurationError
from xai_notebook.frontend import remember_folder, take_configured
from xai_notebook.notebook.magics import XaiImage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from IPython.core.interactiveshell import InteractiveShell

_MATCHER: Final = "xai_image_matcher"


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Add the magics, `%config XaiImage` and completion. `%load_ext xai_notebook` calls this.

    Raises:
        ConfigurationError: A default in IPython's configuration has an invalid value.
    """
    _remove(shell)
    remember_folder(Path.cwd())
    try:
        magics = XaiImage(shell=shell)
    except TraitError as error:
        raise ConfigurationError(
            f"{error} Correct it in ipython_config.py, or in get_ipython().config.XaiImage, and "
            "load the extension again."
        ) from None
    magics.configure(take_configured())
    shell.register_magics(magics)
    _add_completion(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Remove the magics and completion; close channels, server, library and event loop."""
    _remove(shell)
    if (session := sys.modules.get("xai_notebook.generation.session")) is not None:
        session.close_session()


def _remove(shell: InteractiveShell) -> None:
    """Remove the registrations of an earlier load, because IPython never removes Magics objects."""
    for kind, table in shell.magics_manager.magics.items():
        for name in XaiImage.magics[kind]:
            table.pop(name, None)
    shell.magics_manager.registry.pop(XaiImage.__name__, None)
    # Compare by name, because a reload creates a new class object.
    shell.configurables[:] = [
        each for each in shell.configurables if type(each).__name__ != XaiImage.__name__
    ]
    completer = getattr(shell, "Completer", None)
    if completer is not None:
        vars(completer).pop("completions", None)
    if (matchers := getattr(completer, "custom_matchers", None)) is not None:
        matchers[:] = [each for each in matchers if getattr(each, "__name__", "") != _MATCHER]


def _add_completion(shell: InteractiveShell) -> None:
    """Add Tab completion."""
    completer = getattr(shell, "Completer", None)
    if completer is None:
        return
    try:
        from IPython.core.completer import context_matcher  # noqa: PLC0415
    except ImportError:  # before IPython 8.6, such as in Colab
        _replace_completions(completer, shell)
        return

    @context_matcher()  # type: ignore[untyped-decorator]
    def xai_image_matcher(context: Any) -> Any:
        from xai_notebook.notebook.completion import matches  # noqa: PLC0415  # import on the first Tab

        return matches(context, shell.user_ns)

    completer.custom_matchers.append(xai_image_matcher)


def _replace_completions(completer: Any, shell: InteractiveShell) -> None:
    """Add Tab completion to an old IPython, until the extension is unloaded.

    Its matchers cannot see the cell, and cannot suppress the completion of Python names.
    """

    def completions(text: str, offset: int) -> Iterator[Any]:
        from xai_notebook.notebook.completion import completions_at  # noqa: PLC0415  # the first Tab

        found = completions_at(text, offset, shell.user_ns)
        yield from type(completer).completions(completer, text, offset) if found is None else found

    completer.completions = completions

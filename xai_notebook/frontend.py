"""Where we are: in a kernel, a terminal or plain Python; in which notebook; what `%config` says.

IPython is not loaded for an answer: where it runs, it is there.
"""

from __future__ import annotations

import functools
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

__all__ = [
    "can_update",
    "cell_identity",
    "configure",
    "configured",
    "follow",
    "in_kernel",
    "in_terminal",
    "is_for_visitors",
    "notebook_file",
    "notebook_folder",
    "notebook_name",
    "remember_folder",
    "reruns_by_itself",
    "resolve_folder",
    "running_shell",
    "show",
    "take_configured",
]

_NAME: Final = "JPY_SESSION_NAME"
_loaded_in: Path | None = None
_configured: Final[dict[str, Any]] = {}
"""Defaults of this process, as long as no extension holds them."""


def running_shell() -> Any:
    """Return the IPython that we are in, or None."""
    return getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()


def in_kernel(shell: Any) -> bool:
    """Tell whether an IPython has a front end that shows more than text."""
    return getattr(shell, "kernel", None) is not None


def in_terminal() -> bool:
    """Tell whether the only front end is plain `ipython`."""
    shell = running_shell()
    return shell is not None and not in_kernel(shell)


def is_for_visitors() -> bool:
    """Tell whether those in front of this kernel are visitors of an app, and not its author.

    The setting `visitors` says so; where it is not set, the kernel of a page of Voilà is for them,
    and so is every process that it starts: what they do, they do for the same visitors.
    """
    told = configured().get("visitors")
    return bool(told) if told is not None else "VOILA_PREHEAT" in os.environ


def reruns_by_itself() -> bool:
    """Tell whether code here is run again without being asked to: by Streamlit, by marimo."""
    asked = (("streamlit.runtime", "exists"), ("marimo", "running_in_notebook"))
    tells = (getattr(sys.modules.get(module), name, None) for module, name in asked)
    return any(tell() for tell in tells if tell is not None)


def configured() -> Mapping[str, Any]:
    """Return what `%config XaiImage` or `configure` says, by the names of the option table."""
    extension = _extension()
    return _configured if extension is None else extension.configuration()


def configure(values: Mapping[str, Any]) -> None:
    """Set defaults: those of `%config XaiImage` where the extension is loaded, now or later.

    Args:
        values: Checked, by the names of the option table; None resets one.
    """
    extension = _extension()
    if extension is not None:
        extension.configure(values)
        return
    _configured.update(values)
    for name in [name for name, value in _configured.items() if value is None]:
        del _configured[name]


def take_configured() -> dict[str, Any]:
    """Return the defaults that were set before the extension was loaded, and forget them here."""
    values = dict(_configured)
    _configured.clear()
    return values


def show(job: Any) -> bool:
    """Have the extension show a job, which it updates; False: it is not loaded here."""
    extension = _extension()
    return extension is not None and bool(extension.show_job(job))


def follow(job: Any) -> Any:
    """Return what shows a job while it is waited for: called now and then, `.end()` at last.

    None: the extension is not loaded here.
    """
    extension = _extension()
    return None if extension is None else extension.follow_job(job)


def _extension() -> Any:
    """Return the extension, if it is loaded in the IPython that we are in."""
    for thing in getattr(running_shell(), "configurables", ()):
        if type(thing).__name__ == "XaiImage":
            return thing
    return None


def cell_identity(shell: Any, info: Any) -> Hashable:
    """Return what tells a cell from all others; None: nobody says, and it has no next run.

    Args:
        shell: The IPython that runs it.
        info: What IPython says of the run; None: nothing.
    """
    if info is None:
        return None
    if not in_kernel(shell):
        return str(info.raw_cell).strip()
    cell: str | None = getattr(info, "cell_id", None)
    if cell is None and hasattr(shell, "get_parent"):  # IPython before 8.3
        cell = (shell.get_parent().get("metadata") or {}).get("cellId")
    return cell


def can_update(shell: Any) -> bool:
    """Tell whether what a cell shows can be replaced later.

    A console of a kernel, such as `jupyter console`, ignores replacements. It is known by what it
    sends: it can be asked for input, as those who run notebooks unattended cannot, and names no
    cell, as those who show notebooks do.
    """
    if not in_kernel(shell):
        return False
    if not hasattr(shell, "get_parent"):
        return True
    request = shell.get_parent()
    names_cell = "cellId" in (request.get("metadata") or {})
    return names_cell or not (request.get("content") or {}).get("allow_stdin")


def notebook_name() -> str | None:
    """Return the notebook as Jupyter names it, which may be a path; None: it is unknown.

    Jupyter Server gives a kernel the name in its environment, which every process inherits that
    the kernel starts: scripts, workers, and the kernels of papermill and nbconvert, which run other
    notebooks. None of these is that notebook.
    """
    name = os.getenv(_NAME, "")
    inherited = name.strip() and _is_inherited(name, os.getpid(), kernel=_is_kernel())
    return None if inherited else name.strip() or None


def _is_kernel() -> bool:
    """Tell whether this process is a kernel, and not one that was forked from it."""
    kernel = getattr(running_shell(), "kernel", None)
    started = getattr(getattr(kernel, "session", None), "pid", os.getpid())
    return kernel is not None and bool(started == os.getpid())


@functools.lru_cache(maxsize=4)
def _is_inherited(name: str, pid: int, *, kernel: bool) -> bool:
    """Tell whether a notebook's name was meant for another process than this one.

    Args:
        name: As the environment has it.
        pid: Of this process: a forked one has to be looked at anew.
        kernel: This process is a kernel.
    """
    started_with = _environment(pid)
    if started_with is not None and started_with.get(_NAME) != name:
        return False  # set by code that runs here
    if not kernel:
        return True
    # Jupyter Server has no such name itself; papermill or nbconvert under a notebook has the same.
    # A launcher that cannot be read, since it has ended or belongs to another user, is a server.
    launcher = _launcher()
    given_by = None if launcher is None else _environment(launcher)
    return given_by is not None and given_by.get(_NAME) == name


def _launcher() -> int | None:
    """Return the id of the process that started this kernel, as jupyter_client tells it."""
    told = os.getenv("JPY_PARENT_PID", "")
    if not told.isdecimal():
        return None
    if sys.platform == "win32":  # there it is a handle
        import ctypes  # noqa: PLC0415  # only there

        return int(ctypes.windll.kernel32.GetProcessId(ctypes.c_void_p(int(told)))) or None
    return int(told)


def _environment(pid: int) -> dict[str, str] | None:
    """Return the environment that a process was started with; None: it cannot be read."""
    with suppress(ImportError):
        import psutil  # noqa: PLC0415  # IPython or ipykernel brings it

        with suppress(psutil.Error, OSError):
            return dict(psutil.Process(pid).environ())
    return None


def notebook_file() -> Path | None:
    """Return the notebook's file, whose folder may not be known; None: nobody names it."""
    in_code = getattr(running_shell(), "user_ns", {}).get("__vsc_ipynb_file__")
    name = in_code if isinstance(in_code, str) and in_code else notebook_name()
    return Path(name) if name and name.endswith(".ipynb") else None


def remember_folder(folder: Path | None) -> None:
    """Remember the working directory as it was when the extension was loaded.

    nbconvert and nbclient start kernels in the notebook's folder; a later `%cd` does not move the
    notebook.

    Args:
        folder: None forgets it.
    """
    global _loaded_in  # noqa: PLW0603  # a kernel has one notebook
    _loaded_in = folder


def notebook_folder() -> Path:
    """Return the folder of the notebook, as well as it can be known.

    In this order: what VS Code puts into the user's namespace, JupyterLab's session name, the
    working directory when the extension was loaded, the working directory now.
    """
    return _vscode_folder() or _jupyter_folder() or _loaded_in or Path.cwd()


def _vscode_folder() -> Path | None:
    file = getattr(running_shell(), "user_ns", {}).get("__vsc_ipynb_file__")
    folder = Path(file).parent if isinstance(file, str) and file else None
    return folder if folder is not None and folder.is_dir() else None


def _jupyter_folder() -> Path | None:
    file = Path(notebook_name() or "")
    return file.parent if file.is_absolute() and file.parent.is_dir() else None


def resolve_folder(folder: str | Path | None) -> Path:
    """Return the folder that a name means, which need not exist.

    `..` must not lead a relative folder out of the notebook's. An absolute path, `~` and links
    that the user has put there are followed wherever they lead.

    Args:
        folder: None or `""` is the notebook's.

    Raises:
        ExportError: The name means nothing, or leaves the notebook's folder.
    """
    try:
        path = Path(folder or "").expanduser()
    except RuntimeError as error:
        raise ExportError(f"Cannot tell whose home {folder} means. Give a full path.") from error
    if "\0" in str(path):
        raise ExportError("A folder's name cannot hold a null character. Give another one.")
    path = Path(os.path.normpath(path))
    if path.parts[:1] == ("..",):
        raise ExportError(
            f"{folder} is outside the notebook's folder. Give a folder inside it, or a full path."
        )
    try:
        return notebook_folder() / path
    except OSError as error:
        raise ExportError("The working directory is gone. Give a full path.") from error

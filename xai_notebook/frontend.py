"""The surroundings: kernel, terminal or script; the notebook and its folder; `%config XaiImage`.

Nothing here imports IPython: where code runs in it, it is loaded already.
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

_NAME: Final = "JPY_SESSION_NAME"
_loaded_in: Path | None = None
_configured: Final[dict[str, Any]] = {}
"""Defaults of this process until the extension is loaded and holds them."""


def running_shell() -> Any:
    """Return the IPython that runs this code, or None."""
    return getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()


def in_kernel(shell: Any) -> bool:
    """Tell whether an IPython belongs to a kernel, whose front ends show more than text."""
    return getattr(shell, "kernel", None) is not None


def in_terminal() -> bool:
    """Tell whether this code runs in plain `ipython`."""
    shell = running_shell()
    return shell is not None and not in_kernel(shell)


def is_for_visitors() -> bool:
    """Tell whether visitors of an app use this kernel, and not its author.

    The setting `visitors` decides. Unset, it is true in a kernel of Voilà and in the processes
    that such a kernel starts.
    """
    visitors = configured().get("visitors")
    return bool(visitors) if visitors is not None else "VOILA_PREHEAT" in os.environ


def reruns_by_itself() -> bool:
    """Tell whether Streamlit or marimo runs this code, which rerun code by themselves."""
    names = (("streamlit.runtime", "exists"), ("marimo", "running_in_notebook"))
    checks = (getattr(sys.modules.get(module), name, None) for module, name in names)
    return any(check() for check in checks if check is not None)


def configured() -> Mapping[str, Any]:
    """Return the defaults of `%config XaiImage` or `configure`, by names of the option table."""
    extension = _extension()
    return _configured if extension is None else extension.configuration()


def configure(values: Mapping[str, Any]) -> None:
    """Set defaults; the extension takes them over, now or when it is loaded.

    Args:
        values: Checked values by the names of the option table; None resets one.
    """
    extension = _extension()
    if extension is not None:
        extension.configure(values)
        return
    _configured.update(values)
    for name in [name for name, value in _configured.items() if value is None]:
        del _configured[name]


def take_configured() -> dict[str, Any]:
    """Return the defaults that were set before the extension was loaded, and clear them here."""
    values = dict(_configured)
    _configured.clear()
    return values


def show(job: Any) -> bool:
    """Have the extension show a job and keep the output up to date; False: it is not loaded."""
    extension = _extension()
    return extension is not None and bool(extension.show_job(job))


def follow(job: Any) -> Any:
    """Return a progress display for the time of waiting for a job; None: no extension is loaded.

    The caller calls it now and then, and its `end()` at the end.
    """
    extension = _extension()
    return None if extension is None else extension.follow_job(job)


def _extension() -> Any:
    """Return the extension of the running IPython; None: it is not loaded."""
    configurables = getattr(running_shell(), "configurables", ())
    return next((each for each in configurables if type(each).__name__ == "XaiImage"), None)


def cell_identity(shell: Any, info: Any) -> Hashable:
    """Return an identity of a cell that is the same in its next run; None: it is unknown.

    Args:
        shell: The IPython that runs the cell.
        info: IPython's ExecutionInfo of the run, or None.
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
    """Tell whether a cell's output can be replaced later.

    A console of a kernel, such as `jupyter console`, ignores replacements. Its requests allow
    input, unlike those of programs that run notebooks unattended, and name no cell, unlike those of
    notebook front ends.
    """
    if not in_kernel(shell):
        return False
    if not hasattr(shell, "get_parent"):
        return True
    request = shell.get_parent()
    names_cell = "cellId" in (request.get("metadata") or {})
    return names_cell or not (request.get("content") or {}).get("allow_stdin")


def notebook_name() -> str | None:
    """Return the notebook's name in Jupyter, which may be a path; None: it is unknown.

    Jupyter Server puts the name into the kernel's environment. Processes that the kernel starts
    inherit it, although they do not run that notebook: scripts, workers, and the kernels of
    papermill and nbconvert.
    """
    name = os.getenv(_NAME, "")
    inherited = name.strip() and _is_inherited(name, os.getpid(), kernel=_is_kernel())
    return None if inherited else name.strip() or None


def _is_kernel() -> bool:
    """Tell whether this process is a kernel, and not a fork of one."""
    kernel = getattr(running_shell(), "kernel", None)
    started = getattr(getattr(kernel, "session", None), "pid", os.getpid())
    return kernel is not None and bool(started == os.getpid())


@functools.lru_cache(maxsize=4)
def _is_inherited(name: str, pid: int, *, kernel: bool) -> bool:
    """Tell whether a notebook's name in the environment belongs to another process.

    A fork has another `pid`, and so another entry in the cache.
    """
    started_with = _environment(pid)
    if started_with is not None and started_with.get(_NAME) != name:
        return False  # set by code that runs here
    if not kernel:
        return True
    # Jupyter Server itself has another name or none; papermill under a notebook has the same one.
    # A launcher that has ended or belongs to another user cannot be read, and counts as a server.
    launcher = _launcher()
    launched_with = None if launcher is None else _environment(launcher)
    return launched_with is not None and launched_with.get(_NAME) == name


def _launcher() -> int | None:
    """Return the id of the process that started this kernel, from jupyter_client's variable."""
    parent = os.getenv("JPY_PARENT_PID", "")
    if not parent.isdecimal():
        return None
    if sys.platform == "win32":  # it is a handle there
        import ctypes  # noqa: PLC0415  # only there

        return int(ctypes.windll.kernel32.GetProcessId(ctypes.c_void_p(int(parent)))) or None
    return int(parent)


def _environment(pid: int) -> dict[str, str] | None:
    """Return the environment with which a process started; None: it cannot be read."""
    with suppress(ImportError):
        import psutil  # noqa: PLC0415  # IPython or ipykernel brings it

        with suppress(psutil.Error, OSError):
            return dict(psutil.Process(pid).environ())
    return None


def notebook_file() -> Path | None:
    """Return the notebook's file, which may be a bare name; None: it is unknown."""
    name = _vscode_file() or notebook_name()
    return Path(name) if name and name.endswith(".ipynb") else None


def _vscode_file() -> str | None:
    """Return the notebook's path, which VS Code puts into the user's namespace."""
    file = getattr(running_shell(), "user_ns", {}).get("__vsc_ipynb_file__")
    return file if isinstance(file, str) else None


def remember_folder(folder: Path | None) -> None:
    """Remember the working directory at the time when the extension is loaded.

    nbconvert and nbclient start kernels in the notebook's folder; a later `%cd` does not move the
    notebook.

    Args:
        folder: None forgets it.
    """
    global _loaded_in  # noqa: PLW0603  # a kernel has one notebook
    _loaded_in = folder


def notebook_folder() -> Path:
    """Return the folder of the notebook, as well as it can be known.

    In this order: VS Code's variable, Jupyter's name, the working directory when the extension was
    loaded, the working directory now.
    """
    for name in (_vscode_file, notebook_name):
        file = Path(name() or "")
        if file.is_absolute() and file.parent.is_dir():
            return file.parent
    return _loaded_in or Path.cwd()


def resolve_folder(folder: str | Path | None) -> Path:
    """Return the path of a folder, which need not exist, relative to the notebook's.

    `..` cannot lead out of the notebook's folder. Absolute paths, `~` and links lead anywhere.

    Args:
        folder: None or `""` is the notebook's.

    Raises:
        ExportError: The name is invalid, or leaves the notebook's folder.
    """
    try:
        path = Path(folder or "").expanduser()
    except RuntimeError as error:
        raise ExportError(f"The home folder of {folder} is unknown. Give a full path.") from error
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

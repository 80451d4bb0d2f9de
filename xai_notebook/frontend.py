"""The environment of the code: kernel, terminal or script; notebook and folder; configuration.

This module does not import IPython: if the code runs in IPython, it is already loaded.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.errors import ExportError, hide_home

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

_NAME: Final = "JPY_SESSION_NAME"
_PAPERMILL: Final = "papermill"
_PAPERMILL_VALUES: Final = dict.fromkeys(
    ("-p", "--parameters", "-r", "--parameters_raw"), 2
) | dict.fromkeys(
    (
        "-f", "--parameters_file", "-y", "--parameters_yaml", "-b", "--parameters_base64",
        "--engine", "--autosave-cell-every", "-k", "--kernel", "-l", "--language", "--cwd",
        "--stdout-file", "--stderr-file", "--log-level", "--start-timeout", "--start_timeout",
        "--execution-timeout",
    ),
    1,
)  # fmt: skip
"""Number of values of each option of papermill's command line; all other options are flags."""
_LOG: Final = logging.getLogger("xai_notebook")
_loaded_in: Path | None = None
_configured: Final[dict[str, Any]] = {}
"""Defaults that were set before the extension was loaded; then the extension keeps them."""


def running_shell() -> Any:
    """Return the IPython shell that runs this code, or None.

    Solara replaces `get_ipython`; its object runs no cells and counts as None.
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return None if type(shell).__module__.startswith("solara.") else shell


def in_kernel(shell: Any) -> bool:
    """Tell whether an IPython shell belongs to a kernel, whose frontends show more than text."""
    return getattr(shell, "kernel", None) is not None


def in_terminal() -> bool:
    """Tell whether this code runs in plain `ipython`."""
    shell = running_shell()
    return shell is not None and not in_kernel(shell)


def is_for_visitors() -> bool:
    """Tell whether this kernel serves visitors of an app instead of the notebook's author.

    The setting `visitors` decides. If it is unset, the result is true in a kernel of Voilà and in
    the processes that such a kernel starts, in a Solara server, and in `marimo run`.
    """
    visitors = configured().get("visitors")
    return bool(visitors) if visitors is not None else _serves_pages()


_has_served_page = False
"""Whether code has run for a page of Solara or `marimo run`. Background threads have no page."""


def _serves_pages() -> bool:
    global _has_served_page  # noqa: PLW0603  # a process serves pages until its end
    marimo = sys.modules.get("marimo")
    _has_served_page = (
        _has_served_page
        or page_context() is not None
        or (hasattr(marimo, "app_meta") and marimo.app_meta().mode == "run")  # type: ignore[union-attr]
    )
    return "VOILA_PREHEAT" in os.environ or _has_served_page


def page_context() -> Any:
    """Return Solara's context of the page that runs this code, or None.

    It is a context manager. A widget's messages go to the page whose context is active.
    """
    solara = sys.modules.get("solara.server.kernel_context")
    if solara is None or not solara.has_current_context():
        return None
    return solara.get_current_context()


def reruns_by_itself() -> bool:
    """Tell whether this code runs in Streamlit or marimo, which rerun code automatically.

    marimo recognises only threads that it started: those of cells, and `mo.Thread`.
    """
    return in_streamlit() or marimo_notebook() is not None


def in_streamlit() -> bool:
    """Tell whether this process serves an app of Streamlit."""
    exists = getattr(sys.modules.get("streamlit.runtime"), "exists", None)
    return exists is not None and bool(exists())


def marimo_notebook() -> Any:
    """Return the module `marimo` in a notebook or an app of marimo; None elsewhere."""
    marimo = sys.modules.get("marimo")
    check = getattr(marimo, "running_in_notebook", None)
    return marimo if check is not None and check() else None


def configured() -> Mapping[str, Any]:
    """Return the defaults set by `%config XaiImage` or `configure`, keyed by option name."""
    extension = _extension()
    return _configured if extension is None else extension.configuration()


def configure(values: Mapping[str, Any]) -> None:
    """Set checked defaults in the extension, or keep them here until it is loaded.

    None resets an option.
    """
    extension = _extension()
    if extension is not None:
        extension.configure(values)
        return
    _configured.update(values)
    for name in [name for name, value in _configured.items() if value is None]:
        del _configured[name]


def take_configured() -> dict[str, Any]:
    """Return and clear the defaults that were set before the extension was loaded."""
    values = dict(_configured)
    _configured.clear()
    return values


def show_job(job: Any) -> bool:
    """Let the extension show a job and update the output; return False if it is not loaded."""
    extension = _extension()
    return extension is not None and bool(extension.show_job(job))


def follow_job(job: Any) -> Any:
    """Return a progress display for a job; None if the extension is not loaded.

    The caller calls the display regularly while it waits for the job, and finally its `end()`.
    """
    extension = _extension()
    return None if extension is None else extension.follow_job(job)


def _extension() -> Any:
    """Return the extension of the running IPython shell; None if it is not loaded."""
    configurables = getattr(running_shell(), "configurables", ())
    return next((each for each in configurables if type(each).__name__ == "XaiImage"), None)


def has_magics() -> bool:
    """Tell whether messages can name magics such as `%xai_library`: the extension is loaded."""
    return _extension() is not None


def request_cell(shell: Any) -> str | None:
    """Return the id of the notebook's cell that the running request names; None without one.

    Jupyter front ends send it as `cellId`, Colab as `colab.cell_id`.
    """
    if not hasattr(shell, "get_parent"):
        return None
    metadata = shell.get_parent().get("metadata") or {}
    colab = metadata.get("colab")
    cell = metadata.get("cellId") or (colab.get("cell_id") if isinstance(colab, dict) else None)
    return str(cell) if cell else None


def cell_identity(shell: Any, info: Any) -> Hashable:
    """Return an identifier of a cell that stays the same when the cell runs again; None if unknown.

    `info` is IPython's ExecutionInfo of the run, or None.
    """
    if info is None:
        return None
    if not in_kernel(shell):
        return str(info.raw_cell).strip()
    cell: str | None = getattr(info, "cell_id", None)
    return request_cell(shell) if cell is None else cell  # IPython before 8.3, and Colab


def can_update(shell: Any) -> bool:
    """Tell whether a cell's output can be replaced later.

    A kernel's console, such as `jupyter console`, ignores replacements. A console is recognised by
    its requests: they name no cell, unlike requests of notebook front ends, and they allow input,
    unlike requests of programs that run notebooks unattended.
    """
    if not in_kernel(shell):
        return False
    if not hasattr(shell, "get_parent"):
        return True
    if request_cell(shell) is not None:
        return True
    return not (shell.get_parent().get("content") or {}).get("allow_stdin")


def is_unattended() -> bool:
    """Tell whether no notebook frontend shows progress.

    That is so in a script, in a terminal, and in a notebook that papermill or nbconvert runs.
    Programs such as papermill neither name a cell in their requests nor allow input.
    """
    shell = running_shell()
    if not in_kernel(shell):
        return True
    if is_for_visitors():  # Voilà runs the notebook like papermill, and shows its outputs
        return False
    request = shell.get_parent() if hasattr(shell, "get_parent") else {}
    allows_input = (request.get("content") or {}).get("allow_stdin")
    return allows_input is False and request_cell(shell) is None


def log_line(line: str) -> None:
    """Write a line to the log `xai_notebook`, and to stderr unless a handler of the log prints it.

    Never raises.
    """
    _LOG.info("%s", line)
    if not _is_printed():
        write_stderr(f"{line}\n")


def _is_printed() -> bool:
    """Tell whether a handler of the user takes the lines of `log_line`."""
    logger: logging.Logger | None = _LOG
    if not _LOG.isEnabledFor(logging.INFO):
        return False
    while logger is not None:
        for handler in logger.handlers:
            if handler.level <= logging.INFO and not isinstance(handler, logging.NullHandler):
                return True
        logger = logger.parent if logger.propagate else None
    return False


def write_stderr(text: str) -> None:
    """Write text to stderr, which may be closed or None. Never raises."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(hide_home(text))
        sys.stderr.flush()


def notebook_name() -> str | None:
    """Return the notebook's name in Jupyter, which may be a path; None if unknown.

    Jupyter Server puts the name into the kernel's environment. Processes that the kernel starts
    inherit it, although they do not run that notebook: scripts, workers, and the kernels of
    papermill and nbconvert.
    """
    name = os.getenv(_NAME, "")
    if not name.strip():
        return None
    inherited = _is_inherited(name, os.getpid(), kernel=_is_kernel_process())
    return None if inherited else name.strip()


def _is_kernel_process() -> bool:
    """Tell whether this process is a kernel, and not a fork of a kernel."""
    kernel, pid = getattr(running_shell(), "kernel", None), os.getpid()
    return kernel is not None and getattr(getattr(kernel, "session", None), "pid", pid) == pid


@functools.lru_cache(maxsize=4)
def _is_inherited(name: str, pid: int, *, kernel: bool) -> bool:
    """Tell whether a notebook's name in the environment belongs to another process.

    `pid` is part of the cache key, so a forked process does not use its parent's result.
    """
    started_with = _environment(pid)
    if started_with is not None and started_with.get(_NAME) != name:
        return False  # set by code in this process
    if not kernel:
        return True
    # In Jupyter Server's own environment, the name is different or missing. In the environment of
    # papermill, run from a notebook, it is the same. The environment of a launcher that has ended
    # or belongs to another user cannot be read; such a launcher counts as Jupyter Server.
    launcher = _launcher()
    launched_with = None if launcher is None else _environment(launcher)
    return launched_with is not None and launched_with.get(_NAME) == name


def _launcher() -> int | None:
    """Return the id of the process that started this kernel, from jupyter_client's variable."""
    parent = os.getenv("JPY_PARENT_PID", "")
    if not parent.isdecimal():
        return None
    if sys.platform == "win32":  # where the variable holds a process handle
        import ctypes  # noqa: PLC0415  # only needed on Windows

        return int(ctypes.windll.kernel32.GetProcessId(ctypes.c_void_p(int(parent)))) or None
    return int(parent)


def _environment(pid: int) -> dict[str, str] | None:
    """Return the environment with which a process was started; None if it cannot be read."""
    with suppress(ImportError):
        import psutil  # noqa: PLC0415  # installed with IPython or ipykernel

        with suppress(psutil.Error, OSError):
            return dict(psutil.Process(pid).environ())
    return None


def notebook_file() -> Path | None:
    """Return the notebook's file, perhaps without its folder; None if unknown."""
    name = _vscode_file() or notebook_name()
    return Path(name) if name and name.endswith(".ipynb") else None


def _vscode_file() -> str | None:
    """Return the notebook's path that VS Code puts into the user's namespace; None without it."""
    file = getattr(running_shell(), "user_ns", {}).get("__vsc_ipynb_file__")
    return file if isinstance(file, str) else None


def papermill_notebook() -> Path | None:
    """Return the notebook that papermill runs in this kernel; None if unknown.

    The kernel's working directory is that of papermill, not the notebook's folder. Sources in
    order of priority: the variable `PAPERMILL_INPUT_PATH`, which papermill's option
    `--inject-input-path` sets in the notebook; papermill's own command line. A script that calls
    `papermill.execute_notebook` has no such command line. Notebooks from a pipe or a URL have no
    folder.
    """
    if not _is_kernel_process() or (launcher := _launcher()) is None:
        return None
    injected = getattr(running_shell(), "user_ns", {}).get("PAPERMILL_INPUT_PATH")
    if not isinstance(injected, str):
        injected = None
    return _papermill_notebook(launcher, os.getpid(), injected)


@functools.lru_cache(maxsize=4)
def _papermill_notebook(launcher: int, _pid: int, injected: str | None) -> Path | None:
    """Find the notebook's file from the process of papermill.

    `_pid` is part of the cache key, so a forked process does not use its parent's result.
    """
    with suppress(ImportError):
        import psutil  # noqa: PLC0415  # installed with IPython or ipykernel

        with suppress(psutil.Error, OSError, ValueError):  # ValueError: a null character
            process = psutil.Process(launcher)
            arguments = _papermill_arguments(process.cmdline())
            if arguments is None and injected is None:
                return None
            path, moved_to = _parse_papermill(arguments or [])
            name = injected or path
            if name in {None, "", "-"}:
                return None
            folders = [Path(process.cwd())]
            folders.append(Path(os.path.realpath(process.environ().get("PWD") or folders[0])))
            if moved_to is not None and _is_same(folders[1] / moved_to, folders[0]):
                folders.reverse()  # the path of the notebook is relative to the former folder
            files = (os.path.normpath(folder / str(name)) for folder in folders)
            return next((Path(file) for file in files if os.path.isfile(file)), None)  # noqa: PTH113
    return None


def _is_same(folder: Path, other: Path) -> bool:
    """Tell whether two paths are the same existing folder."""
    with suppress(OSError):
        return folder.samefile(other)
    return False


def _papermill_arguments(command: Sequence[str]) -> list[str] | None:
    """Return the arguments of papermill in a command line; None if another program runs.

    It is run as `papermill …`, `python papermill …` or `python -m papermill …`.
    """
    if command and Path(command[0]).stem == _PAPERMILL:
        return [*command[1:]]
    position = 1
    while position < len(command):
        argument = command[position]
        if argument == "-c":
            return None
        if argument == "-m" or not argument.startswith("-"):
            position += argument == "-m"
            program = Path(command[position]) if position < len(command) else Path()
            names = (program.stem.removesuffix("-script"), program.parent.name)
            found = names[0] == _PAPERMILL or names == ("__main__", _PAPERMILL)
            return [*command[position + 1 :]] if found else None
        position += 2 if argument in {"-W", "-X"} else 1
    return None


def _parse_papermill(arguments: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the notebook's path and the value of `--cwd` from papermill's arguments."""
    path = folder = None
    position, options = 0, True
    while position < len(arguments):
        argument = arguments[position]
        position += 1
        if options and argument == "--":
            options = False
        elif options and argument.startswith("-") and argument != "-":
            name, attached, value = argument.partition("=")
            if not argument.startswith("--"):
                name, attached = argument[:2], argument[2:]
            values = _PAPERMILL_VALUES.get(name, 0)
            if name == "--cwd":
                folder = value if attached else next(iter(arguments[position:]), None)
            position += max(0, values - bool(attached))
        elif path is None:
            path = argument
    return path, folder


def remember_folder(folder: Path | None) -> None:
    """Remember the working directory in which the extension is loaded.

    nbconvert and nbclient start a kernel in the notebook's folder, but a later `%cd` changes the
    working directory. None forgets it.
    """
    global _loaded_in  # noqa: PLW0603  # a kernel has one notebook
    _loaded_in = folder


def notebook_folder() -> Path:
    """Return the folder of the notebook, or the best guess.

    Sources in order of priority: VS Code's variable, Jupyter's name of the notebook, the working
    directory in which the extension was loaded, the current working directory.
    """
    for name in (_vscode_file, notebook_name):
        file = Path(name() or "")
        if file.is_absolute() and file.parent.is_dir():
            return file.parent
    return _loaded_in or Path.cwd()


def short_path(path: str | Path) -> str:
    """Return a path as text that a notebook may save.

    Paths in the notebook's folder are relative to it. In other paths, the user's home folder is
    written as `~`.
    """
    with suppress(ValueError, OSError):  # OSError: the working directory is gone
        folder = notebook_folder()
        if folder.parent != folder:
            inside = str(Path(path).relative_to(folder))
            return "the notebook's folder" if inside == "." else inside
    return hide_home(str(path))


class SavedPath(type(Path())):  # type: ignore[misc]  # PosixPath or WindowsPath
    """An absolute path whose repr is short, because a notebook saves the value of a cell."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Path({short_path(self)!r})"


def user_path(path: str | Path) -> Path:
    """Return a path that the user gave, with `~` as the home folder.

    Raises:
        ExportError: The value is no path, or the home folder is unknown.
    """
    try:
        return Path(path).expanduser()
    except TypeError:
        kind = type(path).__name__
        raise ExportError(f"A value of type {kind} is not a path. Give the path as text.") from None
    except RuntimeError as error:
        raise ExportError(f"The home folder of {path} is unknown. Give a full path.") from error


def resolve_folder(folder: str | Path | None) -> Path:
    """Resolve a folder relative to the notebook's folder. The result need not exist.

    A relative path cannot leave the notebook's folder through `..`. Absolute paths, `~` and links
    can point anywhere.

    Args:
        folder: A path; None or `""` is the notebook's folder.

    Raises:
        ExportError: The value is no path, or the path is invalid or leaves the notebook's folder.
    """
    path = user_path(folder or "")
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

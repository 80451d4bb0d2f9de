"""Only a notebook's own kernel uses the notebook's name, not the processes that it starts."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest

from harness import start_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Kernel

INNER = """
%load_ext xai_notebook
%xai_image --export . -n 1 a red fox
%xai_pack packed.xai
"""
PRINT_NAME = (
    "from xai_notebook import frontend\n"
    "print('name:', frontend.notebook_name(), frontend.notebook_folder())"
)
LAUNCHERS = {
    "papermill": (
        "import papermill as pm\n"
        "pm.execute_notebook('inner/{0}.ipynb', 'inner/{0}.done.ipynb', cwd='inner',"
        " progress_bar=False)"
    ),
    "papermill in bash": "%%bash\npapermill inner/{0}.ipynb inner/{0}.done.ipynb --cwd inner",
    "nbconvert": "!jupyter nbconvert --to notebook --execute inner/{0}.ipynb --output {0}.done",
    "nbclient": (
        "import nbformat, nbclient\n"
        "client = nbclient.NotebookClient(nbformat.read('inner/{0}.ipynb', 4),"
        " resources={{'metadata': {{'path': 'inner'}}}})\n"
        "done = await client.async_execute()\n"
        "nbformat.write(done, 'inner/{0}.done.ipynb')"
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outer")
    (folder / "inner").mkdir()
    return folder


@pytest.fixture(scope="module")
def outer(folder: Path) -> Iterator[Kernel]:
    commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    name = str(folder / "outer.ipynb")
    with start_kernel(folder, JPY_SESSION_NAME=name, PATH=commands) as kernel:
        yield kernel


def test_a_kernel_uses_the_name_in_its_environment(outer: Kernel, folder: Path) -> None:
    assert outer.run(f"%cd -q inner\n{PRINT_NAME}\n%cd -q ..").stdout.startswith(
        f"name: {folder / 'outer.ipynb'} {folder}\n"
    )


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_notebook_run_by_a_cell_does_not_use_the_name(
    outer: Kernel, folder: Path, launcher: str
) -> None:
    """The inner notebook exports and packs into its own folder; its rows name no notebook."""
    inner, name = folder / "inner", launcher.replace(" ", "_")
    cells = [nbformat.v4.new_code_cell(line) for line in INNER.strip().splitlines()]
    kernel = {"name": "python3", "display_name": "Python", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, inner / f"{name}.ipynb")
    before = {*folder.iterdir()}
    outcome = outer.run(LAUNCHERS[launcher].format(name), timeout=120)
    assert (inner / f"{name}.done.ipynb").exists(), str(outcome)
    suffixes = {file.suffix for file in inner.iterdir()} - {".ipynb", ".py"}
    assert suffixes == {".jpg", ".xai"}
    assert {*folder.iterdir()} == before
    with contextlib.closing(sqlite3.connect(outer.home / "library.sqlite3")) as library:
        assert library.execute("SELECT DISTINCT notebook FROM requests").fetchall() == [(None,)]
    for file in [*inner.glob("*.jpg"), *inner.glob("*.xai")]:
        file.unlink()


def test_a_script_does_not_use_the_name(outer: Kernel, folder: Path) -> None:
    (folder / "inner" / "name.py").write_text(PRINT_NAME)
    shown = outer.run("%cd -q inner\n!python name.py\n!ipython name.py\n%cd -q ..").stdout
    assert shown.count(f"name: None {folder / 'inner'}") == 2


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_a_worker_does_not_use_the_name(outer: Kernel, method: str) -> None:
    """A forked worker shares the kernel's memory."""
    shown = outer.run(
        "import multiprocessing, sys, warnings\n"
        "from xai_notebook.frontend import notebook_name\n"
        "warnings.simplefilter('ignore')\n"
        f"with multiprocessing.get_context({method!r}).Pool(1) as pool:\n"
        "    print('name:', notebook_name(), pool.apply(notebook_name))"
    )
    assert shown.stdout.endswith("outer.ipynb None\n"), shown.traceback


def test_a_server_under_a_notebook_names_its_own_notebooks(outer: Kernel, folder: Path) -> None:
    """A cell can start JupyterLab, which sets a name for each of its kernels."""
    (folder / "inner" / "own.ipynb").touch()
    launched = outer.run(
        "import os\n"
        "from jupyter_client.manager import start_new_kernel\n"
        "own = os.environ | {'JPY_SESSION_NAME': os.path.abspath('inner/own.ipynb')}\n"
        "manager, client = start_new_kernel(kernel_name='python3', env=own)\n"
        f"client.execute_interactive({PRINT_NAME!r})\n"
        "client.stop_channels()\n"
        "manager.shutdown_kernel(now=True)"
    )
    inner = folder / "inner"
    assert f"name: {inner / 'own.ipynb'} {inner}\n" in launched.stdout, launched.traceback


def test_a_kernel_started_by_a_shell_script_uses_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with `conda run`, the parent of the kernel is not the server."""
    script, spec = tmp_path / "wrap.sh", tmp_path / "kernels" / "python3" / "kernel.json"
    script.write_text('"$@"\nexit $?\n')
    spec.parent.mkdir(parents=True)
    command = ["sh", str(script), sys.executable, "-m", "ipykernel_launcher", "-f"]
    kernel_spec = {
        "argv": [*command, "{connection_file}"],
        "display_name": "W",
        "language": "python",
    }
    spec.write_text(json.dumps(kernel_spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    name = str(tmp_path / "wrapped.ipynb")
    with start_kernel(tmp_path / "work", JPY_SESSION_NAME=name) as kernel:
        printed = kernel.run(
            f"import os\nprint(os.getppid() == {os.getpid()})\n{PRINT_NAME}"
        ).stdout
    assert printed == f"False\nname: {name} {tmp_path}\n"


def test_an_extension_loaded_in_the_outer_kernel_does_not_pass_on_the_name(
    outer: Kernel, folder: Path
) -> None:
    assert outer.run("%load_ext xai_notebook").error is None
    test_a_notebook_run_by_a_cell_does_not_use_the_name(outer, folder, "papermill")

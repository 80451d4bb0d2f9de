"""Name and folder of the notebook, and ids of cells, as frontends report them."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from xai_notebook import frontend
from xai_notebook.frontend import SavedPath, notebook_folder, remember_folder, short_path


@pytest.fixture(autouse=True)
def unknown_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """No frontend has reported a notebook."""
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.setattr(frontend, "_loaded_in", None)


def test_the_notebooks_folder_is_from_vscode_jupyter_or_the_extension(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vscode, lab, loaded = (tmp_path / name for name in ("vscode", "lab", "loaded"))
    for folder in (vscode, lab, loaded):
        folder.mkdir()
    namespace: dict[str, object] = {"__vsc_ipynb_file__": str(vscode / "a.ipynb")}
    shell = SimpleNamespace(user_ns=namespace)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setenv("JPY_SESSION_NAME", str(lab / "a.ipynb"))
    remember_folder(loaded)
    assert notebook_folder() == vscode
    namespace["__vsc_ipynb_file__"] = str(tmp_path / "deleted" / "a.ipynb")
    assert notebook_folder() == lab
    del namespace["__vsc_ipynb_file__"]
    assert notebook_folder() == lab
    monkeypatch.setenv("JPY_SESSION_NAME", "relative/a.ipynb")
    assert notebook_folder() == loaded
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "deleted" / "a.ipynb"))
    assert notebook_folder() == loaded
    remember_folder(None)
    assert notebook_folder() == Path.cwd()


@pytest.mark.parametrize("shell", [None, SimpleNamespace(), SimpleNamespace(user_ns={})])
def test_the_working_directory_is_the_default(
    monkeypatch: pytest.MonkeyPatch, shell: object
) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert notebook_folder() == Path.cwd()


@pytest.mark.parametrize(
    ("shell", "terminal"),
    [(None, False), (SimpleNamespace(), True), (SimpleNamespace(kernel=object()), False)],
    ids=["plain Python", "ipython", "kernel"],
)
def test_a_terminal_is_ipython_without_a_kernel(
    monkeypatch: pytest.MonkeyPatch, shell: object, *, terminal: bool
) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert frontend.in_terminal() is terminal


def test_ipython_is_not_imported() -> None:
    code = (
        "import sys\nfrom xai_notebook import frontend\n"
        "assert frontend.running_shell() is None and not frontend.in_terminal()\n"
        "assert frontend.configured() == {} and frontend.notebook_folder()\n"
        "assert not {'IPython', 'traitlets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("shell", "info", "expected"),
    [
        (SimpleNamespace(), None, None),
        (SimpleNamespace(), SimpleNamespace(raw_cell=" a = 1\n"), "a = 1"),
        (SimpleNamespace(kernel=1), SimpleNamespace(cell_id="7f"), "7f"),
        (
            SimpleNamespace(kernel=1, get_parent=lambda: {"metadata": {"cellId": "8"}}),
            SimpleNamespace(),
            "8",
        ),
        (
            SimpleNamespace(
                kernel=1, get_parent=lambda: {"metadata": {"colab": {"cell_id": "a9"}}}
            ),
            SimpleNamespace(),
            "a9",
        ),
        (SimpleNamespace(kernel=1), SimpleNamespace(), None),
    ],
    ids=["nothing", "terminal", "kernel", "old IPython", "Colab", "unknown"],
)
def test_a_cell_is_identified_by_its_id_or_its_text(
    shell: object, info: object, expected: str | None
) -> None:
    assert frontend.cell_identity(shell, info) == expected


@pytest.mark.parametrize(
    ("command", "path", "folder"),
    [
        ("papermill in.ipynb out.ipynb", "in.ipynb", None),
        ("/bin/python3 /bin/papermill in.ipynb out.ipynb", "in.ipynb", None),
        ("python -u -X dev -W error -m papermill in.ipynb", "in.ipynb", None),
        ("python /lib/papermill/__main__.py in.ipynb", "in.ipynb", None),
        ("python.exe papermill-script.py in.ipynb", "in.ipynb", None),
        ("papermill.exe in.ipynb", "in.ipynb", None),
        ("papermill -p a 1 -r b.ipynb c --log-output in.ipynb out.ipynb", "in.ipynb", None),
        ("papermill -pa 1 -kpython3 --engine=x.ipynb in.ipynb", "in.ipynb", None),
        ("papermill --parameters=a b.ipynb in.ipynb", "in.ipynb", None),
        ("papermill --cwd work in.ipynb", "in.ipynb", "work"),
        ("papermill in.ipynb out.ipynb --cwd=work", "in.ipynb", "work"),
        ("papermill -- -in.ipynb out.ipynb", "-in.ipynb", None),
        ("papermill - out.ipynb", "-", None),
        ("papermill --cwd", None, None),
        ("papermill", None, None),
    ],
)
def test_the_notebook_is_read_from_papermills_arguments(
    command: str, path: str | None, folder: str | None
) -> None:
    arguments = frontend._papermill_arguments(command.split())
    assert arguments is not None
    assert frontend._parse_papermill(arguments) == (path, folder)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "python",
        "python -m",
        "python run.py papermill in.ipynb",
        "python -c papermill in.ipynb",
        "python -m jupyterlab papermill in.ipynb",
        "python -m papermill_light in.ipynb",
        "jupyter lab",
    ],
)
def test_other_programs_are_not_papermill(command: str) -> None:
    assert frontend._papermill_arguments(command.split()) is None


@pytest.mark.parametrize(
    ("request_", "voila", "unattended"),
    [
        ({"metadata": {"cellId": "c"}, "content": {"allow_stdin": False}}, False, False),
        ({"metadata": {}, "content": {"allow_stdin": True}}, False, False),
        ({"content": {"comm_id": "a widget"}}, False, False),
        ({"metadata": {}, "content": {"allow_stdin": False}}, False, True),
        ({"metadata": {}, "content": {"allow_stdin": False}}, True, False),
    ],
    ids=["JupyterLab", "console", "widget", "papermill", "Voila"],
)
def test_a_program_that_runs_a_notebook_is_recognised(
    monkeypatch: pytest.MonkeyPatch, request_: dict[str, object], *, voila: bool, unattended: bool
) -> None:
    shell = SimpleNamespace(kernel=object(), get_parent=lambda: request_)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    if voila:
        monkeypatch.setenv("VOILA_PREHEAT", "False")
    assert frontend.is_unattended() is unattended


def test_paths_are_short_where_a_notebook_saves_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A saved path is still the absolute path."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    remember_folder(tmp_path / "course")
    paths = {
        "pictures/a.jpg": tmp_path / "course" / "pictures" / "a.jpg",
        "the notebook's folder": tmp_path / "course",
        "~/a.jpg": tmp_path / "a.jpg",
        "~": tmp_path,
        f"{tmp_path.parent}": tmp_path.parent,
    }
    assert [short_path(path) for path in paths.values()] == [*paths]
    saved = SavedPath(paths["pictures/a.jpg"])
    assert repr(saved) == "Path('pictures/a.jpg')"
    assert repr(saved.parent / "b.jpg") == "Path('pictures/b.jpg')"
    assert saved == paths["pictures/a.jpg"]
    assert str(pickle.loads(pickle.dumps(saved))) == str(paths["pictures/a.jpg"])
    remember_folder(Path(tmp_path.anchor))
    assert short_path(tmp_path / "a.jpg") == "~/a.jpg"

"""Notebooks that papermill runs from another folder find the bundle beside them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
import yaml

import xai_notebook as xai
from harness import without_xai
from xai_notebook.generation.session import close_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numbering_server import NumberingServer

CELLS = ("%load_ext xai_notebook", "%xai_image --replay a red fox")
SCRIPT = """
import papermill
papermill.execute_notebook("notebooks/story.ipynb", "out.ipynb", progress_bar=False{})
"""
INPUT_PATH = ", parameters={'PAPERMILL_INPUT_PATH': 'notebooks/story.ipynb'}"
PROGRAM = str(Path(sys.executable).with_name("papermill"))
MODULE = (sys.executable, "-W", "ignore", "-m", "papermill")
PAGE = Path(__file__).resolve().parents[2] / "docs/howto/ci.md"
PATHS = ("notebooks/story.ipynb", "out.ipynb", "--no-progress-bar")


@pytest.fixture
def root(image_server: NumberingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A repository with `notebooks/story.ipynb`, its bundle, and an empty folder `work`."""
    root = tmp_path / "repository"
    for name in ("notebooks", "work"):
        (root / name).mkdir(parents=True)
    write(root / "notebooks" / "story.ipynb", CELLS)
    xai.generate("a red fox")
    xai.pack(root / "notebooks" / "story.xai")
    close_session()
    return root


def write(file: Path, cells: Sequence[str]) -> None:
    """Write a notebook; the cell that defines `fruits` has the tag of parameters."""
    kernel = {"name": "python3", "display_name": "Python", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    for cell in cells:
        tags = ["parameters"] if cell.startswith("fruits =") else []
        notebook.cells.append(nbformat.v4.new_code_cell(cell, metadata={"tags": tags}))
    nbformat.write(notebook, file)


def run(folder: Path, *command: str, **variables: str) -> Any:
    """Run a program in a folder as a shell does, with an empty library; return its outputs."""
    home = folder.parent / f"{folder.name}-home"
    environment = {
        **without_xai(), "PWD": str(folder), "XAI_NOTEBOOK_HOME": str(home),
        "IPYTHONDIR": str(folder.parent / "ipython"), **variables,
    }  # fmt: skip
    for _ in range(2):
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=120, check=False,
        )  # fmt: skip
        # Another process may have taken a port that was chosen for the kernel.
        if "Kernel died before replying to kernel_info" not in done.stdout:
            break
    return done


def output(file: Path) -> str:
    """Return the HTML or the error of the last cell."""
    (shown,) = nbformat.read(file, as_version=4).cells[-1].outputs
    return str(shown.evalue if shown.output_type == "error" else shown.data["text/html"])


@pytest.mark.parametrize(
    "command",
    [
        (PROGRAM, *PATHS),
        (*MODULE, "-k", "python3", "-p", "other", "notebooks", *PATHS),
        (PROGRAM, *PATHS, "--cwd", "work"),
        (sys.executable, "-c", SCRIPT.format(INPUT_PATH)),
    ],
    ids=["program", "module", "cwd", "injected path"],
)
def test_the_bundle_beside_the_notebook_is_found(root: Path, command: tuple[str, ...]) -> None:
    done = run(root, *command)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "story.xai" in output(root / "out.ipynb")


def test_an_unknown_notebook_is_run_in_the_bundles_folder(root: Path) -> None:
    """The message names the folder that was searched, and how to search another one."""
    run(root, sys.executable, "-c", SCRIPT.format(""))
    text = output(root / "out.ipynb")
    assert text == (
        "The library has 0 of the 1 images, and --replay generates none. No bundle was found in "
        "the working directory. Put the notebook's bundle there, or run the notebook in the "
        "bundle's folder: papermill --cwd FOLDER."
    )
    run(root, sys.executable, "-c", SCRIPT.format(", cwd='notebooks'"))
    assert "story.xai" in output(root / "out.ipynb")


def test_a_missing_bundle_is_named(root: Path) -> None:
    """The message contains no absolute path, and does not advise to make pictures."""
    (root / "notebooks" / "story.xai").unlink()
    run(root, PROGRAM, *PATHS)
    text = output(root / "out.ipynb")
    assert text == (
        "The library has 0 of the 1 images, and --replay generates none. No bundle was found in "
        "the folder notebooks and the working directory. Put story.xai into the folder notebooks."
    )
    assert text in " ".join(PAGE.read_text(encoding="utf-8").split())
    saved = (root / "out.ipynb").read_text(encoding="utf-8")
    assert re.sub(r'"(?:in|out)put_path": .*', "", saved).count(str(root)) == 0


def test_a_notebook_from_a_pipe_has_no_folder(root: Path) -> None:
    with (root / "notebooks" / "story.ipynb").open("rb") as source:
        subprocess.run(
            (PROGRAM, "-", "out.ipynb"), cwd=root, stdin=source, capture_output=True, check=False,
            env={**without_xai(), "XAI_NOTEBOOK_HOME": str(root.parent / "pipe-home"),
                 "IPYTHONDIR": str(root.parent / "ipython")},
        )  # fmt: skip
    assert "No bundle was found in the working directory." in output(root / "out.ipynb")


def test_a_program_that_a_notebook_starts_does_not_use_its_bundle(root: Path) -> None:
    """Only the kernel itself runs the notebook."""
    notebook = nbformat.read(root / "notebooks" / "story.ipynb", as_version=4)
    notebook.cells[-1].source = (
        "import os, subprocess, sys\n"
        "code = 'from xai_notebook.frontend import papermill_notebook as p; print(p())'\n"
        "child = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)\n"
        "from xai_notebook.frontend import papermill_notebook\n"
        "from IPython.display import HTML\n"
        "HTML(child.stdout + os.path.relpath(papermill_notebook()))"
    )
    nbformat.write(notebook, root / "notebooks" / "story.ipynb")
    run(root, PROGRAM, *PATHS)
    assert output(root / "out.ipynb") == "None\nnotebooks/story.ipynb"


def blocks(language: str) -> list[str]:
    """Return the blocks of the page in a language."""
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_page_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An author packs a notebook; a computer without key and library runs the page's commands."""
    root, author = tmp_path / "repository", tmp_path / "author"
    (root / "notebooks").mkdir(parents=True)
    first, *cells = blocks("ipython3")
    load, ordinary, replaying = first.strip().split("\n")
    write(root / "notebooks" / "story.ipynb", (load, replaying))
    fruits = [cell.strip() for cell in cells if "fruits" in cell]
    write(root / "notebooks" / "fruits.ipynb", (load, *fruits))
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(author))
    monkeypatch.setenv("JPY_SESSION_NAME", str(root / "notebooks" / "story.ipynb"))
    xai.generate(ordinary.removeprefix("%xai_image "))
    close_session()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    pack, *commands = blocks("sh")
    packed = run(root, "bash", "-ec", pack, PATH=path, XAI_NOTEBOOK_HOME=str(author))
    assert (root / "notebooks" / "story.xai").exists(), packed.stdout
    pages = [root / "out.ipynb", root / "notebooks" / "story.html"]
    for command in (*commands, f"python {write_script(root)}"):
        for page in pages:
            page.unlink(missing_ok=True)
        done = run(root, "bash", "-ec", command, PATH=path)
        assert done.returncode == 0, done.stdout[-2000:]
        shown = output(pages[0])
        words = ("a pear", "a plum") if "-y" in command else ("an apple",)
        assert all(word in shown for word in (words if "fruits" in command else ("story.xai",)))
        assert ("nbconvert" in command) == pages[1].exists()
    (workflow,) = blocks("yaml")
    steps = yaml.safe_load(workflow)["jobs"]["run"]["steps"]
    assert steps[-1]["run"] in commands[0].splitlines()


def write_script(root: Path) -> str:
    """Write the page's script; return its name."""
    (script,) = blocks("python")
    name = script.splitlines()[0].removeprefix("# ")
    (root / name).write_text(script, encoding="utf-8")
    return name


def test_the_notebook_is_packed_beside_it(root: Path) -> None:
    """`%xai_pack` needs no name, although the folder has several notebooks."""
    write(root / "notebooks" / "tale.ipynb", (CELLS[0], "%xai_image a tale", "%xai_pack"))
    run(root, PROGRAM, "notebooks/tale.ipynb", *PATHS[1:])
    (said,) = nbformat.read(root / "out.ipynb", as_version=4).cells[-1].outputs
    assert re.fullmatch(r"Packed 1 picture \(\d+ kB\) into notebooks/tale\.xai\.\n", said.text)
    assert (root / "notebooks" / "tale.xai").is_file()

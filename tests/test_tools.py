"""The recipes of `docs/howto/tools.md` work, as written on the page.

Tests of tools that are not installed are skipped; `.ci/tools` installs all of them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import nbformat
import pytest

from harness import needs_package, without_xai
from numbering_server import execute

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PAGE = Path(__file__).parents[1] / "docs/howto/tools.md"
PROGRAMS = Path(sys.executable).parent
CELLS = (
    "%load_ext xai_notebook",
    "light   = 'dawn'",
    "%%xai_image -n 2 --as whales\na whale's den in fresh snow, {{ light }}",
    "%%xai_image --as places\nsunset,beach",
    "%xai_image   an owl",
    "foxes = %xai_image -n 2   a red fox",
    "print(light, foxes, whales[0].prompt)",
)


def block(heading: str, language: str) -> str:
    """Return the first code block in a language below a heading of the page."""
    text = PAGE.read_text(encoding="utf-8").partition(f"# {heading}")[2]
    match = re.search(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert match
    return match[1]


def needs(name: str) -> pytest.MarkDecorator:
    """Skip a test if a program is not installed beside Python."""
    missing = not (PROGRAMS / name).exists() and not (PROGRAMS / f"{name}.exe").exists()
    return pytest.mark.skipif(missing, reason=f"{name} is not installed")


Run: TypeAlias = "Callable[..., subprocess.CompletedProcess[str]]"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Git repository with `story.ipynb`, which has no outputs."""
    folder = tmp_path / "course"
    folder.mkdir()
    write(folder / "story.ipynb", CELLS)
    return folder


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Run:
    """Run a program in the folder, with its own settings of Git."""
    environment = {
        **without_xai(), "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path),
        "PATH": os.pathsep.join([str(PROGRAMS), os.environ["PATH"]]), "NO_COLOR": "1",
        "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"),
        "PRE_COMMIT_HOME": str(tmp_path / "hooks"),
        **{f"GIT_{who}_{what}": "ann@example.com" for who in ("AUTHOR", "COMMITTER")
           for what in ("NAME", "EMAIL")},
    }  # fmt: skip

    def run(*command: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
        assert bool(done.returncode) is fails, done.stdout + done.stderr
        return done

    return run


def write(file: Path, cells: Sequence[str]) -> None:
    """Write a notebook of Python cells."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    made = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(nbformat.v4.new_notebook(cells=made, metadata=metadata), file)


def sources(file: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(file, as_version=4).cells]


def changed(file: Path) -> set[int]:
    """Return the indices of the cells that a tool has changed."""
    return {i for i, cell in enumerate(sources(file)) if cell != CELLS[i]}


@needs("ruff")
def test_ruff_knows_the_names(folder: Path, run: Run) -> None:
    """Without the setting, it reports only the name that `--as` assigns."""
    check = ("ruff", "check", "--output-format", "concise", "story.ipynb")
    found = run(*check, fails=True).stdout
    assert re.findall(r"[A-Z]+\d+ .*", found) == ["F821 Undefined name `whales`"]
    (folder / "ruff.toml").write_text(block("ruff", "toml"))
    run(*check)
    run("ruff", "format", "story.ipynb")
    assert changed(folder / "story.ipynb") == {1}


@needs("black")
def test_black_leaves_prompts(folder: Path, run: Run) -> None:
    """With the option that the page warns of, it changes one."""
    run("black", "story.ipynb")
    assert changed(folder / "story.ipynb") == {1}
    run("black", "--python-cell-magics", "xai_image", "story.ipynb")
    assert sources(folder / "story.ipynb")[3] == "%%xai_image --as places\nsunset, beach"


@needs_package("jupyterlab_code_formatter")
def test_the_code_formatter_leaves_prompts(folder: Path, run: Run) -> None:
    """Without the setting, it cannot parse one prompt and changes another one."""
    code = """
from jupyterlab_code_formatter.formatters import SERVER_FORMATTERS
for cell in CELLS[:5]:
    try:
        print(SERVER_FORMATTERS["black"].format_code(cell, True) == cell)
    except Exception as error:
        print("cannot parse" in str(error))
"""
    before = run(sys.executable, "-c", f"CELLS = {CELLS!r}\n{code}").stdout.split()
    assert before == ["True", "False", "True", "False", "True"]
    recipe = block("jupyterlab-code-formatter", "python")
    after = run(sys.executable, "-c", f"CELLS = {CELLS!r}\n{recipe}\n{code}").stdout.split()
    assert after == ["True", "False", "True", "True", "True"]


@needs("jupytext")
def test_jupytext_comments_prompts_out(folder: Path, run: Run) -> None:
    """The script is valid Python, also after it was formatted, and makes the same cells."""
    run("jupytext", "--to", "py:percent", "story.ipynb")
    with pytest.raises(SyntaxError):
        compile((folder / "story.py").read_text(), "story.py", "exec")
    (folder / "jupytext.toml").write_text(block("jupytext", "toml"))
    run("jupytext", "--sync", "story.ipynb")
    script = (folder / "story.py").read_text()
    compile(script, "story.py", "exec")
    heading = '# %% magic_args="-n 2 --as whales" language="xai_image"'
    assert heading in PAGE.read_text(encoding="utf-8")
    assert f"{heading}\n# a whale's den in fresh snow, {{{{ light }}}}\n" in script
    (folder / "story.py").write_text(script.replace("light   = 'dawn'", "light = 'dusk'"))
    run("jupytext", "--sync", "story.py")
    assert changed(folder / "story.ipynb") == {1}


@needs("jupytext")
def test_jupytext_writes_markdown(folder: Path, run: Run) -> None:
    """With the setting for scripts, only MyST brings the cells back."""
    for form in ("md", "md:myst"):
        for name, setting in (("plain", ""), ("set", block("jupytext", "toml"))):
            (folder / "jupytext.toml").write_text(setting.replace("ipynb,py:percent", "ipynb"))
            run("jupytext", "--to", form, "-o", "copy.md", "story.ipynb")
            run("jupytext", "--to", "ipynb", "-o", f"{name}.ipynb", "copy.md")
        assert changed(folder / "plain.ipynb") == set()
        assert changed(folder / "set.ipynb") == ({2, 3, 4, 5} if form == "md" else set())


@needs("pre-commit")
@needs("nbstripout")
def test_pre_commit_runs_the_tools(folder: Path, run: Run) -> None:
    (folder / "ruff.toml").write_text(block("ruff", "toml"))
    (folder / ".pre-commit-config.yaml").write_text(block("pre-commit", "yaml"))
    run("git", "init", "-q")
    run("git", "add", ".")
    shown = run("pre-commit", "run", "--all-files", fails=True).stdout
    results = re.findall(r"^(.+?)\.{3,}(?:\(.*\))?(\w+)$", shown, re.MULTILINE)
    assert dict(results) == {
        "ruff check": "Passed",
        "ruff format": "Failed",
        "nbstripout": "Passed",
    }
    assert changed(folder / "story.ipynb") == {1}
    run("git", "add", ".")
    run("pre-commit", "run", "--all-files")


@needs("nbdime")
@needs("nbstripout")
def test_git_stays_small(folder: Path, run: Run, tmp_path: Path) -> None:
    """Outputs are left out of Git and of diffs; a new checkout shows the same pictures."""
    file, other = folder / "story.ipynb", folder / "other.ipynb"
    edited = [cell.replace("whale's", "fox's") for cell in CELLS]
    shown = [execute(folder, *cells).nb for cells in (CELLS, edited)]
    for before, after in zip(shown[0].cells, shown[1].cells, strict=True):
        after.id = before.id
    nbformat.write(shown[0], file)
    nbformat.write(shown[1], other)
    sizes = [len(str(shown[0].cells[index].outputs)) / 1000 for index in (2, 4)]
    assert "60 to 250 kB" in PAGE.read_text(encoding="utf-8")
    assert all(60 <= size / count <= 250 for size, count in zip(sizes, (2, 1), strict=True)), sizes

    assert len(run("nbdiff", "story.ipynb", "other.ipynb").stdout) > 200_000
    (folder / "nbdime_config.json").write_text(block("nbdime", "json"))
    diff = re.sub(r"\x1b\[\d*m", "", run("nbdiff", "story.ipynb", "other.ipynb").stdout)
    lines = [line for line in diff.splitlines() if re.match(r"[+-](?![+-])", line)]
    assert len(diff) < 600
    assert "-a whale's den in fresh snow, {{ light }}" in lines
    assert "+a fox's den in fresh snow, {{ light }}" in lines

    run("git", "init", "-q")
    run(*block("nbstripout", "sh").split())
    run("git", "add", ".")
    run("git", "commit", "-q", "-m", "Tell a story")
    assert len(run("git", "show", "HEAD:story.ipynb").stdout) < 5000
    assert file.stat().st_size > 200_000
    run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    cells = sources(tmp_path / "clone" / "story.ipynb")
    assert cells == [*CELLS]
    again = execute(tmp_path / "clone", *cells).nb
    assert pictures(again) == pictures(shown[0])
    assert "replayed" in str(again.cells[2].outputs)


def pictures(book: Any) -> list[str]:
    """Return the pictures in a notebook's outputs."""
    return [
        output.data["image/jpeg"]
        for cell in book.cells
        for output in cell.outputs
        if "image/jpeg" in output.get("data", {})
    ]


@needs_package("jupyterhub")
def test_a_hub_gives_each_user_a_library(tmp_path: Path, run: Run) -> None:
    from jupyterhub.spawner import Spawner
    from traitlets.config import Config

    config = Config()
    recipe = block("JupyterHub", "python").replace("/srv/pictures", str(tmp_path))
    exec(recipe, {"c": config})
    user = type("User", (), {"name": "ann"})()
    spawner = Spawner(config=config)
    spawner.user = user
    values = {
        name: value(spawner) if callable(value) else value
        for name, value in spawner.environment.items()
    }
    code = f"""
import os
os.environ.update({values!r})
import xai_notebook as xai
print(len(xai.generate("a red fox")), len(xai.history()))
"""
    assert run(sys.executable, "-c", code).stdout.split() == ["1", "1"]
    assert (tmp_path / "ann" / "library.sqlite3").is_file()
    assert (tmp_path / "ann").stat().st_mode & 0o777 == 0o700

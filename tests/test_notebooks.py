"""The tutorials: their saved outputs, and runs by nbval, nbconvert and papermill.

Two threads share the tutorials. Each compares its tutorials with nbval, then converts them to pages
with nbconvert, which runs some of them again with the library that nbval has filled.
"""

from __future__ import annotations

import base64
import html
import io
import re
import shutil
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import nbformat
import pytest
from nbconvert import LatexExporter
from PIL import Image

from harness import without_xai

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).resolve().parent
FOLDER = TESTS.parent / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
MANY, CHAINS = "03_many_prompts.ipynb", "04_editing_chains.ipynb"
TWICE = ("01_quickstart.ipynb", CHAINS)
"""Tutorials that nbconvert runs again."""
LARGEST = 1_000_000
PROMPTS = ["a pear on a table", "a plum tree in spring"]
PATHS = re.compile(r"/(?:home|root|tmp|Users|private|var|work)/\w|[A-Z]:\\\\")
DATA = re.compile(r"base64,[A-Za-z0-9+/=]+")
REPLAYED = " · replayed"
PATIENCE = 240
"""Maximum seconds of a process, on a busy machine."""

pytestmark = pytest.mark.timeout(2 * PATIENCE)


class Figure(NamedTuple):
    """A picture on a page, with its alternative text and its caption."""

    source: str
    alternative: str
    caption: str


def saved(name: str) -> Any:
    return nbformat.read(FOLDER / name, as_version=4)


def html_of(cells: list[Any]) -> str:
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    return "\n".join(output.get("data", {}).get("text/html", "") for output in outputs)


def figures(page: str) -> list[Figure]:
    """Return the pictures of a page; cards without a picture are left out."""
    found = []
    for figure in re.findall(r"<figure\b.*?</figure>", page, re.DOTALL):
        attributes = dict(re.findall(r'(src|alt)="(.*?)"', figure))
        if attributes:
            caption = "".join(re.findall("<figcaption.*?</figcaption>", figure, re.DOTALL))
            words = (attributes["alt"], re.sub("<.*?>", "", caption))
            found.append(Figure(attributes["src"], *map(html.unescape, words)))
    return found


class Run(NamedTuple):
    """Notebooks that were run.

    Attributes:
        folder: The folder of the copies.
        reports: The output of nbval for each notebook.
    """

    folder: Path
    reports: dict[str, str]

    def page(self, name: str) -> str:
        """Return the page that nbconvert made of a notebook."""
        return (self.folder / name).with_suffix(".html").read_text(encoding="utf-8")


def environment(folder: Path) -> dict[str, str]:
    """Return an environment without a key, whose library and settings are in `folder`."""
    return without_xai() | {
        "XAI_NOTEBOOK_HOME": str(folder / "home"),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
    }


def run_module(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a module of this Python in a folder, to its end."""
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def compare(folder: Path, names: list[str]) -> dict[str, str]:
    """Run notebooks with nbval; return its output for each notebook."""
    report = run_module(
        folder, "pytest", "--nbval", "--color=no", "--nbval-current-env",
        f"--nbval-cell-timeout={PATIENCE}", "--nbval-sanitize-with", str(TESTS / "nbval.cfg"),
        "-p", "no:cacheprovider", "-q", "-o", "addopts=", "-c", "/dev/null", "--rootdir", ".",
        *names,
    ).stdout  # fmt: skip
    return dict.fromkeys(names, report)


def compare_and_convert(folder: Path, names: list[str]) -> Run:
    """Copy notebooks, compare them with their saved outputs, and convert them to pages."""
    profile = folder / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    # On a busy machine, progress lines would be outputs, too.
    (profile / "ipython_config.py").write_text(f"c.XaiImage.patience = {PATIENCE}")
    for name in names:
        shutil.copy(FOLDER / name, folder)
    reports = compare(folder, names)
    # Jupyter chooses a kernel's ports before it binds them: another process may be faster.
    for name in [name for name in names if f"setup of {name}::" in reports[name]]:
        reports |= compare(folder, [name])
    twice, once = ([n for n in names if (n in TWICE) is again] for again in (True, False))
    for command in (["--execute", *twice], once):
        converted = run_module(folder, "nbconvert", "--to", "html", *command)
        assert converted.returncode == 0, converted.stdout[-3000:]
    return Run(folder, reports)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Run]]]:
    """The run of each notebook; all start at once."""
    halves = [NOTEBOOKS[::2], NOTEBOOKS[1::2]]
    with ThreadPoolExecutor(len(halves)) as pool:
        futures = [
            pool.submit(compare_and_convert, tmp_path_factory.mktemp("notebooks"), names)
            for names in halves
        ]
        yield {name: futures[number % 2] for number, name in enumerate(NOTEBOOKS)}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_picture_is_saved_with_caption_and_alternative_text(name: str) -> None:
    found = figures(html_of(saved(name).cells))
    assert len(found) >= 2
    for figure in found:
        data = base64.b64decode(figure.source.partition("base64,")[2])
        Image.open(io.BytesIO(data)).verify()
        assert figure.alternative.strip()
        assert figure.caption.strip()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_saved_notebook_is_small_and_has_run_without_errors(name: str) -> None:
    notebook = saved(name)
    nbformat.validate(notebook)
    assert (FOLDER / name).stat().st_size < LARGEST
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert "error" not in {output.output_type for cell in code for output in cell.outputs}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_nothing_of_the_machine_is_saved(name: str) -> None:
    """No path, key, version, time or widget state."""
    notebook = saved(name)
    text = DATA.sub("", (FOLDER / name).read_text(encoding="utf-8"))
    assert PATHS.search(text) is None
    assert re.search(r"xai-[\w-]{20}", text) is None
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.language_info == {"name": "python"}
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_relative_links_exist(name: str) -> None:
    prose = [cell.source for cell in saved(name).cells if cell.cell_type == "markdown"]
    links = re.findall(r"\]\(([^)]+)\)", "\n".join(prose))
    relative = [link for link in links if not link.startswith(("https://", "attachment:"))]
    assert [link for link in relative if not (FOLDER / link).exists()] == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_run_gives_the_saved_outputs(name: str, runs: dict[str, Future[Run]]) -> None:
    """Pixels and dates may differ."""
    report = runs[name].result().reports[name]
    assert f"{name}::" not in report, report[-6000:]
    assert re.search(r"^\d+ passed", report, re.MULTILINE), report[-6000:]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_an_html_page_has_all_pictures_and_captions(
    name: str, runs: dict[str, Future[Run]]
) -> None:
    expected, found = figures(html_of(saved(name).cells)), figures(runs[name].result().page(name))
    captions = [figure.caption.replace(REPLAYED, "") for figure in found]
    assert captions == [figure.caption.replace(REPLAYED, "") for figure in expected]
    assert [figure.alternative for figure in found] == [figure.alternative for figure in expected]
    assert all(figure.source.startswith("data:image/") for figure in found)


def test_latex_has_a_picture_for_each_output_with_pictures() -> None:
    notebook = saved("02_options_and_captions.ipynb")
    notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "code"]  # no pandoc
    body, resources = LatexExporter().from_notebook_node(notebook)
    files = [name for name in resources["outputs"] if name.endswith(".jpg")]
    assert len(files) == sum(bool(figures(html_of([cell]))) for cell in notebook.cells) > 3
    assert all(name in body for name in files)


def test_a_chain_is_replayed_by_a_new_kernel(runs: dict[str, Future[Run]]) -> None:
    found = figures(runs[CHAINS].result().page(CHAINS))
    captions = [f.caption for f in found if not f.caption.startswith("Before:")]
    assert len(captions) > 10
    assert all(caption.endswith(REPLAYED) for caption in captions)


def test_papermill_runs_other_prompts(tmp_path: Path) -> None:
    options = ("--no-progress-bar", "-y", f"prompts: {PROMPTS}")
    done = run_module(tmp_path, "papermill", *options, str(FOLDER / MANY), "x.ipynb")
    assert done.returncode == 0, done.stdout[-3000:]
    found = figures(html_of(nbformat.read(tmp_path / "x.ipynb", as_version=4).cells))
    captions = " ".join(figure.caption.lower() for figure in found)
    assert all(prompt in captions for prompt in PROMPTS)
    assert "a fox in the snow" not in captions

"""The notebooks run, show what was saved, become pages, and can be read without a kernel.

Whole runs take their time, so two threads share the notebooks. Each first has nbval compare them,
then makes pages of them: some are executed once more with the library that this filled, and make no
picture again; the others become pages as they were saved.
"""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from html.parser import HTMLParser
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
"""Run by nbconvert after nbval."""
LARGEST = 1_000_000
PROMPTS = ["a pear on a table", "a plum tree in spring"]
PATHS = re.compile(r"/(?:home|root|tmp|Users|private|var|work)/\w|[A-Z]:\\\\")
DATA = re.compile(r"base64,[A-Za-z0-9+/=]+")
REPLAYED = " · replayed"
PATIENCE = 240
"""Seconds that one process may take on a busy machine."""

pytestmark = pytest.mark.timeout(2 * PATIENCE)


@dataclass
class Figure:
    """A picture on a page, and the words that belong to it."""

    source: str = ""
    alternative: str = ""
    caption: str = ""


@dataclass
class Figures(HTMLParser):
    """Reads the figures of a page that show a picture; cards without one are left out."""

    page: str
    found: list[Figure] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read the page."""
        super().__init__()
        self.captioned = False
        self.feed(self.page)
        self.found = [figure for figure in self.found if figure.source]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Enter a figure, its picture or its caption."""
        given = {name: value or "" for name, value in attrs}
        if tag == "figure":
            self.found.append(Figure())
        elif tag == "img" and self.found and not self.found[-1].source:
            self.found[-1].source = given["src"]
            self.found[-1].alternative = given.get("alt", "")
        self.captioned |= tag == "figcaption"

    def handle_endtag(self, tag: str) -> None:
        """Leave a caption."""
        self.captioned &= tag != "figcaption"

    def handle_data(self, data: str) -> None:
        """Take the words of a caption."""
        if self.captioned:
            self.found[-1].caption += data


def saved(name: str) -> Any:
    """Return a notebook as it is in the repository."""
    return nbformat.read(FOLDER / name, as_version=4)


def shown(notebook: Any) -> str:
    """Return everything a notebook shows as HTML."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "\n".join(output.get("data", {}).get("text/html", "") for output in outputs)


class Cells(NamedTuple):
    """Some cells of a notebook."""

    cells: list[Any]


def figures(page: str) -> list[Figure]:
    """Return the pictures of a page with their captions."""
    return Figures(page).found


@dataclass
class Run:
    """Notebooks that were run, and what became of them.

    Attributes:
        folder: Where the copies are.
        compared: What nbval said of each.
    """

    folder: Path
    compared: dict[str, str]

    def page(self, name: str) -> str:
        """Return a notebook as it was converted after it was compared."""
        return (self.folder / name).with_suffix(".html").read_text(encoding="utf-8")


def environment(folder: Path) -> dict[str, str]:
    """Return an environment without a key, whose library and settings are in `folder`."""
    return without_xai() | {
        "XAI_NOTEBOOK_HOME": str(folder / "home"),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
    }


def start(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
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
    """Return what nbval says of notebooks that it runs."""
    said = start(
        folder, "pytest", "--nbval", "--color=no", "--nbval-current-env",
        f"--nbval-cell-timeout={PATIENCE}", "--nbval-sanitize-with", str(TESTS / "nbval.cfg"),
        "-p", "no:cacheprovider", "-q", "-o", "addopts=", "-c", "/dev/null", "--rootdir", ".",
        *names,
    ).stdout  # fmt: skip
    return dict.fromkeys(names, said)


def compare_and_convert(folder: Path, names: list[str]) -> Run:
    """Run copies of notebooks twice: compared with what was saved, then made into pages."""
    profile = folder / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    # Progress is an output too, but only on a busy machine.
    (profile / "ipython_config.py").write_text(f"c.XaiImage.patience = {PATIENCE}")
    for name in names:
        shutil.copy(FOLDER / name, folder)
    compared = compare(folder, names)
    # Jupyter chooses a kernel's ports before it binds them: another process may be faster.
    for name in [name for name in names if f"setup of {name}::" in compared[name]]:
        compared |= compare(folder, [name])
    twice, once = ([n for n in names if (n in TWICE) is again] for again in (True, False))
    for command in (["--execute", *twice], once):
        converted = start(folder, "nbconvert", "--to", "html", *command)
        assert converted.returncode == 0, converted.stdout[-3000:]
    return Run(folder, compared)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Run]]]:
    """What became of each notebook; of all at the same time."""
    halves = [NOTEBOOKS[::2], NOTEBOOKS[1::2]]
    with ThreadPoolExecutor(len(halves)) as pool:
        futures = [
            pool.submit(compare_and_convert, tmp_path_factory.mktemp("notebooks"), names)
            for names in halves
        ]
        yield {name: futures[number % 2] for number, name in enumerate(NOTEBOOKS)}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_picture_is_saved_with_its_words(name: str) -> None:
    """A reader without a kernel sees each picture and its caption, or hears its words."""
    found = figures(shown(saved(name)))
    assert len(found) >= 2
    for figure in found:
        data = base64.b64decode(figure.source.partition("base64,")[2])
        Image.open(io.BytesIO(data)).verify()
        assert figure.alternative.strip()
        assert figure.caption.strip()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_saved_notebook_is_small_and_whole(name: str) -> None:
    """Under a megabyte; every cell has run, in order and without an error."""
    notebook = saved(name)
    nbformat.validate(notebook)
    assert (FOLDER / name).stat().st_size < LARGEST
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert "error" not in {output.output_type for cell in code for output in cell.outputs}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_nothing_of_the_machine_is_saved(name: str) -> None:
    """No path, key, version, time or state of a widget."""
    notebook = saved(name)
    text = DATA.sub("", (FOLDER / name).read_text(encoding="utf-8"))
    assert PATHS.search(text) is None
    assert re.search(r"xai-[\w-]{20}", text) is None
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.language_info == {"name": "python"}
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_links_lead_somewhere(name: str) -> None:
    """Every relative link names a file beside the notebook."""
    prose = [cell.source for cell in saved(name).cells if cell.cell_type == "markdown"]
    links = re.findall(r"\]\(([^)]+)\)", "\n".join(prose))
    near = [link for link in links if not link.startswith(("https://", "attachment:"))]
    assert [link for link in near if not (FOLDER / link).exists()] == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_gives_what_it_was_saved_with(name: str, runs: dict[str, Future[Run]]) -> None:
    """Every output of a fresh kernel is compared with the saved one; pixels and dates are not."""
    said = runs[name].result().compared[name]
    assert f"{name}::" not in said, said[-6000:]
    assert re.search(r"^\d+ passed", said, re.MULTILINE), said[-6000:]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_becomes_a_page(name: str, runs: dict[str, Future[Run]]) -> None:
    """`nbconvert --to html` shows every picture and caption that was saved, or made again."""
    expected, found = figures(shown(saved(name))), figures(runs[name].result().page(name))
    captions = [figure.caption.replace(REPLAYED, "") for figure in found]
    assert captions == [figure.caption.replace(REPLAYED, "") for figure in expected]
    assert [figure.alternative for figure in found] == [figure.alternative for figure in expected]
    assert all(figure.source.startswith("data:image/") for figure in found)


def test_pictures_reach_paper() -> None:
    """`nbconvert --to latex`, and so PDF, sets a picture for each output that shows some."""
    notebook = saved("02_options_and_captions.ipynb")
    notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "code"]  # no pandoc
    body, resources = LatexExporter().from_notebook_node(notebook)
    drawn = [name for name in resources["outputs"] if name.endswith(".jpg")]
    showing = [cell for cell in notebook.cells if figures(shown(Cells([cell])))]
    assert len(drawn) == len(showing) > 3
    assert all(name in body for name in drawn)


def test_a_chain_is_replayed_by_a_new_kernel(runs: dict[str, Future[Run]]) -> None:
    """Its ten pictures and all others come back from the library."""
    run = runs[CHAINS].result()
    found = figures(run.page(CHAINS))
    made = [figure for figure in found if not figure.caption.startswith("Before:")]
    assert len(made) > 10
    assert all(figure.caption.endswith(REPLAYED) for figure in made)


def test_papermill_runs_other_prompts(tmp_path: Path) -> None:
    """The notebook on many prompts takes another list."""
    given = ("-y", f"prompts: {PROMPTS}")
    done = start(tmp_path, "papermill", "--no-progress-bar", str(FOLDER / MANY), "x.ipynb", *given)
    assert done.returncode == 0, done.stdout[-3000:]
    found = figures(shown(nbformat.read(tmp_path / "x.ipynb", as_version=4)))
    captions = " ".join(figure.caption.lower() for figure in found)
    assert all(prompt in captions for prompt in PROMPTS)
    assert "a fox in the snow" not in captions

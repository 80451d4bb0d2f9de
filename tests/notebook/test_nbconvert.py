"""Exports with nbconvert: pictures and captions in every format, from foreign notebooks, too."""

from __future__ import annotations

import io
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbconvert
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image
from traitlets.config.loader import Config, PyFileConfigLoader

import xai_notebook.notebook
from xai_notebook.client.request import ImageRequest
from xai_notebook.notebook.publisher import NOTE, Publisher
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.render.grid import mimebundle
from xai_notebook.pictures.render.job_card import JobCard, JobCounts, job_bundle
from xai_notebook.pictures.results import GeneratedImage, ImageBatch

if TYPE_CHECKING:
    from collections.abc import Iterable

LONG = "a lighthouse in a storm " * 30
HOSTILE = "<script>alert(1)</script> **bold** _x_ $y$ and $z$ \\(w\\) --fresh @fox :fox: ![a](b)"
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
CONFIG = Path(xai_notebook.notebook.__file__).parent / "nbconvert_config.py"
CARD = "display:inline-block;vertical-align:top;box-sizing:border-box;width:"
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


def picture(prompt: str, colour: str = "teal", **values: Any) -> GeneratedImage:
    buffer = io.BytesIO()
    Image.new("RGB", (96, 64), colour).save(buffer, "JPEG")
    values = {"cached": buffer.getvalue(), "model": "m", "size": (96, 64), **values}
    return GeneratedImage(Picture(request=ImageRequest(prompt, "m"), **values))


BATCHES = (
    ImageBatch([picture("a red fox", rewritten_prompt=LONG)]),
    ImageBatch([picture("an owl"), picture("an owl", "red")], notes=["Mind this."]),
    ImageBatch(
        [
            picture("a plum"),
            picture("a pear", status="failed", error="It failed.", cached=None),
            picture(HOSTILE),
        ]
    ),
)
COUNT = 5
"""Number of pictures in these batches."""


def cells_of(bundles: Iterable[dict[str, Any]]) -> list[Any]:
    return [
        new_code_cell("%xai_image", outputs=[new_output("display_data", bundle)])
        for bundle in bundles
    ]


@pytest.fixture
def ours() -> Any:
    return new_notebook(cells=cells_of(map(mimebundle, BATCHES)))


def export(name: str, notebook: Any, *, ours: bool = True, **settings: Any) -> tuple[str, Any]:
    """Convert a notebook with the configuration that the wheel installs, or without it."""
    config = Config()
    if ours:
        config = PyFileConfigLoader(str(CONFIG)).load_config()
    config.merge(Config(settings))
    exporter = getattr(nbconvert, f"{name}Exporter")(config=config)
    resources = {"output_files_dir": "my story_files", "unique_key": "story"}
    return exporter.from_notebook_node(notebook, resources)


def words(page: str) -> str:
    return " ".join(page.split())


def test_markdown_has_files_and_captions(ours: Any) -> None:
    page, resources = export("Markdown", ours)
    assert len(page) < 4_000
    assert "data:image" not in page
    assert "<" not in page
    for file, data in resources["outputs"].items():
        assert Image.open(io.BytesIO(data)).format == "JPEG"
        assert f"]({file.replace(' ', '%20')})" in page
    assert page.count("](my%20story_files/") == len(resources["outputs"]) == COUNT
    assert f"Rewritten prompt: {LONG[:400]}" in page
    assert page.count("\n\nPrompt: an owl\n\n") == 1
    assert "\n\nMind this." in page
    assert "Image 2: No picture: It failed. Prompt: a pear" in page
    escaped = (
        r"&lt;script&gt;alert(1)&lt;/script&gt; \*\*bold\*\* \_x\_ \$y\$ and \$z\$ \\(w\\) "
        r"\-\-fresh \@fox \:fox: !\[a\](b)"
    )
    assert f".jpg)\\\nPrompt: {escaped}\n" in page


def test_a_caption_is_never_that_of_another_picture() -> None:
    """Numbers in the text and in the HTML differ if images were not sent."""
    unsent = picture("an owl", status="unsent", cached=None)
    bundle = mimebundle(ImageBatch([unsent, picture("a plum"), picture("a pear")]))
    page, _ = export("Markdown", new_notebook(cells=cells_of([bundle])))
    first, second = re.findall(r"_0_[01].jpg\)\\\n(.*)", page)
    assert first.endswith("a plum")
    assert second.endswith("a pear")


def test_sanitized_html_shows_the_pictures(ours: Any) -> None:
    page, _ = export("HTML", ours, HTMLExporter={"sanitize_html": True})
    assert page.count("data:image/jpeg;base64,") == COUNT
    assert "&lt;figure" not in page
    assert "&lt;img" not in page
    assert "<div>Prompt: an owl</div>" in page
    assert "<div>Image 2: No picture: It failed. Prompt: a pear</div>" in page
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "$y$ and" not in page.replace("%xai", "")  # MathJax typesets a formula in one text
    assert "<span>$</span>y<span>$</span> and" in page


@pytest.mark.parametrize("name", ["HTML", "Slides"])
def test_html_and_slides_keep_the_grid(name: str, ours: Any) -> None:
    page, _ = export(name, ours)
    assert page.count("<figure ") == COUNT + 1  # with the card of the failed request
    assert page.count("data:image/jpeg;base64,") == COUNT
    assert page == export(name, ours, ours=False)[0]


@pytest.mark.parametrize("name", ["Latex", "RST", "ASCIIDoc"])
def test_without_pandoc_the_sheet_and_the_text_are_shown(
    name: str, ours: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    page, resources = export(name, ours)
    assert len(resources["outputs"]) == 3
    for file in resources["outputs"]:
        assert file in page.replace("%20", " ")
    assert "data:image" not in page
    assert "a lighthouse in a storm" in words(page)
    assert "Prompt: an owl" in words(page)


@pytest.mark.skipif(shutil.which("pandoc") is None, reason="pandoc is not installed")
@pytest.mark.parametrize("name", ["Latex", "RST"])
def test_with_pandoc_every_picture_is_a_file(name: str, ours: Any) -> None:
    page, resources = export(name, ours)
    assert len(resources["outputs"]) == COUNT
    for file in resources["outputs"]:
        assert file in page.replace("%20", " ")
    assert f"Rewritten prompt: {LONG[:300]}" in words(page)
    if name == "Latex":
        assert r"\includegraphics" in page
        assert r"\$y\$ and \$z\$" in page
        assert r"\begin{figure}" not in page


def test_jobs_and_panels_leave_sentences() -> None:
    published: list[dict[str, Any]] = []
    publisher = Publisher(None)
    publisher.publish = lambda data, *_, **__: published.append(data)  # type: ignore[method-assign]
    publisher.publish_note()
    counts = JobCounts(total=2, pending=2)
    card = JobCard(name="job-1", title="Running", state="running", counts=counts, jobs="%xai_jobs")
    (note,) = cells_of(published)
    note.outputs.insert(0, new_output("display_data", {VIEW: view("a"), "text/plain": "panel"}))
    library = {VIEW: view("b"), "text/plain": "The library is closed."}
    notebook = new_notebook(
        cells=[new_code_cell("1;"), note, *cells_of([library, job_bundle(card)])]
    )
    models = {
        name: {
            "model_name": "AnyModel",
            "state": {"_anywidget_id": f"xai_notebook.{name}", "layout": f"IPY_MODEL_{name}-box"},
        }
        for name in "ab"
    }
    layouts = {f"{name}-box": {"model_name": "LayoutModel", "state": {}} for name in "ab"}
    notebook.metadata["widgets"] = {STATE: {"state": models | layouts}}
    page, _ = export("HTML", notebook)
    sanitized, _ = export("HTML", notebook, HTMLExporter={"sanitize_html": True})
    markdown, _ = export("Markdown", notebook)
    for each in (page, sanitized, markdown):
        shown = words(each.partition("<body")[2] or each)
        for sentence in (NOTE, "The library is closed.", "%xai_jobs, to see how the job"):
            assert sentence in shown
        for unwanted in ("AnyModel", "widget-view", "panel</", "&lt;style", "&lt;bdi"):
            assert unwanted not in shown
    assert "<" not in markdown
    notebook.metadata.widgets[STATE]["state"]["c"] = {"model_name": "OtherModel", "state": {}}
    page, _ = export("HTML", notebook)
    assert "OtherModel" in page
    assert "AnyModel" not in page


def view(model: str) -> dict[str, Any]:
    return {"model_id": model, "version_major": 2, "version_minor": 0}


OTHERS = (
    {"text/html": "<table><tr><td>1</td></tr></table>", "text/plain": "1"},
    {"image/png": PIXEL, "text/plain": "<Figure>"},
    {
        "text/html": f'<figure><img src="data:image/png;base64,{PIXEL}" alt="x"></figure>',
        "text/plain": "x",
    },
    {
        "text/html": f"<p>41.17</p>{mimebundle(BATCHES[0])['text/html']}<p>a footnote</p>",
        "text/plain": "<IPython.core.display.HTML object>",
    },
    {"text/html": f'<div style="{CARD}">7.77</div>', "text/plain": "<Columns object>"},
    {"text/html": '<code>class="xai-panel-note"</code>', "text/plain": "99", "image/png": PIXEL},
    {"text/markdown": "*x*", "text/latex": "$x$", "text/plain": "x"},
)


@pytest.mark.parametrize(
    ("name", "sanitize"),
    [("HTML", False), ("HTML", True), ("Markdown", False), ("Latex", False), ("Script", False)],
)
def test_outputs_of_others_stay_as_they_are(name: str, *, sanitize: bool) -> None:
    notebook = new_notebook(cells=cells_of(OTHERS))
    notebook.cells[0].outputs.append(new_output("stream", text="printed"))
    settings: dict[str, Any] = {"HTMLExporter": {"sanitize_html": sanitize}}
    page, resources = export(name, notebook, **settings)
    expected, files = export(name, notebook, ours=False, **settings)
    assert page == expected
    assert resources.get("outputs") == files.get("outputs")


def test_a_notebook_stays_a_notebook(ours: Any) -> None:
    assert export("Notebook", ours)[0] == export("Notebook", ours, ours=False)[0]


def forge(**data: str) -> Any:
    """Return a notebook whose output imitates ours."""
    html = f'<div><figure style="{CARD}"><script>alert(1)</script>{data.pop("html")}</figure></div>'
    plain = "Prompt: <script>alert(2)</script>"
    cell = cells_of([{"text/html": html, "text/plain": plain, **data}])[0]
    cell.outputs[0].metadata = {"filenames": {"image/jpeg": "../../evil.jpg"}}
    return new_notebook(cells=[cell])


@pytest.mark.parametrize(
    "html",
    [
        f'<img src="data:image/png;base64,{PIXEL}" alt="<script>alert(3)</script>">',
        '<img src="data:image/jpeg;base64,A" alt="damaged">',
        '<img src="data:image/svg;base64,AAAA" alt="Image 1 of 4, generated from the prompt: ">',
        f'<img src="data:image/png;base64,{PIXEL}" alt="x" onerror="alert(4)">',
    ],
)
def test_a_forged_output_does_nothing(html: str) -> None:
    for data in ({}, {"image/jpeg": PIXEL}):
        notebook = forge(html=html, **data)
        page, _ = export("HTML", notebook, HTMLExporter={"sanitize_html": True})
        body = page.partition("<body")[2]
        assert not re.search(r"<script>alert|<img[^>]*onerror", body)
        page, resources = export("Markdown", notebook)
        assert all(name.startswith("my story_files") for name in resources.get("outputs") or {})
        assert "](../" not in page


def test_a_grid_whose_pictures_are_not_recognised_keeps_its_sheet(ours: Any) -> None:
    for cell in ours.cells:
        data = cell.outputs[0].data
        data["text/html"] = data["text/html"].replace("<img src", '<img loading="lazy" src')
    page, resources = export("Markdown", ours)
    assert len(resources["outputs"]) == 3
    assert "Prompt: an owl" in words(page)


def test_nbconvert_works_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other environments of a computer may read the file that the wheel installs."""
    assert PyFileConfigLoader(str(CONFIG)).load_config().Exporter.preprocessors.to_dict() == {
        "extend": ["xai_notebook.notebook.nbconvert.preprocess"]
    }
    monkeypatch.setitem(sys.modules, "xai_notebook.notebook.nbconvert", None)
    assert not PyFileConfigLoader(str(CONFIG)).load_config()

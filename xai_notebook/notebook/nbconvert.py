"""Preprocessor of nbconvert: pictures in sanitized HTML, Markdown, LaTeX, rST and AsciiDoc.

These formats cannot show the HTML of a grid. `preprocess` replaces it by the pictures of that HTML
and by the sentences of the output's plain text. HTML and slides keep the HTML.

A notebook is foreign data. From the HTML of an output only base64 text and alternative texts are
used; all texts are escaped. Outputs of other packages stay as they are, also if they contain ours,
and whatever goes wrong with an output leaves it as it was.

Separate because nbconvert imports it by name, for each conversion: it imports nothing else of the
package.
"""

from __future__ import annotations

import html
import re
import shutil
import textwrap
from binascii import a2b_base64
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_ROOT: Final = re.compile(
    r'<div(?: class="xai-pictures" style="--xai-rows:\d"| class="xai-panel-result")?>'
)
"""Start of the HTML of a grid, in all versions."""
_GRID: Final = "display:inline-block;vertical-align:top;box-sizing:border-box;width:"
"""Part of the style of every card, in all versions."""
_SENTENCE: Final = re.compile(r"(?m)(?:^|[.:] )(?:Rewritten prompt: |Prompt: |No picture: )")
"""Text that each grid with a card has as plain text."""
_PANEL_NOTE: Final = 'class="xai-panel-note"'
_JOB_CARD: Final = '<div style="max-width:700px;box-sizing:border-box;margin:2px 0 8px;'
"""Start of the HTML of a job."""
_OURS: Final = frozenset({"text/html", "text/plain", "image/jpeg"})
"""Formats of our outputs."""
_PICTURE: Final = re.compile(
    r'<img (?:decoding="sync" )?src="data:image/(jpeg|png|gif|webp);base64,([A-Za-z0-9+/]+={0,2})" '
    r'alt="([^"]*)"'
)
_DATA: Final = re.compile(r"base64,[A-Za-z0-9+/=]+")
_VOID: Final = frozenset({"img", "br", "hr", "input", "wbr", "source", "col"})
"""Elements without an end tag."""
_HEAD: Final = re.compile(r"Image (\d+) of \d+\. ")
_NUMBER: Final = re.compile(r"Image(?: (\d+) of \d+)?, generated from the prompt: ")
_WIDGET: Final = "application/vnd.jupyter.widget-view+json"
_WIDGETS: Final = "application/vnd.jupyter.widget-state+json"
_MODEL: Final = "xai_notebook."
"""Start of the ids of our widgets' classes."""
_TEXT_FORMATS: Final = frozenset({".md", ".rst", ".asciidoc", ".tex", ".pdf"})
_WIDTHS: Final = {1: 640, 2: 480}
"""Width in pixels in sanitized HTML, by the number of pictures."""
_NARROW: Final = 320
"""The same for more pictures."""
_COMPARED: Final = 60
"""Characters of a prompt that a caption must contain to belong to a picture."""
_PRINTABLE: Final = frozenset({"jpeg", "png"})
"""Image formats that both LaTeX and nbconvert know."""


class _Picture(NamedTuple):
    """A picture in the HTML of an output.

    Attributes:
        kind: Image format, such as `jpeg`.
        data: The picture in base64.
        alt: Alternative text.
        caption: Sentences under the picture.
    """

    kind: str
    data: str
    alt: str
    caption: str


class _Grid(NamedTuple):
    """The content of an output.

    Attributes:
        pictures: The pictures, in order.
        common: Caption of all pictures; the pictures then have none.
        others: Sentences without a picture.
    """

    pictures: list[_Picture]
    common: str
    others: list[str]

    @property
    def printable(self) -> bool:
        """Whether both LaTeX and nbconvert can show every picture."""
        return all(picture.kind in _PRINTABLE for picture in self.pictures)


def preprocess(notebook: Any, resources: Any) -> tuple[Any, Any]:
    """Replace our outputs by what the target format can show; nbconvert calls this.

    Args:
        notebook: The notebook, as nbformat's `NotebookNode`; nbconvert has copied it.
        resources: nbconvert's resources: the exporter's settings and the files it writes.
    """
    is_html = "should_sanitize_html" in resources
    extension = resources.get("output_extension")
    if not is_html and extension not in _TEXT_FORMATS:
        return notebook, resources
    with suppress(Exception):
        _drop_widgets(notebook)
    if is_html and not resources["should_sanitize_html"]:
        return notebook, resources
    for cell in notebook.cells:
        outputs = []
        for output in cell.get("outputs", ()):
            try:
                outputs += _converted(output, resources, None if is_html else extension)
            except Exception:  # noqa: BLE001  # a damaged output must not stop the conversion
                outputs.append(output)
        if outputs:
            cell["outputs"] = outputs
    return notebook, resources


def _converted(output: Any, resources: Any, extension: str | None) -> list[Any]:
    """Return the outputs that replace an output; `extension` is None for sanitized HTML."""
    data = output.get("data", {})
    source, plain = data.get("text/html"), data.get("text/plain")
    if not isinstance(source, str) or not isinstance(plain, str) or not data.keys() <= _OURS:
        return [output]
    is_note = _PANEL_NOTE in source and plain.startswith("The xAI image ")
    is_job = source.startswith(_JOB_CARD) and plain.startswith("Job ")
    if (is_note or is_job) and _is_one_element(source):  # the plain text says the same
        is_text = extension is not None
        return [_replace(output, {"text/plain": plain} if is_text else _text(plain).data)]
    is_grid = _ROOT.match(source) and _GRID in source and _SENTENCE.search(plain)
    if not is_grid or not _is_one_element(source):
        return [output]
    grid = _read(source, plain)
    has_sheet_only = not grid.pictures and "image/jpeg" in data
    if has_sheet_only or extension == ".asciidoc":
        return _as_sheet(output, plain)
    if extension is None:
        return _as_outputs(output, grid) if grid.printable else _as_sheet(output, plain)
    return _as_files(output, grid, resources, extension)


class _Elements(HTMLParser):
    """Counts the elements and the texts of HTML that are in no other element, except styles."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002  # its interface
        self.count += not self.open and tag != "style"
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        self.count += not self.open and bool(data.strip())


def _is_one_element(source: str) -> bool:
    """Tell whether HTML is one element: it contains only a grid, a note or a job."""
    elements = _Elements()
    elements.feed(_DATA.sub("", source))
    elements.close()
    return elements.count == 1


def _as_files(output: Any, grid: _Grid, resources: Any, extension: str) -> list[Any]:
    """Return Markdown that shows the pictures as files, which nbconvert writes."""
    sheet = output.metadata.get("filenames", {}).get("image/jpeg")
    files = resources.get("outputs")
    if grid.pictures and (not isinstance(files, dict) or sheet not in files):
        return [output]  # the exporter writes no files
    is_markdown = extension == ".md"
    if not is_markdown and (shutil.which("pandoc") is None or not grid.printable):
        return _as_sheet(output, output.data["text/plain"])
    pictures = _files_of(grid, sheet)
    if extension == ".rst":  # where pandoc names pictures, and names must be unique
        outputs = _as_outputs(output, grid, [*pictures])
    else:
        paragraphs = _paragraphs(grid, map(quote, pictures), attributes=not is_markdown)
        outputs = [_replace(output, {"text/markdown": "\n\n".join(paragraphs)})]
    if pictures:
        del files[sheet]
        files.update(pictures)
    return outputs


def _read(source: str, plain: str) -> _Grid:
    """Return the pictures of an output's HTML with the sentences of its plain text."""
    captions: dict[int, str] = {}
    others: list[str] = []
    number = None
    for line in plain.split("\n"):
        if head := _HEAD.match(line):
            number = int(head[1])
            captions[number] = line[head.end() :]
        elif number is not None and line.startswith("  "):
            captions[number] += f" {line.strip()}"
        elif not captions and not others:
            number = 1  # a single picture has no number
            captions[number] = line
        else:
            number = None
            others.append(line)
    pictures = []
    for kind, data, alt in _PICTURE.findall(source):
        text = html.unescape(alt)
        caption = text  # of an input image, its name
        if found := _NUMBER.match(text):
            number = int(found[1] or 1)
            # The text does not count images that were not sent, and then has other numbers.
            start = " ".join(text[found.end() :].removesuffix("…").split())[:_COMPARED]
            if start in " ".join(captions.get(number, "").split()):
                caption = captions.pop(number, text)
        pictures.append(_Picture(kind, data, text, caption))
    alone = [f"Image {number}: {text}" if pictures else text for number, text in captions.items()]
    common = ""
    if len(pictures) > 1 and len({picture.caption for picture in pictures}) == 1:
        common = pictures[0].caption
        pictures = [picture._replace(caption="") for picture in pictures]
    return _Grid(pictures, common, [line for line in (*alone, *others) if line.strip()])


def _replace(output: Any, data: dict[str, Any], metadata: dict[str, Any] | None = None) -> Any:
    """Return an output of the same kind with other data."""
    return _output(data, metadata, output.get("execution_count"), output.output_type)


def _output(
    data: dict[str, Any],
    metadata: dict[str, Any] | None = None,
    count: int | None = None,
    kind: str = "display_data",
) -> Any:
    from nbformat.v4 import new_output  # noqa: PLC0415  # nbconvert has it

    numbered = {"execution_count": count} if kind == "execute_result" else {}
    return new_output(kind, data, metadata=metadata or {}, **numbered)  # type: ignore[no-untyped-call]


def _as_outputs(output: Any, grid: _Grid, names: Sequence[str] = ()) -> list[Any]:
    """Return an output per picture and per text, for sanitized HTML, which allows no `<img>`.

    `names` are the files of the pictures, if they are in files.
    """
    width = _WIDTHS.get(len(grid.pictures), _NARROW)
    write = _markdown_text if names else _text
    outputs = [write(grid.common)] if grid.common else []
    for number, (kind, data, alt, caption) in enumerate(grid.pictures):
        mime = f"image/{kind}"
        metadata: dict[str, Any] = {mime: {"width": width, "alt": alt}}
        if names:
            metadata["filenames"] = {mime: names[number]}
        outputs.append(_output({mime: data}, metadata))
        outputs += [write(caption)] if caption else []
    outputs += map(write, grid.others)
    first, *others = outputs
    return [_replace(output, first.data, first.metadata), *others]


def _text(line: str) -> Any:
    # MathJax would typeset formulas in one text.
    shown = re.sub(r"[$\\]", r"<span>\g<0></span>", html.escape(line))
    return _output({"text/html": f"<div>{shown}</div>", "text/plain": line})


def _markdown_text(line: str) -> Any:
    return _output({"text/markdown": _escape(line), "text/plain": line})


def _as_sheet(output: Any, plain: str) -> list[Any]:
    """Return the small JPEG of all pictures, which is beside the HTML, and the plain text."""
    wrapped = "\n".join(textwrap.fill(line, 80) for line in plain.split("\n"))
    text = {"text/plain": wrapped}
    if "image/jpeg" not in output.data:
        return [_replace(output, text)]
    jpeg = {"image/jpeg": output.data["image/jpeg"]}
    return [_replace(output, jpeg, dict(output.metadata)), _output(text)]


def _files_of(grid: _Grid, sheet: str | None) -> dict[str, bytes]:
    """Return the pictures by the names of their files, which replace the sheet's file."""
    if sheet is None:
        return {}
    path = PurePosixPath(sheet.replace("\\", "/"))
    return {
        str(
            path.with_name(f"{path.stem}_{number}.{picture.kind.replace('jpeg', 'jpg')}")
        ): a2b_base64(picture.data)
        for number, picture in enumerate(grid.pictures)
    }


def _paragraphs(grid: _Grid, urls: Iterable[str], *, attributes: bool) -> Iterator[str]:
    """Yield the paragraphs of a grid in Markdown; `attributes`: with widths, for pandoc."""
    count = len(grid.pictures)
    columns = 2 if count in {2, 4} else min(count, 3)
    width = f"{{width={70 if count == 1 else 98 // columns}%}}" if attributes and count else ""
    images = [
        f"![{_escape(picture.alt)}]({url}){width}"
        for picture, url in zip(grid.pictures, urls, strict=True)
    ]
    if grid.common:
        yield _escape(grid.common)
    if count == 1 or not (attributes or grid.common):
        # A paragraph of only a picture would be a floating figure in LaTeX.
        for image, picture in zip(images, grid.pictures, strict=True):
            yield f"{image}\\\n{_escape(picture.caption)}"
    elif images:
        yield "\n".join(images)
        if not grid.common:
            yield "\n".join(f"1. {_escape(picture.caption)}" for picture in grid.pictures)
    for line in grid.others:
        yield _escape(line)


_SPECIAL: Final = re.compile(
    r"[\\`*_\[\]{}#|~^$@]|--+|^[-+=]|(?<=^\d)[.)]|(?<=^\d\d)[.)]|:(?=[\w+-]+:)"
)
"""Characters that Markdown may interpret. `:fox:` is an emoji on GitHub."""


def _escape(text: str) -> str:
    """Return text as Markdown that is shown literally, by GitHub and by pandoc."""
    text = html.escape(" ".join(text.split()), quote=False)
    return _SPECIAL.sub(lambda match: re.sub(r"(\D)", r"\\\1", match[0]), text)


def _drop_widgets(notebook: Any) -> None:
    """Remove panel and library, which do nothing without a kernel; sentences say so.

    With the state of a widget, a page would also load scripts from a server.
    """
    state = notebook.metadata.get("widgets", {}).get(_WIDGETS, {}).get("state", {})
    models = {
        name: model["state"]
        for name, model in state.items()
        if str(model.get("state", {}).get("_anywidget_id", "")).startswith(_MODEL)
    }
    for name, model in models.items():
        del state[name]
        state.pop(str(model.get("layout", "")).removeprefix("IPY_MODEL_"), None)
    if models and not state:
        del notebook.metadata["widgets"]
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        for output, following in zip(outputs[:], [*outputs[1:], {}], strict=False):
            data = output.get("data", {})
            if _WIDGET in data and _PANEL_NOTE in following.get("data", {}).get("text/html", ""):
                outputs.remove(output)
            elif data.get(_WIDGET, {}).get("model_id") in models and len(data) > 1:
                del data[_WIDGET]

"""What a batch looks like: HTML that survives cleaning, sentences for everything else."""

from __future__ import annotations

import base64
import io
import os
import re
import time
import unicodedata
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from xai_notebook.client.request import ImageRequest
from xai_notebook.errors import MissingImageError
from xai_notebook.pictures.picture import SHOWN, Picture
from xai_notebook.pictures.render.grid import mimebundle, plain_text, to_html
from xai_notebook.pictures.render.text import clean
from xai_notebook.pictures.results import GeneratedImage, ImageBatch

SAFE_TAGS = {"div", "figure", "figcaption", "img", "strong", "span", "bdi", "br", "details",
             "summary", "code"}  # fmt: skip
HOSTILE = [
    "<script>window.hacked=1</script>",
    "</figcaption></figure><img src=x onerror=alert(1)>",
    "\"quotes\" 'single' & &amp; <b>",
    "🦊 in the snow ❄️",
    "שועל אדום בשלג",
    "\u202eright to left override",
    "$x$ and $$y$$ and \\(z\\) and \\[w\\]",
    "line\nbreaks\r\nand\ttabs",
    "\x1b[31mred\x07\x00",
    "a" * 5000,
    "word " * 1000,
]


def jpeg(size: tuple[int, int] = (96, 64), colour: str = "teal") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "JPEG")
    return buffer.getvalue()


def picture(prompt: str = "a red fox", **values: Any) -> GeneratedImage:
    request = ImageRequest(prompt=prompt, model="grok-imagine-image")
    on_card = {name: values.pop(name) for name in ("index", "chosen", "exported") if name in values}
    settled = {"cached": jpeg(), "model": "local-preview", "size": (96, 64), **values}
    return GeneratedImage(Picture(request=request, **settled), **on_card)


@pytest.mark.parametrize("mark", ["\u202e", "\u2066", "\u200f", "\x1b", "\ud800"])
def test_no_mark_reorders_what_is_shown(mark: str) -> None:
    """Neither text nor HTML, alt texts and folded cells included, has marks of strangers."""
    odd = f"fox{mark}gpj.exe"
    image = picture(
        odd, rewritten_prompt=odd, rewritten_by=odd, model=odd, notes=(odd,), error=odd,
        public_url=f"https://x/{odd}",
    )  # fmt: skip
    bundle = mimebundle(ImageBatch([image, picture()], cells=True, notes=(odd,), summary=odd))
    assert mark not in bundle["text/html"]
    assert mark not in bundle["text/plain"]
    assert mark not in repr(image)
    assert "gpj.exe" in bundle["text/plain"]


def test_one_picture_that_cannot_be_told_costs_one_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with what is said of it, the others are shown."""
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    last = datetime.max.replace(tzinfo=timezone.utc)
    try:
        bundle = mimebundle(ImageBatch([picture(created=last), picture("an owl")], cells=True))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert bundle["text/html"].count("<img ") == 1
    assert "<strong>Damaged.</strong> " in bundle["text/html"]
    assert "an owl" in bundle["text/html"]
    assert "an owl" in bundle["text/plain"]


def test_one_picture_that_is_gone_costs_no_other_its_export(tmp_path: Path) -> None:
    """The others are written before it is said."""
    batch = ImageBatch([picture(cached=None, file=tmp_path / "gone.jpg"), picture("an owl")])
    with pytest.raises(MissingImageError, match="The original of image 1 is gone"):
        batch.export(tmp_path / "exported")
    (file,) = (tmp_path / "exported").iterdir()
    assert "an-owl" in file.name


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that every tag is closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, dict(attrs)))
        if tag == "br":
            self.text.append("\n")
        elif tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the last one."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note the text."""
        self.text.append(data)


def read(source: str) -> Reader:
    reader = Reader(source)
    assert reader.open == []
    return reader


def test_a_grid_has_a_captioned_figure_per_image() -> None:
    """With an alternative text and the size, so that the page does not jump."""
    page = read(to_html(ImageBatch([picture(index=i) for i in range(4)])))
    names = [name for name, _ in page.tags]
    assert names.count("figure") == names.count("img") == names.count("figcaption") == 4
    images = [attributes for name, attributes in page.tags if name == "img"]
    assert images[1]["alt"] == "Image 2 of 4, generated from the prompt: a red fox"
    assert (images[0]["width"], images[0]["height"]) == ("96", "64")
    assert "Prompt: a red fox" in "".join(page.text)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("field", ["prompt", "model", "rewritten_prompt", "rewritten_by", "error"])
def test_foreign_text_is_shown_literally(field: str, text: str) -> None:
    """Whatever it holds, only our own tags are there, and the text is, every letter of it."""
    values: dict[str, Any] = {field: text}
    if field == "error":
        values["status"] = "failed"
    if field == "rewritten_by":
        values["rewritten_prompt"] = "a red fox"
    batch = ImageBatch([picture(**values)], notes=[text])
    page = read(to_html(batch))
    assert {name for name, _ in page.tags} <= SAFE_TAGS
    for _, attributes in page.tags:
        assert set(attributes) <= {"style", "src", "alt", "width", "height", "dir"}
    assert clean(text)[:200].strip() in "".join(page.text)
    for line in plain_text(batch).splitlines():
        assert not any(unicodedata.category(letter) == "Cc" for letter in line if letter != "\t")


@pytest.mark.parametrize("delimiter", ["$x$", "$$x$$", r"\(x\)", r"\[x\]", r"\begin{a}x\end{a}"])
def test_no_delimiter_of_tex_stands_in_one_text(delimiter: str) -> None:
    """Notebooks typeset TeX in HTML too, unless a tag stands between."""
    page = read(to_html(ImageBatch([picture(f"a {delimiter} b")])))
    assert not any(re.search(r"\$.*\$|\\[(\[b]", piece) for piece in page.text)
    assert delimiter in "".join(page.text)


def test_a_long_prompt_is_folded() -> None:
    """Its beginning is seen, the rest is a click away, and none is lost."""
    prompt = " ".join(f"word{i}" for i in range(800))
    page = read(to_html(ImageBatch([picture(prompt)])))
    assert "details" in {name for name, _ in page.tags}
    assert prompt in "".join(page.text)


@pytest.mark.parametrize("character", ["x", "$", "<", "\n", "word "])
def test_megabytes_of_text_stay_out_of_the_page(character: str) -> None:
    """Whatever a server says of its pictures, the page stays small, and says what is missing."""
    long = (character * 1_000_000)[:1_000_000]
    images = [
        picture(
            long, rewritten_prompt=long, rewritten_by=long, model=long, chosen=(f"{number}{long}",)
        )
        for number in range(3)
    ]
    failed = picture(long, status="failed", error=long, cached=None)
    batch = ImageBatch([*images, failed], notes=[long], summary=long, cells=True)
    page = to_html(batch)
    assert len(page) < 2_000_000
    assert "1,000,000 characters in all" in page
    assert len(plain_text(batch)) < 100_000


def test_a_rewritten_prompt_is_labelled_so_and_keeps_the_original() -> None:
    """Both are there, under the names they deserve."""
    page = read(to_html(ImageBatch([picture(rewritten_prompt="A fox, red.")])))
    text = "".join(page.text)
    assert "Rewritten prompt: A fox, red." in text
    assert "Prompt as writtena red fox" in text
    plain = read(to_html(ImageBatch([picture()])))
    assert "Rewritten" not in "".join(plain.text)


def test_the_facts_are_those_the_server_said() -> None:
    """Model, size, cost, badge, file; what is unknown is not mentioned."""
    image = picture(cost_usd=0.07, replayed=True, exported=Path("pictures/fox.jpg").absolute())
    text = "".join(read(to_html(ImageBatch([image]))).text)
    assert "local-preview · 96 × 64 · replayed (made for $0.07) · saved as " in text
    assert str(Path("pictures/fox.jpg")) in text
    assert "$" not in "".join(read(to_html(ImageBatch([picture()]))).text)


@pytest.mark.parametrize(
    ("status", "title"), [("moderated", "Moderated"), ("missing", "Missing"), ("failed", "Failed")]
)
def test_what_is_no_picture_is_a_card(status: Any, title: str) -> None:
    """With its reason, and in the text as well."""
    batch = ImageBatch([picture(status=status, error="It was withheld.", cached=None)])
    page = read(to_html(batch))
    assert "img" not in {name for name, _ in page.tags}
    assert f"{title}. It was withheld." in "".join(page.text)
    assert plain_text(batch) == "No picture: It was withheld. Prompt: a red fox"


def test_damaged_bytes_are_a_card() -> None:
    """Showing never raises: the images are paid for."""
    batch = ImageBatch([picture(cached=b"\xff\xd8\xffrubbish"), picture(cached=jpeg()[:300])])
    text = "".join(read(to_html(batch)).text)
    assert text.count("Failed.") == 2


def test_a_deleted_original_is_a_card(tmp_path: Path) -> None:
    """Its file is gone: said so, with the cure."""
    text = "".join(read(to_html(ImageBatch([picture(cached=None, file=tmp_path / "x")]))).text)
    assert "Ask again with --fresh." in text


def test_a_large_grid_is_cut_and_counted() -> None:
    """A page of thousands would freeze the browser; the batch holds them all."""
    batch = ImageBatch([picture(index=i) for i in range(SHOWN + 6)])
    page = read(to_html(batch))
    assert [name for name, _ in page.tags].count("img") == SHOWN
    assert "… and 6 more" in "".join(page.text)
    assert "… and 6 more: _[24:] shows them." in plain_text(batch)


def test_an_empty_batch_says_so() -> None:
    """Nothing found is not nothing shown."""
    assert "No images." in to_html(ImageBatch())
    assert plain_text(ImageBatch()) == "No images."


def test_previews_are_small_and_full_is_the_original() -> None:
    """Noise is the worst case of a JPEG: four 2k images still stay below 400 kB."""
    noise = Image.frombytes("RGB", (512, 512), os.urandom(512 * 512 * 3)).resize((2048, 2048))
    buffer = io.BytesIO()
    noise.save(buffer, "JPEG", quality=90)
    images = [picture(cached=buffer.getvalue(), size=(2048, 2048), index=i) for i in range(4)]
    assert sum(map(len, mimebundle(ImageBatch(images)).values())) < 400_000
    full = to_html(ImageBatch(images[:1], full=True))
    assert len(full) > len(buffer.getvalue())
    assert 'width="2048"' in full


def test_the_text_is_the_same_on_every_run() -> None:
    """No times, costs or paths of the library: notebooks can be compared."""
    first, second = (
        mimebundle(ImageBatch([picture(cost_usd=cost, file=Path(name))]))["text/plain"]
        for cost, name in ((0.07, "/a"), (0.09, "/b"))
    )
    assert first == second == "Prompt: a red fox"


def test_columns_are_what_was_asked_for() -> None:
    """`--columns 1` is one beneath the other."""
    images = [picture(index=i) for i in range(2)]
    assert "width:100%;" in to_html(ImageBatch(images, columns=1))
    assert "width:clamp(50%," in to_html(ImageBatch(images))


def test_a_terminal_says_what_a_card_says(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Size, cost, whether it is stored; lines end between words, and a path is never broken."""
    monkeypatch.setenv("COLUMNS", "50")
    words = "a red fox in fresh snow under a very wide and quiet winter sky"
    new = picture(prompt=words, cost_usd=1.88, file=Path("/a/" + "long-name" * 9 + ".png"))
    old = picture(cost_usd=0.005, replayed=True)
    told = ImageBatch([new, old])._repr_mimebundle_()["text/plain"]
    assert "96 × 64 · $1.88\n" in told
    assert "96 × 64 · replayed (made for $0.005)" in told
    assert all(len(line) < 50 for line in told.split("\n") if "long-name" not in line)
    assert set(words.split()) <= set(told.split())
    assert "long-name" * 9 + ".png" in told


def test_paper_gets_a_small_sheet() -> None:
    """LaTeX takes no HTML: one JPEG of all pictures that there are."""
    shown = [picture(index=index) for index in range(4)]
    bundle = mimebundle(ImageBatch([*shown, picture(status="missing", error="Gone.")]))
    sheet = Image.open(io.BytesIO(base64.b64decode(bundle["image/jpeg"])))
    assert sheet.format == "JPEG"
    assert sheet.width > 300
    assert "image/jpeg" not in mimebundle(ImageBatch([picture(status="missing", error="Gone.")]))


def test_a_terminal_gets_text_and_paths(shell: Any, tmp_path: Path) -> None:
    """Plain `ipython` shows captions and where the files are."""
    batch = ImageBatch([picture(file=tmp_path / "x.jpg")])
    bundle = mimebundle(batch)
    assert list(bundle) == ["text/plain"]
    assert str(tmp_path / "x.jpg") in bundle["text/plain"]
    assert repr(batch) == "Prompt: a red fox"


def test_repr_is_the_plain_text() -> None:
    """`print(batch)` reads like the output."""
    batch = ImageBatch([picture(), picture(status="missing", error="Gone.")])
    assert repr(batch).splitlines() == [
        "Image 1 of 2. Prompt: a red fox",
        "Image 2 of 2. No picture: Gone. Prompt: a red fox",
    ]

"""Batches as HTML that survives sanitizers, with captions, and as plain text."""

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

from xai_notebook.client.bounds import clean
from xai_notebook.client.request import ImageRequest
from xai_notebook.errors import MissingImageError
from xai_notebook.pictures.picture import SHOWN, WITHHELD, Picture
from xai_notebook.pictures.render.grid import mimebundle, plain_text, to_html
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
    size = values.get("size") or (96, 64)
    values = {"cached": jpeg(size), "model": "local-preview", "size": size, **values}
    return GeneratedImage(Picture(request=request, **values), **on_card)


@pytest.mark.parametrize("mark", ["\u202e", "\u2066", "\u200f", "\x1b", "\ud800"])
def test_bidirectional_and_control_characters_are_removed(mark: str) -> None:
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


def test_one_invalid_value_spoils_only_its_own_card(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_other_pictures_are_exported_if_one_is_gone(tmp_path: Path) -> None:
    batch = ImageBatch([picture(cached=None, file=tmp_path / "gone.jpg"), picture("an owl")])
    with pytest.raises(MissingImageError, match="The original of image 1 is gone"):
        batch.export(tmp_path / "exported")
    (file,) = (tmp_path / "exported").iterdir()
    assert "an-owl" in file.name


class Reader(HTMLParser):
    """Collect tags, attributes and text; check that tags are closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: D102
        self.tags.append((tag, dict(attrs)))
        if tag == "br":
            self.text.append("\n")
        elif tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:  # noqa: D102
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:  # noqa: D102
        self.text.append(data)


def read(source: str) -> Reader:
    reader = Reader(source)
    assert reader.open == []
    return reader


def test_a_grid_has_a_captioned_figure_per_image() -> None:
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
def test_tex_delimiters_are_never_in_one_text_node(delimiter: str) -> None:
    """Notebooks typeset TeX also in HTML."""
    page = read(to_html(ImageBatch([picture(f"a {delimiter} b")])))
    assert not any(re.search(r"\$.*\$|\\[(\[b]", piece) for piece in page.text)
    assert delimiter in "".join(page.text)


@pytest.mark.parametrize("character", ["x", "$", "<", "\n", "word "])
def test_megabytes_of_text_are_cut(character: str) -> None:
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


def test_a_rewritten_prompt_is_labelled() -> None:
    page = read(to_html(ImageBatch([picture(rewritten_prompt="A fox, red.")])))
    text = "".join(page.text)
    assert "Rewritten prompt: A fox, red." in text
    assert "Prompt as writtena red fox" in text
    plain = read(to_html(ImageBatch([picture()])))
    assert "Rewritten" not in "".join(plain.text)


def test_a_card_shows_the_known_facts() -> None:
    image = picture(cost_usd=0.07, replayed=True, exported=Path("pictures/fox.jpg").absolute())
    text = "".join(read(to_html(ImageBatch([image]))).text)
    assert "local-preview · 96 × 64 · replayed (made for $0.07) · saved as " in text
    assert str(Path("pictures/fox.jpg")) in text
    assert "$" not in "".join(read(to_html(ImageBatch([picture()]))).text)


@pytest.mark.parametrize(
    ("status", "title"), [("moderated", "Moderated"), ("missing", "Missing"), ("failed", "Failed")]
)
def test_a_missing_picture_is_a_card_with_its_reason(status: Any, title: str) -> None:
    batch = ImageBatch([picture(status=status, error="It was withheld.", cached=None)])
    page = read(to_html(batch))
    assert "img" not in {name for name, _ in page.tags}
    assert f"{title}. It was withheld." in "".join(page.text)
    assert plain_text(batch) == "No picture: It was withheld. Prompt: a red fox"


def test_damaged_bytes_are_a_card() -> None:
    batch = ImageBatch([picture(cached=b"\xff\xd8\xffrubbish"), picture(cached=jpeg()[:300])])
    text = "".join(read(to_html(batch)).text)
    assert text.count("Failed.") == 2


def test_a_deleted_original_is_a_card_with_the_cure(tmp_path: Path) -> None:
    text = "".join(read(to_html(ImageBatch([picture(cached=None, file=tmp_path / "x")]))).text)
    assert "Ask again with --fresh." in text


def test_a_large_grid_is_cut_and_counted() -> None:
    batch = ImageBatch([picture(index=i) for i in range(SHOWN + 6)])
    page = read(to_html(batch))
    assert [name for name, _ in page.tags].count("img") == SHOWN
    assert "… and 6 more" in "".join(page.text)
    assert "… and 6 more: the slice [24:] shows them." in plain_text(batch)


def test_an_empty_batch_says_so() -> None:
    assert "No images." in to_html(ImageBatch())
    assert plain_text(ImageBatch()) == "No images."


def test_previews_of_noise_are_small_and_full_shows_originals() -> None:
    noise = Image.frombytes("RGB", (512, 512), os.urandom(512 * 512 * 3)).resize((2048, 2048))
    buffer = io.BytesIO()
    noise.save(buffer, "JPEG", quality=90)
    images = [picture(cached=buffer.getvalue(), size=(2048, 2048), index=i) for i in range(4)]
    assert sum(map(len, mimebundle(ImageBatch(images)).values())) < 400_000
    full = to_html(ImageBatch(images[:1], full=True))
    assert len(full) > len(buffer.getvalue())
    assert 'width="2048"' in full


def test_the_text_has_no_costs_or_paths() -> None:
    first, second = (
        mimebundle(ImageBatch([picture(cost_usd=cost, file=Path(name))]))["text/plain"]
        for cost, name in ((0.07, "/a"), (0.09, "/b"))
    )
    assert first == second == "Prompt: a red fox"


def test_the_number_of_columns_can_be_set() -> None:
    images = [picture(index=i) for i in range(2)]
    assert "width:100%;" in to_html(ImageBatch(images, columns=1))
    assert "width:clamp(50%," in to_html(ImageBatch(images))


def test_a_terminal_shows_facts_and_wraps_between_words(
    shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    words = "a red fox in fresh snow under a very wide and quiet winter sky"
    new = picture(prompt=words, cost_usd=1.88, file=Path("/a/" + "long-name" * 9 + ".png"))
    old = picture(cost_usd=0.005, replayed=True)
    bundle = ImageBatch([new, old])._repr_mimebundle_()
    assert list(bundle) == ["text/plain"]
    plain = bundle["text/plain"]
    assert "96 × 64 · $1.88\n" in plain
    assert "96 × 64 · replayed (made for $0.005)" in plain
    assert all(len(line) < 50 for line in plain.split("\n") if "long-name" not in line)
    assert set(words.split()) <= set(plain.split())
    assert "long-name" * 9 + ".png" in plain


def test_a_contact_sheet_is_added_for_pdf_and_latex() -> None:
    shown = [picture(index=index) for index in range(4)]
    bundle = mimebundle(ImageBatch([*shown, picture(status="missing", error="Gone.")]))
    sheet = Image.open(io.BytesIO(base64.b64decode(bundle["image/jpeg"])))
    assert sheet.format == "JPEG"
    assert sheet.width > 300
    assert "image/jpeg" not in mimebundle(ImageBatch([picture(status="missing", error="Gone.")]))


def test_long_text_without_white_space_is_cut() -> None:
    """As in Chinese and Japanese."""
    image = picture("雪" * 1_000)
    assert "雪" * 50 in repr(image)
    assert "雪" * 500 in plain_text(ImageBatch([image]))
    assert "雪" * 200 in to_html(ImageBatch([image])).partition('alt="')[2].partition('"')[0]


def test_repr_is_the_plain_text() -> None:
    batch = ImageBatch([picture(), picture(status="missing", error="Gone.")])
    assert repr(batch).splitlines() == [
        "Image 1 of 2. Prompt: a red fox",
        "Image 2 of 2. No picture: Gone. Prompt: a red fox",
    ]


# Captions

LONG = "a lighthouse in a storm " * 30


def withheld(prompt: str = "a red fox", **values: Any) -> GeneratedImage:
    return picture(prompt, status="moderated", error=WITHHELD, cached=None, size=None, **values)


def text_of(html: str) -> str:
    return re.sub("<.*?>", " ", html)


def test_a_common_prompt_is_above_the_grid() -> None:
    html = to_html(ImageBatch(picture() for _ in range(3)))
    assert text_of(html).count("a red fox") == 1
    assert html.index("a red fox</bdi>") < html.index("<figure")


@pytest.mark.parametrize("size", [(1, 65_000), (65_000, 1)])
def test_extreme_shapes_have_captions(size: tuple[int, int]) -> None:
    html = to_html(ImageBatch([picture(size=size, rewritten_prompt=LONG)]))
    assert "a lighthouse" in text_of(html)
    assert "<img " in html


def test_rewrites_of_a_common_prompt_are_below_each_picture() -> None:
    html = to_html(ImageBatch(picture(rewritten_prompt=f"A fox, {n}.") for n in "xyz"))
    above, *cards = html.split("<figure ")
    assert "Prompt: a red fox" in " ".join(text_of(above).split())
    for card, name in zip(cards, "xyz", strict=True):
        assert f"A fox, {name}." in text_of(card)
        assert "Prompt as written" not in card


def test_different_prompts_and_a_lone_prompt_are_below_their_pictures() -> None:
    for batch in (ImageBatch([picture("a fox"), picture("an owl")]), ImageBatch([picture()])):
        assert to_html(batch).startswith("<div><figure")


def test_cards_show_their_index_unless_alone() -> None:
    batch = ImageBatch([picture("a"), picture("b", status="unsent"), picture("c")])
    assert re.findall(r"\[\d+\]", text_of(to_html(batch))) == ["[0]", "[2]"]
    assert "[0]" not in to_html(ImageBatch([picture()]))


def test_equal_withheld_pictures_share_a_card() -> None:
    html = to_html(ImageBatch([picture(), *[withheld(cost_usd=0.02) for _ in range(3)]]))
    assert html.count("<figure ") == 2
    assert "3 pictures were withheld by moderation. Change the prompt." in text_of(html)
    assert "[1:4]" in html
    assert "$0.06" in html
    apart = to_html(ImageBatch([withheld("a"), withheld("b")]))
    assert apart.count("The image was withheld") == 2


@pytest.mark.parametrize("rewritten", [None, LONG])
def test_full_captions_fold_only_the_prompt_as_written(rewritten: str | None) -> None:
    html = to_html(ImageBatch([picture(LONG, rewritten_prompt=rewritten)]).shown(captions="full"))
    assert html.count("<details") == (rewritten is not None)
    assert LONG in html.partition("<details")[0]


@pytest.mark.parametrize("captions", ["short", None])
def test_short_captions_fold_after_three_lines(captions: str | None) -> None:
    html = to_html(ImageBatch([picture("x", rewritten_prompt=LONG)]).shown(captions=captions))
    assert html.count("<details") == 1
    head, rest = html.split("</summary>")
    assert "max-height:4.35em" in head
    assert len(text_of(head)) < 300
    assert LONG in rest
    assert "Prompt as written: x" in " ".join(text_of(rest).split())
    short = to_html(ImageBatch([picture("short")]).shown(captions=captions))
    assert "<details" not in short


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(640, 640), (640, 288), (288, 640)])
def test_narrow_cards_fold_earlier(columns: int, size: tuple[int, int]) -> None:
    html = to_html(ImageBatch([picture(LONG, size=size)], columns=columns))
    (head,) = re.findall("<summary.*?</bdi></summary>", html)
    pixels = min(900 / columns, 640, 640 * size[0] / size[1])
    assert len(text_of(head)) < 3 * pixels / 6


def test_without_captions_alt_texts_notes_and_errors_remain() -> None:
    html = to_html(
        ImageBatch([picture("x", notes=("Mind this.",)), withheld()]).shown(captions="none")
    )
    assert html.count("<figcaption") == 1
    assert "Mind this." in html
    assert "withheld" in html
    assert "Prompt:" not in html
    assert "generated from the prompt: x" in html

"""Exports: folders, file names, and that no file is overwritten or incomplete."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from harness import unprivileged
from xai_notebook.arguments.options import resolve
from xai_notebook.client.request import ImageRequest
from xai_notebook.errors import ExportError, MissingImageError, ModeratedError, OptionError
from xai_notebook.frontend import remember_folder
from xai_notebook.library import Library, Reply
from xai_notebook.pictures import export, files
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.results import GeneratedImage, ImageBatch

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def unknown_notebook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Use an empty working directory; the notebook's folder is unknown."""
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    remember_folder(None)
    yield
    remember_folder(None)


def encode(colour: str = "teal", kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 24), colour).save(buffer, kind)
    return buffer.getvalue()


def image(
    prompt: str = "A red fox, in fresh snow!",
    data: bytes | None = None,
    created: datetime = datetime(2026, 11, 22, 12, tzinfo=timezone.utc),
) -> GeneratedImage:
    return GeneratedImage(
        Picture(
            request=ImageRequest(prompt=prompt, model="grok"),
            cached=data or encode(),
            created=created,
            sha256="1a2b3c4d" * 8,
        )
    )


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_the_name_has_day_prompt_and_digest(tmp_path: Path) -> None:
    fox = image()
    path = fox.export(tmp_path / "new" / "folder", metadata=False)
    assert path == tmp_path / "new" / "folder" / "2026-11-22-a-red-fox-in-fresh-snow-1a2b3c4d.jpg"
    assert path.read_bytes() == fox.data
    assert fox.exported == path
    assert names(path.parent) == [path.name]


def test_metadata_is_added_by_default(tmp_path: Path) -> None:
    fox = image()
    assert b"A red fox, in fresh snow!" in fox.export(tmp_path).read_bytes()
    assert b"A red fox" not in fox.data


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp")])
def test_the_extension_follows_the_format(tmp_path: Path, kind: str, suffix: str) -> None:
    assert image(data=encode(kind=kind)).export(tmp_path).suffix == suffix


@pytest.mark.parametrize(
    ("prompt", "slug"),
    [
        ("A Fox", "a-fox"),
        ("ثعلب أحمر في الثلج", "ثعلب-أحمر-في-الثلج"),
        ("雪中的红狐狸", "雪中的红狐狸"),
        ("हिन्दी में", "हिन्दी-में"),
        ("\uff26\uff35\uff2c\uff2c ①", "full-1"),
        ("café\N{COMBINING ACUTE ACCENT}", "café\N{COMBINING ACUTE ACCENT}"),
        ("cafe\N{COMBINING ACUTE ACCENT}", "café"),
        ("İstanbul", "i\N{COMBINING DOT ABOVE}stanbul"),
        ("fox 🦊❤️ in love", "fox-in-love"),
        ("../../etc/passwd", "etc-passwd"),
        ("..\\..\\C:\\CON", "c-con"),
        ("a\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe", "a-gpj-exe"),
        ("a\0b\nc\td", "a-b-c-d"),
        ("word " * 40, "-".join(["word"] * 12)),
        ("x" * 200, "x" * 60),
    ],
)
def test_letters_and_digits_of_any_script_are_kept(tmp_path: Path, prompt: str, slug: str) -> None:
    path = image(prompt).export(tmp_path)
    assert path.name == f"2026-11-22-{slug}-1a2b3c4d.jpg"


def test_a_prompt_of_emoji_leaves_day_and_digest(tmp_path: Path) -> None:
    assert image("🦊 ❤️ !").export(tmp_path).name == "2026-11-22-1a2b3c4d.jpg"


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300))
def test_any_slug_is_safe(prompt: str) -> None:
    slug = export._slug(prompt)
    assert len(slug) <= 60
    assert len(slug.encode()) <= 120
    assert not set(slug) & set('/\\:*?"<>|. \0\n')
    assert slug.isprintable()
    assert not slug.startswith("-")
    assert not slug.endswith("-")
    assert "--" not in slug


def test_a_replayed_image_reuses_its_file(tmp_path: Path) -> None:
    """*Restart and Run All* does not add a second file."""
    library = Library.open(tmp_path / "home")
    fox = image()
    values: dict[str, Any] = {"fingerprint": "f", "backend": "xai", "host": "h", "model": "grok"}
    reply = Reply(fox.request, [fox.picture], [fox.data], **values, notebook=None, cost_usd=None)
    fox = GeneratedImage(*library.add(reply))
    again = GeneratedImage(*library.find("f"))
    library.close()
    assert again.export(tmp_path / "out") == fox.export(tmp_path / "out")
    assert len(names(tmp_path / "out")) == 1


def test_a_chosen_name_gets_the_right_extension_and_a_number(tmp_path: Path) -> None:
    fox, owl = image(), image("an owl", encode("red", "PNG"))
    assert fox.export("covers/cover.jpg") == tmp_path / "work" / "covers" / "cover.jpg"
    assert fox.export(tmp_path / "work" / "covers" / "cover.jpeg").name == "cover.jpg"
    assert owl.export("cover.jpg") == tmp_path / "work" / "cover.png"
    several = ImageBatch([fox, image("a hare", encode("blue"))])
    for _ in range(2):
        assert [path.name for path in several.export("pages.JPG")] == ["pages.jpg", "pages-2.jpg"]
    (tmp_path / "work" / "a.jpg").mkdir()
    assert fox.export("a.jpg").parent == tmp_path / "work" / "a.jpg"  # a folder, not a file name
    with pytest.raises(ExportError, match="outside the notebook's folder"):
        fox.export("../cover.jpg")


def test_existing_files_are_not_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    first = image(data=encode("red")).export(folder)
    first.write_text("edited by hand")
    second = image(data=encode("red")).export(folder)
    third = image(data=encode("blue")).export(folder)
    assert (second.stem, third.stem) == (first.stem + "-2", first.stem + "-3")
    assert first.read_text() == "edited by hand"
    assert image(data=encode("red")).export(folder) == second


def test_threads_export_different_images_of_one_name(tmp_path: Path) -> None:
    images = [image(data=encode(colour)) for colour in ("red", "green", "blue", "white") * 4]
    with ThreadPoolExecutor(len(images)) as pool:
        assert all(pool.map(lambda each: each.export(tmp_path), images))
    assert len({each.exported for each in images}) == 4
    assert len(list(tmp_path.glob("*.jpg"))) == 4


def test_threads_share_the_file_of_one_image(tmp_path: Path) -> None:
    for attempt in range(40):
        start = threading.Barrier(8)

        def export_together(folder: Path, start: threading.Barrier = start) -> None:
            start.wait(60)
            export.export_bytes(b"fox", "fox.jpg", folder)

        folder = tmp_path / str(attempt)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(export_together, [folder] * 8))
        assert names(folder) == ["fox.jpg"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_without_hard_links_exports_are_complete_and_overwrite_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def link(*args: Any, **options: Any) -> None:
        raise OSError(code, "no links here")

    monkeypatch.setattr(os, "link", link)
    first = image(data=encode("red")).export(tmp_path)
    second = image(data=encode("blue")).export(tmp_path)
    assert second.stem == first.stem + "-2"
    with Image.open(first) as one, Image.open(second) as two:
        assert one.getpixel((0, 0)) != two.getpixel((0, 0))
    assert not list(tmp_path.glob(".*"))


def test_relative_folders_are_inside_the_notebooks_folder(tmp_path: Path) -> None:
    remember_folder(tmp_path)
    assert image().export("pictures").parent == tmp_path / "pictures"
    assert image().export().parent == tmp_path


@pytest.mark.parametrize("folder", ["..", "../outside", "sub/../../x", "a/../../work/b"])
def test_dots_do_not_lead_out_of_the_notebooks_folder(tmp_path: Path, folder: str) -> None:
    with pytest.raises(OptionError, match="outside the notebook's folder"):
        resolve({"export": folder})
    with pytest.raises(ExportError, match="outside the notebook's folder"):
        image().export(folder)
    assert names(tmp_path) == ["work"]


def test_dots_are_resolved_before_links(tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    Path("link").symlink_to(tmp_path / "elsewhere" / "deep")
    assert image().export("link/../pictures").parent == tmp_path / "work" / "pictures"
    assert names(tmp_path / "elsewhere") == ["deep"]


def test_links_and_absolute_paths_may_lead_outside(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    Path("link").symlink_to(outside)
    image().export("link")
    image("an owl").export(tmp_path / "work" / ".." / "outside")
    assert len(names(outside)) == 2


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert image().export("~/pictures").parent == tmp_path / "pictures"


@pytest.mark.parametrize("folder", ["~nobody-of-that-name/x", "a\0b"])
def test_an_invalid_folder_is_refused(folder: str) -> None:
    with pytest.raises(ExportError, match="Give"):
        image().export(folder)


@pytest.mark.parametrize("folder", [5, b"pictures", ["pictures"]])
def test_a_folder_that_is_no_path_is_refused(folder: Any) -> None:
    kind = type(folder).__name__
    for make in (image().export, ImageBatch([image()]).export, ImageBatch([image()]).export_sheet):
        with pytest.raises(ExportError, match=f"A value of type {kind} is not a path"):
            make(folder)


def test_a_file_in_the_folders_place_stays_and_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    fox = image()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ExportError, match=r"not a folder.*image itself is safe"):
            fox.export(folder)
    assert (tmp_path / "file").read_text() == "mine"
    assert fox.exported is None
    assert fox.export(tmp_path).exists()


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_read_only_folder_is_reported_in_one_line(unprivileged_folder: Path) -> None:
    unprivileged_folder.chmod(0o555)
    with unprivileged(), pytest.raises(ExportError, match="cannot be written to") as caught:
        image().export(unprivileged_folder)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, PermissionError)


def test_a_full_disk_leaves_no_file(tmp_path: Path, small_disk: Path) -> None:
    fox = image(data=encode() + b"0" * 2_000_000)
    with pytest.raises(ExportError, match=r"is full\. Free some space"):
        fox.export(small_disk)
    assert names(small_disk) == []
    assert fox.export(tmp_path).read_bytes()[-10:] == b"0" * 10


def test_a_withheld_image_is_not_exported(tmp_path: Path) -> None:
    request = ImageRequest(prompt="x", model="grok")
    withheld = GeneratedImage(Picture(request=request, status="moderated", error="Withheld."))
    with pytest.raises(ModeratedError):
        withheld.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_day_is_in_local_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not hasattr(time, "tzset"):
        pytest.skip("this platform cannot change its time zone")
    fox = image(created=datetime(2026, 11, 22, 23, 30, tzinfo=timezone.utc))
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        name = fox.export(tmp_path).name
    time.tzset()
    assert name.startswith("2026-11-23-")


def table(*keys: object, n: int = 1, **values: Any) -> ImageBatch:
    """Return a batch as `--each` makes it: `n` pictures for each key."""
    return ImageBatch([
        replace(
            image(f"a picture of {key}", encode(COLOURS[(position * n + index) % len(COLOURS)])),
            row=position, key=key, index=index, **values,
        )
        for position, key in enumerate(keys)
        for index in range(n)
    ])  # fmt: skip


COLOURS: Final = ("red", "green", "blue", "white", "black", "teal", "orange", "pink")


def tree(folder: Path) -> list[str]:
    """Return the files of a folder, with those of its folders."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()
    )


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{key}", ["p.jpg", "q.jpg"]),
        ("{row}-{key}", ["0-p.jpg", "1-q.jpg"]),
        ("{key}/{n}", ["p/1.jpg", "q/1.jpg"]),
        ("{prompt}", ["a-picture-of-p.jpg", "a-picture-of-q.jpg"]),
        ("{date} {id} {key}", ["2026-11-22 1a2b3c4d p.jpg", "2026-11-22 1a2b3c4d q.jpg"]),
        ("{{{key}}}", ["{p}.jpg", "{q}.jpg"]),
        ("x{key}.PNG", ["xp.jpg", "xq.jpg"]),
        ("{key}.jpeg", ["p.jpg", "q.jpg"]),
        ("v1.5 {key}", ["v1.5 p.jpg", "v1.5 q.jpg"]),
    ],
)
def test_a_pattern_names_the_files(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    batch = table("p", "q")
    paths = batch.export(tmp_path / "out", name=pattern)
    assert [path.relative_to(tmp_path / "out").as_posix() for path in paths] == expected
    assert tree(tmp_path / "out") == expected
    assert [each.exported for each in batch] == paths


def test_one_image_takes_a_pattern(tmp_path: Path) -> None:
    assert table("p")[0].export(tmp_path, name="{key}").name == "p.jpg"
    assert image().export(tmp_path, name="{prompt}-{n}").name == "a-red-fox-in-fresh-snow-1.jpg"


def test_several_pictures_of_a_row_are_numbered(tmp_path: Path) -> None:
    """Also if the first of them has no image, so that a row's pictures keep their names."""
    batch = table("p", n=2) + table("q")
    withheld = replace(batch[0], picture=replace(batch[0].picture, status="moderated", cached=None))
    batch = ImageBatch([withheld, *batch[1:]])
    assert [path.name for path in batch.export(tmp_path / "all", name="{key}")] == [
        "p-2.jpg", "q.jpg",
    ]  # fmt: skip
    chosen = batch.filter(lambda each: each.index == 1 or each.key == "q")
    assert [path.name for path in chosen.export(tmp_path / "best", name="{key}")] == [
        "p.jpg", "q.jpg",
    ]  # fmt: skip


def test_without_a_table_pictures_are_numbered_in_the_batch(tmp_path: Path) -> None:
    batch = ImageBatch([image("a fox", encode("red")), image("a fox"), image("an owl")])
    assert [path.name for path in batch.export(tmp_path, name="{n}")] == ["1.jpg", "2.jpg", "3.jpg"]
    assert [path.name for path in batch.export(tmp_path, name="{prompt}")] == [
        "a-fox-1.jpg", "a-fox-2.jpg", "an-owl.jpg",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("", "The name is empty"),
        ("{}", "unknown field {}"),
        ("{sku}", "unknown field {sku}"),
        ("{key!r}", "unknown field {key!r}"),
        ("{key", "single {"),
        ("key}", "single }"),
        ("/{key}", "empty part beside a slash"),
        ("{key}/", "empty part beside a slash"),
        ("a//{key}", "empty part beside a slash"),
        ("../{key}", "begins with a dot"),
        (".{key}", "begins with a dot"),
        ("a\\{key}", "has the character \\"),
        ("C:{key}", "has the character :"),
        ("a\n{key}", r"has the character \n"),
        ("con/{key}", "reserved on Windows"),
        ("Lpt1.x/{key}", "reserved on Windows"),
        ("a./{key}", "ends with a dot"),
        (" ", "is empty"),
    ],
)
def test_an_invalid_pattern_is_refused(tmp_path: Path, pattern: str, problem: str) -> None:
    with pytest.raises(OptionError, match=re.escape(problem)):
        table("p").export(tmp_path / "out", name=pattern)
    with pytest.raises(OptionError, match=re.escape(problem)):
        resolve({"export": True, "name": pattern, "each": ["a"]})
    assert names(tmp_path) == ["work"]


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("a/b", "has the character /"),
        ("..", "begins with a dot"),
        (".git", "begins with a dot"),
        ("a\\b", "has the character \\"),
        ("C:", "has the character :"),
        ("a\0b", r"has the character \x00"),
        ("a\N{RIGHT-TO-LEFT OVERRIDE}b", r"has the character \u202e"),
        ("\ud800", r"has the character \ud800"),
        ("CON", "reserved on Windows"),
        ("nul.txt", "reserved on Windows"),
        ("com\N{SUPERSCRIPT ONE}", "reserved on Windows"),
        ("ü" * 121, "more than 240 bytes"),
        (" ", "is empty"),
        ("", "has {key}, but row 1 has no key"),
        (None, "has {key}, but row 1 has no key"),
        (float("nan"), "has {key}, but row 1 has no key"),
        (pd.NA, "has {key}, but row 1 has no key"),
    ],
)
def test_a_key_that_cannot_be_a_name_is_refused(tmp_path: Path, key: object, problem: str) -> None:
    with pytest.raises(ExportError, match=re.escape(problem)):
        table("good", key).export(tmp_path / "out", name="{key}")
    assert names(tmp_path) == ["work"]


def test_keys_are_text_and_numbers_as_written(tmp_path: Path) -> None:
    keys = [7, 2.5, True, "007", "{n}", "{{", "ß", "a.jpg", "cafe\N{COMBINING ACUTE ACCENT}", "Dr."]
    table(*keys).export(tmp_path, name="{key}", metadata=False)
    assert sorted(names(tmp_path)) == sorted([
        "7.jpg", "2.5.jpg", "True.jpg", "007.jpg", "{n}.jpg", "{{.jpg", "ß.jpg", "a.jpg.jpg",
        "café.jpg", "Dr..jpg", "work",
    ])  # fmt: skip


def test_a_prompt_without_letters_has_no_name(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="the prompt of image 1 has no letters or digits"):
        image("🦊 !").export(tmp_path / "out", name="{prompt}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("keys", "pattern"),
    [
        (("p", "p"), "{key}"),
        (("SKU", "sku"), "{key}"),
        (("café", "cafe\N{COMBINING ACUTE ACCENT}"), "{key}"),
        (("1-2", "2"), "{key}"),
        (("p", "q"), "one"),
    ],
)
def test_two_pictures_with_one_name_are_refused(
    tmp_path: Path, keys: tuple[str, ...], pattern: str
) -> None:
    """The third pair: the second picture of row 1 would be called like the second key."""
    batch = table(*keys)
    if keys == ("1-2", "2"):
        batch = ImageBatch([batch[0], *table(None, "1", n=2)[2:]])
    with pytest.raises(ExportError, match=r"Row 0 and row 1 have the same file name") as caught:
        batch.export(tmp_path / "out", name=pattern)
    cures = "{row} or {n} or {id}" if keys == ("1-2", "2") else "{row} or {id}"
    assert f"Add {cures} to the name" in str(caught.value)
    assert names(tmp_path) == ["work"]


def test_a_name_and_a_file_name_contradict(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="both name the file"):
        table("p").export("cover.jpg", name="{key}")
    assert names(tmp_path / "work") == []


@pytest.mark.parametrize("suffix", [".tiff", ".AVIF", ".svg"])
def test_a_format_that_is_never_written_is_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ExportError, match="saved in the format that the server sent"):
        image().export(f"cover{suffix}")
    with pytest.raises(OptionError, match="saved in the format that the server sent"):
        resolve({"export": f"cover{suffix}"})
    (tmp_path / "work" / f"cover{suffix}").mkdir()
    assert image().export(f"cover{suffix}").parent.name == f"cover{suffix}"


def test_without_overwrite_a_name_gets_a_free_number(tmp_path: Path) -> None:
    """The number is not the name of another picture of the same export."""
    (tmp_path / "a.jpg").write_text("mine")
    paths = table("a", "a-2").export(tmp_path, name="{key}")
    assert [path.name for path in paths] == ["a-3.jpg", "a-2.jpg"]
    assert (tmp_path / "a.jpg").read_text() == "mine"
    assert table("a", "a-2").export(tmp_path, name="{key}") == paths


def test_overwrite_replaces_the_file_of_a_name(tmp_path: Path) -> None:
    for colour in ("red", "blue"):
        made = replace(image(data=encode(colour)), row=0, key="p")
        path = ImageBatch([made]).export(tmp_path / "out", name="{key}", overwrite=True)[0]
        assert path.name == "p.jpg"
        assert made.export("cover.jpg", overwrite=True, metadata=False).read_bytes() == made.data
    assert names(tmp_path / "out") == ["p.jpg"]
    assert names(tmp_path / "work") == ["cover.jpg"]
    with Image.open(path) as opened, Image.open(io.BytesIO(encode("blue"))) as blue:
        assert opened.getpixel((0, 0)) == blue.getpixel((0, 0))


def test_overwrite_leaves_an_equal_file_alone(tmp_path: Path) -> None:
    (path,) = table("p").export(tmp_path, name="{key}")
    os.utime(path, (1, 1))
    table("p").export(tmp_path, name="{key}", overwrite=True)
    assert path.stat().st_mtime == 1


def test_pictures_of_one_export_do_not_overwrite_each_other(tmp_path: Path) -> None:
    batch = ImageBatch([image(data=encode(colour)) for colour in ("red", "blue", "red")])
    for _ in range(2):
        paths = batch.export("pages.jpg", overwrite=True, metadata=False)
        assert [path.name for path in paths] == ["pages.jpg", "pages-2.jpg", "pages-3.jpg"]
        assert [path.read_bytes() for path in paths] == [each.data for each in batch]


@pytest.mark.parametrize("kind", ["link", "dangling", "folder"])
def test_overwrite_replaces_no_links_and_folders(tmp_path: Path, kind: str) -> None:
    out, other = tmp_path / "out", tmp_path / "other.txt"
    out.mkdir()
    if kind == "folder":
        (out / "q.jpg").mkdir()
    else:
        if kind == "link":
            other.write_text("mine")
        (out / "q.jpg").symlink_to(other)
    with pytest.raises(ExportError, match=r"q\.jpg is a link or a folder"):
        table("p", "q").export(out, name="{key}", overwrite=True)
    assert names(out) == ["q.jpg"]
    assert kind != "link" or other.read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_a_name_that_is_a_link_is_refused(tmp_path: Path, *, overwrite: bool) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "q").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ExportError, match="is a link"):
        table("p", "q").export(tmp_path / "out", name="{key}/{n}", overwrite=overwrite)
    assert names(tmp_path / "elsewhere") == []
    assert names(tmp_path / "out") == ["q"]


def test_overwrite_refuses_a_name_that_differs_in_case(tmp_path: Path) -> None:
    table("SKU").export(tmp_path / "out", name="{key}")
    with pytest.raises(ExportError, match=r"would replace SKU\.jpg, which differs"):
        table("sku").export(tmp_path / "out", name="{key}", overwrite=True)
    assert names(tmp_path / "out") == ["SKU.jpg"]


def test_a_new_format_replaces_the_earlier_export(tmp_path: Path) -> None:
    """A photo of the user with the same name stays, and so does every file without overwrite."""
    photo, png = tmp_path / "p.webp", table("p")
    photo.write_bytes(encode("white", "WEBP"))
    png = ImageBatch([replace(png[0], picture=replace(png[0].picture, cached=encode(kind="PNG")))])
    png.export(tmp_path, name="{key}")
    table("p").export(tmp_path, name="{key}")
    assert names(tmp_path) == ["p.jpg", "p.png", "p.webp", "work"]
    table("p").export(tmp_path, name="{key}", overwrite=True)
    assert names(tmp_path) == ["p.jpg", "p.webp", "work"]
    assert photo.read_bytes() == encode("white", "WEBP")


def many(count: int, folder: Path) -> ImageBatch:
    """Return a batch of pictures with different bytes, whose originals are files."""
    folder.mkdir()
    images = []
    for number in range(count):
        data = encode() + b"%06d" % number
        file = folder / f"{number}.jpg"
        file.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        picture = replace(image().picture, cached=None, file=file, sha256=digest)
        images.append(GeneratedImage(picture, row=number, key=f"k{number}"))
    return ImageBatch(images)


def test_many_pictures_are_exported_in_order(tmp_path: Path) -> None:
    batch, seen = many(300, tmp_path / "home"), []
    paths = batch.export(
        tmp_path / "out", name="{key}", metadata=False, progress=lambda *at: seen.append(at)
    )
    assert [path.name for path in paths] == [f"k{number}.jpg" for number in range(300)]
    assert [path.read_bytes() for path in paths] == [each.data for each in batch]
    assert len(tree(tmp_path / "out")) == 300
    assert seen == [(number, 300) for number in range(1, 301)]


def test_an_original_that_is_gone_does_not_stop_the_others(tmp_path: Path) -> None:
    batch = many(30, tmp_path / "home")
    (tmp_path / "home" / "7.jpg").unlink()
    with pytest.raises(MissingImageError, match="gone from the library"):
        batch.export(tmp_path / "out", name="{key}", manifest="metadata.jsonl")
    lines = (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in lines] == [n for n in range(30) if n != 7]
    assert len(tree(tmp_path / "out")) == 30
    assert batch[7].exported is None


@pytest.mark.parametrize("unnamed", [True, False])
def test_an_interrupt_leaves_only_whole_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, unnamed: bool
) -> None:
    if not unnamed:
        monkeypatch.setattr(files, "_O_TMPFILE", 0)
    batch = many(300, tmp_path / "home")
    before = {*threading.enumerate()}

    def interrupt(done: int, total: int) -> None:
        if done == 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch.export(
            tmp_path / "out", name="{key}", metadata=False, manifest="metadata.csv",
            progress=interrupt,
        )  # fmt: skip
    for thread in {*threading.enumerate()} - before:
        thread.join(60)
    written = [each for each in batch if each.exported is not None]
    assert len(written) == 100
    assert all(each.exported.read_bytes() == each.data for each in written if each.exported)
    assert len(tree(tmp_path / "out")) == 100
    assert len(batch.export(tmp_path / "out", name="{key}", metadata=False)) == 300
    assert len(tree(tmp_path / "out")) == 300


INTERRUPTED: Final = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from pictures.test_export import many
batch = many(3000, Path("home"))
print("ready", flush=True)
try:
    while True:
        batch.export("out", overwrite=True, name="{{key}}", metadata=bool(time.time_ns() % 2))
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_signal_stops_an_export_at_once(tmp_path: Path) -> None:
    tests = str(Path(__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED.format(tests=tests)],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        out = tmp_path / "out"
        while not out.exists() or len(tree(out)) < 100:
            assert child.poll() is None
        begun = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "stopped\n"
        assert time.monotonic() - begun < 0.5
        assert child.wait(60) == 0
    assert not [name for name in tree(out) if not re.fullmatch(r"k\d+\.jpg", name)]
    for path in out.iterdir():
        with Image.open(path) as opened:
            opened.load()


def test_a_full_disk_keeps_the_files_before(tmp_path: Path, small_disk: Path) -> None:
    images = [image(data=encode() + bytes([number]) * 300_000) for number in range(9)]
    with pytest.raises(ExportError, match=r"is full\. Free some space"):
        ImageBatch(images).export(small_disk, name="{n}", metadata=False)
    written = [each for each in images if each.exported is not None]
    assert written
    assert [path.read_bytes() for path in sorted(small_disk.iterdir())] == [
        each.data for each in written
    ]


def test_a_long_export_shows_its_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export, "_LOG_EVERY", 0.0)
    table("p", "q").export(tmp_path, name="{key}")
    assert capsys.readouterr().err == "Exporting images: 1 of 2\nExporting images: 2 of 2\n"


def test_a_log_that_is_printed_has_the_progress_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(export, "_LOG_EVERY", 0.0)
    caplog.set_level(logging.INFO, "xai_notebook")
    table("p", "q").export(tmp_path, name="{key}")
    assert caplog.messages == ["Exporting images: 1 of 2", "Exporting images: 2 of 2"]
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_one_line_of_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("_FIRST_REPORT", "_LINE_EVERY"):
        monkeypatch.setattr(export, name, 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    table("p", "q").export(tmp_path, name="{key}")
    lines = capsys.readouterr().err.split("\r")
    assert lines == ["", "Exporting images: 1 of 2", "Exporting images: 2 of 2", " " * 24, ""]

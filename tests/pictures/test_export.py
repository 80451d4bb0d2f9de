"""Exports: folders, file names, and that no file is overwritten or incomplete."""

from __future__ import annotations

import errno
import io
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from harness import unprivileged
from xai_notebook.arguments.options import resolve
from xai_notebook.client.request import ImageRequest
from xai_notebook.errors import ExportError, ModeratedError, OptionError
from xai_notebook.frontend import remember_folder
from xai_notebook.library import Library, Reply
from xai_notebook.pictures import export
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

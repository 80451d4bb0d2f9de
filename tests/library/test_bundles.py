"""Hostile bundles: each is shown correctly or refused with one sentence, and has no effect."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import re
import sqlite3
import struct
import tracemalloc
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from xai_notebook.client.request import ImageRequest
from xai_notebook.errors import LibraryError
from xai_notebook.library import bundles as bundles_module
from xai_notebook.library.bundles import (
    HEADER,
    REQUESTS,
    Bundle,
    BundleFolder,
    ReadBudget,
    find_answers,
)
from xai_notebook.pictures.results import GeneratedImage, ImageBatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Save
    from xai_notebook.library import Library

HTML = "<script>hacked()</script><img src=x onerror=hacked()> $x$ \u202e'\"--image=/etc/passwd"
LINE = HTML.replace("\u202e", "")
REQUEST = ImageRequest(prompt="a fox", model="grok-imagine-image")
_MIB = 1 << 20


def jpeg(number: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (number, 90, 30)).save(buffer, "JPEG")
    return buffer.getvalue()


GOOD = jpeg()


def png(width: int, height: int) -> bytes:
    """Return a PNG that claims to have this size."""
    head = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def record(data: bytes = GOOD, image: Any = None, **changes: Any) -> dict[str, Any]:
    """Return a request with one picture, as a bundle lists it."""
    picture = {
        "position": 0, "model": "grok", "rewritten_prompt": None, "rewritten_by": None,
        "cost_usd": 0.02, "sha256": digest(data), **(image or {}),
    }  # fmt: skip
    return {
        "prompt": "a fox", "original_prompt": None, "model": "grok-imagine-image", "n": 1,
        "aspect_ratio": None, "resolution": None, "quality": None, "rewrite_model": None,
        "inputs": [], "backend": "xai", "answered_by": "grok", "place": 0,
        "created": 1_700_000_000.0, "images": [picture], **changes,
    }  # fmt: skip


def bundle(
    *records: Any,
    header: Any = HEADER,
    data: bytes = GOOD,
    members: Any = None,
    text: bytes | None = None,
    **options: Any,
) -> bytes:
    """Return a bundle with these requests, or with other content."""
    lines = [json.dumps(header), *map(json.dumps, records or [record(data)])]
    listed = "\n".join(lines).encode() if text is None else text
    if members is None:
        members = [(REQUESTS, listed), (f"images/{digest(data)}.jpg", data)]
    buffer = io.BytesIO()
    with pytest.warns() if options.pop("warns", False) else contextlib.nullcontext():  # noqa: SIM117
        with zipfile.ZipFile(buffer, "w", options.pop("method", zipfile.ZIP_STORED)) as archive:
            for name, content in members:
                archive.writestr(zipfile.ZipInfo(name) if not options else name, content, **options)
            archive.comment = b""
    return buffer.getvalue()


def truncated() -> dict[str, bytes]:
    complete = bundle()
    return {f"cut {at}": complete[: len(complete) * at // 40] for at in range(40)}


def changed_bytes() -> dict[str, bytes]:
    """Return bundles with one changed byte."""
    complete, dice = bundle(), random.Random(7)
    files = {}
    for number in range(70):
        at = dice.randrange(len(complete))
        files[f"flip {number} at {at}"] = (
            complete[:at] + bytes([complete[at] ^ dice.randrange(1, 256)]) + complete[at + 1 :]
        )
    return files


ODD: tuple[Any, ...] = (None, -1, 1.5, 10**17, True, [], {}, HTML, "", "../../x", "\ud800")


def odd_values() -> dict[str, bytes]:
    """Return bundles with an odd value in each field."""
    files = {}
    for name in record():
        for value in ODD:
            files[f"{name}={value!r}"] = bundle(record(**{name: value}))
    for name in record()["images"][0]:
        for value in ODD:
            files[f"image {name}={value!r}"] = bundle(record(image={name: value}))
    return files


def odd_structures() -> dict[str, bytes]:
    """Return files with another structure."""
    listed = "\n".join([json.dumps(HEADER), json.dumps(record())]).encode()
    original = (f"images/{digest(GOOD)}.jpg", GOOD)
    complete = bundle()
    big = b"[" * 900_000
    names = (
        "../evil.py", "/etc/evil", "images/../../evil", "C:\\evil", "images/x.jpg", "a\0b",
        f"images/{digest(GOOD)}.jpg/../../evil", f"IMAGES/{digest(GOOD)}.jpg",
    )  # fmt: skip
    files = {
        f"named {name!r}": bundle(members=[(REQUESTS, listed), original, (name, b"x")])
        for name in names
    }
    files |= {
        "empty": b"",
        "zeros": bytes(4096),
        "newer": bundle(header=HEADER | {"version": 2}),
        "older": bundle(header=HEADER | {"version": 0}),
        "another format": bundle(header={"format": "zip", "version": 1}),
        "header is a list": bundle(header=[1]),
        "twice the list": bundle(members=[(REQUESTS, listed)] * 2, warns=True),
        "twice the picture": bundle(members=[(REQUESTS, listed), original, original], warns=True),
        "no list": bundle(members=[original]),
        "no picture": bundle(members=[(REQUESTS, listed)]),
        "compressed": bundle(method=zipfile.ZIP_DEFLATED, compress_type=zipfile.ZIP_DEFLATED),
        "zip bomb": bundle(
            members=[(REQUESTS, bytes(100 * _MIB))],
            method=zipfile.ZIP_DEFLATED,
            compress_type=zipfile.ZIP_DEFLATED,
        ),
        "wrong digest": bundle(members=[(REQUESTS, listed), (original[0], jpeg(9))]),
        "another's digest": bundle(record(image={"sha256": "0" * 64})),
        "deep": bundle(text=json.dumps(HEADER).encode() + b"\n" + big),
        "huge row": bundle(record(prompt="x" * 3 * _MIB)),
        "huge number": bundle(text=json.dumps(HEADER).encode() + b"\n" + b"9" * 1_000_000),
        "not a number": bundle(record(created=float("nan"))),
        "forever": bundle(record(created=float("inf"))),
        "far future": bundle(record(created=1e300)),
        "many rows": bundle(text=json.dumps(HEADER).encode() + b"\n{}" * 30_000),
        "no JSON": bundle(text=b"\xff\xfe\0"),
        "no object": bundle(text=json.dumps(HEADER).encode() + b'\n"x"'),
        "prefixed": b"#!/bin/sh\nrm -rf ~\n" + complete,
        "many images": bundle(record(images=record()["images"] * 500)),
        "many members": complete[:-22]
        + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, 9, 9, 0),
        "large directory": complete[:-22]
        + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 3, 3, 1 << 30, 0, 0),
        "64 bits": complete[:-22] + b"PK\6\7" + bytes(16) + complete[-22:],
        "a database": database(),
        "texts": bundle(
            record(
                answered_by=LINE,
                image={"model": LINE, "rewritten_prompt": HTML, "rewritten_by": LINE},
            )
        ),
        "withheld": bundle(record(image={"sha256": None})),
    }
    for name, data in {
        "a page": b"<html><script>hacked()</script>",
        "a drawing": b"<svg xmlns='http://www.w3.org/2000/svg' onload='hacked()'/>",
        "a program": b"\x7fELF" + bytes(400),
        "image bomb": png(60_000, 60_000),
        "half an image": GOOD[:300],
        "no bytes": b"",
    }.items():
        files[name] = bundle(record(data), data=data)
    return files


def database() -> bytes:
    """Return a database with views and triggers."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE real (x)")
        connection.execute("CREATE VIEW requests AS SELECT load_extension('evil') FROM real")
        connection.execute(
            "CREATE TRIGGER t INSTEAD OF INSERT ON requests BEGIN DELETE FROM real; END"
        )
        if not hasattr(connection, "serialize"):  # before Python 3.11
            return b"SQLite format 3\0" + bytes(8000)
        return bytes(connection.serialize())


FAMILIES = (truncated, changed_bytes, odd_values, odd_structures)


@pytest.mark.parametrize("make", FAMILIES)
def test_hostile_bundles_are_shown_correctly_or_refused(
    make: Callable[[], dict[str, bytes]], tmp_path: Path
) -> None:
    """Nothing in a bundle is executed, and no file is written."""
    folder = tmp_path / "course"
    folder.mkdir()
    file, files = folder / "story.xai", make()
    outcomes = dict.fromkeys(("shown", "refused", "silent"), 0)
    for name, content in files.items():
        file.write_bytes(content)
        outcome = look(folder, name)
        outcomes[outcome] += 1
        assert [*tmp_path.rglob("*")] == [folder, file], name
        assert file.read_bytes() == content, name
    assert sum(outcomes.values()) == len(files)
    assert outcomes["refused"] >= len(files) // 3


def look(folder: Path, name: str) -> str:
    """Look up the fox in a folder's bundles, and check the result."""
    bundles = BundleFolder()
    read, sentences = bundles.read(folder, "story")
    pictures, problems = find_answers(read, REQUEST, None, {*range(200)})
    for sentence in (*sentences, *problems):
        assert re.fullmatch(r"[^\n<>]{20,200}", sentence), (name, sentence)
    for picture in pictures:
        assert picture.request is REQUEST, name
        if picture.status == "ok":
            assert digest(picture.data) == picture.sha256, name
        shown = ImageBatch([GeneratedImage(picture)])._repr_mimebundle_()["text/html"]
        assert not re.search(r"<(script|img src=x|svg|html)", shown), name
        assert "\u202e" not in picture.model, name
    return "shown" if pictures else "refused" if sentences or problems else "silent"


def test_valid_bundles_are_shown(tmp_path: Path) -> None:
    """The functions that make hostile bundles also make valid ones; texts are shown literally."""
    (tmp_path / "story.xai").write_bytes(bundle())
    assert look(tmp_path, "good") == "shown"
    (tmp_path / "story.xai").write_bytes(odd_structures()["texts"])
    assert look(tmp_path, "texts") == "shown"
    assert sum(len(make()) for make in FAMILIES) >= 200


def test_memory_is_bounded(tmp_path: Path) -> None:
    """Reading a bundle takes at most a few times its bytes."""
    kinds = odd_structures()
    for name in ("zip bomb", "huge row", "many rows", "deep", "huge number"):
        (tmp_path / "story.xai").write_bytes(kinds[name])
        tracemalloc.start()
        try:
            look(tmp_path, name)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 40 * _MIB, name


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_special_files_are_not_opened(tmp_path: Path) -> None:
    """Reading a pipe would block."""
    os.mkfifo(tmp_path / "a.xai")
    (tmp_path / "b.xai").mkdir()
    (tmp_path / "c.xai").symlink_to("nowhere")
    (tmp_path / "d.xai").write_bytes(bundle())
    assert look(tmp_path, "odd files") == "shown"


def test_a_bundle_is_read_again_only_if_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "story.xai"
    file.write_bytes(bundle())
    bundles = BundleFolder()
    (first,), _ = bundles.read(tmp_path, "story")
    (second,), _ = bundles.read(tmp_path, "story")
    assert first is second
    file.write_bytes(bundle(record(place=3)))
    os.utime(file, ns=(1, 1))
    (third,), _ = bundles.read(tmp_path, "story")
    assert third.entries[0].place == 3


def test_several_folders_are_searched_in_order(tmp_path: Path) -> None:
    """The notebook's own bundle comes first, wherever it is; missing folders are skipped."""
    own, other = tmp_path / "own", tmp_path / "other"
    for folder, names in ((own, "cd"), (other, "abs")):
        folder.mkdir()
        for name in names:
            (folder / f"{name}.xai").write_bytes(bundle())
    folders, bundles = [tmp_path / "gone", other], BundleFolder()
    read = [item.file.stem for item in bundles.read(own, "s", folders)[0]]
    assert read == ["s", "c", "d", "a", "b"]
    (other / "s.xai").rename(own / "s.xai")
    read = [item.file.parent.name for item in bundles.read(own, "s", folders)[0]]
    assert read == ["own", "own", "own", "other", "other"]
    (other / "e.xai").write_bytes(bundle())
    assert len(bundles.read(own, "s", folders)[0]) == 6


def test_all_bundles_of_a_folder_share_a_budget_of_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message names the bundle that exceeds the budget; it is used once there is room."""
    monkeypatch.setattr(bundles_module, "FOLDER_BUDGET", ReadBudget(1_000_000, 5))
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.xai").write_bytes(bundle(record(), record(place=1)))
    bundles = BundleFolder()
    read, (sentence,) = bundles.read(tmp_path, "b")
    assert [item.file.stem for item in read] == ["b", "a"]
    assert sentence.startswith("c.xai was not used: ")
    assert 'xai.unpack("c.xai")' in sentence
    (tmp_path / "a.xai").unlink()
    read, problems = bundles.read(tmp_path, "b")
    assert ([item.file.stem for item in read], problems) == (["b", "c"], [])


def test_all_bundles_of_a_folder_share_a_budget_of_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes are checked before a list is read."""
    monkeypatch.setattr(bundles_module, "FOLDER_BUDGET", ReadBudget(150_000, 100))
    for name in ("a", "b"):
        (tmp_path / f"{name}.xai").write_bytes(bundle(record(prompt="x" * 100_000)))
    read, sentences = BundleFolder().read(tmp_path, None)
    assert [item.file.stem for item in read] == ["a"]
    assert len(sentences) == 1


def test_packing_twice_writes_the_same_bytes(library: Library, save: Save, tmp_path: Path) -> None:
    """The file has the permissions of the user's other files."""
    (image,) = save("a fox", [GOOD], notebook="a.ipynb")
    file, other = tmp_path / "story.xai", tmp_path / "other"
    other.touch()
    contents = set()
    for _ in range(2):
        assert library.bundle_writer.pack(file, is_notebook="a.ipynb".__eq__).pictures == 1
        contents.add(file.read_bytes())
    assert len(contents) == 1
    assert file.stat().st_mode == other.stat().st_mode
    assert Bundle(file).read(image.sha256) == GOOD


@pytest.mark.parametrize(
    "record_",
    [record(), record(images=record()["images"] * 90)],
    ids=["lines", "pictures of few lines"],
)
def test_pictures_that_share_an_original_all_count(tmp_path: Path, record_: dict[str, Any]) -> None:
    count = 30_000 if len(record_["images"]) == 1 else 3_000
    line = json.dumps(record_).encode() + b"\n"
    many = line * min(count, 60 * _MIB // len(line))
    file = tmp_path / "story.xai"
    file.write_bytes(bundle(text=json.dumps(HEADER).encode() + b"\n" + many))
    with pytest.raises(LibraryError, match=r"story\.xai lists more than 20,000 pictures"):
        Bundle(file)


def test_a_line_with_many_brackets_is_refused(tmp_path: Path) -> None:
    """Brackets inside of a prompt do not count."""
    file = tmp_path / "story.xai"
    for odd in ([[]] * 100_000, [{"a": 1}] * 50_000, ["a"] * 50_000):
        file.write_bytes(bundle(record(more=odd)))
        with pytest.raises(LibraryError, match="damaged or not a bundle"):
            Bundle(file)
    prompt = '[{"\\' * 50_000 + "."
    file.write_bytes(bundle(record(prompt=prompt)))
    assert Bundle(file).entries[0].request.prompt == prompt


def test_overlapping_members_are_refused(tmp_path: Path) -> None:
    """The same bytes would be read for each member."""
    listed = "\n".join([json.dumps(HEADER), json.dumps(record())]).encode()
    names = [f"images/{number:064x}.jpg" for number in range(50)]
    complete = bundle(
        members=[(REQUESTS, listed), (names[0], GOOD), *((name, b"") for name in names[1:])]
    )
    with zipfile.ZipFile(io.BytesIO(complete)) as archive:
        first = archive.getinfo(names[0])
        start = archive.start_dir
    directory = bytearray(complete[start:])
    for name in names[1:]:
        at = directory.index(name.encode()) - 46
        struct.pack_into("<2L", directory, at + 20, first.file_size, first.file_size)
        struct.pack_into("<L", directory, at + 42, first.header_offset)
    file = tmp_path / "story.xai"
    file.write_bytes(complete[:start] + bytes(directory))
    with pytest.raises(LibraryError, match="damaged or not a bundle"):
        Bundle(file)


def test_a_price_or_date_out_of_bounds_is_refused(tmp_path: Path) -> None:
    for changes in (
        {"created": 253_402_300_799.0}, {"created": 0.0}, {"image": {"cost_usd": 1e9}},
    ):  # fmt: skip
        (tmp_path / "story.xai").write_bytes(bundle(record(**changes)))
        assert look(tmp_path, str(changes)) == "refused"


@pytest.mark.skipif(os.name == "nt", reason="Windows refuses such names")
@pytest.mark.parametrize("content", [b"PK", bundle()])
def test_the_name_of_a_bundle_is_shown_on_one_line(tmp_path: Path, content: bytes) -> None:
    """The name cannot forge a line or reverse the text."""
    (tmp_path / "a\nsaved as \u202ex\x1b[31m.xai").write_bytes(content)
    read, sentences = BundleFolder().read(tmp_path, None)
    pictures, _ = find_answers(read, REQUEST, None, {0})
    texts = [*sentences, *(str(picture.bundle) for picture in pictures)]
    assert len(texts) == 1
    assert texts[0].startswith("a saved as x [31m.xai")
    assert texts[0].isprintable()

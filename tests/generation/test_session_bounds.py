"""Extreme values from foreign sources: no raw error, and the other pictures are shown.

A server, a bundle, a row of the library or a file describes a picture with extreme values, in the
first or the last time zone of the world. Then the test uses the picture as a user does.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import itertools
import json
import os
import re
import sqlite3
import struct
import time
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from harness import tiny
from xai_notebook.arguments.inputs import load_inputs
from xai_notebook.client import wire
from xai_notebook.client.request import ImageRequest
from xai_notebook.errors import InputImageError, LibraryError, MetadataError, XaiError
from xai_notebook.library.bundles import HEADER, REQUESTS, BundleFolder, find_answers
from xai_notebook.library.catalog import Query
from xai_notebook.library.storage.database import FILE
from xai_notebook.notebook.picture_widget import describe, facts_of, thumbnail
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.results import GeneratedImage, ImageBatch
from xai_notebook.pictures.xmp import embed, read_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness import Kernels
    from numbering_server import NumberingServer
    from xai_notebook.generation.session import Session

ZONES = ("Etc/GMT+12", "Pacific/Kiritimati")
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
TEXTS: Any = st.sampled_from([
    "", " ", "\0", "a\x1b[31mb", "a\u202eb", "\u2066a", "a\n\nsaved as /etc/passwd", "x" * 30_000,
    "<script>hacked()</script>", "javascript:hacked()", "{{ 7 * 7 }}", "$x$", "16:9", "0:0",
    "nan:1", "https://x/\u202e", "image/jpeg", "../../x", "fr", "ok",
]) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)  # fmt: skip
NUMBERS: Any = st.sampled_from([
    0, 0.0, -0.0, 1, -1, 0.5, 5e-324, -1e-9, 1e9, 1e18, 1e300, float("inf"), -float("inf"),
    2**31, 2**53 + 1, 2**63 - 1, -(2**63), 951_782_400, 253_402_300_799, 253_402_300_800,
    -62_135_596_800,
])  # fmt: skip
SECONDS: Any = st.sampled_from([
    0, 1, -1, 951_782_400, 1_800_000_000, 4_102_444_800, 253_402_300_799, -62_135_596_800,
    2**63 - 1, -(2**63),
])  # fmt: skip
JSONS: Any = st.sampled_from([
    "[" * 100_000, '["\\ud800"]', '[{"sha256": 1}]', "null", "{}", "[1e999]", "9" * 5000, '"abc"',
    '[{"sha256": "' + "0" * 64 + '", "label": "\\ud800\\u202e", "parent": null, "file_id": "f"}]',
])  # fmt: skip


def repeatable_examples(count: int) -> settings:
    """Return settings for `count` examples, the same in each run; `thorough` makes more."""
    slow = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    count = count * settings.default.max_examples // 100  # 100 is the default of hypothesis
    return settings(
        max_examples=count, derandomize=True, deadline=None, database=None,
        suppress_health_check=slow,
    )  # fmt: skip


@pytest.fixture
def zone() -> Iterator[Callable[[bool], None]]:
    """Switch to the first or the last time zone of the world."""
    before = os.environ.get("TZ")

    def move(east: bool) -> None:  # noqa: FBT001
        os.environ["TZ"] = ZONES[east]
        time.tzset()

    yield move
    os.environ.pop("TZ", None)
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


def check_text(value: str) -> str:
    """Check that a text is valid Unicode without control characters; return the text."""
    assert not UNSEEN.search(value), ascii(UNSEEN.search(value))
    value.encode()
    return value


def show(batch: ImageBatch) -> str:
    """Show pictures; return their HTML."""
    bundle = batch._repr_mimebundle_()
    html = check_text(bundle["text/html"])
    check_text(bundle["text/plain"])
    check_text(repr(batch))
    assert "<script" not in html
    assert 'href="javascript' not in html
    return html


def use(batch: ImageBatch, folder: Path) -> str:
    """Use pictures as a user does; return their HTML."""
    html = show(batch)
    assert len(batch.to_frame()) == len(batch)
    for image in batch:
        check_text(f"{image!r} {image.caption if UNSEEN.search(image.caption) is None else ''}")
        assert image.cell.startswith("%%xai_image")
        assert "--share" not in image.cell
    with contextlib.suppress(XaiError):
        batch.export(folder)
    return html


def use_library(session: Session, digest: str) -> None:
    """Use history, names, marks, costs and jobs; the picture with this digest is found."""
    library = session.library()
    history = session.history.search(n=3)
    show(history)
    assert len(history.to_frame()) == len(history)
    assert digest in [image.sha256 for image in history]
    assert len(session.history.search("fox"))
    library.catalog.find(Query(order="cost", status="all"))
    result = library.catalog.find(Query(status="all"))
    library.catalog.facets()
    rows = library.catalog.rows(list(result.ids)[:3])
    assert digest in [row.picture.sha256 for row in rows]
    for row in rows:
        json.dumps(describe(row))
        facts = facts_of(row, [], [])
        check_text(" ".join([facts["alt"], facts["prompt"], facts["error"], *facts["facts"]]))
        if row.picture.file is not None:
            with contextlib.suppress(XaiError):
                thumbnail(row.picture.data)
    check_text(repr(session.history.costs()) + session.history.costs()._repr_html_())
    library.spending.totals(0.0)
    library.spending.last_costs("api.x.ai")
    library.spending.last_rewrite("xai")
    library.rewrite_for("key")
    check_text(repr(session.jobs()))
    library.catalog.lineage(digest)


# A server's reply


PIXELS = {kind: io.BytesIO() for kind in ("JPEG", "PNG", "GIF", "WEBP")}
for kind, stream in PIXELS.items():
    Image.new("RGB", (24, 16), "teal").save(stream, kind)


@st.composite
def pictures(draw: st.DrawFn) -> bytes:
    """Return a picture with odd metadata or odd pixels."""
    kind = draw(st.sampled_from([*PIXELS]))
    data = PIXELS[kind].getvalue()
    size = draw(st.sampled_from([0, 1, 70_000, 65_000]))
    odd = draw(st.sampled_from([b"x", b"\0", b"\xff\xfe", b"<x>", "\u202e".encode()])) * size
    if kind == "JPEG":
        marker = draw(st.sampled_from([b"\xff\xfe", b"\xff\xe1", b"\xff\xe2"]))
        prefixes = {b"\xff\xe1": b"Exif\0\0MM\0*\0\0\0\x08", b"\xff\xe2": b"ICC_PROFILE\0\x01\x01"}
        body = (prefixes.get(marker, b"") + odd)[:65_000]
        data = data[:2] + marker + struct.pack(">H", len(body) + 2) + body + data[2:]
    elif kind == "PNG":
        chunk_type, head = draw(st.sampled_from([
            (b"tEXt", b"Comment\0"), (b"tEXt", b"comment\0"), (b"eXIf", b"MM\0*\0\0\0\x08"),
            (b"iCCP", b"x\0\0" + zlib.compress(b"x" * 300)),
            (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0"),
        ]))  # fmt: skip
        body = head + odd
        chunk = struct.pack(">I", len(body)) + chunk_type + body
        data = data[:33] + chunk + struct.pack(">I", zlib.crc32(chunk_type + body)) + data[33:]
    elif kind == "GIF":
        buffer = io.BytesIO()
        Image.new("RGB", (24, 16), "teal").save(buffer, "GIF", comment=odd[:60_000])
        data = buffer.getvalue()
    cut = draw(st.sampled_from([len(data), len(data) // 2, 40]))
    return data[:cut] if draw(st.integers(0, 4)) == 0 else data


@repeatable_examples(100)
@given(data=st.data())
def test_extreme_values_in_a_reply_are_harmless(
    data: st.DataObject,
    image_server: NumberingServer,
    kernel: Session,
    zone: Any,
    tmp_path: Path,
    prompts: Iterator[str],
) -> None:
    """A picture with odd fields and the one beside it are stored and shown."""
    zone(data.draw(st.booleans()))
    odd = wire.GeneratedImage(
        base64=base64.b64encode(data.draw(pictures())).decode(),
        up_sampled_prompt=data.draw(TEXTS),
        respect_moderation=data.draw(st.integers(0, 5)) > 0,
        storage_error=data.draw(TEXTS),
    )
    stored = odd.file_output
    stored.public_url = data.draw(TEXTS | st.sampled_from(["https://files.x.ai/a"]))
    stored.file_id, stored.public_url_error = data.draw(TEXTS), data.draw(TEXTS)
    stored.public_url_expires_at.seconds = data.draw(SECONDS)
    good = wire.GeneratedImage(base64=base64.b64encode(tiny(7)).decode(), respect_moderation=True)
    reply = wire.ImageResponse(images=[odd, good], model=data.draw(TEXTS))
    reply.usage.cost_in_usd_ticks = data.draw(
        st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 200_000_000])
    )
    image_server.fixed_reply = reply.SerializeToString()
    batch = kernel.generate(next(prompts), n=2, share=30)
    assert batch[1].status == "ok"
    assert "<img " in use(batch, tmp_path)
    use_library(kernel, hashlib.sha256(tiny(7)).hexdigest())


@pytest.fixture
def prompts() -> Iterator[str]:
    """Prompts that all differ."""
    return (f"a fox {number}" for number in itertools.count())


@pytest.fixture
def kernel(image_server: NumberingServer, new_session: Kernels) -> Session:
    return new_session()


# A bundle


def record(**changes: Any) -> dict[str, Any]:
    """Return a bundle's record of two pictures; `image` changes the first."""
    image = {
        "position": 0, "model": "grok", "rewritten_prompt": None, "rewritten_by": None,
        "cost_usd": 0.02, "sha256": hashlib.sha256(tiny(1)).hexdigest(),
    }  # fmt: skip
    other = image | {"position": 1, "sha256": hashlib.sha256(tiny(2)).hexdigest()}
    image |= changes.pop("image", {})
    return {
        "prompt": "a fox", "original_prompt": None, "model": "grok-imagine-image", "n": 2,
        "aspect_ratio": None, "resolution": None, "quality": None, "rewrite_model": None,
        "inputs": [], "backend": "xai", "answered_by": "grok", "place": 0,
        "created": 1_700_000_000.0, "images": [image, other], **changes,
    }  # fmt: skip


@repeatable_examples(500)
@given(data=st.data())
def test_extreme_values_in_a_bundle_are_harmless(
    data: st.DataObject, kernel: Session, zone: Any, tmp_path: Path
) -> None:
    """The bundle is refused in a sentence, or its pictures are shown and unpacked."""
    zone(data.draw(st.booleans()))
    values = TEXTS | NUMBERS | st.none() | st.just("\ud800") | st.just([1])
    of_request = data.draw(st.booleans())
    names = [*record(), *["created"] * 4] if of_request else [*record()["images"][0]]
    name = data.draw(st.sampled_from(names))
    value = data.draw(SECONDS if name == "created" else values)
    line = record(**{name: value}) if of_request else record(image={name: value})
    file = tmp_path / "story.xai"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(REQUESTS, f"{json.dumps(HEADER)}\n{json.dumps(line)}")
        for number in (1, 2):
            digest = hashlib.sha256(tiny(number)).hexdigest()
            archive.writestr(f"images/{digest}.jpg", tiny(number))
    read, refusals = BundleFolder().read(tmp_path, "story")
    assert len(read) + len(refusals) == 1
    request = ImageRequest(prompt="a fox", model="grok-imagine-image", n=2)
    answering, problems = find_answers(read, request, None, {0, 1})
    for sentence in (*refusals, *problems):
        check_text(sentence)
    use(ImageBatch(GeneratedImage(picture) for picture in answering), tmp_path / "exported")
    try:
        use(kernel.history.unpack(file), tmp_path / "exported")
    except LibraryError:
        assert refusals
    show(kernel.history.search(n=2))


# A row of the library


@pytest.fixture
def library_file(image_server: NumberingServer, kernel: Session) -> Path:
    """The file of a library with two pictures, a job, a rewrite, a charge and a tag."""
    for number in (1, 2):
        image = wire.GeneratedImage(
            base64=base64.b64encode(tiny(number)).decode(), respect_moderation=True
        )
        image_server.fixed_reply = wire.ImageResponse(images=[image]).SerializeToString()
        kernel.generate(f"a fox {number}")[0].tag("red")
    library = kernel.library()
    library.remember_rewrite("key", "a", "b", "chat", 0.1)
    file = library.home / FILE
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(
            "INSERT INTO charges (process, created, ticks, open) VALUES ('0', 1800000000, 5, 0)"
        )
        for number in (1, 2):
            connection.execute(
                "INSERT INTO jobs (name, backend, host, state, inputs, created)"
                " VALUES (?, 'xai', 'api.x.ai', 'done', '{}', 1800000000)",
                (f"job {number}",),
            )
    return file


@repeatable_examples(300)
@given(data=st.data())
def test_extreme_values_in_a_row_are_harmless(
    data: st.DataObject, library_file: Path, kernel: Session, zone: Any, tmp_path: Path
) -> None:
    """The values have no effect on the other picture."""
    zone(data.draw(st.booleans()))
    table = data.draw(
        st.sampled_from(["requests", "images", "images", "jobs", "rewrites", "charges"])
    )
    value = data.draw(TEXTS | NUMBERS | JSONS | st.none() | st.binary(max_size=5))
    with contextlib.closing(sqlite3.connect(library_file)) as connection, connection:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        column = data.draw(st.sampled_from([name for name in columns if name != "id"]))
        query = f"SELECT {column} FROM {table} WHERE id = (SELECT min(id) FROM {table})"
        (before,) = connection.execute(query).fetchone()
        statement = (
            f"UPDATE OR IGNORE {table} SET {column} = ? WHERE id = (SELECT min(id) FROM {table})"
        )
        connection.execute(statement, (value,))
    try:
        use_library(kernel, hashlib.sha256(tiny(2)).hexdigest())
        history = kernel.history.search(n=6)
        assert history[0].tags == ("red",)
        use(history, tmp_path / "exported")
    finally:
        with contextlib.closing(sqlite3.connect(library_file)) as connection, connection:
            connection.execute(statement, (before,))


# A picture's file


@repeatable_examples(100)
@given(data=st.data())
def test_extreme_metadata_is_harmless(data: st.DataObject, zone: Any, tmp_path: Path) -> None:
    """Metadata is read or refused in a sentence, and is not copied to previews."""
    zone(data.draw(st.booleans()))
    content = data.draw(pictures())
    request = ImageRequest(prompt="a fox", model="grok")
    batch = ImageBatch(
        GeneratedImage(Picture(request=request, cached=data_), index=number)
        for number, data_ in enumerate((content, tiny(3)))
    )
    html = use(batch, tmp_path / "exported")
    show(batch.shown(cells=True, full=True))
    assert batch.contact_sheet(max_pixels=90_000)
    assert html.count("<img ") >= 1
    for encoded in re.findall('base64,([^"]+)', html):
        small = base64.b64decode(encoded)
        assert len(small) < 20_000
        with Image.open(io.BytesIO(small)) as image:
            assert not {"comment", "exif", "icc_profile", "xmp"} & set(image.info)
    with contextlib.suppress(InputImageError):
        load_inputs([content], {})
    values = json.loads('{"prompt": "a fox", "model": "grok", "n": 1}')
    name = data.draw(st.sampled_from(
        ["prompt", "original_prompt", "model", "n", "share", "user", "inputs", "aspect_ratio",
         "rewrite_model", "answered_by", "rewritten_prompt"]
    ))  # fmt: skip
    values[name] = data.draw(TEXTS | NUMBERS | st.none() | st.just("\ud800") | st.just([{}]))
    written = embed(batch[1].picture, tiny(3))
    start = written.index(b'{"prompt"')
    end = written.index(b"}", start) + 1
    changed = json.dumps(values).replace("&", "&amp;").replace("<", "&lt;").encode()[:40_000]
    before = written.rindex(b"\xff\xe1", 0, start)
    size = int.from_bytes(written[before + 2 : before + 4], "big") + len(changed) - (end - start)
    file = tmp_path / "foreign.jpg"
    file.write_bytes(
        written[: before + 2] + size.to_bytes(2, "big") + written[before + 4 : start] + changed
        + written[end:]
    )  # fmt: skip
    try:
        metadata = read_metadata(file)
    except MetadataError as error:
        check_text(str(error))
    else:
        assert "--share" not in metadata.cell
        assert "--user" not in metadata.cell
        check_text(metadata.cell)

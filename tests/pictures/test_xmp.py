"""Metadata in exported files, as we, Pillow and exiftool read it."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import time
import zlib
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.errors import MetadataError
from xai_notebook.pictures import xmp
from xai_notebook.pictures.magic_source import CHOOSE, magic_cell
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.render.grid import to_html
from xai_notebook.pictures.results import GeneratedImage, ImageBatch
from xai_notebook.pictures.xmp import ALGORITHMIC, TRAINED, embed, read_metadata

if TYPE_CHECKING:
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

    from harness import Served

KINDS = ["JPEG", "PNG"]
NASTY = 'A fox\'s "den" & <b>]]></b> --> 🦊 שלום {{ x }} \\u0041 %00\ttab'
REQUEST = ImageRequest(
    prompt="a detailed red fox",
    model="grok-imagine-image",
    n=2,
    aspect_ratio="16:9",
    resolution="2k",
    user="SECRET-user",
    inputs=(InputImage("data:SECRET", "ab" * 32, "/home/SECRET/photo.png", "cd" * 32),),
    original_prompt=NASTY,
    rewrite_model="grok-4",
)


def encode(kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture = Image.linear_gradient("L").resize((40, 30)).convert("RGB")
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def image(request: ImageRequest = REQUEST, **changes: Any) -> Picture:
    return Picture(
        request=request,
        model="grok-imagine-image-0926",
        created=datetime(2026, 11, 22, 12, tzinfo=timezone.utc),
        **{"rewritten_prompt": "a detailed red fox", "rewritten_by": "grok-4", **changes},
    )


def write(folder: Path, data: bytes) -> Path:
    path = folder / "image"
    path.write_bytes(data)
    return path


def exiftool(path: Path) -> dict[str, Any]:
    """Return what exiftool reads; skip the test if it is not installed, except in CI."""
    if not shutil.which("exiftool"):
        if os.environ.get("CI"):
            pytest.fail("exiftool is missing: apt-get install libimage-exiftool-perl")
        pytest.skip("exiftool is not installed")
    command = ["exiftool", "-json", "-G1", "-struct", "-a", "-all", "-validate", str(path)]
    output = subprocess.run(command, capture_output=True, check=True).stdout
    (values,) = json.loads(output)
    return dict(values)


@pytest.mark.parametrize("kind", KINDS)
def test_the_request_is_read_back_without_private_data(tmp_path: Path, kind: str) -> None:
    data = embed(image(), encode(kind))
    metadata = read_metadata(write(tmp_path, data))
    assert metadata.prompt == NASTY
    assert metadata.rewritten_prompt == "a detailed red fox"
    assert metadata.model == "grok-imagine-image-0926"
    assert metadata.options == {
        "aspect_ratio": "16:9", "resolution": "2k", "rewrite_model": "grok-4",
    }  # fmt: skip
    assert metadata.creator_tool.startswith("xai-notebook")
    assert metadata.digital_source_type == TRAINED
    source = InputImage("", "ab" * 32, "photo.png", "cd" * 32)
    assert metadata.request == replace(REQUEST, user=None, inputs=(source,))
    assert b"SECRET" not in data


def test_the_duration_of_sharing_is_not_written(tmp_path: Path) -> None:
    data = embed(image(replace(REQUEST, share=3.0, image_format="url")), encode("JPEG"))
    metadata = read_metadata(write(tmp_path, data))
    assert metadata.request.share is None
    assert "share" not in metadata.cell
    assert "user" not in metadata.cell
    assert b"share" not in data


@pytest.mark.parametrize("days", ["3.0", '"30"', '"30 --export=/"', "true", "[]"])
def test_foreign_options_are_ignored(tmp_path: Path, days: str) -> None:
    more = (
        f'"share": {days}, "user": "a", "max_cost": "1", "export": "/", "batch": true, '
        '"api_host": "evil", "image_format": "url", '
    )
    original = embed(image(), encode("PNG"))
    packet = xmp.find_packet(original)
    assert packet is not None
    changed = xmp.replace_packet(
        original, packet.replace(b'{"prompt"', b"{" + more.encode() + b'"prompt"')
    )
    metadata = read_metadata(write(tmp_path, changed))
    assert metadata.request == read_metadata(write(tmp_path, original)).request
    assert metadata.cell == read_metadata(write(tmp_path, original)).cell
    assert set(metadata.options) == {"aspect_ratio", "resolution", "rewrite_model"}


@pytest.mark.parametrize("kind", KINDS)
def test_exiftool_reads_the_fields(tmp_path: Path, kind: str) -> None:
    values = exiftool(write(tmp_path, embed(image(), encode(kind))))
    assert values["XMP-dc:Description"] == "a detailed red fox"
    assert values["XMP-xmp:CreatorTool"].startswith("xai-notebook")
    assert values["XMP-iptcExt:DigitalSourceType"] == TRAINED
    assert values["XMP-iptcExt:AISystemUsed"] == "grok-imagine-image-0926"
    assert values["XMP-iptcExt:AIPromptInformation"] == "a detailed red fox"
    assert values["ExifTool:Validate"] == "OK"


@pytest.mark.parametrize("kind", KINDS)
def test_exiftool_reads_special_characters(tmp_path: Path, kind: str) -> None:
    request = ImageRequest(prompt=NASTY.replace("\t", " "), model="grok")
    values = exiftool(write(tmp_path, embed(image(request, rewritten_prompt=None), encode(kind))))
    assert values["XMP-dc:Description"] == request.prompt


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "exif": Image.Exif(), "comment": "hello"}),
        ("JPEG", {"icc_profile": b"profile" * 20_000}),
        ("PNG", {}),
        ("PNG", {"icc_profile": b"profile", "dpi": (300, 300)}),
    ],
)
def test_only_the_packet_is_added_to_the_bytes(kind: str, options: dict[str, Any]) -> None:
    data = encode(kind, **options)
    marked = embed(image(), data)
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(marked)) as after:
        assert after.tobytes() == before.tobytes()
        assert after.info.get("icc_profile") == before.info.get("icc_profile")
        assert "xmp" in after.info or "XML:com.adobe.xmp" in after.info
    added = len(marked) - len(data)
    at = next(at for at, pair in enumerate(zip(data, marked, strict=False)) if pair[0] != pair[1])
    # The new part may begin with the bytes that follow it: look a little before the difference.
    assert any(
        marked[:start] + marked[start + added :] == data for start in range(max(0, at - 12), at + 1)
    )


def test_the_packet_is_after_jfif_and_exif() -> None:
    exif = Image.Exif()
    exif[0x010E] = "hello"
    marked = embed(image(), encode("JPEG", exif=exif, dpi=(72, 72)))
    jfif, xmp = marked.index(b"JFIF\0"), marked.index(b"http://ns.adobe.com/xap/1.0/\0")
    assert jfif < marked.index(b"Exif\0\0") < xmp < marked.index(b"\xff\xdb")


@pytest.mark.parametrize("kind", KINDS)
def test_embedding_twice_leaves_one_packet(tmp_path: Path, kind: str) -> None:
    data = encode(kind)
    once = embed(image(), data)
    twice = embed(image(replace(REQUEST, original_prompt="another")), once)
    assert twice.count(b"<x:xmpmeta") == twice.count(b"<xaiNotebook:request>") == 1
    assert read_metadata(write(tmp_path, twice)).prompt == "another"
    assert embed(image(), once) == embed(image(), embed(image(), once))


FOREIGN = """<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="uuid:1"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmp:CreatorTool="theirs" xmp:Rating="4"><dc:rights><rdf:Alt><rdf:li xml:lang="x-default">©
 xAI</rdf:li></rdf:Alt></dc:rights><dc:description><rdf:Alt><rdf:li xml:lang="x-default">theirs
 </rdf:li></rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


@pytest.mark.parametrize("kind", KINDS)
def test_other_fields_of_existing_xmp_are_kept(tmp_path: Path, kind: str) -> None:
    data = xmp.replace_packet(encode(kind), FOREIGN.encode())
    marked = embed(image(), data)
    assert marked.count(b"<x:xmpmeta") == 1
    assert b"theirs" not in marked
    assert read_metadata(write(tmp_path, marked)).creator_tool.startswith("xai-notebook")
    values = exiftool(tmp_path / "image")
    assert values["XMP-xmp:Rating"] == 4
    assert values["XMP-dc:Rights"].startswith("©")
    assert values["XMP-dc:Description"] == "a detailed red fox"
    assert values["ExifTool:Validate"] == "OK"


@pytest.mark.parametrize(
    "old",
    [
        b"no XML at all",
        b"<a/>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        FOREIGN.encode("utf-16"),
        b"<a>" * 3000 + b"</a>" * 3000,
        FOREIGN.replace("theirs", "x" * 64_000, 1).encode(),
    ],
    ids=["text", "other XML", "DTD", "UTF-16", "deep", "large"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_unusable_packets_are_replaced(tmp_path: Path, kind: str, old: bytes) -> None:
    data = xmp.replace_packet(encode(kind), old)
    assert read_metadata(write(tmp_path, embed(image(), data))).prompt == NASTY


@pytest.mark.parametrize(
    "markup",
    [
        "<q:a/>",
        "<dc:description/>",
        "<q:a>" * 7 + "</q:a>" * 7,
        "<!---->",
        '</rdf:Description><rdf:Description rdf:about="">',
    ],
)
def test_a_packet_with_too_much_markup_is_not_parsed(tmp_path: Path, markup: str) -> None:
    packet = FOREIGN.replace("xmlns:dc=", 'xmlns:q="q" xmlns:dc=', 1)
    packet = packet.replace("</rdf:Description>", markup * (2_000_000 // len(markup)), 1)
    packet = packet.replace("</rdf:RDF>", "</rdf:Description></rdf:RDF>", 1)
    data = xmp.replace_packet(encode("PNG"), packet.encode())
    begin = time.process_time()
    marked = embed(image(), data)
    assert time.process_time() - begin < 3
    assert read_metadata(write(tmp_path, marked)).prompt == NASTY
    assert len(marked) < 100_000


@pytest.mark.parametrize(
    "prompt", ["x" * 5000, "狐" * 5000, "🦊" * 5000, "&<" * 20_000, "\x01" * 9000]
)
@pytest.mark.parametrize("kind", KINDS)
def test_long_prompts_fit_or_are_cut(tmp_path: Path, kind: str, prompt: str) -> None:
    request = ImageRequest(prompt=prompt, model="grok", original_prompt="short")
    data = embed(image(request), encode(kind))
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
    metadata = read_metadata(write(tmp_path, data))
    if len(prompt) == 5000 or kind == "PNG":
        assert metadata.request.prompt == prompt
    else:
        assert prompt.startswith(metadata.request.prompt.removesuffix("…"))
        assert len(metadata.request.prompt) >= 4000


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    prompt=st.text(min_size=1, max_size=60).map(str.strip).filter(bool), kind=st.sampled_from(KINDS)
)
def test_any_prompt_is_read_back(tmp_path: Path, prompt: str, kind: str) -> None:
    request = ImageRequest(prompt=prompt, model="grok")
    data = embed(image(request, rewritten_prompt=prompt), encode(kind))
    metadata = read_metadata(write(tmp_path, data))
    assert (metadata.request.prompt, metadata.rewritten_prompt) == (prompt, prompt)


@pytest.mark.parametrize("kind", ["WEBP", "GIF"])
def test_other_formats_are_unchanged(kind: str) -> None:
    data = encode(kind)
    assert embed(image(), data) == data


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keep", [3, 9, 20, 40, 70])
def test_broken_files_are_unchanged(kind: str, keep: int) -> None:
    data = encode(kind)[:keep]
    assert embed(image(), data) == data
    assert xmp.find_packet(data) is None


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe1"]),
    st.binary(max_size=200),
)
def test_random_bytes_do_not_raise(start: bytes, rest: bytes) -> None:
    data = start + rest
    assert len(embed(image(), data)) >= len(data) or b"xap/1.0" in data
    xmp.find_packet(data)


def test_compressed_png_text_is_read(tmp_path: Path) -> None:
    def with_text(packet: bytes) -> bytes:
        body = b"iTXtXML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet)
        chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
        data = encode("PNG")
        return data[:33] + chunk + data[33:]

    packet = xmp.find_packet(embed(image(), encode("PNG")))
    assert packet
    assert read_metadata(write(tmp_path, with_text(packet))).prompt == NASTY
    with pytest.raises(MetadataError):
        read_metadata(write(tmp_path, with_text(packet + b" " * (50 << 20))))


def test_a_file_without_metadata_raises_metadata_error(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match="has no data about its prompt"):
        read_metadata(write(tmp_path, encode("JPEG")))
    with pytest.raises(MetadataError, match="has no data"):
        read_metadata(write(tmp_path, xmp.replace_packet(encode("PNG"), FOREIGN.encode())))
    with pytest.raises(MetadataError, match="No such file"):
        read_metadata(tmp_path / "missing.jpg")
    for path in (tmp_path, "/dev/zero", "~nobody-of-that-name/x.jpg"):
        with pytest.raises(MetadataError, match="Cannot read"):
            read_metadata(path)


def test_doctype_is_refused(tmp_path: Path) -> None:
    packet = xmp.find_packet(embed(image(), encode("PNG")))
    assert packet
    bomb = b'<!DOCTYPE x [<!ENTITY a "' + b"a" * 1000 + b'">]>'
    evil = packet.replace(b"<x:xmpmeta", bomb + b"<x:xmpmeta").replace(b"photo.png", b"&a;")
    with pytest.raises(MetadataError, match="has no data"):
        read_metadata(write(tmp_path, xmp.replace_packet(encode("PNG"), evil)))


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", "null", "{}", '"x"', '{"prompt": 1, "model": "m", "n": 1}',
        '{"prompt": "p", "model": "m", "n": "4"}', '{"prompt": "p", "model": "m", "n": 1000}',
        '{"prompt": "p", "model": "m", "n": true}',
        '{"prompt": "p", "model": "m", "n": 1, "inputs": [1]}',
        '{"prompt": "p", "model": "m", "n": 1, "aspect_ratio": ["16:9"]}',
        "[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_request_raises_metadata_error(tmp_path: Path, text: str) -> None:
    properties = {**xmp._properties(image(), None, None), "xaiNotebook:request": text}
    packet = xmp._packet(properties, None)
    path = write(tmp_path, xmp.replace_packet(encode("PNG"), packet))
    with pytest.raises(MetadataError, match="damaged"):
        read_metadata(path)


def test_properties_as_attributes_are_read(tmp_path: Path) -> None:
    """Other tools write XMP's short form."""
    packet = xmp.find_packet(embed(image(), encode("PNG")))
    assert packet
    tool = packet.split(b"<xmp:CreatorTool>")[1].split(b"</xmp:CreatorTool>")[0]
    short = packet.replace(b"<xmp:CreatorTool>" + tool + b"</xmp:CreatorTool>", b"")
    short = short.replace(b'rdf:about=""', b'rdf:about="" xmp:CreatorTool="%s"' % tool)
    metadata = read_metadata(write(tmp_path, xmp.replace_packet(encode("PNG"), short)))
    assert metadata.creator_tool == tool.decode()


def test_metadata_survives_an_edit_with_exiftool(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(embed(image(), encode("JPEG")))
    exiftool(path)
    command = ["exiftool", "-q", "-overwrite_original", "-XMP-xmp:Rating=3", str(path)]
    subprocess.run(command, check=True)
    assert read_metadata(path).request.original_prompt == NASTY


def test_the_cell_is_made_from_the_request(tmp_path: Path) -> None:
    metadata = read_metadata(write(tmp_path, embed(image(), encode("JPEG"))))
    assert metadata.cell.replace(CHOOSE, "") == magic_cell(metadata.request)


def test_options_of_a_file_stay_on_one_line(tmp_path: Path) -> None:
    request = ImageRequest(
        prompt="p", model="m\n!rm", quality="low\r%", inputs=(InputImage("", "ab", "x\ny"),)
    )
    metadata = read_metadata(write(tmp_path, embed(image(request), encode("PNG"))))
    assert (metadata.request.model, metadata.request.quality) == ("m?!rm", "low?%")
    assert metadata.request.inputs[0].label == "x?y"


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("/home/me/photo.png", "photo.png"),
        ("C:\\Users\\me\\photo.png", "photo.png"),
        ("https://me:pass@example.org/a/b.png?signature=1#x", "https://example.org/a/b.png"),
        ("data:image/png;base64,AAAA", "data URI"),
        ("batch[0]", "batch[0]"),
        ("http://[", "URL"),
    ],
)
def test_names_of_input_images_have_no_private_data(label: str, expected: str) -> None:
    assert xmp._public_name(InputImage("", "ab", label)) == expected


# Content Credentials


def box(kind: bytes, body: bytes) -> bytes:
    return (len(body) + 8).to_bytes(4, "big") + kind + body


def manifest(uuid: str = "6332706100110010800000AA00389B71", label: bytes = b"c2pa") -> bytes:
    """Return a JUMBF superbox as C2PA writes it, of about 70 kB."""
    described = box(b"jumd", bytes.fromhex(uuid) + b"\3" + label + b"\0")
    return box(b"jumb", described + box(b"free", bytes(70_000)))


def credentialed(kind: str, store: bytes) -> bytes:
    data = encode(kind)
    if kind == "PNG":
        chunk = b"caBX" + store
        length = len(store).to_bytes(4, "big")
        return data[:33] + length + chunk + zlib.crc32(chunk).to_bytes(4, "big") + data[33:]
    if kind == "WEBP":
        data += b"C2PA" + len(store).to_bytes(4, "little") + store + b"\0" * (len(store) % 2)
        return data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]
    segments = b""
    for number, at in enumerate(range(8, len(store), 60_000), 1):  # each repeats the box's head
        body = b"JP\0\1" + number.to_bytes(4, "big") + store[:8] + store[at : at + 60_000]
        segments += b"\xff\xeb" + (len(body) + 2).to_bytes(2, "big") + body
    return data[:20] + segments + data[20:]


@pytest.mark.parametrize("kind", [*KINDS, "WEBP"])
def test_a_file_with_content_credentials_is_unchanged(tmp_path: Path, kind: str) -> None:
    data = credentialed(kind, manifest())
    picture = GeneratedImage(image(cached=data, size=(40, 30)))
    for _ in range(2):
        assert picture.export(tmp_path).read_bytes() == data
    (note,) = picture.notes
    assert "Content Credentials" in note
    assert embed(picture.picture, data) == data
    batch = ImageBatch([picture])
    assert repr(batch).count(note) == to_html(batch).count(note) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_exiftool_reads_our_test_credentials(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, credentialed(kind, manifest()))
    assert "c2pa" in exiftool(path).values()


def test_other_jumbf_boxes_are_not_content_credentials(tmp_path: Path) -> None:
    other = credentialed("JPEG", manifest("00" * 16, b"other"))
    hdr = encode("JPEG")[:20] + b"\xff\xeb\0\x09HDR_RI" + b"x" + encode("JPEG")[20:]
    for data in (other, hdr):
        picture = GeneratedImage(image(cached=data))
        assert read_metadata(picture.export(tmp_path)).prompt == NASTY
        assert picture.notes == ()


# From the magic to the file

MAGIC = "%xai_image --aspect-ratio 3:4 --model grok-imagine-image-2.0 {} -- a fox's “tail” & 20 %"


@pytest.mark.parametrize("kind", KINDS)
def test_the_cell_of_an_export_makes_the_request_again(
    shell: InteractiveShell, keyed: Served, kind: str
) -> None:
    keyed.faults.garbage = data = encode(kind)
    batch: Any = shell.run_cell(MAGIC.format("--export")).result
    assert batch[0].exported.read_bytes() != data
    first = keyed.last
    cell = read_metadata(batch[0].exported).cell
    shell.run_cell(cell.replace("%%xai_image", "%%xai_image --fresh"))
    assert len(keyed.calls) == 2
    assert keyed.last == first


def test_a_local_preview_is_not_declared_as_made_by_a_model(shell: InteractiveShell) -> None:
    batch: Any = shell.run_cell("%xai_image --local --export a red fox").result
    metadata = read_metadata(batch[0].exported)
    assert (metadata.model, metadata.digital_source_type) == ("local-preview", ALGORITHMIC)


def test_without_metadata_the_file_has_the_servers_bytes(
    shell: InteractiveShell, keyed: Served
) -> None:
    keyed.faults.garbage = data = encode("JPEG")
    batch: Any = shell.run_cell(MAGIC.format("--export --no-metadata")).result
    assert batch[0].exported.read_bytes() == data

"""Input images: names, variables, files, URLs, and values that are refused."""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xai_notebook.arguments.inputs import load_inputs
from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.errors import InputImageError
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.results import GeneratedImage, ImageBatch
from xai_notebook.settings import MAX_INPUT_IMAGE_BYTES


def encode(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


JPEG = encode(Image.new("RGB", (64, 48), "teal"))
PNG = encode(Image.new("RGB", (64, 48), "teal"), "PNG")
WEBP = encode(Image.new("RGB", (64, 48), "teal"), "WEBP")


def load(value: Any, **namespace: Any) -> InputImage:
    """Return the one image that `value` stands for."""
    (image,) = load_inputs([value], namespace).images
    return image


def sent_bytes(image: InputImage) -> bytes:
    """Return the bytes that are sent for an image."""
    return base64.b64decode(image.url.partition(",")[2])


def generated(data: bytes = JPEG, **values: Any) -> GeneratedImage:
    request = ImageRequest(prompt="a fox", model="grok-imagine-image")
    return GeneratedImage(Picture(request=request, cached=data, sha256="5ha", **values))


@pytest.mark.parametrize("data", [JPEG, PNG, WEBP], ids=["jpeg", "png", "webp"])
def test_accepted_formats_are_sent_unchanged(data: bytes, tmp_path: Path) -> None:
    """The digest of a file, of its bytes and of their data URI is the same."""
    path = tmp_path / "a picture.bin"
    path.write_bytes(data)
    uri = "data:image/x;base64," + base64.b64encode(data).decode()
    for value in (str(path), path, data, bytearray(data), memoryview(data), uri):
        assert sent_bytes(load(value)) == data
    assert len({load(value).sha256 for value in (str(path), data, uri)}) == 1


def test_a_variable_takes_precedence_over_a_file_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat").write_bytes(PNG)
    assert sent_bytes(load("cat")) == PNG
    assert sent_bytes(load("cat", cat=JPEG)) == JPEG


def test_variables_may_hold_paths_urls_and_lists(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    assert sent_bytes(load("it", it=str(path))) == PNG
    assert sent_bytes(load("it", it=path)) == PNG
    assert load("it", it="https://example.org/cat.png").url == "https://example.org/cat.png"
    assert len(load_inputs(["it"], {"it": [PNG, JPEG]}).images) == 2
    assert sent_bytes(load("it[-1]", it=[PNG, JPEG])) == JPEG


def test_a_long_name_is_complete_in_labels_and_short_in_messages(tmp_path: Path) -> None:
    url = "https://example.org/a%20" + "a" * 300 + ".png?signature=1"
    assert load(url).label == load(url).url == url
    path = tmp_path / ("b" * 200 + ".png")
    path.write_bytes(PNG)
    assert load(str(path)).label == load(path).label == str(path)
    with pytest.raises(InputImageError) as caught:
        load_inputs([str(path) + "c"], {})
    assert len(str(caught.value)) < 500


def test_an_earlier_result_is_sent_as_received_and_is_the_parent() -> None:
    image = load("foxes[0]", foxes=ImageBatch([generated()]))
    assert sent_bytes(image) == JPEG
    assert image.parent == "5ha"
    assert image.label == "foxes[0]"


def test_a_batch_stands_for_its_pictures_without_failed_ones() -> None:
    batch = ImageBatch([generated(), generated(status="moderated"), generated()])
    images = load_inputs(["foxes"], {"foxes": batch}).images
    assert [image.label for image in images] == ["foxes[0]", "foxes[2]"]


def test_an_image_over_the_limit_is_scaled_with_a_note() -> None:
    noise = Image.frombytes("RGB", (2600, 2600), os.urandom(2600 * 2600 * 3))
    data = encode(noise, "PNG", compress_level=0)
    assert len(data) > MAX_INPUT_IMAGE_BYTES
    loaded = load_inputs(["photo"], {"photo": data})
    assert len(sent_bytes(loaded.images[0])) <= MAX_INPUT_IMAGE_BYTES
    note = r"photo: scaled to \d+ × \d+, because it has more than 10 MiB\."
    assert re.fullmatch(note, loaded.notes[0])


class Broken:
    """An object that raises at every access."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no")

    __getitem__ = __getattr__


@pytest.mark.skipif(os.name == "nt", reason="POSIX devices and pipes")
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nope.png", "--image nope.png: No such file or directory."),
        (".", "--image .: Is a directory."),
        ("a\0b", "--image"),
        (b"", "--image bytes is empty; the API accepts PNG, JPEG and WebP. Give another file."),
        (bytes(9), "no known image"),
        (b"GIF89a" + bytes(9), "cannot be decoded. Is the file complete?"),
        (JPEG[:200], "cannot be decoded. Is the file complete?"),
        ("number", "--image number is a value of type int"),
        ("batch", "--image batch contains no picture to edit."),
        ("batch[4]", "--image batch[4]: there is no image 4; the batch has 1."),
        ("number[0]", "--image number[0]:"),
        ("failed", "--image failed is not a picture: withheld"),
        ("array", "an array of shape (2, 2, 9) cannot be sent: "),
        ("data:image/png", "the data URI has no comma"),
        ("data:image/png;base64,@@@", "the data URI is not valid: "),
        ("data:image/png;base64,ÄÖÜ", "the data URI is not valid: "),
        ("data:image/png,\udc80", "the data URI is not valid: "),
        ("~nobody-of-that-name/x.png", "--image ~nobody-of-that-name/x.png: Could not determine"),
        ("/dev/zero", "--image /dev/zero: Not a regular file. --image takes a path"),
        ("pipe", "--image pipe: Not a regular file."),
        ("sparse.png", "--image sparse.png: More than 128 MiB."),
        ("empty", "--image empty: an array of shape (0, 0, 3) cannot be sent: "),
        ("unsized", "--image unsized: this image cannot be sent: it has 0 × 0 pixels."),
        ("huge", "--image huge: this image cannot be sent: it has 9000 × 9000 pixels."),
        ("broken", "--image broken: an array of shape ? cannot be sent: no."),
        ("broken[0]", "--image broken[0]: no."),
        ("circle", ": the list is nested too deeply, or contains itself."),
        ("many", "1000 input images are more than the maximum of 5."),
        ("six", "6 input images are more than the maximum of 5."),
    ],
)
def test_values_that_are_not_images_are_refused_in_one_line(
    value: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    request = ImageRequest(prompt="a fox", model="m")
    failed = GeneratedImage(Picture(request=request, status="moderated", error="withheld"))
    os.mkfifo("pipe")
    with Path("sparse.png").open("wb") as stream:
        stream.truncate(1 << 40)
    circle: list[Any] = []
    circle.append(circle)
    names = {
        "empty": np.zeros((0, 0, 3), np.uint8),
        "unsized": Image.new("RGB", (0, 0)),
        "huge": Image.new("1", (9000, 9000)),
        "broken": Broken(),
        "circle": circle,
        "many": [Broken()] * 1000,
        "number": 3,
        "batch": ImageBatch([failed]),
        "failed": failed,
        "array": np.zeros((2, 2, 9), np.uint8),
        "six": [JPEG] * 6,
    }
    with pytest.raises(InputImageError, match=re.escape(message)) as caught:
        load_inputs([value], names)
    assert "\n" not in str(caught.value)


def test_a_long_data_uri_does_not_fill_the_message() -> None:
    with pytest.raises(InputImageError) as caught:
        load_inputs(["data:image/png;base64," + "AAAA" * 5000], {})
    assert len(str(caught.value)) < 300


def test_nested_lists_are_counted_before_they_are_read() -> None:
    """A hundred million images would take minutes to refuse."""
    images: Any = b""
    for _ in range(8):
        images = [images] * 10
    with pytest.raises(InputImageError, match="10 input images are more than the maximum of 5"):
        load_inputs([images], {})


def test_a_path_of_bytes_is_a_path(tmp_path: Path) -> None:
    """`os.scandir` returns such paths for a folder whose name is bytes."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (entry,) = os.scandir(os.fsencode(tmp_path))
    assert len(load_inputs([entry], {}).images) == 1

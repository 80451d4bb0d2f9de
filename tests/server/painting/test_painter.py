"""Pictures: sizes, determinism, colours, edits."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys

import pytest
from PIL import Image, ImageChops, ImageStat

from xai_notebook import settings
from xai_notebook.server.painting.painter import paint, picture_size

SIZES = {
    "1:1": (1024, 1024), "3:4": (880, 1184), "4:3": (1184, 880), "9:16": (768, 1360),
    "16:9": (1360, 768), "2:3": (832, 1248), "3:2": (1248, 832), "9:19.5": (688, 1504),
    "19.5:9": (1504, 688), "9:20": (688, 1520), "20:9": (1520, 688), "1:2": (720, 1456),
    "2:1": (1456, 720),
}  # fmt: skip
PROMPTS = [
    "a red fox in fresh snow, golden hour", "a lighthouse in a storm at night",
    "a green bicycle against a yellow wall", "an astronaut cat on the moon, watercolor",
    "Tokyo street in the rain, neon", "a calm lake in autumn mountains",
    "a pencil sketch of a castle with a dragon", "a whale under water, oil painting",
    "a city skyline at night", "a field of tulips", "a tower by the sea in winter",
    "a rocket in space", "ein Haus im Wald, vintage",
    "a rainbow and an aurora over the desert, pixel art", "幸せ", "🦊",
]  # fmt: skip


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def difference(first: bytes, second: bytes) -> float:
    """Return the mean difference of two pictures in levels of 0 to 255."""
    changed = ImageChops.difference(opened(first), opened(second))
    return sum(ImageStat.Stat(changed).mean) / 3


def ratio(name: str) -> float:
    across, down = (float(part) for part in name.split(":"))
    return across / down


@pytest.mark.parametrize("name", settings.ASPECT_RATIOS)
@pytest.mark.parametrize("resolution", settings.RESOLUTIONS)
def test_pictures_of_every_ratio_have_about_1_or_4_megapixels(name: str, resolution: str) -> None:
    """Their sides are multiples of 16."""
    width, height = picture_size(ratio(name), resolution)
    assert width % 16 == 0
    assert height % 16 == 0
    assert width / height == pytest.approx(ratio(name), rel=0.025)
    assert width * height == pytest.approx({"1k": 1 << 20, "2k": 4 << 20}[resolution], rel=0.03)
    if resolution == "1k":
        assert (width, height) == SIZES[name]


@pytest.mark.parametrize(("name", "resolution"), [("20:9", "1k"), ("9:19.5", "1k"), ("1:1", "2k")])
def test_pictures_have_the_requested_size(name: str, resolution: str) -> None:
    data = paint("a boat on a lake", aspect_ratio=name, resolution=resolution)
    assert opened(data).size == picture_size(ratio(name), resolution)


def test_a_picture_has_the_same_bytes_in_every_process() -> None:
    """The hash seed of the process changes no picture."""
    prompt = "a red fox in the snow, watercolor"
    code = (
        "import sys; from xai_notebook.server.painting.painter import paint;"
        f"sys.stdout.buffer.write(paint({prompt!r}, index=1))"
    )
    picture = paint(prompt, index=1)
    for seed in ("1", "2"):
        command = [sys.executable, "-c", code]
        assert subprocess.check_output(command, env={"PYTHONHASHSEED": seed}) == picture


def test_pictures_of_a_prompt_differ_by_more_than_noise() -> None:
    pictures = [paint("a castle on a hill", index=index) for index in range(4)]
    assert min(difference(pictures[0], picture) for picture in pictures[1:]) > 10


@pytest.mark.parametrize("prompt", PROMPTS)
def test_every_prompt_gives_contrast_and_many_tones(prompt: str) -> None:
    image = opened(paint(prompt))
    assert image.format == "JPEG"
    assert max(ImageStat.Stat(image.convert("L")).stddev) > 10
    assert sum(1 for count in image.convert("L").histogram() if count > 50) > 20


def test_a_yellow_wall_is_yellow() -> None:
    image = opened(paint("a green bicycle against a yellow wall", index=0))
    red, green, blue = image.getpixel((image.width // 2, image.height // 4))  # type: ignore[misc]
    assert red > 150
    assert green > 100
    assert blue < 130


def test_night_is_darker_than_day() -> None:
    night, day = (
        ImageStat.Stat(opened(paint(f"a house in a meadow at {time}")).convert("L")).mean[0]
        for time in ("night", "noon")
    )
    assert night < day * 0.7


@pytest.mark.parametrize(
    "prompt",
    ["make it night", "snow", "watercolor", "paint it red", "foggy", "add a dragon", "zzz"],
)
def test_an_edit_shows_the_input_visibly_changed(prompt: str) -> None:
    base = paint("a house in a meadow at noon")
    edited = paint(prompt, inputs=[opened(base)])
    assert 1.5 < difference(base, edited) < 110


def test_two_inputs_are_side_by_side() -> None:
    inputs = [Image.new("RGB", (300, 300), colour) for colour in ("#d02020", "#2030d0")]
    image = opened(paint("zzz", inputs=inputs))
    assert image.size == (1024, 1024)
    left = image.getpixel((200, 512))
    right = image.getpixel((824, 512))
    assert left[0] - left[2] > right[0] - right[2] + 60  # type: ignore[index]


def test_a_picture_has_less_than_400_kilobytes() -> None:
    assert len(paint("a calm lake in autumn mountains")) < 400_000


def test_edits_add_no_ground() -> None:
    base = Image.new("RGB", (256, 256), "#808080")
    edited = opened(paint("add a sunflower", inputs=[base], index=0))
    for box in ((0, 0, 8, 8), (1016, 0, 1024, 8), (0, 960, 8, 968), (1016, 960, 1024, 968)):
        red, green, blue = ImageStat.Stat(edited.crop(box)).mean
        assert max(red, green, blue) - min(red, green, blue) < 24


def test_clouds_have_no_hard_base() -> None:
    """No row of an overcast sky differs abruptly from the row above."""
    grey = opened(paint("a meadow under clouds at noon", index=1)).convert("L")
    rows = list(grey.crop((0, 0, 1024, 380)).resize((1, 380)).tobytes())
    assert max(abs(upper - lower) for upper, lower in itertools.pairwise(rows)) < 5

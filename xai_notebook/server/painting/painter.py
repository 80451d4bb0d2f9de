"""Paints a picture from a prompt or edits input images, with the same result on every machine."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageChops, ImageFilter, ImageOps

from xai_notebook.server.painting.canvas import Canvas, gradient, levels, saturation, toned, veil
from xai_notebook.server.painting.colours import mix, parse_colours
from xai_notebook.server.painting.figures import choices
from xai_notebook.server.painting.scene import make_palette, read_scene
from xai_notebook.server.painting.scenery import add_weather, lightning, moon, paint_scenery, stars
from xai_notebook.server.painting.styles import finish, working_size
from xai_notebook.server.painting.subjects import paint_subjects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xai_notebook.server.painting.colours import Colour
    from xai_notebook.server.painting.scene import Palette, Scene

_SEAM: Final = 0.06
"""Width of the soft seam between two inputs, as a fraction of the picture's width."""
_LIGHT: Final = "light.ini"


def paint_inputs(
    images: Sequence[Image.Image], scene: Scene, palette: Palette, size: tuple[int, int]
) -> Canvas:
    """Return a canvas with the input images, changed according to the prompt.

    Args:
        images: Input images in RGB. One image fills the picture; several images are placed side by
            side and blended at the seams.
        scene: The scene of the prompt. Only properties that the prompt names are applied.
        palette: The colours of the scene.
        size: Width and height of the result, in pixels.
    """
    base = _collage(images, size)
    changed = False
    if "time" in scene.named:
        base, changed = _relight(base, scene), True
    elif scene.style == "neon":  # neon needs a dark picture
        base, changed = _tinted(base, (112, 84, 196), (140, 104, 196)), True
    if "season" in scene.named:
        base, changed = _tinted(base, *_tint("tint of a season", scene.season)), True
    if scene.weather in {"snow", "fog", "rain", "storm"} and "weather" in scene.named:
        base, changed = _weathered(base, scene), True
    for colour in (scene.colours[0] if scene.colours else None, scene.backdrop, scene.sky):
        if colour is not None:
            base, changed = _recoloured(base, colour), True
    if not (changed or scene.style or scene.subjects):
        # The prompt has no known word: grade the colours, so that the edit is visible.
        base = _graded(base, palette)
    canvas = Canvas(base)
    if scene.time == "night" and "time" in scene.named:
        _night_sky(canvas, scene, palette)
    return canvas


def _collage(images: Sequence[Image.Image], size: tuple[int, int]) -> Image.Image:
    if len(images) == 1:
        return _fit(images[0], size)
    seam = round(size[0] * _SEAM)
    column = size[0] // len(images)
    picture = Image.new("RGB", size)
    for number, image in enumerate(images):
        left = number * column - (seam if number else 0)
        right = size[0] if number == len(images) - 1 else (number + 1) * column
        part = _fit(image, (right - left, size[1]))
        mask = Image.new("L", part.size, 255)
        if number:
            ramp = Image.linear_gradient("L").rotate(90).resize((seam, size[1]))
            mask.paste(ramp, (0, 0))
        picture.paste(part, (left, 0), mask)
    return picture


def _fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the centre of `image`, cropped and scaled to `size`."""
    times = min(image.width / size[0], image.height / size[1])
    wide, high = size[0] * times, size[1] * times
    left, top = (image.width - wide) / 2, (image.height - high) / 2
    box = (left, top, left + wide, top + high)
    return image.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=2.0)


def _tinted(image: Image.Image, above: Colour, below: Colour | None = None) -> Image.Image:
    """Return `image` multiplied by a colour, or by a vertical gradient of two colours."""
    return ImageChops.multiply(image, gradient(image.size, (above, below or above)))


def _tint(section: str, name: str) -> tuple[Colour, ...]:
    """Return the colours of a tint: one colour, or an upper and a lower colour."""
    return parse_colours(*choices(_LIGHT)[section][name])


def _relight(image: Image.Image, scene: Scene) -> Image.Image:
    (strength,) = choices(_LIGHT)["saturation of a time"][scene.time]
    # Remove the light of earlier edits; otherwise each edit makes the picture darker.
    image = ImageOps.autocontrast(image, cutoff=(0.5, 1.5))
    if scene.time != "night":
        image = image.point(levels(lambda v: v * 1.08) * 3)
    return _tinted(saturation(image, float(strength)), *_tint("tint of a time", scene.time))


def _weathered(image: Image.Image, scene: Scene) -> Image.Image:
    if scene.weather == "snow":
        # Snow: whiten the light parts; make the other colours paler.
        pale = saturation(image, 0.45)
        mask = image.convert("L").point(levels(lambda v: min(200, (v - 70) * 2)))
        veil(pale, (240, 246, 255), mask)
        return Image.blend(image, pale, 0.7)
    if scene.weather == "fog":
        mist = gradient(image.size, ((232, 234, 238), (214, 218, 224)))
        half = image.reduce(2).filter(ImageFilter.BoxBlur(0.5))
        soft = half.resize(image.size, Image.Resampling.BILINEAR)
        return Image.blend(soft, mist, 0.36)
    return _tinted(saturation(image, 0.6), (140, 152, 176), (190, 200, 214))


def _recoloured(image: Image.Image, colour: Colour) -> Image.Image:
    """Return `image` with its middle tones shifted towards `colour`."""
    dark, light = mix(colour, (14, 12, 30), 0.82), mix(colour, (255, 255, 255), 0.85)
    return Image.blend(image, toned(image.convert("L"), dark, light, colour), 0.55)


def _graded(image: Image.Image, palette: Palette) -> Image.Image:
    dark, light = mix(palette.sky[0], (16, 14, 34), 0.6), mix(palette.sky[2], (255, 255, 255), 0.4)
    return Image.blend(image, toned(image.convert("L"), dark, light, palette.sky[1]), 0.42)


def _night_sky(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    stars(canvas, scene.dice("stars"), bottom=0.38, count=90)
    x, y = canvas.width * scene.shot.sun_x, canvas.height * 0.14
    moon(canvas, scene, palette, (x, y, canvas.unit * 0.05))


_SIDES: Final = {"1k": 1024, "2k": 2048}
"""Side of a square picture, in pixels."""
_GRID: Final = 16
_WIDEST: Final = 20 / 9
_JPEG_QUALITY: Final = {"low": 78, "medium": 88}


def picture_size(ratio: float, resolution: str = "1k") -> tuple[int, int]:
    """Return width and height in pixels, multiples of 16.

    Args:
        ratio: Width divided by height.
        resolution: `"1k"` for about 1 megapixel, or `"2k"` for about 4 megapixels.
    """
    side = _SIDES[resolution]
    return (
        round(side * math.sqrt(ratio) / _GRID) * _GRID,
        round(side / math.sqrt(ratio) / _GRID) * _GRID,
    )


def paint(
    prompt: str,
    *,
    index: int = 0,
    aspect_ratio: str | None = None,
    resolution: str = "1k",
    quality: str = "medium",
    model: str = "",
    inputs: Sequence[Image.Image] = (),
) -> bytes:
    """Return picture `index` of `prompt` as a JPEG.

    Args:
        prompt: Any text, in any language.
        index: Number of the picture, from 0. Each number gives a different picture.
        aspect_ratio: Width to height, such as `"16:9"`. None uses the ratio of the input if
            there is exactly one; otherwise the picture is square.
        resolution: `"1k"` or `"2k"`.
        quality: `"low"` or `"medium"`.
        model: Name of the model. Each name gives different pictures.
        inputs: Images to edit, in RGB.
    """
    scene = read_scene(prompt, index, model)
    palette = make_palette(scene)
    size = picture_size(_ratio(aspect_ratio, inputs), resolution)
    work = working_size(scene, size)
    if inputs:
        canvas = paint_inputs(inputs, scene, palette, work)
    else:
        canvas = paint_scenery(scene, palette, work)
    if scene.weather == "storm" and scene.setting not in {"room", "space", "underwater"}:
        lightning(canvas, scene)
    paint_subjects(canvas, scene, palette, scenery=not inputs)
    if not inputs or scene.named & {"weather", "season"}:
        add_weather(canvas, scene, palette)
    stream = io.BytesIO()
    finish(canvas.image, scene, size, vignette=not inputs).save(
        stream, "JPEG", quality=_JPEG_QUALITY[quality], subsampling="4:2:0"
    )
    return stream.getvalue()


def _ratio(aspect_ratio: str | None, inputs: Sequence[Image.Image]) -> float:
    if aspect_ratio is not None:
        across, down = (float(part) for part in aspect_ratio.split(":"))
        return across / down
    if len(inputs) == 1:
        return min(_WIDEST, max(1 / _WIDEST, inputs[0].width / inputs[0].height))
    return 1.0

"""Paints a picture from a prompt, step by step: the same one every time, on every machine."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Final

from xai_notebook.server.painting.editing import set_inputs
from xai_notebook.server.painting.finish import finish, working_size
from xai_notebook.server.painting.palette import make_palette
from xai_notebook.server.painting.places import set_scene
from xai_notebook.server.painting.scene import read_scene
from xai_notebook.server.painting.subjects import place_subjects
from xai_notebook.server.painting.weather import fall, lightning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

__all__ = ["paint", "picture_size"]

_SIDES: Final = {"1k": 1024, "2k": 2048}
"""Sides in pixels of a square picture."""
_GRID: Final = 16
_WIDEST: Final = 20 / 9
_JPEG_QUALITY: Final = {"low": 78, "medium": 88}


def picture_size(ratio: float, resolution: str = "1k") -> tuple[int, int]:
    """Return width and height in pixels, multiples of 16.

    Args:
        ratio: Width by height.
        resolution: `"1k"`, about 1 megapixel, or `"2k"`, about 4.
    """
    side = _SIDES[resolution]
    return (
        round(side * math.sqrt(ratio) / _GRID) * _GRID,
        round(side / math.sqrt(ratio) / _GRID) * _GRID,
    )


def paint(  # what a request says, keyword-only
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
        index: Which picture of the request, from 0: each is another take.
        aspect_ratio: Such as `"16:9"`; None: that of a single input, else square.
        resolution: `"1k"` or `"2k"`.
        quality: `"low"` or `"medium"`.
        model: Name of the model: another one paints another picture.
        inputs: Images to edit, in RGB.
    """
    scene = read_scene(prompt, index, model)
    palette = make_palette(scene)
    size = picture_size(_ratio(aspect_ratio, inputs), resolution)
    work = working_size(scene, size)
    canvas = set_inputs(inputs, scene, palette, work) if inputs else set_scene(scene, palette, work)
    if scene.weather == "storm" and scene.place not in {"room", "space", "underwater"}:
        lightning(canvas, scene)
    place_subjects(canvas, scene, palette, scenery=not inputs)
    if not inputs or scene.said & {"weather", "season"}:
        fall(canvas, scene, palette)
    stream = io.BytesIO()
    finish(canvas.image, scene, size, vignette=not inputs).save(
        stream, "JPEG", quality=_JPEG_QUALITY[quality], subsampling="4:2:0"
    )
    return stream.getvalue()


def _ratio(aspect_ratio: str | None, inputs: Sequence[Image.Image]) -> float:
    """Return width by height of the picture asked for."""
    if aspect_ratio is not None:
        across, down = (float(part) for part in aspect_ratio.split(":"))
        return across / down
    if len(inputs) == 1:
        return min(_WIDEST, max(1 / _WIDEST, inputs[0].width / inputs[0].height))
    return 1.0

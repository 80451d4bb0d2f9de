"""The last touches: style, grain, vignette and the mark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from xai_notebook.server.painting.layers import corners, levels, speckle, subtract, tiled, weave
from xai_notebook.server.painting.styles import STYLES

if TYPE_CHECKING:
    import random

    from xai_notebook.server.painting.scene import Scene

__all__ = ["finish", "working_size"]

_MARK: Final = "local preview"
_VIGNETTES: Final = {"vintage": 90, "watercolor": 20, "sketch": 26}
_VIGNETTE: Final = 46


def working_size(scene: Scene, size: tuple[int, int]) -> tuple[int, int]:
    """Return the size at which to paint the scene of a picture of `size`."""
    return STYLES[scene.style].working_size(size) if scene.style else size


def finish(
    image: Image.Image, scene: Scene, size: tuple[int, int], *, vignette: bool = True
) -> Image.Image:
    """Return `image` in the style of the scene and in `size`, with grain, vignette and mark.

    Args:
        image: As painted.
        scene: What it shows.
        size: In pixels.
        vignette: Darken the corners; those of a picture that was edited are dark already.
    """
    if scene.style:
        image = STYLES[scene.style].apply(image, size, scene.dice("style"))
    if scene.style != "pixel":
        image = _grain(image, scene, vignette=vignette)
    _mark(image)
    return image


def _grain(image: Image.Image, scene: Scene, *, vignette: bool) -> Image.Image:
    """Add what the picture is painted on and darken its corners, all in one pass."""
    sheet = tiled(_ground(scene.style, scene.dice("grain")), image.size)
    if vignette:
        depth = _VIGNETTES.get(scene.style or "", _VIGNETTE)
        sheet = ImageChops.add_modulo(sheet, corners(image.size, depth))
    if scene.style == "oil":
        # Light from above on thick paint.
        relief = image.convert("L").filter(ImageFilter.EMBOSS)
        sheet = ImageChops.add(sheet, relief.point(levels(lambda v: 10 - (v - 128) * 0.4)))
    return subtract(image, sheet)


def _ground(style: str | None, dice: random.Random) -> Image.Image:
    """Return a tile of the film, paper or canvas below the picture: levels to subtract."""
    if style in {"watercolor", "sketch"}:
        depth = 20 if style == "sketch" else 16
        paper = Image.blend(weave(dice, 2, 2), weave(dice, 4, 4), 0.5)
        return paper.point(levels(lambda v: (v - 40) * depth / 170))
    if style == "oil":
        cloth = Image.blend(weave(dice, 8, 2), weave(dice, 2, 8), 0.5)
        return cloth.point(levels(lambda v: (v - 60) * 18 / 140))
    strength = 14 if style == "vintage" else 6
    return speckle(dice).point(levels(lambda v: v * strength / 255))


def _mark(image: Image.Image) -> None:
    """Write the mark into the lower right corner, so that no preview passes for more."""
    unit = min(image.size)
    font = ImageFont.load_default(max(10, round(unit * 0.0165)))
    draw = ImageDraw.Draw(image, "RGBA")
    left, top, right, bottom = draw.textbbox((0, 0), _MARK, font=font)
    margin = round(unit * 0.018)
    place = (image.width - (right - left) - margin, image.height - (bottom - top) - margin - top)
    draw.text((place[0] + 1, place[1] + 1), _MARK, font=font, fill=(0, 0, 0, 90))
    draw.text(place, _MARK, font=font, fill=(255, 255, 255, 170))

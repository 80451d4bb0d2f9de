"""The light of a scene: what colour everything has in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from xai_notebook.server.painting.colours import WHITE, mix, parse_colours, scale, shift
from xai_notebook.server.painting.records import choices

if TYPE_CHECKING:
    from xai_notebook.server.painting.colours import Colour
    from xai_notebook.server.painting.scene import Scene

__all__ = ["Palette", "make_palette"]

_LIGHT: Final = "light.ini"


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one picture.

    Attributes:
        sky: Zenith, middle, horizon.
        haze: What distant things fade into.
        sun: Colour of the sun or the moon.
        grass: Ground nearby, unlit.
        leaf: Foliage, unlit.
        rock: Rock, unlit.
        water: Water, unlit.
        accent: For what should be seen: windows, signs, flowers.
        light: What the light does to a colour, a factor for each channel.
        dark: Night or storm: lamps are lit.
    """

    sky: tuple[Colour, Colour, Colour]
    haze: Colour
    sun: Colour
    grass: Colour
    leaf: Colour
    rock: Colour
    water: Colour
    accent: Colour
    light: tuple[float, float, float]
    dark: bool

    def lit(self, colour: Colour, distance: float = 0.0) -> Colour:
        """Return `colour` in this light, `distance` (0 here, 1 at the horizon) away."""
        return mix(scale(colour, *self.light), self.haze, distance)


def make_palette(scene: Scene) -> Palette:
    """Return the colours of `scene`."""
    dice, known = scene.dice("palette"), choices(_LIGHT)
    skies = known["sky"][scene.time]
    sky = parse_colours(skies[dice.randrange(len(skies))])
    season = "winter" if scene.weather == "snow" else scene.season
    grass, leaf, rock = parse_colours(*known["land"][season])
    light = _numbers(known["light"][scene.time])
    hue = dice.uniform(-0.025, 0.025)
    dull, dim = _numbers(known["weather"][scene.weather])
    if scene.sky is not None:
        sky = (scale(scene.sky, 0.72), scene.sky, mix(scene.sky, WHITE, 0.55))
    elif scene.colours:
        tint = scene.colours[0]
        sky = (mix(sky[0], tint, 0.4), mix(sky[1], tint, 0.3), mix(sky[2], tint, 0.15))
    top, middle, low = (scale(shift(c, hue=hue, saturation=dull), dim) for c in sky)
    if scene.weather in {"fog", "snow"} and scene.time != "night":
        middle, low = mix(middle, (236, 238, 242), 0.4), mix(low, (244, 244, 246), 0.5)
    accents = parse_colours(*known["accent"]["all"])
    accent = scene.colours[-1] if scene.colours else accents[dice.randrange(len(accents))]
    if scene.weather == "snow" or scene.season == "winter":
        # Snow takes its colour from the sky, and stays the brightest thing below it.
        light = [0.5 + light[0] / 2, 0.56 + light[1] * 0.44, 0.66 + light[2] * 0.34]
    grass = shift(grass, hue=dice.uniform(-0.03, 0.03))
    return Palette(
        sky=(top, middle, low),
        haze=mix(low, middle, 0.3),
        sun=parse_colours(*known["sun"][scene.time])[0],
        grass=mix(grass, scene.colours[0], 0.25) if scene.colours else grass,
        leaf=shift(leaf, hue=dice.uniform(-0.02, 0.02)),
        rock=rock,
        water=shift((52, 118, 150), hue=dice.uniform(-0.04, 0.03), saturation=dull),
        accent=accent,
        light=(light[0] * dim, light[1] * dim, light[2] * dim),
        dark=scene.time == "night" or scene.weather == "storm",
    )


def _numbers(values: tuple[str, ...]) -> list[float]:
    return [float(number) for number in values[0].split()]

"""The light of a scene: what colour everything has in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from xai_notebook.server.painting.colours import WHITE, mix, scale, shift

if TYPE_CHECKING:
    from xai_notebook.server.painting.colours import Colour
    from xai_notebook.server.painting.scene import Scene

__all__ = ["Palette", "make_palette"]

_SKIES: Final[dict[str, tuple[tuple[Colour, Colour, Colour], ...]]] = {
    # from the zenith to the horizon
    "dawn": (
        ((104, 128, 186), (236, 180, 178), (255, 226, 188)),
        ((128, 150, 190), (240, 196, 170), (255, 238, 206)),
        ((112, 108, 170), (226, 158, 178), (255, 214, 180)),
    ),
    "day": (
        ((56, 136, 206), (134, 196, 230), (228, 242, 240)),
        ((72, 158, 200), (156, 212, 222), (244, 244, 224)),
        ((64, 112, 196), (146, 182, 232), (236, 234, 240)),
    ),
    "golden": (
        ((104, 140, 176), (246, 190, 120), (255, 226, 160)),
        ((140, 146, 168), (250, 178, 104), (255, 232, 170)),
        ((90, 120, 170), (240, 168, 120), (255, 214, 150)),
    ),
    "dusk": (
        ((62, 48, 112), (220, 92, 110), (255, 176, 96)),
        ((44, 58, 120), (190, 100, 150), (255, 164, 120)),
        ((84, 44, 96), (236, 104, 84), (255, 196, 110)),
    ),
    "night": (
        ((12, 18, 48), (30, 46, 96), (82, 104, 150)),
        ((14, 14, 44), (48, 38, 96), (112, 88, 140)),
        ((8, 24, 46), (20, 62, 92), (72, 126, 140)),
    ),
}
_LIGHT: Final[dict[str, tuple[float, float, float]]] = {
    "dawn": (0.98, 0.86, 0.88),
    "day": (1.0, 1.0, 1.0),
    "golden": (1.06, 0.90, 0.72),
    "dusk": (0.82, 0.60, 0.66),
    "night": (0.36, 0.44, 0.72),
}
_SUNS: Final[dict[str, Colour]] = {
    "dawn": (255, 244, 222),
    "day": (255, 250, 228),
    "golden": (255, 240, 190),
    "dusk": (255, 214, 140),
    "night": (244, 244, 226),
}
_LAND: Final[dict[str, dict[str, Colour]]] = {
    "spring": {"grass": (128, 178, 92), "leaf": (240, 170, 190), "rock": (124, 130, 140)},
    "summer": {"grass": (104, 160, 86), "leaf": (62, 126, 80), "rock": (116, 122, 138)},
    "autumn": {"grass": (198, 158, 84), "leaf": (214, 106, 44), "rock": (130, 118, 128)},
    "winter": {"grass": (236, 242, 250), "leaf": (70, 104, 108), "rock": (128, 142, 170)},
}


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
    dice = scene.dice("palette")
    skies = _SKIES[scene.time]
    sky = skies[dice.randrange(len(skies))]
    land = dict(_LAND["winter" if scene.weather == "snow" else scene.season])
    light: tuple[float, float, float] = _LIGHT[scene.time]
    hue = dice.uniform(-0.025, 0.025)
    dull, dim = {
        "storm": (0.45, 0.62), "rain": (0.65, 0.84), "snow": (0.7, 1.0), "fog": (0.5, 1.0),
        "cloudy": (0.85, 0.97),
    }.get(scene.weather, (1.0, 1.0))  # fmt: skip
    if scene.sky is not None:
        sky = (scale(scene.sky, 0.72), scene.sky, mix(scene.sky, WHITE, 0.55))
    elif scene.colours:
        tint = scene.colours[0]
        sky = (mix(sky[0], tint, 0.4), mix(sky[1], tint, 0.3), mix(sky[2], tint, 0.15))
    top, middle, low = (scale(shift(c, hue=hue, saturation=dull), dim) for c in sky)
    if scene.weather in {"fog", "snow"} and scene.time != "night":
        middle, low = mix(middle, (236, 238, 242), 0.4), mix(low, (244, 244, 246), 0.5)
    accents = [(244, 114, 92), (250, 196, 84), (102, 190, 186), (238, 150, 180)]
    accent = scene.colours[-1] if scene.colours else accents[dice.randrange(len(accents))]
    if scene.weather == "snow" or scene.season == "winter":
        # Snow takes its colour from the sky, and stays the brightest thing below it.
        light = (0.5 + light[0] / 2, 0.56 + light[1] * 0.44, 0.66 + light[2] * 0.34)
    grass = shift(land["grass"], hue=dice.uniform(-0.03, 0.03))
    return Palette(
        sky=(top, middle, low),
        haze=mix(low, middle, 0.3),
        sun=_SUNS[scene.time],
        grass=mix(grass, scene.colours[0], 0.25) if scene.colours else grass,
        leaf=shift(land["leaf"], hue=dice.uniform(-0.02, 0.02)),
        rock=land["rock"],
        water=shift((52, 118, 150), hue=dice.uniform(-0.04, 0.03), saturation=dull),
        accent=accent,
        light=(light[0] * dim, light[1] * dim, light[2] * dim),
        dark=scene.time == "night" or scene.weather == "storm",
    )

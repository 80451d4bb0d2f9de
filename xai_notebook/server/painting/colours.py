"""Colours: parsing and arithmetic."""

from __future__ import annotations

import colorsys
import re
from typing import Final

Colour = tuple[int, int, int]
"""Red, green, blue, each 0 to 255."""

WHITE: Final[Colour] = (255, 255, 255)
_HEX: Final = re.compile(r"#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})")


def parse_colour(text: str) -> Colour:
    """Parse `#rrggbb`.

    Raises:
        ValueError: The text has another format.
    """
    match = _HEX.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a colour: write it as #rrggbb.")
    red, green, blue = (int(channel, 16) for channel in match.groups())
    return red, green, blue


def parse_colours(text: str) -> tuple[Colour, ...]:
    """Parse colours separated by spaces; see `parse_colour`."""
    return tuple(parse_colour(word) for word in text.split())


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return a mix of two colours; `share` is the share of `second`, from 0 to 1."""
    return (
        round(first[0] + (second[0] - first[0]) * share),
        round(first[1] + (second[1] - first[1]) * share),
        round(first[2] + (second[2] - first[2]) * share),
    )


def scale(colour: Colour, *factors: float) -> Colour:
    """Return `colour` multiplied by one factor, or by one factor for each channel."""
    red, green, blue = factors if len(factors) > 1 else factors * 3
    return (
        min(255, round(colour[0] * red)),
        min(255, round(colour[1] * green)),
        min(255, round(colour[2] * blue)),
    )


def shift(colour: Colour, *, hue: float = 0.0, saturation: float = 1.0) -> Colour:
    """Return `colour` with its hue rotated (1 is a full turn) and its saturation scaled."""
    hls = colorsys.rgb_to_hls(*(channel / 255 for channel in colour))
    red, green, blue = colorsys.hls_to_rgb(
        (hls[0] + hue) % 1.0, hls[1], min(1.0, hls[2] * saturation)
    )
    return round(red * 255), round(green * 255), round(blue * 255)

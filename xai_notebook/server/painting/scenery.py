"""Paints backgrounds: the sky, the land or room of each setting, and the weather in front of it.

Separate because backgrounds and subjects are painted independently of each other.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from xai_notebook.server.painting.canvas import (
    Canvas,
    curve,
    dot,
    ellipse,
    gradient,
    rectangle,
    stroke,
    veil,
)
from xai_notebook.server.painting.colours import WHITE, mix, scale

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from xai_notebook.server.painting.canvas import Point, Shape
    from xai_notebook.server.painting.colours import Colour
    from xai_notebook.server.painting.scene import Palette, Scene

_FOG_SCALE: Final = 8
"""Fog is soft, so it is painted at a size reduced by this factor."""
_SKY_SCALE: Final = 4
"""Reduction factor for the soft parts of the sky."""
_DULL: Final = frozenset({"rain", "storm"})
"""Weather with soft clouds that hide the sky behind them."""
_NEON: Final = ((255, 70, 150), (60, 220, 255), (255, 200, 60), (150, 100, 255), (80, 255, 170))
_LIT_WINDOW: Final = (255, 214, 130)
_HILLS: Final = (0.0, 0.16, 0.40, 0.74)
"""Height of each row of hills, from 0 at the horizon to 1 at the lower edge."""


def add_weather(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    """Paint rain, snow, fog or drifting leaves in front of the scene."""
    if scene.setting in {"room", "space", "moonscape", "underwater"}:
        return
    if scene.weather in {"rain", "storm"}:
        _rain(canvas, scene)
    elif scene.weather == "snow":
        _snow(canvas, scene)
    elif scene.weather == "fog":
        _fog(canvas, scene, palette)
    elif scene.season in {"autumn", "spring"} and "season" in scene.named:
        _leaves(canvas, scene, palette)


def lightning(canvas: Canvas, scene: Scene) -> None:
    """Paint a bolt of lightning in the distance."""
    dice = scene.dice("bolt")
    x, y = canvas.width * (1 - scene.shot.sun_x), canvas.height * 0.06
    path: list[Point] = [(x, y)]
    bottom = canvas.height * (scene.shot.horizon + 0.01)
    while y < bottom:
        x += canvas.unit * dice.uniform(-0.05, 0.05)
        y += canvas.unit * dice.uniform(0.03, 0.07)
        path.append((x, min(y, bottom)))
    halfway = canvas.height * scene.shot.horizon * 0.5
    canvas.glow(x, halfway, canvas.unit * 0.55, (190, 200, 255), 0.7)
    thick = canvas.unit * 0.004
    bolt = [(px - thick, py) for px, py in path] + [(px + thick, py) for px, py in path[::-1]]
    canvas.fill([bolt], (214, 220, 255), opacity=0.7, blur=canvas.unit * 0.006)
    canvas.fill([bolt], WHITE)


def _rain(canvas: Canvas, scene: Scene) -> None:
    dice = scene.dice("rain")
    heavy = scene.weather == "storm"
    drops: list[Shape] = []
    for number in range(380 if heavy else 260):
        x, y = dice.uniform(-0.1, 1.1) * canvas.width, dice.uniform(-0.05, 1) * canvas.height
        length = canvas.unit * (0.055 if number % 2 else 0.03) * dice.uniform(0.7, 1.4)
        lean = length * (0.42 if heavy else 0.16)
        thick = canvas.unit * (0.0017 if number % 2 else 0.0011)
        drops.append([(x, y), (x + thick, y), (x + thick - lean, y + length),
                      (x - lean, y + length)])  # fmt: skip
    canvas.fill(drops, (222, 232, 246), opacity=0.27)


def _snow(canvas: Canvas, scene: Scene) -> None:
    dice = scene.dice("snow")
    flakes: list[Shape] = []
    for number in range(230):
        size = canvas.unit * (0.0022 if number % 4 else 0.0044) * dice.uniform(0.6, 1.4)
        flakes.append(dot(dice.random() * canvas.width, dice.random() * canvas.height, size))
    canvas.fill(flakes, WHITE, opacity=0.85)
    for _ in range(12):  # close to the viewer, out of focus
        x, y = dice.random() * canvas.width, dice.random() * canvas.height
        canvas.glow(x, y, canvas.unit * dice.uniform(0.014, 0.03), WHITE, 0.8)


def _fog(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    dice = scene.dice("fog")
    # Fog is soft, so one small mask is enough for all banks.
    banks = Canvas(
        Image.new("L", (-(-canvas.width // _FOG_SCALE), -(-canvas.height // _FOG_SCALE)), 40)
    )
    for _ in range(5):
        y = banks.height * (scene.shot.horizon + dice.uniform(-0.16, 0.3))
        x = banks.width * dice.random()
        half = banks.width * dice.uniform(0.4, 0.8)
        mask = Image.new("L", banks.image.size)
        ImageDraw.Draw(mask).polygon(ellipse(x, y, half, banks.unit * 0.05), fill=140)
        mask = mask.filter(ImageFilter.GaussianBlur(banks.unit * 0.05))
        banks.image = ImageChops.screen(banks.image, mask)
    veil(canvas.image, palette.haze, banks.image)


def _leaves(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    dice = scene.dice("leaves")
    tones = (((222, 120, 44), (200, 72, 46), (238, 184, 70)) if scene.season == "autumn"
             else ((250, 200, 214), (255, 226, 232), (244, 170, 194)))  # fmt: skip
    for tone in tones:
        leaves = []
        for _ in range(12):
            size = canvas.unit * dice.uniform(0.004, 0.01)
            x, y = dice.random() * canvas.width, dice.random() * canvas.height
            leaves.append(ellipse(x, y, size * 1.5, size * 0.7, dice.uniform(0, 3)))
        canvas.fill(leaves, palette.lit(tone), opacity=0.9)


def paint_scenery(scene: Scene, palette: Palette, size: tuple[int, int]) -> Canvas:
    """Return a canvas with the background of `scene`."""
    whole = {"space": _space, "moonscape": _space, "underwater": _underwater, "room": _room}
    if scene.setting in whole:
        canvas = Canvas(Image.new("RGB", size))
        whole[scene.setting](canvas, scene, palette)
        return canvas
    canvas = _sky(scene, palette, size)
    if scene.backdrop is not None:
        _wall(canvas, scene, palette, scene.backdrop)
        return canvas
    painters: dict[str, Callable[[Canvas, Scene, Palette], None]] = {
        "sea": _sea, "lake": _lake, "mountains": _mountains, "forest": _woods,
        "desert": _dunes, "city": _city, "street": _street, "meadow": _meadow,
    }  # fmt: skip
    painters[scene.setting](canvas, scene, palette)
    return canvas


def _meadow(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    if scene.dice("far").random() < 0.5:  # noqa: PLR2004
        _peaks(canvas, scene, palette, height=0.17)
    _hills(canvas, scene, palette, palette.grass)


def _mountains(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    _peaks(canvas, scene, palette)
    _hills(canvas, scene, palette, mix(palette.grass, palette.rock, 0.25))


def _lake(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    _peaks(canvas, scene, palette, height=0.3)
    dice = scene.dice("shore")
    base = canvas.height * (scene.shot.horizon + 0.05)
    trees: list[Shape] = []
    for number in range(60):
        x = canvas.width * (number + dice.uniform(-0.5, 0.5)) / 60
        tall = canvas.unit * dice.uniform(0.03, 0.085)
        tree = _pine if scene.season == "winter" or number % 3 else _round_tree
        trees += tree(x, base, tall)
    leaf = palette.leaf
    canvas.fill(trees[::2], palette.lit(leaf, 0.2), palette.lit(scale(leaf, 0.7), 0.25))
    other = mix(leaf, (228, 176, 70) if scene.season == "autumn" else palette.grass, 0.5)
    canvas.fill(trees[1::2], palette.lit(other, 0.16), palette.lit(scale(other, 0.75), 0.2))
    _reflect(canvas, scene, palette)


def _city(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    """Paint three rows of towers, with lit windows when it is dark."""
    dice = scene.dice("city")
    horizon = canvas.height * (scene.shot.horizon + 0.12)
    lamps = scene.time in {"night", "dusk"} or scene.weather in {"rain", "storm"}
    for row in range(3):
        distance = (0.68, 0.42, 0.16)[row]
        towers: list[Shape] = []
        windows: list[Shape] = []
        x = -canvas.unit * 0.05
        while x < canvas.width:
            wide = canvas.unit * dice.uniform(0.06, 0.13)
            tall = canvas.height * dice.uniform(0.12, 0.42) * (1.0, 0.82, 0.55)[row]
            towers.append(rectangle(x, horizon - tall, x + wide, canvas.height))
            if dice.random() < 0.3:  # noqa: PLR2004
                half = wide * dice.uniform(0.1, 0.3)
                towers.append(rectangle(x + half, horizon - tall - wide * 0.3, x + wide - half,
                                        horizon - tall + 2))  # fmt: skip
            windows += _windows(canvas, dice.random, (x, horizon - tall, x + wide, horizon))
            x += wide * dice.uniform(0.92, 1.25)
        tone = palette.lit((92, 100, 128), distance)
        canvas.fill(towers, scale(tone, 0.95), mix(tone, palette.haze, 0.45))
        light = _LIT_WINDOW if lamps else mix(tone, palette.sky[1], 0.5)
        canvas.fill(windows, light, opacity=(0.5, 0.75, 0.9)[row] if lamps else 0.45)
    earth = palette.lit((96, 98, 112), 0.2)
    shore = [(0.0, horizon), (float(canvas.width), horizon)]
    canvas.ground(shore, mix(earth, palette.haze, 0.3), scale(earth, 0.7))
    _reflect(canvas, scene, palette, dim=0.3, ripples=16)


def _windows(
    canvas: Canvas, random: Callable[[], float], box: tuple[float, float, float, float]
) -> list[Shape]:
    left, top, right, bottom = box
    pitch = canvas.unit * 0.021
    shapes: list[Shape] = []
    y = top + pitch * 0.7
    while y < bottom - pitch:
        x = left + pitch * 0.5
        while x < right - pitch * 0.7:
            if random() < 0.42:  # noqa: PLR2004
                shapes.append(rectangle(x, y, x + pitch * 0.42, y + pitch * 0.55))
            x += pitch
        y += pitch * 1.25
    return shapes


def _street(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    """Paint a street that runs to a vanishing point, with signs on both sides."""
    dice = scene.dice("street")
    vanish = (canvas.width * (0.5 + dice.uniform(-0.1, 0.1)),
              canvas.height * (scene.shot.horizon - 0.02))  # fmt: skip
    bright = scene.style == "neon" or scene.time == "night"
    canvas.glow(*vanish, canvas.unit * 0.5, palette.accent if bright else palette.sun, 0.7)
    road = palette.lit((92, 92, 106), 0.1)
    edge_of_road = [(0.0, vanish[1]), (float(canvas.width), vanish[1])]
    canvas.ground(edge_of_road, mix(road, palette.haze, 0.4), scale(road, 0.7))
    signs: list[tuple[Shape, Colour]] = []
    for step in range(5):
        near, far = (0.16, 0.26, 0.4, 0.62, 1.0)[step], (0.1, 0.16, 0.26, 0.4, 0.62)[step]
        for hand in (-1, 1):
            edge = vanish[0] if hand < 0 else canvas.width - vanish[0]
            inner = (vanish[0] + hand * edge * far * 0.95, vanish[0] + hand * edge * near * 0.95)
            tall = canvas.height * dice.uniform(0.62, 1.0)
            tone = palette.lit(dice.choice(((98, 88, 110), (80, 96, 120), (124, 96, 92))),
                               0.6 * (1 - near))  # fmt: skip
            _house_front(canvas, vanish, (inner, (far, near), tall), tone, dice.random)
            if dice.random() < 0.85:  # noqa: PLR2004
                x = inner[1] - hand * canvas.unit * 0.03 * near
                wide, high = canvas.unit * 0.07 * near, canvas.unit * dice.uniform(0.1, 0.24) * near
                y = vanish[1] - tall * near * dice.uniform(0.25, 0.5)
                signs.append((rectangle(x - wide / 2, y - high, x + wide / 2, y),
                              dice.choice(_NEON)))  # fmt: skip
    for sign, colour in signs:
        _sign(canvas, sign, colour if bright else mix(colour, WHITE, 0.25), lit=bright)
    if scene.weather in {"rain", "storm"} or bright:
        _reflect(canvas, scene, palette, dim=0.3, ripples=30)


def _house_front(
    canvas: Canvas,
    vanish: tuple[float, float],
    plan: tuple[tuple[float, float], tuple[float, float], float],
    tone: Colour,
    random: Callable[[], float],
) -> None:
    """Paint one house; `plan` has its far and near x, its far and near scale, and its height."""
    (x_far, x_near), (far, near), tall = plan

    def at(across: float, up: float) -> tuple[float, float]:
        size = far + (near - far) * across
        return x_far + (x_near - x_far) * across, vanish[1] + tall * size * (0.28 - up)

    canvas.fill([[at(0, 0), at(0, 1.2), at(1, 1.2), at(1, 0)]], scale(tone, 0.8), tone,
                scale(tone, 0.7))  # fmt: skip
    windows = []
    for row in range(5):
        for column in range(3):
            if random() < 0.6:  # noqa: PLR2004
                left, low = 0.14 + column * 0.28, 0.32 + row * 0.17
                windows.append([at(left, low), at(left, low + 0.1), at(left + 0.16, low + 0.1),
                                at(left + 0.16, low)])  # fmt: skip
    canvas.fill(windows, _LIT_WINDOW, opacity=0.75)
    canvas.fill([[at(0.1, 0.0), at(0.1, 0.17), at(0.9, 0.17), at(0.9, 0.0)]], (255, 226, 170),
                opacity=0.55)  # fmt: skip


def _sign(canvas: Canvas, sign: Shape, colour: Colour, *, lit: bool) -> None:
    left, top, right, bottom = *sign[0], *sign[2]
    if lit:
        canvas.glow((left + right) / 2, (top + bottom) / 2, (bottom - top) * 1.5, colour, 0.8)
    canvas.fill([sign], scale(colour, 0.85))
    step = (bottom - top) / 4
    marks: list[Shape] = []
    for number in range(4):  # strokes that resemble writing
        y = top + step * (number + 0.5)
        half = (right - left) * (0.3 if number % 2 else 0.22)
        middle = (left + right) / 2
        marks.append(rectangle(middle - half, y - step * 0.1, middle + half, y + step * 0.1))
        marks.append(rectangle(middle - step * 0.06, y - step * 0.3, middle + step * 0.06,
                               y + step * 0.3))  # fmt: skip
    canvas.fill(marks, mix(colour, WHITE, 0.85))


def _wall(canvas: Canvas, scene: Scene, palette: Palette, colour: Colour) -> None:
    """Paint a wall behind the subject, and a floor in front of the wall."""
    dice = scene.dice("wall")
    floor = canvas.height * max(0.66, min(0.82, scene.shot.horizon + 0.14))
    tone = mix(colour, palette.lit(colour), 0.5)  # keep the named colour recognizable
    _band(canvas, -2, floor, mix(tone, WHITE, 0.14), tone, scale(tone, 0.86))
    bricks: list[Shape] = []
    for _ in range(26):
        x, y = dice.random() * canvas.width, dice.random() * floor * 0.95
        wide = canvas.unit * 0.045
        bricks.append(rectangle(x, y, x + wide, y + wide * 0.4))
    canvas.fill(bricks, scale(tone, 0.9), opacity=0.6)
    slant = canvas.width * dice.uniform(0.2, 0.5)
    beam = [(slant, 0), (slant + canvas.width * 0.34, 0), (slant + canvas.width * 0.1, floor),
            (slant - canvas.width * 0.24, floor)]  # fmt: skip
    canvas.fill([beam], mix(tone, palette.sun, 0.6), opacity=0.3, blur=canvas.unit * 0.02)
    stone = palette.lit((168, 158, 156))
    _band(canvas, floor, canvas.height + 2, stone, scale(stone, 0.78))
    _band(canvas, floor, floor + canvas.unit * 0.012, scale(stone, 0.72))


def _band(canvas: Canvas, top: float, bottom: float, *tones: Colour) -> None:
    """Fill the full width of the picture from `top` to `bottom`."""
    canvas.fill([rectangle(-2, top, canvas.width + 2, bottom)], *tones)


def _room(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    """Paint a wall with a window and a table in front of it."""
    dice = scene.dice("room")
    walls = ((222, 206, 190), (196, 210, 206), (230, 200, 180), (190, 198, 220), (226, 214, 178))
    if scene.backdrop is not None:
        _wall(canvas, scene, palette, scene.backdrop)
        return
    tone = palette.lit(scene.colours[0] if scene.colours else dice.choice(walls))
    _band(canvas, -2, canvas.height + 2, scale(tone, 0.94), tone, scale(tone, 0.84))
    left = canvas.width * (0.1 if scene.shot.sun_x < 0.5 else 0.58)  # noqa: PLR2004
    box = (left, canvas.height * 0.1, left + canvas.width * 0.32, canvas.height * 0.5)
    _window(canvas, scene, palette, box)
    table = canvas.height * max(0.6, min(0.74, scene.shot.horizon + 0.08))
    beam = [(box[0], box[3]), (box[2], box[3]),
            (box[2] + canvas.width * 0.24, canvas.height), (box[0] + canvas.width * 0.1,
                                                            canvas.height)]  # fmt: skip
    wood = palette.lit(dice.choice(((166, 110, 72), (140, 96, 74), (186, 138, 96))))
    _band(canvas, table, canvas.height + 2, wood, scale(wood, 0.74))
    _band(canvas, table, table + canvas.unit * 0.012, mix(wood, WHITE, 0.25))
    canvas.fill([beam], palette.sun, opacity=0.2, blur=canvas.unit * 0.02)


def _window(
    canvas: Canvas, scene: Scene, palette: Palette, box: tuple[float, float, float, float]
) -> None:
    left, top, right, bottom = box
    frame = canvas.unit * 0.014
    canvas.fill([rectangle(left - frame, top - frame, right + frame, bottom + frame)],
                palette.lit((246, 240, 230)))  # fmt: skip
    canvas.fill([rectangle(left, top, right, bottom)], *palette.sky)
    line = _ridge(scene.dice("view"), round(right - left), bottom - (bottom - top) * 0.25,
                         (bottom - top) * 0.08)  # fmt: skip
    view = [(left + x, y) for x, y in line] + [(right, bottom), (left, bottom)]
    canvas.fill([view], palette.lit(palette.grass, 0.45))
    middle, across = (left + right) / 2, (top + bottom) / 2
    canvas.fill([rectangle(middle - frame / 3, top, middle + frame / 3, bottom),
                 rectangle(left, across - frame / 3, right, across + frame / 3)],
                palette.lit((246, 240, 230)))  # fmt: skip
    canvas.glow(middle, across, (bottom - top) * 1.3, palette.sun, 0.4)


def _space(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    """Paint stars, nebulae and a planet. On the moon, paint the ground and the earth above it."""
    dice = scene.dice("space")
    # Nebulae are soft, so all of them are painted at a small size.
    far = Canvas(gradient((-(-canvas.width // 8), -(-canvas.height // 8)),
                          ((10, 10, 32), (26, 20, 58), (16, 26, 56))))  # fmt: skip
    for _ in range(5):
        colour = dice.choice(((120, 60, 170), (200, 70, 130), (50, 110, 190), palette.accent))
        x, y = dice.random() * far.width, dice.random() * far.height
        far.glow(x, y, far.unit * dice.uniform(0.3, 0.7), colour, dice.uniform(0.25, 0.5))
    canvas.image.paste(far.image.resize(canvas.image.size, Image.Resampling.BILINEAR))
    stars(canvas, dice, bottom=1.0, count=260)
    x, y = canvas.width * scene.shot.sun_x, canvas.height * scene.shot.horizon * 0.42
    radius = canvas.unit * dice.uniform(0.1, 0.17)
    if any(subject.name == "earth" for subject in scene.subjects):
        return
    earth = scene.setting == "moonscape"
    planets = ((226, 160, 110), (120, 170, 190), palette.accent)
    tone = (70, 136, 206) if earth else dice.choice(planets)
    _planet(canvas, (x, y, radius), tone, land_dice=dice.random if earth else None)
    if earth:
        _moon_ground(canvas, scene)


def _planet(
    canvas: Canvas,
    disc: tuple[float, float, float],
    tone: Colour,
    *,
    land_dice: Callable[[], float] | None,
) -> None:
    """Paint a planet, with continents if `land_dice` is given, otherwise with a ring."""
    x, y, radius = disc
    canvas.glow(x, y, radius * 2, mix(tone, WHITE, 0.4), 0.6)
    canvas.fill([ellipse(x, y, radius, radius)], mix(tone, WHITE, 0.3), tone, scale(tone, 0.6))
    if land_dice is not None:
        for _ in range(4):
            away_x, away_y = (land_dice() - 0.5) * radius, (land_dice() - 0.5) * radius
            size = radius * (0.14 + 0.18 * land_dice())
            canvas.fill([ellipse(x + away_x, y + away_y, size * 1.4, size, 0.5)], (110, 180, 120),
                        opacity=0.85)  # fmt: skip
    dark = [p for p in ellipse(x, y, radius, radius) if (p[0] - x) * 0.8 + (p[1] - y) * 0.6 > 0]
    dark.sort(key=lambda point: (point[1] - y) * 0.8 - (point[0] - x) * 0.6)
    bow = [((p[0] * 0.35 + (x + radius * 0.1) * 0.65), (p[1] * 0.35 + y * 0.65)) for p in dark]
    canvas.fill([dark + bow[::-1]], (10, 12, 40), opacity=0.45, blur=radius * 0.06)
    if land_dice is None:
        outer = ellipse(x, y, radius * 1.9, radius * 0.45, -0.35)
        hole = ellipse(x, y, radius * 1.45, radius * 0.3, -0.35)
        canvas.fill([[*outer[:21], *hole[20::-1]]], mix(tone, WHITE, 0.55), opacity=0.85)


def _moon_ground(canvas: Canvas, scene: Scene) -> None:
    dice = scene.dice("craters")
    top = canvas.height * scene.shot.horizon
    deep = canvas.height - top
    for number in range(3):
        tone = mix((150, 152, 170), (224, 222, 220), number / 2)
        base = top + deep * (0.0, 0.22, 0.55)[number]
        line = _ridge(dice, canvas.width, base, deep * 0.07)
        canvas.ground(line, tone, scale(tone, 0.72))
        for _ in range(5):
            x = dice.random() * canvas.width
            y = top + deep * (0.14, 0.36, 0.7)[number] + dice.random() * deep * 0.14
            size = canvas.unit * dice.uniform(0.02, 0.05) * (0.6, 1.0, 1.5)[number]
            canvas.fill([ellipse(x, y, size * 1.7, size * 0.6)], scale(tone, 0.78))
            canvas.fill([ellipse(x, y + size * 0.16, size * 1.5, size * 0.42)], scale(tone, 0.9))


def _underwater(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    """Paint rays of light from above, seaweed, a sandy floor and bubbles."""
    dice = scene.dice("underwater")
    deep = (18, 60, 104) if scene.time != "night" else (8, 26, 60)
    canvas.image.paste(gradient(canvas.image.size, ((120, 214, 222), (40, 142, 180), deep)))
    rays: list[Shape] = []
    for _ in range(6):
        x, wide = dice.random() * canvas.width, canvas.unit * dice.uniform(0.03, 0.09)
        drift = canvas.width * dice.uniform(-0.25, 0.25)
        low = canvas.height * dice.uniform(0.5, 0.85)
        rays.append([(x, -9), (x + wide, -9), (x + drift + wide * 2.4, low), (x + drift, low)])
    canvas.fill(rays, WHITE, opacity=0.16, blur=canvas.unit * 0.02)
    for number in range(3):
        base = canvas.height * (0.76, 0.84, 0.93)[number]
        tone = mix(mix((222, 196, 150), deep, 0.7 - 0.28 * number), palette.accent, 0.05)
        line = _ridge(dice, canvas.width, base, canvas.height * 0.03)
        canvas.ground(line, tone, scale(tone, 0.8))
        weeds: list[Shape] = []
        for _ in range(7):
            x, tall = dice.random() * canvas.width, canvas.unit * dice.uniform(0.08, 0.26)
            sway = tall * dice.uniform(0.1, 0.25)
            weeds.append(stroke([(x, base + tall * 0.2), (x + sway, base - tall * 0.2),
                                 (x - sway, base - tall * 0.55), (x + sway * 0.6, base - tall)],
                                tall * 0.09, tall * 0.01))  # fmt: skip
        weed = dice.choice(((40, 130, 100), (200, 90, 110), (230, 140, 80), (90, 90, 160)))
        canvas.fill(weeds, mix(weed, deep, 0.55 - 0.25 * number))
    bubbles = [
        ellipse(dice.random() * canvas.width, dice.random() * canvas.height * 0.8,
                *(canvas.unit * dice.uniform(0.003, 0.012),) * 2)
        for _ in range(34)
    ]  # fmt: skip
    canvas.fill(bubbles, WHITE, opacity=0.35)


def _ridge(
    dice: random.Random, width: int, base: float, swing: float, *, waves: float = 2.0
) -> list[Point]:
    """Return a wavy line from left to right that deviates from `base` by up to `swing` pixels."""
    sines = [
        (waves * factor * dice.uniform(0.8, 1.2), dice.uniform(0, math.tau), share)
        for factor, share in ((0.6, 0.6), (1.3, 0.3), (2.9, 0.1))
    ]
    line = []
    for step in range(49):
        across = step / 48
        lift = sum(math.sin(across * math.tau * f + p) * share for f, p, share in sines)
        line.append((across * width, base - swing * lift))
    return line


def _hills(canvas: Canvas, scene: Scene, palette: Palette, colour: Colour) -> None:
    """Paint hills from the horizon to the lower edge; nearer hills are darker."""
    dice = scene.dice("hills")
    top = canvas.height * scene.shot.horizon
    deep = canvas.height - top
    for number, depth in enumerate(_HILLS):
        distance = (1 - number / 3.4) ** 1.4 * 0.75
        base = top + deep * depth
        line = _ridge(dice, canvas.width, base, deep * (0.08 + 0.03 * number), waves=1.4)
        tone = palette.lit(scale(colour, 1.0 if _snowy(scene) else 1.08 - number * 0.1), distance)
        nearest = number == len(_HILLS) - 1
        shade = 0.88 if _snowy(scene) else 0.7
        faded = scale(tone, shade) if nearest else mix(tone, palette.haze, 0.16)
        canvas.ground(line, tone, tone, faded)
        if number == 1 and scene.setting in {"meadow", "mountains", "lake"}:
            _hedges(canvas, dice, line, palette, scene)
        if nearest and not _snowy(scene):
            _grass(canvas, dice, scene, line, tone, palette)


def _snowy(scene: Scene) -> bool:
    """Tell whether the ground is covered with snow."""
    return scene.season == "winter" or scene.weather == "snow"


def _hedges(
    canvas: Canvas, dice: random.Random, line: list[Point], palette: Palette, scene: Scene
) -> None:
    """Paint a few small trees on a distant hill."""
    shapes: list[Shape] = []
    pines = scene.setting != "meadow" or scene.season == "winter"
    for _ in range(dice.randrange(8, 16)):
        x, y = line[dice.randrange(len(line))]
        tall = canvas.unit * dice.uniform(0.02, 0.045)
        shapes += _pine(x, y + tall * 0.2, tall * 1.3) if pines else _round_tree(x, y, tall)
    canvas.fill(shapes, palette.lit(palette.leaf, 0.38), palette.lit(scale(palette.leaf, 0.8), 0.3))


def _grass(
    canvas: Canvas,
    dice: random.Random,
    scene: Scene,
    line: list[Point],
    tone: Colour,
    palette: Palette,
) -> None:
    """Paint grass in the foreground of a hill, and flowers in a spring or summer meadow."""
    blades, dots = [], []
    for _ in range(130):
        x, ground = line[dice.randrange(len(line))]
        x += dice.uniform(-0.5, 0.5) * canvas.width / 48
        y = ground + (canvas.height - ground) * dice.random() ** 0.8
        tall = canvas.unit * dice.uniform(0.02, 0.05) * (0.5 + y / canvas.height)
        lean = dice.uniform(-0.4, 0.4) * tall
        thick = tall * 0.05 + 0.6
        blades.append([(x - thick, y), (x + lean, y - tall), (x + thick, y)])
        if dice.random() < 0.22:  # noqa: PLR2004
            dots.append(dot(x + lean, y - tall, tall * 0.13))
    canvas.fill(blades, scale(tone, 0.82), opacity=0.9)
    if scene.season in {"spring", "summer"} and scene.setting == "meadow":
        canvas.fill(dots[::2], palette.lit(palette.accent, 0.0))
        canvas.fill(dots[1::2], palette.lit((250, 240, 214), 0.0))


def _peaks(canvas: Canvas, scene: Scene, palette: Palette, *, height: float = 0.34) -> None:
    """Paint two ranges of peaks above the horizon, lit from the side of the sun."""
    dice = scene.dice("mountains")
    base = canvas.height * (scene.shot.horizon + 0.04)
    side, snow = 1 if scene.shot.sun_x > 0.5 else -1, 0.46 if _snowy(scene) else 0.24  # noqa: PLR2004
    for distance, tall, count in ((0.68, height, 4), (0.40, height * 0.66, 5)):
        bodies: list[Shape] = []
        faces: list[Shape] = []
        caps: list[Shape] = []
        for number in range(count):
            x = canvas.width * (number + dice.uniform(0.1, 0.9)) / count
            rise = canvas.height * tall * dice.uniform(0.55, 1.0)
            _peak(dice, (x, base - rise), base, (bodies, faces, caps), side, snow)
        rock = palette.lit(palette.rock, distance)
        canvas.fill(bodies, scale(rock, 0.86), mix(rock, palette.haze, 0.5))
        bright = mix(rock, palette.sky[2], 0.4)
        canvas.fill(faces, bright, mix(rock, palette.haze, 0.5), opacity=0.85)
        canvas.fill(caps, palette.lit((246, 248, 255), distance * 0.45), opacity=0.95)


def _peak(
    dice: random.Random,
    top: Point,
    base: float,
    layers: tuple[list[Shape], list[Shape], list[Shape]],
    side: int,
    snow: float,
) -> None:
    """Add a peak to `layers`: its body, the face lit from `side`, and a snow cap.

    `snow` is the height of the cap as a fraction of the peak's height.
    """
    x, y = top
    rise = base - y
    spread = rise * dice.uniform(0.75, 1.1)
    slopes: dict[int, list[Point]] = {}
    for hand in (-1, 1):
        slopes[hand] = [
            (
                x + hand * spread * (step / 7) + dice.uniform(-0.03, 0.03) * rise,
                y + rise * (step / 7) ** 1.06 + dice.uniform(-0.02, 0.03) * rise,
            )
            for step in range(1, 7)
        ] + [(x + hand * spread, base)]
    layers[0].append([*slopes[-1][::-1], top, *slopes[1]])
    spine = [
        (
            x + side * rise * (0.02 + 0.09 * (step % 2)) + side * rise * 0.04 * step,
            y + rise * step / 6,
        )
        for step in range(1, 6)
    ]
    layers[1].append([top, *slopes[side], (x + side * rise * 0.3, base), *spine[::-1]])
    edge = y + rise * snow
    cap: list[Point] = [top]
    reach = spread * snow * 0.92
    for step in range(7):
        across = 1 - step / 3
        drop = rise * snow * (0.62 if step % 2 else 1.0) * dice.uniform(0.85, 1.1)
        cap.append(
            (x + reach * across, y + max(drop * 0.5, drop - abs(across) * 0.02 * (edge - y)))
        )
    layers[2].append(cap)


def _pine(x: float, y: float, tall: float) -> list[Shape]:
    """Return a pine with its foot at (x, y)."""
    shapes: list[Shape] = []
    for tier in range(3):
        low, high = y - tall * (0.12 + 0.26 * tier), y - tall * (0.52 + 0.24 * tier)
        half = tall * (0.26 - 0.065 * tier)
        shapes.append([(x - half, low), (x, high), (x + half, low)])
    shapes.append(rectangle(x - tall * 0.03, y - tall * 0.2, x + tall * 0.03, y))
    return shapes


def _round_tree(x: float, y: float, tall: float) -> list[Shape]:
    """Return a broad-leaved tree with its foot at (x, y)."""
    return [
        ellipse(x, y - tall * 0.68, tall * 0.34, tall * 0.36),
        ellipse(x - tall * 0.2, y - tall * 0.52, tall * 0.24, tall * 0.22),
        ellipse(x + tall * 0.2, y - tall * 0.5, tall * 0.24, tall * 0.22),
        rectangle(x - tall * 0.04, y - tall * 0.4, x + tall * 0.04, y),
    ]


def _woods(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    """Paint three rows of trees with mist between the rows."""
    dice = scene.dice("woods")
    top = canvas.height * scene.shot.horizon
    pines = scene.season == "winter" or dice.random() < 0.5  # noqa: PLR2004
    leaf = palette.leaf
    for row in range(3):
        base = top + (canvas.height - top) * (0.06, 0.2, 0.4)[row]
        tall = canvas.unit * (0.22, 0.34, 0.5)[row]
        count = round(canvas.width / tall * (4.2, 2.6, 1.5)[row])
        distance = (0.66, 0.42, 0.16)[row]
        shapes: list[Shape] = []
        for number in range(count + 1):
            x = canvas.width * (number + dice.uniform(-0.4, 0.4)) / count
            # Leave a clearing around the subject.
            if row == 2 and abs(x / canvas.width - scene.shot.subject_x) < 0.3:  # noqa: PLR2004
                continue
            size = tall * dice.uniform(0.7, 1.15)
            shapes += (_pine if pines else _round_tree)(x, base + size * 0.1, size)
        line = _ridge(dice, canvas.width, base, canvas.height * 0.012)
        tone = palette.lit(leaf, distance)
        canvas.fill(shapes, tone, mix(scale(tone, 0.82), palette.haze, 0.25))
        earth = palette.lit(
            scale(palette.grass, 1.0 if _snowy(scene) else 0.95 - 0.12 * row), distance
        )
        canvas.ground(line, earth, scale(earth, 0.93 if _snowy(scene) else 0.86))
        canvas.fill(
            [rectangle(0, base - tall * 0.16, canvas.width, base + tall * 0.04)],
            palette.haze, opacity=(0.5, 0.32, 0.1)[row], blur=canvas.unit * 0.03,
        )  # fmt: skip


def _dunes(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    """Paint dunes with a lit and a shaded side."""
    dice = scene.dice("dunes")
    top = canvas.height * scene.shot.horizon
    deep = canvas.height - top
    sand = (236, 186, 120) if scene.weather != "snow" else (236, 240, 248)
    for number in range(4):
        base = top + deep * (0.02, 0.2, 0.46, 0.8)[number]
        swing = deep * (0.1, 0.14, 0.18, 0.16)[number]
        line = _ridge(dice, canvas.width, base, swing, waves=1.0)
        distance = (0.55, 0.34, 0.14, 0.0)[number]
        tone = palette.lit(scale(sand, 1.04 - 0.08 * number), distance)
        canvas.ground(line, mix(tone, palette.sun, 0.2), tone, scale(tone, 0.9))
        _lee(canvas, line, tone, 1 if scene.shot.sun_x < 0.5 else -1)  # noqa: PLR2004


def _lee(canvas: Canvas, line: list[Point], tone: Colour, hand: int) -> None:
    """Shade a dune's highest crest on the side that faces away from the sun."""
    crest = min(range(len(line)), key=lambda i: line[i][1])
    foot = crest
    while 0 <= foot + hand < len(line) and line[foot + hand][1] >= line[foot][1]:
        foot += hand
    if foot == crest:
        return
    slope = line[crest : foot + 1] if hand > 0 else line[foot : crest + 1][::-1]
    (x, y), (end_x, end_y) = line[crest], line[foot]
    drop = end_y - y
    back = curve(
        [(end_x, end_y), (x + (end_x - x) * 0.62, end_y + drop * 0.3),
         (x + (end_x - x) * 0.24, y + drop * 0.9), (x, y)]
    )  # fmt: skip
    canvas.fill([[*slope, *back]], mix(tone, (120, 70, 90), 0.36), mix(tone, (120, 70, 90), 0.2))


def _sea(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    """Paint open water with bands of waves, and glitter below the sun."""
    dice = scene.dice("sea")
    top = canvas.height * scene.shot.horizon
    deep = canvas.height - top
    near = palette.lit(palette.water)
    far = mix(near, palette.sky[2], 0.62)
    canvas.ground([(0, top), (canvas.width, top)], far, near, scale(near, 0.72))
    rough = 2.4 if scene.weather == "storm" else 1.0
    for number in range(6):
        depth = ((number + 0.6) / 6) ** 1.5
        swing = deep * 0.014 * rough * (1 + 3 * depth)
        line = _ridge(dice, canvas.width, top + deep * depth, swing, waves=(7 - number) * 1.2)
        tone = mix(mix(far, scale(near, 0.78), depth), WHITE, 0.05)
        canvas.ground(line, tone, scale(tone, 0.86), opacity=0.62)
        crest = [(x, y + canvas.unit * 0.004 * (0.4 + depth)) for x, y in line]
        canvas.fill([line + crest[::-1]], mix(tone, WHITE, 0.45), opacity=0.4 * rough / 2 + 0.1)
    if scene.weather not in {"rain", "storm", "snow"} or scene.lights:
        _glitter(canvas, scene, palette, top)


def _glitter(canvas: Canvas, scene: Scene, palette: Palette, top: float) -> None:
    dice = scene.dice("glitter")
    x = canvas.width * scene.shot.sun_x
    shapes: list[Shape] = []
    for _ in range(70):
        depth = dice.random() ** 1.6
        spread = canvas.unit * (0.03 + 0.16 * depth)
        wide = canvas.unit * dice.uniform(0.008, 0.03) * (0.5 + depth)
        shapes.append(
            ellipse(x + dice.gauss(0, 0.45) * spread, top + (canvas.height - top) * depth,
                    wide, canvas.unit * 0.0022 * (0.6 + depth))
        )  # fmt: skip
    canvas.fill(shapes, palette.sun, opacity=0.7)


def _reflect(
    canvas: Canvas, scene: Scene, palette: Palette, *, dim: float = 0.25, ripples: int = 22
) -> None:
    """Replace everything below the horizon with still water that mirrors the upper part."""
    dice = scene.dice("reflection")
    top = round(canvas.height * (scene.shot.horizon + 0.05))
    deep = canvas.height - top
    if deep <= 1:
        return
    above = canvas.image.crop((0, max(0, top - deep), canvas.width, top))
    mirror = above.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    small = mirror.resize((max(1, canvas.width // 3), max(1, deep // 6)), Image.Resampling.BOX)
    small = small.filter(ImageFilter.GaussianBlur(1))
    mirror = small.resize((canvas.width, deep), Image.Resampling.BILINEAR)
    water = gradient((canvas.width, deep), (mix(palette.sky[2], palette.water, 0.35),
                                            scale(palette.lit(palette.water), 0.7)))  # fmt: skip
    canvas.image.paste(Image.blend(mirror, water, dim), (0, top))
    ripple: list[Shape] = []
    for _ in range(ripples):
        depth = dice.random()
        x, wide = dice.random() * canvas.width, canvas.unit * dice.uniform(0.05, 0.22)
        y = top + deep * depth**1.2
        ripple.append(ellipse(x, y, wide * (0.4 + depth), canvas.unit * 0.0018 * (0.5 + depth)))
    canvas.fill(ripple, mix(palette.sky[2], WHITE, 0.4), opacity=0.35)
    canvas.fill([stroke([(0, top), (canvas.width, top)], canvas.unit * 0.003)],
                mix(palette.haze, WHITE, 0.3), opacity=0.5)  # fmt: skip


def _sky(scene: Scene, palette: Palette, size: tuple[int, int]) -> Canvas:
    """Return a canvas with the sky, sun or moon, stars and clouds."""
    horizon = scene.shot.horizon
    canvas = Canvas(Image.new("RGB", size, palette.haze))
    canvas.image.paste(_soft_sky(scene, palette, size), (0, 0))
    if scene.time == "night" and scene.weather not in {"fog", "rain", "storm"}:
        stars(canvas, scene.dice("stars"), bottom=horizon, count=150)
    where = _sun_at(canvas, scene)
    if where is not None:
        x, y, radius = where
        canvas.fill([ellipse(x, y, radius, radius)], palette.sun)
        if scene.time == "night":
            _craters(canvas, scene, palette, where)
    if "rainbow" in scene.lights:
        _rainbow(canvas, scene)
    if scene.weather not in _DULL:
        _clouds(canvas, scene, palette)
    return canvas


def _soft_sky(scene: Scene, palette: Palette, size: tuple[int, int]) -> Image.Image:
    """Return the soft parts of the sky down to the horizon, painted small and then enlarged."""
    rows = round(size[1] * (scene.shot.horizon + 0.06))
    times = 2 if scene.weather in _DULL else _SKY_SCALE
    small = (-(-size[0] // times), -(-size[1] // times))
    canvas = Canvas(Image.new("RGB", small, palette.haze))
    height = size[1] / small[1]
    canvas.image.paste(gradient((small[0], round(rows / height)), palette.sky), (0, 0))
    if "aurora" in scene.lights:
        _aurora(canvas, scene)
    where = _sun_at(canvas, scene)
    if where is not None:
        x, y, radius = where
        reach, power = ((8, 3), (0.5, 0.6)) if scene.time == "night" else ((7.5, 3.2), (0.8, 0.7))
        canvas.glow(x, y, radius * reach[0], palette.sun, power[0])
        canvas.glow(x, y, radius * reach[1], palette.sun, power[1])
    if scene.weather in _DULL:
        _clouds(canvas, scene, palette)
    box = (0, 0, small[0], rows / height)
    return canvas.image.resize((size[0], rows), Image.Resampling.BILINEAR, box=box)


def _sun_at(canvas: Canvas, scene: Scene) -> tuple[float, float, float] | None:
    """Return x, y and radius of the sun or, at night, the moon. None if the weather hides it."""
    named = scene.lights & {"sun", "moon"} or (scene.weather == "snow" and "time" in scene.named)
    if scene.weather in {"rain", "storm", "snow"} and not named:
        return None
    x = canvas.width * scene.shot.sun_x
    lowered = {"dawn": 0.85, "dusk": 0.88, "golden": 0.78, "day": 0.42, "night": 0.42}[scene.time]
    y = canvas.height * scene.shot.horizon * (lowered * 0.7 + scene.shot.sun_y * 0.3)
    return x, y, canvas.unit * (0.07 if scene.time in {"dusk", "golden"} else 0.055)


def moon(canvas: Canvas, scene: Scene, palette: Palette, disc: tuple[float, float, float]) -> None:
    """Paint the full moon; `disc` is x, y and radius in pixels."""
    x, y, radius = disc
    canvas.glow(x, y, radius * 8, palette.sun, 0.5)
    canvas.glow(x, y, radius * 3, palette.sun, 0.6)
    canvas.fill([ellipse(x, y, radius, radius)], palette.sun)
    _craters(canvas, scene, palette, disc)


def _craters(
    canvas: Canvas, scene: Scene, palette: Palette, disc: tuple[float, float, float]
) -> None:
    x, y, radius = disc
    dice = scene.dice("moon")
    spots = []
    for _ in range(5):
        angle, away = dice.uniform(0, math.tau), dice.uniform(0.1, 0.65) * radius
        spot = dice.uniform(0.1, 0.24) * radius
        spots.append(ellipse(x + math.cos(angle) * away, y + math.sin(angle) * away, spot, spot))
    canvas.fill(spots, scale(palette.sun, 0.86), opacity=0.8)


def stars(canvas: Canvas, dice: random.Random, *, bottom: float, count: int) -> None:
    """Scatter stars from the top of the picture to `bottom`, a fraction of its height."""
    small, large = [], []
    for number in range(count):
        x, y = dice.random() * canvas.width, dice.random() ** 1.3 * canvas.height * bottom
        radius = canvas.unit * dice.choice((0.0009, 0.0012, 0.0016))
        if number % 16 == 0:
            large.append(dot(x, y, radius * 1.5))
            canvas.glow(x, y, radius * 12, (220, 230, 255), 0.7)
        else:
            small.append(dot(x, y, radius))
    canvas.fill(small, WHITE, opacity=0.75)
    canvas.fill(large, WHITE)


def _aurora(canvas: Canvas, scene: Scene) -> None:
    dice = scene.dice("aurora")
    for colour in ((90, 240, 170), (80, 200, 220), (170, 110, 230)):
        base = canvas.height * dice.uniform(0.2, 0.4) * scene.shot.horizon * 1.6
        points = [
            (canvas.width * step / 6, base + canvas.height * dice.uniform(-0.07, 0.07))
            for step in range(-1, 8)
        ]
        upper = [(x, y - canvas.height * dice.uniform(0.1, 0.2)) for x, y in points]
        canvas.fill([points + upper[::-1]], colour, opacity=0.4, blur=canvas.unit * 0.03)


def _rainbow(canvas: Canvas, scene: Scene) -> None:
    colours = ((228, 84, 80), (244, 160, 76), (250, 222, 110), (110, 196, 120), (90, 150, 220),
               (140, 110, 200))  # fmt: skip
    # The six bands are soft, so they are painted at half size, and only above the horizon.
    x, y = canvas.width * (1 - scene.shot.sun_x) / 2, canvas.height * (scene.shot.horizon + 0.1) / 2
    size = (canvas.width // 2, min(canvas.height // 2, round(y)))
    bands, mask = Image.new("RGB", size, colours[-1]), Image.new("L", size)
    for number, colour in enumerate((*colours, colours[-1])):
        radius = canvas.unit * (0.52 - number * 0.018) / 2
        box = (x - radius, y - radius, x + radius, y + radius)
        ImageDraw.Draw(bands).ellipse(box, fill=colour)
        if number in {0, len(colours)}:
            ImageDraw.Draw(mask).ellipse(box, fill=0 if number else 128)
    mask = mask.filter(ImageFilter.BoxBlur(1))
    full = (size[0] * 2, size[1] * 2)
    canvas.image.paste(
        bands.resize(full, Image.Resampling.BILINEAR),
        (0, 0),
        mask.resize(full, Image.Resampling.BILINEAR),
    )


def _clouds(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    """Paint clouds that fade out downwards. Bad weather has more clouds."""
    dice = scene.dice("clouds")
    heavy = scene.weather in {"storm", "rain", "snow", "cloudy"}
    count = {"clear": 2, "cloudy": 6, "rain": 8, "storm": 10, "snow": 6, "fog": 1}[scene.weather]
    light = mix(palette.sky[2], WHITE, 0.35 if scene.time != "night" else 0.0)
    body = mix(light, palette.sky[0], 0.55 if scene.weather in {"storm", "rain"} else 0.18)
    for number in range(count):
        reach = canvas.unit * dice.uniform(0.14, 0.3) * (1.35 if heavy else 1.0)
        x = canvas.width * (number + dice.uniform(-0.2, 1.2)) / count
        y = canvas.height * scene.shot.horizon * dice.uniform(0.08, 0.62)
        shapes = _cloud(dice, x, y, reach)
        tone = mix(body, palette.sky[1], dice.uniform(0.0, 0.5))
        lower = mix(tone, palette.sky[1], 0.8)
        canvas.fill(shapes, mix(tone, light, 0.6), lower, opacity=0.86 if heavy else 0.74, fade=0.6)


def _cloud(dice: random.Random, x: float, y: float, reach: float) -> list[Shape]:
    puffs: list[Shape] = []
    for step in range(6):
        offset = (step + 0.5) / 6 * 2 - 1
        radius = reach * (0.34 * (1 - offset * offset) + 0.12) * dice.uniform(0.8, 1.15)
        outline = ellipse(x + offset * reach, y, radius * 1.25, radius)
        # Flatten the lower half of every puff, so that clouds have a flat bottom.
        puffs.append([(across, min(down, y + (down - y) * 0.45)) for across, down in outline])
    return puffs

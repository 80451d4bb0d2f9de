"""Scenery: everything behind and below the subject, place by place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from PIL import Image

from xai_notebook.server.painting import sky, terrain, water
from xai_notebook.server.painting.canvas import Canvas, gradient
from xai_notebook.server.painting.colours import WHITE, mix, scale
from xai_notebook.server.painting.shapes import ellipse, rectangle, stroke

if TYPE_CHECKING:
    from collections.abc import Callable

    from xai_notebook.server.painting.colours import Colour
    from xai_notebook.server.painting.palette import Palette
    from xai_notebook.server.painting.scene import Scene
    from xai_notebook.server.painting.shapes import Shape

__all__ = ["set_scene"]

_NEON: Final = ((255, 70, 150), (60, 220, 255), (255, 200, 60), (150, 100, 255), (80, 255, 170))
_WINDOW: Final = (255, 214, 130)


def set_scene(scene: Scene, palette: Palette, size: tuple[int, int]) -> Canvas:
    """Return a canvas with the whole scenery of `scene`."""
    whole = {"space": _space, "moonscape": _space, "underwater": _underwater, "room": _room}
    if scene.place in whole:
        canvas = Canvas(Image.new("RGB", size))
        whole[scene.place](canvas, scene, palette)
        return canvas
    canvas = sky.sky(scene, palette, size)
    if scene.backdrop is not None:
        _wall(canvas, scene, palette, scene.backdrop)
        return canvas
    painters: dict[str, Callable[[Canvas, Scene, Palette], None]] = {
        "sea": water.sea, "lake": _lake, "mountains": _mountains, "forest": terrain.woods,
        "desert": terrain.dunes, "city": _city, "street": _street, "meadow": _meadow,
    }  # fmt: skip
    painters[scene.place](canvas, scene, palette)
    return canvas


def _meadow(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    if scene.dice("far").random() < 0.5 or "mountains" in scene.said:  # noqa: PLR2004
        terrain.mountains(canvas, scene, palette, height=0.17)
    terrain.hills(canvas, scene, palette, palette.grass)


def _mountains(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    terrain.mountains(canvas, scene, palette)
    terrain.hills(canvas, scene, palette, mix(palette.grass, palette.rock, 0.25))


def _lake(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    terrain.mountains(canvas, scene, palette, height=0.3)
    dice = scene.dice("shore")
    base = canvas.height * (scene.shot.horizon + 0.05)
    trees: list[Shape] = []
    for number in range(60):
        x = canvas.width * (number + dice.uniform(-0.5, 0.5)) / 60
        tall = canvas.unit * dice.uniform(0.03, 0.085)
        tree = terrain.pine if scene.season == "winter" or number % 3 else terrain.round_tree
        trees += tree(x, base, tall)
    leaf = palette.leaf
    canvas.fill(trees[::2], palette.lit(leaf, 0.2), palette.lit(scale(leaf, 0.7), 0.25))
    other = mix(leaf, (228, 176, 70) if scene.season == "autumn" else palette.grass, 0.5)
    canvas.fill(trees[1::2], palette.lit(other, 0.16), palette.lit(scale(other, 0.75), 0.2))
    water.reflect(canvas, scene, palette)


def _city(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    """Paint three rows of towers, their windows lit when it is dark."""
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
        light = _WINDOW if lamps else mix(tone, palette.sky[1], 0.5)
        canvas.fill(windows, light, opacity=(0.5, 0.75, 0.9)[row] if lamps else 0.45)
    earth = palette.lit((96, 98, 112), 0.2)
    shore = [(0.0, horizon), (float(canvas.width), horizon)]
    canvas.ground(shore, mix(earth, palette.haze, 0.3), scale(earth, 0.7))
    water.reflect(canvas, scene, palette, dim=0.3, ripples=16)


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
        water.reflect(canvas, scene, palette, dim=0.3, ripples=30)


def _house_front(
    canvas: Canvas,
    vanish: tuple[float, float],
    plan: tuple[tuple[float, float], tuple[float, float], float],
    tone: Colour,
    random: Callable[[], float],
) -> None:
    """Paint one house: `plan` is its far and near x, its far and near scale, its height."""
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
    canvas.fill(windows, _WINDOW, opacity=0.75)
    canvas.fill([[at(0.1, 0.0), at(0.1, 0.17), at(0.9, 0.17), at(0.9, 0.0)]], (255, 226, 170),
                opacity=0.55)  # fmt: skip


def _sign(canvas: Canvas, sign: Shape, colour: Colour, *, lit: bool) -> None:
    left, top, right, bottom = *sign[0], *sign[2]
    if lit:
        canvas.glow((left + right) / 2, (top + bottom) / 2, (bottom - top) * 1.5, colour, 0.8)
    canvas.fill([sign], scale(colour, 0.85))
    step = (bottom - top) / 4
    marks: list[Shape] = []
    for number in range(4):  # strokes that look like writing, and are none
        y = top + step * (number + 0.5)
        half = (right - left) * (0.3 if number % 2 else 0.22)
        middle = (left + right) / 2
        marks.append(rectangle(middle - half, y - step * 0.1, middle + half, y + step * 0.1))
        marks.append(rectangle(middle - step * 0.06, y - step * 0.3, middle + step * 0.06,
                               y + step * 0.3))  # fmt: skip
    canvas.fill(marks, mix(colour, WHITE, 0.85))


def _wall(canvas: Canvas, scene: Scene, palette: Palette, colour: Colour) -> None:
    """Paint a wall right behind the subject, with the ground in front of it."""
    dice = scene.dice("wall")
    floor = canvas.height * max(0.66, min(0.82, scene.shot.horizon + 0.14))
    tone = mix(colour, palette.lit(colour), 0.5)  # a colour that was named stays that colour
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
    """Fill the whole width from `top` down to `bottom`."""
    canvas.fill([rectangle(-2, top, canvas.width + 2, bottom)], *tones)


def _room(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    """Paint a wall with a window and a table in front of it."""
    dice = scene.dice("room")
    walls = ((222, 206, 190), (196, 210, 206), (230, 200, 180), (190, 198, 220), (226, 214, 178))
    wall = scene.backdrop or (scene.colours[0] if scene.colours else dice.choice(walls))
    if scene.backdrop is not None and "room" not in scene.said:
        _wall(canvas, scene, palette, wall)
        return
    tone = palette.lit(wall)
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
    line = terrain.ridge(scene.dice("view"), round(right - left), bottom - (bottom - top) * 0.25,
                         (bottom - top) * 0.08)  # fmt: skip
    view = [(left + x, y) for x, y in line] + [(right, bottom), (left, bottom)]
    canvas.fill([view], palette.lit(palette.grass, 0.45))
    middle, across = (left + right) / 2, (top + bottom) / 2
    canvas.fill([rectangle(middle - frame / 3, top, middle + frame / 3, bottom),
                 rectangle(left, across - frame / 3, right, across + frame / 3)],
                palette.lit((246, 240, 230)))  # fmt: skip
    canvas.glow(middle, across, (bottom - top) * 1.3, palette.sun, 0.4)


def _space(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    """Paint stars, nebulae and a planet; on the moon, the ground and the earth above it."""
    dice = scene.dice("space")
    # Nothing is softer than a nebula: all of them are painted small.
    far = Canvas(gradient((-(-canvas.width // 8), -(-canvas.height // 8)),
                          ((10, 10, 32), (26, 20, 58), (16, 26, 56))))  # fmt: skip
    for _ in range(5):
        colour = dice.choice(((120, 60, 170), (200, 70, 130), (50, 110, 190), palette.accent))
        x, y = dice.random() * far.width, dice.random() * far.height
        far.glow(x, y, far.unit * dice.uniform(0.3, 0.7), colour, dice.uniform(0.25, 0.5))
    canvas.image.paste(far.image.resize(canvas.image.size, Image.Resampling.BILINEAR))
    sky.stars(canvas, dice, bottom=1.0, count=260)
    x, y = canvas.width * scene.shot.sun_x, canvas.height * scene.shot.horizon * 0.42
    radius = canvas.unit * dice.uniform(0.1, 0.17)
    if any(subject.name == "earth" for subject in scene.subjects):
        return
    earth = scene.place == "moonscape"
    planets = ((226, 160, 110), (120, 170, 190), palette.accent)
    tone = (70, 136, 206) if earth else dice.choice(planets)
    _planet(canvas, (x, y, radius), tone, dice_land=dice.random if earth else None)
    if earth:
        _moon_ground(canvas, scene)


def _planet(
    canvas: Canvas,
    place: tuple[float, float, float],
    tone: Colour,
    *,
    dice_land: Callable[[], float] | None,
) -> None:
    """Paint a planet: one with land of its own, or one with a ring."""
    x, y, radius = place
    canvas.glow(x, y, radius * 2, mix(tone, WHITE, 0.4), 0.6)
    canvas.fill([ellipse(x, y, radius, radius)], mix(tone, WHITE, 0.3), tone, scale(tone, 0.6))
    if dice_land is not None:
        for _ in range(4):
            away_x, away_y = (dice_land() - 0.5) * radius, (dice_land() - 0.5) * radius
            size = radius * (0.14 + 0.18 * dice_land())
            canvas.fill([ellipse(x + away_x, y + away_y, size * 1.4, size, 0.5)], (110, 180, 120),
                        opacity=0.85)  # fmt: skip
    dark = [p for p in ellipse(x, y, radius, radius) if (p[0] - x) * 0.8 + (p[1] - y) * 0.6 > 0]
    dark.sort(key=lambda point: (point[1] - y) * 0.8 - (point[0] - x) * 0.6)
    bow = [((p[0] * 0.35 + (x + radius * 0.1) * 0.65), (p[1] * 0.35 + y * 0.65)) for p in dark]
    canvas.fill([dark + bow[::-1]], (10, 12, 40), opacity=0.45, blur=radius * 0.06)
    if dice_land is None:
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
        line = terrain.ridge(dice, canvas.width, base, deep * 0.07)
        canvas.ground(line, tone, scale(tone, 0.72))
        for _ in range(5):
            x = dice.random() * canvas.width
            y = top + deep * (0.14, 0.36, 0.7)[number] + dice.random() * deep * 0.14
            size = canvas.unit * dice.uniform(0.02, 0.05) * (0.6, 1.0, 1.5)[number]
            canvas.fill([ellipse(x, y, size * 1.7, size * 0.6)], scale(tone, 0.78))
            canvas.fill([ellipse(x, y + size * 0.16, size * 1.5, size * 0.42)], scale(tone, 0.9))


def _underwater(canvas: Canvas, scene: Scene, palette: Palette) -> None:
    """Paint light from above, weed, a sandy floor and bubbles."""
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
        line = terrain.ridge(dice, canvas.width, base, canvas.height * 0.03)
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

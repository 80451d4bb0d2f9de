"""Interprets a prompt: determines the scene and its colours, and rewrites the prompt."""

from __future__ import annotations

import functools
import hashlib
import random
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from xai_notebook.server.painting import figures
from xai_notebook.server.painting.colours import (
    WHITE,
    mix,
    parse_colour,
    parse_colours,
    scale,
    shift,
)
from xai_notebook.server.painting.figures import DATA, choices, known_figures, read_records

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from xai_notebook.server.painting.colours import Colour

KINDS: Final = ("time", "weather", "season", "setting", "style", "light", "subject")
"""Kinds of meanings of a word. A light is in the sky, such as the moon; a subject is a figure."""


@dataclass(frozen=True)
class Meaning:
    """One meaning of a word.

    Attributes:
        kind: One of `KINDS`.
        value: The value of that kind, such as `night`, or the name of a figure.
        colour: Colour of a subject, if the word implies one.
    """

    kind: str
    value: str
    colour: Colour | None = None


@dataclass(frozen=True)
class Vocabulary:
    """All known words, in lower case.

    Attributes:
        meanings: Words with a meaning of one of the `KINDS`.
        colours: Colour words.
        surfaces: Words for the `backdrop` or the `sky`, which a colour word can describe.
        numbers: Number words, which count the following subject.
        negations: Words after which the next word is ignored.
    """

    meanings: Mapping[str, tuple[Meaning, ...]]
    colours: Mapping[str, Colour]
    surfaces: Mapping[str, str]
    numbers: Mapping[str, int]
    negations: frozenset[str]

    def look_up(self, word: str) -> tuple[Meaning, ...]:
        """Return the meanings of a lower-case word, singular or regular plural."""
        for ending, letter in (("", ""), ("s", ""), ("es", ""), ("ies", "y")):
            stem = word[: len(word) - len(ending)] + letter if word.endswith(ending) else ""
            if len(stem) > 1 and stem in self.meanings:
                return self.meanings[stem]
        return ()


def vocabulary() -> Vocabulary:
    """Return the vocabulary, which is loaded on first use."""
    return _load(figures.FOLDER)


@functools.cache
def _load(_folder: Path) -> Vocabulary:
    """Load the vocabulary. `_folder` is the cache key, because tests use their own figures."""
    lists = {kind: _by_word(values) for kind, values in read_records(DATA / "words.ini").items()}
    meanings: dict[str, tuple[Meaning, ...]] = {}
    for kind in KINDS[:-1]:
        for word, value in lists[kind].items():
            meanings[word] = (*meanings.get(word, ()), Meaning(kind, value))
    for figure in figures.known_figures().values():
        for word, colour in figure.words.items():
            meaning = Meaning("subject", figure.name, colour)
            meanings[word] = (*meanings.get(word, ()), meaning)
    return Vocabulary(
        meanings,
        colours={word: parse_colour(value) for word, value in lists["colour"].items()},
        surfaces=lists["surface"],
        numbers={word: int(value) for word, value in lists["number"].items()},
        negations=frozenset(lists["negation"]),
    )


def _by_word(values: Mapping[str, str]) -> dict[str, str]:
    return {word: value for value, words in values.items() for word in words.split()}


_MAX_SUBJECTS: Final = 3
_REACH: Final = 2
"""Maximum words between a colour and its subject, as in "a green old steel bicycle"."""
_NUMBER_REACH: Final = 3
"""Maximum words from a number to its subject, as in "three small red apples"."""
_WORD: Final = re.compile(r"[^\W\d_]+|\b[23]\b")
_SETTINGS: Final = ("mountains", "lake", "sea", "meadow", "forest", "desert")
_FAIR: Final = ("clear", "clear", "clear", "cloudy", "cloudy")
_TIMES: Final = ("dawn", "day", "golden", "dusk")
_MARK: Final = re.compile(r"\s*\[moderated[^\]]*\]", re.IGNORECASE)
"""Marks that simulate moderation."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A figure in the picture, and its colour if the prompt names or implies one."""

    name: str
    colour: Colour | None


@dataclass(frozen=True, slots=True)
class Shot:
    """A camera position. Lengths are fractions of the picture.

    Attributes:
        name: Description for the rewritten prompt.
        horizon: Distance of the horizon from the top.
        subject_x: Distance of the subject from the left.
        subject_scale: Size factor of the subject; 1 is the ordinary size.
        depth: Position of the subject, from 0 at the horizon to 1 at the lower edge.
        sun_x: Distance of sun or moon from the left.
        sun_y: Distance of sun or moon from the top, as a fraction of `horizon`.
    """

    name: str
    horizon: float
    subject_x: float
    subject_scale: float
    depth: float
    sun_x: float
    sun_y: float


_SHOTS: Final = (
    Shot("wide shot with the subject off-centre", 0.60, 0.33, 0.95, 0.42, 0.72, 0.55),
    Shot("close view from the side", 0.52, 0.60, 1.55, 0.80, 0.24, 0.40),
    Shot("low angle against a tall sky", 0.76, 0.66, 1.15, 0.50, 0.34, 0.48),
    Shot("high vantage point over a deep foreground", 0.40, 0.46, 1.15, 0.55, 0.80, 0.50),
    Shot("small subject in a vast view", 0.66, 0.72, 0.70, 0.30, 0.42, 0.70),
)


@dataclass(frozen=True)
class Scene:
    """The content of one picture.

    Attributes:
        time: `dawn`, `day`, `golden`, `dusk` or `night`.
        weather: `clear`, `cloudy`, `rain`, `snow`, `fog` or `storm`.
        season: `spring`, `summer`, `autumn` or `winter`.
        setting: One of `figures.SETTINGS`.
        style: One of `styles.STYLES`, or None.
        subjects: At most three subjects, in the order of the prompt.
        colours: Colours in the prompt that belong to no subject.
        backdrop: Colour of the wall or background, if the prompt names it.
        sky: Colour of the sky, if the prompt names it.
        lights: Which of `sun`, `moon`, `rainbow` and `aurora` the prompt names.
        named: The `KINDS` for which the prompt names a value.
        shot: The camera position.
        seed: Seed of all random numbers of this picture.
    """

    time: str
    weather: str
    season: str
    setting: str
    style: str | None
    subjects: tuple[Subject, ...]
    colours: tuple[Colour, ...]
    backdrop: Colour | None
    sky: Colour | None
    lights: frozenset[str]
    named: frozenset[str]
    shot: Shot
    seed: str

    def dice(self, purpose: str) -> random.Random:
        """Return a random generator per purpose, so that changing one part changes no other."""
        return random.Random(f"{self.seed}|{purpose}")  # noqa: S311  # pictures, not secrets


@dataclass
class _Reading:
    """Content that the prompt names. The rest of the scene is chosen at random."""

    named: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    subjects: list[Subject] = field(default_factory=list)
    colours: list[Colour] = field(default_factory=list)
    surfaces: dict[str, Colour] = field(default_factory=dict)

    def first(self, kind: str) -> str | None:
        """Return the first value of a kind."""
        return self.named[kind][0] if self.named[kind] else None

    def add_colour(self, colour: Colour | None) -> None:
        """Add a colour that belongs to no subject. None is ignored."""
        if colour is not None:
            self.colours.append(colour)

    def add(self, meanings: Sequence[Meaning], colour: Colour | None, count: int = 1) -> bool:
        """Add the meanings of a word. Return whether a subject was added."""
        has_subject = False
        for meaning in meanings:
            if meaning.kind != "subject":
                if meaning.value not in self.named[meaning.kind]:
                    self.named[meaning.kind].append(meaning.value)
            elif all(meaning.value != subject.name for subject in self.subjects):
                self.subjects += [Subject(meaning.value, colour or meaning.colour)] * count
                has_subject = True
        return has_subject


def read_scene(prompt: str, index: int = 0, extra: str = "") -> Scene:
    """Return the scene for picture `index` of `prompt`.

    Args:
        prompt: Any text, in any language.
        index: Number of the picture, from 0. Each number has its own view and light.
        extra: Additional seed that distinguishes requests, such as the model.
    """
    prompt = " ".join(_MARK.sub(" ", prompt).split())
    reading = _read(_WORD.findall(prompt.lower()), prompt.lower())
    root = hashlib.sha256(f"{prompt}\0{extra}".encode()).hexdigest()
    dice = random.Random(f"{root}|{index}")  # noqa: S311
    setting = _choose_setting(reading, random.Random(root))  # noqa: S311  # the same for all pictures
    time = _choose_time(reading, setting, dice, index)
    weather = reading.first("weather") or dice.choice(_FAIR)
    if "storm" in reading.named["weather"]:
        weather = "storm"
    season = reading.first("season") or ("winter" if weather == "snow" else "summer")
    return Scene(
        time=time,
        weather=weather,
        season=season,
        setting=setting,
        style=reading.first("style"),
        subjects=tuple(reading.subjects[:_MAX_SUBJECTS]),
        colours=tuple(reading.colours),
        backdrop=reading.surfaces.get("backdrop"),
        sky=reading.surfaces.get("sky"),
        lights=frozenset(reading.named["light"]),
        named=frozenset(kind for kind, values in reading.named.items() if values),
        shot=_choose_shot(root, index, dice),
        seed=f"{root}|{index}",
    )


def _read(words: Sequence[str], text: str) -> _Reading:
    reading = _Reading()
    known = vocabulary()
    waiting: Colour | None = None  # a colour without a subject so far
    gap = 0
    count = since = 1  # the last number, and how many words follow it
    for position, word in enumerate(words):
        if position and words[position - 1] in known.negations:
            continue
        meanings = known.look_up(word)
        count, since = known.numbers.get(word, count), 0 if word in known.numbers else since + 1
        if word in known.colours and not any(meaning.kind == "subject" for meaning in meanings):
            reading.add_colour(waiting)
            waiting, gap = known.colours[word], 0
            continue
        if word in known.surfaces and waiting is not None:
            reading.surfaces[known.surfaces[word]] = waiting
            waiting = None
        copies = count if since <= _NUMBER_REACH else 1
        if reading.add(meanings, waiting, copies):
            waiting, count = None, 1
        gap += 1
        if gap > _REACH:
            reading.add_colour(waiting)
            waiting = None
    reading.add_colour(waiting)
    _read_phrases(text, reading)
    return reading


def _read_phrases(text: str, reading: _Reading) -> None:
    if re.search(r"\bon the moon\b|\bauf dem mond\b|\bsur la lune\b|\ben la luna\b", text):
        reading.named["setting"].insert(0, "moonscape")
        reading.named["light"] = [light for light in reading.named["light"] if light != "moon"]
    if re.search(r"\b(under|unter) (the |dem )?(water|wasser|sea)\b|sous l.eau|bajo el agua", text):
        reading.named["setting"].insert(0, "underwater")
    if re.search(r"black[ -]and[ -]white|schwarz[ -]?wei(ß|ss)|noir et blanc", text):
        reading.named["style"].insert(0, "mono")
        reading.colours.clear()
    if "golden hour" in text:
        reading.named["time"].insert(0, "golden")
    if "oil" in reading.named["style"] and not re.search(r"\boil paint|impress|monet|gogh", text):
        reading.named["style"].remove("oil")
    _adjust_subjects(text, reading)


def _adjust_subjects(text: str, reading: _Reading) -> None:
    """Correct the subjects for phrases such as "ice cream" and "reading a book"."""
    names = {subject.name for subject in reading.subjects}
    left_out: set[str] = set()
    if re.search(r"\b(palm|pine|fir) trees?\b", text):
        left_out.add("tree")
    if "vase" in names:  # the figure of a vase includes flowers
        left_out |= {name for name in names if known_figures()[name].blooms}
    reading.subjects[:] = [each for each in reading.subjects if each.name not in left_out]
    if re.search(r"\bice[ -]?creams?\b", text):
        reading.subjects.append(Subject("icecream", None))
        if not re.search(r"\b(snow|icy|frost)", text):
            reading.named["weather"] = [w for w in reading.named["weather"] if w != "snow"]
    if not reading.subjects and re.search(r"\b(portrait|porträt|retrato)\b", text):
        reading.subjects.append(Subject("person", None))
    if re.search(r"\b(reading|reads|liest|lesen[a-z]*|lisant|lit|leyendo|lee)\b", text):
        reading.subjects[:] = [
            Subject("reading", each.colour) if each.name == "book" else each
            for each in reading.subjects
        ]


def _choose_setting(reading: _Reading, dice: random.Random) -> str:
    settings = reading.named["setting"]
    for scenery in ("street", "moonscape", "underwater", "space", "room", "lake"):
        if scenery in settings:
            return scenery
    if settings:
        return settings[0]
    for subject in reading.subjects:
        return dice.choice(known_figures()[subject.name].home)
    if reading.surfaces.get("backdrop"):
        return "room"
    return dice.choice(_SETTINGS)


def _choose_time(reading: _Reading, setting: str, dice: random.Random, index: int) -> str:
    if time := reading.first("time"):
        return time
    if setting in {"space", "moonscape"} or "moon" in reading.named["light"]:
        return "night"
    if "neon" in reading.named["style"]:
        return "night"
    if "storm" in reading.named["weather"]:
        return "dusk"
    return _TIMES[(dice.randrange(2) + index) % len(_TIMES)]


def _choose_shot(root: str, index: int, dice: random.Random) -> Shot:
    """Return the camera position, which differs in the first five pictures of a request."""
    base = _SHOTS[(int(root[:4], 16) + index) % len(_SHOTS)]
    mirrored = bool((index + int(root[4], 16)) % 2)
    subject_x = base.subject_x + dice.uniform(-0.04, 0.04)
    sun_x = base.sun_x + dice.uniform(-0.06, 0.06)
    return replace(
        base,
        horizon=base.horizon + dice.uniform(-0.03, 0.03),
        subject_x=1 - subject_x if mirrored else subject_x,
        subject_scale=base.subject_scale * dice.uniform(0.92, 1.08),
        sun_x=1 - sun_x if mirrored else sun_x,
    )


_LIGHT: Final = "light.ini"


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one picture.

    Attributes:
        sky: Colours of the sky at the zenith, in the middle and at the horizon.
        haze: Colour into which distant objects fade.
        sun: Colour of the sun or the moon.
        grass: Unlit colour of near ground.
        leaf: Unlit colour of foliage.
        rock: Unlit colour of rock.
        water: Unlit colour of water.
        accent: Colour of details such as flowers.
        light: Light factors for red, green and blue.
        dark: Whether lamps are lit, as at night or in a storm.
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
        """Return `colour` in this light, at `distance` from 0 (near) to 1 (the horizon)."""
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
        # Snow reflects the colour of the sky, and stays brighter than everything else.
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


_PHRASES: Final = "phrases.ini"
_REST: Final = "everything else as they are"
_DETAILED: Final = 40
"""Prompts with more words are not rewritten."""
_SHORT: Final = 3
"""Edits of up to this many words that begin with no verb, such as "oil painting", get one."""
_ANY_WORD: Final = re.compile(r"[^\W\d_]+")


def rewrite(prompt: str, index: int = 0, extra: str = "", *, edit: bool = False) -> str:
    """Add light, view, lens and mood to a prompt.

    Args:
        prompt: Any text. Marks for moderation are removed, and nothing is added to a prompt that is
            long or already rewritten.
        index: Number of the picture, from 0.
        extra: See `read_scene`.
        edit: Whether the prompt is an instruction to change input images.
    """
    core = " ".join(_MARK.sub("", prompt).split())
    if _is_detailed(core):
        return core
    core = core.rstrip(" .,;:!")
    scene = read_scene(prompt, index, extra)
    if edit:
        return _instruction(core, scene)
    core = core or "An untitled scene"
    core = core[0].upper() + core[1:]
    dice, known = scene.dice("rewriting"), choices(_PHRASES)
    (air,) = known["air of a setting"].get(scene.setting) or known["air"][scene.weather]
    light = dice.choice(known["light"][scene.time])
    words = _ANY_WORD.findall(core.lower())
    subject = scene.subjects[0].name if scene.subjects else None
    focus = f"the {subject}" if subject in words else "the scene"
    mood = dice.choice(known["mood"][scene.time])
    lens = dice.choice(known["lens"]["all"])
    view = scene.shot.name
    (style,) = known["style"][scene.style or "none"]
    return (
        f"{core}, in {light}, with {air}. {view[0].upper()}{view[1:]}, {lens}; "
        f"{focus} feels {mood}. {style[0].upper()}{style[1:]}."
    )


def _is_detailed(core: str) -> bool:
    """Tell whether a prompt is long or comes from `rewrite`."""
    end = core.rstrip(" .").lower()
    styles = tuple(style for (style,) in choices(_PHRASES)["style"].values())
    return (
        len(core.split()) > _DETAILED
        or end.endswith(_REST)
        or (" feels " in core and end.endswith(styles))
    )


def _instruction(core: str, scene: Scene) -> str:
    """Return an instruction to change a part of a picture and keep the rest."""
    dice, known = scene.dice("rewriting"), choices(_PHRASES)
    core = core or "Improve the light"
    lowered = core.lower()
    words = _ANY_WORD.findall(lowered)
    if words and words[0] not in known["verb"]["all"][0].split() and len(words) <= _SHORT:
        core = f"Change the picture: {core}"
    added = [
        dice.choice(known["new light"][scene.time]) if "time" in scene.named else "",
        *(known["new season"][scene.season] if "season" in scene.named else ()),
        *(known["air"][scene.weather] if "weather" in scene.named else ()),
        *(known["style"][scene.style] if scene.style else ()),
    ]
    details = " and ".join(detail for detail in added if detail and detail not in lowered)
    if details and "with" not in words:
        core += f", with {details}"
    # A subject in the instruction may replace the subject of the picture.
    kept = "light" if scene.subjects else "subject"
    return f"{core[0].upper()}{core[1:]}; keep the composition, the {kept} and {_REST}."

"""Reads a prompt: what is in the picture, where, when, and from which side it is seen."""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from xai_notebook.server.painting.figures import known_figures
from xai_notebook.server.painting.vocabulary import KINDS, vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xai_notebook.server.painting.colours import Colour
    from xai_notebook.server.painting.vocabulary import Meaning

__all__ = ["Scene", "Shot", "Subject", "read_scene"]

_MAX_SUBJECTS: Final = 3
_REACH: Final = 2
"""Words between a colour and what it belongs to: "a green old steel bicycle"."""
_NUMBER_REACH: Final = 3
"""Words from a number to what it counts: "three small red apples"."""
_WORD: Final = re.compile(r"[^\W\d_]+|\b[23]\b")
_PLACES: Final = ("mountains", "lake", "sea", "meadow", "forest", "desert")
_FAIR: Final = ("clear", "clear", "clear", "cloudy", "cloudy")
_TIMES: Final = ("dawn", "day", "golden", "dusk")
_MARK: Final = re.compile(r"\[moderated[^\]]*\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that stands, flies or swims in the picture."""

    name: str
    colour: Colour | None


@dataclass(frozen=True, slots=True)
class Shot:
    """From where the scene is seen. Lengths are fractions of the picture.

    Attributes:
        name: In words, for the rewritten prompt.
        horizon: Height of the horizon from the top.
        subject_x: Where the subject stands.
        subject_scale: Its size, 1 being ordinary.
        depth: How near it stands: 0 at the horizon, 1 at the lower edge.
        sun_x: Where sun or moon stands.
        sun_y: Its height, as a fraction of the way down to the horizon.
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
    """A prompt, understood for one of its pictures.

    Attributes:
        time: `dawn`, `day`, `golden`, `dusk` or `night`.
        weather: `clear`, `cloudy`, `rain`, `snow`, `fog` or `storm`.
        season: `spring`, `summer`, `autumn` or `winter`.
        place: A place of the vocabulary.
        style: A style of the vocabulary, or None.
        subjects: At most three, as the prompt names them.
        colours: Colour words that belong to nothing in particular.
        backdrop: Colour of a wall or background.
        sky: Colour of the sky.
        lights: `sun`, `moon`, `rainbow`, `aurora`, when named.
        said: Which of the above the prompt named itself.
        shot: The view.
        seed: What every dice of this picture is made from.
    """

    time: str
    weather: str
    season: str
    place: str
    style: str | None
    subjects: tuple[Subject, ...]
    colours: tuple[Colour, ...]
    backdrop: Colour | None
    sky: Colour | None
    lights: frozenset[str]
    said: frozenset[str]
    shot: Shot
    seed: str

    def dice(self, purpose: str) -> random.Random:
        """Return a generator of its own for each purpose: one part never moves another."""
        return random.Random(f"{self.seed}|{purpose}")  # noqa: S311  # pictures, not secrets


@dataclass
class _Reading:
    """What the words of a prompt say, before anything is made up."""

    found: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    subjects: list[Subject] = field(default_factory=list)
    colours: list[Colour] = field(default_factory=list)
    surfaces: dict[str, Colour] = field(default_factory=dict)

    def first(self, kind: str) -> str | None:
        """Return what was named first of its kind."""
        return self.found[kind][0] if self.found[kind] else None

    def drop(self, colour: Colour | None) -> None:
        """Keep a colour that belongs to nothing in particular."""
        if colour is not None:
            self.colours.append(colour)

    def note(self, meanings: Sequence[Meaning], colour: Colour | None, count: int = 1) -> bool:
        """Keep what a word means; tell whether it was a subject, which took colour and count."""
        taken = False
        for meaning in meanings:
            if meaning.kind != "subject":
                if meaning.value not in self.found[meaning.kind]:
                    self.found[meaning.kind].append(meaning.value)
            elif all(meaning.value != subject.name for subject in self.subjects):
                self.subjects += [Subject(meaning.value, colour or meaning.colour)] * count
                taken = True
        return taken


def read_scene(prompt: str, index: int = 0, extra: str = "") -> Scene:
    """Return the scene of picture `index` of `prompt`.

    Args:
        prompt: Any text, in any language.
        index: Which picture of the request, from 0: each has its own view and light.
        extra: What else tells requests apart, such as the model.
    """
    prompt = " ".join(_MARK.sub(" ", prompt).split())
    reading = _read(_WORD.findall(prompt.lower()), prompt.lower())
    root = hashlib.sha256(f"{prompt}\0{extra}".encode()).hexdigest()
    dice = random.Random(f"{root}|{index}")  # noqa: S311
    place = _place(reading, random.Random(root))  # noqa: S311  # the same place in every picture
    time = _time(reading, place, dice, index)
    weather = reading.first("weather") or dice.choice(_FAIR)
    if "storm" in reading.found["weather"]:
        weather = "storm"
    season = reading.first("season") or ("winter" if weather == "snow" else "summer")
    return Scene(
        time=time,
        weather=weather,
        season=season,
        place=place,
        style=reading.first("style"),
        subjects=tuple(reading.subjects[:_MAX_SUBJECTS]),
        colours=tuple(reading.colours),
        backdrop=reading.surfaces.get("backdrop"),
        sky=reading.surfaces.get("sky"),
        lights=frozenset(reading.found["sky"]),
        said=frozenset(kind for kind, values in reading.found.items() if values),
        shot=_shot(root, index, dice),
        seed=f"{root}|{index}",
    )


def _read(words: Sequence[str], text: str) -> _Reading:
    reading = _Reading()
    known = vocabulary()
    waiting: Colour | None = None  # a colour word, until it is known what it belongs to
    gap = 0
    count = since = 1  # how many there are of what comes, and the words since that was said
    for position, word in enumerate(words):
        if position and words[position - 1] in known.negations:
            continue
        meanings = known.look_up(word)
        count, since = known.numbers.get(word, count), 0 if word in known.numbers else since + 1
        if word in known.colours and not any(meaning.kind == "subject" for meaning in meanings):
            reading.drop(waiting)
            waiting, gap = known.colours[word], 0
            continue
        if word in known.surfaces and waiting is not None:
            reading.surfaces[known.surfaces[word]] = waiting
            waiting = None
        near = count if since <= _NUMBER_REACH else 1
        if reading.note(meanings, waiting, near):
            waiting, count = None, 1
        gap += 1
        if gap > _REACH:
            reading.drop(waiting)
            waiting = None
    reading.drop(waiting)
    _read_phrases(text, reading)
    return reading


def _read_phrases(text: str, reading: _Reading) -> None:
    """Understand what takes more than one word."""
    if re.search(r"\bon the moon\b|\bauf dem mond\b|\bsur la lune\b|\ben la luna\b", text):
        reading.found["place"].insert(0, "moonscape")
        reading.found["sky"] = [light for light in reading.found["sky"] if light != "moon"]
    if re.search(r"\b(under|unter) (the |dem )?(water|wasser|sea)\b|sous l.eau|bajo el agua", text):
        reading.found["place"].insert(0, "underwater")
    if re.search(r"black[ -]and[ -]white|schwarz[ -]?wei(ß|ss)|noir et blanc", text):
        reading.found["style"].insert(0, "mono")
        reading.colours.clear()
    if "golden hour" in text:
        reading.found["time"].insert(0, "golden")
    if "oil" in reading.found["style"] and not re.search(r"\boil paint|impress|monet|gogh", text):
        reading.found["style"].remove("oil")
    _read_things(text, reading)


def _read_things(text: str, reading: _Reading) -> None:
    """Understand subjects that take more than one word."""
    names = {subject.name for subject in reading.subjects}
    left_out: set[str] = set()
    if re.search(r"\b(palm|pine|fir) trees?\b", text):
        left_out.add("tree")
    if "vase" in names:  # it holds flowers anyway
        left_out |= {name for name in names if known_figures()[name].blooms}
    reading.subjects[:] = [thing for thing in reading.subjects if thing.name not in left_out]
    if re.search(r"\bice[ -]?creams?\b", text):
        reading.subjects.append(Subject("icecream", None))
        if not re.search(r"\b(snow|icy|frost)", text):
            reading.found["weather"] = [w for w in reading.found["weather"] if w != "snow"]
    if not reading.subjects and re.search(r"\b(portrait|porträt|retrato)\b", text):
        reading.subjects.append(Subject("person", None))
    if re.search(r"\b(reading|reads|liest|lesen[a-z]*|lisant|lit|leyendo|lee)\b", text):
        reading.subjects[:] = [
            Subject("reading", thing.colour) if thing.name == "book" else thing
            for thing in reading.subjects
        ]


def _place(reading: _Reading, dice: random.Random) -> str:
    places = list(reading.found["place"])
    for scenery in ("street", "moonscape", "underwater", "space", "room", "lake"):
        if scenery in places:
            return scenery
    if places:
        return places[0]
    for subject in reading.subjects:
        return dice.choice(known_figures()[subject.name].home)
    if reading.surfaces.get("backdrop"):
        return "room"
    return dice.choice(_PLACES)


def _time(reading: _Reading, place: str, dice: random.Random, index: int) -> str:
    said = reading.first("time")
    if said:
        return said
    if place in {"space", "moonscape"} or "moon" in reading.found["sky"]:
        return "night"
    if "neon" in reading.found["style"]:
        return "night"
    if "storm" in reading.found["weather"]:
        return "dusk"
    return _TIMES[(dice.randrange(2) + index) % len(_TIMES)]


def _shot(root: str, index: int, dice: random.Random) -> Shot:
    """Return the view: the first five pictures of a request never share one."""
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

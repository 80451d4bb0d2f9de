"""Rewrites a prompt the way an image service does, and says what is really painted.

What is added - light, weather, view, mood - is read from the same scene that
the painter paints, so the rewritten prompt describes the picture it belongs to.
None of the words added names a subject, a colour or another place: painted once
more, a rewritten prompt gives the same scenery.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from xai_notebook.server.painting.scene import read_scene

if TYPE_CHECKING:
    from xai_notebook.server.painting.scene import Scene

__all__ = ["rewrite"]

_LIGHT: Final = {
    "dawn": ("the first soft light of dawn", "a pale sunrise glow"),
    "day": ("clear, even daylight", "bright midday sun from high above"),
    "golden": ("warm golden light from a low sun", "long golden rays and gentle shadows"),
    "dusk": ("the soft afterglow of dusk", "a burning sunset sky"),
    "night": ("cool moonlight with small points of warmth", "a deep and starry night"),
}
_WEATHER: Final = {
    "clear": "crisp air below a cloudless sky",
    "cloudy": "a few layered clouds drifting by",
    "rain": "fine slanting rain and a wet sheen on everything",
    "snow": "snowflakes in the air, some of them out of focus",
    "fog": "banks of fog that hide the distance",
    "storm": "driving rain and one distant bolt of lightning",
}
_INDOORS: Final = {
    "room": "dust motes in a beam from the window",
    "space": "distant nebulae and sharp little stars",
    "moonscape": "fine dust and a far horizon",
    "underwater": "shafts of light and rising bubbles",
}
_LENSES: Final = (
    "35 mm lens, deep focus",
    "85 mm lens, shallow depth of field",
    "24 mm wide-angle lens",
    "50 mm lens at eye level",
    "telephoto lens, layers pressed together",
)
_MOODS: Final = {
    "dawn": ("hushed and hopeful", "gentle"),
    "day": ("open and cheerful", "fresh"),
    "golden": ("warm and tender", "serene"),
    "dusk": ("wistful", "dramatic but gentle"),
    "night": ("quiet and mysterious", "dreamlike"),
}
_STYLES: Final = {
    None: "layered flat illustration with fine grain",
    "watercolor": "loose watercolor washes on rough paper",
    "sketch": "pencil lines and cross-hatching on rough paper",
    "pixel": "crisp pixel art in a small palette",
    "neon": "glowing neon accents against deep shadows",
    "mono": "rich monochrome tones",
    "vintage": "faded vintage print with warm highlights",
    "oil": "thick, visible oil brushstrokes",
}
_TIMES: Final = {
    "dawn": ("the light of early morning", "a pale sunrise glow"),
    "day": ("clear daylight", "bright midday sun"),
    "golden": ("warm light from a low sun", "long golden rays"),
    "dusk": ("a sunset sky", "the afterglow of dusk"),
    "night": ("stars", "a moon and stars"),
}
_SEASONS: Final = {
    "spring": "the fresh light of spring",
    "summer": "the warm light of summer",
    "autumn": "falling leaves",
    "winter": "a cold winter light",
}
_REST: Final = "everything else as they are"
_VERBS: Final = frozenset({
    "add", "apply", "brighten", "change", "clear", "colour", "color", "convert", "cover",
    "crop", "darken", "draw", "erase", "extend", "fill", "fix", "give", "keep", "let",
    "light", "make", "move", "paint", "place", "put", "recolour", "recolor", "remove",
    "render", "repaint", "replace", "restore", "restyle", "set", "show", "swap", "take",
    "tint", "transform", "turn", "use", "mach", "mache", "füge", "entferne", "ändere",
    "ersetze", "färbe", "male", "ajoute", "mets", "enlève", "remplace", "peins",
    "haz", "añade", "pon", "cambia", "quita", "pinta",
})  # fmt: skip
_DETAILED: Final = 40
"""Words above which a prompt is left as it is."""
_SHORT: Final = 3
"""Words up to which an edit may be a mere name: "snow", "oil painting"."""
_WORD: Final = re.compile(r"[^\W\d_]+")
_MARK: Final = re.compile(r"\s*\[moderated[^\]]*\]", re.IGNORECASE)


def rewrite(prompt: str, index: int = 0, extra: str = "", *, edit: bool = False) -> str:
    """Return the prompt as sentences with light, view, lens and mood added.

    Args:
        prompt: Any text. It is kept, word for word, at the beginning. One that is detailed
            already, or was rewritten here before, is returned as it is.
        index: Which picture of the request, from 0: each is another take.
        extra: What the picture was painted with besides, such as the model.
        edit: The prompt says what to change in input images.
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
    dice = scene.dice("rewriting")
    air = _INDOORS.get(scene.place) or _WEATHER[scene.weather]
    light = dice.choice(_LIGHT[scene.time])
    words = _WORD.findall(core.lower())
    subject = scene.subjects[0].name if scene.subjects else None
    focus = f"the {subject}" if subject in words else "the scene"
    mood = dice.choice(_MOODS[scene.time])
    view = scene.shot.name
    style = _STYLES[scene.style]
    return (
        f"{core}, in {light}, with {air}. {view[0].upper()}{view[1:]}, {dice.choice(_LENSES)}; "
        f"{focus} feels {mood}. {style[0].upper()}{style[1:]}."
    )


def _is_detailed(core: str) -> bool:
    """Tell whether a prompt needs nothing more: it is long, or comes from here."""
    end = core.rstrip(" .").lower()
    return (
        len(core.split()) > _DETAILED
        or end.endswith(_REST)
        or (" feels " in core and end.endswith(tuple(_STYLES.values())))
    )


def _instruction(core: str, scene: Scene) -> str:
    """Return what to change in a picture, and that the rest stays."""
    dice = scene.dice("rewriting")
    core = core or "Improve the light"
    said = core.lower()
    words = _WORD.findall(said)
    if words and words[0] not in _VERBS and len(words) <= _SHORT:
        core = f"Change the picture: {core}"
    added = [
        dice.choice(_TIMES[scene.time]) if "time" in scene.said else "",
        _SEASONS[scene.season] if "season" in scene.said else "",
        _WEATHER[scene.weather] if "weather" in scene.said else "",
        _STYLES[scene.style] if scene.style else "",
    ]
    details = " and ".join(detail for detail in added if detail and detail not in said)
    if details and "with" not in words:
        core += f", with {details}"
    # What is added to a picture is its subject: that may well change.
    kept = (
        "the composition, the light and" if scene.subjects else "the composition, the subject and"
    )
    return f"{core[0].upper()}{core[1:]}; keep {kept} {_REST}."

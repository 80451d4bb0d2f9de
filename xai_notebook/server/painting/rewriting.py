"""Rewrites a prompt the way an image service does, and says what is really painted.

What is added - light, weather, view, mood - is read from the same scene that
the painter paints, so the rewritten prompt describes the picture it belongs to.
None of the words added names a subject, a colour or another place: painted once
more, a rewritten prompt gives the same scenery.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from xai_notebook.server.painting.records import choices
from xai_notebook.server.painting.scene import read_scene

if TYPE_CHECKING:
    from xai_notebook.server.painting.scene import Scene

__all__ = ["rewrite"]

_PHRASES: Final = "phrases.ini"
_REST: Final = "everything else as they are"
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
    dice, known = scene.dice("rewriting"), choices(_PHRASES)
    (air,) = known["air of a place"].get(scene.place) or known["air"][scene.weather]
    light = dice.choice(known["light"][scene.time])
    words = _WORD.findall(core.lower())
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
    """Tell whether a prompt needs nothing more: it is long, or comes from here."""
    end = core.rstrip(" .").lower()
    styles = tuple(style for (style,) in choices(_PHRASES)["style"].values())
    return (
        len(core.split()) > _DETAILED
        or end.endswith(_REST)
        or (" feels " in core and end.endswith(styles))
    )


def _instruction(core: str, scene: Scene) -> str:
    """Return what to change in a picture, and that the rest stays."""
    dice, known = scene.dice("rewriting"), choices(_PHRASES)
    core = core or "Improve the light"
    said = core.lower()
    words = _WORD.findall(said)
    if words and words[0] not in known["verb"]["all"][0].split() and len(words) <= _SHORT:
        core = f"Change the picture: {core}"
    added = [
        dice.choice(known["new light"][scene.time]) if "time" in scene.said else "",
        *(known["new season"][scene.season] if "season" in scene.said else ()),
        *(known["air"][scene.weather] if "weather" in scene.said else ()),
        *(known["style"][scene.style] if scene.style else ()),
    ]
    details = " and ".join(detail for detail in added if detail and detail not in said)
    if details and "with" not in words:
        core += f", with {details}"
    # What is added to a picture is its subject: that may well change.
    kept = "light" if scene.subjects else "subject"
    return f"{core[0].upper()}{core[1:]}; keep the composition, the {kept} and {_REST}."

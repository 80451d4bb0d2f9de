"""What a browser may say: the shape of every message, checked here before anything is done.

Any page, any tab and any program in them can send a message. One that has not exactly the declared
fields, each of its type and size, does nothing. What a field means (a picture that exists, a value
that an option can have) is checked where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from xai_notebook.errors import OptionError
from xai_notebook.notebook.panel.form import FIELDS
from xai_notebook.settings import MAX_INPUT_IMAGES

__all__ = [
    "LIBRARY",
    "MOST_CHOSEN",
    "MOST_ROWS",
    "MOST_THUMBNAILS",
    "PANEL",
    "Shape",
    "read",
    "request_of",
]

MOST_CHOSEN: Final = 10_000
"""Pictures that can be chosen at once."""
MOST_ROWS: Final = 400
"""Rows of one request."""
MOST_THUMBNAILS: Final = 400
"""Thumbnails of one request."""
_LARGEST: Final = 2**63 - 1
"""What a row's id can be; more than a browser's numbers."""
_LATEST: Final = 253_402_300_800.0
"""Seconds from 1970 to the year 10000."""
_PROMPT: Final = 1_000_000
"""Characters of a prompt: more than any model reads."""
_WORD: Final = 1_000
"""Characters of any other text."""
_MOST_FILTERS: Final = 20
_NAMED: Final = 1_000
"""Cards that one message names."""
_Reader = Callable[[Any], Any]
"""Returns a value as it is used; raises ValueError if it is of another type or size."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a message has.

    Attributes:
        needed: Fields that it must have.
        other: Fields that it may have, with what they are if it has not.
        parts: Binary parts that it brings.
    """

    needed: Mapping[str, _Reader] = field(default_factory=dict)
    other: Mapping[str, tuple[_Reader, Any]] = field(default_factory=dict)
    parts: int = 0

    def read(self, content: Any) -> dict[str, Any]:
        """Return the declared fields, without any other.

        Raises:
            ValueError: One is missing, or of another type or size.
        """
        if not isinstance(content, Mapping) or not self.needed.keys() <= content.keys():
            raise ValueError
        found = {name: reader(content[name]) for name, reader in self.needed.items()}
        for name, (reader, default) in self.other.items():
            found[name] = reader(content[name]) if name in content else default
        return found


def read(
    shapes: Mapping[str, Shape], content: Mapping[str, Any], parts: Sequence[Any]
) -> dict[str, Any] | None:
    """Return a message as its shape declares it; None: there is no message of this kind.

    Args:
        shapes: By the kinds of the messages that a widget takes.
        content: As the browser sent it.
        parts: Its binary parts.

    Raises:
        OptionError: It has another shape.
    """
    kind = content.get("kind")
    shape = shapes.get(kind) if isinstance(kind, str) else None
    if shape is None:
        return None
    with suppress(ValueError):
        if len(parts) == shape.parts:
            return {"kind": kind, **request_of(content), **shape.read(content)}
    raise OptionError(
        "The page sent a message that cannot be read. Nothing was done: reload the page, or run "
        "this cell again."
    )


def request_of(content: Mapping[str, Any]) -> dict[str, int]:
    """Return the number that a reply repeats, under its name; nothing: the message has none."""
    try:
        return {"request": _number(content["request"])}
    except (KeyError, ValueError):
        return {}


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise ValueError
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError  # noqa: TRY004  # one error for every field
    return value


def _text(most: int) -> _Reader:
    def reader(value: Any) -> str:
        if not isinstance(value, str) or len(value) > most:
            raise ValueError
        value.encode()  # half of a pair of surrogates is no text: UnicodeEncodeError
        return value

    return reader


def _many(of: _Reader, most: int) -> _Reader:
    """Read a list; what it has above `most` is left out."""

    def reader(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ValueError  # noqa: TRY004  # one error for every field
        return [of(one) for one in value[:most]]

    return reader


def _maybe(of: _Reader) -> _Reader:
    return lambda value: None if value is None else of(value)


def _seconds(value: Any) -> float:
    if type(value) not in {int, float} or not 0 <= value < _LATEST:  # NaN is in no range
        raise ValueError
    return float(value)


def _option(value: Any) -> str | int | float:
    """Read what a field holds, as text or as a number; the option table checks what it means."""
    if isinstance(value, str):
        return str(_word(value))
    if type(value) not in {int, float} or not math.isfinite(value) or abs(value) > _LARGEST:
        raise ValueError
    return value  # type: ignore[no-any-return]  # one of the two


_word: Final = _text(_WORD)
_ids: Final = _many(_number, MOST_CHOSEN)
_keys: Final = _many(_word, _NAMED)
_input: Final = Shape({"id": _word, "name": _word}).read
_form: Final = Shape(
    {
        "prompt": _text(_PROMPT),
        "rewrite": _flag,
        "export": _flag,
        "folder": _word,
        "inputs": _many(_input, 2 * MAX_INPUT_IMAGES),
        **dict.fromkeys(FIELDS, _option),
    }
).read
_FILTERS: Final[Mapping[str, _Reader]] = {
    **dict.fromkeys(("since", "until"), _maybe(_seconds)),
    **dict.fromkeys(("starred", "notebook"), _maybe(_flag)),
}
"""Filters that are no text."""


def _filters(value: Any) -> dict[str, Any]:
    """Read filters by their names; the query says which names there are."""
    if not isinstance(value, dict) or len(value) > _MOST_FILTERS:
        raise ValueError
    return {_word(name): _FILTERS.get(name, _maybe(_option))(one) for name, one in value.items()}


_CHOSEN: Final = Shape({"ids": _ids})
_ANY: Final = {
    "hello": Shape(),
    "thumbnails": Shape({"ids": _many(_number, MOST_THUMBNAILS)}),
    "star": Shape({"ids": _ids}, {"value": (_flag, True)}),
    "tag": Shape({"ids": _ids, "tag": _word}, {"value": (_flag, True)}),
    **dict.fromkeys(("delete", "restore", "export", "sheet"), _CHOSEN),
}
LIBRARY: Final[Mapping[str, Shape]] = {
    **_ANY,
    "picture": Shape({"id": _number}),
    "use": Shape({"ids": _ids, "name": _word}),
    "query": Shape(
        {"words": _word, "order": _word},
        {"filters": (_filters, {}), "rows": (_number, 0), "thumbnails": (_number, 0)},
    ),
    "rows": Shape({"start": _number, "stop": _number}),
    "ids": Shape({"start": _number, "stop": _number}),
    "select": _CHOSEN,
    "edit": Shape({"id": _number}),
}
"""What the library takes."""
PANEL: Final[Mapping[str, Shape]] = {
    **_ANY,
    "picture": Shape(other={"id": (_number, None), "card": (_word, None)}),
    **dict.fromkeys(("form", "generate", "hand_over"), Shape({"form": _form})),
    **dict.fromkeys(("cancel", "dismiss", "more", "again"), Shape({"id": _word})),
    "models": Shape(),
    "upload": Shape(
        {"id": _word, "name": _word, "parts": _number}, {"restore": (_flag, False)}, parts=1
    ),
    "edit": Shape({"id": _word, "name": _word}),
    "take": Shape({"id": _number}),
    "use": Shape({"id": _word}, {"words": (_flag, False)}),
    **dict.fromkeys(("save", "previews"), Shape({"ids": _keys})),
}
"""What a panel takes."""

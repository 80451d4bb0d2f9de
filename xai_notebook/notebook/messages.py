"""Schemas of the messages that browsers send, checked before a handler is called.

Any page, and any script in it, can send a message. Every required field must be present, with the
right type and size; unknown fields are dropped. Handlers check the meaning of values, for example
that a picture exists or that an option allows the value.
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

MAX_CHOSEN: Final = 10_000
"""Maximum pictures that can be selected at the same time."""
MAX_ROWS: Final = 400
"""Maximum rows in one request."""
MAX_THUMBNAILS: Final = 400
"""Maximum thumbnails in one request."""
_MAX_NUMBER: Final = 2**63 - 1
"""Largest row id of SQLite, and the largest number that a browser may send."""
_MAX_TIME: Final = 253_402_300_800.0
"""Seconds from 1970 to the year 10000."""
_MAX_PROMPT: Final = 1_000_000
"""Maximum characters of a prompt; more than any model accepts."""
_MAX_STRING: Final = 1_000
"""Maximum characters of any other string."""
_MAX_FILTERS: Final = 20
_MAX_CARDS: Final = 1_000
"""Maximum cards in one message."""
_Reader = Callable[[Any], Any]
"""Function that returns a checked value and raises ValueError for a wrong type or size."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The schema of a message.

    Attributes:
        needed: Readers of the required fields.
        other: Readers and defaults of the optional fields.
        parts: Number of binary parts.
    """

    needed: Mapping[str, _Reader] = field(default_factory=dict)
    other: Mapping[str, tuple[_Reader, Any]] = field(default_factory=dict)
    parts: int = 0

    def read(self, content: Any) -> dict[str, Any]:
        """Return the declared fields; a missing or invalid field raises a ValueError."""
        if not isinstance(content, Mapping) or not self.needed.keys() <= content.keys():
            raise ValueError
        fields = {name: reader(content[name]) for name, reader in self.needed.items()}
        for name, (reader, default) in self.other.items():
            fields[name] = reader(content[name]) if name in content else default
        return fields


def read(
    shapes: Mapping[str, Shape], content: Mapping[str, Any], parts: Sequence[Any]
) -> dict[str, Any] | None:
    """Return a message with its declared fields; None for an unknown kind. `parts` are binary."""
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
    """Return `{"request": number}` for the reply; empty if the message has no number."""
    try:
        return {"request": _number(content["request"])}
    except (KeyError, ValueError):
        return {}


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_NUMBER:
        raise ValueError
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError  # noqa: TRY004  # one error for every field
    return value


def _bounded_string(most: int) -> _Reader:
    def reader(value: Any) -> str:
        if not isinstance(value, str) or len(value) > most:
            raise ValueError
        value.encode()  # rejects lone surrogates (UnicodeEncodeError is a ValueError)
        return value

    return reader


def _many(read_item: _Reader, most: int) -> _Reader:
    """Return a reader of lists that drops items after the first `most`."""

    def reader(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ValueError  # noqa: TRY004  # one error for every field
        return [read_item(item) for item in value[:most]]

    return reader


def _maybe(reader: _Reader) -> _Reader:
    return lambda value: None if value is None else reader(value)


def _seconds(value: Any) -> float:
    if type(value) not in {int, float} or not 0 <= value < _MAX_TIME:  # false for NaN
        raise ValueError
    return float(value)


def _option(value: Any) -> str | int | float:
    """Read a form field's value, a string or number; the option table checks its meaning."""
    if isinstance(value, str):
        return str(_string(value))
    if type(value) not in {int, float} or not math.isfinite(value) or abs(value) > _MAX_NUMBER:
        raise ValueError
    return value  # type: ignore[no-any-return]  # int or float


_string: Final = _bounded_string(_MAX_STRING)
_ids: Final = _many(_number, MAX_CHOSEN)
_keys: Final = _many(_string, _MAX_CARDS)
_input: Final = Shape({"id": _string, "name": _string}).read
_form: Final = Shape(
    {
        "prompt": _bounded_string(_MAX_PROMPT),
        "rewrite": _flag,
        "export": _flag,
        "folder": _string,
        "inputs": _many(_input, 2 * MAX_INPUT_IMAGES),
        **dict.fromkeys(FIELDS, _option),
    }
).read
_FILTERS: Final[Mapping[str, _Reader]] = {
    **dict.fromkeys(("since", "until"), _maybe(_seconds)),
    **dict.fromkeys(("starred", "notebook"), _maybe(_flag)),
}
"""Readers of filters that are neither strings nor plain numbers."""


def _filters(value: Any) -> dict[str, Any]:
    """Read filters by name; the query checks the names."""
    if not isinstance(value, dict) or len(value) > _MAX_FILTERS:
        raise ValueError
    return {_string(name): _FILTERS.get(name, _maybe(_option))(x) for name, x in value.items()}


_CHOSEN: Final = Shape({"ids": _ids})
_SHARED: Final = {
    "hello": Shape(),
    "thumbnails": Shape({"ids": _many(_number, MAX_THUMBNAILS)}),
    "star": Shape({"ids": _ids}, {"value": (_flag, True)}),
    "tag": Shape({"ids": _ids, "tag": _string}, {"value": (_flag, True)}),
    **dict.fromkeys(("delete", "restore", "export", "sheet"), _CHOSEN),
}
LIBRARY: Final[Mapping[str, Shape]] = {
    **_SHARED,
    "picture": Shape({"id": _number}),
    "use": Shape({"ids": _ids, "name": _string}),
    "query": Shape(
        {"words": _string, "order": _string},
        {"filters": (_filters, {}), "rows": (_number, 0), "thumbnails": (_number, 0)},
    ),
    "rows": Shape({"start": _number, "stop": _number}),
    "ids": Shape({"start": _number, "stop": _number}),
    "select": _CHOSEN,
    "edit": Shape({"id": _number}),
}
"""Messages of the library, by kind."""
PANEL: Final[Mapping[str, Shape]] = {
    **_SHARED,
    "picture": Shape(other={"id": (_number, None), "card": (_string, None)}),
    **dict.fromkeys(("form", "generate", "submit"), Shape({"form": _form})),
    **dict.fromkeys(("cancel", "dismiss", "more", "again"), Shape({"id": _string})),
    "models": Shape(),
    "upload": Shape(
        {"id": _string, "name": _string, "parts": _number}, {"restore": (_flag, False)}, parts=1
    ),
    "edit": Shape({"id": _string, "name": _string}),
    "take": Shape({"id": _number}),
    "use": Shape({"id": _string}, {"words": (_flag, False)}),
    **dict.fromkeys(("save", "previews"), Shape({"ids": _keys})),
}
"""Messages of the panel, by kind."""

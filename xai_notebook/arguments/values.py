"""Values of options: from what was typed or given to what is meant.

Every converter takes text, as on a magic's line, or an object, as in Python,
and raises ValueError with half a sentence that says what is wrong.
"""

from __future__ import annotations

import keyword
import math
from typing import TYPE_CHECKING, Any

from xai_notebook import settings
from xai_notebook.errors import ExportError
from xai_notebook.frontend import resolve_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "amount",
    "chat_model",
    "choice",
    "did_you_mean",
    "folder",
    "identifier",
    "images",
    "models",
    "nonempty",
    "whole_number",
]


def whole_number(low: int, high: int, unit: str) -> Callable[[Any], int]:
    """Return a converter to whole numbers from `low` to `high`, called `unit` in messages."""

    def convert(value: Any) -> int:
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise ValueError(f"{value!r} is not a whole number")
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise ValueError(f"{value!r} is not a whole number") from None
        if not low <= number <= high:
            raise ValueError(f"{number} is outside {low} to {high} {unit}")
        return number

    return convert


def amount(unit: str, *, zero: bool = False) -> Callable[[Any], float]:
    """Return a converter to positive finite numbers; `zero` is allowed on request."""

    def convert(value: Any) -> float:
        try:
            number = float(str(value).removeprefix("$"))
        except ValueError:
            raise ValueError(f"{value!r} is not a number of {unit}") from None
        if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
            raise ValueError(f"{value} is not a possible number of {unit}")
        return number

    return convert


def choice(values: Sequence[str]) -> Callable[[Any], str]:
    """Return a converter that accepts one of `values`, in any case."""

    def convert(value: Any) -> str:
        text = str(value).strip().lower()
        if text not in values:
            hint = did_you_mean(text, values, 0.75)
            raise ValueError(f"{value!r} is not one of {', '.join(values)}.{hint}")
        return text

    return convert


def nonempty(value: Any) -> str:
    """Return text without the white space around it; there must be some."""
    text = str(value).strip()
    if not text:
        raise ValueError("it is empty")
    return text


def identifier(value: Any) -> str:
    """Return a name that a variable can have."""
    text = str(value)
    if not text.isidentifier() or keyword.iskeyword(text):
        raise ValueError(f"{text!r} is not a name a variable can have")
    return text


def folder(value: Any) -> str | None:
    """Return a folder; `""` is the notebook's, None is none."""
    if value is True or value == "":
        return ""
    if value is False:
        return None
    try:
        resolve_folder(str(value))
    except ExportError as error:
        raise ValueError(str(error)) from None
    return str(value)


def chat_model(value: Any) -> str | None:
    """Return a chat model; True is the default one, None is none."""
    if value is True or value == "":
        return settings.DEFAULT_CHAT_MODEL
    return None if value is False else nonempty(value)


def models(value: Any) -> tuple[str, ...]:
    """Return one or several model names, each once."""
    names = value if isinstance(value, (list, tuple)) else (value,)
    if not names:
        raise ValueError("it is empty")
    return tuple(dict.fromkeys(nonempty(name) for name in names))


def images(value: Any) -> tuple[Any, ...]:
    """Return one or several input images as a tuple."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return "Did you mean …?" when one of the known words is close, else nothing."""
    from difflib import get_close_matches  # noqa: PLC0415  # only for messages

    near = get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f" Did you mean {near[0]}?" if near else ""

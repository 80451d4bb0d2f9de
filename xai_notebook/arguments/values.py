"""Convert and check the values of options; tell which variables and files Tab completion offers.

A converter accepts text from a magic's line or an object from Python. It raises ValueError with the
reason as half a sentence.
"""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from xai_notebook import settings
from xai_notebook.errors import ExportError, OptionError

PICTURES: Final = frozenset({
    ".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic",
    ".heif",
})  # fmt: skip
"""Suffixes of files that can be input images."""
TABLES: Final = frozenset({
    ".csv", ".json", ".jsonl", ".ndjson", ".parquet", ".tsv", ".txt", ".xlsx",
})  # fmt: skip
"""Suffixes of files that can hold prompts."""


class WholeNumber(NamedTuple):
    """Converter to whole numbers from `low` to `high`; messages name the `unit`."""

    low: int
    high: int
    unit: str

    def __call__(self, value: Any) -> int:
        """Convert one value."""
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise ValueError(f"{value!r} is not a whole number")
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise ValueError(f"{value!r} is not a whole number") from None
        if not self.low <= number <= self.high:
            raise ValueError(f"{number} is outside {self.low} to {self.high} {self.unit}")
        return number

    @property
    def values(self) -> tuple[str, ...]:
        """Every possible number, as text."""
        return tuple(map(str, range(self.low, self.high + 1)))


class Amount(NamedTuple):
    """Converter to positive finite numbers; `zero` also allows 0. Messages name the `unit`."""

    unit: str
    zero: bool = False

    def __call__(self, value: Any) -> float:
        """Convert one value."""
        try:
            number = float(str(value).removeprefix("$"))
        except ValueError:
            raise ValueError(f"{value!r} is not a number of {self.unit}") from None
        if not math.isfinite(number) or number < 0 or (number == 0 and not self.zero):
            raise ValueError(f"{value} is not a valid number of {self.unit}")
        return number


def budget(value: Any) -> settings.BudgetLimit:
    """Return the spending limit for a period, such as `"5/day"`."""
    return settings.BudgetLimit.parse(value)


class Choice(NamedTuple):
    """Converter to one of `values`, ignoring case; with `ratios`, they are `"width:height"`."""

    values: tuple[str, ...]
    ratios: bool = False

    def __call__(self, value: Any) -> str:
        """Convert one value."""
        text = str(value).strip().lower()
        if text not in self.values:
            near = _nearest_ratio(text, self.values) if self.ratios else None
            hint = f" Did you mean {near}?" if near else did_you_mean(text, self.values, 0.75)
            raise ValueError(f"{value!r} is not one of {', '.join(self.values)}.{hint}")
        return text


def nonempty(value: Any) -> str:
    """Return the value as text, stripped; blank text is an error."""
    text = str(value).strip()
    if not text:
        raise ValueError("the value is empty")
    return text


def identifier(value: Any) -> str:
    """Return the value as a valid variable name."""
    text = str(value)
    if not text.isidentifier() or keyword.iskeyword(text):
        raise ValueError(f"{text!r} is not a valid variable name")
    return text


def folder(value: Any) -> str | None:
    """Return a folder: `""` (the notebook's folder) for True, None (no export) for False."""
    if value is True or value == "":
        return ""
    if value is False:
        return None
    from xai_notebook.pictures.export import split_folder  # noqa: PLC0415  # not at load time

    try:
        split_folder(str(value))
    except ExportError as error:
        raise ValueError(str(error)) from None
    return str(value)


def name_pattern(value: Any) -> str:
    """Return a pattern for the names of exported files."""
    from xai_notebook.pictures.export import NamePattern  # noqa: PLC0415  # not at load time

    try:
        return NamePattern.parse(value).text
    except OptionError as error:
        raise ValueError(str(error)) from None


def days(value: Any) -> float | None:
    """Return the days that a link is valid: the default for True, None (no link) for False."""
    if value is True or value == "":
        return settings.DEFAULT_SHARE_DAYS
    if value is False:
        return None
    number = Amount("days")(value)
    if not settings.MIN_SHARE_DAYS <= number <= settings.MAX_SHARE_DAYS:
        raise ValueError(f"{value} is outside an hour to {settings.MAX_SHARE_DAYS:.0f} days")
    return number


def chat_model(value: Any) -> str | None:
    """Return the name of a chat model: the default for True, None (no rewrite) for False."""
    if value is True or value == "":
        return settings.DEFAULT_CHAT_MODEL
    return None if value is False else nonempty(value)


def models(value: Any) -> tuple[str, ...]:
    """Return the names of one or more models, without duplicates."""
    names = value if isinstance(value, (list, tuple)) else (value,)
    if not names:
        raise ValueError("the value is empty")
    return tuple(dict.fromkeys(nonempty(name) for name in names))


def indices(value: Any) -> tuple[int, ...]:
    """Return indices of images, without duplicates, from a number, a list or text with commas."""
    if isinstance(value, (list, tuple, set, range)):
        numbers = [number for each in value for number in indices(each)]
    else:
        convert = WholeNumber(0, 99_999, "(the index of an image)")
        numbers = [convert(x) for x in (value.split(",") if isinstance(value, str) else [value])]
    if not numbers:
        raise ValueError("the value is empty")
    return tuple(dict.fromkeys(numbers))


def images(value: Any) -> tuple[Any, ...]:
    """Return one or more input images as a tuple."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def axes(value: Any) -> tuple[str, ...] | None:
    """Return the axes of a matrix, such as `"quality=low,medium"`; None without a matrix."""
    if value is None or value is False:
        return None
    if value is True or value == "":
        return ()
    if isinstance(value, Mapping):
        return tuple(_axis(name, values) for name, values in value.items())
    if isinstance(value, str):
        name, equals, values = value.partition("=")
        if not equals:
            raise ValueError(
                f"{value!r} is not an axis; write an option and values: quality=low,medium"
            )
        return (_axis(name, values),)
    return tuple(axis for each in value for axis in axes(each) or ())


def _axis(name: str, given: Any) -> str:
    values = given.split(",") if isinstance(given, str) else given
    if not isinstance(values, Iterable):
        raise ValueError(f"{name}: {given!r} is not a list of values")  # noqa: TRY004  # a converter
    return f"{name.strip().lstrip('-').replace('-', '_')}={','.join(map(nonempty, values))}"


def is_picture(value: Any) -> bool:
    """Tell whether a variable can be an input image."""
    return type(value).__name__ in {"ImageBatch", "GeneratedImage", "bytes", "ndarray"} or any(
        base.__module__ == "PIL.Image" for base in type(value).__mro__
    )


def is_list(value: Any) -> bool:
    """Tell whether a variable can hold prompts."""
    return type(value).__name__ in {
        "list", "tuple", "generator", "Series", "DataFrame", "LazyFrame", "Table", "ChunkedArray",
        "Dataset", "IterableDataset",
    }  # fmt: skip


def is_batch(value: Any) -> bool:
    """Tell whether a variable is an earlier result."""
    return type(value).__name__ == "ImageBatch"


def shorten(text: Any, limit: int = 60) -> str:
    """Return a value as one line of at most `limit` characters, for messages."""
    text = " ".join(str(text).split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def list_names(names: Iterable[Any], limit: int = 20) -> str:
    """Return the names of columns or fields for a message."""
    shown = [shorten(name) for name in names if str(name).strip()]
    more = f" and {len(shown) - limit:,} more" if len(shown) > limit else ""
    return (", ".join(shown[:limit]) or "none with a name") + more


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return " Did you mean …?" with the most similar known word; "" if no word is similar."""
    near = nearest(word, known, cutoff)
    return f" Did you mean {near}?" if near else ""


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the most similar known word; None if no word is similar enough."""
    from difflib import get_close_matches  # noqa: PLC0415  # only for messages

    return next(iter(get_close_matches(word, list(known), n=1, cutoff=cutoff)), None)


def _nearest_ratio(text: str, known: Iterable[str]) -> str | None:
    """Return the known `"width:height"` with the nearest shape; None if `text` is not a shape."""
    wanted = _log_ratio(text)
    if wanted is None:
        return None
    return min(known, key=lambda each: abs((_log_ratio(each) or 0) - wanted))


def _log_ratio(text: str) -> float | None:
    """Return the logarithm of width / height, so that 2:1 and 1:2 are equally far from 1:1."""
    match = re.fullmatch(r"(\d+\.?\d*)(?:\s*[:/x×]\s*(\d+\.?\d*))?", text)
    sides = [float(side or 1) for side in match.groups()] if match else [0.0]
    return math.log(sides[0] / sides[1]) if all(sides) else None

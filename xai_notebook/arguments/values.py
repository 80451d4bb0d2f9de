"""Values of options: from what was typed or given to what is meant, and which variables fit.

Every converter takes text, as on a magic's line, or an object, as in Python,
and raises ValueError with half a sentence that says what is wrong.
"""

from __future__ import annotations

import keyword
import math
import re
from numbers import Number
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from xai_notebook import settings
from xai_notebook.errors import ExportError
from xai_notebook.frontend import resolve_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "PICTURES",
    "TABLES",
    "Amount",
    "Choice",
    "WholeNumber",
    "budget",
    "chat_model",
    "days",
    "did_you_mean",
    "folder",
    "identifier",
    "images",
    "indices",
    "is_batch",
    "is_list",
    "is_missing",
    "is_picture",
    "models",
    "nearest",
    "nonempty",
]


PICTURES: Final = frozenset({
    ".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic",
    ".heif",
})  # fmt: skip
"""Files that can be input images."""
TABLES: Final = frozenset({
    ".csv", ".json", ".jsonl", ".ndjson", ".parquet", ".tsv", ".txt", ".xlsx",
})  # fmt: skip
"""Files that can hold prompts."""


class WholeNumber(NamedTuple):
    """Converts to whole numbers from `low` to `high`, called `unit` in messages."""

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
    """Converts to positive finite numbers of `unit`; `zero` is allowed on request."""

    unit: str
    zero: bool = False

    def __call__(self, value: Any) -> float:
        """Convert one value."""
        try:
            number = float(str(value).removeprefix("$"))
        except ValueError:
            raise ValueError(f"{value!r} is not a number of {self.unit}") from None
        if not math.isfinite(number) or number < 0 or (number == 0 and not self.zero):
            raise ValueError(f"{value} is not a possible number of {self.unit}")
        return number


def budget(value: Any) -> settings.BudgetLimit:
    """Return how much may be spent, over which period; see `settings.BudgetLimit`."""
    return settings.BudgetLimit.parse(value)


class Choice(NamedTuple):
    """Accepts one of `values`, in any case; `ratios`: they are widths and heights."""

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


def days(value: Any) -> float | None:
    """Return how many days something is shared; True is the usual time, None is none."""
    if value is True or value == "":
        return settings.DEFAULT_SHARE_DAYS
    if value is False:
        return None
    number = Amount("days")(value)
    if not settings.MIN_SHARE_DAYS <= number <= settings.MAX_SHARE_DAYS:
        raise ValueError(f"{value} is outside an hour to {settings.MAX_SHARE_DAYS:.0f} days")
    return number


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


def indices(value: Any) -> tuple[int, ...]:
    """Return numbers of images, each once: one, several, or text with commas between."""
    if isinstance(value, (list, tuple, set, range)):
        numbers = [one for given in value for one in indices(given)]
    else:
        each: list[Any] = value.split(",") if isinstance(value, str) else [value]
        number = WholeNumber(0, 99_999, "(an image, as in foxes[0])")
        numbers = [number(one) for one in each]
    if not numbers:
        raise ValueError("it is empty")
    return tuple(dict.fromkeys(numbers))


def images(value: Any) -> tuple[Any, ...]:
    """Return one or several input images as a tuple."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


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


def is_missing(value: Any) -> bool:
    """Tell whether a cell of a table is empty: None, NaN, NaT, `pd.NA` or a masked element."""
    kind = type(value).__name__
    if value is None or kind in {"NAType", "NaTType", "MaskedConstant"}:
        return True
    return (isinstance(value, Number) or kind == "datetime64") and bool(value != value)  # noqa: PLR0124


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return "Did you mean …?" when one of the known words is close, else nothing."""
    near = nearest(word, known, cutoff)
    return f" Did you mean {near}?" if near else ""


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known word that is most like another, if one is close."""
    from difflib import get_close_matches  # noqa: PLC0415  # only for messages

    return next(iter(get_close_matches(word, list(known), n=1, cutoff=cutoff)), None)


def _nearest_ratio(text: str, known: Iterable[str]) -> str | None:
    """Return the known `"width:height"` whose shape is most like another, if that is one."""
    width = _log_ratio(text)
    if width is None:
        return None
    return min(known, key=lambda each: abs((_log_ratio(each) or 0) - width))


def _log_ratio(text: str) -> float | None:
    """Return the logarithm of width by height: equally far from 1:1 are 2:1 and 1:2."""
    match = re.fullmatch(r"(\d+\.?\d*)(?:\s*[:/x×]\s*(\d+\.?\d*))?", text)
    sides = [float(side or 1) for side in match.groups()] if match else [0.0]
    return math.log(sides[0] / sides[1]) if all(sides) else None

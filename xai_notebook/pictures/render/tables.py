"""Small tables a notebook shows: what a call would send, and what was spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.pictures.render.text import clean, dollars, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    from xai_notebook.client.request import ImageRequest

__all__ = ["CostRow", "CostTable", "Plan", "to_make"]

_LISTED: Final = 10


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget, and how far it is used up.

    Attributes:
        limit: As it was given, such as `"$5/day"`.
        limit_usd: US dollars.
        used_usd: What has been spent or set aside in its period, in US dollars.
    """

    limit: str
    limit_usd: float
    used_usd: float

    @property
    def left_usd(self) -> float:
        """What is left, in US dollars."""
        return max(self.limit_usd - self.used_usd, 0.0)

    def __str__(self) -> str:
        """Return what is left in words."""
        return f"{dollars(self.left_usd)} of {self.limit} left"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a call would send, from `--dry-run`.

    Attributes:
        requests: What would be asked, one per prompt.
        backend: `"xai"` or `"local"`.
        host: The API host.
        prices: List price of an image in US dollars, by model; None: the server names none.
        expected: What making the missing images of each request is expected to cost in US dollars,
            input images and a rewrite included; None: a price is unknown.
        stored: How many images of each request the library has; None: that was not looked up.
        ordered: How many images are in a job that has not ended, and are not ordered again.
        rewriter: The model that would rewrite the prompts first.
        budget: The budget that holds; None: no budget is set.
        notes: What the user should know.
        more: There are more requests than these: a source of prompts is not read without end.
    """

    requests: tuple[ImageRequest, ...]
    backend: str
    host: str
    prices: Mapping[str, float | None]
    expected: Sequence[float | None]
    stored: Sequence[int] | None = None
    ordered: int = 0
    rewriter: str | None = None
    budget: BudgetState | None = None
    notes: tuple[str, ...] = ()
    more: bool = False

    @property
    def images(self) -> int:
        """How many images were asked for."""
        return sum(request.n for request in self.requests)

    @property
    def new(self) -> int:
        """How many of them would be made."""
        return self.images - sum(self.stored or ()) - self.ordered

    @property
    def cost_usd(self) -> float | None:
        """What making them is expected to cost in US dollars; None: a price is unknown.

        That is the list price, or what such requests cost last, whichever is more. Input images
        and rewrites are included.
        """
        known = [usd for usd in self.expected if usd is not None]
        return sum(known) if len(known) == len(self.expected) else None

    def rows(self) -> list[tuple[str, str]]:
        """Return the lines of the table: what, and its value."""
        first = self.requests[0]
        server = "the embedded server" if self.backend == "local" else self.host
        models = dict.fromkeys(request.model for request in self.requests)
        rows = [("server", server), ("model", ", ".join(models))]
        prompts = list(dict.fromkeys(request.prompt for request in self.requests))
        rows += [("prompt", prompt) for prompt in prompts[:_LISTED]]
        if (more := len(prompts) - _LISTED) > 0:
            rows.append(("", f"… and {self._at_least}{more:,} more prompts"))
        if self.rewriter:
            rows.append(("rewritten by", self.rewriter))
        rows.append(("images", self._images))
        if self.stored is not None:
            rows.append(("from your library", f"{sum(self.stored):,}"))
        if self.ordered:
            rows.append(("in a running job", f"{self.ordered:,}"))
        for name in ("aspect_ratio", "resolution", "quality", "user"):
            values = dict.fromkeys(getattr(request, name) for request in self.requests)
            if told := ", ".join(value for value in values if value):
                rows.append((name.replace("_", " "), told))
        rows += [("input image", image.label) for image in first.inputs]
        rows += [("price", price) for price in self._prices()]
        rows.append(("expected cost", self._cost))
        if self.budget is not None:
            rows.append(("budget", str(self.budget)))
        return rows + [("note", note) for note in self.notes]

    @property
    def _at_least(self) -> str:
        return "at least " if self.more else ""

    @property
    def _images(self) -> str:
        """Requests × images, where they differ."""
        requests, images = f"{len(self.requests):,}", f"{self.images:,}"
        each = {request.n for request in self.requests}
        if requests == "1" or each == {1}:
            return self._at_least + images
        times = f"{requests} × {each.pop()}" if len(each) == 1 else f"{requests} requests"
        return f"{self._at_least}{images} ({times})"

    def _prices(self) -> Iterator[str]:
        for model, price in self.prices.items():
            if price is not None:
                of_model = f" of {model}" if len(self.prices) > 1 else ""
                yield f"{dollars(price)} an image{of_model}"

    @property
    def _cost(self) -> str:
        return dollars(None) if self.cost_usd is None else self._at_least + dollars(self.cost_usd)

    @property
    def sentence(self) -> str:
        """What would be made, what it would cost and what is there, in a line."""
        cost = "price unknown" if self.cost_usd is None else self._cost
        free = self.new and self.cost_usd == 0
        made = f"{self._at_least}{self.new:,}", "at no cost" if free else cost
        return to_make(*made, None if self.stored is None else sum(self.stored), self.budget)

    def __repr__(self) -> str:
        rows = self.rows()
        width = max(len(name) for name, _ in rows) + 2
        lines = [f"{clean(name) + ':':<{width}}{clean(value)}" for name, value in rows]
        return "\n".join(["Dry run, nothing was sent.", *lines])

    def _repr_html_(self) -> str:
        return f"<div>Dry run, nothing was sent.</div>{_table(None, self.rows())}"


def to_make(images: str, cost: str, stored: int | None, budget: BudgetState | None = None) -> str:
    """Return what will be made and cost, in a sentence.

    Args:
        images: How many.
        cost: In words.
        stored: How many others the library has; None: that was not looked up.
        budget: The budget that holds.
    """
    there = "less what your library has" if stored is None else f"from your library: {stored:,}"
    left = f"; {budget}" if budget is not None else ""
    return f"To make: {images}, {cost}; {there}{left}."


@dataclass(frozen=True, slots=True)
class CostRow:
    """What one model cost on one day.

    Attributes:
        day: In this machine's time zone; None: the rows do not say, they are damaged.
        model: As the server named it; a chat model where prompts were rewritten.
        backend: `"xai"` or `"local"`.
        requests: Answered requests.
        images: Pictures received.
        cost_usd: Sum of what the server reported, in US dollars.
        unknown: Requests whose cost was not reported, and is not in `cost_usd`.
    """

    day: date | None
    model: str
    backend: str
    requests: int
    images: int
    cost_usd: float
    unknown: int


class CostTable(Sequence[CostRow]):
    """What was spent, by day and model. A sequence of `CostRow`, shown as a table."""

    def __init__(self, rows: Sequence[CostRow]) -> None:
        """Hold the rows, as the library orders them."""
        self._rows = tuple(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    @property
    def total_usd(self) -> float:
        """The sum of what is known, in US dollars."""
        return sum(row.cost_usd for row in self._rows)

    @property
    def unknown(self) -> int:
        """Requests whose cost was not reported, and is not in the total."""
        return sum(row.unknown for row in self._rows)

    def _cells(self) -> list[tuple[str, ...]]:
        cells: list[tuple[str, ...]] = [
            (
                str(row.day or "unknown"),
                row.model,
                str(row.requests),
                str(row.images),
                _with_unknown(row.cost_usd, row.unknown),
            )
            for row in self._rows
        ]
        requests, images = (str(sum(column)) for column in self._counts())
        total = _with_unknown(self.total_usd, self.unknown)
        return [*cells, ("total", "", requests, images, total)]

    def _counts(self) -> tuple[list[int], list[int]]:
        return [row.requests for row in self._rows], [row.images for row in self._rows]

    def __repr__(self) -> str:
        if not self._rows:
            return _NOTHING
        rows = [_COLUMNS, *self._cells()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
        return "\n".join(
            "  ".join(clean(cell).ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in rows
        )

    def _repr_html_(self) -> str:
        return _table(_COLUMNS, self._cells()) if self._rows else f"<div>{_NOTHING}</div>"


_NOTHING: Final = "Nothing was spent: the library holds no requests yet."
_COLUMNS: Final = ("day", "model", "requests", "images", "cost")


def _table(head: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> str:
    top, *lines = (
        "".join(f'<{tag} style="text-align:left">{text(cell)}</{tag}>' for cell in row)
        for tag, row in [("th", head or ()), *zip(repeat("td"), rows)]  # endless
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    thead = f"<thead><tr>{top}</tr></thead>" if top else ""
    return f"<table>{thead}<tbody>{body}</tbody></table>"


def _with_unknown(amount: float, unknown: int) -> str:
    return dollars(amount) + (f" + {unknown} unknown" if unknown else "")

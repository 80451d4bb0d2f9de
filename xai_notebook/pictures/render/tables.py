"""Tables of a dry run (`Plan`) and of costs (`CostTable`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar, Final

from xai_notebook.client.bounds import clean
from xai_notebook.pictures.frames import HtmlShown, Tabular
from xai_notebook.pictures.render.text import CELL, dollars, duration, text, text_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xai_notebook.client.request import ImageRequest

_LISTED: Final = 10
"""Maximum number of prompts listed in a plan."""
_NOTHING: Final = "No costs: the library has no requests."
_COLUMNS: Final = ("day", "model", "backend", "requests", "images", "cost")


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget and its use.

    Attributes:
        limit: The limit as text, such as `"$5/day"`.
        limit_usd: The limit in US dollars.
        used_usd: US dollars spent or reserved in the current period.
    """

    limit: str
    limit_usd: float
    used_usd: float

    @property
    def left_usd(self) -> float:
        """The remaining budget in US dollars."""
        return max(self.limit_usd - self.used_usd, 0.0)

    def __str__(self) -> str:
        """Return the remaining budget as text."""
        return f"{dollars(self.left_usd)} of {self.limit} left"


@dataclass(frozen=True, slots=True)
class Plan(HtmlShown):
    """The requests that a call would send: the result of `--dry-run`.

    Attributes:
        requests: The requests, one per prompt.
        backend: `"xai"` or `"local"`.
        host: The API host.
        prices: List price per image in US dollars, by model; None if unknown.
        expected: Expected cost in US dollars of the missing images of each request, including input
            images and a rewrite; None if a price is unknown.
        stored: Number of images in the library for each request; None if not looked up.
        ordered: Number of images in a running job, which are not requested again.
        rewriter: The model that would rewrite the prompts.
        budget: The budget that applies, if one is set.
        notes: Notes for the user, one line each.
        more: Whether there are more requests: a possibly endless source was not read to its end.
        blank_rows: Number of blank rows of the table, for which nothing is sent.
        rate: Requests that start each second, at most; 0: no limit, or the call has one request.
        export: The folder of exported files and the pattern of their names, as text; None without
            an export.
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
    blank_rows: int = 0
    rate: float = 0.0
    export: str | None = None

    @property
    def images(self) -> int:
        """Number of requested images."""
        return sum(request.n for request in self.requests)

    @property
    def new(self) -> int:
        """Number of images that the call would make."""
        return self.images - sum(self.stored or ()) - self.ordered

    @property
    def cost_usd(self) -> float | None:
        """Expected cost of the new images in US dollars; None if a price is unknown.

        The cost is the list price or the last reported cost of such a request, whichever is higher,
        including input images and rewrites.
        """
        known = [usd for usd in self.expected if usd is not None]
        return sum(known) if len(known) == len(self.expected) else None

    def rows(self) -> list[tuple[str, str]]:
        """Return the rows of the table: pairs of a name and a value."""
        first = self.requests[0]
        server = "the embedded server" if self.backend == "local" else self.host
        models = dict.fromkeys(request.model for request in self.requests)
        rows = [("server", server), ("model", ", ".join(models))]
        rows += self._prompts()
        if self.rewriter:
            rows.append(("rewritten by", self.rewriter))
        rows.append(("images", self._images))
        if self.blank_rows:
            rows.append(("blank rows", f"{self.blank_rows:,}, not sent"))
        if self.stored is not None:
            rows.append(("from your library", f"{sum(self.stored):,}"))
        if self.ordered:
            rows.append(("in a running job", f"{self.ordered:,}"))
        for name in ("aspect_ratio", "resolution", "quality", "user"):
            values = dict.fromkeys(getattr(request, name) for request in self.requests)
            if listed := ", ".join(value for value in values if value):
                rows.append((name.replace("_", " "), listed))
        rows += [("input image", image.label) for image in first.inputs]
        for model, price in self.prices.items():
            if price is not None:
                of_model = f" of {model}" if len(self.prices) > 1 else ""
                rows.append(("price", f"{dollars(price)} an image{of_model}"))
        rows.append(("expected cost", self._cost))
        if self.seconds > 1:
            pace = f"at {self.rate:g} requests per second"
            rows.append(("time", f"{self._at_least or 'about '}{duration(self.seconds)}, {pace}"))
        further = (("budget", self.budget), ("export", self.export))
        rows += [(name, str(value)) for name, value in further if value is not None]
        return rows + [("note", note) for note in self.notes]

    def _prompts(self) -> list[tuple[str, str]]:
        """Return the rows that list prompts; with differing options, the first three and the last.

        Options that differ between the requests follow the prompt.
        """
        differing = [
            name
            for name in ("model", "n", "aspect_ratio", "resolution", "quality", "user", "inputs")
            if len({getattr(request, name) for request in self.requests}) > 1
        ]
        if len(self.prices) > 1 or not differing:
            prompts = list(dict.fromkeys(request.prompt for request in self.requests))
            rows = [("prompt", prompt) for prompt in prompts[:_LISTED]]
            if (more := len(prompts) - _LISTED) > 0:
                rows.append(("", f"… and {self._at_least}{more:,} more prompts"))
                if not self.more:
                    rows.append(("last prompt", prompts[-1]))
            return rows
        total = len(self.requests)
        rows = []
        for number in dict.fromkeys([*range(min(3, total)), total - 1]):
            if number > 3:  # noqa: PLR2004  # after the first three
                rows.append(("", f"… {number - 3:,} more"))
            request = self.requests[number]
            values = [
                f"{name.replace('_', ' ')} {value}"
                for name in differing
                if (value := _value(request, name)) is not None
            ]
            options = f"  ({', '.join(values)})" if values else ""
            rows.append((f"request {number + 1:,}", f"{request.prompt}{options}"))
        return rows

    @property
    def seconds(self) -> float:
        """Seconds until the last new request starts, at `rate`; 0 without a rate."""
        new = sum(usd != 0 for usd in self.expected) if self.cost_usd else len(self.requests)
        if self.stored is not None:
            pairs = zip(self.requests, self.stored, strict=True)
            new = sum(count < request.n for request, count in pairs)
        return (new - 1) / self.rate if self.rate and new > 1 else 0.0

    @property
    def _at_least(self) -> str:
        return "at least " if self.more else ""

    @property
    def _images(self) -> str:
        """The number of images, and the number of requests if it differs."""
        requests, images = f"{len(self.requests):,}", f"{self.images:,}"
        each = {request.n for request in self.requests}
        if requests == "1" or each == {1}:
            return self._at_least + images
        times = f"{requests} × {each.pop()}" if len(each) == 1 else f"{requests} requests"
        return f"{self._at_least}{images} ({times})"

    @property
    def _cost(self) -> str:
        return dollars(None) if self.cost_usd is None else self._at_least + dollars(self.cost_usd)

    @property
    def sentence(self) -> str:
        """The new images, their cost and the stored images, in one line."""
        cost = "price unknown" if self.cost_usd is None else self._cost
        if self.new and self.cost_usd == 0:
            cost = "at no cost"
        stored = None if self.stored is None else sum(self.stored)
        return to_make(f"{self._at_least}{self.new:,}", cost, stored, self.budget)

    def __repr__(self) -> str:
        rows = self.rows()
        width = max(len(name) for name, _ in rows) + 2
        lines = [f"{clean(name) + ':':<{width}}{clean(value)}" for name, value in rows]
        return "\n".join(["Dry run, nothing was sent.", *lines])

    def _repr_html_(self) -> str:
        head = "<div>Dry run, nothing was sent.</div>"
        return f"<div>{head}{_table(None, self.rows())}</div>"


def _value(request: ImageRequest, name: str) -> str | None:
    """Return an option of a request as text; None if it is not set."""
    value = getattr(request, name)
    if name == "inputs":
        return ", ".join(image.label for image in value) or None
    return None if value is None else str(value)


def to_make(images: str, cost: str, stored: int | None, budget: BudgetState | None = None) -> str:
    """Return a sentence about a call that will make images.

    `stored` is the number of images in the library; None if not looked up.
    """
    library = "minus stored images" if stored is None else f"from your library: {stored:,}"
    left = f"; {budget}" if budget is not None else ""
    return f"To make: {images}, {cost}; {library}{left}."


@dataclass(frozen=True, slots=True)
class CostRow:
    """Cost of one model on one day.

    Attributes:
        day: The day in the local time zone; None if unknown, because rows are damaged.
        model: The model as the server named it, or the chat model that rewrote prompts.
        backend: `"xai"`, or `"local"` for the free previews of the embedded server.
        requests: Number of answered requests.
        images: Number of images received.
        cost_usd: Sum of the reported costs in US dollars.
        unknown: Number of requests without a reported cost, not included in `cost_usd`.
    """

    day: date | None
    model: str
    backend: str
    requests: int
    images: int
    cost_usd: float
    unknown: int


class CostTable(HtmlShown, Tabular, Sequence[CostRow]):
    """Costs by day, model and backend: a sequence of `CostRow`, shown as a table."""

    _schema: ClassVar[Mapping[str, type]] = {
        "day": date, "model": str, "backend": str, "requests": int, "images": int,
        "cost_usd": float, "unknown": int,
    }  # fmt: skip

    def __init__(self, rows: Sequence[CostRow]) -> None:
        """Create the table from rows in the library's order."""
        self._rows = tuple(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    @property
    def total_usd(self) -> float:
        """The sum of the known costs in US dollars."""
        return sum(row.cost_usd for row in self._rows)

    @property
    def unknown(self) -> int:
        """Number of requests without a reported cost, not included in the total."""
        return sum(row.unknown for row in self._rows)

    def to_records(self) -> list[dict[str, Any]]:
        """Return one dict per row, with the attributes of `CostRow`."""
        return [{name: getattr(row, name) for name in self._schema} for row in self._rows]

    def _cells(self) -> list[tuple[str, ...]]:
        cells: list[tuple[str, ...]] = [
            (
                str(row.day or "unknown"),
                row.model,
                row.backend,
                str(row.requests),
                str(row.images),
                _with_unknown(row.cost_usd, row.unknown),
            )
            for row in self._rows
        ]
        requests = str(sum(row.requests for row in self._rows))
        images = str(sum(row.images for row in self._rows))
        total = _with_unknown(self.total_usd, self.unknown)
        return [*cells, ("total", "", "", requests, images, total)]

    def __repr__(self) -> str:
        return text_table([_COLUMNS, *self._cells()]) if self._rows else _NOTHING

    def _repr_html_(self) -> str:
        return _table(_COLUMNS, self._cells()) if self._rows else f"<div>{_NOTHING}</div>"


def _table(head: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> str:
    thead = f"<thead>{_row('th', head)}</thead>" if head else ""
    return f"<table>{thead}<tbody>{''.join(_row('td', row) for row in rows)}</tbody></table>"


def _row(tag: str, cells: Sequence[str]) -> str:
    inner = "".join(f'<{tag} style="{CELL}">{text(cell)}</{tag}>' for cell in cells)
    return f"<tr>{inner}</tr>"


def _with_unknown(amount: float, unknown: int) -> str:
    return dollars(amount) + (f" + {unknown} unknown" if unknown else "")

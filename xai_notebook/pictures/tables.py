"""Small tables a notebook shows: what a call would send, and what was spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.pictures.text import clean, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date

    from xai_notebook.client.request import ImageRequest

__all__ = ["CostRow", "CostTable", "Plan", "estimate"]

_LISTED: Final = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """What a call would send, from `--dry-run`.

    Attributes:
        requests: What would be asked, one per prompt.
        backend: `"xai"` or `"local"`.
        host: The API host.
        cost_usd: Estimate for all of it in US dollars, at list price; stored images may make it
            less. None: the server names no price.
        notes: What the user should know.
        more: There are more requests than these: a source of prompts is not read without end.
    """

    requests: tuple[ImageRequest, ...]
    backend: str
    host: str
    cost_usd: float | None
    notes: tuple[str, ...] = ()
    more: bool = False

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
        rows.append(("images", self._images))
        for name in ("aspect_ratio", "resolution", "quality", "user"):
            if value := getattr(first, name):
                rows.append((name.replace("_", " "), value))
        rows += [("input image", image.label) for image in first.inputs]
        rows.append(("estimated cost", self._cost))
        return rows + [("note", note) for note in self.notes]

    @property
    def _at_least(self) -> str:
        return "at least " if self.more else ""

    @property
    def _images(self) -> str:
        return f"{self._at_least}{sum(request.n for request in self.requests):,}"

    @property
    def _cost(self) -> str:
        return _usd(None) if self.cost_usd is None else self._at_least + _usd(self.cost_usd)

    @property
    def sentence(self) -> str:
        """What would be made and what it would cost, in a line."""
        requests = f"{self._at_least}{len(self.requests):,}"
        return f"{self._images} images from {requests} requests, {self._cost}."

    def __repr__(self) -> str:
        lines = [f"{clean(name) + ':':<16}{clean(value)}" for name, value in self.rows()]
        return "\n".join(["Dry run, nothing was sent.", *lines])

    def _repr_html_(self) -> str:
        return f"<div>Dry run, nothing was sent.</div>{_table(None, self.rows())}"


def estimate(requests: Iterable[ImageRequest], prices: Mapping[str, float | None]) -> float | None:
    """Return what requests cost at list price, in US dollars; None: a model's price is unknown.

    Args:
        requests: What would be asked.
        prices: US dollars an image, by model.
    """
    total = 0.0
    for request in requests:
        if (price := prices[request.model]) is None:
            return None
        total += price * request.n
    return total


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
    top = "".join(f"<th>{text(cell)}</th>" for cell in head or ())
    lines = [
        "".join(f'<td style="text-align:left">{text(cell)}</td>' for cell in row) for row in rows
    ]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    thead = f"<thead><tr>{top}</tr></thead>" if top else ""
    return f"<table>{thead}<tbody>{body}</tbody></table>"


def _usd(amount: float | None) -> str:
    if amount is None:
        return "unknown"
    amount = round(amount, 6)  # sums of cents are not exact
    return f"${amount:,.2f}" if round(amount, 2) == amount else f"${amount:,.4f}"


def _with_unknown(amount: float, unknown: int) -> str:
    return _usd(amount) + (f" + {unknown} unknown" if unknown else "")

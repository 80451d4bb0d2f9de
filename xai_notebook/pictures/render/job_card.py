"""Batch jobs in HTML and text: a card with counts and a progress bar, and the table of all jobs.

Separate because rendering needs only plain counts, not a live `BatchJob`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.client.bounds import clean
from xai_notebook.pictures.render.text import (
    CELL,
    NAME,
    bounded,
    counted,
    dollars,
    duration,
    first_words,
    text,
    text_table,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LINE: Final = "font-size:0.92em;line-height:1.5;overflow-wrap:break-word"
_FAINT: Final = "font-size:0.86em;opacity:0.85;overflow-wrap:break-word"
_BOX: Final = (
    "max-width:700px;box-sizing:border-box;margin:2px 0 8px;padding:12px 14px;"
    "border:1px solid rgba(128,128,128,0.45);border-radius:6px"
)
_TRACK: Final = (
    "height:6px;margin:8px 0;border-radius:3px;overflow:hidden;background:rgba(128,128,128,0.25)"
)
_COLOUR: Final = "var(--jp-brand-color1,#2a9d8f)"
_COLOURS: Final = {
    "done": "#2a9d8f", "cancelled": "#c77d1e", "expired": "#c77d1e", "refused": "#c0392b",
    "gone": "#c0392b",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class JobCounts:
    """The images of a job, by outcome.

    Attributes:
        total: Number of requested images.
        pending: Number of images that are not made yet, according to the last reply.
        succeeded: Number of images in the library.
        failed: Number of images that failed individually.
        cancelled: Number of images that were not made because the job ended early.
    """

    total: int = 0
    pending: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCard:
    """The displayed data of a job.

    Attributes:
        name: The job's name.
        prompt: The first prompt.
        title: The state in words for the user.
        state: The state, such as `running`.
        counts: The images of the job, by outcome.
        made: Number of images that the service has made, in the library or not.
        submitted: Number of requests submitted so far, while the state is `new`.
        replayed: Number of images that were already in the library.
        price_usd: List price of the job in US dollars; None if unknown.
        cost_usd: Cost reported so far in US dollars; None if not reported.
        free: Whether the job is free of charge.
        seconds: Seconds from the creation of the job until now or its end.
        created: Time at which the job was created.
        expires: Time at which the service deletes the results.
        cause: Reason why the job ended or does not continue.
        jobs: The code that lists all jobs, for a card that may be saved before the job's end.
    """

    name: str
    prompt: str = ""
    title: str
    state: str
    counts: JobCounts
    made: int = 0
    submitted: int = 0
    replayed: int = 0
    price_usd: float | None = None
    cost_usd: float | None = None
    free: bool = False
    seconds: float = 0.0
    created: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    expires: datetime | None = None
    cause: str | None = None
    jobs: str = ""

    def facts(self) -> Iterator[str]:
        """Yield the facts below the progress bar, most important first."""
        counts = self.counts
        if self.state == "new" and self.submitted:
            yield f"{self.submitted:,} of {counts.total:,} submitted"
        elif self.state != "new":
            yield f"{counts.succeeded:,} of {counts.total:,} in the library"
        if self.made > counts.succeeded + counts.failed:
            yield f"{self.made:,} made"
        if counts.failed:
            yield f"{counts.failed:,} failed"
        if counts.cancelled:
            yield f"{counts.cancelled:,} not made"
        if self.replayed:
            yield f"{self.replayed:,} already stored"
        if self.money:
            yield self.money
        yield duration(self.seconds)

    @property
    def money(self) -> str:
        """The cost so far, or the list price; empty if the job ended without an image."""
        if self.free:
            return "free"
        price = None if self.price_usd is None else dollars(self.price_usd)
        if self.cost_usd is not None:
            cost = dollars(self.cost_usd)
            return f"{cost} of {price}" if price and self.state == "running" else cost
        if self.ended_early and not self.counts.succeeded:
            return ""
        return f"{price} at list price" if price else "price unknown"

    @property
    def ended_early(self) -> bool:
        """Whether the job ended before all images were made."""
        return self.state not in {"new", "running", "done"}


def job_sentence(card: JobCard) -> str:
    """Return a job as one line of text, without times, so that notebooks can be compared."""
    counts = card.counts
    parts = [f"{card.title}: {counted(counts.total, 'image')}"]
    if card.state not in {"new", "done"} or counts.failed:
        parts.append(f"{counts.succeeded:,} in the library")
    if counts.failed:
        parts.append(f"{counts.failed:,} failed")
    if card.money:
        parts.append(card.money)
    line = f"Job {', '.join(parts)}."
    return clean(bounded(f"{line} {card.cause}" if card.cause else line))


def job_bundle(card: JobCard) -> dict[str, Any]:
    """Return text/html and text/plain for a job without pictures to show."""
    line = job_sentence(card)
    if hint := _hint(card, f"the job {card.name}" if card.name else "this job"):
        line = f"{line}\n{clean(hint)}"
    return {"text/html": job_html(card), "text/plain": line}


def _hint(card: JobCard, name: str) -> str:
    """Return how to see the end of a running job; empty for other jobs."""
    if not card.jobs or card.state not in {"new", "running"}:
        return ""
    again = f"run this cell again, or {card.jobs}, to see how {name} ends"
    return f"After the kernel has stopped, {again}."


def job_html(card: JobCard) -> str:
    """Return the card of a job as HTML that is also readable without styles."""
    head = f"<strong>{text(card.title)}</strong> · {counted(card.counts.total, 'image')}"
    lines = [
        f'<div style="{_LINE}">{head}</div>',
        _bar(card),
        f'<div style="{_LINE}">{" · ".join(map(text, card.facts()))}</div>',
    ]
    if card.cause:
        lines.append(f'<div style="{_LINE};margin-top:4px">{text(card.cause)}</div>')
    if hint := _hint(card, "the job"):
        lines.append(f'<div style="{_FAINT};margin-top:4px">{text(hint)}</div>')
    times = [f"{card.created.astimezone():%Y-%m-%d %H:%M}"]
    if card.expires and card.counts.pending:
        times.append(f"results kept until {card.expires.astimezone():%Y-%m-%d %H:%M}")
    about = [f"<code>{text(card.name, NAME)}</code>"] if card.name else []
    about += [f'<span style="white-space:nowrap">{time}</span>' for time in times]
    lines.append(f'<div style="{_FAINT};margin-top:4px">{" · ".join(about)}</div>')
    edge = f";border-left:4px solid {_COLOURS[card.state]}" if card.ended_early else ""
    return f'<div style="{_BOX}{edge}">{"".join(lines)}</div>'


def _bar(card: JobCard) -> str:
    """Return the progress bar; empty for a job that ended early without any result."""
    counts = card.counts
    finished = counts.succeeded + counts.failed
    if card.ended_early and not finished:
        return ""
    fraction = (card.submitted if card.state == "new" else finished) / max(counts.total, 1)
    label = f"{finished:,} of {counts.total:,} images"
    return progress_bar(fraction, label, _COLOURS.get(card.state, _COLOUR))


def progress_bar(fraction: float, label: str = "Progress", colour: str = _COLOUR) -> str:
    """Return a progress bar as HTML; `fraction` is between 0 and 1."""
    return (
        f'<div role="progressbar" aria-label="{label}" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{fraction * 100:.0f}" style="{_TRACK}">'
        f'<div style="height:6px;width:{fraction:.1%};background:{colour}"></div></div>'
    )


_COLUMNS: Final = ("created", "state", "images", "cost", "prompt", "job", "cause")
_NARROW: Final = {"created", "job", "images", "cost"}
_PROMPT: Final = 60
"""Maximum characters of a prompt in the table."""


def rows(cards: Sequence[JobCard]) -> list[dict[str, str]]:
    """Return one row per job: the cells by column."""
    return [
        {
            "created": f"{card.created.astimezone():%Y-%m-%d %H:%M}",
            "job": card.name,
            "state": card.title,
            "images": f"{card.counts.succeeded:,} of {card.counts.total:,}",
            "cost": card.money or "-",
            "prompt": first_words(card.prompt, _PROMPT),
            "cause": bounded(card.cause or "", NAME),
        }
        for card in cards
    ]


def table_text(cards: Sequence[JobCard]) -> str:
    """Return the jobs as a plain text table."""
    lines = rows(cards)
    shown = [name for name in _COLUMNS if any(line[name] for line in lines)]
    return text_table([shown, *([line[name] for name in shown] for line in lines)])


def table_html(cards: Sequence[JobCard]) -> str:
    """Return the jobs as an HTML table, with the cause below the state."""
    names = _COLUMNS[:-1]
    head = "".join(f'<th style="{CELL}">{name}</th>' for name in names)
    body = "".join(
        f"<tr>{''.join(_cell(name, line) for name in names)}</tr>" for line in rows(cards)
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div style="overflow-x:auto">{table}</div>'


def _cell(name: str, line: dict[str, str]) -> str:
    shown = text(line[name], NAME)
    if name == "state" and line["cause"]:
        shown += f'<div style="{_FAINT}">{text(line["cause"])}</div>'
    style = "white-space:nowrap" if name in _NARROW else "min-width:9em"
    return f'<td style="{CELL};vertical-align:top;{style}">{shown}</td>'

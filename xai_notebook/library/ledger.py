"""What was spent, by day, model and backend."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final

from xai_notebook.client import bounds
from xai_notebook.pictures.tables import CostRow

if TYPE_CHECKING:
    import sqlite3

__all__ = ["costs"]

_COSTS: Final = """
    SELECT day, CAST(model AS TEXT), CAST(backend AS TEXT), sum(requests), sum(images),
        total(cost), sum(cost IS NULL) FROM (
        SELECT date(created, 'unixepoch', 'localtime') AS day, answered_by AS model, backend,
            1 AS requests, CASE WHEN cost_usd BETWEEN 0 AND :most THEN cost_usd END AS cost,
            (SELECT count(*) FROM images WHERE request_id = requests.id
                AND status IN ('ok', 'pending')) AS images
        FROM requests
        UNION ALL
        SELECT date(created, 'unixepoch', 'localtime'), model, backend,
            1, CASE WHEN cost_usd BETWEEN 0 AND :most THEN cost_usd END, 0
        FROM rewrites
    ) GROUP BY day, model, backend ORDER BY day DESC, model, backend"""


def costs(connection: sqlite3.Connection) -> list[CostRow]:
    """Return what was spent, the newest day first."""
    rows = connection.execute(_COSTS, {"most": bounds.MAX_COST_USD})
    return [
        CostRow(_day(day), bounds.line(model or ""), bounds.line(backend or ""), *counts)
        for day, model, backend, *counts in rows
    ]


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text or "")
    except ValueError:
        return None

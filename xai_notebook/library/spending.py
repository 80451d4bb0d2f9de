"""The ledger: spent and reserved amounts of all processes that share a library, and cost tables.

The tables `requests` and `rewrites` hold the costs that servers reported. The table `charges` holds
the other costs: calls in progress, calls that may have been billed although the reply was lost, and
replies without a reported cost. Missing results of open jobs count at the list price, except for
jobs without a batch that were recorded more than a day ago.
"""

from __future__ import annotations

import os
import re
import time
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from xai_notebook.client import bounds
from xai_notebook.errors import LibraryError
from xai_notebook.library.storage.lock import FileLock
from xai_notebook.pictures.render.tables import CostRow

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Sequence

    from xai_notebook.library.storage.database import Database
    from xai_notebook.settings import Period

TICKS: Final = 10**10
"""Ticks per US dollar, as in the API; integers add up exactly."""
_SETTLED, _CONFIRMED, _UNCONFIRMED = range(3)
"""Values of `charges.open`: the call has ended; it is in progress, at a price that the server has
reported before; it is in progress, at an uncertain price."""
_LATEST: Final = 2_000
"""Number of newest requests that are searched for prices."""
_MAX_PROCESSES: Final = 1_000
"""Maximum number of processes whose locks are checked; older processes count as dead."""
_TOKEN: Final = re.compile("[0-9a-f]{16}")

_SPENT: Final = """
    SELECT (SELECT total(cost_usd) FROM requests
            WHERE created >= :since AND cost_usd BETWEEN 0 AND :most)
        + (SELECT total(cost_usd) FROM rewrites
            WHERE created >= :since AND cost_usd BETWEEN 0 AND :most)"""
_UNREPORTED: Final = """
    SELECT total(price_usd) FROM requests JOIN job_requests ON answer = requests.id
        JOIN jobs ON jobs.id = job_id
        WHERE requests.cost_usd IS NULL AND requests.created >= :since
            AND price_usd BETWEEN 0 AND :most"""
_JOBS: Final = """
    SELECT total(price_usd * (SELECT count(*) FROM job_requests
        WHERE job_id = jobs.id AND answer IS NULL AND error IS NULL))
    FROM jobs
    WHERE id IS NOT :without AND price_usd BETWEEN 0 AND :most
        AND (state = 'running' AND coalesce(expires, created + 172800) > :now
            OR state = 'new' AND (batch_id NOTNULL OR created > :now - 86400))"""
_CHARGED: Final = """
    SELECT total(ticks) FROM charges WHERE open = 0 AND created >= :since
        AND ticks BETWEEN 0 AND 1e18
        AND NOT EXISTS (SELECT 1 FROM requests
            WHERE requests.reply_id = charges.reply_id AND cost_usd NOTNULL)"""

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
_OPEN: Final = """
    SELECT process, total(ticks), max(open) FROM charges
    WHERE open > 0 AND ticks BETWEEN 0 AND 1e18 GROUP BY process"""
"""Rows with an amount out of bounds were written by another program, and do not count."""


class Totals(NamedTuple):
    """Amounts that count against a budget, in ticks of 1e-10 USD.

    Attributes:
        spent: Costs reported or charged in the period, and the expected cost of open jobs.
        open: Amount reserved for calls in progress.
        unconfirmed: Whether the price of a call in progress is uncertain.
    """

    spent: int
    open: int
    unconfirmed: bool


class Amount(NamedTuple):
    """Expected cost of a call.

    Attributes:
        ticks: Amount in ticks of 1e-10 USD.
        confirmed: Whether the server has reported this price before.
    """

    ticks: int
    confirmed: bool = True


def period_start(period: Period) -> float:
    """Return when the current period began in local time, in seconds since 1970."""
    if period not in ("day", "month"):
        return 0.0
    start = datetime.now().astimezone().replace(tzinfo=None, hour=0, minute=0, second=0)
    start = start.replace(microsecond=0, day=1 if period == "month" else start.day)
    return start.timestamp()


class Spending:
    """The ledger of all processes of a library. Thread-safe.

    Raises:
        LibraryError: From every method: the library cannot be read or written.
    """

    def __init__(self, database: Database) -> None:
        """Use the library's database."""
        self._database = database
        self._process: tuple[str, FileLock] | None = None

    def totals(self, since: float, *, without: int | None = None) -> Totals:
        """Return the amounts spent since a time and reserved now.

        Args:
            since: Time in seconds since 1970.
            without: Row id of a job whose missing results do not count.
        """
        with self._database.reading() as connection:
            return self._totals(connection, since, self._find_dead(connection), without)

    def reserve(
        self,
        wanted: Sequence[Sequence[Amount]],
        since: float,
        allows: Callable[[Totals, Sequence[Amount]], bool],
    ) -> list[list[int] | Totals]:
        """Reserve amounts in one transaction, so that all processes share the budget.

        Args:
            wanted: Groups of amounts; each group is reserved completely or not at all.
            since: Start of the period, in seconds since 1970.
            allows: Returns whether the budget allows a group.

        Returns:
            For each group, the ids of its charges (one per amount); or, if the budget does not
            allow the group, the totals without it.
        """
        results: list[list[int] | Totals] = []
        with self._database.writing() as connection:
            token = self._own_token()
            dead = self._find_dead(connection)
            connection.executemany(
                "DELETE FROM charges WHERE open > 0 AND process = ?",
                [(process,) for process in dead],
            )
            totals = self._totals(connection, since, dead)
            for amounts in wanted:
                if not allows(totals, amounts):
                    results.append(totals)
                    continue
                results.append([_insert(connection, token, amount) for amount in amounts])
                totals = Totals(
                    totals.spent,
                    totals.open + sum(amount.ticks for amount in amounts),
                    totals.unconfirmed or not all(amount.confirmed for amount in amounts),
                )
        return results

    def settle(self, ended: Sequence[tuple[int, int, str | None]]) -> list[None]:
        """Store the costs of calls that have ended.

        Args:
            ended: For each call, the id of its charge, its cost in ticks, and the id of its reply.
                Once the library has stored the reply with a cost, the reply's row counts instead.
        """
        with self._database.writing() as connection:
            token = self._own_token()
            connection.executemany(
                "UPDATE charges SET open = 0, ticks = ?, reply_id = ? WHERE id = ? AND process = ?",
                [(ticks, reply_id, charge, token) for charge, ticks, reply_id in ended],
            )
            connection.executemany(
                "DELETE FROM charges WHERE ticks = 0 AND open = 0 AND id = ?",
                [(charge,) for charge, _, _ in ended],
            )
        return [None] * len(ended)

    def close(self) -> None:
        """Release the lock of this process: it has no more calls in progress."""
        if self._process is not None:
            self._process[1].release(remove=True)  # does nothing in the child of a fork
        self._process = None

    def _own_token(self) -> str:
        """Return the token of this process, which holds a lock of that name until it ends."""
        if self._process is None or not self._process[1].is_in_place():
            token = os.urandom(8).hex()
            lock = FileLock(self._database.home / "processes" / f"{token}.lock")
            lock.acquire()
            self._process = token, lock
        return self._process[0]

    def _is_dead(self, token: str) -> bool:
        """Tell whether the process with a token has ended, which releases its lock."""
        if self._process is not None and token == self._process[0]:
            return False
        if not _TOKEN.fullmatch(token):  # the token becomes part of a path
            return True
        file = self._database.home / "processes" / f"{token}.lock"
        if not file.is_file():
            return True
        lock = FileLock(file)
        try:
            dead = lock.acquire()
        except LibraryError:
            return False
        lock.release(remove=dead)
        return dead

    def _find_dead(self, connection: sqlite3.Connection) -> set[str]:
        """Return the tokens of processes that ended while their calls were in progress."""
        query = "SELECT process FROM charges WHERE open > 0 GROUP BY process ORDER BY max(id) DESC"
        tokens = [str(token) for (token,) in connection.execute(query)]
        dead = {token for token in tokens[:_MAX_PROCESSES] if self._is_dead(token)}
        return dead.union(tokens[_MAX_PROCESSES:])

    @staticmethod
    def _totals(
        connection: sqlite3.Connection,
        since: float,
        dead: Collection[str],
        without: int | None = None,
    ) -> Totals:
        values = {
            "since": since, "now": time.time(), "without": without, "most": bounds.MAX_COST_USD,
        }  # fmt: skip
        usd = 0.0
        for query in (_SPENT, _UNREPORTED, _JOBS):
            (total,) = connection.execute(query, values).fetchone()
            usd += total
        (charged,) = connection.execute(_CHARGED, values).fetchone()
        living = [row for row in connection.execute(_OPEN).fetchall() if str(row[0]) not in dead]
        return Totals(
            spent=round(usd * TICKS) + round(charged),
            open=round(sum(ticks for _, ticks, _ in living)),
            unconfirmed=any(state == _UNCONFIRMED for *_, state in living),
        )

    def last_costs(self, host: str) -> list[tuple[tuple[Any, ...], float]]:
        """Return the last known price per image of requests to a host.

        Returns:
            Pairs of (model, resolution, quality, number of input images) and US dollars. Empty for
            a foreign library.
        """
        query = """SELECT model, resolution, quality,
                CASE WHEN json_valid(inputs) THEN json_array_length(inputs) END AS sources,
                cost_usd / (SELECT count(*) FROM images WHERE request_id = latest.id), max(id)
            FROM (SELECT * FROM requests ORDER BY id DESC LIMIT ?) AS latest
            WHERE host = ? AND cost_usd > 0 AND cost_usd <= ?
            GROUP BY model, resolution, quality, sources"""
        with self._database.reading() as connection:
            if self._database.foreign:
                return []
            rows = connection.execute(query, (_LATEST, host, bounds.MAX_COST_USD)).fetchall()
        return [(tuple(row)[:4], row[4]) for row in rows if row[4] is not None]

    def last_rewrite(self, backend: str) -> float | None:
        """Return the highest cost among the newest rewrites in US dollars; None if unknown.

        Args:
            backend: `"xai"` or `"local"`.
        """
        query = """SELECT max(cost_usd) FROM
            (SELECT cost_usd FROM rewrites WHERE backend = ? ORDER BY id DESC LIMIT 20)
            WHERE cost_usd BETWEEN 0 AND ?"""
        with self._database.reading() as connection:
            if self._database.foreign:
                return None
            (highest,) = connection.execute(query, (backend, bounds.MAX_COST_USD)).fetchone()
        return None if highest is None else float(highest)

    def costs(self) -> list[CostRow]:
        """Return costs by day, model and backend, the newest day first."""
        with self._database.reading() as connection:
            rows = connection.execute(_COSTS, {"most": bounds.MAX_COST_USD}).fetchall()
        return [
            CostRow(_parse_day(day), bounds.line(model or ""), bounds.line(backend or ""), *counts)
            for day, model, backend, *counts in rows
        ]


def _insert(connection: sqlite3.Connection, token: str, amount: Amount) -> int:
    statement = "INSERT INTO charges (process, created, ticks, open) VALUES (?, ?, ?, ?)"
    state = _CONFIRMED if amount.confirmed else _UNCONFIRMED
    values = (token, time.time(), amount.ticks, state)
    return int(connection.execute(statement, values).lastrowid or 0)


def _parse_day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text or "")
    except ValueError:
        return None

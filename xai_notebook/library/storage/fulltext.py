"""Search by words, with a full-text index or SQL; queries are safe with any input."""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.library.storage.schema import CREATE_INDEX, insert, patiently, transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_COLUMNS: Final = ("prompt", "original_prompt", "model", "answered_by", "notebook")
_REWRITTEN: Final = """EXISTS (SELECT 1 FROM images
    WHERE images.request_id = requests.id AND images.rewritten_prompt LIKE ? ESCAPE '\\')"""
_SINGLE: Final = re.compile(
    "([\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
    "\u2600-\u27bf\U0001f000-\U0001faff])"
)
"""Characters that each count as a word: Han and kana are written without spaces, and an emoji often
follows a word without a space."""


def prepare_index(connection: sqlite3.Connection) -> bool:
    """Create the index, and add requests that a Python without FTS5 has stored.

    Returns:
        Whether this Python's SQLite supports the index.

    Raises:
        sqlite3.Error: The library cannot be read or written.
    """
    try:
        patiently(connection, "SELECT 1 FROM search LIMIT 0")
    except sqlite3.OperationalError:
        try:
            with transaction(connection):
                connection.execute(CREATE_INDEX.replace("TABLE", "TABLE IF NOT EXISTS", 1))
        except sqlite3.OperationalError as error:
            if "no such module" in str(error) or "tokenizer" in str(error):
                return False  # not compiled in, or older than SQLite 3.27
            raise
    if _newest(connection, "search_docsize") < _newest(connection, "requests"):
        with transaction(connection):
            after = _newest(connection, "search_docsize")
            query = "SELECT * FROM requests WHERE id > ? ORDER BY id"
            for row in connection.execute(query, (after,)):
                select = "SELECT rewritten_prompt FROM images WHERE request_id = ?"
                rewritten = [text for (text,) in connection.execute(select, (row["id"],))]
                index_requests(connection, [(row, rewritten)])
    return True


def has_index(connection: sqlite3.Connection) -> bool:
    """Tell whether the index of a read-only library covers all its requests."""
    try:
        return _newest(connection, "search_docsize") == _newest(connection, "requests")
    except sqlite3.OperationalError:
        return False


def _newest(connection: sqlite3.Connection, table: str) -> int:
    (newest,) = connection.execute(f"SELECT max(id) FROM {table}").fetchone()  # noqa: S608  # no user's text
    return newest or 0


def index_requests(
    connection: sqlite3.Connection,
    requests: Sequence[tuple[sqlite3.Row | Mapping[str, Any], Iterable[str | None]]],
    *,
    remove: bool = False,
) -> None:
    """Add requests to the index, or remove them from it.

    Args:
        connection: Connection in a transaction.
        requests: Pairs of a request's row and the rewritten prompts of its images.
        remove: Whether to remove the requests; rows and prompts must be as they were added.
    """
    rows: list[dict[str, Any]] = []
    for row, rewritten in requests:
        texts = {
            "prompt": row["prompt"],
            "original_prompt": row["original_prompt"] or "",
            "rewritten": "\n".join(sorted({text for text in rewritten if text})),
            "model": " ".join(sorted({row["model"], row["answered_by"]})),
            "notebook": row["notebook"] or "",
        }
        entry = {name: _SINGLE.sub(r" \1 ", text) for name, text in texts.items()}
        rows.append({"rowid": row["id"], **entry, **({"search": "delete"} if remove else {})})
    insert(connection, "search", *rows)


def matching_requests(words: str, *, indexed: bool) -> tuple[str, list[str]]:
    """Return a query for the ids of matching requests, the newest first, and its parameters.

    Every word must occur in the prompts, in a model's name or in the notebook's name; the last word
    may be incomplete. A text without letters or digits, such as `***`, is searched without the
    index.

    Args:
        words: Words as the user typed them, without operators. If empty, every request matches.
        indexed: Whether the library has a full-text index.
    """
    parts = words.replace("\0", " ").split()
    if not parts:
        return "SELECT id FROM requests ORDER BY id DESC", []
    if indexed and all(map(_has_token, parts)):
        spaced = (_SINGLE.sub(r" \1 ", part).replace('"', '""') for part in parts)
        query = " ".join(f'"{phrase}"' for phrase in spaced) + " *"
        return "SELECT rowid AS id FROM search WHERE search MATCH ? ORDER BY rowid DESC", [query]
    texts = " OR ".join([*(f"{column} LIKE ? ESCAPE '\\'" for column in _COLUMNS), _REWRITTEN])
    condition = " AND ".join([f"({texts})"] * len(parts))
    patterns = ["%" + re.sub(r"([\\%_])", r"\\\1", part) + "%" for part in parts]
    parameters = [pattern for pattern in patterns for _ in range(len(_COLUMNS) + 1)]
    return f"SELECT id FROM requests WHERE {condition} ORDER BY id DESC", parameters  # noqa: S608


def _has_token(text: str) -> bool:
    """Tell whether the tokenizer of the index finds a word in `text`."""
    kinds = map(unicodedata.category, text)
    return any(kind[0] in "LN" or kind in {"Co", "So"} for kind in kinds)

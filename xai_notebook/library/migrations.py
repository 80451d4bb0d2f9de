"""What the library's tables are, step by step: a new table or column is one more step.

A step whose name says what it brings is a tuple of SQL statements, run in one transaction. They may
call `fingerprint(…)`, which library/schema.py defines.
"""

from __future__ import annotations

from typing import Final

__all__ = ["CREATE_INDEX", "MIGRATIONS"]

CREATE_INDEX: Final = """CREATE VIRTUAL TABLE search USING fts5(
    prompt, original_prompt, rewritten, model, notebook,
    content = '', prefix = '1 2',
    tokenize = "unicode61 remove_diacritics 2 categories 'L* N* Co So'")"""
"""The full-text index, where this Python's SQLite has FTS5; see library/search.py."""

_REQUESTS_AND_IMAGES: Final = (
    """CREATE TABLE requests (
        id INTEGER PRIMARY KEY,
        fingerprint TEXT NOT NULL,  -- what makes two requests the same
        backend TEXT NOT NULL,
        host TEXT NOT NULL,
        prompt TEXT NOT NULL,       -- as sent
        model TEXT NOT NULL,        -- as asked for
        answered_by TEXT NOT NULL,  -- the model as the server named it
        n INTEGER NOT NULL,
        aspect_ratio TEXT,
        resolution TEXT,
        quality TEXT,
        inputs TEXT NOT NULL,       -- JSON: [{"sha256", "label", "parent"}], never the images
        user TEXT,
        image_format TEXT NOT NULL,
        original_prompt TEXT,       -- as written, when a chat model rewrote it
        rewrite_model TEXT,
        notebook TEXT,
        cost_usd REAL,              -- NULL: not reported
        start INTEGER NOT NULL,     -- lowest position of its images; more than 0: it completes
        created REAL NOT NULL       -- seconds since 1970, UTC
    )""",
    "CREATE INDEX requests_by_fingerprint ON requests (fingerprint)",
    """CREATE TABLE images (
        id INTEGER PRIMARY KEY,
        request_id INTEGER NOT NULL REFERENCES requests (id),
        position INTEGER NOT NULL,
        status TEXT NOT NULL,
        model TEXT NOT NULL,
        rewritten_prompt TEXT,
        rewritten_by TEXT,
        cost_usd REAL,
        sha256 TEXT,
        media_type TEXT,
        width INTEGER,
        height INTEGER,
        url TEXT,                   -- where a pending image can still be fetched
        error TEXT,
        notes TEXT NOT NULL,        -- JSON list
        created REAL NOT NULL
    )""",
    "CREATE INDEX images_by_request ON images (request_id, position)",
    "CREATE INDEX images_by_sha256 ON images (sha256) WHERE sha256 IS NOT NULL",
)
_REWRITES: Final = (
    """CREATE TABLE rewrites (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL,
        original TEXT NOT NULL,
        text TEXT NOT NULL,
        model TEXT NOT NULL,
        backend TEXT NOT NULL,
        cost_usd REAL,
        created REAL NOT NULL
    )""",
    "CREATE INDEX rewrites_by_key ON rewrites (key)",
)
_PLACES: Final = (
    "ALTER TABLE requests ADD COLUMN place INTEGER NOT NULL DEFAULT 0",
    # Before, an answer was a reply (start = 0) and those that completed it; the newest answered
    # first, and went on from image to image when one call made a request more than once.
    """CREATE TEMP TABLE answers AS
        SELECT id, fingerprint, start / max(n, 1) AS inner,
            sum(start = 0) OVER (PARTITION BY fingerprint ORDER BY id) AS answer
        FROM requests""",
    """CREATE TEMP TABLE widths AS
        SELECT fingerprint, answer, sum(max(inner) + 1) OVER (
            PARTITION BY fingerprint ORDER BY answer DESC) - max(inner) - 1 AS newer
        FROM answers GROUP BY fingerprint, answer""",
    """CREATE TEMP TABLE places (id INTEGER PRIMARY KEY, place INTEGER)""",
    """INSERT INTO places SELECT id, newer + inner FROM answers
        JOIN widths USING (fingerprint, answer)""",
    "UPDATE requests SET place = (SELECT place FROM places WHERE places.id = requests.id)",
    """UPDATE images SET position = position - (
            SELECT start / n * n FROM requests WHERE requests.id = request_id)
        WHERE request_id IN (SELECT id FROM requests WHERE start >= n AND n > 0)""",
    "UPDATE requests SET start = start % n WHERE start >= n AND n > 0",
    "DROP TABLE answers",
    "DROP TABLE widths",
    "DROP TABLE places",
    "DROP INDEX requests_by_fingerprint",
    "CREATE INDEX requests_by_place ON requests (fingerprint, place)",
)
_UPLOADS: Final = (
    """CREATE TABLE uploads (
        backend TEXT NOT NULL,
        host TEXT NOT NULL,
        sha256 TEXT NOT NULL,       -- of the input image as the user gave it
        file_id TEXT NOT NULL,      -- of what was made of it for the server
        expires REAL NOT NULL,
        created REAL NOT NULL,
        PRIMARY KEY (backend, host, sha256)
    )""",
)
_LINKS: Final = (
    "ALTER TABLE requests ADD COLUMN share REAL",  # days
    "ALTER TABLE images ADD COLUMN public_url TEXT",
    "ALTER TABLE images ADD COLUMN public_url_expires REAL",
)
_MARKS: Final = (
    "ALTER TABLE images ADD COLUMN starred INTEGER NOT NULL DEFAULT 0",
    # When it was put into the trash, in seconds since 1970; 0: it has been emptied since.
    "ALTER TABLE images ADD COLUMN deleted REAL",
    "ALTER TABLE images ADD COLUMN size INTEGER",  # bytes of the original; NULL: not known yet
    "CREATE INDEX images_in_trash ON images (deleted) WHERE deleted > 0",
    """CREATE INDEX images_unmeasured ON images (id)
        WHERE size IS NULL AND sha256 IS NOT NULL""",
    # All that the list of every picture needs; it is read for each change of a filter.
    """CREATE INDEX images_on_shelf ON images
        (request_id DESC, position, deleted, status, size, model, created, starred, cost_usd)""",
    """CREATE TABLE tags (
        tag TEXT NOT NULL,
        image_id INTEGER NOT NULL REFERENCES images (id),
        PRIMARY KEY (tag, image_id)
    ) WITHOUT ROWID""",
    "CREATE INDEX tags_by_image ON tags (image_id)",
)
_JOBS: Final = (
    """CREATE TABLE jobs (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,  -- what the service can be asked for
        backend TEXT NOT NULL,
        host TEXT NOT NULL,
        notebook TEXT,
        batch_id TEXT,              -- the service's; NULL: not known yet
        state TEXT NOT NULL,
        cause TEXT,
        price_usd REAL,             -- list price of an image; NULL: unknown
        inputs TEXT NOT NULL,       -- JSON: by digests, the file ids or URLs of input images
        created REAL NOT NULL,      -- seconds since 1970, UTC, like the two below
        expires REAL,
        ended REAL
    )""",
    """CREATE TABLE job_requests (
        id INTEGER PRIMARY KEY,
        job_id INTEGER NOT NULL REFERENCES jobs (id),
        key TEXT NOT NULL,          -- its id in the batch
        fingerprint TEXT NOT NULL,
        place INTEGER NOT NULL,
        position INTEGER NOT NULL,
        request TEXT NOT NULL,      -- JSON, without the bytes of input images
        answer INTEGER REFERENCES requests (id) ON DELETE SET NULL,
        error TEXT                  -- why there will be no answer
    )""",
    "CREATE UNIQUE INDEX job_requests_by_job ON job_requests (job_id, key)",
    "CREATE INDEX job_requests_by_key ON job_requests (key)",
)

_REDO: Final = ("ALTER TABLE requests ADD COLUMN redo INTEGER NOT NULL DEFAULT 0",)

_PANELS: Final = (
    """CREATE TABLE panels (
        id INTEGER PRIMARY KEY,
        folder TEXT NOT NULL,       -- of the notebook
        cell TEXT NOT NULL,         -- its id, or the digest of its code
        number INTEGER NOT NULL,    -- panels that the cell showed before this one
        notebook TEXT NOT NULL,     -- as in requests; '': unknown
        state TEXT NOT NULL,        -- JSON: what its form was
        changed REAL NOT NULL,
        UNIQUE (folder, cell, number, notebook)
    )""",
    """CREATE TABLE panel_images (
        panel_id INTEGER NOT NULL REFERENCES panels (id),
        batch INTEGER NOT NULL,     -- what was made together, in order
        image_id INTEGER NOT NULL REFERENCES images (id),
        PRIMARY KEY (panel_id, batch, image_id)
    ) WITHOUT ROWID""",
)

_CHARGES: Final = (
    # What no row of requests or rewrites tells: calls under way, calls that may have been billed.
    """CREATE TABLE charges (
        id INTEGER PRIMARY KEY,
        process TEXT NOT NULL,      -- which made the call
        created REAL NOT NULL,      -- seconds since 1970, UTC
        ticks INTEGER NOT NULL,     -- of 1e-10 USD
        open INTEGER NOT NULL,      -- see library/spending.py
        reply_id TEXT               -- the request with this id counts instead, once it has a cost
    )""",
    "CREATE INDEX charges_by_time ON charges (created)",
    "CREATE INDEX charges_by_reply ON charges (reply_id) WHERE reply_id NOTNULL",
    "CREATE INDEX charges_open ON charges (process) WHERE open > 0",
    "CREATE INDEX requests_by_time ON requests (created, cost_usd)",
    "CREATE INDEX rewrites_by_time ON rewrites (created, cost_usd)",
    "CREATE INDEX job_requests_by_answer ON job_requests (answer) WHERE answer NOTNULL",
    """CREATE INDEX job_requests_open ON job_requests (job_id)
        WHERE answer IS NULL AND error IS NULL""",
)

_JOB_CALLS: Final = (
    # Set before the call that creates the batch leaves; the batch may exist without a batch_id.
    "ALTER TABLE jobs ADD COLUMN create_sent INTEGER NOT NULL DEFAULT 0",
    # 0: no call with this request has left. 1: one has, and its outcome is unknown. 2: the service
    # has the request.
    "ALTER TABLE job_requests ADD COLUMN sent INTEGER NOT NULL DEFAULT 0",
    # Earlier versions did not record what they sent.
    "UPDATE jobs SET create_sent = 1 WHERE state = 'new'",
    "UPDATE job_requests SET sent = 1 WHERE job_id IN (SELECT id FROM jobs WHERE state = 'new')",
)

_SHOWN: Final = (
    """CREATE TABLE shown (           -- pictures that a notebook showed and did not make itself
        notebook TEXT NOT NULL,     -- as in requests
        fingerprint TEXT NOT NULL,
        place INTEGER NOT NULL,
        position INTEGER NOT NULL,
        image_id INTEGER NOT NULL REFERENCES images (id),
        PRIMARY KEY (notebook, fingerprint, place, position)
    ) WITHOUT ROWID""",
)

_REPLIES: Final = (
    # Random, the reply's own; NULL: it came before there were ids, by a job or from a bundle.
    "ALTER TABLE requests ADD COLUMN reply_id TEXT",
    "CREATE UNIQUE INDEX requests_by_reply ON requests (reply_id) WHERE reply_id IS NOT NULL",
)

_IDENTITY: Final = (
    "CREATE TABLE identity (id TEXT NOT NULL)",  # one row, random: see library/ownership.py
    "INSERT INTO identity VALUES (lower(hex(randomblob(16))))",
)

_LINE_ENDS: Final = (
    # Earlier versions took a prompt with \r\n, as Windows has it in a cell, for another one.
    """CREATE TEMP TABLE renamed AS
        SELECT DISTINCT fingerprint AS former, fingerprint(backend, host, prompt, model,
            aspect_ratio, resolution, quality, user, inputs) AS fingerprint
        FROM requests WHERE instr(prompt, char(13, 10))""",
    "DELETE FROM renamed WHERE fingerprint IS NULL",
    """UPDATE requests SET fingerprint = (
            SELECT fingerprint FROM renamed WHERE former = requests.fingerprint)
        WHERE fingerprint IN (SELECT former FROM renamed)""",
    """UPDATE OR REPLACE shown SET fingerprint = (
            SELECT fingerprint FROM renamed WHERE former = shown.fingerprint)
        WHERE fingerprint IN (SELECT former FROM renamed)""",
    "DROP TABLE renamed",
)

MIGRATIONS: Final = (
    _REQUESTS_AND_IMAGES, _REWRITES, _PLACES, _UPLOADS, _LINKS, _MARKS, _JOBS, _REDO, _PANELS,
    _REPLIES, _CHARGES, _JOB_CALLS, _SHOWN, _IDENTITY, _LINE_ENDS,
)  # fmt: skip
"""`MIGRATIONS[i]` takes a library from version i to i + 1. Released steps never change."""

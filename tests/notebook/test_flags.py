"""What the browser knows of the option table."""

from __future__ import annotations

import json

from xai_notebook.notebook.browser.lab.flags import TABLE, flags


def test_the_browser_knows_the_options() -> None:
    """After a change of the table: python xai_notebook/notebook/browser/lab/flags.py."""
    assert json.loads(TABLE.read_text()) == flags()

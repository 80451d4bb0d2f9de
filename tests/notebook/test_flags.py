"""The browser's copy of the option table."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / ".ci/flags.py"


def test_the_browser_has_the_option_table() -> None:
    """If it fails after a change of the table, run `python .ci/flags.py`."""
    script = runpy.run_path(str(SCRIPT))
    assert json.loads(script["TABLE"].read_text()) == script["flags"]()

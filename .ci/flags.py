"""Write `flags.json`, with which the browser distinguishes options from the prompt.

Usage: python .ci/flags.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from xai_notebook.arguments.options import OPTIONS

TABLE: Final = Path(__file__).parents[1] / "xai_notebook/notebook/browser/lab/flags.json"


def flags() -> dict[str, str | None]:
    """Map each flag to `Option.begins`; None for a switch, which takes no value."""
    return {
        flag: None if option.metavar is None else option.begins
        for option in OPTIONS
        for flag in option.flags
    }


if __name__ == "__main__":
    TABLE.write_text(json.dumps(flags(), indent=2) + "\n")

"""Write `flags.json`, from which the browser tells options from a prompt.

Usage: python .ci/flags.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from xai_notebook.arguments.options import OPTIONS

TABLE: Final = Path(__file__).parents[1] / "xai_notebook/notebook/browser/lab/flags.json"


def flags() -> dict[str, str | None]:
    """Return what a value begins with, by flag; None: a switch, which takes none."""
    return {
        flag: None if option.metavar is None else option.begins
        for option in OPTIONS
        for flag in option.flags
    }


if __name__ == "__main__":
    TABLE.write_text(json.dumps(flags(), indent=2) + "\n")

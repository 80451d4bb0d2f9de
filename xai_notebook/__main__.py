"""Command line: `python -m xai_notebook pack story.ipynb` writes a bundle."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from xai_notebook.errors import XaiError
from xai_notebook.library import Library
from xai_notebook.library.bundles import SUFFIX
from xai_notebook.settings import Configuration


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m xai_notebook")
    commands = parser.add_subparsers(dest="command", required=True)
    pack = commands.add_parser(
        "pack", help="write the pictures that a notebook made into a bundle beside it"
    )
    pack.add_argument("notebook", type=Path, metavar="story.ipynb")
    pack.add_argument("-o", "--output", type=Path, metavar="story.xai")
    options = parser.parse_args(arguments)
    notebook: Path = options.notebook
    file = options.output or notebook.parent / f"{notebook.stem}{SUFFIX}"
    try:
        count = _pack(notebook, file)
    except XaiError as error:
        problem = f"{error}"
        if not notebook.is_file():
            problem = f"{notebook} is not a file. Give the path of a notebook."
        print(problem, file=sys.stderr)  # noqa: T201  # a program
        return 1
    print(f"{file}: {count} picture{'' if count == 1 else 's'}")  # noqa: T201  # a program
    return 0


def _pack(notebook: Path, file: Path) -> int:
    """Write the bundle of a notebook and return the number of pictures in it."""
    path = notebook.resolve()

    def is_notebook(name: str) -> bool:
        """Tell whether a recorded name is this file or its path below Jupyter's root."""
        parts = Path(name).parts
        return bool(parts) and path.parts[-len(parts) :] == parts

    library = Library.open(Configuration.from_environment().home)
    try:
        return library.bundle_writer.pack(file, is_notebook=is_notebook).pictures
    finally:
        library.close()


if __name__ == "__main__":
    sys.exit(main())

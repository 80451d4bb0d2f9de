"""Run the tutorials and save their outputs: `python notebooks/regenerate.py [FILE ...]`.

Each tutorial runs in a temporary folder, with an empty library and without a key. So the saved
outputs are those that a reader without a key sees, and contain nothing of this machine.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent


def regenerate(path: Path) -> None:
    """Run one notebook and save it with its outputs, if every cell succeeds."""
    notebook = nbformat.read(path, as_version=4)
    environment = {name: text for name, text in os.environ.items() if not name.startswith("XAI_")}
    with TemporaryDirectory() as folder, TemporaryDirectory() as home:
        nbformat.write(notebook, Path(folder) / path.name)  # one tutorial converts itself
        profile = Path(home) / "profile_default"
        profile.mkdir()
        # On a busy machine, progress lines would be saved as outputs.
        (profile / "ipython_config.py").write_text("c.XaiImage.patience = 600")
        client = NotebookClient(
            notebook,
            record_timing=False,
            store_widget_state=False,
            resources={"metadata": {"path": folder}},
        )
        client.execute(env={**environment, "XAI_NOTEBOOK_HOME": home, "IPYTHONDIR": home})
    notebook.metadata["language_info"] = {"name": "python"}  # not the version that ran it
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for file in [Path(name) for name in sys.argv[1:]] or sorted(HERE.glob("*.ipynb")):
        print(file.name)
        regenerate(file)

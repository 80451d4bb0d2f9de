"""A saved notebook holds no path of the user's home folder."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

from xai_notebook import errors as xai_errors

if TYPE_CHECKING:
    from pathlib import Path

    from harness import Served

CELLS = """
%load_ext xai_notebook
import xai_notebook as xai
from pathlib import Path
home = str(Path.home())
---
%%xai_image -n 2 --as foxes --export pictures
a red fox
---
%xai_image --export ~/Desktop an owl
---
%xai_image --export {{ home }}/Desktop --captions full a crane
---
foxes.export("again")
---
foxes[0].export("~/Desktop")
---
foxes.export("set", name="{n}", manifest="metadata.csv")
---
foxes.export("set", name="{id}", manifest="metadata.csv")
---
foxes.export_sheet()
---
foxes[0].exported, foxes[0].exported.parent, foxes[0].path, foxes[0].file
---
foxes[0].picture
---
vars(foxes[0])
---
foxes
---
print(foxes[0], foxes)
---
foxes[0].edit("a hat")
---
%xai_image -i {{ home }}/course/photo.png --as hats a hat
---
%xai_image -i ~/photo.png a hat
---
hats[0].cell, hats[0].request
---
%xai_image -i foxes --compare a scarf
---
%xai_image -i missing.png a hat
---
%xai_image -i {{ home }}/missing.png a hat
---
%xai_image -i {{ home }}/course a hat
---
xai.generate("a hat", image=Path.home() / "missing.png")
---
%xai_image --each {{ home }}/missing.csv
---
%xai_image --each ~/missing.csv
---
%xai_image --each table.csv --as many
---
xai.generate(each=Path.home() / "course" / "table.csv")
---
xai.generate(each=Path.home() / "course" / "damaged.xlsx")
---
xai.generate(each=Path.home() / "course" / "damaged.jsonl")
---
%xai_image --each table.csv --dry-run --export {{ home }}/pictures
---
xai.generate(each=["a plum"], dry_run=True, export=Path.home() / "pictures")
---
job = xai.generate(each=["a plum"], batch=True)
job.wait()
---
job
---
%xai_jobs
---
%xai_history
---
xai.costs()
---
for picture in xai.stream(each=["a pear"]): print(picture)
---
%xai_pack
---
%xai_pack
---
xai.pack()
---
%xai_pack nowhere/story.xai
---
xai.pack(home + "/nowhere/story.xai")
---
xai.unpack(home + "/nowhere.xai")
---
xai.unpack("damaged.xai")
---
xai.unpack("story.xai")
---
xai.merge(home + "/nowhere")
---
xai.merge(home + "/course")
---
xai.merge("~/.local/share/xai-notebook")
---
xai.read_metadata(home + "/nowhere.jpg")
---
xai.read_metadata(home + "/photo.png")
---
foxes[0].export(home + "/photo.png/pictures")
---
foxes[0].export("photo.png/pictures")
---
foxes[0].export(home + "/fox.tiff")
---
foxes.export(home + "/Desktop", name="fox")
---
foxes.export("set", manifest=home + "/set.csv")
---
foxes.export("broken", manifest="metadata.csv")
---
%tb
---
%xai_panel a red fox
---
xai.panel(image=[home + "/photo.png"])
---
%xai_library fox
---
%config XaiImage
---
%config XaiImage.timeout = "soon"
---
%env XAI_API_KEY_FILE=~/key
---
%xai_image --help
---
import os
os.environ["XAI_NOTEBOOK_HOME"] = home + "/damaged"
---
%xai_image a red fox
---
xai.history()
---
%xai_pack
---
os.environ["XAI_NOTEBOOK_HOME"] = home + "/photo.png"
---
%xai_image a red fox
---
xai.history()
---
%tb
---
os.environ["XAI_NOTEBOOK_HOME"] = "relative"
---
%xai_image a red fox
""".strip().split("\n---\n")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a folder `course` for the notebook."""
    home = tmp_path / "someone"
    course = home / "course"
    for folder in (course / "broken", home / "damaged"):
        folder.mkdir(parents=True)
    for folder in (home, course):
        Image.new("RGB", (40, 30), "red").save(folder / "photo.png")
    (course / "table.csv").write_text("prompt\na plum\na pear\n")
    for name in ("course/damaged.xlsx", "course/damaged.xai", "course/broken/metadata.csv",
                 "course/damaged.jsonl", "damaged/library.sqlite3"):  # fmt: skip
        (home / name).write_text("{damaged" * 1000)
    for name in ("XAI_NOTEBOOK_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "IPYTHONDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    return home


def test_a_saved_notebook_does_not_hold_the_home_folder(
    home: Path, keyed: Served, quick: Served
) -> None:
    """The notebook uses every magic and function, with files that exist, are missing or damaged."""
    file = home / "course" / "story.ipynb"
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    client = NotebookClient(
        book, timeout=60, allow_errors=True, kernel_name="python3",
        resources={"metadata": {"path": str(file.parent)}},
    )  # fmt: skip
    client.execute(env={**os.environ, "JPY_SESSION_NAME": str(file)})
    assert file.with_suffix(".xai").is_file()
    errors = [output.ename for cell in book.cells for output in cell.outputs if "ename" in output]
    assert len(errors) == 29
    assert {*errors} <= {*xai_errors.__all__}
    shown = {cell.source: [cell.outputs, cell.metadata] for cell in book.cells}
    shown["widgets"] = [book.metadata]
    assert [source for source, each in shown.items() if home.name in json.dumps(each)] == []

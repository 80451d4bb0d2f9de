"""Tab completion in the magics: options, values, variables and files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.completer import provisionalcompleter
from PIL import Image

from xai_notebook import settings
from xai_notebook.notebook import completion
from xai_notebook.pictures.results import ImageBatch

if TYPE_CHECKING:
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell


def offered(text: str, **namespace: Any) -> list[str] | None:
    """Return the completions at the end of a cell's text; None outside our magics."""
    lines = text.split("\n")
    completed = completion.complete(text, len(lines[-1]), len(lines) - 1, namespace)
    return None if completed is None else completed[1]


def tab(shell: InteractiveShell, text: str) -> list[str]:
    """Return the lines that Tab could make of `text`, as a frontend would apply them."""
    with provisionalcompleter():
        return [
            text[: found.start] + found.text + text[found.end :]
            for found in shell.Completer.completions(text, len(text))
        ]


def test_options_are_offered() -> None:
    assert offered("%xai_image --as") == ["--as", "--aspect-ratio"]
    everything = offered("%xai_image ")
    assert everything is not None
    assert "--resolution" in everything
    assert all(flag.startswith("--") for flag in everything)
    assert "-n" in (offered("%%xai_image -") or [])


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("--aspect-ratio 16", ["16:9"]),
        ("-a ", list(settings.ASPECT_RATIOS)),
        ("--resolution=", ["--resolution=1k", "--resolution=2k"]),
        ("-r ", ["1k", "2k"]),
        ("-q l", ["low"]),
        ("--format ", ["base64", "url"]),
        ("-m grok-imagine-image-2", ["grok-imagine-image-2.0"]),
        ("-n 1", ["1", "10"]),
        ("--timeout ", []),
        ("-n 2 -a 1:", ["1:1", "1:2"]),
        ("a red fox -r ", ["1k", "2k"]),
    ],
)
def test_values_are_offered(line: str, values: list[str]) -> None:
    assert offered(f"%xai_image {line}") == values


def test_fitting_variables_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {
        "cat": Image.new("RGB", (1, 1)),
        "foxes": ImageBatch(),
        "raw": b"x",
        "prompts": ["a"],
        "number": 3,
        "_hidden": b"x",
    }
    assert offered("%xai_image --image ", **names) == ["cat", "foxes", "raw"]
    assert offered("%xai_image --each p", **names) == ["prompts"]
    assert offered("%xai_image --as ", **names) == ["foxes"]


def test_fitting_files_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cat.png", "notes.txt", "script.py", "pictures/dog.jpg", ".hidden.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert offered("%xai_image -i ") == ["cat.png", "pictures/"]
    assert offered("%xai_image -i pictures/") == ["pictures/dog.jpg"]
    assert offered("%xai_image --each ") == ["notes.txt", "pictures/"]
    for name in ("a.csv", "b.tsv", "c.jsonl", "d.ndjson", "e.json", "f.parquet", "g.XLSX", "h.xls"):
        (tmp_path / "pictures" / name).touch()
    assert offered("%xai_image --each pictures/") == [
        "pictures/a.csv", "pictures/b.tsv", "pictures/c.jsonl", "pictures/d.ndjson",
        "pictures/e.json", "pictures/f.parquet", "pictures/g.XLSX",
    ]  # fmt: skip
    assert offered("%xai_image -e ") == ["pictures/"]
    assert offered("%xai_image -i nowhere/") == []


def test_inside_a_prompt_nothing_is_offered() -> None:
    assert offered("%xai_image a red f") == []
    assert offered("%xai_image a red ") == []
    assert offered("%%xai_image -n 2\na red f") == []


@pytest.mark.parametrize(
    "text", ["imp", "%xai", "%time xai_image --", "x = 1\n--as", "%%timeit\nx"]
)
def test_other_cells_are_left_alone(text: str) -> None:
    assert offered(text) is None


def test_the_shell_adds_no_other_completions(shell: InteractiveShell) -> None:
    assert tab(shell, "%xai_image --as") == ["%xai_image --as", "%xai_image --aspect-ratio"]
    assert tab(shell, "%xai_image --aspect-ratio 16") == ["%xai_image --aspect-ratio 16:9"]
    assert tab(shell, "%%xai_image -a 19.5") == ["%%xai_image -a 19.5:9"]
    assert tab(shell, "x = %xai_image --repl") == ["x = %xai_image --replay"]
    assert tab(shell, "%xai_image -m grok-imagine-image-q") == [
        "%xai_image -m grok-imagine-image-quality"
    ]
    shell.user_ns["foxglove"] = 1
    assert tab(shell, "%%xai_image -n 2\na red fox") == []
    assert tab(shell, "%xai_image a red fox") == []


def test_ipython_completes_the_magics_names(shell: InteractiveShell) -> None:
    assert "%xai_image" in tab(shell, "%xai_i")


def test_python_names_are_still_completed(shell: InteractiveShell) -> None:
    shell.user_ns["some_long_name"] = 1
    assert "some_long_name" in tab(shell, "some_lo")


def test_other_magics_offer_their_own_options() -> None:
    assert offered("%xai_history ") == ["-n"]
    assert {"--count", "--aspect-ratio", "--image"} < set(offered("%xai_panel ") or ())
    assert not {"--each", "--dry-run", "--as"} & set(offered("%xai_panel ") or ())

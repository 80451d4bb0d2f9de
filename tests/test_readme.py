"""The README: its cells run, its commands have the right form, and it is short."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from harness import without_xai
from xai_notebook.settings import Configuration

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_has_at_most_130_lines() -> None:
    assert len(README.splitlines()) <= 130


def test_the_cells_work_as_printed(tmp_path: Path) -> None:
    cells = re.findall(r"```ipython\n(.*?)```", README, flags=re.DOTALL)
    assert cells[0] == "%load_ext xai_notebook\n"
    code = "\n".join(f"get_ipython().run_cell({cell!r}).raise_error()" for cell in cells)
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "-c", f"{code}\nassert len(foxes) == 4"],
        cwd=tmp_path, env=without_xai() | {"XAI_NOTEBOOK_HOME": str(tmp_path / "home")},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "pictures").iterdir())) == 4


def test_the_first_shell_blocks_install_the_package() -> None:
    """`.ci/run` runs both blocks: the first makes pictures, the second runs the tests."""
    first, second = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)[:2]
    assert "%xai_image" in first
    assert "pytest" in second
    for command in (first, second):
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install")


def test_every_xai_variable_is_documented() -> None:
    source = Path(Configuration.from_environment.__code__.co_filename).read_text(encoding="utf-8")
    page = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    variables = set(re.findall(r'"(XAI_[A-Z_]+)"', source))
    assert {variable for variable in variables if f"`{variable}`" not in page} == set()

"""The README says what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from harness import without_xai
from xai_notebook.arguments.options import OPTIONS
from xai_notebook.settings import Configuration

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_option_table_is_the_code_s() -> None:
    """Every option stands in the README with its flags and its meaning."""
    for option in OPTIONS:
        row = next(
            line for line in README.splitlines() if line.startswith(f"| `{option.flags[0]}`")
        )
        assert all(f"`{flag}`" in row for flag in option.flags)
        assert option.help.replace("|", "\\|") in row


def test_the_first_cell_works_as_printed(tmp_path: Path) -> None:
    """Whoever copies it gets pictures, with nothing defined before."""
    block = re.findall(
        r"((?:^    \S.*\n|^\n)+)", README.split("## The first minute")[1], re.MULTILINE
    )[1]
    load, cell = dedent(block).strip().split("\n\n", 1)
    asked = f"get_ipython().run_cell({cell!r}).raise_error(); assert len(foxes) == 4"
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "-c", f"{load}\n{asked}"],
        cwd=tmp_path, env=without_xai() | {"XAI_NOTEBOOK_HOME": str(tmp_path / "home")},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert load == "%load_ext xai_notebook"
    assert done.returncode == 0, done.stdout + done.stderr


def test_links_lead_somewhere() -> None:
    """Every relative link of the README names a file of the project."""
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_two_commands_come_first() -> None:
    """The first two shell blocks are complete commands: one makes pictures, one tests."""
    first, second = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)[:2]
    assert "%xai_image" in first
    assert "pytest" in second
    for command in (first, second):
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install")


def test_every_variable_is_documented() -> None:
    """Every environment variable that the settings read stands in the README."""
    source = Path(Configuration.from_environment.__code__.co_filename).read_text(encoding="utf-8")
    for variable in set(re.findall(r'"(XAI_[A-Z_]+)"', source)):
        assert f"`{variable}`" in README

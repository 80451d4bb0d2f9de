"""The README says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

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

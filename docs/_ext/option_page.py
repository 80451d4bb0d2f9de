"""Writes the page of options and settings, from the tables in `arguments/options.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xai_notebook.arguments.options import OPTIONS, SETTINGS

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path) -> None:
    lines = [
        "# Options",
        "",
        "`%xai_image [OPTIONS] PROMPT` on a line, or `%%xai_image [OPTIONS]` with the prompt as",
        "the cell's body. Options can be before or after the prompt; Tab completes options,",
        "values, models and variables. In Python, `xai.generate()` takes the same options, under",
        "the names in the last column.",
        "",
        "| option | value | meaning | in Python |",
        "|---|---|---|---|",
    ]
    for option in OPTIONS:
        flags = ", ".join(f"`{flag}`" for flag in option.flags)
        value = option.metavar or ""
        if value and option.bare is not None:
            value = f"[{value}]"
        cells = (flags, f"`{value}`" if value else "", option.help, f"`{option.name}`")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += [
        "",
        "## Settings",
        "",
        "`%config XaiImage.NAME = VALUE` sets a default for this kernel, `c.XaiImage.NAME = VALUE`",
        "in `ipython_config.py` for every kernel. Every option above that can have a default is",
        "also a setting. The settings below are no defaults of options; `replay` and the option",
        "`--replay` have different meanings:",
        "",
        "| setting | default | meaning |",
        "|---|---|---|",
    ]
    for setting in SETTINGS:
        default = "" if setting.default is None else f"`{setting.default}`"
        lines.append(f"| `{setting.setting or setting.name}` | {default} | {setting.help} |")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")

"""A new row of the option table appears everywhere; traits and defaults follow the table."""

from __future__ import annotations

import json
import runpy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import traitlets

from xai_notebook.arguments.line import Parsed, options_by_flag, parse
from xai_notebook.arguments.options import (
    OPTIONS,
    SETTINGS,
    Options,
    help_text,
    resolve,
    row,
    table,
)
from xai_notebook.arguments.values import Choice
from xai_notebook.errors import ConfigurationError, OptionError
from xai_notebook.generation.session import current_session
from xai_notebook.notebook import completion
from xai_notebook.notebook.magics import traits_of
from xai_notebook.notebook.panel import form
from xai_notebook.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


@dataclass(frozen=True, slots=True, kw_only=True)
class Wider(Options):
    """The table with one more row."""

    film_stock: str = field(
        default="none",
        metadata=row("-s", "grain", Choice(("none", "35mm")), "FILM", label="Film stock"),
    )


ROWS = table(Wider)


def test_a_new_row_is_a_flag() -> None:
    expected = Parsed({"film_stock": "35mm"}, "a fox")
    flags = options_by_flag(ROWS)
    assert parse("--film-stock 35mm a fox", flags) == parse("-s 35mm a fox", flags) == expected
    with pytest.raises(OptionError, match="Unknown option --film-stock"):
        parse("--film-stock 35mm a fox")


def test_a_new_row_is_checked() -> None:
    assert resolve({"film_stock": "35MM"}, kind=Wider) == Wider(film_stock="35mm")
    with pytest.raises(OptionError, match="-s/--film-stock: '8mm' is not one of none, 35mm"):
        resolve({"film_stock": "8mm"}, kind=Wider)


def test_a_new_row_is_in_the_help() -> None:
    lines = [" ".join(line.split()) for line in help_text(ROWS).splitlines()]
    assert "-s, --film-stock FILM grain: none, 35mm" in lines


def test_a_new_row_is_completed() -> None:
    def offered(line: str) -> list[str] | None:
        completed = completion.complete(line, len(line), 0, {}, ROWS)
        return completed and completed[1]

    assert offered("%xai_image --fi") == ["--film-stock"]
    assert offered("%xai_image --film-stock ") == ["none", "35mm"]


def test_a_new_row_is_a_trait() -> None:
    trait = traits_of(ROWS)["film_stock"]
    assert isinstance(trait, traitlets.CaselessStrEnum)
    assert (trait.default_value, trait.values, trait.help) == ("none", ("none", "35mm"), "grain")
    assert trait.metadata["config"]


def test_a_new_row_is_a_field_of_the_panel() -> None:
    assert form.choices({}, ROWS)["fields"][-1] == {
        "name": "film_stock",
        "label": "Film stock",
        "values": ("none", "35mm"),
        "open": False,
    }


def test_a_new_row_is_written_into_cells() -> None:
    options = resolve({"film_stock": "35mm"}, kind=Wider)
    assert options.to_line(Wider()) == "%%xai_image --film-stock=35mm"
    assert options.to_line(options) == "%%xai_image"


def test_the_browser_has_the_option_table() -> None:
    """`python .ci/flags.py` writes the browser's copy."""
    script = runpy.run_path(str(Path(__file__).parents[2] / ".ci/flags.py"))
    assert json.loads(script["TABLE"].read_text()) == script["flags"]()


def test_every_configurable_row_is_a_trait() -> None:
    traits = traits_of()
    rows = [option for option in (*OPTIONS, *SETTINGS) if option.configurable]
    assert list(traits) == [option.setting or option.name for option in rows]
    assert traits["model"].default_value == DEFAULT_MODEL
    assert all(traits[each.name].default_value == each.default for each in SETTINGS)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("count", 11), ("aspect_ratio", "3:1"), ("timeout", 0.0), ("full", "x"), ("backend", "aws")],
)
def test_traits_have_the_bounds_of_the_rows(name: str, wrong: object) -> None:
    configurable = type("Configurable", (traitlets.HasTraits,), traits_of())()
    with pytest.raises(traitlets.TraitError):
        setattr(configurable, name, wrong)


def test_the_cell_has_changed_options_and_configured_options_of_the_request() -> None:
    configured = resolve({"n": 4, "resolution": "2k", "columns": 2, "timeout": 60})
    options = resolve({"resolution": "2k", "columns": 2, "timeout": 90, "metadata": False})
    line = options.to_line(configured)
    assert line == "%%xai_image -n 1 --resolution=2k --no-metadata --timeout=90"


def test_an_invalid_budget_stops_calls(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    """`%config` prints the error and does not raise it."""
    shell.run_line_magic("config", "XaiImage.budget = '0.01/dya'")
    for _ in range(2):
        result = shell.run_cell("%xai_image a fox")
        assert isinstance(result.error_in_exec or result.error_before_exec, ConfigurationError)
    assert len(current_session().history.search()) == 0  # calls that cost nothing still work
    shell.run_line_magic("config", "XaiImage.budget = '0.01/day'")
    assert shell.run_cell("%xai_image a fox").success
    capsys.readouterr()


def test_an_invalid_default_in_the_configuration_is_an_error_at_load(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.config.XaiImage.budget = "oops"
    result = shell.run_cell("%reload_ext xai_notebook")
    assert isinstance(result.error_in_exec, ConfigurationError)
    assert "'oops' is not a budget" in str(result.error_in_exec)
    shell.config.XaiImage.budget = "5/day"
    assert shell.run_cell("%reload_ext xai_notebook").success
    capsys.readouterr()

"""The magics in IPython: values, names, templates, configuration, loading and leaving."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

import IPython
import pytest

from xai_notebook import errors
from xai_notebook.arguments.options import OPTIONS, help_text
from xai_notebook.generation.session import current_session
from xai_notebook.notebook.extension import load_ipython_extension
from xai_notebook.pictures.results import ImageBatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

    from harness import Served

    Run = Callable[[str], Any]


@pytest.fixture
def run(shell: InteractiveShell) -> Run:
    """Return a function that runs a cell and returns its value, or raises its error."""

    def run(cell: str) -> Any:
        result = shell.run_cell(cell, store_history=True)
        result.raise_error()
        return result.result

    return run


@pytest.fixture(autouse=True)
def _small(keyed: Served) -> None:
    """Pictures are not looked at here: none is painted."""
    keyed.faults.garbage = b"\xff\xd8\xff"


def test_line_and_cell_return_the_batch(run: Run, server: Served) -> None:
    """The prompt stands on the line or in the body; the value is an ImageBatch."""
    assert isinstance(run("%xai_image -n 2 a red fox"), ImageBatch)
    assert (server.last.prompt, server.last.n) == ("a red fox", 2)
    assert isinstance(run("%%xai_image --aspect-ratio 16:9\na red fox,\nin snow"), ImageBatch)
    assert server.last.prompt == "a red fox,\nin snow"


def test_the_value_is_in_the_underscore(run: Run, shell: InteractiveShell) -> None:
    """`_` and `Out[n]` hold the batch."""
    made = run("%xai_image a red fox")
    assert shell.user_ns["_"] is made
    assert shell.user_ns["Out"][shell.execution_count - 1] is made


@pytest.mark.parametrize(
    "body",
    [
        "it's a {single} brace, $HOME and $x^2$",
        '{"json": [1, 2], "deep": {"a": "b"}}',
        r"\frac{a}{b} and C:\new\table",
        "100 % \"quoted\" 'text' # not a comment",
        "a ? and a ! and %magic",
        "the cat's",
        "--not-an-option -n 3",
    ],
)
def test_a_body_reaches_the_server_unchanged(run: Run, server: Served, body: str) -> None:
    """IPython expands nothing, shlex splits nothing."""
    run("x = 5")
    run(f"%%xai_image\n{body}")
    assert server.last.prompt == body


@pytest.mark.parametrize("prompt", ["a {x} b", "a $x b", "a $HOME b", "{x} and {nope}", "it's 5 %"])
def test_a_line_is_not_expanded_by_ipython(run: Run, server: Served, prompt: str) -> None:
    """`{x}` and `$x` stay, on the line too."""
    run("x = 5")
    run(f"%xai_image {prompt}")
    assert server.last.prompt == prompt


def test_templates_see_the_users_variables(run: Run, server: Served) -> None:
    """Globals, and the locals of a function that calls the magic."""
    run("light = 'at dawn'")
    run("%%xai_image\na fox {{ light }}")
    assert server.last.prompt == "a fox at dawn"
    run("def f(light):\n    %xai_image an owl {{ light }}\nf('at noon')")
    assert server.last.prompt == "an owl at noon"


def test_an_undefined_name_is_named_and_nothing_sent(run: Run, server: Served) -> None:
    """The error comes before any call."""
    with pytest.raises(errors.OptionError, match="'nope' is undefined"):
        run("%%xai_image\na fox {{ nope }}")
    assert server.calls == []


def test_as_binds_the_batch(run: Run, shell: InteractiveShell) -> None:
    """`--as` names the result; a wrong name is found before money is spent."""
    made = run("%%xai_image --as foxes\na red fox")
    assert shell.user_ns["foxes"] is made
    with pytest.raises(errors.OptionError, match="not a name"):
        run("%%xai_image --as 1x\na red fox")


def test_a_trailing_semicolon_is_not_sent(run: Run, server: Served) -> None:
    """It is a habit of notebooks, not part of the prompt."""
    run("%xai_image a red fox;")
    assert server.last.prompt == "a red fox"
    run("%%xai_image\na red fox;\n")
    assert server.last.prompt == "a red fox"


def test_an_assignment_takes_the_value(run: Run, shell: InteractiveShell) -> None:
    """`x = %xai_image …` binds the batch."""
    assert run("x = %xai_image a red fox") is None
    assert isinstance(shell.user_ns["x"], ImageBatch)


def test_two_prompts_are_refused(run: Run, server: Served) -> None:
    """One on the line and one in the body: which?"""
    with pytest.raises(errors.OptionError, match="Keep one of them"):
        run("%%xai_image a red fox\nan owl")
    assert server.calls == []


def test_no_prompt_is_refused(run: Run) -> None:
    """The message says what is missing."""
    for cell in ("%xai_image", "%%xai_image\n\n", "%xai_image -n 2"):
        with pytest.raises(errors.OptionError, match="There is no prompt"):
            run(cell)


def test_a_folder_that_ate_the_prompt_is_named(run: Run) -> None:
    """`--export fox` takes "fox" for the folder: the error says so."""
    with pytest.raises(errors.OptionError, match="--export took 'fox' for its folder"):
        run("%xai_image --export fox")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_prints_the_table(run: Run, capsys: pytest.CaptureFixture[str], option: str) -> None:
    """The same text as `%xai_image?`; nothing is sent, no prompt needed."""
    assert run(f"%xai_image {option}") is None
    assert capsys.readouterr().out == help_text() + "\n"


def test_the_docstring_is_the_help(shell: InteractiveShell) -> None:
    """`%xai_image?` shows the table."""
    assert shell.find_magic("xai_image").__doc__ == help_text()


def test_each_reads_the_body_or_a_variable(run: Run, server: Served) -> None:
    """One request per line, or per element."""
    run("%config XaiImage.rate = 0")
    run("%%xai_image --each\na fox\n\nan owl")
    assert sorted(call.message.prompt for call in server.calls) == ["a fox", "an owl"]
    run("them = ['a cat', 'a dog']")
    assert len(run("%xai_image --each them")) == 2


def test_dry_run_shows_the_plan(run: Run, server: Served) -> None:
    """Nothing is sent."""
    assert "a red fox" in repr(run("%xai_image --dry-run a red fox"))
    assert server.calls == []


# Configuration


def test_config_sets_defaults(run: Run, server: Served) -> None:
    """`%config XaiImage.x` counts for what a call leaves open."""
    run("%config XaiImage.count = 3")
    run("%config XaiImage.aspect_ratio = '16:9'")
    run("%xai_image a red fox")
    assert (server.last.n, server.last.aspect_ratio) == (3, 5)
    run("%xai_image -n 1 a red fox")
    assert server.last.n == 1


def test_every_option_with_a_default_can_be_configured(shell: InteractiveShell) -> None:
    """The table and the traits name the same, and each help ends as a sentence."""
    (magics,) = _configurables(shell)
    configuration = magics.configuration()
    assert {option.name for option in OPTIONS if option.configurable} <= set(configuration)
    traits = magics.traits(config=True).values()
    assert all(trait.help for trait in traits)


@pytest.mark.parametrize(
    "setting", ["resolution = '8k'", "count = 11", "backend = 'cloud'", "timeout = -1", "rate = -1"]
)
def test_config_refuses_what_is_not_possible(
    run: Run, shell: InteractiveShell, setting: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The value stays as it was."""
    name = setting.partition(" ")[0]
    (magics,) = _configurables(shell)
    before = getattr(magics, name)
    run(f"%config XaiImage.{setting}")
    assert getattr(magics, name) == before
    assert name in caplog.text


def test_generate_reads_the_configuration_too(run: Run, server: Served) -> None:
    """`xai.generate` and the magic share their defaults."""
    run("%config XaiImage.count = 2")
    run("import xai_notebook as xai\nxai.generate('a red fox')")
    assert server.last.n == 2


# History and panel


def test_history_takes_a_number_and_words(run: Run) -> None:
    """Newest first."""
    run("%xai_image a red fox")
    run("%xai_image an owl")
    assert [image.prompt for image in run("%xai_history")] == ["an owl", "a red fox"]
    assert [image.prompt for image in run("%xai_history -n 1")] == ["an owl"]
    assert [image.prompt for image in run("%xai_history red fox")] == ["a red fox"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-n two", "-n: 'two' is not a number of images."),
        ("-n 0", "-n: '0' is not a number of images."),
        ("--model x", "%xai_history takes only -n N and words to look for."),
    ],
)
def test_history_refuses_what_it_cannot_do(run: Run, line: str, message: str) -> None:
    """In the words of the option table."""
    with pytest.raises(errors.OptionError, match=re.escape(message)):
        run(f"%xai_history {line}")


def test_history_is_not_limited_to_ten(run: Run) -> None:
    """Its -n counts images shown, not images made."""
    assert len(run("%xai_history -n 100")) == 0


# Loading and leaving


def _configurables(shell: InteractiveShell) -> list[Any]:
    return [thing for thing in shell.configurables if type(thing).__name__ == "XaiImage"]


def _matchers(shell: InteractiveShell) -> list[str]:
    return [m.__name__ for m in shell.Completer.custom_matchers]


def test_loading_twice_leaves_one(shell: InteractiveShell) -> None:
    """Neither `%load_ext` again nor `%reload_ext` doubles anything."""
    load_ipython_extension(shell)
    shell.extension_manager.reload_extension("xai_notebook")
    assert len(_configurables(shell)) == 1
    has_matchers = IPython.version_info >= (8, 6)
    assert _matchers(shell) == (["xai_image_matcher"] if has_matchers else [])


def test_a_reload_keeps_working(run: Run, shell: InteractiveShell, server: Served) -> None:
    """After `%reload_ext` the magic answers, and is still itself."""
    run("%xai_image a red fox")
    run("%reload_ext xai_notebook")
    run("%config XaiImage.count = 2")
    assert len(run("%xai_image an owl")) == 2
    assert server.last.n == 2


def test_unloading_leaves_nothing(run: Run, shell: InteractiveShell) -> None:
    """No magic, configurable, matcher, thread or open session."""
    run("%xai_image --local a red fox")
    assert current_session().connections.peers
    shell.extension_manager.unload_extension("xai_notebook")
    for table in shell.magics_manager.magics.values():
        assert not [name for name in table if name.startswith("xai")]
    assert _configurables(shell) == []
    assert _matchers(shell) == []
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("xai-notebook") == 1  # the one of the tests' own server
    shell.extension_manager.load_extension("xai_notebook")
    run("%xai_image --local a red fox")


def test_configuration_from_a_file_counts(
    shell: InteractiveShell, run: Run, server: Served
) -> None:
    """`c.XaiImage.count = 2` in ipython_config.py is there when the extension is loaded."""
    shell.extension_manager.unload_extension("xai_notebook")
    shell.config.XaiImage.count = 2
    shell.extension_manager.load_extension("xai_notebook")
    run("%xai_image a red fox")
    assert server.last.n == 2


@pytest.mark.filterwarnings("ignore:This is now an optional IPython:UserWarning")  # %cd's own
def test_the_notebooks_folder_is_where_the_extension_was_loaded(
    run: Run, tmp_path: Path, server: Served
) -> None:
    """A later `%cd` does not move exports."""
    server.faults.garbage = None
    folder = tmp_path / "work"
    run(f"%cd -q {tmp_path}")
    (image,) = run("%xai_image --export a red fox".replace("--export", "--export pictures"))
    assert image.exported.parent == folder / "pictures"


def test_errors_reach_the_shell_as_themselves(run: Run, server: Served) -> None:
    """A magic raises; it never prints and returns None."""
    server.faults.fail_when = lambda *_: _refusal()
    with pytest.raises(errors.InvalidRequestError):
        run("%xai_image a red fox")


def _refusal() -> Any:
    import grpc

    return grpc.StatusCode.INVALID_ARGUMENT

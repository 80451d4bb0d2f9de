"""The magics in IPython: results, templates, configuration, loading and unloading."""

from __future__ import annotations

import base64
import re
import threading
from typing import TYPE_CHECKING, Any

import IPython
import pytest

from harness import tiny
from xai_notebook import errors
from xai_notebook.arguments.options import help_text
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
    """Answer with a few bytes, because these tests need no pictures."""
    keyed.faults.garbage = b"\xff\xd8\xff"


def test_line_and_cell_return_the_batch(run: Run, server: Served) -> None:
    assert isinstance(run("%xai_image -n 2 a red fox"), ImageBatch)
    assert (server.last.prompt, server.last.n) == ("a red fox", 2)
    assert isinstance(run("%%xai_image --aspect-ratio 16:9\na red fox,\nin snow"), ImageBatch)
    assert server.last.prompt == "a red fox,\nin snow"


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
    run("x = 5")
    run(f"%%xai_image\n{body}")
    assert server.last.prompt == body


@pytest.mark.parametrize("prompt", ["a {x} b", "a $x b", "a $HOME b", "{x} and {nope}", "it's 5 %"])
def test_a_line_is_not_expanded_by_ipython(run: Run, server: Served, prompt: str) -> None:
    run("x = 5")
    run(f"%xai_image {prompt}")
    assert server.last.prompt == prompt


def test_templates_see_globals_and_locals(run: Run, server: Served) -> None:
    run("light = 'at dawn'")
    run("%%xai_image\na fox {{ light }}")
    assert server.last.prompt == "a fox at dawn"
    run("def f(light):\n    %xai_image an owl {{ light }}\nf('at noon')")
    assert server.last.prompt == "an owl at noon"


def test_as_binds_the_batch(run: Run, shell: InteractiveShell) -> None:
    batch = run("%%xai_image --as foxes\na red fox")
    assert shell.user_ns["foxes"] is batch


def test_a_trailing_semicolon_is_not_sent(run: Run, server: Served) -> None:
    run("%xai_image a red fox;")
    assert server.last.prompt == "a red fox"
    run("%%xai_image\na red fox;\n")
    assert server.last.prompt == "a red fox"


@pytest.mark.parametrize(
    ("cell", "prompt"),
    [
        ("%%xai_image\r\na red fox\r\nin snow\r\n", "a red fox\nin snow"),
        ("%%xai_image\n#| label: fig-fox\n#| fig-cap: A fox\n\na red fox", "a red fox"),
        ("%%xai_image\n\n#@title Foxes { run: 'auto' }\na red fox", "a red fox"),
        ("%%xai_image\n# @title Foxes\na red fox", "a red fox"),
        ("%%xai_image\n# a red fox", "# a red fox"),
        ("%%xai_image\na red fox\n#| label: fig-fox", "a red fox\n#| label: fig-fox"),
    ],
)
def test_line_ends_and_cell_comments_are_not_sent(
    run: Run, server: Served, cell: str, prompt: str
) -> None:
    run(cell)
    assert server.last.prompt == prompt


@pytest.mark.parametrize(
    ("cell", "n"),
    [
        ("%%xai_image -n 2;\na red fox", 2),
        ("%%xai_image -n 2 ;\na red fox", 2),
        ("%xai_image a red fox -n 2;", 2),
        ("%xai_image \u2013n 2 a red fox", 2),
        ("%xai_image a red fox \u2014count 3", 3),
        ("%xai_image \u2212\u2212count=3 a red fox", 3),
        ("%xai_image \u200b-n 3 a red fox", 3),
        ("%xai_image -n 2 \u2014 a red fox", 2),
    ],
)
def test_typographic_dashes_and_invisible_characters_are_read(
    run: Run, server: Served, cell: str, n: int
) -> None:
    run(cell)
    assert (server.last.prompt, server.last.n) == ("a red fox", n)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("%%xai_image\na fox\n%%xai_image -n 2\nan owl", "%%xai_image is in the prompt."),
        ("%%xai_image\na fox\n%xai_image an owl", "%xai_image is in the prompt."),
        ("%%xai_image\n%matplotlib inline\na fox", "%matplotlib is in the prompt."),
        ("%%xai_image\n%%time\na fox", "%%time is in the prompt. Put it into a cell of its"),
        ("%%xai_image\n--aspect-ratio 16:9\na fox", "--aspect-ratio is in the body."),
        ("%%xai_image \\\n-n 4\na fox", "There is a prompt on the line and one in the body."),
        ("%%xai_image\n\u2013n 2\na fox", "-n is in the body."),
        ("%xai_image \u2013x 2 a fox", "Unknown option \u2013x."),
        ("%xai_image a fox \u2014aspect-ration 16:9", "Did you mean --aspect-ratio?"),
        ("%%xai_image\na fox {{ nope }}", "'nope' is undefined"),
        ("%%xai_image --as 1x\na red fox", "not a valid variable name"),
        ("%%xai_image a red fox\nan owl", "Keep one of them"),
        ("%xai_image", "The prompt is missing"),
        ("%%xai_image\n\n", "The prompt is missing"),
        ("%xai_image -n 2", "The prompt is missing"),
        ("%xai_image --export fox", "--export took 'fox' for its folder"),
    ],
)
def test_wrong_cells_are_refused_before_sending(
    run: Run, server: Served, cell: str, message: str
) -> None:
    with pytest.raises(errors.OptionError, match=re.escape(message)):
        run(cell)
    assert server.calls == []


def test_line_ends_of_windows_do_not_change_the_prompt(
    run: Run, server: Served, shell: InteractiveShell
) -> None:
    run("%%xai_image\na red fox\nin snow")
    assert run("%%xai_image --replay\r\na red fox\r\nin snow")[0].replayed
    assert len(server.calls) == 1


def test_templates_in_options_are_filled(run: Run, server: Served, tmp_path: Path) -> None:
    server.faults.garbage = None
    run(f"folder, n, ratio, nothing = {str(tmp_path / 'my foxes')!r}, 2, (16, 9), None")
    run("%xai_image --export {{ folder }} -n {{ n }} a red fox")
    assert (server.last.prompt, server.last.n) == ("a red fox", 2)
    assert len(list((tmp_path / "my foxes").iterdir())) == 2
    run("%%xai_image -n{{ n + 1 }} --aspect-ratio={{ ratio[0] }}:{{ ratio[1] }}\nan owl")
    assert (server.last.prompt, server.last.n) == ("an owl", 3)
    run("%%xai_image --export {{ nothing }} --user \"{{ folder.split('/')[-1] }}\"\nan owl")
    assert server.last.user == "my foxes"


def test_a_pattern_names_exported_files(run: Run, server: Served, tmp_path: Path) -> None:
    """Single braces are the pattern's; double braces are filled in first."""
    server.faults.garbage = None
    run(f"folder, label = {str(tmp_path / 'out')!r}, 'pets'")
    run("%xai_image --export {{ folder }} --name {{ label }}/{prompt}-{n} -n 2 a red fox")
    names = [path.relative_to(tmp_path).as_posix() for path in (tmp_path / "out").rglob("*.*")]
    assert sorted(names) == ["out/pets/a-red-fox-1.jpg", "out/pets/a-red-fox-2.jpg"]
    plan = run("%xai_image --export {{ folder }} --name {date} --dry-run an owl")
    assert ("export", f"{tmp_path / 'out'}, named {{date}}") in plan.rows()
    plan = run("%xai_image --export --dry-run an owl")
    assert ("export", "the notebook's folder") in plan.rows()
    assert "export" not in dict(run("%xai_image --dry-run an owl").rows())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--name {n} a fox", "--name names exported files, and there are none. Give --export too"),
        ("--export --name {key} a fox", "has {key}, but no column is the key. Give --key COLUMN"),
        ("--export --name {row} a fox", "has {row}, but there is no table. Give --each TABLE"),
        ("--export --name {sku} a fox", "--name: The name '{sku}' has an unknown field {sku}"),
        ("--export --name ../{n} a fox", "begins with a dot"),
        ("--export --name {n a fox", "has a single {"),
        ("--export cover.jpg --name {n} a fox", "both name the file"),
        ("--export cover.tiff a fox", "saved in the format that the server sent"),
    ],
)
def test_an_impossible_name_sends_nothing(
    run: Run, server: Served, line: str, message: str
) -> None:
    with pytest.raises(errors.OptionError, match=re.escape(message)):
        run(f"%xai_image {line}")
    assert server.calls == []


def test_adjacent_templates_are_filled(run: Run, server: Served) -> None:
    run("first, second = 'ab', 'cd'")
    run("%xai_image --user={{ first }}{{ second }} a fox")
    assert server.last.user == "abcd"


def test_a_filled_value_never_names_a_variable(run: Run, server: Served) -> None:
    run("name, secret, i = 'secret', [b'', b''], 1")
    run("from pathlib import Path; path = Path('there', 'is no', 'file')")
    for value in ("{{ name }}", "{{ name }}[0]", "{{ path }}"):
        with pytest.raises(errors.InputImageError, match="No such file"):
            run(f"%xai_image --image {value} a fox")
    with pytest.raises(errors.InputImageError, match=r"--image secret\[1\] is empty"):
        run("%xai_image --image secret[{{ i }}] a fox")
    assert server.calls == []


def test_options_see_locals_first(run: Run, server: Served) -> None:
    run("n = 2")
    run("def draw(n):\n    %xai_image -n {{ n }} a fox\ndraw(3)")
    assert server.last.n == 3


def test_a_list_fills_a_repeatable_option(run: Run, server: Served) -> None:
    run("models = ['grok-imagine-image', 'grok-imagine-image-pro']")
    assert len(run("%xai_image --model {{ models }} a fox")) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--export {folder}", "--export: {folder} is not a variable here. Write {{ folder }}"),
        ("--export $folder", "--export: $folder is not a variable here. Write {{ folder }}"),
        ('--export "$folder"', "--export: $folder is not a variable here."),
        ("--export out/{folder}", "--export: {folder} is not a variable here."),
        ("--export {folder}/x", "Write {{ folder }} for its value, or {{ '{' }}folder} for these"),
        ("--export $folder/x", "Write {{ folder }} for its value, or {{ '$' }}folder for these"),
        ("--max-cost {{ nothing }}", "{{ … }} in --max-cost: the value of nothing is missing."),
        ("--image {{ nothing }}", "{{ … }} in --image: the value of nothing is missing."),
        ("-n {n}", "-n: {n} is not a variable here. Write {{ n }} for its value"),
        ("--export {{ folder", "{{ … }} in --export: it is not closed."),
        ("-n {{ nope }}", "{{ … }} in -n: 'nope' is undefined. Define it in a cell above."),
        ("-n {{ words }}", "-n/--count: 'three' is not a whole number."),
        (
            "--user {{ many }}",
            "{{ … }} in --user: the value of many is a list, but the option takes one value",
        ),
        ("--user {{ nan }}", "{{ … }} in --user: the value of nan is missing."),
        ("--image {{ matrix }}", "only text is filled in. To name a variable, write --image mat"),
        ("--each {{ get_ipython }}", "To name a variable, write --each get_ipython."),
        ("--image {{ words }}", "--image three: No such file or directory"),
        ("--each {{ words }}", "--each three"),
    ],
)
def test_impossible_templates_in_options_are_refused(
    run: Run, server: Served, line: str, message: str
) -> None:
    run("folder, n, words, many, nan, three = 'a', 2, 'three', ['a'], float('nan'), ['a fox']")
    run("matrix, nothing = [[0, 1], [1, 0]], None")
    with pytest.raises(errors.OptionError, match=re.escape(message)):
        run(f"%xai_image {line} a fox" if "--each" not in line else f"%xai_image {line}")
    assert server.calls == []


def test_templates_in_xai_history_are_filled(run: Run) -> None:
    run("%xai_image a red fox")
    run("animal, most = 'fox', 1")
    assert len(run("%xai_history -n {{ most }} {{ animal }}")) == 1


def test_plans_in_a_loop_are_shown_in_a_terminal(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run("for n in (1, 2):\n    %xai_image --dry-run -n {{ n }} a fox")
    assert capsys.readouterr().out.count("Dry run") == 2


def test_the_browser_gets_originals_by_their_digest(
    run: Run, shell: InteractiveShell, server: Served
) -> None:
    """JupyterLab's viewer evaluates this expression in the kernel."""
    server.faults.garbage = tiny()
    image = run("%xai_image a fox")[0]
    expression = 'get_ipython().magics_manager.registry["XaiImage"].original("{}")'
    wanted = {name: expression.format(name) for name in (image.sha256, "0" * 64)}
    found = {name: each["data"] for name, each in shell.user_expressions(wanted).items()}
    assert base64.b64decode(found[image.sha256]["image/jpeg"]) == image.data
    assert found["0" * 64] == {"text/plain": "None"}
    image.file.write_bytes(b"damaged")
    found = shell.user_expressions({"damaged": wanted[image.sha256]})
    assert found["damaged"]["data"] == {"text/plain": "None"}


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_is_printed_and_is_the_docstring(
    run: Run, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    assert run(f"%xai_image {option}") is None
    assert capsys.readouterr().out == help_text() + "\n"
    assert run("get_ipython().find_magic('xai_image').__doc__") == help_text()


def test_each_reads_the_body_or_a_variable(run: Run, server: Served) -> None:
    run("%config XaiImage.rate = 0")
    run("%%xai_image --each\na fox\n\nan owl")
    assert sorted(call.message.prompt for call in server.calls) == ["a fox", "an owl"]
    run("animals = ['a cat', 'a dog']")
    assert len(run("%xai_image --each animals")) == 2


def test_dry_run_shows_the_plan(run: Run, server: Served) -> None:
    assert "a red fox" in repr(run("%xai_image --dry-run a red fox"))
    assert server.calls == []


# Configuration


def test_config_sets_defaults(run: Run, server: Served) -> None:
    run("%config XaiImage.count = 3")
    run("%config XaiImage.aspect_ratio = '16:9'")
    run("%xai_image a red fox")
    assert (server.last.n, server.last.aspect_ratio) == (3, 5)
    run("%xai_image -n 1 a red fox")
    assert server.last.n == 1
    run("import xai_notebook as xai\nxai.generate('an owl')")
    assert server.last.n == 3


# History and panel


def test_history_takes_a_number_and_words(run: Run) -> None:
    run("%xai_image a red fox")
    run("%xai_image an owl")
    assert [image.prompt for image in run("%xai_history")] == ["an owl", "a red fox"]
    assert [image.prompt for image in run("%xai_history -n 1")] == ["an owl"]
    assert [image.prompt for image in run("%xai_history red fox")] == ["a red fox"]
    assert len(run("%xai_history -n 100")) == 2
    assert len(run("%xai_history -n all")) == 2
    cut = run("%xai_history -n 1 a")
    assert "The newest 1 of 2 matching pictures; %xai_history -n all a returns all." in repr(cut)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("%xai_history -n two", "-n: 'two' is not a number of images."),
        ("%xai_history -n 0", "-n: '0' is not a number of images."),
        ("%xai_history --model x", "%xai_history takes only -n N and words to look for."),
        ("%xai_jobs foxes", "%xai_jobs takes only -n N."),
    ],
)
def test_other_options_of_history_and_jobs_are_refused(run: Run, cell: str, message: str) -> None:
    with pytest.raises(errors.OptionError, match=re.escape(message)):
        run(cell)


# Loading and unloading


def _configurables(shell: InteractiveShell) -> list[Any]:
    return [each for each in shell.configurables if type(each).__name__ == "XaiImage"]


def _matchers(shell: InteractiveShell) -> list[str]:
    return [m.__name__ for m in shell.Completer.custom_matchers]


def test_loading_twice_adds_nothing(shell: InteractiveShell) -> None:
    load_ipython_extension(shell)
    shell.extension_manager.reload_extension("xai_notebook")
    assert len(_configurables(shell)) == 1
    has_matchers = IPython.version_info >= (8, 6)
    assert _matchers(shell) == (["xai_image_matcher"] if has_matchers else [])


def test_the_magic_works_after_a_reload(run: Run, shell: InteractiveShell, server: Served) -> None:
    run("%xai_image a red fox")
    run("%reload_ext xai_notebook")
    run("%config XaiImage.count = 2")
    assert len(run("%xai_image an owl")) == 2
    assert server.last.n == 2


def test_unloading_removes_everything(run: Run, shell: InteractiveShell) -> None:
    run("%xai_image --local a red fox")
    assert current_session().backends.connected
    shell.extension_manager.unload_extension("xai_notebook")
    for table in shell.magics_manager.magics.values():
        assert not [name for name in table if name.startswith("xai")]
    assert _configurables(shell) == []
    assert _matchers(shell) == []
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("xai-notebook") == 1  # the thread of the tests' own server
    shell.extension_manager.load_extension("xai_notebook")
    run("%xai_image --local a red fox")


def test_ipython_config_sets_defaults(shell: InteractiveShell, run: Run, server: Served) -> None:
    shell.extension_manager.unload_extension("xai_notebook")
    shell.config.XaiImage.count = 2
    shell.extension_manager.load_extension("xai_notebook")
    run("%xai_image a red fox")
    assert server.last.n == 2


@pytest.mark.filterwarnings("ignore:This is now an optional IPython:UserWarning")  # %cd's own
def test_cd_does_not_move_exports(run: Run, tmp_path: Path, server: Served) -> None:
    server.faults.garbage = None
    run(f"%cd -q {tmp_path}")
    (image,) = run("%xai_image --export pictures a red fox")
    assert image.exported.parent == tmp_path / "work" / "pictures"

"""The option table, once: the magic, the panel and `generate()` read it.

A magic's line is split into options and the raw rest, so that a prompt on the
line keeps its quotes, backslashes and braces. Values are converted and checked
in one place, whoever gave them.
"""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from xai_notebook import convert, settings
from xai_notebook.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from xai_notebook.results import ImageRequest

__all__ = ["OPTIONS", "Option", "Options", "Parsed", "help_text", "magic_cell", "parse", "resolve"]


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table.

    Attributes:
        name: The keyword of `generate()`.
        flags: As written on a magic's line, short one first.
        help: What it means, for `--help`.
        convert: Checks a value given as text or as an object; raises ValueError.
        metavar: Stands for the value in the help; None: the option is a switch.
        choices: What Tab offers.
        bare: The value of the option without one; None: a value is required.
        repeatable: May be given several times.
        configurable: Has a default in `%config XaiImage`.
    """

    name: str
    flags: tuple[str, ...]
    help: str
    convert: Callable[[Any], Any]
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    bare: Any = None
    repeatable: bool = False
    configurable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Every option of one call, checked. None means unset: the server or the settings decide."""

    n: int = 1
    model: tuple[str, ...] = (settings.DEFAULT_MODEL,)
    format: str = "base64"
    aspect_ratio: str | None = None
    resolution: str | None = None
    quality: str | None = None
    image: tuple[Any, ...] = ()
    user: str | None = None
    as_: str | None = None
    export: str | None = None
    metadata: bool = True
    columns: int | None = None
    full: bool = False
    compare: bool = False
    matrix: bool = False
    each: Any = None
    rewrite: str | None = None
    fresh: bool = False
    replay: bool = False
    max_cost: float | None = None
    dry_run: bool = False
    timeout: float = settings.DEFAULT_TIMEOUT
    local: bool = False
    help: bool = False


@dataclass(frozen=True, slots=True)
class Parsed:
    """A magic's line: the options that were given, and the prompt on the line."""

    given: dict[str, Any]
    prompt: str


OPTIONS: Final[tuple[Option, ...]] = (
    Option("n", ("-n", "--count"), "images from one request, 1 to 10 (default 1)",
           convert.whole_number(1, settings.MAX_IMAGES, "images"), "N",
           tuple(map(str, range(1, 11)))),
    Option("model", ("-m", "--model"),
           f"model (default {settings.DEFAULT_MODEL}); repeatable, to compare",
           convert.models, "NAME", settings.KNOWN_MODELS, repeatable=True),
    Option("format", ("-f", "--format"), "how the server sends images; the result is the same",
           convert.choice(settings.FORMATS), "FORMAT", settings.FORMATS),
    Option("aspect_ratio", ("-a", "--aspect-ratio"), "width:height",
           convert.choice(settings.ASPECT_RATIOS), "W:H", settings.ASPECT_RATIOS),
    Option("resolution", ("-r", "--resolution"), "1k is about one megapixel, 2k about four",
           convert.choice(settings.RESOLUTIONS), "1k|2k", settings.RESOLUTIONS),
    Option("quality", ("-q", "--quality"), "low or medium, for models that offer it",
           convert.choice(settings.QUALITIES), "QUALITY", settings.QUALITIES),
    Option("image", ("-i", "--image"),
           "edit this image: a path, URL, data URI or variable; repeatable",
           convert.images, "IMAGE", repeatable=True, configurable=False),
    Option("user", ("-u", "--user"), "opaque id of your end user, for abuse monitoring",
           convert.nonempty, "ID"),
    Option("as_", ("--as",), "bind the result to this variable",
           convert.identifier, "NAME", configurable=False),
    Option("export", ("-e", "--export"),
           "also write files: into the notebook's folder, or a FOLDER inside it",
           convert.folder, "FOLDER", bare=""),
    Option("metadata", ("--no-metadata",), "write exported files exactly as the server sent them",
           bool, bare=False),
    Option("columns", ("--columns",), "width of the grid",
           convert.whole_number(1, 12, "columns"), "N", tuple("123456")),
    Option("full", ("--full",), "embed originals in the notebook instead of previews",
           bool, bare=True),
    Option("compare", ("--compare",), "show each edit beside the image it was made from",
           bool, bare=True, configurable=False),
    Option("matrix", ("--matrix",), "{a|b} in the prompt stands for one prompt with a, one with b",
           bool, bare=True, configurable=False),
    Option("each", ("--each",),
           "one request per prompt: lines of the body, or of the variable or file NAME",
           lambda value: value, "NAME", bare=True, configurable=False),
    Option("rewrite", ("--rewrite",), "have a chat model rewrite the prompt first",
           convert.chat_model, "MODEL", (settings.DEFAULT_CHAT_MODEL,), bare=""),
    Option("fresh", ("--fresh",), "make new images even when the library has some",
           bool, bare=True, configurable=False),
    Option("replay", ("--replay",), "answer from the library only",
           bool, bare=True, configurable=False),
    Option("max_cost", ("--max-cost",), "refuse before sending what would cost more, in US dollars",
           convert.amount("US dollars", zero=True), "USD"),
    Option("dry_run", ("--dry-run",), "show the request and its price; send nothing",
           bool, bare=True, configurable=False),
    Option("timeout", ("--timeout",),
           f"seconds for the whole call (default {settings.DEFAULT_TIMEOUT:.0f})",
           convert.amount("seconds"), "S"),
    Option("local", ("--local",), "use the embedded server for this call",
           bool, bare=True, configurable=False),
    Option("help", ("-h", "--help"), "show this text", bool, bare=True, configurable=False),
)  # fmt: skip
"""The table, in the order of the help."""

_BY_NAME: Final = {option.name: option for option in OPTIONS}
_BY_FLAG: Final = {flag: option for option in OPTIONS for flag in option.flags}
ALIASES: Final = {"count": "n", "image_format": "format"}
"""Other names of options in Python."""
_TOKEN: Final = re.compile(r"""(?:"[^"]*"|'[^']*'|\S)+""")
_LIKE_A_FLAG: Final = re.compile(r"--[A-Za-z][\w-]*(?:=.*)?")


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing and leaving the process."""

    def error(self, message: str) -> NoReturn:
        kind, _, words = message.partition(": ")
        if kind == "unrecognized arguments":
            raise OptionError(_unknown(words.split()[0]))
        if words.startswith("expected one argument"):
            raise OptionError(f"{kind.removeprefix('argument ')} lacks its value.")
        raise OptionError(f"{message}. %xai_image --help lists the options.")


def _make_parser() -> _Parser:
    parser = _Parser(prog="%xai_image", add_help=False, allow_abbrev=False)
    for option in OPTIONS:
        settled: dict[str, Any] = {"dest": option.name, "default": argparse.SUPPRESS}
        if option.metavar is None:
            settled.update(action="store_const", const=option.bare)
        elif option.repeatable:
            settled.update(action="append")
        elif option.bare is not None:
            settled.update(nargs="?", const=option.bare)
        parser.add_argument(*option.flags, **settled)
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    return parser


def parse(line: str) -> Parsed:
    """Split a magic's line into options and the prompt, which keeps every character.

    Options stand before the prompt or after it; everything behind ` -- ` is prompt.

    Raises:
        OptionError: An option does not exist, lacks its value or stands inside the prompt.
    """
    tokens = list(_TOKEN.finditer(line))
    words = [match.group() for match in tokens]
    if "--" in words:
        split = words.index("--")
        given, rest = _parse_words(words[:split])
        if rest:
            raise OptionError(f"{' '.join(rest)!r} stands before `--`. Put `--` before the prompt.")
        return Parsed(given, line[tokens[split].end() :].strip())
    given, rest = _parse_words(words)
    for word in rest:
        # Sent as part of the prompt, a misspelt option would cost money and go unnoticed.
        if _LIKE_A_FLAG.fullmatch(word) and not _is_flag(word):
            raise OptionError(_unknown(word))
    first = len(words) - len(rest)
    after = next((i for i, word in enumerate(rest) if _is_flag(word)), len(rest))
    trailing, stray = _parse_words(rest[after:])
    if stray:
        raise OptionError(
            f"{rest[after]} stands inside the prompt. Put options first, or `--` before a "
            "prompt that holds such words."
        )
    if not rest:
        return Parsed(given, "")
    end = tokens[first + after].start() if after < len(rest) else len(line)
    for name in given.keys() & trailing.keys():
        if _BY_NAME[name].repeatable:
            trailing[name] = given[name] + trailing[name]
    return Parsed({**given, **trailing}, line[tokens[first].start() : end].strip())


def _is_flag(word: str) -> bool:
    flag, equals, _ = word.partition("=")
    return flag in _BY_FLAG and (not equals or flag.startswith("--"))


def _parse_words(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the options at the start of `words`, and the words behind them as they were."""
    arguments = [_unquote(word) for word in words]
    for position, word in enumerate(words[:-1]):
        # `--rewrite` takes a model only when a model follows, or it would eat the prompt.
        if word == "--rewrite" and not words[position + 1].startswith("grok"):
            arguments[position] = "--rewrite="
    found = vars(_make_parser().parse_args(arguments))
    count = len(found.pop("rest"))
    used = len(words) - count
    for word in words[:used]:
        if word[:1] in {'"', "'"} and (len(word) == 1 or word[0] != word[-1]):
            raise OptionError(f"The quote in {word} is not closed.")
    return found, list(words[used:])


def _unknown(word: str) -> str:
    flag = word.partition("=")[0]
    bare = {known.removeprefix("--"): known for known in _BY_FLAG if known.startswith("--")}
    name = flag.lstrip("-")
    longer = [known for known in bare if len(name) > 1 and known.startswith(name)]
    near = f" Did you mean {longer[0]}?" if longer else convert.did_you_mean(name, bare)
    hint = near.replace("mean ", "mean --") or " %xai_image --help lists the options."
    return f"There is no option {flag}.{hint} Put `--` before a prompt that holds such words."


def _unquote(word: str) -> str:
    lexer = shlex.shlex(word, posix=True)
    lexer.whitespace = ""
    lexer.whitespace_split = True
    lexer.commenters = ""
    lexer.escape = ""  # a backslash is part of a Windows path
    try:
        return "".join(lexer)
    except ValueError:  # an apostrophe in the prompt
        return word


def resolve(given: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> Options:
    """Check what was given and fill in what was not.

    Args:
        given: Values by the names of the table, as text or objects. None means not given.
        defaults: What `%config XaiImage` says.

    Raises:
        OptionError: A name does not exist, or a value is not possible.
    """
    merged = {
        name: value
        for name, value in (defaults or {}).items()
        if value is not None and name in _BY_NAME and _BY_NAME[name].configurable
    }
    merged.update({ALIASES.get(k, k): v for k, v in given.items() if v is not None})
    checked = {}
    for name, value in merged.items():
        option = _BY_NAME.get(name)
        if option is None:
            raise OptionError(f"There is no option {name!r}.{convert.did_you_mean(name, _BY_NAME)}")
        try:
            checked[name] = option.convert(value)
        except ValueError as error:
            raise OptionError(f"{'/'.join(option.flags)}: {error}") from None
    options = Options(**checked)
    if options.fresh and options.replay:
        raise OptionError("--fresh and --replay contradict each other. Give one of them.")
    return options


def help_text() -> str:
    """Return the help of the magic: usage, the table, examples."""
    rows = []
    for option in OPTIONS:
        value = option.metavar and (
            f"[{option.metavar}]" if option.bare is not None else option.metavar
        )
        rows.append((", ".join(option.flags) + (f" {value}" if value else ""), option.help))
    width = max(len(row[0]) for row in rows)
    table = "\n".join(f"  {flags:<{width}}  {text}" for flags, text in rows)
    return (
        "Make images from a prompt and show them under the cell.\n\n"
        "  %xai_image [OPTIONS] PROMPT        the prompt on the line\n"
        "  %%xai_image [OPTIONS]              the prompt in the cell's body\n\n"
        f"Options:\n{table}\n\n"
        "{{ name }} in a prompt is filled in from your variables; everything else stays as it is.\n"
        "Without XAI_API_KEY an embedded server draws free local previews, offline.\n\n"
        "Example:\n\n"
        "  %%xai_image -n 4 --aspect-ratio 16:9 --as foxes\n"
        "  a red fox in fresh snow, {{ light }}\n"
    )


def magic_cell(request: ImageRequest) -> str:
    """Return the `%%xai_image` cell that would ask for `request` again.

    Input images stand as the user named them. A prompt with `{{` is quoted for Jinja.
    """
    words = ["%%xai_image"]
    for flag, value, default in (
        ("-n", request.n, 1),
        ("--model", request.model, settings.DEFAULT_MODEL),
        ("--aspect-ratio", request.aspect_ratio, None),
        ("--resolution", request.resolution, None),
        ("--quality", request.quality, None),
        ("--format", request.image_format, "base64"),
        ("--user", request.user, None),
        *(("--image", image.label, None) for image in request.inputs),
        ("--rewrite", request.rewrite_model, None),
    ):
        if value != default:
            words += [flag, quote(str(value))]
    prompt = request.original_prompt or request.prompt
    if "{{" in prompt:
        prompt = prompt.replace("{{", "{{ '{{' }}")
    return f"{' '.join(words)}\n{prompt}"


def quote(value: str) -> str:
    """Return a value as one word of a magic's line."""
    if _TOKEN.fullmatch(value) and not set(value) & set("\"'"):
        return value
    quote = "'" if '"' in value else '"'
    return f"{quote}{value}{quote}"

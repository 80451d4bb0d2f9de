"""The option table, once: the magic, the panel and `generate()` read it.

A magic's line is split into options and the raw rest, so that a prompt on the
line keeps its quotes, backslashes and braces. Values are converted and checked
in one place, whoever gave them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from xai_notebook import settings
from xai_notebook.arguments import values as convert
from xai_notebook.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["OPTIONS", "Option", "Options", "Parsed", "help_text", "parse", "resolve"]


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
_QUOTED: Final = re.compile(
    r"""\$'(?P<escaped>(?:\\.|[^'\\])*)'|"(?P<double>[^"]*)"|'(?P<single>[^']*)'"""
)
"""As in bash; a backslash means something only in `$'…'`, for it is part of a Windows path."""
_TOKEN: Final = re.compile(rf"(?:{_QUOTED.pattern}|\S)+".replace("?P<", "?P<_"))
_LIKE_A_FLAG: Final = re.compile(r"--[A-Za-z][\w-]*(?:=.*)?", re.DOTALL)
_LIKE_AN_OPTION: Final = re.compile(r"--?[A-Za-z]")


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
    """Return the options at the start of `words`, and the words behind them as they were.

    A quoted word is never an option, and what stands behind `--flag=` is always its value.
    """
    given: dict[str, Any] = {}
    position = 0
    while position < len(words) and _LIKE_AN_OPTION.match(words[position]):
        flag, value = _split_flag(words[position])
        option = _BY_FLAG.get(flag)
        if option is None:
            raise OptionError(_unknown(words[position]))
        if option.metavar is None and value is not None:
            raise OptionError(f"{flag} is a switch: it takes no value.")
        position += 1
        following = words[position] if position < len(words) else None
        if option.metavar is not None and value is None and _is_value(option, following):
            value = following
            position += 1
        if option.metavar is None or (value is None and option.bare is not None):
            found = option.bare
        elif value is None:
            raise OptionError(f"{'/'.join(option.flags)} lacks its value.")
        else:
            found = _unquote(value)
        given[option.name] = [*given.get(option.name, []), found] if option.repeatable else found
    return given, list(words[position:])


def _split_flag(word: str) -> tuple[str, str | None]:
    """Return a flag and the value written to it, as in `--flag=value` and `-n2`."""
    if word.startswith("--"):
        flag, equals, value = word.partition("=")
        return flag, value if equals else None
    return word[:2], word[2:].removeprefix("=") or None


def _is_value(option: Option, word: str | None) -> bool:
    """Tell whether the word behind an option is its value."""
    if word is None or _LIKE_AN_OPTION.match(word):
        return False
    # `--rewrite` takes a model only when a model follows, or it would eat the prompt.
    return option.name != "rewrite" or word.startswith("grok")


def _unknown(word: str) -> str:
    flag = word.partition("=")[0]
    bare = {known.removeprefix("--"): known for known in _BY_FLAG if known.startswith("--")}
    name = flag.lstrip("-")
    longer = [known for known in bare if len(name) > 1 and known.startswith(name)]
    near = f" Did you mean {longer[0]}?" if longer else convert.did_you_mean(name, bare)
    hint = near.replace("mean ", "mean --") or " %xai_image --help lists the options."
    return f"There is no option {flag}.{hint} Put `--` before a prompt that holds such words."


def _unquote(word: str) -> str:
    """Return what a word of the line says, its quotes taken away.

    Raises:
        OptionError: A quote is not closed.
    """
    parts = _QUOTED.split(word)  # text, then escaped, double and single of each quotation, …
    if any(set(text) & {'"', "'"} for text in parts[::4]):
        if word[0] not in {'"', "'"}:
            return word  # an apostrophe
        raise OptionError(f"The quote in {word} is not closed.")
    try:
        parts[1::4] = [part and _unescaped(part) for part in parts[1::4]]
    except UnicodeDecodeError as error:
        raise OptionError(f"{word}: {error.reason}.") from error
    return "".join(part or "" for part in parts)


def _unescaped(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("unicode-escape")


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
        "{{ name }} in what you type is filled in from your variables: text, numbers, dates and\n"
        "the like. Everything else stays as it is, and so does all that --each NAME brings.\n"
        "Without XAI_API_KEY an embedded server draws free local previews, offline.\n\n"
        "Example:\n\n"
        "  %%xai_image -n 4 --aspect-ratio 16:9 --as foxes\n"
        "  a red fox in fresh snow, {{ light }}\n"
    )

"""The option table of the magic, `%config XaiImage`, the panel and `generate()`.

Each field of `Options` is a row of the table. The rows define the flags, the help and the
completion of the magic, the traits of `%config XaiImage`, the fields of the panel and the cell that
repeats a request. `resolve` converts and checks the values for every caller.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cache
from inspect import Parameter, Signature
from textwrap import fill
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from xai_notebook import settings
from xai_notebook.arguments import values as convert
from xai_notebook.arguments.values import Amount, Choice, WholeNumber, did_you_mean
from xai_notebook.errors import OptionError, XaiError
from xai_notebook.frontend import has_magics
from xai_notebook.pictures import magic_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from os import PathLike
    from typing import TypedDict

    from xai_notebook.client.request import ImageRequest, InputImage

    class _Convert(Protocol):
        def __call__(self, value: Any, /) -> Any: ...
else:

    class TypedDict:
        """Replacement for `typing.TypedDict` at run time: the original slows `%load_ext` by 6 %."""

        def __init_subclass__(cls, *, total: bool) -> None:
            """Accept the arguments of a TypedDict."""


class Option(NamedTuple):
    """One row of the option table.

    Attributes:
        short: The short flag; the long flag is derived from the name.
        help: Description of the option, for `--help`, `%config` and the documentation.
        convert: Function that converts and checks a value, text or an object; raises ValueError.
        metavar: Placeholder for the value in the help; None if the option is a switch.
        offers: Values that Tab completion offers, if `convert` does not list them.
        variables: Function that tells whether Tab completion offers a variable with this value;
            None if it offers no variables.
        suffixes: Suffixes of files that Tab completion offers in addition to folders; None if it
            offers neither files nor folders.
        bare: The value if the flag is given alone; None if the flag requires a value.
        begins: Pattern that the next word must match to be a value instead of the prompt.
        axis: Whether `--matrix` can compare values of the option.
        repeatable: Whether the option can be given several times.
        configurable: Whether `%config XaiImage` can set a default.
        setting: The name in `%config XaiImage`, if it differs from `name`.
        label: The label of the field in the panel; None if the panel has no field.
        in_panel: Whether the panel keeps a given value although it has no field for the option.
        name: The keyword of `generate()`.
        default: The value if the option is not given.
        flag: The flag that generated cells use.
        flags: All flags, the short flag first.
    """

    short: str
    help: str
    convert: _Convert
    metavar: str | None = None
    offers: tuple[str, ...] = ()
    variables: Callable[[Any], bool] | None = None
    suffixes: frozenset[str] | None = None
    bare: Any = None
    begins: str = ""
    axis: bool = False
    repeatable: bool = False
    configurable: bool = True
    setting: str = ""
    label: str | None = None
    in_panel: bool = True
    name: str = ""
    default: Any = None
    flag: str = ""
    flags: tuple[str, ...] = ()

    @property
    def choices(self) -> tuple[str, ...]:
        """The possible values, as text."""
        return self.offers or getattr(self.convert, "values", ())


def row(*row: Any, **more: Any) -> dict[str, Option]:
    """Return the metadata that makes a field of `Options` a row of the table."""
    return {"option": Option(*row, **more)}


def _switch(short: str, help_: str, **more: Any) -> dict[str, Option]:
    return row(short, help_, bool, **{"bare": True, **more})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The checked options of one call. For None, the server or the settings choose the value."""

    # fmt: off
    n: int = field(default=1, metadata=row(
        "-n", "images per request, 1 to 10 (default 1)",
        WholeNumber(1, settings.MAX_IMAGES, "images"), "N", setting="count", label="Images"))
    model: tuple[str, ...] = field(default=(settings.DEFAULT_MODEL,), metadata=row(
        "-m", f"model (default {settings.DEFAULT_MODEL}); repeatable, to compare",
        convert.models, "NAME", settings.KNOWN_MODELS, repeatable=True, label="Model", axis=True))
    aspect_ratio: str | None = field(default=None, metadata=row(
        "-a", "width:height", Choice(settings.ASPECT_RATIOS, ratios=True), "W:H",
        label="Aspect ratio", axis=True))
    resolution: str | None = field(default=None, metadata=row(
        "-r", "1k is about one megapixel, 2k about four",
        Choice(settings.RESOLUTIONS), "1k|2k", label="Resolution", axis=True))
    quality: str | None = field(default=None, metadata=row(
        "-q", "quality, for models that offer it",
        Choice(settings.QUALITIES), "low|medium", label="Quality", axis=True))
    image: tuple[Any, ...] = field(default=(), metadata=row(
        "-i", "edit this image: a path, URL, data URI, variable or id (@37ab22b5); repeatable",
        convert.images, "IMAGE", repeatable=True, configurable=False, label="Images to edit",
        variables=convert.is_picture, suffixes=convert.PICTURES))
    user: str | None = field(default=None, metadata=row(
        "-u", "opaque id of your end user, for abuse monitoring", convert.nonempty, "ID",
        label="End user’s id"))  # noqa: RUF001
    format: str = field(default="base64", metadata=row(
        "-f", "how the server sends images; the result is the same",
        Choice(settings.FORMATS), "base64|url"))
    as_: str | None = field(default=None, metadata=row(
        "", "bind the result to this variable", convert.identifier, "NAME",
        configurable=False, in_panel=False, variables=convert.is_batch))
    export: str | None = field(default=None, metadata=row(
        "-e", "also write files: into the notebook's folder, a FOLDER inside it, or as NAME.jpg",
        convert.folder, "FOLDER", bare="", label="Save every image as a file",
        suffixes=frozenset()))
    name: str | None = field(default=None, metadata=row(
        "", "names of the exported files, such as {key}-{n}; fields: key, row, n, prompt, id, date",
        convert.name_pattern, "PATTERN", configurable=False, in_panel=False))
    metadata: bool = field(default=True, metadata=_switch(
        "", "write exported files exactly as the server sent them", bare=False))
    share: float | None = field(default=None, metadata=row(
        "", f"also make a public link, for {settings.DEFAULT_SHARE_DAYS:.0f} days or fewer",
        convert.days, "DAYS", bare=""))
    columns: int | None = field(default=None, metadata=row(
        "", "pictures per row of the grid", WholeNumber(1, 12, "columns"), "N"))
    captions: str | None = field(default=None, metadata=row(
        "", "prompts under pictures: full text, three lines, or none; default: fold long prompts",
        Choice(settings.CAPTIONS), "full|short|none"))
    full: bool = field(default=False, metadata=_switch(
        "", "embed originals in the notebook instead of previews"))
    compare: bool = field(default=False, metadata=_switch(
        "", "show each input image in front of the edits made from it",
        configurable=False, in_panel=False))
    matrix: tuple[str, ...] | None = field(default=None, metadata=row(
        "", "one request for each alternative in {a|b}, or for each value of an option, "
        "such as quality=low,medium",
        convert.axes, "NAME=A,B", bare=True, begins=r"[\w-]+=", repeatable=True,
        configurable=False, in_panel=False))
    each: Any = field(default=None, metadata=row(
        "", "one request per prompt: each line of the body, or each item of a list, table or "
        'file NAME; rows.csv["text"] names a column',
        lambda value: value, "NAME", bare=True, configurable=False, in_panel=False,
        variables=convert.is_list, suffixes=convert.TABLES))
    key: str | None = field(default=None, metadata=row(
        "", "the column that names the rows of --each, in results and names of files",
        convert.nonempty, "COLUMN", configurable=False, in_panel=False))
    rewrite: str | None = field(default=None, metadata=row(
        "", "have a chat model rewrite the prompt first", convert.chat_model, "MODEL",
        (settings.DEFAULT_CHAT_MODEL,), bare="", begins="grok", label="Rewrite the prompt first"))
    fresh: bool = field(default=False, metadata=_switch(
        "", "make new images even if stored images answer the request", configurable=False))
    redo: tuple[int, ...] = field(default=(), metadata=row(
        "", "make only the images with these indices again; 0 is the first image",
        convert.indices, "N[,N…]", repeatable=True, configurable=False, in_panel=False))
    replay: bool = field(default=False, metadata=_switch(
        "", "use stored images only; send nothing", configurable=False))
    reuse: bool = field(default=False, metadata=_switch(
        "", "use the stored image of an equal request, of any notebook; make it if none is stored",
        in_panel=False))
    max_cost: float | None = field(default=None, metadata=row(
        "", "refuse a call that would cost more, in US dollars, before anything is sent",
        Amount("US dollars", zero=True), "USD"))
    dry_run: bool = field(default=False, metadata=_switch(
        "", "show the request and its price; send nothing", configurable=False, in_panel=False))
    timeout: float = field(default=settings.DEFAULT_TIMEOUT, metadata=row(
        "", f"seconds for the whole call (default {settings.DEFAULT_TIMEOUT:.0f})",
        Amount("seconds"), "S", label="Timeout in seconds"))
    batch: bool = field(default=False, metadata=_switch(
        "", "submit the requests as one job, which continues without the kernel",
        configurable=False, in_panel=False))
    local: bool = field(default=False, metadata=_switch(
        "", "use the embedded server for this call", configurable=False))
    help: bool = field(default=False, metadata=_switch(
        "-h", "show this text", configurable=False, in_panel=False))
    # fmt: on

    @property
    def shape(self) -> str:
        """The expected shape of the pictures, by default a square.

        The format is `"width:height"`.
        """
        return self.aspect_ratio or "1:1"

    def request(self, prompt: str, model: str, inputs: tuple[InputImage, ...]) -> ImageRequest:
        """Return the request for one prompt."""
        from xai_notebook.client.request import ImageRequest  # noqa: PLC0415  # not at load time

        values: dict[str, Any] = {
            field: getattr(self, name, None) for field, name in _request_fields().items()
        }
        values |= {"prompt": prompt, "model": model, "inputs": inputs, "rewrite_model": None}
        return ImageRequest(**values)

    def to_line(self, defaults: Options) -> str:
        """Return the first line of the cell that makes the same call.

        The line repeats those `defaults` of `%config XaiImage` that are part of the request, so
        that the cell makes the same request elsewhere.
        """
        words = ["%%xai_image"]
        for option, value in self._repeated(defaults):
            if option.bare is not None and value == option.convert(option.bare):
                words.append(option.flag)
            elif option.metavar is not None:
                words += magic_source.words(option.flag, value if option.repeatable else [value])
        return " ".join(words)

    def to_call(self, prompt: str, defaults: Options) -> str:
        """Return the Python call that makes the same call; see `to_line`."""
        words = [repr(prompt)]
        for option, value in self._repeated(defaults):
            given = value
            if option.bare not in {None, False} and value == option.convert(option.bare):
                given = True
            elif option.repeatable:
                given = value[0] if len(value) == 1 else list(value)
            words.append(f"{option.name}={given!r}")
        return f"xai.generate({', '.join(words)})"

    def _repeated(self, defaults: Options) -> Iterator[tuple[Option, Any]]:
        """Yield the options that a cell with the same call names, with their values."""
        for option in table(type(self)):  # type: ignore[arg-type]  # a class is hashable
            value = getattr(self, option.name)
            usual = value == getattr(defaults, option.name)
            if value is None or (
                usual and (value == option.default or option.name not in _request_fields().values())
            ):
                continue
            yield option, value


@cache
def _request_fields() -> dict[str, str]:
    """Return the name of the option for each field of a request."""
    from xai_notebook.client.request import ImageRequest  # noqa: PLC0415  # not at load time

    return {
        each.name: magic_source.OPTION_OF.get(each.name, each.name) for each in fields(ImageRequest)
    }


@cache
def table(kind: type[Options]) -> tuple[Option, ...]:
    """Return the rows of the table, in the order of the help."""
    rows = []
    for each in fields(kind):
        row: Option = each.metadata["option"]
        flag = magic_source.flag(f"no_{each.name}" if row.bare is False else each.name)
        setting = row.setting and magic_source.flag(row.setting)
        flags = tuple(dict.fromkeys(filter(None, (row.short, flag, setting))))
        rows.append(row._replace(name=each.name, default=each.default, flag=flag, flags=flags))
    return tuple(rows)


class _Common(TypedDict, total=False):
    n: int | None
    aspect_ratio: str | None
    resolution: str | None
    quality: str | None
    user: str | None
    format: str | None
    export: str | PathLike[str] | bool | None
    metadata: bool | None
    share: float | bool | None
    columns: int | None
    captions: str | None
    full: bool | None
    rewrite: str | bool | None
    replay: bool | None
    reuse: bool | None
    max_cost: float | None
    timeout: float | None


class Keywords(_Common, total=False):
    """The keywords of `generate()` except `dry_run` and `batch`, for type checkers.

    The types describe values before they are checked. None means not given.
    """

    model: str | Sequence[str] | None
    image: Any
    as_: str | None
    compare: bool | None
    matrix: bool | str | Sequence[str] | Mapping[str, str | Sequence[str]] | None
    each: Any
    key: str | None
    name: str | None
    fresh: bool | None
    redo: int | str | Sequence[int] | None
    local: bool | None


class Defaults(_Common, total=False):
    """The keywords of `configure()`, for type checkers. None resets a setting."""

    backend: str | None
    api_host: str | None
    home: str | PathLike[str] | None
    engine: str | None
    concurrency: int | None
    rate: float | None
    budget: float | str | settings.BudgetLimit | None
    patience: float | None
    visitors: bool | None
    model: str | None


OPTIONS: Final = table(Options)
SETTINGS: Final = (
    Option("", "server of the calls: auto (xai with a key, else local), xai or local",
           Choice(settings.BACKENDS), name="backend"),
    Option("", "host, or host:port", convert.nonempty, name="api_host"),
    Option("", "folder of the library", convert.nonempty, name="home"),
    Option("", "engine of the embedded server: painting (the default), or the URL of an images API",
           convert.nonempty, name="engine"),
    Option("", "concurrent requests of --each", WholeNumber(1, 256, "requests"),
           name="concurrency", default=settings.DEFAULT_CONCURRENCY),
    Option("", "requests of --each per second; 0 means unlimited", Amount("requests", zero=True),
           name="rate", default=settings.DEFAULT_RATE),
    Option("", "a notebook that is run again gets its images from the library", bool,
           name="replay", default=True),
    Option("", "US dollars that may be spent: 5 by this kernel; 5/day, 50/month or 100/total by "
           "all kernels that share the library", convert.budget, name="budget"),
    Option("", "seconds before progress is shown; default: 0.6, or 4 for the embedded server",
           Amount("seconds", zero=True), name="patience"),
    Option("", "the kernel serves visitors of an app, who can make and view pictures, but not "
           "export or change them, or see those of others; default: on in Voila, Solara and "
           "marimo run", bool, name="visitors"),
)  # fmt: skip
"""Settings of `%config XaiImage` that are no default of an option; `replay` shares only a name."""
ALIASES: Final = {"count": "n", "image_format": "format"}
"""Alternative names of options in Python, from xAI's SDK."""


_FLAG: Final = (
    r"(?<!\w)'[^'\n]*'|\nDetails: .*"
    r"|(?<![^\s(\"])(?:-\w/)?(--?[a-z]+(?:-[a-z]+)*|XaiImage\.[a-z_]+)"
    r"(:| (?![a-z]+[.,]?(?:\s|$))(?=\S)|(?![\w/=-]))"
)  # compiled at first use
"""A flag in a message, such as `-n/--count`, or a setting; then a colon, or a space and a value.

Matches texts that stay as they are first: quoted values of the user and details from the server.
"""


def as_keywords(message: str) -> str:
    """Return a message about options with their names in Python: `max_cost=` for `--max-cost`."""
    names = {flag: option.name for option in OPTIONS for flag in option.flags}
    names |= {f"XaiImage.{option.name}": option.name for option in SETTINGS}
    switches = {option.flag: option.bare for option in OPTIONS if option.metavar is None}

    def replaced(match: re.Match[str]) -> str:
        flag, then = match[1], match[2]
        if flag not in names:  # or None: other text
            return match[0]
        if then == ":":
            return f"{names[flag]}:"
        if flag in switches:
            return f"{names[flag]}={switches[flag] is not False}{then}"
        return f"{names[flag]}="

    return re.sub(_FLAG, replaced, message)


def as_called(message: str) -> str:
    """Return a message with names of options that exist here: flags only if magics are loaded."""
    return message if has_magics() else as_keywords(message)


@contextmanager
def python_names() -> Iterator[None]:
    """Let errors in this block name options as Python does, unless magics are loaded."""
    try:
        yield
    except XaiError as error:
        error.args = (as_called(str(error)),)
        raise


def resolve_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return checked defaults for all calls of a process, by option or setting. None resets it.

    Raises:
        OptionError: A name is unknown or cannot have a default, or a value is invalid.
    """
    rows = {row.name: row for row in (*OPTIONS, *SETTINGS) if row.configurable}
    checked: dict[str, Any] = {}
    for name, value in ((ALIASES.get(name, name), value) for name, value in given.items()):
        if name not in rows:
            hint = did_you_mean(name, rows) or f" Give {', '.join(sorted(rows))}."
            raise OptionError(f"Unknown setting {name!r}.{hint}")
        checked[name] = None if value is None else _convert_value(rows[name], name, value)
    return checked


def _convert_value(option: Option, name: str, value: Any) -> Any:
    """Convert the value of an option; messages call the option `name`."""
    try:
        return option.convert(value)
    except ValueError as error:
        message = f"{name}: {error}"
        raise OptionError(message + "." * message[-1].isalnum()) from None


def signature(*more: str, without: Sequence[str] = ()) -> Signature:
    """Return the signature of `generate()` for completion and help.

    Args:
        *more: Names of keywords that are no options.
        without: Names of options that the function does not take.
    """
    return Signature(
        [Parameter("prompt", Parameter.POSITIONAL_OR_KEYWORD, default=None)]
        + [
            Parameter(option.name, Parameter.KEYWORD_ONLY, default=None)
            for option in OPTIONS
            if option.name not in ("help", *without)
        ]
        + [Parameter(name, Parameter.KEYWORD_ONLY, default=None) for name in more]
    )


_CONTRADICTIONS: Final = (
    ("fresh", "replay"), ("redo", "fresh"), ("redo", "replay"), ("redo", "batch"),
    ("reuse", "fresh"), ("reuse", "redo"), ("reuse", "replay"),
)  # fmt: skip


def resolve(
    given: Mapping[str, Any],
    defaults: Mapping[str, Any] | None = None,
    kind: type[Options] = Options,
) -> Options:
    """Merge and check options: given values override `defaults`, which override the table's.

    Args:
        given: Values by names of options, as text or objects. None means not given.
        defaults: Values of `%config XaiImage`.
        kind: The class whose fields are the table.

    Raises:
        OptionError: A name is unknown, a value is invalid, or options contradict each other.
    """
    rows = table(kind)  # type: ignore[arg-type]  # a class is hashable
    known = {option.name: option for option in rows}
    configurable = {name: option.default for name, option in known.items() if option.configurable}
    merged = {
        name: value
        for name, value in (defaults or {}).items()
        if value is not None
        and name in configurable
        and configurable[name] not in (value, (value,))  # the table's own default is valid
    }
    named = {ALIASES.get(name, name): value for name, value in given.items() if value is not None}
    if any(named.get(other) for one, other in _CONTRADICTIONS if one == "reuse"):
        merged.pop("reuse", None)  # the options of a call override the defaults
    merged.update(named)
    checked = {}
    for name, value in merged.items():
        option = known.get(name)
        if option is None:
            raise OptionError(f"Unknown option {name!r}.{did_you_mean(name, known)}")
        checked[name] = _convert_value(option, "/".join(option.flags), value)
    if checked.get("matrix"):
        checked["matrix"] = _check_axes(checked["matrix"], known)
    options = kind(**checked)
    for one, other in _CONTRADICTIONS:
        if getattr(options, one) and getattr(options, other):
            raise OptionError(f"--{one} and --{other} contradict each other. Give one of them.")
    if options.name is not None:
        _check_name(options, options.name)
    return options


def _check_name(options: Options, name: str) -> None:
    """Check `--name` together with the other options."""
    from xai_notebook.pictures.export import NamePattern, check_pattern  # noqa: PLC0415  # rare

    if options.export is None:
        raise OptionError("--name names exported files, and there are none. Give --export too.")
    table = options.each is not None and options.each is not False
    check_pattern(NamePattern.parse(name), options.export, table=table, key=options.key is not None)


def parse_axes(written: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the values of each axis in `Options.matrix`, by the name of the option."""
    pairs = (axis.partition("=") for axis in written)
    return {name: tuple(dict.fromkeys(values.split(","))) for name, _, values in pairs}


def _check_axes(written: Iterable[str], known: Mapping[str, Option]) -> tuple[str, ...]:
    """Return the axes with converted values; the format is that of `Options.matrix`."""
    converters = {name: option.convert for name, option in known.items() if option.axis}
    checked: dict[str, str] = {}
    for axis in written:
        ((name, values),) = parse_axes([axis]).items()
        if name not in converters:
            near = did_you_mean(name, converters) or f" The axes are: {', '.join(converters)}."
            raise OptionError(f"--matrix: {name!r} is not an axis.{near}")
        if name in checked:
            raise OptionError(f"--matrix: {name} is given twice. Give all its values together.")
        try:
            converted = [converters[name](value) for value in values]
        except ValueError as error:
            raise OptionError(f"--matrix {name}: {error}") from None
        words = [each if isinstance(each, str) else ",".join(each) for each in converted]
        checked[name] = f"{name}={','.join(words)}"
    return tuple(checked.values())


def help_text(rows: tuple[Option, ...] = OPTIONS) -> str:
    """Return the help of the magic: usage, the option table and an example."""
    lines = []
    for option in rows:
        value = option.metavar and (
            f"[{option.metavar}]" if option.bare is not None else option.metavar
        )
        text = option.help
        if isinstance(option.convert, Choice) and "|" not in (option.metavar or ""):
            text += f": {', '.join(option.choices)}"
        lines.append((", ".join(option.flags) + (f" {value}" if value else ""), text))
    width = max(len(flags) for flags, _ in lines)
    listed = "\n".join(
        fill(text, 100, initial_indent=f"  {flags:<{width}}  ", subsequent_indent=" " * (width + 4))
        for flags, text in lines
    )
    return (
        "Make images from a prompt and show them under the cell.\n\n"
        "  %xai_image [OPTIONS] PROMPT        the prompt on the line\n"
        "  %%xai_image [OPTIONS]              the prompt in the cell's body\n\n"
        f"Options:\n{listed}\n\n"
        "{{ name }} in a prompt or an option's value is filled in from your variables: text,\n"
        "numbers, dates and the like. All other text is sent as it is, and so are the prompts\n"
        "that --each NAME reads.\n"
        "Without XAI_API_KEY an embedded server draws free local previews, offline.\n\n"
        "Example:\n\n"
        "  %%xai_image -n 4 --aspect-ratio 16:9 --as foxes\n"
        "  a red fox in fresh snow\n"
    )

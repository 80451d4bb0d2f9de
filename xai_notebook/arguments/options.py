"""The option table, once: what can be said to the magic, `%config`, the panel and `generate()`.

A field of `Options` is a row of the table: a new option is one more. From the rows come the
flags of the magic, its help and completion, the traits of `%config XaiImage`, the panel's fields
and the cell that asks for the same again. Values are converted and checked in one place, whoever
gave them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from inspect import Parameter, Signature
from textwrap import fill
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from xai_notebook import settings
from xai_notebook.arguments import values as convert
from xai_notebook.arguments.values import Amount, Choice, WholeNumber, did_you_mean, nonempty
from xai_notebook.errors import OptionError
from xai_notebook.pictures import magic_source

__all__ = [
    "ALIASES",
    "OPTIONS",
    "SETTINGS",
    "Defaults",
    "Keywords",
    "Option",
    "Options",
    "axes",
    "axes_of",
    "check_axes",
    "help_text",
    "resolve",
    "resolve_defaults",
    "row",
    "signature",
    "table",
]


def axes(value: Any) -> tuple[str, ...] | None:
    """Return axes as cells have them, `"quality=low,medium"`; None: no matrix is wanted."""
    if value is None or value is False:
        return None
    if value is True or value == "":
        return ()
    if isinstance(value, Mapping):
        return tuple(_written(name, given) for name, given in value.items())
    if isinstance(value, str):
        name, equals, given = value.partition("=")
        if not equals:
            raise ValueError(
                f"{value!r} is no axis; write an option and values: quality=low,medium"
            )
        return (_written(name, given),)
    return tuple(one for each in value for one in axes(each) or ())


def _written(name: str, given: Any) -> str:
    values = given.split(",") if isinstance(given, str) else given
    if not isinstance(values, Iterable):
        raise ValueError(f"{name}: {given!r} is not a list of values")  # noqa: TRY004  # a converter
    each = [nonempty(value) for value in values]
    return f"{name.strip().lstrip('-').replace('-', '_')}={','.join(each)}"


def axes_of(written: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the values of each axis, by the name of its option."""
    pairs = (axis.partition("=") for axis in written)
    return {name: tuple(dict.fromkeys(values.split(","))) for name, _, values in pairs}


def check_axes(
    written: Iterable[str], converters: Mapping[str, Callable[[Any], Any]]
) -> tuple[str, ...]:
    """Return axes whose options exist, and whose values they take.

    Args:
        written: As from `axes`.
        converters: Of the options that can be compared, by name.

    Raises:
        OptionError: An axis is none; the message names the nearest.
    """
    checked: dict[str, str] = {}
    for name, values in [(axis.partition("=")[0], axis) for axis in written]:
        if name not in converters:
            near = did_you_mean(name, converters) or f" These can: {', '.join(converters)}."
            raise OptionError(f"--matrix: {name!r} cannot be compared.{near}")
        if name in checked:
            raise OptionError(f"--matrix: {name} stands twice. Give its values together.")
        try:
            each = [converters[name](value) for value in axes_of([values])[name]]
        except ValueError as error:
            raise OptionError(f"--matrix {name}: {error}") from None
        words = [one if isinstance(one, str) else ",".join(one) for one in each]
        checked[name] = f"{name}={','.join(words)}"
    return tuple(checked.values())


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from os import PathLike
    from typing import TypedDict

    from xai_notebook.client.request import ImageRequest, InputImage

    class _Convert(Protocol):
        def __call__(self, value: Any, /) -> Any: ...
else:

    class TypedDict:
        """Stands in at run time: making the real ones takes 0.5 ms of `%load_ext`."""

        def __init_subclass__(cls, *, total: bool) -> None:
            """Take the arguments of a TypedDict."""


class Option(NamedTuple):
    """One row of the table.

    Attributes:
        short: Its short flag; the long one follows from the name.
        help: What it means, for `--help` and `%config`.
        convert: Checks a value given as text or as an object; raises ValueError.
        metavar: Stands for the value in the help; None: the option is a switch.
        offers: What Tab offers, when `convert` does not know.
        variables: Which variables of the user's Tab offers.
        suffixes: Which files Tab offers beside folders; None: neither.
        bare: The value of the option without one; None: a value is required.
        begins: A pattern that a word must begin with to be its value, and not the prompt.
        axis: `--matrix` can compare its values.
        repeatable: May be given several times.
        configurable: Has a default in `%config XaiImage`.
        setting: What `%config XaiImage` calls it, when that is not `name`.
        label: Of its field in the panel; None: it has none.
        in_panel: The panel keeps it as given, when it has no field for it.
        name: The keyword of `generate()`.
        default: Its value when nobody says anything.
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

    @property
    def flag(self) -> str:
        """The flag as cells are written."""
        return magic_source.flag(f"no_{self.name}" if self.bare is False else self.name)

    @property
    def flags(self) -> tuple[str, ...]:
        """Its flags on a magic's line, short one first."""
        setting = self.setting and magic_source.flag(self.setting)
        return tuple(dict.fromkeys(each for each in (self.short, self.flag, setting) if each))

    @property
    def choices(self) -> tuple[str, ...]:
        """The values to choose from, as text."""
        return self.offers or getattr(self.convert, "values", ())


def row(*row: Any, **more: Any) -> dict[str, Option]:
    """Return the metadata that makes a field of `Options` a row of the table."""
    return {"option": Option(*row, **more)}


def _switch(short: str, help_: str, **more: Any) -> dict[str, Option]:
    return row(short, help_, bool, **{"bare": True, **more})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Every option of one call, checked. None means unset: the server or the settings decide."""

    # fmt: off
    n: int = field(default=1, metadata=row(
        "-n", "images from one request, 1 to 10 (default 1)",
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
        "-q", "for models that offer it",
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
    metadata: bool = field(default=True, metadata=_switch(
        "", "write exported files exactly as the server sent them", bare=False))
    share: float | None = field(default=None, metadata=row(
        "", f"also make a public link, for {settings.DEFAULT_SHARE_DAYS:.0f} days or fewer",
        convert.days, "DAYS", bare=""))
    columns: int | None = field(default=None, metadata=row(
        "", "width of the grid", WholeNumber(1, 12, "columns"), "N"))
    captions: str | None = field(default=None, metadata=row(
        "", "prompts under pictures: all, three lines, or nothing; unset: long ones are folded",
        Choice(settings.CAPTIONS), "full|short|none"))
    full: bool = field(default=False, metadata=_switch(
        "", "embed originals in the notebook instead of previews"))
    compare: bool = field(default=False, metadata=_switch(
        "", "show the images that edits were made from before them",
        configurable=False, in_panel=False))
    matrix: tuple[str, ...] | None = field(default=None, metadata=row(
        "", "{a|b} in the prompt stands for a and for b; quality=low,medium compares an option",
        axes, "NAME=A,B", bare=True, begins=r"[\w-]+=", repeatable=True, configurable=False,
        in_panel=False))
    each: Any = field(default=None, metadata=row(
        "", "one request per prompt: lines of the body, or of the list, table or file NAME; "
        'rows.csv["text"] names a column',
        lambda value: value, "NAME", bare=True, configurable=False, in_panel=False,
        variables=convert.is_list, suffixes=convert.TABLES))
    rewrite: str | None = field(default=None, metadata=row(
        "", "have a chat model rewrite the prompt first", convert.chat_model, "MODEL",
        (settings.DEFAULT_CHAT_MODEL,), bare="", begins="grok", label="Rewrite the prompt first"))
    fresh: bool = field(default=False, metadata=_switch(
        "", "make new images even when the library has some", configurable=False))
    redo: tuple[int, ...] = field(default=(), metadata=row(
        "", "make only these images of the cell anew: 3 is foxes[3]", convert.indices, "N[,N…]",
        repeatable=True, configurable=False, in_panel=False))
    replay: bool = field(default=False, metadata=_switch(
        "", "answer from the library only", configurable=False))
    reuse: bool = field(default=False, metadata=_switch(
        "", "a stored picture of this very request answers, whoever asked for it; else it is made",
        in_panel=False))
    max_cost: float | None = field(default=None, metadata=row(
        "", "refuse before sending what would cost more, in US dollars",
        Amount("US dollars", zero=True), "USD"))
    dry_run: bool = field(default=False, metadata=_switch(
        "", "show the request and its price; send nothing", configurable=False, in_panel=False))
    timeout: float = field(default=settings.DEFAULT_TIMEOUT, metadata=row(
        "", f"seconds for the whole call (default {settings.DEFAULT_TIMEOUT:.0f})",
        Amount("seconds"), "S", label="Timeout in seconds"))
    batch: bool = field(default=False, metadata=_switch(
        "", "hand the requests over as one job, which outlives the kernel",
        configurable=False, in_panel=False))
    local: bool = field(default=False, metadata=_switch(
        "", "use the embedded server for this call", configurable=False))
    help: bool = field(default=False, metadata=_switch(
        "-h", "show this text", configurable=False, in_panel=False))
    # fmt: on

    @property
    def shape(self) -> str:
        """What the pictures will look like, as `"width:height"`; a square unless told."""
        return self.aspect_ratio or "1:1"

    def request(self, prompt: str, model: str, inputs: tuple[InputImage, ...]) -> ImageRequest:
        """Return what is asked of the server for one prompt."""
        from xai_notebook.client.request import ImageRequest  # noqa: PLC0415  # not at load

        asked = _asked()
        given = {"prompt": prompt, "model": model, "inputs": inputs,
                 "original_prompt": None, "rewrite_model": None}  # fmt: skip
        for name in asked.keys() - given.keys():
            given[name] = getattr(self, asked[name])
        return ImageRequest(**given)  # type: ignore[arg-type]  # by the names of its fields

    def to_line(self, defaults: Options) -> str:
        """Return the first line of the cell that asks for this.

        Args:
            defaults: What `%config XaiImage` says. What makes the request is written even then,
                so that the cell asks for the same elsewhere.
        """
        words = ["%%xai_image"]
        for option in table(type(self)):
            value = getattr(self, option.name)
            usual = value == getattr(defaults, option.name)
            if value is None or (
                usual and (value == option.default or option.name not in _asked().values())
            ):
                continue
            if option.bare is not None and value == option.convert(option.bare):
                words.append(option.flag)
            elif option.metavar is not None:
                words += magic_source.words(option.flag, value if option.repeatable else [value])
        return " ".join(words)


@cache
def _asked() -> dict[str, str]:
    """Return the fields of a request, and the options that they come from."""
    from xai_notebook.client.request import ImageRequest  # noqa: PLC0415  # not at load

    return {
        each.name: magic_source.OPTION_OF.get(each.name, each.name) for each in fields(ImageRequest)
    }


def table(kind: type[Options] = Options) -> tuple[Option, ...]:
    """Return the rows of the table, in the order of the help."""
    return tuple(
        each.metadata["option"]._replace(name=each.name, default=each.default)
        for each in fields(kind)
    )


class Keywords(TypedDict, total=False):
    """What `generate()` takes beside the prompt, `dry_run` and `batch`, for type checkers.

    A key for each row: what may be given, not what it is once it has been checked. None: not given.
    """

    n: int | None
    model: str | Sequence[str] | None
    aspect_ratio: str | None
    resolution: str | None
    quality: str | None
    image: Any
    user: str | None
    format: str | None
    as_: str | None
    export: str | PathLike[str] | bool | None
    metadata: bool | None
    share: float | bool | None
    columns: int | None
    captions: str | None
    full: bool | None
    compare: bool | None
    matrix: bool | str | Sequence[str] | Mapping[str, str | Sequence[str]] | None
    each: Any
    rewrite: str | bool | None
    fresh: bool | None
    redo: int | str | Sequence[int] | None
    replay: bool | None
    reuse: bool | None
    max_cost: float | None
    timeout: float | None
    local: bool | None


class Defaults(TypedDict, total=False):
    """What `configure()` takes, for type checkers: every row that has a default. None: reset."""

    backend: str | None
    api_host: str | None
    home: str | PathLike[str] | None
    engine: str | None
    concurrency: int | None
    rate: float | None
    replay: bool | None
    budget: float | str | settings.BudgetLimit | None
    patience: float | None
    visitors: bool | None
    n: int | None
    model: str | None
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
    reuse: bool | None
    max_cost: float | None
    timeout: float | None


OPTIONS: Final = table()
SETTINGS: Final = (
    Option("", "where calls go: auto (xai with a key, else local), xai or local",
           Choice(settings.BACKENDS), name="backend"),
    Option("", "host, or host:port", convert.nonempty, name="api_host"),
    Option("", "where the library lives", convert.nonempty, name="home"),
    Option("", "what makes the embedded server's pictures: painting, or the URL of an images API",
           convert.nonempty, name="engine"),
    Option("", "requests of --each under way at once", WholeNumber(1, 256, "requests"),
           name="concurrency", default=settings.DEFAULT_CONCURRENCY),
    Option("", "requests of --each per second; 0 is no limit", Amount("requests", zero=True),
           name="rate", default=settings.DEFAULT_RATE),
    Option("", "stored images answer the first request of their kind", bool,
           name="replay", default=True),
    Option("", "US dollars that may be spent: 5 by this kernel; 5/day, 50/month or 100/total by "
           "all that use the library", convert.budget, name="budget"),
    Option("", "seconds before progress is shown; default: 0.6, or 4 for the embedded server",
           Amount("seconds", zero=True), name="patience"),
    Option("", "panel and library are parts of an app that others open: they see only their own "
           "pictures, and write nothing; default: in Voila", bool, name="visitors"),
)  # fmt: skip
"""What only `%config XaiImage` can say."""
ALIASES: Final = {"count": "n", "image_format": "format"}
"""Other names of options in Python."""


def resolve_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Check defaults for all calls of a process.

    Args:
        given: Values by the names of the tables, as text or objects; None resets one.

    Raises:
        OptionError: A name does not exist or has no default, or a value is not possible.
    """
    rows = {row.name: row for row in (*OPTIONS, *SETTINGS) if row.configurable}
    checked: dict[str, Any] = {}
    for name, value in ((ALIASES.get(name, name), value) for name, value in given.items()):
        if name not in rows:
            hint = convert.did_you_mean(name, rows)
            raise OptionError(f"There is no setting {name!r}.{hint or f' Give {_listed(rows)}.'}")
        checked[name] = None if value is None else _converted(rows[name], name, value)
    return checked


def _converted(option: Option, name: str, value: Any) -> Any:
    """Return a value as its option takes it.

    Args:
        option: Of the table.
        name: As the user knows it.
        value: As given.

    Raises:
        OptionError: The value is not possible.
    """
    try:
        return option.convert(value)
    except ValueError as error:
        message = f"{name}: {error}"
        raise OptionError(message + "." * message[-1].isalnum()) from None


def _listed(names: Iterable[str]) -> str:
    *others, last = sorted(names)
    return f"{', '.join(others)} or {last}"


_AGAINST_REUSE: Final = ("fresh", "redo", "replay")
"""Options that contradict `reuse`."""


def signature() -> Signature:
    """Return the signature of `generate()`, as completion and help show it."""
    return Signature(
        [Parameter("prompt", Parameter.POSITIONAL_OR_KEYWORD, default=None)]
        + [
            Parameter(option.name, Parameter.KEYWORD_ONLY, default=None)
            for option in OPTIONS
            if option.name != "help"
        ]
    )


def resolve(
    given: Mapping[str, Any],
    defaults: Mapping[str, Any] | None = None,
    kind: type[Options] = Options,
) -> Options:
    """Check what was given and fill in what was not.

    Args:
        given: Values by the names of the table, as text or objects. None means not given.
        defaults: What `%config XaiImage` says.
        kind: Whose table it is.

    Raises:
        OptionError: A name does not exist, or a value is not possible.
    """
    known = {option.name: option for option in table(kind)}
    merged = {
        name: value
        for name, value in (defaults or {}).items()
        if value is not None and name in known and known[name].configurable
    }
    said = {ALIASES.get(k, k): v for k, v in given.items() if v is not None}
    if any(said.get(name) for name in _AGAINST_REUSE):
        merged.pop("reuse", None)  # a call may ask for something else than its defaults
    merged.update(said)
    checked = {}
    for name, value in merged.items():
        option = known.get(name)
        if option is None:
            raise OptionError(f"There is no option {name!r}.{convert.did_you_mean(name, known)}")
        checked[name] = _converted(option, "/".join(option.flags), value)
    if checked.get("matrix"):
        converters = {name: option.convert for name, option in known.items() if option.axis}
        checked["matrix"] = check_axes(checked["matrix"], converters)
    options = kind(**checked)
    _check_together(options)
    return options


def _check_together(options: Options) -> None:
    """Refuse options that contradict each other."""
    pairs = [("fresh", "replay"), *(("redo", x) for x in ("fresh", "replay", "batch"))]
    pairs += [("reuse", name) for name in _AGAINST_REUSE]
    for one, other in pairs:
        if getattr(options, one) and getattr(options, other):
            raise OptionError(f"--{one} and --{other} contradict each other. Give one of them.")


def help_text(rows: tuple[Option, ...] = OPTIONS) -> str:
    """Return the help of the magic: usage, the table, examples."""
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
        "numbers, dates and the like. Everything else stays as it is, and so does all that\n"
        "--each NAME brings.\n"
        "Without XAI_API_KEY an embedded server draws free local previews, offline.\n\n"
        "Example:\n\n"
        "  %%xai_image -n 4 --aspect-ratio 16:9 --as foxes\n"
        "  a red fox in fresh snow\n"
    )

"""Defaults, limits, environment variables and the configuration of a call.

Every call reads the environment, so a variable that is set in a cell affects the calls after it.
"""

from __future__ import annotations

import functools
import math
import os
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, NoReturn, cast

from xai_notebook.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

Backend = Literal["auto", "xai", "local"]
Period = Literal["kernel", "day", "month", "total"]
"""The costs that a budget limits. `kernel` covers this process. The others cover all processes that
share a library: since midnight, since the first of the month (both in local time), or since the
library was created."""

DEFAULT_MODEL: Final = "grok-imagine-image"
KNOWN_MODELS: Final = ("grok-imagine-image", "grok-imagine-image-2.0", "grok-imagine-image-quality")
"""Model names to suggest until the server has listed its models."""
DEFAULT_CHAT_MODEL: Final = "grok-4-fast-non-reasoning"
LOCAL_MODEL: Final = "local-preview"
"""Model name of the embedded server's own previews."""
LOCAL_REWRITER: Final = "embedded server"
"""Recorded as the model that rewrote a prompt if the embedded server's engine rewrote it."""

REWRITE_USD: Final = 0.001
"""Price in US dollars to expect for a chat model's rewrite until the server reports one."""
INPUT_USD: Final = {"grok-imagine-image": 0.002}
"""Price of each input image in US dollars, by model; the server's price list does not have it."""
OTHER_INPUT_USD: Final = 0.01
"""Price of each input image for other models."""
RELATIVE_PRICES: Final = {
    "grok-imagine-image-2.0": {
        ("low", "1k"): 4 / 6, ("medium", "1k"): 1.0, ("low", "2k"): 1.0, ("medium", "2k"): 8 / 6,
    },
}  # fmt: skip
"""Price by quality and resolution, relative to the list price (`medium` at `1k`)."""

DEFAULT_API_HOST: Final = "api.x.ai"
DEFAULT_TIMEOUT: Final = 1620.0
"""Deadline of a call in seconds, over all attempts."""
DEFAULT_CONCURRENCY: Final = 4
"""Maximum number of concurrent requests of one `--each`."""
DEFAULT_RATE: Final = 5.0
"""Maximum number of requests per second of one `--each`."""

MIB: Final = 1 << 20
MAX_IMAGES: Final = 10
"""Maximum number of images of one request."""
MAX_SEND_BYTES: Final = 256 * MIB
"""Size limit of a request, which can contain several input images of 10 MiB each in base64."""
MAX_RECEIVE_BYTES: Final = 256 * MIB
"""Size limit of a reply. A reply above the limit is lost, but billed. Ten 2k images in base64
usually have 25 to 90 MiB, and at most 214 MiB: incompressible PNGs with an alpha channel."""
MAX_INPUT_IMAGES: Final = 5
"""Maximum number of input images of one edit."""
MAX_INPUT_IMAGE_BYTES: Final = 10 * MIB
MAX_INPUT_FILE_BYTES: Final = 128 * MIB
"""Size limit of an input file before it is scaled down for an edit."""
MAX_DOWNLOAD_BYTES: Final = 64 * MIB
MAX_IMAGE_PIXELS: Final = 64_000_000
"""Largest image that is decoded, as protection against decompression bombs. The API's images have
at most a sixteenth of this."""

ASPECT_RATIOS: Final = (
    "1:1", "3:4", "4:3", "9:16", "16:9", "2:3", "3:2",
    "9:19.5", "19.5:9", "9:20", "20:9", "1:2", "2:1",
)  # fmt: skip
RESOLUTIONS: Final = ("1k", "2k")
DEFAULT_SHARE_DAYS: Final = 30.0
MIN_SHARE_DAYS: Final = 1 / 24
MAX_SHARE_DAYS: Final = 30.0
"""Days for which the server keeps shared images."""
QUALITIES: Final = ("low", "medium")
CAPTIONS: Final = ("full", "short", "none")
FORMATS: Final = ("base64", "url")
BACKENDS: Final = ("auto", "xai", "local")

PERIODS: Final = ("day", "month", "total")
"""Periods that a budget such as `5/day` can name; a budget without one covers the process."""
_BUDGET: Final = r"(?i)\$?\s*(\d+\.?\d*|\.\d+)\s*(?:/\s*([a-z]+))?"  # compiled at first use

_TRUE = frozenset({"1", "true", "yes", "on"})


class ApiKey:
    """An API key that does not appear in a repr, log, format string or pickle.

    Examples:
        >>> key = ApiKey("xai-123")
        >>> f"{key} {key!r}"
        '*** ApiKey(***)'
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Check that `value` can be sent in a header.

        Raises:
            ConfigurationError: The key is not a string, is empty, or has characters that a header
                cannot have. Neither the message nor a frame of its traceback contains the key.
        """
        if not issubclass(type(value), str):  # untyped callers
            kind = type(value).__name__
            del value
            raise ConfigurationError(f"The API key is of type {kind}. Give it as text.")
        value = value.strip()
        problem = ""
        if not value:
            problem = "is empty. Set XAI_API_KEY, or unset it to use the embedded server."
        elif not (value.isascii() and value.isprintable()) or " " in value:
            problem = "holds characters a key cannot have. Copy it again, without quotes."
        if problem:
            value = ""  # a traceback may show this frame's locals
            raise ConfigurationError(f"The API key {problem}")
        self._value = value

    def reveal(self) -> str:
        """Return the key as plain text, to send it or to search for it."""
        return self._value

    def __repr__(self) -> str:
        return "ApiKey(***)"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        """Compare by value in constant time."""
        from hmac import compare_digest  # noqa: PLC0415  # takes 3 ms, so not at import

        return isinstance(other, ApiKey) and compare_digest(other._value, self._value)

    def __hash__(self) -> int:
        return hash((ApiKey, self._value))

    def __getstate__(self) -> NoReturn:
        """Prevent copying and pickling, because the key could end up in a file."""
        raise TypeError("an ApiKey cannot be copied or pickled")

    __reduce__ = __getstate__  # Python 3.10 does not call __getstate__ of a class with slots


REFUSED_BUDGET: Final = "refused_budget"
"""Name under which `%config XaiImage` keeps an invalid budget, which stops paid calls."""


class BudgetLimit(NamedTuple):
    """A spending limit.

    Attributes:
        usd: Limit in US dollars.
        period: Period whose costs count.

    Examples:
        >>> BudgetLimit.parse("5/day")
        BudgetLimit(usd=5.0, period='day')
    """

    usd: float
    period: Period = "kernel"

    @classmethod
    def parse(cls, value: object) -> BudgetLimit:
        """Parse a number or a string: `5`, `"$5"` or `"50/month"`.

        Raises:
            ValueError: `value` is not a budget. The message has no final period.
        """
        if isinstance(value, cls):
            return value
        usd, period = value, "kernel"
        if match := re.fullmatch(_BUDGET, str(value).strip()):
            usd, period = match[1], (match[2] or period).lower()
        try:
            amount = math.nan if isinstance(usd, bool) else float(cast("float", usd))
        except (TypeError, ValueError):
            amount = math.nan
        if not 0 <= amount < math.inf:
            raise ValueError(
                f"{value!r} is not a budget. Give 5, '5/day', '50/month' or '100/total'"
            )
        if period not in ("kernel", *PERIODS):
            raise ValueError(f"{value!r} names no period. Give one of: {', '.join(PERIODS)}")
        return cls(amount, cast("Period", period))

    @property
    def shared(self) -> bool:
        """Whether the costs of all processes that share the library count."""
        return self.period != "kernel"

    def __str__(self) -> str:
        """Return the limit in the format that `parse` reads, such as `$5/day`."""
        cents = self.usd >= 1 or abs(self.usd - round(self.usd, 2)) < 1e-9  # noqa: PLR2004
        usd = f"{self.usd:,.2f}".removesuffix(".00") if cents else f"{self.usd:g}"
        return f"${usd}/{self.period}" if self.shared else f"${usd}"


def take_key(given: list[Any]) -> ApiKey | None:
    """Return the only item of a list as an `ApiKey`; None for None and `""`.

    Plain text is removed from the list, so that no frame of a traceback contains it.

    Raises:
        ConfigurationError: The item cannot be a key.
    """
    if isinstance(given[0], ApiKey):
        return given[0]
    return ApiKey(given.pop()) if given[0] not in (None, "") else None


@functools.cache
def package_version() -> str:
    """Return this package's version; `"0"` if it is not installed but runs from a folder."""
    from importlib import metadata  # noqa: PLC0415  # 15 ms

    try:
        return metadata.version("xai-notebook")
    except metadata.PackageNotFoundError:
        return "0"


def prepare_grpc() -> None:
    """Set variables that gRPC's core reads when it is first imported, unless the user has set them.

    `GRPC_VERBOSITY` turns off the core's log. The log goes to the process's stderr, which the
    user's cell shows: two lines for each connection that a proxy refuses, one for each `!cmd`. The
    exceptions of the calls have the same information. `GRPC_ENABLE_FORK_SUPPORT` turns off the
    core's fork handlers. With them, a poller in the child process logged closed descriptors after
    13 of 3,000 `!cmd`.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


def variable(name: str) -> str:
    """Return an environment variable without surrounding white space; `""` if it is not set.

    Use this function for every read of the environment. If a frame held a mapping of the
    environment, a traceback with values (`%xmode Verbose`) would show the API key.
    """
    return os.getenv(name, "").strip()


def switched_on(name: str) -> bool:
    """Tell whether the variable `name` is set to 1, true, yes or on."""
    return variable(name).lower() in _TRUE


def either_case(*names: str) -> str | None:
    """Return the first non-empty value of the variables `names`, in upper or lower case."""
    variants = (variant for name in names for variant in (name.upper(), name.lower()))
    return next((value for variant in variants if (value := variable(variant))), None)


def environment_key(name: str) -> ApiKey | None:
    """Return the key in the environment variable `name`; None if it is not set.

    Raises:
        ConfigurationError: The value cannot be a key.
    """
    return ApiKey(variable(name)) if variable(name) else None


@dataclass(frozen=True, slots=True, eq=False, repr=False)  # fewer methods: `%load_ext` is quicker
class Configuration:
    """The checked settings of a call: the environment, overridden by `%config XaiImage`.

    Attributes:
        api_key: API key from `XAI_API_KEY`; None if it is not set.
        api_host: `host` or `host:port` from `XAI_API_HOST`.
        backend: `"auto"`, `"xai"` or `"local"`, from `XAI_NOTEBOOK_BACKEND`.
        home: Folder of the library, from `XAI_NOTEBOOK_HOME`.
        engine: Engine that makes the embedded server's pictures, from `XAI_NOTEBOOK_ENGINE`. `""`
            selects the built-in previews.
        concurrency: Maximum number of concurrent requests of one `--each`.
        rate: Maximum number of requests per second of one `--each`; 0 means unlimited.
        replay: Whether stored images answer requests that are new in this kernel.
        budget: Spending limit from `XAI_NOTEBOOK_BUDGET`; None means unlimited.
        patience: Seconds before progress is shown; None means the default.
    """

    api_key: ApiKey | None
    api_host: str
    backend: Backend
    home: Path
    engine: str = ""
    concurrency: int = DEFAULT_CONCURRENCY
    rate: float = DEFAULT_RATE
    replay: bool = True
    budget: BudgetLimit | None = None
    patience: float | None = None

    @classmethod
    def from_environment(cls) -> Configuration:
        """Read and check the environment.

        Raises:
            ConfigurationError: A variable has an invalid value.
        """
        backend = variable("XAI_NOTEBOOK_BACKEND").lower()
        budget = variable("XAI_NOTEBOOK_BUDGET")
        return cls(
            api_key=environment_key("XAI_API_KEY"),
            api_host=variable("XAI_API_HOST") or DEFAULT_API_HOST,
            backend=_check_backend("XAI_NOTEBOOK_BACKEND", backend) if backend else "auto",
            home=home_folder(variable("XAI_NOTEBOOK_HOME")),
            engine=variable("XAI_NOTEBOOK_ENGINE"),
            budget=_parse_budget("XAI_NOTEBOOK_BUDGET", budget) if budget else None,
        )

    @classmethod
    def for_call(
        cls, given: Configuration | None, configured: Mapping[str, Any], *, spends: bool = True
    ) -> Configuration:
        """Return the settings of a call.

        Args:
            given: The settings to override; None means those of the environment.
            configured: The values of `%config XaiImage`; None and `""` mean not set.
            spends: Whether the call may cost money. If so, an invalid budget is an error.

        Raises:
            ConfigurationError: A variable or a configured value is invalid.
        """
        if spends and configured.get(REFUSED_BUDGET) is not None:
            _parse_budget("XaiImage.budget", configured[REFUSED_BUDGET])
        names = {each.name for each in fields(cls)} - {"api_key"}
        values = {
            name: value
            for name, value in configured.items()
            if name in names and value not in (None, "")
        }
        if "backend" in values:
            values["backend"] = _check_backend("XaiImage.backend", values["backend"])
        if "home" in values:
            values["home"] = home_folder(str(values["home"]))
        if "budget" in values:
            values["budget"] = _parse_budget("XaiImage.budget", values["budget"])
        return replace(cls.from_environment() if given is None else given, **values)


def _check_backend(name: str, value: str) -> Backend:
    if value not in BACKENDS:
        raise ConfigurationError(f"{name} is {value!r}. Set it to one of: {', '.join(BACKENDS)}.")
    return cast("Backend", value)


def _parse_budget(name: str, value: object) -> BudgetLimit:
    try:
        return BudgetLimit.parse(value)
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}.") from None


def home_folder(value: str) -> Path:
    """Return the library's folder: the configured one; for `""`, the platform's user data folder.

    Raises:
        ConfigurationError: The working directory or the user named in `value` does not exist.
    """
    if not value:
        import platformdirs  # noqa: PLC0415  # a few ms, rarely needed

        return Path(platformdirs.user_data_dir("xai-notebook", appauthor=False))
    try:
        return Path(value).expanduser().absolute()
    except (OSError, RuntimeError) as error:  # no working directory, or an unknown user
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(
            f"The library's folder {value!r} cannot be found: {reason}. Set XAI_NOTEBOOK_HOME."
        ) from error

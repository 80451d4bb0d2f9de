"""Every default and every environment variable, in one frozen place.

Nothing here is read at import: `Configuration.read()` is called when a
call is made, so a variable set in an earlier cell counts.
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

__all__ = ["ApiKey", "Backend", "BudgetLimit", "Configuration", "Period"]

Backend = Literal["auto", "xai", "local"]
Period = Literal["kernel", "day", "month", "total"]
"""What a budget covers: this process, or all processes of a library since midnight, since the
first of the month (both in local time), or ever."""

DEFAULT_MODEL: Final = "grok-imagine-image"
KNOWN_MODELS: Final = ("grok-imagine-image", "grok-imagine-image-2.0", "grok-imagine-image-quality")
"""Model names to offer while no server has been asked."""
DEFAULT_CHAT_MODEL: Final = "grok-4-fast-non-reasoning"
LOCAL_MODEL: Final = "local-preview"
"""What the embedded server says made its pictures."""
LOCAL_REWRITER: Final = "embedded server"
"""Who rewrote a prompt for an engine behind the embedded server: not the chat model asked for."""

REWRITE_USD: Final = 0.001
"""US dollars that a rewrite by a chat model is expected to cost, before one has been reported."""
INPUT_USD: Final = {"grok-imagine-image": 0.002}
"""What each input image adds to a request, in US dollars: the server's list does not tell it."""
OTHER_INPUT_USD: Final = 0.01
"""The same for models that are not named above."""
RELATIVE_PRICES: Final = {
    "grok-imagine-image-2.0": {
        ("low", "1k"): 4 / 6, ("medium", "1k"): 1.0, ("low", "2k"): 1.0, ("medium", "2k"): 8 / 6,
    },
}  # fmt: skip
"""What an image costs by quality and resolution, beside the list price of `medium` at `1k`."""

DEFAULT_API_HOST: Final = "api.x.ai"
DEFAULT_TIMEOUT: Final = 1620.0
"""Deadline of a whole call in seconds, over all attempts."""
DEFAULT_CONCURRENCY: Final = 4
"""Requests of one `--each` under way at the same time."""
DEFAULT_RATE: Final = 5.0
"""Requests per second."""

MIB: Final = 1 << 20
MAX_IMAGES: Final = 10
"""Images one request may ask for."""
MAX_SEND_BYTES: Final = 256 * MIB
"""Several input images of 10 MiB each, in base64, must fit into one request."""
MAX_RECEIVE_BYTES: Final = 256 * MIB
"""A reply lost to a limit has been paid for. Ten 2k images in base64 are mostly 25 to 90 MiB, and
214 MiB if all were PNGs with an alpha channel that nothing can be compressed of: none is larger."""
MAX_INPUT_IMAGES: Final = 5
"""Reference images one edit may carry."""
MAX_INPUT_IMAGE_BYTES: Final = 10 * MIB
MAX_INPUT_FILE_BYTES: Final = 128 * MIB
"""Largest file read for an edit, before it is scaled: a PNG of as many pixels as are decoded."""
MAX_DOWNLOAD_BYTES: Final = 64 * MIB
MAX_IMAGE_PIXELS: Final = 64_000_000
"""Largest image decoded, sixteen times what the API makes: a guard against bombs."""

ASPECT_RATIOS: Final = (
    "1:1", "3:4", "4:3", "9:16", "16:9", "2:3", "3:2",
    "9:19.5", "19.5:9", "9:20", "20:9", "1:2", "2:1",
)  # fmt: skip
RESOLUTIONS: Final = ("1k", "2k")
DEFAULT_SHARE_DAYS: Final = 30.0
MIN_SHARE_DAYS: Final = 1 / 24
MAX_SHARE_DAYS: Final = 30.0
"""Days for which the server keeps what is shared."""
QUALITIES: Final = ("low", "medium")
CAPTIONS: Final = ("full", "short", "none")
FORMATS: Final = ("base64", "url")
BACKENDS: Final = ("auto", "xai", "local")

PERIODS: Final = ("day", "month", "total")
"""What a budget may name; without a name it covers the process."""
_BUDGET: Final = r"(?i)\$?\s*(\d+\.?\d*|\.\d+)\s*(?:/\s*([a-z]+))?"  # compiled at first use

_TRUE = frozenset({"1", "true", "yes", "on"})


class ApiKey:
    """An API key that no repr, log, format string or pickle shows.

    Examples:
        >>> key = ApiKey("xai-123")
        >>> f"{key} {key!r}"
        '*** ApiKey(***)'
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Check that `value` can be sent as a header.

        Raises:
            ConfigurationError: The key is no text, is empty or holds characters no header can
                carry. Neither the message nor a frame of its traceback holds the key.
        """
        if not issubclass(type(value), str):  # checkers do not see every caller
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
        """Return the key itself. Only `client.interceptors` has a reason to call this."""
        return self._value

    def __repr__(self) -> str:
        """Return a text without the key."""
        return "ApiKey(***)"

    def __str__(self) -> str:
        """Return a text without the key."""
        return "***"

    def __eq__(self, other: object) -> bool:
        """Compare by value, in time that does not tell how much of a guess was right."""
        from hmac import compare_digest  # noqa: PLC0415  # 3 ms that loading need not pay

        return isinstance(other, ApiKey) and compare_digest(other._value, self._value)

    def __hash__(self) -> int:
        """Hash by value."""
        return hash((ApiKey, self._value))

    def __getstate__(self) -> NoReturn:
        """Refuse to be copied or pickled: neither says where the copy goes."""
        raise TypeError("an ApiKey cannot be copied or pickled")

    def __reduce__(self) -> NoReturn:
        """As `__getstate__`: Python 3.10 does not ask that one for slots."""
        self.__getstate__()


REFUSED_BUDGET: Final = "refused_budget"
"""Among what is configured: a budget that was set last and means nothing."""


class BudgetLimit(NamedTuple):
    """How much may be spent, and over which period.

    Attributes:
        usd: US dollars.
        period: See `Period`.

    Examples:
        >>> BudgetLimit.parse("5/day")
        BudgetLimit(usd=5.0, period='day')
    """

    usd: float
    period: Period = "kernel"

    @classmethod
    def parse(cls, value: object) -> BudgetLimit:
        """Return the limit that a number or a text such as `5`, `"$5"` or `"50/month"` means.

        Raises:
            ValueError: It is neither; the message is half a sentence.
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
        """Whether every process that uses the library counts against it."""
        return self.period != "kernel"

    def __str__(self) -> str:
        """Return the limit as it can be given: `$5/day`."""
        cents = self.usd >= 1 or abs(self.usd - round(self.usd, 2)) < 1e-9  # noqa: PLR2004
        usd = f"{self.usd:,.2f}".removesuffix(".00") if cents else f"{self.usd:g}"
        return f"${usd}/{self.period}" if self.shared else f"${usd}"


def take_key(given: list[Any]) -> ApiKey | None:
    """Return the key in `given`, wrapped; None for None and `""`.

    The list is emptied, so that no frame of a traceback holds the plain text.

    Raises:
        ConfigurationError: It cannot be a key.
    """
    if isinstance(given[0], ApiKey):
        return given[0]
    return ApiKey(given.pop()) if given[0] not in (None, "") else None


@functools.cache
def package_version() -> str:
    """Return this package's version; `"0"` when it runs from a folder and is not installed."""
    from importlib import metadata  # noqa: PLC0415  # 15 ms for one word

    try:
        return metadata.version("xai-notebook")
    except metadata.PackageNotFoundError:
        return "0"


def prepare_grpc() -> None:
    """Set what gRPC's core reads once, at its first import; a value that the user has set stays.

    The first turns off the log of gRPC's core, which is written past Python into the user's cell:
    two lines for each connection that a proxy refuses, one for each `!cmd`. The errors that calls
    raise say the same. With the second, the core does nothing at a fork; otherwise a poller in the
    child complains that its descriptors are closed, after 13 of 3,000 `!cmd`.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


def variable(name: str) -> str:
    """Return an environment variable without the blanks around it; `""` if it is not set.

    The one way to the environment: a frame that holds a mapping of it shows the key in every
    traceback with values, `%xmode Verbose` for one.
    """
    return os.getenv(name, "").strip()


def switched_on(name: str) -> bool:
    """Tell whether the variable `name` is set to something that means yes."""
    return variable(name).lower() in _TRUE


def either_case(*names: str) -> str | None:
    """Return the first non-empty variable among `names`, each tried in upper and lower case."""
    variants = (variant for name in names for variant in (name.upper(), name.lower()))
    return next((value for variant in variants if (value := variable(variant))), None)


def environment_key() -> ApiKey | None:
    """Return the key in `XAI_API_KEY`, if there is one.

    Raises:
        ConfigurationError: What is there cannot be a key.
    """
    return _key("XAI_API_KEY")


def engine_key() -> ApiKey | None:
    """Return the key in `XAI_NOTEBOOK_ENGINE_KEY`, if there is one.

    Raises:
        ConfigurationError: What is there cannot be a key.
    """
    return _key("XAI_NOTEBOOK_ENGINE_KEY")


def _key(name: str) -> ApiKey | None:
    return ApiKey(variable(name)) if variable(name) else None


@dataclass(frozen=True, slots=True)
class Configuration:
    """What holds for a call, checked: what the environment says, overruled by `%config XaiImage`.

    Attributes:
        api_key: `XAI_API_KEY`, or None.
        api_host: `XAI_API_HOST`: a host, or `host:port`.
        backend: `XAI_NOTEBOOK_BACKEND`.
        home: `XAI_NOTEBOOK_HOME`: where the library lives.
        engine: `XAI_NOTEBOOK_ENGINE`: what makes the embedded server's pictures; `""`: its painter.
        concurrency: Requests of one `--each` under way at the same time.
        rate: Requests of `--each` per second; 0: no limit.
        replay: Stored images answer what has not been seen in this kernel.
        budget: What may be spent, `XAI_NOTEBOOK_BUDGET`; None: no limit.
        patience: Seconds before progress is shown; None: as usual.
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
            ConfigurationError: A variable has a value that means nothing.
        """
        return cls(
            api_key=environment_key(),
            api_host=variable("XAI_API_HOST") or DEFAULT_API_HOST,
            backend=_backend("XAI_NOTEBOOK_BACKEND", variable("XAI_NOTEBOOK_BACKEND").lower()),
            home=home_folder(variable("XAI_NOTEBOOK_HOME")),
            engine=variable("XAI_NOTEBOOK_ENGINE"),
            budget=_budget("XAI_NOTEBOOK_BUDGET", variable("XAI_NOTEBOOK_BUDGET") or None),
        )

    @classmethod
    def for_call(cls, given: Configuration | None, configured: Mapping[str, Any]) -> Configuration:
        """As `read`, for a call that may spend: a budget that was refused stops it.

        Raises:
            ConfigurationError: A variable or a configured value means nothing.
        """
        _budget("XaiImage.budget", configured.get(REFUSED_BUDGET))
        return cls.read(given, configured)

    @classmethod
    def read(cls, given: Configuration | None, configured: Mapping[str, Any]) -> Configuration:
        """Return what holds now.

        Args:
            given: Default: what the environment says.
            configured: What `%config XaiImage` says; None and `""` say nothing.

        Raises:
            ConfigurationError: A variable or a configured value means nothing.
        """
        known = {one.name for one in fields(cls)} - {"api_key"}
        said = {name: configured[name] for name in known & set(configured)}
        said = {name: value for name, value in said.items() if value not in (None, "")}
        if "backend" in said:
            said["backend"] = _backend("XaiImage.backend", said["backend"])
        if "home" in said:
            said["home"] = home_folder(str(said["home"]))
        if "budget" in said:
            said["budget"] = _budget("XaiImage.budget", said["budget"])
        return replace(cls.from_environment() if given is None else given, **said)


def _backend(name: str, value: str) -> Backend:
    if value and value not in BACKENDS:
        raise ConfigurationError(f"{name} is {value!r}. Set it to one of: {', '.join(BACKENDS)}.")
    return cast("Backend", value or "auto")


def _budget(name: str, value: object) -> BudgetLimit | None:
    if value is None:
        return None
    try:
        return BudgetLimit.parse(value)
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}.") from None


def home_folder(value: str) -> Path:
    """Return where the library lives.

    Args:
        value: As configured; empty: the platform's folder for the data of users.

    Raises:
        ConfigurationError: It is relative to a folder, or names a user, that does not exist.
    """
    if not value:
        import platformdirs  # noqa: PLC0415  # a few ms that most calls never need

        return Path(platformdirs.user_data_dir("xai-notebook", appauthor=False))
    try:
        return Path(value).expanduser().absolute()
    except (OSError, RuntimeError) as error:  # no working directory, no such user
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(
            f"The library's folder {value!r} cannot be found: {reason}. Set XAI_NOTEBOOK_HOME."
        ) from error

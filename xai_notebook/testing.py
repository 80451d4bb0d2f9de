"""Test code that makes images: a server of its own, an empty library and a test key.

    # conftest.py
    pytest_plugins = ["xai_notebook.testing"]

    # test_story.py
    def test_story(xai_server):
        make_story("a fox")
        assert [request.prompt for request in xai_server.requests] == ["a fox"]

Without pytest, such as in unittest, use `with XaiServer() as server`. Importing this module does
not import pytest. (PYTEST_DONT_REWRITE: there are no assertions here.)
"""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import os
import secrets
import shutil
import tempfile
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from xai_notebook import frontend
from xai_notebook.arguments.values import Amount
from xai_notebook.client import wire
from xai_notebook.client.encoding import CHOICES
from xai_notebook.client.media import media_type
from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.errors import ConfigurationError, OptionError
from xai_notebook.generation.session import Session, replace_session
from xai_notebook.server.engine import EngineResult, PaintingEngine, check_picture
from xai_notebook.server.faults import Faults
from xai_notebook.server.runner import EmbeddedServer
from xai_notebook.settings import MIB, ApiKey, Configuration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    import grpc
    import pytest
    from PIL import Image
    from typing_extensions import Self

    from xai_notebook.server.engine import EngineInput
    from xai_notebook.server.validation import ImageOrder

    xai_server: Any
    """Pytest fixture: a running `XaiServer` for one test."""
    xai_server_factory: Any
    """Pytest fixture of the session: makes servers for fixtures of any scope."""

__all__ = ["XaiServer", "xai_server", "xai_server_factory"]

_PREFIXES: Final = ("XAI_API_", "XAI_NOTEBOOK_")
"""Prefixes of the environment variables that a server hides."""
_FIXED: Final = frozenset({"home", "api_host", "backend", "engine"})
"""Defaults of `xai_notebook.configure` that have no effect while a server runs."""
_PRICE: Final = Amount("dollars", zero=True)
_SIDE: Final = 16
"""Width and height in pixels of a plain picture."""


class XaiServer:
    """An image server for tests. While it runs, all calls of this process use it.

    The server listens on loopback, and its library in `home` starts empty. They are used even if
    the environment or `xai_notebook.configure` names others, so a test cannot reach the real key,
    the real library or the network. Environment variables direct processes that a test starts, such
    as the kernels of notebooks, to the same server and library. The other variables of this package
    are unset: set limits with `xai_notebook.configure`. `close` restores the variables, the
    defaults of `configure`, and the former session.

    The server runs in a thread of its own, so both `generate` and `await agenerate` work. If
    several servers run, the newest one is used.

    Args:
        home: Folder of the library; None: a temporary folder, which `close` removes.
        paint: Paint the words of the prompt, like the local previews. False makes small pictures of
            one colour each, all different, which is faster.
        price_usd: Price of an image in US dollars, which the server lists and reports.

    Attributes:
        home: Folder of the library.
        embedded: The server, with all calls and settings.

    Examples:
        >>> import xai_notebook as xai
        >>> with XaiServer() as server:
        ...     batch = xai.generate("a red fox", n=2)
        ...     [(request.prompt, request.n) for request in server.requests]
        [('a red fox', 2)]
    """

    def __init__(
        self, *, home: str | Path | None = None, paint: bool = True, price_usd: float = 0.0
    ) -> None:
        self._engine = _Engine(paint=paint)
        self._key = secrets.token_urlsafe(16)
        self.embedded = EmbeddedServer(
            api_key=self._key,
            # Unlike previews, xAI's service reports no rewritten prompts.
            faults=Faults(up_sampled=False),
            engine=self._engine,
            repeat=False,
            keep_calls=100_000,
            keep_call_bytes=256 * MIB,
        )
        self._given_home = None if home is None else Path(home).absolute()
        self.home = self._given_home or Path()
        self._reset_at = 0.0
        self._session: Session | None = None
        self._outside: _Outside | None = None
        self._stack = ExitStack()
        self.price_usd = price_usd

    # Recorded requests

    @property
    def requests(self) -> list[ImageRequest]:
        """The requests for images in order of arrival, including failed ones and each retry.

        A request has `prompt`, `model`, `n`, `aspect_ratio`, `resolution`, `quality`, `user` and
        `inputs` (each with `sha256`). The requests of a job are listed one by one.
        """
        found = []
        for call in self.embedded.requests:
            if call.started <= self._reset_at:
                continue
            if call.method == wire.GENERATE_IMAGE:
                found.append(self._decode(call.message))
            elif call.method == wire.ADD_BATCH_REQUESTS:
                found += [self._decode(each.image_request) for each in call.message.batch_requests]
        return found

    @property
    def prompts(self) -> list[str]:
        """The prompts of `requests`."""
        return [request.prompt for request in self.requests]

    @property
    def images(self) -> int:
        """Number of pictures that the server has made, without withheld ones."""
        return self._engine.made

    # Replies

    def reply(self, *pictures: bytes | str | Path | Image.Image | None) -> None:
        """Set the next pictures, one for each requested image. After them, the server paints again.

        Args:
            *pictures: Bytes or a file of a PNG, JPEG or WebP image, a PIL image, or None for a
                picture that moderation withholds.

        Raises:
            OptionError: A picture is none of these. No picture is set.
        """
        self._engine.queue.extend([_read_picture(picture) for picture in pictures])

    def fail(
        self,
        status: str | grpc.StatusCode,
        details: str = "a failure of the test",
        *,
        times: int = 1,
    ) -> None:
        """Let the next image calls fail.

        The client retries after UNAVAILABLE and RESOURCE_EXHAUSTED: the caller gets an error only
        if `times` is larger than the number of attempts. The requests of jobs do not fail; see
        `faults.batches`.

        Args:
            status: Status of gRPC, such as `"INVALID_ARGUMENT"`.
            details: Message of the service.
            times: Number of calls that fail.

        Raises:
            OptionError: The status does not exist.
        """
        self.faults.add_failures(*[(_status(status), details)] * times)

    @property
    def faults(self) -> Faults:
        """All other faults: delays, missing images, damaged replies, jobs, files."""
        return self.embedded.faults

    @property
    def price_usd(self) -> float:
        """Price of an image in US dollars. Set it before the first call, as prices are cached."""
        return self.faults.image_price / wire.TICKS_PER_USD

    @price_usd.setter
    def price_usd(self, usd: float) -> None:
        try:
            usd = _PRICE(usd)
        except ValueError as error:
            raise OptionError(f"price_usd: {error}.") from None
        self.faults.image_price = self.faults.cost_ticks = round(usd * wire.TICKS_PER_USD)

    def reset(self) -> None:
        """Clear `requests`, `images`, and what `reply` and `fail` have set. The library stays."""
        self._engine.queue.clear()
        self._engine.made = 0
        self.faults.failures = []  # a new object, which replaces what is queued
        self._reset_at = time.monotonic()

    # Start and end

    @property
    def address(self) -> str:
        """Host and port of the server."""
        return self.embedded.address

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables that direct another process to this server and library."""
        return {
            "XAI_API_HOST": self.address,
            "XAI_API_KEY": self._key,
            "XAI_NOTEBOOK_BACKEND": "xai",
            "XAI_NOTEBOOK_HOME": str(self.home),
            "XAI_NOTEBOOK_TRUSTED_HOME": str(self.home),  # no record in the user's own folders
        }

    def start(self) -> Self:
        """Start the server, and let all calls use it.

        Raises:
            ConfigurationError: The server is running already.
        """
        if self in _running:
            raise ConfigurationError("This server is running already. Make another XaiServer().")
        if self._given_home is None:
            self.home = Path(tempfile.mkdtemp(prefix="xai-notebook-"))
            self._stack.callback(shutil.rmtree, self.home, ignore_errors=True)
        self.home.mkdir(parents=True, exist_ok=True)
        try:
            self._stack.enter_context(self.embedded)
        except BaseException:
            self._stack.close()
            raise
        self._outside = _Outside.read()
        self._session = Session(self._configuration())
        self._session.configured = _defaults
        _running.append(self)
        self._use()
        return self

    def close(self) -> None:
        """Stop the server and restore the former state. Does nothing if it is not running."""
        if self not in _running:
            return
        newest = _running[-1] is self
        newer = None if newest else _running[_running.index(self) + 1]
        _running.remove(self)
        outside, session = self._outside, self._session
        if newer is not None:  # later, it restores what was before this server
            newer._outside = outside  # noqa: SLF001  # of this class
        elif outside is not None:
            used = outside.restore()
            if used is not None and used is not session:  # the code under test has made it
                used.close()
        try:
            if session is not None:
                session.close()
        finally:
            self._stack.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _configuration(self) -> Configuration:
        return Configuration(
            api_key=ApiKey(self._key),
            api_host=self.address,
            backend="xai",
            home=self.home,
            rate=0.0,  # tests need not wait for a rate limit
        )

    def _use(self) -> None:
        replace_session(self._session)
        _set_environment(self.variables)

    def _decode(self, message: wire.GenerateImageRequest) -> ImageRequest:
        """Return a request as data; the inverse of `client.encoding.encode`."""
        options: dict[str, Any] = {
            option: next((name for name, number in choices.items() if number == value), None)
            for option, choices in CHOICES.items()
            if message.HasField(option) and (value := getattr(message, option))
        }
        sources = [message.image] if message.HasField("image") else [*message.images]
        url = message.format != wire.ImageFormat.IMG_FORMAT_BASE64
        return ImageRequest(
            prompt=message.prompt,
            model=message.model,
            n=message.n or 1,
            inputs=tuple(map(self._decode_input, sources)),
            user=message.user or None,
            image_format="url" if url else "base64",
            **options,
        )

    def _decode_input(self, source: wire.ImageUrlContent) -> InputImage:
        data, file_id = source.image_url.encode(), source.file_id or None
        if file_id is not None:
            data = self.embedded.read_file(file_id) or b""  # it may have been deleted
        elif source.image_url.startswith("data:"):
            data = base64.b64decode(source.image_url.partition(",")[2])
        digest = hashlib.sha256(data).hexdigest()
        return InputImage(source.image_url, digest, file_id or "", file_id=file_id)


_running: Final[list[XaiServer]] = []
"""The running servers, oldest first."""


class _Outside(NamedTuple):
    """The state of this process that a server replaces."""

    session: Session | None
    environment: dict[str, str]
    defaults: dict[str, Any]

    @classmethod
    def read(cls) -> _Outside:
        """Return the current state. The next call starts a new session."""
        return cls(replace_session(None), _environment(), dict(frontend.configured()))

    def restore(self) -> Session | None:
        """Restore the state; return the session that was in use."""
        used = replace_session(self.session)
        _set_environment(self.environment)
        frontend.configure(dict.fromkeys(frontend.configured()) | self.defaults)
        return used


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(_PREFIXES)}


def _set_environment(variables: Mapping[str, str]) -> None:
    for name in _environment():
        del os.environ[name]
    os.environ.update(variables)


def _defaults() -> dict[str, Any]:
    """Return the defaults of `configure` that apply to tests."""
    configured = frontend.configured().items()
    return {name: value for name, value in configured if name not in _FIXED}


class _Engine(PaintingEngine):
    """Returns queued pictures, then painted or plain ones.

    Attributes:
        queue: The next pictures, with None for withheld ones.
        made: Number of pictures made.
    """

    def __init__(self, *, paint: bool) -> None:
        super().__init__()
        self.queue: deque[bytes | None] = deque()
        self.made = 0
        self._paint = paint
        self._numbers = itertools.count(1)

    async def make_each(
        self, order: ImageOrder, indices: Sequence[int], inputs: Sequence[EngineInput]
    ) -> list[EngineResult]:
        """Take pictures from the queue, and make the rest."""
        queued = [self.queue.popleft() for _ in indices if self.queue]
        rest = indices[len(queued) :]
        results = [
            EngineResult(data, (data and media_type(data)) or "image/jpeg") for data in queued
        ]
        if self._paint:
            results += await super().make_each(order, rest, inputs)
        else:
            results += [EngineResult(_plain(next(self._numbers)), "image/png") for _ in rest]
        self.made += sum(result.data is not None for result in results)
        return results


def _plain(number: int) -> bytes:
    """Return a picture of one colour, a different one for each number."""
    from PIL import Image  # noqa: PLC0415  # only when pictures are made

    colour = (number * 101 % 256, number // 256 * 67 % 256, number // 65536 * 47 % 256)
    return _png(Image.new("RGB", (_SIDE, _SIDE), colour))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _read_picture(picture: bytes | str | Path | Image.Image | None) -> bytes | None:
    """Return the bytes of a picture for `reply`."""
    from PIL import Image  # noqa: PLC0415  # only when pictures are given

    try:
        if picture is None:
            return None
        if isinstance(picture, Image.Image):
            return _png(picture)
        data = Path(picture).read_bytes() if isinstance(picture, (str, Path)) else bytes(picture)
        check_picture(data)
    except (OSError, TypeError, ValueError) as error:
        raise OptionError(
            f"A picture for reply() cannot be used: {error}. Give a PIL image, the bytes or the "
            "file of a PNG, JPEG or WebP image, or None for a withheld picture."
        ) from error
    return data


def _status(name: str | grpc.StatusCode) -> grpc.StatusCode:
    import grpc  # noqa: PLC0415  # only when failures are set

    failures = {code.name: code for code in grpc.StatusCode if code is not grpc.StatusCode.OK}
    text = name.name if isinstance(name, grpc.StatusCode) else str(name)
    if (status := failures.get(text.upper())) is None:
        raise OptionError(f"{name!r} is not a failure of gRPC. Give one of: {', '.join(failures)}.")
    return status


# Fixtures of pytest


def _serve_test(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[XaiServer]:
    """A running `XaiServer` for one test."""
    # `monkeypatch` may end after the server. As it has recorded the variables before, it then
    # restores their values from before the test, also if the test has changed them.
    for name in {*_environment(), "XAI_API_HOST", "XAI_API_KEY", "XAI_NOTEBOOK_HOME"}:
        monkeypatch.setenv(name, os.environ.get(name, ""))
    with XaiServer(home=tmp_path_factory.mktemp("xai-home")) as server:
        yield server


def _make_servers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., XaiServer]]:
    """Make servers for fixtures: `with xai_server_factory() as server: yield server`."""
    with ExitStack() as stack:

        def make(**options: Any) -> XaiServer:
            options.setdefault("home", tmp_path_factory.mktemp("xai-home"))
            server = XaiServer(**options)
            stack.callback(server.close)
            return server

        yield make


_FIXTURES: Final[dict[str, tuple[Any, Any]]] = {
    "xai_server": (_serve_test, "function"),
    "xai_server_factory": (_make_servers, "session"),
}


def __getattr__(name: str) -> Any:
    """Define a fixture when pytest asks for it, so that the module works without pytest."""
    if name not in _FIXTURES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest  # noqa: PLC0415  # not needed by other users of this module

    function, scope = _FIXTURES[name]
    return globals().setdefault(name, pytest.fixture(scope=scope, name=name)(function))


def __dir__() -> list[str]:
    return sorted({*globals(), *_FIXTURES})

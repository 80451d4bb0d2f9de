"""gRPC channels: API key, TLS, root certificates, proxies, size limits, keepalive, call metadata.

The key is sent only over TLS, or over a loopback connection with local channel credentials, which
gRPC rejects for any other peer. No option can change that.
"""

from __future__ import annotations

import errno
import re
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
import grpc.aio

from xai_notebook import settings
from xai_notebook.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xai_notebook.client.addresses import Endpoint
    from xai_notebook.settings import ApiKey

ROOT_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
PROXY_VARIABLES = ("GRPC_PROXY", "HTTPS_PROXY", "HTTP_PROXY")
KEEPALIVE_MS = 300_000
"""Milliseconds between pings. By default, a gRPC server closes a connection with more frequent
pings and no data, together with its calls: after four minutes at one ping per minute. A server that
hangs during a call is therefore detected after five minutes plus `PING_TIMEOUT_MS`."""
KEEPALIVE_XAI_MS = 30_000
"""Milliseconds between pings to xAI's servers, as in xAI's SDK."""
PING_TIMEOUT_MS = 20_000
"""Milliseconds to wait for the answer to a ping (on Linux, also to data) before the connection is
considered dead."""
MAX_METADATA_BYTES = settings.MIB
"""Size limit of metadata. A reply above the limit is lost, but billed; gRPC's default is only 8 to
16 kB."""


def open_channel(
    endpoint: Endpoint, key: ApiKey | None, options: Sequence[tuple[str, Any]] = ()
) -> grpc.aio.Channel:
    """Create a channel on the running event loop. The first call connects.

    Every call sends `key`; without a key, only loopback is possible. The caller's `options`
    override ours of the same name.

    Raises:
        ConfigurationError: The environment names root certificates or a proxy that cannot be used.
    """
    merged = dict(_options(endpoint)) | dict(options)
    return grpc.aio.secure_channel(
        _target(endpoint), _credentials(endpoint, key), options=list(merged.items())
    )


def _target(endpoint: Endpoint) -> str:
    """Return the target for gRPC. `localhost` means 127.0.0.1, or [::1] if only that is in use.

    gRPC itself would try [::1] first. Another user of this computer might listen there while the
    intended server listens on 127.0.0.1.
    """
    if endpoint.host == "localhost" and _in_use("::1", endpoint.port):
        address = "127.0.0.1" if _in_use("127.0.0.1", endpoint.port) else "::1"
        return replace(endpoint, host=address).target
    return endpoint.target


def _in_use(address: str, port: int) -> bool:
    """Tell whether a port of a loopback address is in use, without connecting to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.bind((address, port))
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


def core_retries(options: Sequence[tuple[str, Any]]) -> bool:
    """Tell whether the caller's channel options make gRPC's core retry calls."""
    named = dict(options)
    config = str(named.get("grpc.service_config", ""))
    return bool(named.get("grpc.enable_retries")) and "retryPolicy" in config


def _credentials(endpoint: Endpoint, key: ApiKey | None) -> grpc.ChannelCredentials:
    if endpoint.tls:
        transport = grpc.ssl_channel_credentials(_root_certificates())
    else:
        transport = grpc.local_channel_credentials()
    if key is None:
        return transport
    call = grpc.metadata_call_credentials(KeyPlugin(key))
    return grpc.composite_channel_credentials(transport, call)


def _options(endpoint: Endpoint) -> list[tuple[str, Any]]:
    is_xai = f".{endpoint.host}".endswith(".x.ai")
    proxy = _proxy(endpoint)
    return [
        ("grpc.max_send_message_length", settings.MAX_SEND_BYTES),
        ("grpc.max_receive_message_length", settings.MAX_RECEIVE_BYTES),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", 2 * MAX_METADATA_BYTES),
        ("grpc.primary_user_agent", f"xai-notebook/{settings.package_version()}"),
        ("grpc.default_authority", endpoint.authority),
        # The core does not report its retries, and cannot tell a rate limit from a size limit.
        ("grpc.enable_retries", 0),
        # While the core waits to reconnect, every call fails at once. With its default wait of 1 s
        # to 120 s, all our attempts would fail without sending a packet.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.dns_min_time_between_resolutions_ms", 1000),
        ("grpc.keepalive_time_ms", KEEPALIVE_XAI_MS if is_xai else KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", PING_TIMEOUT_MS),
        ("grpc.http2.ping_timeout_ms", PING_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.http_proxy", proxy) if proxy else ("grpc.enable_http_proxy", 0),
    ]


def _proxy(endpoint: Endpoint) -> str | None:
    """Return the proxy for `endpoint` as an http:// URL, or None for a direct connection."""
    proxy = settings.either_case(*PROXY_VARIABLES)
    if proxy is None or endpoint.loopback:
        return None
    from urllib import request  # noqa: PLC0415  # 15 ms, rarely needed

    exempt = settings.either_case("NO_PROXY") or ""
    if request.proxy_bypass_environment(endpoint.authority, {"no": exempt}):  # type: ignore[attr-defined]
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    parts = urlsplit(proxy)
    if parts.scheme != "http" or not parts.hostname:
        # The message contains only the scheme, because the rest may contain a password.
        raise ConfigurationError(
            f"gRPC can use only http:// proxies, not {parts.scheme!r}. Correct GRPC_PROXY,"
            f" HTTPS_PROXY or HTTP_PROXY, or list {endpoint.host} in NO_PROXY."
        )
    return proxy


def root_certificates_path() -> Path | None:
    """Return the file or folder of root certificates from the environment; None if not set.

    Raises:
        ConfigurationError: The file or folder does not exist.
    """
    for variable in ROOT_VARIABLES:
        value = settings.either_case(variable)
        if value is None:
            continue
        path = Path(value)
        if not path.exists():
            raise ConfigurationError(
                f"{variable} names {value}, which does not exist. Correct it or unset it."
            )
        return path
    return None


def _root_certificates() -> bytes | None:
    path = root_certificates_path()
    if path is None:
        return None
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        pem = b"\n".join(file.read_bytes() for file in files if file.is_file())
    except OSError as error:
        raise ConfigurationError(
            f"The root certificates in {path} cannot be read ({error.strerror})."
            " Correct SSL_CERT_FILE or REQUESTS_CA_BUNDLE."
        ) from error
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        raise ConfigurationError(
            f"{path} holds no PEM certificate. Correct SSL_CERT_FILE or REQUESTS_CA_BUNDLE."
        )
    return pem


class KeyPlugin(grpc.AuthMetadataPlugin):
    """Adds `authorization: Bearer KEY` to calls; gRPC uses it only on a secure connection."""

    def __init__(self, key: ApiKey) -> None:
        self._key = key

    def __call__(
        self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback
    ) -> None:
        """Pass the header to gRPC, which calls this once per attempt, on one of its threads."""
        del context
        # One expression, so that no local variable of this frame contains the plain text.
        callback((("authorization", f"Bearer {self._key.reveal()}"),), None)


_HEADER_NAME = re.compile(r"[0-9a-z_.-]+")


def call_metadata(extra: Iterable[tuple[str, str | bytes]] = ()) -> grpc.aio.Metadata:
    """Return the metadata of every call: `extra`, and the versions of this package and Python.

    Args:
        extra: Pairs of a name and a string, or of a name that ends with `-bin` and bytes.

    Raises:
        ConfigurationError: A pair cannot be sent, or is the authorization header. Neither the
            message nor a frame of its traceback contains a value.
    """
    pairs: list[tuple[str, str | bytes]] = []
    try:
        pairs = [(name.lower(), value) for name, value in extra]
        problems = (_problem(name, value) for name, value in pairs)
        problem = next(filter(None, problems), None)
    except (AttributeError, TypeError, ValueError):
        problem = "must consist of pairs of a name and a string"
    if problem:
        del pairs, extra
        raise ConfigurationError(f"The metadata {problem}.")
    return grpc.aio.Metadata(
        *pairs,
        ("xai-sdk-version", f"python/{settings.package_version()}"),
        ("xai-sdk-language", f"python/{sys.version_info.major}.{sys.version_info.minor}"),
    )


def _problem(name: str, value: str | bytes) -> str | None:
    """Return the reason why a header cannot be sent, as the end of a sentence; None if it can."""
    if name == "authorization":
        return "contains an authorization header. Pass the key as api_key instead"
    if _HEADER_NAME.fullmatch(name) is None:
        return "contains a name that is not valid for a header"
    if name.endswith("-bin"):
        return None if isinstance(value, bytes) else f"needs bytes for {name}"
    text = isinstance(value, str) and value.isascii() and value.isprintable()
    return None if text else f"needs printable ASCII text for {name}"

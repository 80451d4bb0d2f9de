"""The `requests` session of `http`: connects only to checked addresses and can be cancelled.

A name is resolved once per connection. The resulting addresses are checked, and the connection uses
one of them, so a name server cannot change its answer after the check. TLS, the certificate and the
Host header still use the name. A proxy resolves names itself, so only the name is checked.

Separate because it imports requests, which only downloads and engines need.
"""

from __future__ import annotations

import socket
import threading
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NameResolutionError

from xai_notebook import settings

current = threading.local()
"""Thread-local; `connection` is the `_RequestConnection` of the request that this thread sends."""


class _Pinned(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        """Connect to the first checked address that answers.

        Raises:
            RefusedError: The name resolves to an address that is not allowed.
            HTTPError: The name cannot be resolved, or no address answers.
        """
        name = self._dns_host
        try:
            *others, last = current.connection.addresses(name, self.port)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        try:
            for self._dns_host in others:
                try:
                    return super()._new_conn()
                except HTTPError:
                    continue
            self._dns_host = last
            return super()._new_conn()
        finally:
            self._dns_host = name


class _PinnedHTTPS(_Pinned, HTTPSConnection):
    """Like `_Pinned`; when TLS checks the certificate, `_dns_host` is the name again."""


def _tracked(pool: Any, connection: Any) -> Any:
    """Return a pool class whose connections register their socket with the current request."""

    class Connection(connection):  # type: ignore[misc]  # chosen at run time
        def connect(self) -> None:
            super().connect()
            current.connection.attach(self.sock)

        def putrequest(self, *args: Any, **options: Any) -> None:
            if self.sock is not None:  # a reused connection
                current.connection.attach(self.sock)
            super().putrequest(*args, **options)

    return type("Pool", (pool,), {"ConnectionCls": Connection})


class _PinnedAdapter(HTTPAdapter):
    """Registers the socket of each connection; direct connections go only to checked addresses."""

    if TYPE_CHECKING:
        poolmanager: Any

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Set the pool classes for direct connections."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {
            "http": _tracked(HTTPConnectionPool, _Pinned),
            "https": _tracked(HTTPSConnectionPool, _PinnedHTTPS),
        }

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Set the pool classes for connections to a proxy."""
        known = proxy in self.proxy_manager
        manager: Any = super().proxy_manager_for(proxy, **options)
        if not known:
            manager.pool_classes_by_scheme = {
                name: _tracked(pool, pool.ConnectionCls)
                for name, pool in manager.pool_classes_by_scheme.items()
            }
        return manager


class _Session(requests.Session):
    """Hides redirects, because requests reads their whole body even if it does not follow them."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None, so that no response counts as a redirect."""


def open_session() -> requests.Session:
    """Return a session without cookies and without stored passwords."""
    session = _Session()
    session.trust_env = False  # no passwords from .netrc
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers["User-Agent"] = f"xai-notebook/{settings.package_version()}"
    session.headers["Accept-Encoding"] = "identity"
    adapter = _PinnedAdapter(pool_connections=4, pool_maxsize=settings.MAX_IMAGES)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session

"""Connections of requests that go to checked addresses, and that another thread can cut.

A name is resolved once for each connection. What was found is checked, and the connection is made
to just that: a name server that answers the next question otherwise is not asked. TLS, the
certificate and the Host header still go by the name.

Through a proxy it is the proxy that resolves; there the name alone can be checked beforehand.

Separate because it loads requests, which only downloads and engines need.
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

__all__ = ["open_session", "work"]

work = threading.local()
"""Its `line` says where the request of a thread may connect to, and holds the connection."""


class _Pinned(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        """Connect to the first checked address that answers.

        Raises:
            RefusedError: The name stands for an address that is not fetched from.
            HTTPError: It cannot be resolved, or nothing answers.
        """
        name = self._dns_host
        try:
            *others, last = work.line.addresses(name, self.port)
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
    """TLS checks the certificate against the name that it finds here again."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Pinned


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _PinnedHTTPS


def _held(pool: Any) -> Any:
    """Return a kind of pool whose connections are held by the line of the request they serve."""

    class Connection(pool.ConnectionCls):  # type: ignore[misc]  # the pool decides
        def connect(self) -> None:
            super().connect()
            work.line.hold(self.sock)

        def putrequest(self, *args: Any, **options: Any) -> None:
            if self.sock is not None:  # used before
                work.line.hold(self.sock)
            super().putrequest(*args, **options)

    return type("Pool", (pool,), {"ConnectionCls": Connection})


class _PinnedAdapter(HTTPAdapter):
    """Sends requests over held connections; over pinned ones, unless a proxy makes them."""

    if TYPE_CHECKING:
        poolmanager: Any

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Open connections of our kind where there is no proxy."""
        super().init_poolmanager(*args, **options)
        pools = {"http": _Pool, "https": _HTTPSPool}
        self.poolmanager.pool_classes_by_scheme = {name: _held(pools[name]) for name in pools}

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Hold the connections through a proxy as well."""
        known = proxy in self.proxy_manager
        manager: Any = super().proxy_manager_for(proxy, **options)
        if not known:
            pools = manager.pool_classes_by_scheme
            manager.pool_classes_by_scheme = {name: _held(pools[name]) for name in pools}
        return manager


class _Session(requests.Session):
    """Follows nothing: looking where a redirect goes would read its body, whatever its size."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return that there is none."""


def open_session() -> requests.Session:
    """Return a session that keeps no cookies and knows no passwords."""
    session = _Session()
    session.trust_env = False  # no .netrc: a password kept there for a host is not for this
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers["User-Agent"] = f"xai-notebook/{settings.package_version()}"
    session.headers["Accept-Encoding"] = "identity"
    adapter = _PinnedAdapter(pool_connections=4, pool_maxsize=settings.MAX_IMAGES)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session

"""Connections of requests that go to checked addresses, and to no others.

A name is resolved once for each connection. What was found is checked, and the connection is made
to just that: a name server that answers the next question otherwise is not asked. TLS, the
certificate and the Host header still go by the name.

Through a proxy it is the proxy that resolves; there the name alone can be checked beforehand.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NameResolutionError

from xai_notebook.client.addresses import addresses_of

__all__ = ["PinnedAdapter"]


class _Pinned(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        """Connect to the first checked address that answers.

        Raises:
            RefusedError: The name stands for an address that is not fetched from.
            HTTPError: It cannot be resolved, or nothing answers.
        """
        name = self._dns_host
        try:
            *others, last = addresses_of(name, self.port)
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


class PinnedAdapter(HTTPAdapter):
    """Sends requests over pinned connections, unless a proxy makes them."""

    if TYPE_CHECKING:
        poolmanager: Any

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Open connections of our kind where there is no proxy."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _HTTPSPool}

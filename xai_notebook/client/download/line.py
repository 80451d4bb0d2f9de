"""The connection of one request: which address it may go to, and how another thread ends it."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, cast

from xai_notebook.client.addresses import RefusedError, addresses_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xai_notebook.client.addresses import WebAddress

__all__ = ["Line", "current_line"]

_work = threading.local()
"""Holds the line of the request that a thread makes: pooled connections know no request."""


class Line:
    """The connection of one request, which another thread can cut.

    Attributes:
        opened: There was a connection, so something may have been sent.
    """

    def __init__(self, address: WebAddress, *, own: bool) -> None:
        """Begin without a connection.

        Args:
            address: What may be connected to.
            own: It is the user's own, wherever it is.
        """
        self.opened = False
        self._address = address
        self._own = own
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cut = False

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Hold the connections that this thread opens or takes again in the block."""
        _work.line = self
        try:
            yield
        finally:
            del _work.line
            with self._lock:  # from here on the connection is perhaps another request's
                self._socket = None

    def hold(self, connected: socket.socket) -> None:
        """Remember a connection, or cut it if that was wished already."""
        with self._lock:
            self._socket, self.opened = connected, True
            if self._cut:
                _shut(connected)

    def cut(self) -> None:
        """End the connection now. Whoever reads from it sees its end."""
        with self._lock:
            self._cut = True
            if self._socket is not None:
                _shut(self._socket)

    def addresses(self, host: str, port: int) -> list[str]:
        """Return where to connect to, in the order to try.

        Raises:
            RefusedError: It is not what was checked, or stands for an address that is refused.
            OSError: The name cannot be resolved.
        """
        if (host, port) != (self._address.host, self._address.port):
            raise RefusedError("The server named an address that is no URL: not fetched.")
        return [host] if self._own else addresses_of(host, port)


def _shut(connected: socket.socket) -> None:
    # Not SSLSocket's, which would take TLS apart under the feet of the thread that reads.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connected, socket.SHUT_RDWR)


def current_line() -> Line:
    """Return the line of the request that this thread makes."""
    return cast("Line", _work.line)

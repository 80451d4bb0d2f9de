"""Runs the embedded server as a process of its own: `python -m xai_notebook.server`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from xai_notebook.errors import ConfigurationError
from xai_notebook.server.runner import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_EPILOG = """\
Prints `listening on 127.0.0.1:PORT` when it is ready. Stop it with Ctrl-C.

The key can also come from XAI_NOTEBOOK_SERVER_KEY, where no list of processes
shows it. Without a key every client is welcome.

Words in a prompt that rehearse moderation:
  [moderated]     every image of the request is withheld
  [moderated:2]   the second image is withheld
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM.

    Args:
        arguments: Default: those of the process.

    Returns:
        The exit status: 0 after a signal, 1 when the server could not start.
    """
    parser = argparse.ArgumentParser(
        prog="python -m xai_notebook.server",
        description="xAI's image service on loopback: offline, free, with preview pictures.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--port", type=int, default=0, help="port to bind; 0: a free one")
    parser.add_argument("--api-key", metavar="KEY", help="refuse every client without this key")
    parser.add_argument(
        "--no-rewrite",
        action="store_true",
        help="leave up_sampled_prompt empty, as today's servers do",
    )
    options = parser.parse_args(arguments)
    key = options.api_key or os.environ.get("XAI_NOTEBOOK_SERVER_KEY", "").strip() or None
    server = EmbeddedServer(api_key=key, port=options.port, rewrite=not options.no_rewrite)
    try:
        asyncio.run(_serve(server))
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201  # the terminal is this program's only reader
        return 1
    except KeyboardInterrupt:  # where signal handlers cannot be set: Windows
        pass
    return 0


async def _serve(server: EmbeddedServer) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # Windows
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
    async with server:
        print(f"listening on 127.0.0.1:{server.port}", flush=True)  # noqa: T201
        await stopped.wait()


if __name__ == "__main__":
    sys.exit(main())

"""Command line of the embedded server: `python -m xai_notebook.server`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from xai_notebook.errors import ConfigurationError
from xai_notebook.server.runner import EmbeddedServer, choose_engine
from xai_notebook.settings import ApiKey, environment_key, variable

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEY_VARIABLE: Final = "XAI_NOTEBOOK_SERVER_KEY"
_KEY_VISIBLE: Final = (
    "--api-key shows the key to everybody who can list the processes of this computer. "
    f"Use {_KEY_VARIABLE} or --api-key-file."
)
_EPILOG = """\
Prints `listening on 127.0.0.1:PORT` when it is ready. Stop it with Ctrl-C.

The key comes from XAI_NOTEBOOK_SERVER_KEY or from --api-key-file. --api-key shows
it to everybody who can list processes. Without a key every client is accepted.

The default engine paints previews. --engine or XAI_NOTEBOOK_ENGINE chooses another:
the URL of an OpenAI-compatible images API (its key: XAI_NOTEBOOK_ENGINE_KEY), or
the name of an engine that an installed package offers.

Marks in a prompt that simulate moderation:
  [moderated]     every image of the request is withheld
  [moderated:2]   the second image is withheld
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM.

    Args:
        arguments: Command-line arguments. Default: `sys.argv[1:]`.

    Returns:
        The exit status: 0 after a signal, 1 if the server could not start.
    """
    parser = argparse.ArgumentParser(
        prog="python -m xai_notebook.server",
        description="xAI's image service on loopback: offline, free, with preview pictures.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--port", type=int, default=0, help="port to bind; 0: any free port")
    keys = parser.add_mutually_exclusive_group()
    keys.add_argument(
        "--api-key-file", metavar="FILE", help="refuse clients without the key in FILE"
    )
    keys.add_argument("--api-key", metavar="KEY", help="the same, but visible to others: see below")
    parser.add_argument(
        "--no-rewrite",
        action="store_true",
        help="leave up_sampled_prompt empty, as xAI's servers do",
    )
    parser.add_argument(
        "--engine",
        metavar="URL",
        default=variable("XAI_NOTEBOOK_ENGINE"),
        help="engine that makes the pictures, such as http://localhost:8000/v1#MODEL",
    )
    options = parser.parse_args(arguments)
    try:
        server = EmbeddedServer(
            api_key=_key(options),
            port=options.port,
            engine=choose_engine(options.engine, environment_key("XAI_NOTEBOOK_ENGINE_KEY")),
            rewrite=not options.no_rewrite,
        )
        asyncio.run(_serve(server))
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201  # a command-line program prints its errors
        return 1
    except KeyboardInterrupt:  # on Windows, where asyncio has no signal handlers
        pass
    return 0


def _key(options: argparse.Namespace) -> ApiKey | None:
    """Return the key that clients must send, or None if every client is accepted.

    Raises:
        ConfigurationError: The file cannot be read, or the key is invalid.
    """
    if options.api_key:
        print(_KEY_VISIBLE, file=sys.stderr)  # noqa: T201
        return ApiKey(options.api_key)
    if options.api_key_file is None:
        return environment_key(_KEY_VARIABLE)
    try:
        return ApiKey(Path(options.api_key_file).read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise ConfigurationError(
            f"The key in {options.api_key_file} cannot be read: {error.strerror}."
        ) from error


async def _serve(server: EmbeddedServer) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # on Windows
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
    async with server:
        print(f"listening on 127.0.0.1:{server.port}", flush=True)  # noqa: T201
        await stopped.wait()


if __name__ == "__main__":
    sys.exit(main())

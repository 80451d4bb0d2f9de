"""A server process that replies with prepared bytes, so that only the client is measured.

The prompt selects the answer: `size=300000` for a tiny picture padded to that many bytes,
`side=2048` for a picture of that width and height, `png=1` for a 2k PNG of 7 MB (base64 only),
`delay=2` for seconds before the reply, `wait=0.1` for seconds before each download.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import io
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["picture", "started"]

_MAX_COMMENT = 65_533
"""Bytes of the longest JPEG comment."""


@functools.cache
def photograph(side: int) -> bytes:
    """Return a square JPEG with photographic noise, as large as one from the API."""
    from PIL import Image

    from xai_notebook.server.painting import paint

    painted = Image.open(io.BytesIO(paint("a red fox in fresh snow", resolution="1k")))
    scaled = painted.resize((side, side), Image.Resampling.LANCZOS)
    grain = Image.effect_noise((side, side), 64).convert("RGB")
    buffer = io.BytesIO()
    Image.blend(scaled, grain, 0.15).save(buffer, "JPEG", quality=93)
    return buffer.getvalue()


@functools.lru_cache(maxsize=256)
def picture(number: int, *, side: int = 1024, size: int = 0) -> bytes:
    """Return picture `number`, with the same pixels as the others and unique bytes.

    Args:
        number: Written into a comment, so that the bytes of each number differ.
        side: Width and height in pixels.
        size: Bytes of a tiny picture with padding, which ignores `side`; 0: no padding.
    """
    jpeg = photograph(side) if size == 0 else _tiny()
    comment = f"picture {number}".encode().ljust(32)
    parts = [jpeg[:2], b"\xff\xfe", (len(comment) + 2).to_bytes(2, "big"), comment]
    missing = size - len(jpeg) - len(comment) - 4
    while missing > 4:
        length = min(missing - 4, _MAX_COMMENT)
        parts += [b"\xff\xfe", (length + 2).to_bytes(2, "big"), bytes(length)]
        missing -= length + 4
    return b"".join([*parts, jpeg[2:]])


@functools.cache
def _tiny() -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(buffer, "JPEG")
    return buffer.getvalue()


@functools.cache
def _png() -> bytes:
    """Return a 2k PNG of 7 MB, as large as one from the API."""
    from PIL import Image

    smooth = Image.open(io.BytesIO(photograph(2048)))
    grain = Image.effect_noise(smooth.size, 64).convert("RGB")
    buffer = io.BytesIO()
    Image.blend(smooth, grain, 0.12).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _prompt_values(prompt: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"(\w+)=([\d.]+)", prompt)}


class Stub:
    """Answers gRPC and HTTP."""

    def __init__(self) -> None:
        self.base = ""
        self.replies: dict[Any, bytes] = {}

    async def generate(self, request: bytes, context: Any) -> bytes:
        """Answer GenerateImage."""
        from xai_notebook.client import wire

        message = wire.GenerateImageRequest.FromString(request)
        values = _prompt_values(message.prompt)
        image_format = "url" if message.format == wire.ImageFormat.IMG_FORMAT_URL else "base64"
        side, size = int(values.get("side", 1024)), int(values.get("size", 0))
        kind = "png" if values.get("png") else "jpeg"
        key = (message.n, image_format, side, size, values.get("wait", 0.0), kind)
        if key not in self.replies:
            self.replies[key] = self._prepare(*key)
        if delay := values.get("delay"):
            await asyncio.sleep(delay)
        return self.replies[key]

    def _prepare(
        self, n: int, image_format: str, side: int, size: int, wait: float, kind: str
    ) -> bytes:
        from xai_notebook.client import wire

        images = []
        for number in range(n):
            image = wire.GeneratedImage(respect_moderation=True)
            if image_format == "url":
                image.url = f"{self.base}{side}/{size}/{wait}/{number}.jpg"
            else:
                png = kind == "png"
                data = _png() if png else picture(number, side=side, size=size)
                image.base64 = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
            images.append(image)
        reply = wire.ImageResponse(images=images, model="prepared")
        reply.usage.cost_in_usd_ticks = 0
        return reply.SerializeToString()

    async def serve_file(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer downloads on one connection until it is closed."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                side, size, wait, name = head.split(b" ", 2)[1].decode().strip("/").split("/")
                number = int(name.partition(".")[0])
                data = picture(number, side=int(side), size=int(size))
                await asyncio.sleep(float(wait))
                start = (
                    f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}"
                )
                writer.write(start.encode() + b"\r\n\r\n" + data)
                await writer.drain()
        writer.close()

    async def serve(self) -> None:
        """Bind both ports, print them, and serve until killed."""
        import grpc

        files = await asyncio.start_server(self.serve_file, "127.0.0.1", 0)
        self.base = f"http://127.0.0.1:{files.sockets[0].getsockname()[1]}/"
        handler = grpc.unary_unary_rpc_method_handler(self.generate)
        server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("xai_api.Image", {"GenerateImage": handler}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print(f"{port} {self.base}", flush=True)
        await server.wait_for_termination()


@contextlib.contextmanager
def started() -> Iterator[tuple[str, str]]:
    """Run the server as a process; yield its gRPC address and the base of its URLs."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True) as process:
        try:
            port, base = (process.stdout or sys.stdin).readline().split()
            yield f"localhost:{port}", base
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(Stub().serve())

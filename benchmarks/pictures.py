"""Time and bytes to show, save and export pictures, compared with PIL and plain files."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import itertools
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import stub
from bench import Row, absolute, compare, versus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench import Plan
    from xai_notebook.pictures.results import ImageBatch

__all__ = ["export", "notebook", "show"]

PIL = "IPython.display of PIL images"


def _batch(count: int, side: int, start: int = 0) -> ImageBatch:
    from xai_notebook.client.request import ImageRequest
    from xai_notebook.pictures.picture import Picture
    from xai_notebook.pictures.results import GeneratedImage, ImageBatch

    request = ImageRequest(prompt="a red fox in fresh snow", model="prepared", n=count)
    return ImageBatch(
        GeneratedImage(
            Picture(
                request=request,
                size=(side, side),
                model="prepared",
                media_type="image/jpeg",
                cached=stub.picture(start + number, side=side),
            ),
            index=number,
        )
        for number in range(count)
    )


class NotebookWriter:
    """Formats outputs as a kernel does, and saves them in a notebook."""

    def __init__(self, folder: Path) -> None:
        from IPython.core.interactiveshell import InteractiveShell

        self.format = InteractiveShell.instance().display_formatter.format
        InteractiveShell.instance().kernel = object()  # type: ignore[attr-defined]  # a notebook
        self.file = folder / "shown.ipynb"

    def ours(self, batches: Sequence[ImageBatch]) -> int:
        """Save the outputs of batches, one cell each; return the size of the notebook in bytes."""
        return self._save([[self.format(batch)[0]] for batch in batches])

    def pil(self, batches: Sequence[ImageBatch]) -> int:
        """Save the same pictures, displayed as PIL images."""
        from PIL import Image

        return self._save(
            [
                [self.format(Image.open(io.BytesIO(image.data)))[0] for image in batch]
                for batch in batches
            ]
        )

    def _save(self, cells: list[list[dict[str, Any]]]) -> int:
        import nbformat
        from nbformat import v4

        book = v4.new_notebook(
            cells=[
                v4.new_code_cell(
                    outputs=[v4.new_output("display_data", data=_text(data)) for data in outputs]
                )
                for outputs in cells
            ]
        )
        text = nbformat.writes(book)
        self.file.write_text(text, encoding="utf-8")
        return len(text.encode())

    def reopen(self) -> None:
        """Read the notebook as a server does."""
        import nbformat

        nbformat.validate(nbformat.reads(self.file.read_text(encoding="utf-8"), as_version=4))


def _text(bundle: dict[str, Any]) -> dict[str, str]:
    """Return a bundle as a kernel sends it: bytes in base64."""
    return {
        kind: base64.b64encode(data).decode() if isinstance(data, bytes) else data
        for kind, data in bundle.items()
    }


def show(plan: Plan) -> list[Row]:
    """Show and save four 2k images."""
    with tempfile.TemporaryDirectory() as folder:
        writer = NotebookWriter(Path(folder))
        batches = [_batch(4, 2048)]
        ours, theirs = compare(
            plan.at_most(7), lambda: writer.ours(batches), lambda: writer.pil(batches)
        )
        size, full = writer.ours(batches), writer.pil(batches)
    work = "show and save four 2k images"
    return [
        versus(f"{work}: bytes", PIL, [size], [full], limit=1 / 50, unit="bytes"),
        versus(f"{work}: time", PIL, ours, theirs, limit=1 / 5),
        absolute("four 2k images in a notebook", [size], "bytes", limit=400_000),
    ]


def notebook(plan: Plan) -> list[Row]:
    """Save and reopen a notebook with 100 pictures, ten in each cell."""
    cells = plan.size(100) // 10
    with tempfile.TemporaryDirectory() as folder:
        writer = NotebookWriter(Path(folder))
        batches = [_batch(10, 1024, number * 10) for number in range(cells)]
        measured = []
        for save in (writer.ours, writer.pil):
            save([_batch(1, 1024)])  # warm up: lazy imports
            (saving,) = compare(1, functools.partial(save, batches), warm=0)
            (opening,) = compare(plan.at_most(3), writer.reopen, warm=0)
            measured.append(([float(writer.file.stat().st_size)], saving, opening))
    ours, theirs = measured
    names = ("bytes", "show and save", "reopen")
    units = ("bytes", "s", "s")
    return [
        versus(f"notebook with {cells * 10} pictures: {name}", PIL, one, other, unit=unit)
        for name, unit, one, other in zip(names, units, ours, theirs, strict=True)
    ]


def export(plan: Plan) -> list[Row]:
    """Write the pictures of a large batch into a folder, with and without metadata."""
    from dataclasses import replace

    count = plan.size(2_000)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "originals")
        home.mkdir()
        images = []
        for number, image in enumerate(_batch(count, 64)):
            data = stub.picture.__wrapped__(number, size=300_000)
            file = home / f"{number}.jpg"
            file.write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            picture = replace(image.picture, cached=None, file=file, sha256=digest)
            images.append(replace(image, picture=picture, row=number, key=f"picture {number}"))
        batch = type(_batch(1, 64))(images)
        numbers = itertools.count()

        def plain() -> None:
            target = Path(folder, f"{next(numbers)}")
            target.mkdir()
            for image in batch:
                (target / f"{image.key}.jpg").write_bytes(image.data)

        def ours(**options: Any) -> None:
            batch.export(Path(folder, f"{next(numbers)}"), name="{key}", **options)

        ways: list[Callable[[], None]] = [
            ours, functools.partial(ours, metadata=False, manifest="metadata.csv"), plain,
        ]  # fmt: skip
        times: list[list[float]] = [[] for _ in ways]
        for number in range(plan.at_most(5)):
            for index in (0, 1, 2)[:: 1 if number % 2 else -1]:
                os.sync()  # so that none waits for the writes of another
                begun = time.perf_counter()
                ways[index]()
                times[index].append(time.perf_counter() - begun)
                shutil.rmtree(Path(folder, f"{next(numbers) - 1}"))
    work = f"export {count:,} pictures of 300 kB"
    rival = "a loop of Path.write_bytes, without a sync"
    return [
        versus(f"{work}, with metadata", rival, times[0], times[2], limit=2.0),
        versus(f"{work}, with a manifest", rival, times[1], times[2], limit=2.0),
    ]

"""The results of `generate`: `GeneratedImage`, `ImageBatch`, and their pickle format.

Originals that the library stores stay on disk, so ten thousand images take a few megabytes of
memory. Reading `.pil` decodes the image; importing this module loads neither PIL nor NumPy.
"""

from __future__ import annotations

import math
import os.path
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, Any, Final, Protocol, overload
from weakref import WeakValueDictionary

from xai_notebook.client.request import ImageRequest, InputImage
from xai_notebook.errors import OptionError, XaiError
from xai_notebook.frontend import SavedPath, in_streamlit
from xai_notebook.pictures.export import export_bytes, export_images
from xai_notebook.pictures.frames import HtmlShown, Tabular
from xai_notebook.pictures.picture import HIDDEN, Card, Grid, Picture, label_text
from xai_notebook.pictures.render.grid import mimebundle, page_html, plain_text
from xai_notebook.pictures.render.text import first_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import numpy as np
    from PIL import Image

    from xai_notebook.pictures.render.previews import Previews


class PictureHistory(Protocol):
    """Methods of a session's history that images and batches use."""

    def lineage(self, image: GeneratedImage) -> ImageBatch:
        """Return the images from which an image was made."""

    def mark(
        self,
        images: Sequence[GeneratedImage],
        *,
        starred: bool | None = None,
        tag: str | None = None,
        untag: str | None = None,
        deleted: bool | None = None,
    ) -> None:
        """Star, tag, delete or restore images."""

    def annotation(self, image: GeneratedImage) -> Any:
        """Return the star and the tags of an image."""


class Maker(Protocol):
    """Methods of a session that images and batches use."""

    @property
    def history(self) -> PictureHistory:
        """The images of the library."""

    def generate(self, prompt: str | None = None, **given: Any) -> Any:
        """Make images and wait for them."""

    def redo(self, batch: ImageBatch, indices: Sequence[int]) -> ImageBatch:
        """Return the batch with some of its images generated again."""

    def retry(self, batch: ImageBatch) -> ImageBatch:
        """Return the batch with its failed and unsent images generated."""


class Annotatable(ABC):
    """Star, tag, delete and restore one image or a batch."""

    @abstractmethod
    def _mark(self, **marks: Any) -> None:
        """Change the annotations of all images."""

    def star(self, *, value: bool = True) -> None:
        """Star the images; `value=False` removes the star.

        Raises:
            LibraryError: The image is not in a library, or the library cannot be written to.
        """
        self._mark(starred=value)

    def tag(self, tag: str) -> None:
        """Add a tag of one or more words; the library can be searched by tags.

        Raises:
            OptionError: The tag is empty or has invalid characters.
            LibraryError: See `star`.
        """
        self._mark(tag=tag)

    def untag(self, tag: str) -> None:
        """Remove a tag.

        Raises:
            OptionError: The tag is empty or has invalid characters.
            LibraryError: See `star`.
        """
        self._mark(untag=tag)

    def delete(self) -> None:
        """Move the image to the trash; the library no longer replays it.

        Images are deleted after 30 days in the trash, or by `xai_notebook.empty_trash()`. Until
        then, `restore` brings the image back.

        Raises:
            LibraryError: See `star`.
        """
        self._mark(deleted=True)

    def restore(self) -> None:
        """Move the image out of the trash.

        Raises:
            LibraryError: See `star`.
        """
        self._mark(deleted=False)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class GeneratedImage(Annotatable, HtmlShown, Card):
    """One image of a reply, or the reason why it is missing; immutable.

    An image also has the attributes of its picture: `request`, `status`, `error`,
    `model`, `rewritten_prompt`, `rewritten_by`, `cost_usd`, `size`, `media_type`, `created`,
    `replayed`, `notes`, `sha256`, `file`, `id`, `public_url`, `public_url_expires` and `bundle`.

    Attributes:
        picture: Data of the image, from a reply or from the library.
        index: Index among the images of the same request in this batch.
        chosen: The value of each axis of a comparison for this image.
        row: With `each`, the label of the row in the index of its table, or its position from 0.
        key: With `key`, the row's value in that column.
        exported: The file that the last export wrote.
        maker: The session that made or loaded the image; `edit` and `lineage` use it.
        item: What `retry` needs to make the image again; not part of a pickle.
    """

    maker: Maker | None = None
    item: Any = field(default=None, repr=False)

    @property
    def pil(self) -> Image.Image:
        """A new, decoded PIL image; `size` and `media_type` do not need decoding.

        Raises:
            ReplyError: The image is missing, or its bytes are damaged.
        """
        from xai_notebook.pictures.pixels import load_image  # noqa: PLC0415  # PIL costs 24 ms

        return load_image(self.data)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        """Return the pixels as a NumPy array: height × width × 3, uint8, upright, on white.

        Raises:
            ReplyError: See `pil`.
            ValueError: `copy` is False, but every call decodes the pixels into a new array.
        """
        import numpy as np  # noqa: PLC0415  # optional, but installed if NumPy calls this

        from xai_notebook.pictures.pixels import load_rgb  # noqa: PLC0415  # PIL costs 24 ms

        if copy is False:
            raise ValueError("The pixels of an image can only be returned as a copy.")
        return np.array(load_rgb(self.data), dtype=dtype)

    def edit(self, prompt: str, **options: Any) -> ImageBatch:
        """Edit this image, and wait for the new images.

        Args:
            prompt: The change to make.
            **options: Options of `xai_notebook.generate`.

        Raises:
            XaiError: See `xai_notebook.generate`.
        """
        batch: ImageBatch = self._require_maker().generate(prompt, image=[self], **options)
        return batch

    @property
    def lineage(self) -> ImageBatch:
        """The images from which this image was made, oldest first, then the image itself.

        Raises:
            LibraryError: The library cannot be opened.
        """
        return self._require_maker().history.lineage(self)

    @property
    def starred(self) -> bool:
        """Whether the image has a star in the library; reads the library.

        Raises:
            LibraryError: See `star`.
        """
        return bool(self._require_maker().history.annotation(self).starred)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of the image in alphabetical order; reads the library.

        Raises:
            LibraryError: See `star`.
        """
        return tuple(self._require_maker().history.annotation(self).tags)

    @property
    def spent_usd(self) -> float | None:
        """What the call spent on the image in US dollars; 0 for a stored image, None if unknown."""
        return 0.0 if self.replayed else self.cost_usd

    def _mark(self, **marks: Any) -> None:
        self._require_maker().history.mark((self,), **marks)

    def _require_maker(self) -> Maker:
        if self.maker is None:
            raise XaiError("This image was not made by a session; use xai_notebook.generate().")
        return self.maker

    def export(
        self,
        folder: str | Path | None = None,
        *,
        metadata: bool = True,
        name: str | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write the original into a folder and return the new file's path.

        Args:
            folder: Default: the notebook's folder. A relative path is inside the notebook's folder.
            metadata: Add the prompt, the model and the kind of source as XMP.
            name: Pattern of the file name; see `ImageBatch.export`.
            overwrite: Replace a file of this name; see `ImageBatch.export`.

        Raises:
            OptionError: The pattern is invalid.
            ExportError: The file cannot be written. The image is not affected.
            ReplyError: The original is gone.
        """
        if self.cached is None and self.picture.held is None and self.file is None:
            self.data  # noqa: B018  # raises the reason why there is no original
        (path,) = export_images((self,), folder, metadata=metadata, name=name, overwrite=overwrite)
        return path

    def __reduce__(self) -> tuple[Any, ...]:
        return open_image, (VERSION, _pack_image(self), self.maker)

    def __copy__(self) -> GeneratedImage:
        return self  # immutable

    def __deepcopy__(self, memo: object) -> GeneratedImage:
        return self

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        about = (self.request.content, self.index, self.chosen, self.status, self.error)
        return ("xai_notebook.GeneratedImage", self.sha256, self.created.isoformat(), *about)

    def __repr__(self) -> str:
        prompt = first_words(self.prompt, 60)
        size = f" {self.size[0]}x{self.size[1]}" if self.size else ""
        return f"<GeneratedImage {self.index} {self.status}{size} {prompt!r}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return ImageBatch([self])._repr_mimebundle_(include, exclude)

    def _repr_html_(self) -> str:
        return ImageBatch([self])._repr_html_()


_COLUMNS: Final[Mapping[str, type]] = {
    "row": object, "key": object, "image": int, "prompt": str, "rewritten_prompt": str,
    "status": str, "error": str, "path": str, "exported": str, "id": str, "created": datetime,
    "sha256": str, "model": str, "cost_usd": float, "spent_usd": float, "replayed": bool,
}  # fmt: skip
"""The columns of `ImageBatch.to_frame`, and the types of their values."""


class _FieldsOutsideStreamlit:
    """The fields of `Grid`, except in Streamlit, whose `st.write` shows the help of a dataclass."""

    def __get__(self, instance: object, owner: type) -> dict[str, Any]:
        if in_streamlit():
            raise AttributeError("__dataclass_fields__")
        return {each.name: each for each in fields(Grid)}


class ImageBatch(Annotatable, HtmlShown, Grid, Tabular, Sequence[GeneratedImage]):
    """The images of one cell, in order; immutable. Notebooks show a grid with captions."""

    images: tuple[GeneratedImage, ...]
    _schema = _COLUMNS
    __dataclass_fields__ = _FieldsOutsideStreamlit()

    def __init__(
        self,
        images: Iterable[GeneratedImage] = (),
        *,
        notes: Iterable[str] = (),
        undrawn: Callable[[], None] | None = None,
        **shown: Any,
    ) -> None:
        """Create a batch.

        Args:
            images: The images, in the order of their requests and indices.
            notes: Notes for the user, one line each.
            undrawn: Called when rendering the grid fails.
            **shown: Display settings; see `Grid`.
        """
        super().__init__(images=tuple(images), notes=tuple(notes), **shown)
        self.undrawn = undrawn

    def __len__(self) -> int:
        return len(self.images)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        """Return a NumPy array of image objects, since the sizes of the images can differ.

        Raises:
            TypeError: Another dtype than `object` is requested; all images would be decoded.
            ValueError: `copy` is False.
        """
        import numpy as np  # noqa: PLC0415  # optional, but installed if NumPy calls this

        if copy is False:
            raise ValueError("The images of a batch can only be returned as a copy.")
        if dtype is not None and np.dtype(dtype) != object:
            raise TypeError(
                "A batch is an array of images. Use numpy.stack([numpy.asarray(i) for i in batch])."
            )
        images = np.empty(len(self), object)
        for position, image in enumerate(self):  # `images[:] = ` would decode every image
            images[position] = image
        return images

    @overload
    def __getitem__(self, index: int) -> GeneratedImage: ...
    @overload
    def __getitem__(self, index: slice | str) -> ImageBatch: ...
    def __getitem__(self, index: int | slice | str) -> GeneratedImage | ImageBatch:
        """Return an image by its index, or a batch by a slice or by the key of a row.

        `batch["SKU-17"]` is the batch of all images of the row with this key.
        """
        if isinstance(index, slice):
            return self.shown(images=self.images[index])
        if isinstance(index, str):
            if (found := self._by_key.get(index)) is None:
                raise KeyError(f"no row has the key {index!r}.{_hint(index, [*self._by_key])}")
            return self.shown(images=found)
        try:
            return self.images[index]
        except IndexError:
            raise IndexError(f"there is no image {index}; the batch has {len(self)}") from None

    @cached_property
    def _by_key(self) -> dict[str, list[GeneratedImage]]:
        """The images of each row that has a key, by the key's text."""
        found: dict[str, list[GeneratedImage]] = {}
        for image in self.images:
            if image.key is not None:
                found.setdefault(str(image.key), []).append(image)
        return found

    def __add__(self, other: ImageBatch) -> ImageBatch:
        if not isinstance(other, ImageBatch):
            return NotImplemented
        return ImageBatch(self.images + other.images, full=self.full or other.full)

    @property
    def cost_usd(self) -> float | None:
        """What these images cost when they were made, in US dollars; None if a cost is unknown."""
        return _sum(image.cost_usd for image in self.images)

    @property
    def spent_usd(self) -> float | None:
        """What the call spent on these images in US dollars; None if a cost is unknown.

        Stored images that were shown again cost nothing.
        """
        return _sum(image.spent_usd for image in self.images)

    def _mark(self, **marks: Any) -> None:
        if self.images:
            self[0]._require_maker().history.mark(self.images, **marks)  # noqa: SLF001  # same module

    def redo(self, *indices: int | str) -> ImageBatch:
        """Return the batch with some of its images generated again; the others stay the same.

        Later runs of the cell return the new image instead of the old image, which stays in the
        library. The same call in another kernel returns the same new images, free of charge.

        Args:
            *indices: Indices of images, such as 3 for `batch[3]`, or keys of rows.

        Raises:
            OptionError: An index is out of range, or the image cannot be requested again.
            KeyError: No row has this key.
            XaiError: See `xai_notebook.generate`.
        """
        if not indices:
            return self
        positions = {id(image): position for position, image in enumerate(self.images)}
        from_start: list[int] = []
        index: Any
        for index in indices:
            if isinstance(index, str):
                from_start += [positions[id(image)] for image in self[index]]
            elif not isinstance(index, bool) and isinstance(index, Integral):
                from_start.append(int(index) + (len(self) if index < 0 else 0))
            else:
                raise OptionError(
                    f"redo() takes whole numbers and keys of rows, not {index!r}. Give several as "
                    "redo(0, 3)."
                )
        return self[0]._require_maker().redo(self, from_start)  # noqa: SLF001  # same module

    def retry(self) -> ImageBatch:
        """Return the batch with the images of `failed` requested again; the others stay the same.

        Rows keep their places in the batch, and a second call for the same batch returns the same
        images at no cost. Images that arrived are not paid for again; of a row
        whose reply was incomplete, only the missing images are requested. A failed request whose
        card says that it may have been billed is sent again, too.

        Raises:
            OptionError: The batch comes from a pickle or from the library, which do not store how
                to make the failed images.
            XaiError: See `xai_notebook.generate`.
        """
        if not len(self.failed):
            return self
        return self[0]._require_maker().retry(self)  # noqa: SLF001  # same module

    @property
    def failed(self) -> ImageBatch:
        """A batch of the images that `retry` requests again: failed, missing or not sent."""
        return self.filter(lambda image: image.status in RETRIED)

    def filter(self, keep: Callable[[GeneratedImage], bool]) -> ImageBatch:
        """Return a batch of the images for which `keep(image)` is true."""
        return self.shown(images=filter(keep, self.images))

    @property
    def ok(self) -> ImageBatch:
        """A batch of the images whose status is `"ok"`."""
        return self.filter(lambda image: image.status == "ok")

    def export(
        self,
        folder: str | Path | None = None,
        *,
        metadata: bool = True,
        name: str | None = None,
        overwrite: bool = False,
        manifest: str | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> list[Path]:
        """Write the original of every image that has one into a folder; return the paths, in order.

        All names are checked before the first file is written. Each file is complete or absent,
        also after an interrupt.

        Args:
            folder: Default: the notebook's folder. A relative path is inside the notebook's folder.
            metadata: Add the prompt, the model and the kind of source as XMP.
            name: Pattern of the file names, without an extension, such as `"{key}"`,
                `"{prompt}-{n}"` or `"{key}/{n}"`. `{key}` and `{row}` are the key and the label of
                the table's row; `{n}` is the number of the picture in its row, or in the batch
                without a table, from 1; `{prompt}` is the prompt's letters and digits; `{id}` is
                the first 8 digits of the original's digest; `{date}` is the local day. Write `{{`
                and `}}` for braces. Without `{n}`, several pictures of a row get `-1`, `-2` and so
                on. A key or label that cannot be part of a file name, such as `a/b`, and two
                pictures with the same name are refused; upper and lower case count as the same.
                Default: day, prompt and digest.
            overwrite: Replace existing files of the same names, and the manifest. An earlier
                picture of the name in another format, such as `a.png` for `a.jpg`, is removed if
                the manifest lists it, or if it has the metadata of an export. By default, nothing
                is overwritten: a new file gets `-2`, `-3` and so on.
            manifest: Also write a table of the files into the folder: `"metadata.csv"`,
                `"metadata.jsonl"` or `"metadata.parquet"`, which ImageFolder of `datasets` reads,
                or another name with one of these extensions. With `overwrite`, rows of other files
                that still exist are kept.
            progress: Called with the numbers of finished images and of all images. By default,
                a long export shows them on standard error.

        Raises:
            OptionError: The pattern is invalid.
            ExportError: A name is impossible, or a file cannot be written. The images are not
                affected.
            ReplyError: The original of an image is gone. The other images and the manifest have
                been written.
        """
        return export_images(
            self.ok.images, folder, metadata=metadata, name=name, overwrite=overwrite,
            manifest=manifest, every=self.images, progress=progress,
        )  # fmt: skip

    def contact_sheet(
        self, *, columns: int | None = None, max_pixels: int = 24_000_000
    ) -> Image.Image:
        """Return all pictures on one labelled sheet, as a PIL image.

        Args:
            columns: Pictures per row; None chooses by the number of pictures.
            max_pixels: The sheet is scaled down to this many pixels.

        Raises:
            MissingImageError: No image has a picture.
        """
        from xai_notebook.pictures.render.contact_sheet import draw_sheet  # noqa: PLC0415  # PIL

        return draw_sheet(self, columns=columns, max_pixels=max_pixels)

    def export_sheet(
        self, folder: str | Path | None = None, *, max_pixels: int = 24_000_000
    ) -> Path:
        """Write the contact sheet as a JPEG into a folder and return its path.

        Args:
            folder: Default: the notebook's folder. A relative path is inside the notebook's folder.
            max_pixels: The sheet is scaled down to this many pixels.

        Raises:
            ExportError: The file cannot be written.
            MissingImageError: No image has a picture.
        """
        from xai_notebook.pictures.pixels import encode  # noqa: PLC0415  # PIL costs 24 ms

        sheet = self.contact_sheet(columns=self.columns, max_pixels=max_pixels)
        return export_bytes(encode(sheet, "JPEG", quality=88), "contact-sheet.jpg", folder)

    def to_records(self) -> list[dict[str, Any]]:
        """Return one dict per image, and one per row of a table that has no image.

        `to_frame` returns the same as a DataFrame. With `each=table`, its pandas index consists of
        the labels of the table's rows: `table.join(batch.to_frame()[["status", "path"]])`.

        The keys are:

        - `row`: label of the row in the index of the table of `each`, or its position from 0; text
          if the index has several levels; None without a table
        - `key`: the row's value in the column `key`
        - `image`: index of the image among those of its request
        - `prompt`, `rewritten_prompt`, `model`
        - `status`: `"ok"`, `"moderated"`, `"failed"`, `"missing"` (from the reply), `"unsent"`,
          `"skipped"` (the row is blank), `"pending"` or `"damaged"`; `error` says why
        - `path`: the original in the library, as text
        - `exported`: the file that the last export wrote, as text
        - `id`: id for `--image`, such as `"@37ab22b5"`
        - `sha256`: digest of the original; `created`: arrival of the reply, in UTC
        - `cost_usd`: what the image cost when it was made; None if not reported
        - `spent_usd`: what this call spent on it; 0 for a stored image
        - `replayed`: whether a stored image answered
        """
        return [_record(image) for image in self.images]

    def _labels(self) -> Any:
        rows = [image.row for image in self.images]
        if not rows or any(row is None for row in rows):
            return None
        # An index and a column with the same name would be ambiguous in pandas.
        names = [None if name in _COLUMNS else name for name in self.index_names]
        if not any(name is not None for name in names):
            return rows
        import pandas as pd  # noqa: PLC0415  # optional; the table came from it

        if len(names) > 1:
            return pd.MultiIndex.from_tuples(rows, names=names)
        return pd.Index(rows, name=names[0])

    def shown(self, images: Iterable[GeneratedImage] | None = None, **changes: Any) -> ImageBatch:
        """Return the batch with other display settings, such as `columns`, `full` or `limit`.

        Args:
            images: New images; the name, the notes and the summary are dropped.
            **changes: New values for settings of `Grid`.
        """
        settings = _settings(self)
        if images is not None:
            settings |= {"images": images, "name": None, "notes": (), "summary": None}
        return ImageBatch(**settings | changes)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_batch, (VERSION, _settings(self))

    def __copy__(self) -> ImageBatch:
        return self  # immutable

    def __deepcopy__(self, memo: object) -> ImageBatch:
        return self

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return ("xai_notebook.ImageBatch", tuple(_settings(self).items()))

    def __repr__(self) -> str:
        return plain_text(self)

    def bundle(self, previews: Previews | None = None) -> dict[str, Any]:
        """Return the representations for a notebook, by MIME type; reuse existing `previews`."""
        return self._repr_mimebundle_(previews=previews)

    def _repr_mimebundle_(
        self, include: Any = None, exclude: Any = None, *, previews: Previews | None = None
    ) -> dict[str, Any]:
        del include, exclude
        with self._drawing():
            return mimebundle(self, previews)

    def _repr_html_(self) -> str:
        with self._drawing():
            return page_html(self)

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            if self.undrawn is not None:  # IPython shows a traceback, and the cell still succeeds
                self.undrawn()
            raise


RETRIED: Final = frozenset({"failed", "missing", "unsent"})
"""Statuses of images that `ImageBatch.retry` requests again."""


def _record(image: GeneratedImage) -> dict[str, Any]:
    """Return the values of `ImageBatch.to_records` for one image."""
    values: dict[str, Any] = {name: getattr(image, name, None) for name in _COLUMNS}
    row = image.row
    return values | {
        # Parquet files cannot store the tuples of an index with several levels.
        "row": label_text(row) if isinstance(row, tuple) else row,
        "image": image.index,
        "path": None if image.file is None else str(image.file),
        "exported": None if image.exported is None else str(image.exported),
        "id": None if image.sha256 is None else f"@{image.sha256[:8]}",
        "created": image.created if image.settled else None,
        "model": None if image.status in HIDDEN else image.model,
    }


def _sum(amounts: Iterable[float | None]) -> float | None:
    """Return the sum; None if an amount is unknown."""
    known = [*amounts]
    return None if None in known else math.fsum(each for each in known if each is not None)


def _hint(key: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415  # only for messages

    if not known:
        return " The batch has no keys; name their column with key=."
    near = get_close_matches(key, known, n=1)
    return f" Did you mean {near[0]}?" if near else ""


def _settings(grid: Grid) -> dict[str, Any]:
    return {field.name: getattr(grid, field.name) for field in fields(Grid)}


# Pickling: plain data, and the functions that load it

VERSION: Final = 1
"""Version of the data in a pickle."""
_TIMES: Final = ("created", "public_url_expires")
_FILES: Final = ("file", "exported")
_IN_PROCESS: Final = ("cached", "held")
"""Fields with which this process finds the original; a pickle contains the bytes instead."""
_ON_CARD: Final = ("index", "chosen", "row", "key", "exported")


class _Original:
    """The bytes of an original. Images with the same original share one copy in a pickle."""

    __slots__ = ("__weakref__", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> tuple[Any, ...]:
        return bytes, (self.data,)


_originals: Final[WeakValueDictionary[str, _Original]] = WeakValueDictionary()
"""Originals by digest. A pickler keeps each object that it has written alive until it is done."""


def check_version(version: int) -> None:
    """Raise an error if a later version wrote the pickle."""
    if version > VERSION:
        raise XaiError(
            f"This pickle was written by a newer version of xai-notebook (format {version}; this "
            f"one reads up to {VERSION}). Update it: pip install --upgrade xai-notebook."
        )


def open_image(version: int, values: Mapping[str, Any], maker: Maker | None) -> GeneratedImage:
    """Load an image from a pickle, which stores the name of this function and plain data."""
    check_version(version)
    opened = dict(values) | {"cached": values["data"]}
    opened["request"] = unpack_request(values["request"])
    for name in _TIMES:
        opened[name] = opened[name] and datetime.fromisoformat(opened[name])
    for name in _FILES:  # paths from another computer are dropped
        exists = opened[name] and os.path.isfile(opened[name])  # noqa: PTH113  # raises nothing
        opened[name] = SavedPath(opened[name]) if exists else None
    on_card = {name: opened[name] for name in _ON_CARD if name in opened}
    return GeneratedImage(Picture(**_known(Picture, opened)), **on_card, maker=maker)


def open_batch(version: int, values: Mapping[str, Any]) -> ImageBatch:
    """Load a batch from a pickle, which stores the name of this function; see `open_image`."""
    check_version(version)
    return ImageBatch(**_known(Grid, values))


def pack_request(request: ImageRequest) -> dict[str, Any]:
    """Return a request as plain data, including its input images."""
    return asdict(request)


def unpack_request(values: Mapping[str, Any]) -> ImageRequest:
    """Return the request from the data of `pack_request`."""
    inputs = tuple(InputImage(**_known(InputImage, source)) for source in values["inputs"])
    return ImageRequest(**_known(ImageRequest, values) | {"inputs": inputs})


def _known(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a dataclass's fields; drop fields that a later version has added."""
    names = {field.name for field in fields(cls)}
    return {name: value for name, value in values.items() if name in names}


def _pack_image(image: GeneratedImage) -> dict[str, Any]:
    """Return an image as plain data, with the status `"missing"` if its original is gone."""
    names = [*(field.name for field in fields(Picture)), *_ON_CARD]
    values = {name: getattr(image, name) for name in names if name not in _IN_PROCESS}
    for name in _TIMES:
        values[name] = values[name] and values[name].isoformat()
    for name in _FILES:
        values[name] = values[name] and str(values[name])
    values |= {"request": pack_request(image.request), "data": None}
    if image.cached is not None or image.picture.held is not None or image.file is not None:
        digest = image.sha256 or ""
        try:
            original = _originals.get(digest) or _Original(image.data)
            values["data"] = _originals.setdefault(digest, original) if digest else original
        except XaiError as error:
            values |= {"status": "missing", "error": str(error)}
    return values

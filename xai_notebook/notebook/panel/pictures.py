"""The pictures of a panel, as the browser asks for them: those to edit, and those it has made."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.errors import MetadataError, MissingImageError, XaiError
from xai_notebook.frontend import is_for_visitors
from xai_notebook.library.catalog import Mark, Shelved
from xai_notebook.notebook.panel import gallery, inputs
from xai_notebook.notebook.panel.face import Face
from xai_notebook.notebook.panel.form import like
from xai_notebook.notebook.viewing.actions import image_of
from xai_notebook.notebook.viewing.answers import explain
from xai_notebook.pictures.xmp import read_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.notebook.panel.form import Form
    from xai_notebook.notebook.panel.uploads import Uploads
    from xai_notebook.pictures.results import GeneratedImage

__all__ = ["Pictures"]

TAKEN: Final = "a picture from the library"


class Pictures(Face):
    """A panel without its generations."""

    _form: Form
    _album: gallery.Album
    _tray: inputs.Tray
    _uploads: Uploads

    def _write_cell(self) -> None:
        """Keep the equivalent cell current."""
        raise NotImplementedError

    async def _on_upload(self, content: Mapping[str, Any], part: bytes) -> None:
        """Take a part of a file; what was dropped beside the inputs may bring its request."""
        key, name = content["id"], content["name"]
        reply = {"kind": "input", "id": key, "error": "", "note": ""}
        try:
            data = self._uploads.add(key, part, content["parts"])
            if data is None:
                return
            used = {item["id"] for item in self.form["inputs"]}
            reply["note"] = await asyncio.to_thread(self._tray.upload, key, name, data, used)
        except XaiError as error:
            reply["error"] = explain(error)
        self.send(reply)
        if content["restore"] and not reply["error"]:
            await self._restore(key, name)
        self._write_cell()

    async def _restore(self, key: str, name: str) -> None:
        """Fill the form with the request that an exported file tells of, if it does."""
        file = self._tray.sources[key].file
        try:
            found = None if file is None else await asyncio.to_thread(read_metadata, file)
        except MetadataError:
            return
        if found is not None:
            note = f"The form asks for what made {name}."
            await self._fill(found.request, note, trusted=False, upload=key)

    async def _on_use(self, content: Mapping[str, Any]) -> None:
        """Fill the form with what made a picture; `words`: with its rewritten prompt, as text."""
        image = self._image(content["id"])
        words = image.rewritten_prompt if content["words"] else None
        note = f"The form asks for {'the rewritten words' if words else 'what made this picture'}."
        await self._fill(image.request, note, words=words)

    def _image(self, key: str) -> GeneratedImage:
        """Return the picture of a card.

        Raises:
            MissingImageError: There is no such card.
        """
        image = self._album.images.get(key)
        if image is None:
            raise MissingImageError("This picture is not in the panel. Run the panel's cell again.")
        return image

    async def _fill(
        self,
        request: ImageRequest,
        note: str,
        *,
        words: str | None = None,
        trusted: bool = True,
        **more: Any,
    ) -> None:
        """Send the form what asks for a request again, and a sentence about it."""
        values, lost = await self._like(request, words, trusted=trusted)
        self.send({"kind": "fill", "form": values, "note": f"{note} {lost}".strip(), **more})

    async def _like(
        self, request: ImageRequest, words: str | None = None, *, trusted: bool = True
    ) -> tuple[dict[str, Any], str]:
        """Return the fields that ask for a request again, and a sentence about what is lost."""
        values = like(request, words, literal=is_for_visitors())
        values["inputs"], lost = await asyncio.to_thread(
            self._tray.like, request.inputs, trusted=trusted
        )
        if not any(model["name"] == request.model for model in self.models):
            model = {"name": request.model, "price": None, "edits": True, "quality": True}
            self.models = [*self.models, model | {"unknown": True}]
        return values, lost

    async def _on_edit(self, content: Mapping[str, Any]) -> None:
        """Make a card's image one to edit, under the name of the card."""
        key, name = content["id"], content["name"]
        if (image := self._album.images.get(key)) is not None:
            self._tray.sources[key] = await asyncio.to_thread(inputs.from_image, image, name)
        self._write_cell()

    async def _on_take(self, content: Mapping[str, Any]) -> None:
        """Make a picture of the library the one to edit."""
        image = await asyncio.to_thread(image_of, content["id"])
        await asyncio.to_thread(self.take, image)

    def take(self, image: GeneratedImage) -> None:
        """Make an image of the library the one to edit, from any thread."""
        source = replace(inputs.from_image(image, TAKEN), data=image.data)
        self.send({"kind": "take", **self._tray.put(source)})

    async def _on_previews(self, content: Mapping[str, Any]) -> None:
        for key in content["ids"]:
            await self._send_preview(key)

    async def _send_preview(self, key: str) -> None:
        """Send a preview; a card without one shows its words."""
        image, source = self._album.images.get(key), self._tray.sources.get(key)
        try:
            if image is not None and image.status == "ok":
                data = await asyncio.to_thread(lambda: gallery.preview_of(image.data))
            elif source is not None and (whole := await asyncio.to_thread(source.preview)):
                data = await asyncio.to_thread(gallery.preview_of, whole)
            else:
                return
        except XaiError:
            return
        self.send({"kind": "preview", "id": key}, [data])

    def _shelved(self, content: Mapping[str, Any]) -> Shelved:
        """Return a picture of the library, or that of a card, which may be in none."""
        if content.get("card") is None:
            return super()._shelved({"id": content["id"] or 0})
        image = self._image(content["card"])
        if image.id is not None:
            with suppress(XaiError):
                return super()._shelved({"id": image.id})
        return Shelved(image, Mark(), "", None)

    async def _tell(self, ids: list[int]) -> None:
        """Pass on what was said of pictures; cards show it, too."""
        await super()._tell(ids)
        self.cards = await asyncio.to_thread(self._album.marked, self.cards)

    async def _on_save(self, content: Mapping[str, Any]) -> None:
        """Write images into the notebook's folder."""
        metadata = self._form.hidden.get("metadata", self._form.configured.get("metadata", True))
        keys = [key for key in content["ids"] if key in self._album.images]
        done = await asyncio.to_thread(self._album.save, keys, metadata=metadata)
        self.cards = [card | done.changes.get(card["id"], {}) for card in self.cards]
        self.saved = done.note
        self._say(done.said)

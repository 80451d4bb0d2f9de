"""Single pictures made anew in their places; the others stay as they are.

A picture made anew is stored at the place of the one before it, so that it is what its cell shows
from then on. Restart and Run All makes nothing: the k-th time that one pass asks for it anew, what
was made last answers, if it has been made anew so often before.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from xai_notebook.errors import OptionError
from xai_notebook.generation.claims import Claim
from xai_notebook.generation.generator import Placed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xai_notebook.generation.generator import Generator
    from xai_notebook.library import Library
    from xai_notebook.library.records import Slot
    from xai_notebook.pictures.picture import Picture

__all__ = ["redo"]


class _Anew(NamedTuple):
    """A picture to be made anew.

    Attributes:
        number: In the user's batch.
        picture: The one before it.
        slot: Their place.
    """

    number: int
    picture: Picture
    slot: Slot


async def redo(pictures: Mapping[int, Picture], generator: Generator) -> dict[int, Picture]:
    """Make pictures anew and return them, or what has been made anew for this pass before.

    Args:
        pictures: By their indices in the user's batch.
        generator: Of the call.

    Raises:
        OptionError: One is not in the library, or was made elsewhere.
        XaiError: A request failed. What others brought is in the library.
    """
    library = generator.keeper.library
    if library is None:
        raise OptionError("A picture can be made anew only with a library, which knows its place.")
    chosen = await asyncio.to_thread(_find_slots, pictures, generator, library)
    missing: dict[tuple[str, int], list[_Anew]] = {}
    done = {}
    for one in chosen:
        if await _has_to_be_made(one, generator, library):
            missing.setdefault((one.slot.fingerprint, one.slot.place), []).append(one)
        else:
            done[one.number] = one.picture
    made = await asyncio.gather(
        *(_make(group, generator) for group in missing.values()), return_exceptions=True
    )
    for found in made:
        if isinstance(found, BaseException):
            raise found
        done |= found
    return done


def _find_slots(
    pictures: Mapping[int, Picture], generator: Generator, library: Library
) -> list[_Anew]:
    """Return where pictures belong.

    Raises:
        OptionError: One is not in the library, or was made elsewhere.
    """
    peer = generator.peer
    found = []
    for index, picture in pictures.items():
        slot = None if picture.id is None else library.slot_of(picture.id)
        if slot is None:
            raise OptionError(
                f"Image {index} is not in the library, so nothing can take its place. "
                "Run its cell again: it makes what is missing."
            )
        if picture.request.fingerprint(peer.backend, peer.host) != slot.fingerprint:
            raise OptionError(
                f"Image {index} was asked of {slot.host} with all its input images. "
                "Run its cell with --redo instead."
            )
        found.append(_Anew(index, picture, slot))
    return found


async def _has_to_be_made(one: _Anew, generator: Generator, library: Library) -> bool:
    """Claim the right to have a picture made anew; False: it has been, in a pass before."""
    slot = one.slot
    key = f"redo {slot.fingerprint} {slot.place} {slot.position}"
    claim = generator.asking.claim(hashlib.sha256(key.encode()).hexdigest(), 1, fresh=False)
    if claim.anew:
        generator.asking.begin(claim, await asyncio.to_thread(library.newest))
        return True
    before = await asyncio.to_thread(
        library.redone, slot, notebook=generator.keeper.notebook, image_id=one.picture.id or 0
    )
    return len(before) <= claim.place or before[-1] <= claim.after


async def _make(group: list[_Anew], generator: Generator) -> dict[int, Picture]:
    """Have images of one request made anew, by one request."""
    group = sorted(group, key=lambda one: one.slot.position)
    slot, request = group[0].slot, group[0].picture.request
    claim = Claim(
        (bytes.fromhex(slot.fingerprint)[:16], slot.place), 0, request.n,
        anew=True, after=0, before=None,
    )  # fmt: skip
    placed = Placed(request, slot.fingerprint, claim)
    made = await generator.make_anew(placed, [one.slot.position for one in group])
    return {one.number: replace(new, replayed=False) for one, new in zip(group, made, strict=True)}

"""Values of the form to options and back, and the cell that asks for the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from xai_notebook import settings
from xai_notebook.arguments.options import OPTIONS, Option, resolve
from xai_notebook.arguments.values import Choice
from xai_notebook.client.image import image_price_usd
from xai_notebook.client.wire import Modality
from xai_notebook.errors import OptionError
from xai_notebook.pictures.magic_source import cell_body, escape

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.client.wire import ImageGenerationModel

__all__ = ["FIELDS", "Form", "choices", "describe_models", "known_models", "like", "takes_images"]

_OF_ANOTHER_KIND: Final = frozenset({"image", "export", "rewrite"})
"""What the form asks in its own way: cards, and switches."""
_WITHOUT_IMAGES: Final = ("grok-2-image",)
_WITH_QUALITY: Final = "grok-imagine-image-2.0"


def _has_field(row: Option) -> bool:
    return row.label is not None and row.name not in _OF_ANOTHER_KIND


FIELDS: Final = tuple(row.name for row in OPTIONS if _has_field(row))
"""Options that have a field of their own."""
_OF_AUTHORS: Final = ("user", "timeout")
"""Fields that visitors of an app do not have."""
_SHOWN: Final = {*FIELDS, *_OF_ANOTHER_KIND}


@dataclass(frozen=True, slots=True)
class Form:
    """What the form cannot change about itself.

    Attributes:
        hidden: Options given to the panel that have no field.
        configured: `%config XaiImage`, when the panel was made.
        rewriter: The chat model of the "rewrite" switch; True: the default one.
        fixed: What visitors of an app cannot change; empty: they are none.
    """

    hidden: Mapping[str, Any]
    configured: Mapping[str, Any]
    rewriter: str | bool
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_options(
        cls,
        prompt: str,
        given: Mapping[str, Any],
        configured: Mapping[str, Any],
        *,
        visitors: bool = False,
    ) -> tuple[Form, dict[str, Any], tuple[Any, ...]]:
        """Return the form, the first values of its fields and the images given to it.

        Args:
            prompt: Of the prompt's field.
            given: Options given to the panel.
            configured: `%config XaiImage`.
            visitors: It is for visitors of an app: nothing is exported, and what the author says
                of the user and the time is not told.

        Raises:
            OptionError: An option is wrong, or none that a form can have.
        """
        for row in OPTIONS:
            if not row.in_panel and given.get(row.name):
                raise OptionError(f"The panel has no use for {row.name}. Give it to %%xai_image.")
        options = resolve(given, configured)
        if len(options.model) > 1:
            raise OptionError("The panel asks one model at a time. Compare in a %%xai_image cell.")
        values: dict[str, Any] = {
            "prompt": prompt,
            **{name: getattr(options, name) or "" for name in FIELDS},
            "model": options.model[0],
            "timeout": "" if options.timeout == _default_timeout(configured) else options.timeout,
            "rewrite": options.rewrite is not None,
            "export": options.export is not None,
            "folder": options.export or "",
            "inputs": [],
        }
        hidden = {name: value for name, value in given.items() if name not in _SHOWN}
        fixed: dict[str, Any] = {}
        if visitors:
            fixed = {"export": False, **{name: values[name] or None for name in _OF_AUTHORS}}
            values |= {"export": False, "folder": "", **dict.fromkeys(_OF_AUTHORS, "")}
            # Another visitor's picture is no answer, unless the author asks for stored ones.
            hidden["fresh"] = not options.replay
        form = cls(hidden, dict(configured), options.rewrite or True, fixed)
        return form, values, options.image

    def given(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that the fields stand for, without the images.

        Raises:
            OptionError: A field has a template, which only the prompt can be.
        """
        for name, label in (("folder", "Folder"), ("user", "End user's id")):
            if "{{" in str(values.get(name) or ""):
                raise OptionError(
                    f"{label}: {{{{ … }}}} is filled in the prompt only. Write the value itself "
                    "here, or use a %%xai_image cell."
                )
        given: dict[str, Any] = dict(self.hidden)
        given |= {name: values.get(name) or None for name in FIELDS}
        given["n"] = values.get("n", 1)
        if not takes_quality(str(values.get("model"))):
            given["quality"] = None
        given["rewrite"] = self.rewriter if values.get("rewrite") else False
        given["export"] = str(values.get("folder") or "") if values.get("export") else False
        return {**given, **self.fixed}

    def cell(
        self, values: Mapping[str, Any], labels: Sequence[str], *, replay: bool = False
    ) -> str:
        """Return the `%%xai_image` cell that asks for what the fields say.

        Args:
            values: Of the fields.
            labels: How the cell names the images to edit.
            replay: The library has the pictures: the cell shows these, and makes no new ones.

        Raises:
            OptionError: A field has an impossible value.
        """
        given = self.given(values) | {"image": list(labels)}
        if replay:
            given |= {"fresh": None, "replay": True}
        line = resolve(given, self.configured).to_line(resolve({}, self.configured))
        return f"{line}\n{cell_body(str(values.get('prompt') or '').strip())}"


def like(
    request: ImageRequest, words: str | None = None, *, literal: bool = False
) -> dict[str, Any]:
    """Return the fields that ask for a request again, but for its input images.

    Args:
        request: Its prompt is text: what looks like a template in it stays as it is.
        words: The prompt is this instead, and is not rewritten.
        literal: The form takes no templates.
    """
    rows = {row.name: row for row in OPTIONS}
    values: dict[str, Any] = {"model": request.model, "n": request.n}
    for name in ("aspect_ratio", "resolution", "quality"):
        value, kind = getattr(request, name), rows[name].convert
        values[name] = value if isinstance(kind, Choice) and value in kind.values else ""
    prompt = words or request.original_prompt or request.prompt
    values["prompt"] = prompt if literal else escape(prompt)
    values["rewrite"] = words is None and request.rewrite_model is not None
    return values


def choices(
    configured: Mapping[str, Any], rows: Sequence[Option] = OPTIONS, *, fixed: Collection[str] = ()
) -> dict[str, Any]:
    """Return the fields and what they offer, but for those that are fixed.

    An option that `%config` sets cannot be left open.
    """
    fields = [
        {
            "name": row.name,
            "label": row.label,
            "values": row.convert.values if isinstance(row.convert, Choice) else None,
            "open": row.default is None and not configured.get(row.name),
        }
        for row in rows
        if _has_field(row)
        and row.name != "model"  # the server says which there are
        and row.name not in fixed
    ]
    return {
        "fields": fields,
        "max_images": settings.MAX_IMAGES,
        "max_inputs": settings.MAX_INPUT_IMAGES,
        "timeout": _default_timeout(configured),
    }


def _default_timeout(configured: Mapping[str, Any]) -> float:
    return float(configured.get("timeout") or settings.DEFAULT_TIMEOUT)


def known_models(selected: str) -> list[dict[str, Any]]:
    """Return the models to offer while no server has been asked."""
    names = dict.fromkeys((*settings.KNOWN_MODELS, selected))
    return [_model(name, None, edits=name not in _WITHOUT_IMAGES) for name in names]


def describe_models(
    models: Sequence[ImageGenerationModel], selected: str, *, local: bool
) -> list[dict[str, Any]]:
    """Return the models of a server for the dropdown, the selected one among them.

    Args:
        models: As the server lists them.
        selected: A name or an alias.
        local: They are the embedded server's: free.
    """
    found = []
    for model in models:
        # A server that says nothing about inputs is believed to take images.
        edits = not model.input_modalities or Modality.IMAGE in model.input_modalities
        price = 0.0 if local else image_price_usd(model) or None
        found.append(_model(model.name, price, edits=edits))
        if selected != model.name and selected in model.aliases:
            found.append(_model(selected, price, edits=edits))
    if selected not in {model["name"] for model in found}:
        found.append(_model(selected, None, edits=True) | {"unknown": True})
    return found


def _model(name: str, price: float | None, *, edits: bool) -> dict[str, Any]:
    return {"name": name, "price": price, "edits": edits, "quality": takes_quality(name)}


def takes_quality(model: str) -> bool:
    """Tell whether a model offers `quality`; the server's list does not say. New ones may."""
    known = (*settings.KNOWN_MODELS, *_WITHOUT_IMAGES)
    return model.startswith(_WITH_QUALITY) or not model.startswith(known)


def takes_images(models: Sequence[Mapping[str, Any]], name: object) -> bool:
    """Tell whether a model edits images; one that is not listed may."""
    return all(model["edits"] for model in models if model["name"] == name)

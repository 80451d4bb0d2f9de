"""Convert form values to options and back; the equivalent cell; the choices of the fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from xai_notebook import settings
from xai_notebook.arguments.options import OPTIONS, Option, Options, resolve
from xai_notebook.arguments.values import Choice
from xai_notebook.client.image import image_price_usd
from xai_notebook.client.wire import Modality
from xai_notebook.errors import OptionError
from xai_notebook.pictures.magic_source import cell_body, escape

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from xai_notebook.client.request import ImageRequest
    from xai_notebook.client.wire import ImageGenerationModel

_OWN_CONTROLS: Final = frozenset({"image", "export", "rewrite"})
"""Options that have cards or switches in the form instead of a field."""


def _has_field(row: Option) -> bool:
    return row.label is not None and row.name not in _OWN_CONTROLS


FIELDS: Final = tuple(row.name for row in OPTIONS if _has_field(row))
"""Options that have their own field."""
_IN_FORM: Final = {*FIELDS, *_OWN_CONTROLS}
_AUTHORS_ONLY: Final = ("user", "timeout")
"""Fields that visitors of an app do not have."""


@dataclass(frozen=True, slots=True)
class Form:
    """The values that the form's fields cannot change.

    Attributes:
        hidden: Options given to the panel that have no field.
        configured: Defaults of `%config XaiImage` when the panel was created.
        rewriter: The chat model that the "rewrite" switch selects; True for the default model.
        fixed: Options that visitors of an app cannot change; empty for authors.
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
        """Return the form, the initial values of its fields and the input images given to it.

        A form for visitors of an app exports nothing, and the author's user id and timeout are not
        sent to the browser.
        """
        for row in OPTIONS:
            if not row.in_panel and given.get(row.name):
                raise OptionError(
                    f"The panel does not support {row.name}. Use it in a %%xai_image cell."
                )
        options = resolve(given, configured)
        if len(options.model) > 1:
            raise OptionError("The panel uses one model at a time. Compare in a %%xai_image cell.")
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
        hidden = {name: value for name, value in given.items() if name not in _IN_FORM}
        fixed: dict[str, Any] = {}
        if visitors:
            fixed = {"export": False, **{name: values[name] or None for name in _AUTHORS_ONLY}}
            values |= {"export": False, "folder": "", **dict.fromkeys(_AUTHORS_ONLY, "")}
            # Do not replay pictures of other visitors, unless the author set `replay`.
            hidden["fresh"] = not options.replay
        form = cls(hidden, dict(configured), options.rewrite or True, fixed)
        return form, values, options.image

    def options(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options for the fields' values, without the input images."""
        for name, label in (("folder", "Folder"), ("user", "End user's id")):
            if "{{" in str(values.get(name) or ""):
                raise OptionError(
                    f"{label}: {{{{ … }}}} works only in the prompt. Write the value here, or use "
                    "a %%xai_image cell."
                )
        options: dict[str, Any] = dict(self.hidden)
        options |= {name: values.get(name) or None for name in FIELDS}
        options["n"] = values.get("n", 1)
        if not _takes_quality(str(values.get("model"))):
            options["quality"] = None
        options["rewrite"] = self.rewriter if values.get("rewrite") else False
        options["export"] = str(values.get("folder") or "") if values.get("export") else False
        return {**options, **self.fixed}

    def cell(
        self, values: Mapping[str, Any], labels: Sequence[str], *, replay: bool = False
    ) -> str:
        """Return the `%%xai_image` cell that is equivalent to the fields.

        `labels` name the input images. With `replay`, the cell only shows stored images.
        """
        line = self._resolve(values, labels, replay).to_line(resolve({}, self.configured))
        return f"{line}\n{cell_body(str(values.get('prompt') or '').strip())}"

    def call(
        self, values: Mapping[str, Any], prompt: str, labels: Sequence[str], *, replay: bool = False
    ) -> str:
        """Return the Python call that is equivalent to the fields, with the filled prompt."""
        return self._resolve(values, labels, replay).to_call(prompt, resolve({}, self.configured))

    def _resolve(
        self,
        values: Mapping[str, Any],
        labels: Sequence[str],
        replay: bool,  # noqa: FBT001  # passed on
    ) -> Options:
        given = self.options(values) | {"image": list(labels)}
        if replay:
            given |= {"fresh": None, "replay": True}
        return resolve(given, self.configured)


def values_of(
    request: ImageRequest, prompt: str | None = None, *, literal: bool = False
) -> dict[str, Any]:
    """Return the fields' values that repeat a request, without its input images.

    `prompt` replaces the request's prompt and is not rewritten. Template syntax is escaped, unless
    the form takes prompts as `literal`.
    """
    rows = {row.name: row for row in OPTIONS}
    values: dict[str, Any] = {"model": request.model, "n": request.n}
    for name in ("aspect_ratio", "resolution", "quality"):
        value, convert = getattr(request, name), rows[name].convert
        values[name] = value if isinstance(convert, Choice) and value in convert.values else ""
    text = prompt or request.original_prompt or request.prompt
    values["prompt"] = text if literal else escape(text)
    values["rewrite"] = prompt is None and request.rewrite_model is not None
    return values


def choices(
    configured: Mapping[str, Any], rows: Sequence[Option] = OPTIONS, *, fixed: Collection[str] = ()
) -> dict[str, Any]:
    """Return the fields that are not fixed, with their choices.

    A field can be empty unless its option has a default, in the table or in `%config`.
    """
    fields = [
        {
            "name": row.name,
            "label": row.label,
            "values": row.convert.values if isinstance(row.convert, Choice) else None,
            "open": row.default is None and not configured.get(row.name),
        }
        for row in rows
        if _has_field(row) and row.name != "model" and row.name not in fixed  # models are a trait
    ]
    return {
        "fields": fields,
        "max_images": settings.MAX_IMAGES,
        "max_inputs": settings.MAX_INPUT_IMAGES,
        "timeout": _default_timeout(configured),
    }


def _default_timeout(configured: Mapping[str, Any]) -> float:
    return float(configured.get("timeout") or settings.DEFAULT_TIMEOUT)


# Models; properties that the server's list does not contain are defined here

_WITHOUT_IMAGES: Final = ("grok-2-image",)
_WITH_QUALITY: Final = "grok-imagine-image-2.0"


def known_models(selected: str) -> list[dict[str, Any]]:
    """Return the models to offer until the server has sent its list."""
    names = dict.fromkeys((*settings.KNOWN_MODELS, selected))
    return [_model(name, None, edits=name not in _WITHOUT_IMAGES) for name in names]


def describe_models(
    models: Sequence[ImageGenerationModel], selected: str, *, local: bool
) -> list[dict[str, Any]]:
    """Return the models of a server for the dropdown, including the selected name or alias.

    Models of the embedded server (`local`) are free.
    """
    described = []
    for model in models:
        # Without input modalities in the list, assume that the model edits images.
        edits = not model.input_modalities or Modality.IMAGE in model.input_modalities
        price = 0.0 if local else image_price_usd(model) or None
        described.append(_model(model.name, price, edits=edits))
        if selected != model.name and selected in model.aliases:
            described.append(_model(selected, price, edits=edits))
    if selected not in {model["name"] for model in described}:
        described.append(unlisted_model(selected))
    return described


def unlisted_model(name: str) -> dict[str, Any]:
    """Return a model that the server does not list."""
    return _model(name, None, edits=True) | {"unknown": True}


def _model(name: str, price: float | None, *, edits: bool) -> dict[str, Any]:
    return {"name": name, "price": price, "edits": edits, "quality": _takes_quality(name)}


def _takes_quality(model: str) -> bool:
    """Tell whether a model supports `quality`; True for unknown models."""
    known = (*settings.KNOWN_MODELS, *_WITHOUT_IMAGES)
    return model.startswith(_WITH_QUALITY) or not model.startswith(known)


def takes_images(models: Sequence[Mapping[str, Any]], name: object) -> bool:
    """Tell whether a model edits images; True for models that are not listed."""
    return all(model["edits"] for model in models if model["name"] == name)

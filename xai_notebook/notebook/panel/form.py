"""Values of the form to options and back, and the cell that asks for the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from xai_notebook import settings
from xai_notebook.arguments.options import resolve
from xai_notebook.errors import OptionError
from xai_notebook.pictures.cell import cell_body, magic_words
from xai_notebook.pictures.cell import words as written
from xai_notebook.pictures.results import ImageRequest, InputImage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xai_notebook.arguments.options import Options
    from xai_notebook.client.wire import ImageGenerationModel

__all__ = ["Form", "choices", "describe_models", "known_models", "takes_images"]

_FIELDS: Final = ("model", "n", "aspect_ratio", "resolution", "quality", "user", "timeout")
_HIDDEN: Final = ("format", "metadata", "columns", "full", "max_cost", "fresh", "replay", "local")
"""Options without a field, kept as they were given."""
_FLAGS: Final = {
    "metadata": "--no-metadata", "full": "--full", "local": "--local", "fresh": "--fresh",
    "columns": "--columns", "max_cost": "--max-cost", "timeout": "--timeout",
}  # fmt: skip
_WITHOUT_IMAGES: Final = ("grok-2-image",)
_WITH_QUALITY: Final = "grok-imagine-image-2.0"


@dataclass(frozen=True, slots=True)
class Form:
    """What the form cannot change about itself.

    Attributes:
        hidden: Options given to the panel that have no field.
        configured: `%config XaiImage`, when the panel was made.
        rewriter: The chat model of the "rewrite" switch; True: the default one.
    """

    hidden: Mapping[str, Any]
    configured: Mapping[str, Any]
    rewriter: str | bool

    @classmethod
    def from_options(
        cls, prompt: str, given: Mapping[str, Any], configured: Mapping[str, Any]
    ) -> tuple[Form, dict[str, Any], tuple[Any, ...]]:
        """Return the form, the first values of its fields and the images given to it.

        Raises:
            OptionError: An option is wrong, or none that a form can have.
        """
        for name in ("each", "dry_run", "as_", "help"):
            if given.get(name):
                raise OptionError(f"The panel has no use for {name}. Give it to %%xai_image.")
        options = resolve(given, configured)
        if len(options.model) > 1:
            raise OptionError("The panel asks one model at a time. Compare in a %%xai_image cell.")
        values: dict[str, Any] = {
            "prompt": prompt,
            **{name: getattr(options, name) or "" for name in _FIELDS},
            "model": options.model[0],
            "timeout": "" if options.timeout == _default_timeout(configured) else options.timeout,
            "rewrite": options.rewrite is not None,
            "export": options.export is not None,
            "folder": options.export or "",
            "inputs": [],
        }
        hidden = {name: given[name] for name in _HIDDEN if given.get(name) is not None}
        return cls(hidden, dict(configured), options.rewrite or True), values, options.image

    def given(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that the fields stand for, without the images."""
        given: dict[str, Any] = dict(self.hidden)
        given |= {name: values.get(name) or None for name in _FIELDS}
        given["n"] = values.get("n", 1)
        if not takes_quality(str(values.get("model"))):
            given["quality"] = None
        given["rewrite"] = self.rewriter if values.get("rewrite") else False
        given["export"] = str(values.get("folder") or "") if values.get("export") else False
        return given

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
        given = self.given(values)
        options = resolve(given, self.configured)
        request = ImageRequest(
            prompt="",
            model=options.model[0],
            n=options.n,
            aspect_ratio=options.aspect_ratio,
            resolution=options.resolution,
            quality=options.quality,
            inputs=tuple(InputImage(url="", sha256="", label=label) for label in labels),
            user=options.user,
            image_format=options.format,
        )
        words = magic_words(request)
        words += [*self._against_defaults(options), *_extras(options, self.configured)]
        if replay:
            words = [word for word in words if word != "--fresh"] + ["--replay"]
        prompt = str(values.get("prompt") or "").strip()
        return f"{' '.join(words)}\n{cell_body(prompt)}"

    def _against_defaults(self, options: Options) -> list[str]:
        """Return the flags that `%config` makes necessary where built-in defaults need none."""
        words = []
        for flag, name, default in (
            ("--count", "n", 1),
            ("--model", "model", settings.DEFAULT_MODEL),
            ("--format", "format", "base64"),
        ):
            value = options.model[0] if name == "model" else getattr(options, name)
            if value == default and self.configured.get(name, default) != default:
                words += written(flag, [value])
        return words


def _extras(options: Options, configured: Mapping[str, Any]) -> list[str]:
    """Return the flags of what is no part of the request itself."""
    plain = resolve({}, configured)
    words = []
    if options.rewrite not in {None, plain.rewrite}:
        default = options.rewrite == settings.DEFAULT_CHAT_MODEL
        words += written("--rewrite", [default or options.rewrite])
    if options.export not in {None, plain.export}:
        words += written("--export", [options.export or True])
    for name, flag in _FLAGS.items():
        value = getattr(options, name)
        if value != getattr(plain, name):
            words.append(flag if isinstance(value, bool) else f"{flag}={value:g}")
    return words


def choices(configured: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the fields offer. An option that `%config` sets cannot be left open."""
    return {
        "aspect_ratio": list(settings.ASPECT_RATIOS),
        "resolution": list(settings.RESOLUTIONS),
        "quality": list(settings.QUALITIES),
        "open": [name for name in ("aspect_ratio", "resolution", "quality")
                 if not configured.get(name)],
        "max_images": settings.MAX_IMAGES,
        "max_inputs": settings.MAX_INPUT_IMAGES,
        "timeout": _default_timeout(configured),
    }  # fmt: skip


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
    from xai_notebook.client.models import image_price_usd  # noqa: PLC0415  # grpc
    from xai_notebook.client.wire import Modality  # noqa: PLC0415

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

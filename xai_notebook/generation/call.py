"""One call, from what the user gave to the requests that answer it. Nothing is sent here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice, product
from math import prod
from typing import TYPE_CHECKING, Any, Final

from xai_notebook.arguments import options as arguments
from xai_notebook.arguments import tables
from xai_notebook.arguments.inputs import load_inputs
from xai_notebook.arguments.options import axes_of
from xai_notebook.arguments.tables import MAX_VARIANTS, Variant, expand_variants
from xai_notebook.arguments.templates import DataText, fill
from xai_notebook.client.request import ImageRequest, is_blank
from xai_notebook.errors import OptionError
from xai_notebook.frontend import reruns_by_itself
from xai_notebook.generation.backends import choose_route
from xai_notebook.generation.progress import Progress
from xai_notebook.pictures.picture import SHOWN, Picture, first_cards
from xai_notebook.pictures.render.text import dollars
from xai_notebook.pictures.results import GeneratedImage, ImageBatch
from xai_notebook.settings import Configuration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Call", "check_redo", "collect", "prepare_again", "prepare_call", "so_far", "summarize"]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from xai_notebook.arguments.inputs import Inputs, Named
    from xai_notebook.arguments.options import Options
    from xai_notebook.generation.backends import Route

    _Make = Callable[..., "Call"]
    from xai_notebook.client.request import ImageRequest


_READ_AHEAD: Final = 10_000
"""Prompts of a list or a file that are read before anything is sent."""


@dataclass(slots=True)
class Call:
    """One call, checked and ready to run.

    Attributes:
        options: Every option.
        configuration: What held when it was made.
        route: Where it goes.
        requests: What to ask, one request per prompt.
        lazy: `requests` runs code of the user's, such as a generator: it may never end.
        many: It came from `--each`: failures are cards, not errors.
        progress: What has happened so far.
        chosen: What tells the requests of a comparison apart, one each: its value on every axis.
        interrupted: The user stopped it; what had arrived is kept.
        spoil: To call when its images cannot be shown.
    """

    options: Options
    configuration: Configuration
    route: Route
    requests: Iterator[ImageRequest]
    progress: Progress
    lazy: bool = False
    many: bool = False
    interrupted: bool = False
    chosen: tuple[tuple[str, ...], ...] = ()
    announced: list[str] = field(default_factory=list)
    spoil: Callable[[], None] | None = None

    def peek(self, most: int) -> tuple[ImageRequest, ...]:
        """Return the first requests, which are still to be made.

        Raises:
            OptionError: One of them cannot be.
        """
        first = tuple(islice(self.requests, most))
        self.requests = chain(first, self.requests)
        return first

    def export(self, batch: ImageBatch) -> None:
        """Export the images of the call, if that was asked for.

        Raises:
            ExportError: A file cannot be written. The images are in the library.
        """
        if self.options.export is not None:
            batch.export(self.options.export or None, metadata=self.options.metadata)


def prepare_call(
    prompt: str | None,
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    namespace: Mapping[str, Any],
    *,
    typed: bool = False,
    settings: Configuration | None = None,
    named: Named | None = None,
) -> Call:
    """Check options, prompt and input images.

    Args:
        prompt: As written; with `each`, the prompts, one per line.
        given: Options by the names of the table.
        defaults: What `%config XaiImage` says.
        namespace: Variables, for `{{ … }}`, `--image` and `--each`.
        typed: The user typed the prompt, so it is a template. Any other is sent letter by letter.
        settings: Default: what the environment says now.
        named: Finds pictures of the library by their ids.

    Raises:
        OptionError: Something is wrong; the message names it.
        ConfigurationError: A variable or a configured value means nothing, or a key is missing.
    """
    if reruns_by_itself():
        defaults = {"reuse": True, **defaults}
    options = arguments.resolve(given, defaults)
    configuration = Configuration.for_call(settings, defaults)
    route = choose_route(configuration, local=options.local)  # a missing key is found now
    make = partial(Call, options, configuration, route)
    inputs = load_inputs(options.image, namespace, named)
    if options.each is not None and options.each is not False:
        call = _prepare_each(make, prompt, options, inputs, namespace, typed=typed)
    else:
        text = _checked(prompt, options)
        call = _prepare_one(make, fill(text, namespace) if typed else text, options, inputs)
    for note in inputs.notes:
        call.progress.note(note)
    if call.progress.expected is not None:
        check_redo(options.redo, call.progress.images)
    return call


def prepare_again(
    images: Sequence[GeneratedImage],
    defaults: Mapping[str, Any],
    *,
    local: bool,
    settings: Configuration | None = None,
) -> Call:
    """Return the call that makes images anew, each as it was asked for.

    Args:
        images: Which.
        defaults: What `%config XaiImage` says.
        local: The embedded server made them.
        settings: Default: what the environment says now.

    Raises:
        ConfigurationError: A variable or a configured value means nothing, or a key is missing.
    """
    options = arguments.resolve({}, defaults)
    options = replace(options, rewrite=None, reuse=False)  # its prompt is as it was sent
    configuration = Configuration.for_call(settings, defaults)
    route = choose_route(configuration, local=local)
    return Call(options, configuration, route, iter(()), Progress(images=len(images)))


def check_redo(indices: Sequence[int], total: int) -> None:
    """Check that there are the images that are to be made anew.

    Args:
        indices: In the batch, from 0.
        total: Images of the batch.

    Raises:
        OptionError: There is no such image.
    """
    for index in indices:
        if not 0 <= index < total:
            there = f"0 to {total - 1}" if total > 1 else "only 0"
            raise OptionError(f"--redo: there is no image {index}; there is {there}.")


def _checked(prompt: object, options: Options) -> str:
    """Return the prompt, which must be text."""
    if prompt is None:
        taken = f" (--export took {options.export!r} for its folder.)" if options.export else ""
        raise OptionError(f"There is no prompt. Write what the image should show.{taken}")
    if not isinstance(prompt, str):
        raise OptionError(
            f"The prompt is a {type(prompt).__name__}, not text. Prompts of a list go into each=."
        )
    return prompt


def _request(prompt: str, model: str, options: Options, inputs: Inputs) -> ImageRequest:
    """Return the request for one prompt, which has no white space around it."""
    prompt = prompt.strip()
    if is_blank(prompt):
        raise OptionError("The prompt is empty. Write what the image should show.")
    return options.request(prompt, model, inputs.images)


def _prepare_one(make: _Make, prompt: str, options: Options, inputs: Inputs) -> Call:
    """Return the call for one prompt: several requests when models or wordings are compared."""
    axes = axes_of(options.matrix or ())
    variants = [Variant(prompt, ())]
    if options.matrix is not None:
        variants = expand_variants(prompt, needed=not axes)
    models = axes.pop("model", options.model)
    most = len(variants) * prod(map(len, axes.values())) * len(models)
    if most > MAX_VARIANTS:
        raise OptionError(f"--matrix: {most:,} combinations are more than {MAX_VARIANTS}.")
    requests, chosen = [], []
    for variant, values, model in product(variants, product(*axes.values()), models):
        given: dict[str, Any] = dict(zip(axes, values, strict=True))
        asked = replace(options, **given)
        requests.append(_request(variant.prompt, model, asked, inputs))
        told = [f"{name.replace('_', ' ')} {value}" for name, value in given.items()]
        chosen.append((*variant.chosen, *told, *([model] if len(models) > 1 else [])))
    if len(requests) == 1:
        return make(iter(requests), Progress(images=options.n))
    progress = Progress(expected=len(requests), images=options.n * len(requests))
    return make(iter(requests), progress, many=True, chosen=tuple(chosen))


def _prepare_each(
    make: _Make,
    prompt: str | None,
    options: Options,
    inputs: Inputs,
    namespace: Mapping[str, Any],
    *,
    typed: bool,
) -> Call:
    """Return the call for `--each`: its source, or the lines of the body.

    Only lines of a body were typed as templates; what a source holds is data.
    """
    source = options.each
    templates = typed and source is True
    if source is True:
        if prompt is None or is_blank(prompt):
            raise OptionError("--each found no prompt. Write one per line, or name a variable.")
        source = tables.split_lines(prompt)
    elif prompt is not None and prompt.strip():
        raise OptionError("--each NAME brings its own prompts. Leave the body empty.")
    if len(options.model) > 1 or options.matrix is not None:
        raise OptionError("--each takes one --model and no --matrix. Compare with one prompt.")
    found = tables.read_prompts(source, {} if isinstance(source, DataText) else namespace)
    texts: Iterator[str] = found
    if templates:
        texts = (fill(text, namespace) for text in texts)
    # What is wrong in a list or a file of the usual size is found before anything is sent.
    ahead = [] if found.lazy else list(islice(texts, _READ_AHEAD))
    expected = len(ahead) if 0 < len(ahead) < _READ_AHEAD else found.length
    progress = Progress(expected=expected, images=options.n * (expected or 1))
    for note in found.notes:
        progress.note(note)
    texts = _counted(chain(ahead, texts), progress)
    requests = (_request(text, options.model[0], options, inputs) for text in texts)
    return make(requests, progress, lazy=found.lazy, many=True)


def _counted(texts: Iterable[str], progress: Progress) -> Iterator[str]:
    """Yield the prompts; behind the last, it is known how many there are."""
    number = 0
    for number, text in enumerate(texts, 1):  # noqa: B007  # needed behind the loop
        yield text
    progress.expected = number


def summarize(call: Call) -> str | None:
    """Return the line that ends a grid: of one prompt, what several images cost."""
    progress = call.progress
    if not call.many:
        paid = progress.cost_usd and progress.images > 1
        return f"{dollars(progress.cost_usd)} spent." if paid else None
    what = "requests" if call.chosen else "prompts"
    parts = [f"{progress.done} of {progress.expected or progress.done} {what}"]
    if progress.replayed:
        parts.append(f"{progress.replayed} from your library")
    if progress.cost_usd:
        parts.append(f"{dollars(progress.cost_usd)} spent")
    elif progress.replayed and not progress.unpriced:
        parts.append("nothing spent")
    if progress.unpriced:
        parts.append(f"the cost of {progress.unpriced} unknown")
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.unsent:
        parts.append(f"{progress.unsent} not sent: {progress.unsent_because}")
        parts[-1] += f". {progress.unsent_cure} and run the cell again to make the rest"
    elif call.interrupted:
        parts.append("interrupted: run the cell again to make what is missing")
    return ", ".join(parts) + "."


def collect(call: Call, maker: object) -> ImageBatch:
    """Return what has arrived as a batch. Nothing can go wrong here.

    Args:
        call: Answered, or as far as it came.
        maker: What makes images from images: the session.
    """
    progress = call.progress
    return ImageBatch(
        _images(call, sorted(progress.results.items()), maker),
        notes=[*call.announced, *progress.notes],
        summary=summarize(call),
        undrawn=call.spoil,
        **_shown(call),
    )


def so_far(call: Call) -> Callable[[], ImageBatch]:
    """Return what gives the first cards of a call under way, what is awaited in its place.

    The prompts of a generator are not known before they are asked for: there, nothing is awaited.

    Raises:
        OptionError: A request cannot be made.
    """
    return partial(_first_cards, call, () if call.lazy else call.peek(SHOWN + 1))


def _first_cards(call: Call, first: Sequence[ImageRequest]) -> ImageBatch:
    results = call.progress.results
    there = []
    for number in range(len(first) or SHOWN + 1):
        pictures = results.get(number)
        if pictures is None and first:
            pictures = [Picture(request=first[number], status="pending")] * first[number].n
        there.append((number, pictures or []))
    return ImageBatch(first_cards(_images(call, there), SHOWN), **_shown(call))


def _images(
    call: Call, results: Iterable[tuple[int, list[Picture]]], maker: Any = None
) -> list[GeneratedImage]:
    chosen = call.chosen
    return [
        GeneratedImage(picture, index=index, chosen=chosen[number] if chosen else (), maker=maker)
        for number, pictures in results
        for index, picture in enumerate(pictures)
    ]


def _shown(call: Call) -> dict[str, Any]:
    """Return how the batch of a call is shown."""
    options = call.options
    return {
        "name": options.as_, "columns": options.columns, "captions": options.captions,
        "full": options.full, "compare": options.compare,
    }  # fmt: skip

"""The cell of a request, run as IPython runs it, makes exactly this request."""

from __future__ import annotations

import ast
import random
from dataclasses import replace
from itertools import product
from types import SimpleNamespace
from typing import Any

from IPython.core.inputtransformer2 import TransformerManager

from xai_notebook import settings
from xai_notebook.arguments.line import cell_prompt, parse
from xai_notebook.arguments.options import resolve
from xai_notebook.arguments.templates import fill_options
from xai_notebook.client.request import ImageRequest, InputImage, is_blank
from xai_notebook.generation.call import prepare_call
from xai_notebook.pictures.magic_source import magic_cell, python_call

PIECES = [
    "%", "%%", "%%xai_image", "--", "-", "--image=secret.png", "-i", "x.png", "=", ";", ";;", "\\",
    "\\n", "{", "{{", "{{{", "}}", "}", "{%", "%}", "{#", "{{ get_ipython().system('touch x') }}",
    "{{ '{{' }}", "\x01{%", "%}\x01", "\x00", "\x01", "\x07", "\x0b", "\x0c", "\x1b[31m", "\x1c",
    "\x7f", "\x85", "\r", "\r\n", "\n", "\n\n", "\n \n", "\n\t\n", "\u2028", "\u2029", "\u202e",
    "\ufeff", "\xa0", "\u3000", "\t", " ", "  ", "'", '"', "'\"", "`", "$", "$'", "$x", "!", "?",
    "??", "!ls", "a?", "#", "\n# c", "\n>>> a", "\n... a", "\n  >>> a", "\n   ...: a",
    "\nIn [1]: a", "\n[ins] In [2]: a", "\nOut[1]: a", "...", ">>>", "In [1]: ", '"""', "'''", "a",
    "fox", "16:9", "grok", "雪", "🦊", "\U0001f469\u200d\U0001f680", "é", "-n", "-n 3", "--fresh",
    "<b>", "&amp;", "@", "~", "{x}", "{a|b}", "|", "*", "#|", "# @title",
    *(f"a{line_end}>>>" for line_end in "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"),
]  # fmt: skip
TRANSFORM = TransformerManager().transform_cell


def request_of(cell: str) -> ImageRequest:
    """Return the request that a cell makes: IPython transforms it, then the magic parses it."""
    (statement,) = ast.parse(TRANSFORM(cell)).body
    call: Any = statement.value  # type: ignore[attr-defined]
    assert call.func.attr == "run_cell_magic"
    name, line, body = (argument.value for argument in call.args)
    assert name == "xai_image"
    parsed = parse(line)
    given = fill_options(parsed.given, {})
    labels = given.pop("image", [])
    options = resolve(given)
    plain = resolve({})
    changed = {name for name in options.__slots__ if getattr(options, name) != getattr(plain, name)}
    assert changed <= {"n", "model", "format", "aspect_ratio", "resolution", "quality", "rewrite"}
    call = prepare_call(cell_prompt(parsed.prompt, body), given, {}, {}, template=True)
    request = next(call.items).request
    inputs = tuple(InputImage("", "", label) for label in labels)
    return replace(request, inputs=inputs, rewrite_model=options.rewrite)


def call_of(prompt: str, **options: Any) -> tuple[str, Any]:
    return prompt, resolve(options)


def assert_the_cell_makes(request: ImageRequest) -> None:
    """Check the cell and the call of a request, without the user id and the public link."""
    assert eval(python_call(request), {"xai": SimpleNamespace(generate=call_of)}) == call_of(
        request.original_prompt or request.prompt,
        **{
            option: getattr(request, option)
            for option in ("n", "model", "aspect_ratio", "resolution", "quality")
        },
        format=request.image_format,
        image=[image.label for image in request.inputs],
        rewrite=request.rewrite_model,
    )
    assert request_of(magic_cell(request)) == replace(request, user=None, share=None), repr(request)


def test_a_cell_makes_exactly_its_request() -> None:
    """With every piece at the start, in the middle and at the end of all texts."""
    for piece, before, after in product(PIECES, ("", "a", "a\n", " "), ("", "a", "\na", " ")):
        text = f"{before}{piece}{after}"
        prompt, value = text.strip(), text.strip() or None
        assert_the_cell_makes(
            ImageRequest(
                prompt="a fox" if is_blank(prompt) else prompt,
                model=value or settings.DEFAULT_MODEL,
                user=value,
                share=7.0,
                inputs=(InputImage("", "", text),),
                rewrite_model=value,
            )
        )


def test_cells_of_random_requests_make_exactly_these_requests() -> None:
    chance = random.Random(20261124)

    def maybe() -> bool:
        return chance.random() < 0.3

    def text() -> str:
        pieces = chance.choices(PIECES, k=chance.randint(1, 7))
        return "".join([*pieces, *(chr(chance.randrange(0x110000)) for _ in range(2) if maybe())])

    def value() -> str | None:
        return (text().strip() or None) if maybe() else None

    for _ in range(1_500):
        prompt = text().strip()
        assert_the_cell_makes(
            ImageRequest(
                prompt="a fox" if is_blank(prompt) else prompt,
                model=value() or settings.DEFAULT_MODEL,
                n=3 if maybe() else 1,
                aspect_ratio="19.5:9" if maybe() else None,
                image_format="url" if maybe() else "base64",
                inputs=tuple(InputImage("", "", text()) for _ in range(2) if maybe()),
                rewrite_model=value(),
            )
        )


def test_a_rewritten_prompt_is_rewritten_again() -> None:
    request = ImageRequest("a detailed fox", "grok", original_prompt="a {{ fox", rewrite_model="-m")
    second = request_of(magic_cell(request))
    assert (second.prompt, second.rewrite_model) == ("a {{ fox", "-m")

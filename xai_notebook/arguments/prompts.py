"""The variants of a prompt that `{a|b}` stands for."""

from __future__ import annotations

import re
from itertools import product
from math import prod
from typing import Final, NamedTuple

from xai_notebook.errors import OptionError

__all__ = ["MAX_VARIANTS", "Variant", "expand"]

MAX_VARIANTS: Final = 500
"""Prompts that one `--matrix` may stand for: more is rarely meant, and always costs."""
_ALTERNATIVES: Final = re.compile(r"\{([^{}|]*(?:\|[^{}|]*)+)\}")


class Variant(NamedTuple):
    """One of the prompts that `{a|b}` stands for, and the alternatives it took."""

    prompt: str
    chosen: tuple[str, ...]


def expand(prompt: str, *, needed: bool = True) -> list[Variant]:
    """Return every prompt that `{a|b}` stands for.

    Args:
        prompt: As written.
        needed: There must be alternatives.

    Raises:
        OptionError: There are no alternatives, or more than `MAX_VARIANTS` combinations.
    """
    parts = _ALTERNATIVES.split(prompt)
    choices = [[option.strip() for option in part.split("|")] for part in parts[1::2]]
    if needed and not choices:
        raise OptionError(
            "--matrix found no {a|b} in the prompt. Write alternatives like that, or options: "
            "--matrix quality=low,medium"
        )
    if (count := prod(map(len, choices))) > MAX_VARIANTS:
        raise OptionError(f"--matrix: {count:,} combinations are more than {MAX_VARIANTS}.")
    variants = []
    for chosen in product(*choices):
        words = [parts[0]]
        for word, text in zip(chosen, parts[2::2], strict=True):
            words += [word, text]
        variants.append(Variant("".join(words).strip(), tuple(word or "(none)" for word in chosen)))
    return variants

"""Tell what becomes of the value that a magic returns: whether IPython or anything else takes it.

IPython shows the value of a cell's last expression, and drops that of every other statement: in a
loop, a function, a file that `%run` runs. No hook tells the two apart, but the code that called the
magic does: the instruction behind the call prints the value, drops it, returns it or uses it.
"""

from __future__ import annotations

import dis
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["drops_value"]

_CALLS: Final = frozenset({"run_line_magic", "run_cell_magic"})
"""Methods of IPython's shell by which code calls a magic."""


def drops_value() -> bool:
    """Tell whether the code that called the running magic drops the value it returns."""
    frame = _caller_of_magic(sys._getframe())  # noqa: SLF001  # no other function knows the caller
    while frame is not None:
        if _is_ipythons(frame):  # another magic, such as %time, returns the value of its code
            frame = _caller_of_magic(frame)
            continue
        then = _next_instruction(frame)
        if then is None or then.opname != "RETURN_VALUE":
            return then is not None and then.opname == "POP_TOP"
        frame = frame.f_back
    return False


def _caller_of_magic(frame: FrameType | None) -> FrameType | None:
    """Return the frame that called the magic in or above a frame; None: no magic is there."""
    while frame is not None:
        if frame.f_code.co_name in _CALLS and _is_ipythons(frame):
            return frame.f_back
        frame = frame.f_back
    return None


def _is_ipythons(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "IPython"


def _next_instruction(frame: FrameType) -> dis.Instruction | None:
    """Return the instruction behind the call that a frame is in."""
    instructions = dis.get_instructions(frame.f_code)
    return next((one for one in instructions if one.offset > frame.f_lasti), None)

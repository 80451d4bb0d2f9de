"""The magics: parse, delegate, return. And `%config XaiImage`.

Separate because `extension` only registers what is defined here.
"""

from __future__ import annotations

import dis
import sys
from collections import ChainMap
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from IPython.core.magic import (
    Magics,
    line_cell_magic,
    line_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
)
from traitlets import Bool, CaselessStrEnum, Float, Int, TraitError, TraitType, Unicode

from xai_notebook.arguments.line import Parsed, parse, prompt_of
from xai_notebook.arguments.options import OPTIONS, SETTINGS, help_text
from xai_notebook.arguments.templates import fill, fill_options
from xai_notebook.arguments.values import Amount, Choice, WholeNumber, budget
from xai_notebook.errors import ApiError, ExportError, OptionError
from xai_notebook.frontend import in_kernel
from xai_notebook.settings import REFUSED_BUDGET

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import FrameType

    from IPython.core.interactiveshell import InteractiveShell
    from traitlets import HasTraits

    from xai_notebook.arguments.options import Option
    from xai_notebook.generation.jobs.job import BatchJob, JobList
    from xai_notebook.generation.session import Call, Session
    from xai_notebook.notebook.progress import CallProgress, JobWait
    from xai_notebook.pictures.results import ImageBatch
    from xai_notebook.settings import BudgetLimit

__all__ = ["XaiImage", "drops_value", "read_config", "traits_of", "write_config"]

_ALL = (*OPTIONS, *SETTINGS)
_LEAST = 0.001
"""The smallest amount that is not nothing."""
_REFUSED = "_refused"
"""The attribute that holds a budget that was set and means nothing."""


def traits_of(rows: tuple[Option, ...] = _ALL) -> dict[str, TraitType[Any, Any]]:
    """Return the traits by the names that `%config XaiImage` has for them."""
    return {row.setting or row.name: _trait(row) for row in rows if row.configurable}


def read_config(traits: HasTraits) -> Mapping[str, Any]:
    """Return the defaults by the names of the tables, and a budget that was refused."""
    found = {row.name: getattr(traits, row.setting or row.name) for row in _ALL if row.configurable}
    return found | getattr(traits, _REFUSED, {})


def write_config(traits: HasTraits, values: Mapping[str, Any]) -> None:
    """Set traits to values by the names of the tables; None: to their defaults."""
    for row in _ALL:
        if row.configurable and row.name in values:
            value = values[row.name]
            if row.repeatable and isinstance(value, tuple):
                value = value[0]
            name = row.setting or row.name
            trait = traits.traits()[name]
            if value is None:
                value = trait.default()
            elif isinstance(trait, Unicode):
                value = str(value)
            setattr(traits, name, value)


class Budget(TraitType[Any, Any]):
    """A trait that takes `5`, `"5/day"` and the like, and holds a `BudgetLimit`."""

    info_text = "US dollars, such as 5, '5/day', '50/month' or '100/total'"

    def set(self, obj: Any, value: Any) -> None:
        """Set the limit. After one that is wrong, nothing is spent until it is set right.

        `%config` only prints what a trait raises, and the cells below would spend without a limit.
        """
        vars(obj)[_REFUSED] = {REFUSED_BUDGET: value}
        super().set(obj, value)
        del vars(obj)[_REFUSED]

    def validate(self, obj: Any, value: Any) -> BudgetLimit:
        """Return the limit that a value means."""
        del obj
        try:
            return budget(value)
        except ValueError as error:
            raise TraitError(f"XaiImage.budget: {error}.") from None

    def from_string(self, s: str) -> BudgetLimit | None:
        """Return the limit that a command line or a configuration file means."""
        return None if s == "None" else self.validate(None, s)


def _trait(row: Option) -> TraitType[Any, Any]:
    default = row.default[0] if row.repeatable else row.default
    help_ = f"False: {row.help}" if row.bare is False else row.help  # what its flag, --no-…, does
    common = {"default_value": default, "allow_none": default is None, "help": help_}
    found: TraitType[Any, Any]
    if isinstance(row.convert, Choice):
        found = CaselessStrEnum(row.convert.values, **common)
    elif row.convert is budget:
        found = Budget(**common)
    elif isinstance(row.convert, WholeNumber):
        found = Int(min=row.convert.low, max=row.convert.high, **common)
    elif isinstance(row.convert, Amount):
        found = Float(min=0.0 if row.convert.zero else _LEAST, **common)
    else:
        found = Bool(**common) if row.convert is bool else Unicode(**common)
    return found.tag(config=True)


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


_Value = TypeVar("_Value")
_HISTORY: Final = 24
"""Images that %xai_history shows, and jobs that %xai_jobs does."""
_WAIT: Final = 1.0
"""Seconds of waiting for a job before its progress is shown."""


@magics_class
class XaiImage(Magics):
    """Images from xAI's models. `%config XaiImage.model = "…"` sets a default."""

    shell: InteractiveShell
    _showing: list[BatchJob] = []  # noqa: RUF012  # never changed, only replaced

    # A class body is its namespace: the traits come from the tables, and are stated only there.
    locals().update(traits_of())

    def configuration(self) -> Mapping[str, Any]:
        """Return the defaults by the names of the option table."""
        return read_config(self)

    def configure(self, values: Mapping[str, Any]) -> None:
        """Set defaults by the names of the option table; None resets one."""
        write_config(self, values)

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def xai_image(
        self, line: str, cell: str | None = None, local_ns: dict[str, Any] | None = None
    ) -> Any:
        """Make images; the text is set from the option table below."""
        parsed = parse(line)
        if parsed.given.pop("help", False):
            print(help_text())  # noqa: T201  # what --help does
            return None
        namespace = ChainMap(local_ns or {}, self.shell.user_ns)
        prompt = prompt_of(parsed.prompt, cell)
        given = fill_options(parsed.given, namespace)
        call = _session().prepare(prompt, given, namespace, typed=True)
        if call.options.dry_run:
            return _shown(_session().plan(call))
        return _shown(self._hand_over(call) if call.options.batch else self._show(call))

    xai_image.__doc__ = help_text()

    def _show(self, call: Call) -> ImageBatch:
        """Run a call under the cell's progress, and bind what came."""
        from xai_notebook.notebook.progress import LOCAL_PATIENCE, PATIENCE, CallProgress  # noqa: PLC0415  # pictures

        session = _session()
        patience = call.configuration.patience
        if patience is None:
            patience = LOCAL_PATIENCE if call.route.painted else PATIENCE
        so_far = call.so_far()
        live = CallProgress(self.shell, call.progress, patience=patience, so_far=so_far)
        try:
            if call.many and not call.lazy:
                with suppress(ApiError):  # a server may have no list of prices
                    live.announce(session.plan(call))
            elif not call.many and not call.route.painted:
                session.ask_price(call)
            with session.cells.ask() as claims:
                session.loop.run(session.run(call, claims), tick=live.tick)
                batch = session.finish(call)
        except BaseException as error:
            call.interrupted = isinstance(error, KeyboardInterrupt)
            self._present(call, live, error)
            raise
        self._bind(call, batch)
        live.end(batch)
        return batch

    def _hand_over(self, call: Call) -> BatchJob:
        """Show the job of a call, its size and its price, and only then hand over what is new."""
        session = _session()
        with session.cells.ask() as claims:
            job = session.loop.run(session.prepare_job(call, claims))
            self._showing = [job] if self.show_job(job) else []
            try:
                session.loop.run(job.hand_over())
                job.concluded()
            except BaseException:
                self._showing = []
                raise
        if call.options.as_:
            self.shell.user_ns[call.options.as_] = job
        return job

    def show_job(self, job: BatchJob) -> bool:
        """Show a job under this cell, once, and keep it up to date; False: nothing but text can be.

        The session calls this for the value of a cell.
        """
        from xai_notebook.notebook.progress import JobDisplay  # noqa: PLC0415  # pictures

        if not in_kernel(self.shell):
            return False
        if any(shown is job for shown in self._showing):
            self._showing = []  # it stands under the cell since before it was handed over
        else:
            JobDisplay.here(self.shell, job)
        return True

    def follow_job(self, job: BatchJob) -> JobWait:
        """Return what shows a job under this cell while it is waited for."""
        from xai_notebook.notebook.progress import JobWait  # noqa: PLC0415  # pictures

        return JobWait(self.shell, job, patience=_WAIT)

    def _present(self, call: Call, live: CallProgress, error: BaseException) -> None:
        """Show and bind what came before an error, as the cell's value."""
        # Of many, some are there when the key is refused half way, say.
        if not call.progress.done and not (call.many and call.interrupted):
            live.end()
            return
        batch = _session().collect(call)
        if not isinstance(error, ExportError):
            try:
                call.export(batch)
            except ExportError as failure:  # must not hide the first error
                notes = (*batch.notes, f"Not exported: {failure}")
                batch = batch.shown(notes=notes, undrawn=batch.undrawn)
        self._bind(call, batch)
        live.end(batch)
        self.shell.displayhook(batch)

    def _bind(self, call: Call, batch: ImageBatch) -> None:
        if call.options.as_:
            self.shell.user_ns[call.options.as_] = batch

    def _parsed(self, line: str) -> Parsed:
        """Return the options and the words of a line, every `{{ … }}` filled in."""
        given, words = parse(line)
        names = self.shell.user_ns
        words = words.removesuffix(";").rstrip()
        return Parsed(fill_options(given, names), fill(words, names, "the line"))

    @no_var_expand
    @line_magic
    def xai_history(self, line: str) -> ImageBatch:
        """Show past images, newest first: %xai_history [-n N] [WORDS]."""
        takes = "%xai_history takes only -n N and words to look for."
        words, count = _look_back(self._parsed(line), takes, "images")
        return _shown(_session().history.search(words, count))

    @no_var_expand
    @line_magic
    def xai_jobs(self, line: str) -> JobList:
        """Show the jobs of all kernels, newest first: %xai_jobs [-n N]."""
        words, count = _look_back(self._parsed(line), "%xai_jobs takes only -n N.", "jobs")
        if words:
            raise OptionError("%xai_jobs takes only -n N.")
        return _shown(_session().jobs(count))

    @no_var_expand
    @line_magic
    def xai_pack(self, line: str) -> Path:
        """Write this notebook's pictures into a bundle beside it: %xai_pack [story.xai]."""
        path = fill(line.strip().removesuffix(";").strip("\"' "), self.shell.user_ns, "the path")
        return _shown(_session().history.pack(path or None))

    @no_var_expand
    @line_magic
    def xai_panel(self, line: str) -> None:
        """Show the form: %xai_panel [OPTIONS] [PROMPT]. Options are those of %%xai_image."""
        from xai_notebook.notebook.panel import show_panel  # noqa: PLC0415  # ipywidgets

        parsed = parse(line)
        if parsed.given.pop("help", False):
            print(help_text())  # noqa: T201  # what --help does
            return
        given = fill_options(parsed.given, self.shell.user_ns)
        show_panel(prompt_of(parsed.prompt, None) or "", **given)

    @no_var_expand
    @line_magic
    def xai_library(self, line: str) -> None:
        """Show every picture, to search and tidy: %xai_library [--model=NAME] [WORDS]."""
        from xai_notebook.notebook.gallery import library  # noqa: PLC0415  # the extension is light

        parsed = self._parsed(line)
        unknown = set(parsed.given) - {"model"}
        if unknown:
            raise OptionError("%xai_library takes only --model=NAME and words to look for.")
        library(parsed.prompt, **parsed.given)


def _session() -> Session:
    """Return the kernel's session. Loading the extension does not load what makes images."""
    from xai_notebook.generation.session import current_session  # noqa: PLC0415  # not at load

    return current_session()


def _shown(value: _Value) -> _Value:
    """Return the value of a magic, shown here if IPython will not show it."""
    if drops_value():
        from IPython.display import display  # noqa: PLC0415  # with a kernel, it is loaded

        display(value)  # type: ignore[no-untyped-call]
    return value


def _look_back(parsed: Parsed, takes: str, what: str) -> tuple[str, int]:
    """Return the words and the number of things that a line asks for.

    Args:
        parsed: The line.
        takes: What to say when there is anything else.
        what: The things.

    Raises:
        OptionError: There is another option, or `-n` is not a number.
    """
    count = parsed.given.pop("n", _HISTORY)
    if parsed.given:
        raise OptionError(takes)
    if not str(count).isdecimal() or not int(count):
        raise OptionError(f"-n: {count!r} is not a number of {what}.")
    return parsed.prompt, int(count)

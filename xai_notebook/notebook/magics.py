"""The magics and `%config XaiImage`; they only parse their arguments and call the session.

Separate because `extension` only registers the magics.
"""

from __future__ import annotations

import base64
import dis
import sys
from collections import ChainMap
from contextlib import suppress
from dataclasses import dataclass
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

from xai_notebook.arguments.options import OPTIONS, SETTINGS, help_text
from xai_notebook.arguments.values import Amount, Choice, WholeNumber, budget
from xai_notebook.errors import ApiError, ExportError, OptionError, XaiError
from xai_notebook.frontend import in_kernel
from xai_notebook.settings import REFUSED_BUDGET

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType
    from typing import TypeAlias

    from IPython.core.interactiveshell import InteractiveShell

    from xai_notebook.arguments.line import Parsed
    from xai_notebook.arguments.options import Option
    from xai_notebook.generation.call import Call
    from xai_notebook.generation.jobs.job import BatchJob, JobList
    from xai_notebook.generation.session import Session
    from xai_notebook.notebook.progress import CallProgress, JobDisplay, JobWait
    from xai_notebook.pictures.results import ImageBatch
    from xai_notebook.settings import BudgetLimit

    AnyTrait: TypeAlias = TraitType[Any, Any]
else:
    AnyTrait = TraitType  # before traitlets 5.10, such as in Colab, it has no type parameters

_ALL: Final = (*OPTIONS, *SETTINGS)
_SMALLEST_AMOUNT: Final = 0.001
_REFUSED: Final = "_refused"
"""Name of the attribute that holds an invalid budget."""


def traits_of(rows: tuple[Option, ...] = _ALL) -> dict[str, AnyTrait]:
    """Return the traits of `%config XaiImage` by name."""
    return {row.setting or row.name: _trait(row) for row in rows if row.configurable}


def _trait(row: Option) -> AnyTrait:
    default = row.default[0] if row.repeatable else row.default
    help_ = f"False: {row.help}" if row.bare is False else row.help  # its flag is --no-…
    common = {"default_value": default, "allow_none": default is None, "help": help_}
    trait: AnyTrait
    if isinstance(row.convert, Choice):
        trait = CaselessStrEnum(row.convert.values, **common)
    elif row.convert is budget:
        trait = Budget(**common)
    elif isinstance(row.convert, WholeNumber):
        trait = Int(min=row.convert.low, max=row.convert.high, **common)
    elif isinstance(row.convert, Amount):
        trait = Float(min=0.0 if row.convert.zero else _SMALLEST_AMOUNT, **common)
    else:
        trait = Bool(**common) if row.convert is bool else Unicode(**common)
    return trait.tag(config=True)


class Budget(AnyTrait):
    """A trait that accepts values such as `5` and `"5/day"`, and stores a `BudgetLimit`."""

    info_text = "US dollars, such as 5, '5/day', '50/month' or '100/total'"

    def set(self, obj: Any, value: Any) -> None:
        """Set the limit. After an invalid value, calls are refused until a valid one is set.

        Otherwise later cells would run without a limit, as `%config` only prints errors.
        """
        vars(obj)[_REFUSED] = {REFUSED_BUDGET: value}
        super().set(obj, value)
        del vars(obj)[_REFUSED]

    def validate(self, obj: Any, value: Any) -> BudgetLimit:
        """Parse a value and return the limit."""
        del obj
        try:
            return budget(value)
        except ValueError as error:
            raise TraitError(f"XaiImage.budget: {error}.") from None

    def from_string(self, s: str) -> BudgetLimit | None:
        """Parse a value of a command line or a configuration file and return the limit."""
        return None if s == "None" else self.validate(None, s)


_CALLS: Final = frozenset({"run_line_magic", "run_cell_magic"})
"""Methods of IPython's shell that run a magic."""


_Value = TypeVar("_Value")
_LISTED: Final = 24
"""Default of `-n`: images of %xai_history, jobs of %xai_jobs."""
_JOB_PATIENCE: Final = 1.0
"""Seconds before the progress of a job is shown while a cell waits for it."""


@dataclass(frozen=True)
class _Original:
    """The original bytes of an image, as a MIME bundle."""

    media_type: str
    data: bytes

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        del include, exclude
        return {self.media_type: base64.b64encode(self.data).decode()}


@magics_class
class XaiImage(Magics):
    """Images from xAI's models. `%config XaiImage.model = "…"` sets a default."""

    shell: InteractiveShell
    _displayed: BatchJob | None = None  # its card is already shown under the running cell

    # The traits are generated from the option table.
    locals().update(traits_of())

    def configuration(self) -> Mapping[str, Any]:
        """Return the defaults by their names in the option tables, and an invalid budget."""
        values = {
            row.name: getattr(self, row.setting or row.name) for row in _ALL if row.configurable
        }
        return values | getattr(self, _REFUSED, {})

    def configure(self, values: Mapping[str, Any]) -> None:
        """Set defaults by their names in the option tables; None resets a default."""
        for row in _ALL:
            if row.configurable and row.name in values:
                value = values[row.name]
                if row.repeatable and isinstance(value, tuple):
                    value = value[0]
                name = row.setting or row.name
                trait = self.traits()[name]
                if value is None:
                    value = trait.default()
                elif isinstance(trait, Unicode):
                    value = str(value)
                setattr(self, name, value)

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def xai_image(
        self, line: str, cell: str | None = None, local_ns: dict[str, Any] | None = None
    ) -> Any:
        """Generate images; this docstring is replaced by the help of the option table."""
        namespace = ChainMap(local_ns or {}, self.shell.user_ns)
        read = _read(line, cell, namespace)
        if read is None:
            return None
        prompt, given = read
        session = _session()
        call = session.prepare(prompt, given, namespace, template=True)
        if call.options.dry_run:
            return _display_if_dropped(session.plan(call))
        value = self._submit_job(call) if call.options.batch else self._show(call)
        if call.options.as_:
            self.shell.user_ns[call.options.as_] = value
        return _display_if_dropped(value)

    xai_image.__doc__ = help_text()

    def _show(self, call: Call) -> ImageBatch:
        """Run a call and show its progress; return its images."""
        from xai_notebook.notebook import progress  # noqa: PLC0415  # slow to import

        session = _session()
        output = progress.LiveOutput(self.shell)
        display = progress.CallProgress(
            output, call.progress, patience=call.patience, so_far=call.so_far()
        )
        try:
            if call.many and not call.lazy:
                with suppress(ApiError):  # a server may have no price list
                    display.announce(session.plan(call))
            elif not call.many and not call.route.painted:
                session.ask_price(call)
            with session.cells.claims_for_call() as claims:
                reporter = session.reporter(call)

                def tick() -> None:
                    display.tick()
                    if not sys.stderr.isatty():  # where the display is a line
                        reporter.tick()

                session.loop.run(session.run(call, claims), tick=tick)
                batch = session.finish(call)
        except BaseException as error:
            call.interrupted = isinstance(error, KeyboardInterrupt)
            self._present(call, display, error)
            raise
        display.end(batch)
        return batch

    def _submit_job(self, call: Call) -> BatchJob:
        """Show the job of a call with its size and price, then submit it and return it."""
        session = _session()
        with session.cells.claims_for_call() as claims:
            job = session.loop.run(session.prepare_job(call, claims))
            display = self._display_job(job)
            self._displayed = job if display is not None else None
            try:
                session.loop.run(job.submit())
                job.finish_if_done()
            except BaseException:
                self._displayed = None
                raise
            finally:
                if display is not None:
                    display.redraw()
        return job

    def original(self, sha256: str) -> _Original | None:
        """Return the original of an image; None if it is not stored. JupyterLab's viewer calls it.

        Args:
            sha256: Hex digest of the original bytes.
        """
        with suppress(XaiError):
            image: Any = _session().history.find_by_digest(sha256).get(sha256)
            if (kind := getattr(image, "media_type", None)) is not None:  # not an input file
                return _Original(kind, image.data)
        return None

    def show_job(self, job: BatchJob) -> bool:
        """Show a job's card under this cell, once, and update it until the job has ended.

        Also called when a cell's value is a job. Returns False in a terminal, which shows text.
        """
        if self._displayed is job:
            self._displayed = None  # already shown before it was submitted
            return True
        return self._display_job(job) is not None

    def _display_job(self, job: BatchJob) -> JobDisplay | None:
        """Show a job's card under this cell and return the display; None in a terminal."""
        from xai_notebook.notebook.progress import JobDisplay  # noqa: PLC0415  # not at load
        from xai_notebook.notebook.publisher import Publisher  # noqa: PLC0415  # not at load

        return JobDisplay(Publisher(self.shell), job) if in_kernel(self.shell) else None

    def follow_job(self, job: BatchJob) -> JobWait:
        """Create the progress display of a job for which this cell waits."""
        from xai_notebook.notebook.progress import JobWait  # noqa: PLC0415  # not at load

        return JobWait(self.shell, job, patience=_JOB_PATIENCE)

    def _present(self, call: Call, display: CallProgress, error: BaseException) -> None:
        """Show and bind the images that arrived before an error, like a cell's value."""
        # Some of many prompts can be done, for example if the key is revoked during the call.
        if not call.progress.done and not (call.many and call.interrupted):
            display.end()
            return
        batch = call.collect(_session())
        if not isinstance(error, ExportError):
            try:
                call.export(batch)
            except ExportError as failure:  # must not hide the first error
                notes = (*batch.notes, f"Not exported: {failure}")
                batch = batch.shown(notes=notes, undrawn=batch.undrawn)
        if call.options.as_:
            self.shell.user_ns[call.options.as_] = batch
        display.end(batch)
        self.shell.displayhook(batch)

    def _parsed(self, line: str) -> Parsed:
        """Return the options and the words of a line, with every `{{ … }}` filled in."""
        from xai_notebook.arguments.line import Parsed, parse  # noqa: PLC0415  # not at load
        from xai_notebook.arguments.templates import fill, fill_options  # noqa: PLC0415  # not at load

        names, (given, words) = self.shell.user_ns, parse(line)
        words = fill(words.removesuffix(";").rstrip(), names, "the line")
        return Parsed(fill_options(given, names), words)

    @no_var_expand
    @line_magic
    def xai_history(self, line: str) -> ImageBatch:
        """Show past images, newest first: %xai_history [-n N|all] [WORDS]."""
        usage = "%xai_history takes only -n N and words to look for."
        parsed = self._parsed(line)
        if is_all := str(parsed.given.get("n")).lower() == "all":
            del parsed.given["n"]
        words, count = _words_and_count(parsed, usage, "images")
        n = None if is_all else count
        return _display_if_dropped(_session().history.search(words, n, magic=True))

    @no_var_expand
    @line_magic
    def xai_jobs(self, line: str) -> JobList:
        """Show the jobs of all kernels, newest first: %xai_jobs [-n N]."""
        words, count = _words_and_count(self._parsed(line), "%xai_jobs takes only -n N.", "jobs")
        if words:
            raise OptionError("%xai_jobs takes only -n N.")
        return _display_if_dropped(_session().jobs(count))

    @no_var_expand
    @line_magic
    def xai_pack(self, line: str) -> None:
        """Write this notebook's pictures into a bundle beside it: %xai_pack [story.xai]."""
        from xai_notebook.arguments.templates import fill  # noqa: PLC0415  # not at load

        path = fill(line.strip().removesuffix(";").strip("\"' "), self.shell.user_ns, "the path")
        history = _session().history
        try:
            print(history.pack(path or None))  # noqa: T201  # says how many pictures, and where
        except OptionError as error:
            if path or not (in_kernel(self.shell) and history.has_shown()):
                raise
            print(error)  # noqa: T201  # the pictures are shown: Run All goes on

    @no_var_expand
    @line_magic
    def xai_panel(self, line: str) -> None:
        """Show the form: %xai_panel [OPTIONS] [PROMPT]. Options are those of %%xai_image."""
        from xai_notebook.notebook.panel import show_panel  # noqa: PLC0415  # ipywidgets

        if (read := _read(line, None, self.shell.user_ns)) is not None:
            prompt, given = read
            show_panel(prompt or "", given)

    @no_var_expand
    @line_magic
    def xai_library(self, line: str) -> None:
        """Show all pictures, to search and organize: %xai_library [--model=NAME] [WORDS]."""
        from xai_notebook.notebook.gallery import library  # noqa: PLC0415  # slow to import

        parsed = self._parsed(line)
        unknown = set(parsed.given) - {"model"}
        if unknown:
            raise OptionError("%xai_library takes only --model=NAME and words to look for.")
        library(parsed.prompt, **parsed.given)


def _session() -> Session:
    from xai_notebook.generation.session import current_session  # noqa: PLC0415  # not at load

    return current_session()


def _read(
    line: str, cell: str | None, namespace: Mapping[str, Any]
) -> tuple[str | None, dict[str, Any]] | None:
    """Return the prompt and the options of a magic; None after `--help`, which is printed."""
    from xai_notebook.arguments.line import cell_prompt, parse  # noqa: PLC0415  # not at load
    from xai_notebook.arguments.templates import fill_options  # noqa: PLC0415  # not at load

    parsed = parse(line)
    if parsed.given.pop("help", False):
        print(help_text())  # noqa: T201  # --help prints
        return None
    prompt = cell_prompt(parsed.prompt, cell)
    return prompt, fill_options(parsed.given, namespace)


def _display_if_dropped(value: _Value) -> _Value:
    """Return the value of a magic; display it first if the code that called the magic discards it.

    IPython only displays the value of a cell's last expression. The next bytecode instruction of
    the caller shows what happens to the value: in a loop or a function it is usually discarded,
    otherwise it is stored or returned.
    """
    frame: FrameType | None = sys._getframe()  # noqa: SLF001  # the only way to the caller
    in_magic = True
    while frame is not None:
        in_ipython = str(frame.f_globals.get("__name__", "")).partition(".")[0] == "IPython"
        if in_magic or in_ipython:  # another magic, such as %time, returns the value of its code
            in_magic = not (in_ipython and frame.f_code.co_name in _CALLS)
        else:
            last = frame.f_lasti
            instructions = dis.get_instructions(frame.f_code)
            following = next((each.opname for each in instructions if each.offset > last), None)
            if following == "POP_TOP":
                from IPython.display import display  # noqa: PLC0415  # IPython has it

                display(value)  # type: ignore[no-untyped-call]
            if following != "RETURN_VALUE":
                break
        frame = frame.f_back
    return value


def _words_and_count(parsed: Parsed, usage: str, noun: str) -> tuple[str, int]:
    """Return the words of a line and the value of `-n`, the number of images or jobs (`noun`).

    `usage` is the error message if the line has other options.
    """
    count = parsed.given.pop("n", _LISTED)
    if parsed.given:
        raise OptionError(usage)
    if not str(count).isdecimal() or not int(count):
        raise OptionError(f"-n: {count!r} is not a number of {noun}. Use a whole number from 1.")
    return parsed.prompt, int(count)

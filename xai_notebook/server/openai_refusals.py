"""What a call ends with when an engine does not do it: the cause, the cure, and whether to retry.

A client of the embedded server tries UNAVAILABLE and RESOURCE_EXHAUSTED again by itself. So it is
told not to, unless the engine had done nothing yet and said when to come back, or is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from grpc import StatusCode as Code

from xai_notebook.client.transport.scrubbing import scrub
from xai_notebook.server import openai_replies
from xai_notebook.server.faults import Refusal
from xai_notebook.server.openai_terms import Complaint

if TYPE_CHECKING:
    from xai_notebook.client.http import Answer, BrokenError, UnreachableError
    from xai_notebook.settings import ApiKey

__all__ = ["Refusals"]

_MAX_SAID: Final = 600
"""Characters of an engine's own words."""
_MAX_DIGITS: Final = 5
"""Of the seconds to wait: a day and a bit."""
_NEVER: Final = (("grpc-retry-pushback-ms", "-1"),)
_FAILED: Final = (Code.INTERNAL, "failed. It may have done the work: not asked again.")
_STATUSES: Final[dict[int, tuple[Code, str]]] = {
    400: (Code.INVALID_ARGUMENT, "does not accept the request."),
    401: (Code.FAILED_PRECONDITION, "wants another key. Set it in XAI_NOTEBOOK_ENGINE_KEY."),
    403: (Code.FAILED_PRECONDITION, "does not allow this, at least not with that key."),
    404: (Code.FAILED_PRECONDITION, "does not know the address or the model."),
    405: (Code.UNIMPLEMENTED, "does not do this."),
    413: (Code.INVALID_ARGUMENT, "finds the request too large. Use smaller images."),
    422: (Code.INVALID_ARGUMENT, "does not accept the request."),
    429: (Code.RESOURCE_EXHAUSTED, "has too much to do, or the quota is used up."),
    501: (Code.UNIMPLEMENTED, "does not do this."),
    503: (Code.UNAVAILABLE, "is not ready."),
}
_REDIRECTS: Final = range(300, 400)
_BUSY: Final = (429, 503)


@dataclass(frozen=True, slots=True)
class Refusals:
    """Refusals in the name of one engine.

    Attributes:
        place: Where it is.
        key: What it was sent, and could say back.
    """

    place: str
    key: ApiKey | None

    def because(self, code: Code, text: str, trailing: tuple[tuple[str, str], ...] = ()) -> Refusal:
        """Return a refusal for a cause that continues "The engine at …"."""
        return Refusal(code, f"The engine at {self.place} {text}", trailing)

    def unreachable(self, error: UnreachableError) -> Refusal:
        """Return the refusal when nothing was sent: harmless to try again, if that may help."""
        text = f"cannot be reached ({error}). Start it, or change XAI_NOTEBOOK_ENGINE."
        return self.because(Code.UNAVAILABLE, text, () if error.refused else _NEVER)

    def broken(self, error: BrokenError) -> Refusal:
        """Return the refusal when no whole answer came."""
        return self.because(
            Code.INTERNAL, f"failed: {error}. It may have done the work: not asked again."
        )

    def answered(self, answer: Answer) -> Refusal:
        """Return the refusal that an answer other than 200 means."""
        said = self.cleaned(Complaint.parse(answer.body).text)
        code, text = _STATUSES.get(answer.status, _FAILED)
        if answer.status in _REDIRECTS:
            code, text = Code.FAILED_PRECONDITION, "redirects, which is not followed."
        trailing: tuple[tuple[str, str], ...] = ()
        if answer.status in _BUSY:
            pause = answer.headers.get("retry-after", "")
            credible = pause.isdecimal() and len(pause) <= _MAX_DIGITS
            trailing = (("retry-after", pause),) if credible else _NEVER
        said = f" It says: {said}" if said else ""
        return self.because(code, f"{text} (HTTP {answer.status}){said}", trailing)

    def parsed(self, answer: Answer) -> dict[str, Any]:
        """Return the object that an answer is.

        Raises:
            Refusal: It is none.
        """
        try:
            said = openai_replies.parsed(answer.body)
        except ValueError:
            said = None
        if isinstance(said, dict):
            return said
        kind = "a web page" if answer.body.lstrip()[:1] == b"<" else "no JSON"
        raise self.because(
            Code.FAILED_PRECONDITION,
            f"answered with {kind}. The address must be that of the API, which mostly ends in "
            "/v1; a proxy or login page may be in the way.",
        )

    def cleaned(self, text: str) -> str:
        """Return what the engine said, bounded and without the key."""
        text = openai_replies.whole_text(text[: 8 * _MAX_SAID])
        return " ".join(scrub(text, self.key)[:_MAX_SAID].split())

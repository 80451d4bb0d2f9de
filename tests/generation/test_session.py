"""Calls of one session: requests, results, plans and failures."""

from __future__ import annotations

import asyncio
import re
import threading
from itertools import repeat
from typing import TYPE_CHECKING, Any

import grpc
import pytest

import xai_notebook as xai
from harness import CENT, KEY, settings_of, until
from xai_notebook import errors
from xai_notebook.client import wire
from xai_notebook.client.request import ImageRequest
from xai_notebook.generation.session import NOTICE, Session, close_session
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.results import GeneratedImage, ImageBatch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness import Kernels, Served

NO_LIMIT = {"rate": 0, "concurrency": 4}


# Requests


def test_a_list_as_a_prompt_is_refused(session: Session, server: Served) -> None:
    """The error names the option for lists."""
    with pytest.raises(errors.OptionError, match=r"is a list, not text\. .* go into each="):
        session.generate(["a fox", "an owl"])  # type: ignore[arg-type]
    assert not server.calls


def test_every_option_reaches_the_server(session: Session, server: Served) -> None:
    session.generate(
        "a red fox", n=2, model="grok-imagine-image-2.0", format="url", aspect_ratio="9:19.5",
        resolution="1k", quality="low", user="user-7",
    )  # fmt: skip
    sent = server.last
    assert (sent.prompt, sent.n, sent.user) == ("a red fox", 2, "user-7")
    assert sent.model == "grok-imagine-image-2.0"
    assert sent.format == wire.ImageFormat.Value("IMG_FORMAT_URL")
    assert sent.aspect_ratio == wire.ImageAspectRatio.Value("IMG_ASPECT_RATIO_9_19_5")
    assert sent.resolution == wire.ImageResolution.Value("IMG_RESOLUTION_1K")
    assert sent.quality == wire.ImageQuality.Value("IMG_QUALITY_LOW")


def test_nothing_is_sent_for_an_invalid_option(session: Session, server: Served) -> None:
    for bad in ({"n": 11}, {"image": "nope.png"}, {"resolution": "8k"}, {"colour": "red"}):
        with pytest.raises(errors.OptionError):
            session.generate("a red fox", **bad)
    for prompt in (None, "", "  "):
        with pytest.raises(errors.OptionError, match="prompt"):
            session.generate(prompt)
    assert server.server.requests == []


# Backends


def test_without_a_key_the_embedded_server_draws(new_session: Kernels) -> None:
    """Only the first batch has a notice about the embedded server."""
    session = new_session()
    first, second = session.generate("a red fox"), session.generate("an owl")
    assert first[0].model == "local-preview"
    assert first.notes == (NOTICE,)
    assert second.notes == ()


def test_local_uses_the_embedded_server_despite_a_key(session: Session, server: Served) -> None:
    """The user chose this server, so no notice is shown."""
    batch = session.generate("a red fox", local=True)
    assert (batch[0].model, batch.notes) == ("local-preview", ())
    assert server.calls == []


def test_previews_of_a_prompt_differ(session: Session) -> None:
    images = [session.generate("a red fox", local=True, fresh=True)[0] for _ in range(3)]
    images += session.generate("a red fox", n=2, local=True, fresh=True).redo(1)
    assert len({image.data for image in images}) == 5


@pytest.mark.parametrize("host", ["", "api.x.ai", "example.org:1234"])
def test_the_real_service_needs_a_key(host: str) -> None:
    """The error names both cures."""
    session = Session(settings_of(XAI_NOTEBOOK_BACKEND="xai", XAI_API_HOST=host))
    with pytest.raises(errors.ConfigurationError, match=r"Set XAI_API_KEY .*--local"):
        session.generate("a red fox")


def test_an_unknown_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message lists the backends."""
    monkeypatch.setenv("XAI_NOTEBOOK_BACKEND", "cloud")
    with pytest.raises(errors.ConfigurationError, match=r"'cloud'\. Set it to one of: auto, xai"):
        Session().generate("a red fox")


def test_an_error_contains_no_key(session: Session, server: Served) -> None:
    """The error names the variable that holds the key."""
    server.faults.failures = [(grpc.StatusCode.UNAUTHENTICATED, f"bad key {KEY}")]
    with pytest.raises(errors.AuthenticationError, match="XAI_API_KEY") as caught:
        session.generate("a red fox")
    assert KEY not in str(caught.value)


# Results


@pytest.mark.parametrize("form", ["base64", "url"])
def test_both_formats_give_a_picture(session: Session, form: str) -> None:
    (image,) = session.generate("a red fox", format=form, aspect_ratio="16:9")
    assert image.status == "ok"
    assert image.media_type == "image/jpeg"
    assert image.file is not None
    assert image.file.read_bytes() == image.data
    assert image.pil.size == image.size
    assert image.caption.startswith("Rewritten prompt: ")
    assert image.prompt == "a red fox"


def test_the_caption_without_a_rewrite_is_the_prompt(session: Session, server: Served) -> None:
    server.faults.up_sampled = False
    (image,) = session.generate("a red fox")
    assert (image.caption, image.rewritten_prompt) == ("Prompt: a red fox", None)


def test_a_moderated_image_is_reported_beside_the_others(session: Session) -> None:
    first, second = session.generate("a red fox [moderated:2]", n=2)
    assert (first.status, second.status) == ("ok", "moderated")
    with pytest.raises(errors.ModeratedError):
        _ = second.data


def test_missing_images_have_the_status_missing(session: Session, server: Served) -> None:
    server.faults.short = 2
    assert [image.status for image in session.generate("a fox", n=2)] == ["missing"] * 2
    server.faults.short = 1
    first, second = session.generate("a red fox", n=2)
    assert (first.status, second.status) == ("ok", "missing")
    assert second.error == "The server sent 1 of 2 images."
    with pytest.raises(errors.MissingImageError):
        _ = second.data


def test_an_empty_image_is_missing(session: Session, server: Served) -> None:
    """The reply has neither base64 nor a URL."""
    server.faults.empty = True
    (image,) = session.generate("a red fox")
    assert image.status == "missing"


def test_bytes_that_are_no_image_are_kept(session: Session, server: Served) -> None:
    """The image was paid for; its error says why there is no picture."""
    server.faults.garbage = b"not an image"
    (image,) = session.generate("a red fox")
    assert image.status == "failed"
    assert "not a readable image" in str(image.error)
    assert image.file is not None
    assert image.file.read_bytes() == b"not an image"


def test_costs_are_those_that_the_server_reports(session: Session, server: Served) -> None:
    """Each image has its part of the request's cost; a cost that is not reported is unknown."""
    server.faults.cost_ticks = 700_000_000
    batch = session.generate("a red fox", n=2)
    assert batch[0].cost_usd == pytest.approx(0.07)
    assert batch.cost_usd == pytest.approx(0.14)
    server.faults.cost_ticks = None
    assert session.generate("an owl").cost_usd is None


# Exports


def test_a_failed_export_loses_no_image(session: Session, tmp_path: Path) -> None:
    """The error is one line; the images are in the library."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(errors.ExportError) as caught:
        session.generate("a red fox", export=str(tmp_path / "file"))
    assert "\n" not in str(caught.value)
    assert session.history.search()[0].pil.size


def test_collecting_does_not_export(session: Session, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    call = session.prepare("a red fox", {"export": str(tmp_path / "file")})
    session.loop.run(session.run(call))
    batch = call.collect(session)
    assert batch[0].pil.size
    with pytest.raises(errors.ExportError):
        call.export(batch)


# Limits


def test_a_call_above_max_cost_is_refused_before_anything_is_sent(
    session: Session, server: Served
) -> None:
    server.faults.image_price = 7 * CENT
    with pytest.raises(errors.BudgetError, match=r"cost \$0.28, and \$0.20 of --max-cost \$0.20"):
        session.generate("a red fox", n=4, max_cost=0.2)
    assert server.calls == []
    session.generate("a red fox", n=2, max_cost=0.2)
    assert len(server.calls) == 1


def test_reported_costs_count_against_the_budget(session: Session, server: Served) -> None:
    """Refused requests cost nothing."""
    server.faults.image_price = 7 * CENT
    server.faults.cost_ticks = 700_000_000
    session.configured = lambda: {"budget": 0.15}
    server.faults.failures = [grpc.StatusCode.INVALID_ARGUMENT]
    with pytest.raises(errors.InvalidRequestError):
        session.generate("a red fox")
    session.generate("a red fox")
    session.generate("a red fox")
    with pytest.raises(errors.BudgetError, match=r"\$0.01 of XaiImage.budget \$0.15 is left"):
        session.generate("a red fox")


def test_a_dry_run_sends_nothing(session: Session, server: Served) -> None:
    """The plan shows the request and its price; only the price list is requested."""
    server.faults.image_price = 7 * CENT
    plan = session.generate("a red fox", n=3, aspect_ratio="16:9", dry_run=True)
    assert "$0.21" in repr(plan)
    assert "a red fox" in repr(plan)
    assert server.calls == []


def test_a_plan_counts_stored_images(session: Session, kernels: Kernels, server: Served) -> None:
    """A plan looks up the slots that the call would claim, and claims none."""
    server.faults.image_price = 2
    session.generate(each=["a", "b"])
    for _ in range(2):
        plan = session.generate(each=["a", "b", "b", "c"], n=2, dry_run=True)
        assert plan.stored == [0, 0, 0, 0]  # the plan looks up slots that are not used yet
    again = kernels()
    plan = again.generate(each=["a", "b", "b", "c"], n=2, dry_run=True)
    assert plan.stored == [1, 1, 0, 0]
    assert plan.sentence == "To make: 6, $0.12; from your library: 2."
    rows = dict(plan.rows())
    assert (rows["images"], rows["from your library"]) == ("8 (4 × 2)", "2")
    assert "price:             $0.02 an image\n" in repr(plan)
    assert again.generate(each=["a", "b"]).images[0].replayed
    assert len(server.calls) == 2


def test_a_plan_uses_stored_rewrites(kernels: Kernels, server: Served) -> None:
    kernels().generate(each=["a"], rewrite=True)
    plan = kernels().generate(each=["a", "b"], rewrite=True, dry_run=True)
    assert plan.stored == [1, 0]
    assert "rewritten by:" in repr(plan)
    assert (server.server.counts[wire.GET_COMPLETION], len(server.calls)) == (1, 1)


class Endless:
    """Prompts without end or length, which can be read again and again."""

    def __init__(self, prompt: str = "a fox") -> None:
        self.prompt = prompt

    def __iter__(self) -> Iterator[str]:
        return repeat(self.prompt)


@pytest.mark.parametrize(
    ("each", "least"), [(Endless(), 100), (repeat("a fox"), 100), (["a fox"] * 150_000, 100_000)]
)
def test_a_dry_run_reads_only_the_first_of_very_many_prompts(
    session: Session, server: Served, each: Any, least: int
) -> None:
    """The plan says "at least"; the call can still be run."""
    server.faults.image_price = 7
    call = session.prepare(None, {"each": each, "n": 2, "dry_run": True})
    plan = session.plan(call)
    assert len(plan.requests) == least
    assert re.search(rf"images: +at least {least * 2:,} \({least:,} × 2\)\n", repr(plan))
    assert re.search(rf"cost: +at least \${least * 0.14:,.2f}(\n|$)", repr(plan))
    assert plan.sentence.startswith(
        f"To make: at least {least * 2:,}, at least ${least * 0.14:,.2f}"
    )
    assert ("create it again before a run" in repr(plan)) == (least == 100)
    assert next(call.items).request == plan.requests[0]
    assert server.calls == []


def test_a_dry_run_of_a_short_generator_is_exact(session: Session, server: Served) -> None:
    plan = session.generate(each=(prompt for prompt in ("a", "b")), dry_run=True)
    assert "at least" not in repr(plan)
    assert len(plan.requests) == 2
    assert server.calls == []


# Many prompts


def test_the_summary_counts_the_prompts_of_a_generator(session: Session) -> None:
    """Blank prompts do not count, neither from a generator nor in a list."""
    session.configured = lambda: NO_LIMIT
    batch = session.generate(each=(prompt for prompt in ("a", "", "b")))
    assert batch.summary == "2 of 2 prompts, 1 blank row skipped."
    again = session.generate(each=["a", None, "b"])
    assert again.summary == "2 of 2 prompts, 1 blank row skipped."


def test_each_prompt_is_a_request_in_order(session: Session, server: Served) -> None:
    """Results are in the order of the prompts, whichever came first."""
    session.configured = lambda: NO_LIMIT
    server.faults.delay = lambda request: 0.2 if request.prompt == "p0" else 0.0
    batch = session.generate(each=[f"p{i}" for i in range(6)])
    assert [image.prompt for image in batch] == [f"p{i}" for i in range(6)]
    assert batch.summary == "6 of 6 prompts."


def test_concurrency_is_limited(session: Session, server: Served) -> None:
    session.configured = lambda: {"rate": 0, "concurrency": 2}
    server.faults.garbage = b"\xff\xd8\xff"
    server.faults.delay = 0.05
    session.generate(each=[f"p{i}" for i in range(8)])
    calls = server.calls
    assert len(calls) == 8
    for call in calls:
        concurrent = [c for c in calls if c.started <= call.started < (c.ended or 0)]
        assert len(concurrent) <= 2


def test_the_rate_is_limited(session: Session, server: Served) -> None:
    session.configured = lambda: {"rate": 20, "concurrency": 8}
    server.faults.garbage = b"\xff\xd8\xff"
    session.generate(each=[f"p{i}" for i in range(9)])
    starts = [call.started for call in server.calls]
    assert starts[-1] - starts[0] >= 8 / 20 * 0.9


def test_a_failed_prompt_stops_no_other(session: Session, server: Served) -> None:
    """The image has the cause of the failure."""
    session.configured = lambda: NO_LIMIT
    server.faults.fail_when = lambda request, _: (
        (grpc.StatusCode.INVALID_ARGUMENT, "no owls") if "owl" in request.prompt else None
    )
    batch = session.generate(each=["a fox", "an owl", "a cat"])
    assert [image.status for image in batch] == ["ok", "failed", "ok"]
    assert "no owls" in str(batch[1].error)
    assert batch.summary == "3 of 3 prompts, 1 failed."


def test_a_refused_key_stops_everything(session: Session, server: Served) -> None:
    session.configured = lambda: {"rate": 0, "concurrency": 1}
    server.faults.fail_when = lambda *_: grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(errors.AuthenticationError):
        session.generate(each=[f"p{i}" for i in range(20)])
    assert len(server.calls) == 1


def test_a_generator_is_read_as_requests_go_out(session: Session, server: Served) -> None:
    session.configured = lambda: {"rate": 0, "concurrency": 2}
    server.faults.garbage = b"\xff\xd8\xff"
    ahead: list[int] = []

    def prompts() -> Iterator[str]:
        for number in range(8):
            ahead.append(number - len([c for c in server.calls if c.ended]))
            yield f"p{number}"

    assert len(session.generate(each=prompts())) == 8
    assert max(ahead) <= 3


def test_an_error_in_a_generator_keeps_earlier_pictures(session: Session, server: Served) -> None:
    """Requests under way are answered and stored."""
    session.configured = lambda: NO_LIMIT
    server.faults.delay = 0.5

    def prompts() -> Iterator[str]:
        yield from ("a fox", "an owl")
        server.wait_for_call(2)
        raise KeyError("mine")

    with pytest.raises(
        errors.XaiError, match=r"KeyError: 'mine'. The error occurred after 2"
    ) as caught:
        session.generate(each=prompts())
    assert isinstance(caught.value.__cause__.__cause__, KeyError)
    assert {image.prompt for image in session.history.search()} == {"a fox", "an owl"}


@pytest.mark.parametrize("options", [{"each": True}, {"each": []}, {"each": "nope"}])
def test_each_without_prompts_is_refused(session: Session, options: dict[str, Any]) -> None:
    with pytest.raises(errors.OptionError, match="--each"):
        session.generate(None, **options)


# Async


def test_agenerate_calls_run_concurrently(session: Session) -> None:

    async def main() -> Any:
        return await asyncio.gather(session.agenerate("a fox"), session.agenerate("an owl"))

    assert [batch[0].prompt for batch in asyncio.run(main())] == ["a fox", "an owl"]


def test_cancelling_agenerate_cancels_the_call(session: Session, server: Served) -> None:
    """The next call works."""
    server.faults.delay = 30

    async def main() -> None:
        task = asyncio.create_task(session.agenerate("a fox"))
        call = await asyncio.to_thread(server.wait_for_call, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(until, lambda: call.cancelled)

    asyncio.run(main())
    server.faults.delay = 0
    assert session.generate("a fox")[0].status == "ok"


# Sessions


def test_a_closed_session_leaves_no_thread_and_starts_again(session: Session) -> None:
    """Closing twice is harmless."""
    session.generate("a red fox", local=True)
    session.close()
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("xai-notebook") == 1  # the thread of the tests' server
    session.close()
    assert session.generate("a red fox", local=True)[0].status == "ok"


def test_the_module_level_functions_share_one_session(keyed: Served) -> None:
    try:
        (fox,) = xai.generate("a red fox")
        (owl,) = asyncio.run(xai.agenerate("a grey owl"))
        assert [image.sha256 for image in xai.history()] == [owl.sha256, fox.sha256]
        assert sum(row.images for row in xai.costs()) == 2
    finally:
        close_session()


def test_a_slice_of_a_batch_is_a_batch() -> None:
    """The error about an index out of range names the index."""
    request = ImageRequest(prompt="a red fox", model="m")
    batch = ImageBatch([GeneratedImage(Picture(request=request), index=i) for i in range(3)])
    assert isinstance(batch[1:], ImageBatch)
    assert len(batch[1:] + batch[:1]) == 3
    with pytest.raises(IndexError, match="there is no image 3; the batch has 3"):
        _ = batch[3]
    assert re.fullmatch(r"<GeneratedImage 0 ok 'a red fox'>", repr(batch[0]))

"""The card of a job and the table of all jobs."""

from __future__ import annotations

from typing import Any

import pytest

from xai_notebook.pictures.render.job_card import (
    JobCard,
    JobCounts,
    job_bundle,
    table_html,
    table_text,
)


def card(**values: Any) -> JobCard:
    given: dict[str, Any] = {
        "name": "xai-notebook-1",
        "prompt": "a red fox",
        "title": "Running",
        "state": "running",
        "counts": JobCounts(8, 8),
        "price_usd": 0.16,
    }
    return JobCard(**(given | values))


def test_a_running_job_shows_its_cost_and_list_price() -> None:
    assert "$0.16 at list price" in job_bundle(card())["text/plain"]
    bundle = job_bundle(card(counts=JobCounts(8, 5, 3), cost_usd=0.06))
    assert "$0.06 of $0.16" in bundle["text/plain"]
    assert "3 of 8 in the library" in bundle["text/html"]
    assert 'aria-valuenow="38"' in bundle["text/html"]


@pytest.mark.parametrize("state", ["cancelled", "expired", "refused", "gone"])
def test_a_job_without_results_shows_no_price_and_no_bar(state: str) -> None:
    counts = JobCounts(8, cancelled=8)
    bundle = job_bundle(card(title="Ended", state=state, counts=counts, cause="No room."))
    for shown in bundle.values():
        assert "$" not in shown
        assert "No room." in shown
    assert "progressbar" not in bundle["text/html"]
    assert "8 not made" in bundle["text/html"]


def test_a_cancelled_job_shows_the_cost_of_its_results() -> None:
    counts = JobCounts(8, succeeded=3, cancelled=5)
    bundle = job_bundle(card(title="Cancelled", state="cancelled", counts=counts, cost_usd=0.06))
    assert "$0.06" in bundle["text/plain"]
    assert "of $0.16" not in bundle["text/plain"]
    assert "progressbar" in bundle["text/html"]


def test_the_table_shows_prompts_and_causes() -> None:
    listed = [card(), card(prompt="a whale " * 40)]
    lines = table_text(listed).splitlines()
    assert lines[0].split() == ["created", "state", "images", "cost", "prompt", "job"]
    assert "  a red fox " in lines[1]
    assert len(lines[2]) < 160
    ended = card(title="Refused", state="refused", cause="No such model.")
    assert table_text([*listed, ended]).splitlines()[3].endswith("No such model.")
    assert "No such model." in table_html([ended])


def test_foreign_text_is_shown_literally() -> None:
    words = "<script>x</script>\x1b[2J"
    hostile = card(prompt=words, name=words, cause=words, title="Cancelled", state="cancelled")
    for shown in (table_html([hostile]), job_bundle(hostile)["text/html"]):
        assert "<script" not in shown
        assert "&lt;script&gt;" in shown
    for shown in (table_text([hostile]), job_bundle(hostile)["text/plain"]):
        assert "\x1b" not in shown

"""A notebook whose pictures come from an engine: captions, notices, library, provenance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from openai_stub import SECRET, Reply, answers, complaint, png, reply_of
from xai_notebook import errors
from xai_notebook.generation.session import NOTICE, Session
from xai_notebook.pictures.xmp import TRAINED, read_metadata

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

    from openai_stub import Stub


@pytest.fixture
def engine(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """The stub, named by the environment."""
    monkeypatch.setenv("XAI_NOTEBOOK_ENGINE", stub.url)
    return stub


@pytest.fixture
def local(engine: Stub, new_session: Callable[[], Session]) -> Session:
    """A session without a key."""
    return new_session()


def test_pictures_say_where_they_come_from(local: Session, engine: Stub) -> None:
    """Model and notice are the engine's, once; what it cost on this computer is nothing."""
    engine.answer = answers(reply_of(3))
    batch: Any = local.generate("a red fox", n=3)
    place = engine.url[7:-3]
    assert [image.model for image in batch] == ["fox-1"] * 3
    assert [image.data for image in batch] == [png()] * 3
    assert [image.rewritten_prompt for image in batch] == [None] * 3
    assert batch.notes == (f"No XAI_API_KEY is set: pictures come from fox-1 at {place}.",)
    assert batch.cost_usd == 0
    again: Any = local.generate("another fox", n=3)
    assert again.notes == ()
    html = batch._repr_mimebundle_()["text/html"]
    assert "fox-1" in html
    assert "preview" not in html.lower()


def test_exports_say_a_trained_model(local: Session, engine: Stub, tmp_path: Path) -> None:
    """IPTC's source type is that of trained models, not of the painter."""
    (path,) = local.generate("a red fox").export(tmp_path)
    found = read_metadata(path)
    assert (found.model, found.digital_source_type) == ("fox-1", TRAINED)


def test_the_library_keeps_engines_apart(
    local: Session, engine: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stored picture of one engine answers no request to another, nor to the painter."""
    local.generate("a red fox")
    for wanted, replayed in ((engine.url, True), (f"{engine.url}#fox-2", False), ("", False)):
        monkeypatch.setenv("XAI_NOTEBOOK_ENGINE", wanted)
        session = Session()
        made: Any = session.generate("a red fox")
        session.close()
        assert made[0].replayed is replayed
        assert made[0].model == ("local-preview" if not wanted else made[0].model)
    assert made.notes == (NOTICE,)
    assert len(engine.orders) == 2


def test_a_budget_allows_what_costs_nothing(local: Session) -> None:
    """A limit in dollars does not keep anyone from an engine of their own."""
    assert local.generate("a red fox", max_cost=0.01)


def test_each(local: Session, engine: Stub) -> None:
    """Many prompts go through the engine as through the API; one failure is a card."""
    engine.answer = lambda asked, _number: (
        Reply(500, complaint("CUDA died")) if "owl" in asked.json["prompt"] else reply_of()
    )
    batch: Any = local.generate("a fox\nan owl\na bear", each=True)
    assert [image.status for image in batch] == ["ok", "failed", "ok"]
    assert "CUDA died" in batch[1].error
    assert len(engine.orders) == 3


def test_an_error_says_the_engine(local: Session, engine: Stub) -> None:
    """Its cause and its cure are the message."""
    engine.answer = answers(Reply(401, {}))
    with pytest.raises(errors.InvalidRequestError) as caught:
        local.generate("a red fox")
    assert f"The engine at {engine.url[7:-3]}" in str(caught.value)
    assert "XAI_NOTEBOOK_ENGINE_KEY" in str(caught.value)


def test_a_bad_address_is_an_error_of_configuration(
    local: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the variable, and is no server's failure."""
    monkeypatch.setenv("XAI_NOTEBOOK_ENGINE", "http://example.com/v1")
    with pytest.raises(errors.ConfigurationError, match="XAI_NOTEBOOK_ENGINE"):
        local.generate("a red fox")


def test_config(shell: InteractiveShell, stub: Stub) -> None:
    """`%config XaiImage.engine` chooses, and changes, the engine of the next call."""
    shell.run_line_magic("config", f"XaiImage.engine = {stub.url!r}")
    made = shell.run_cell_magic("xai_image", "-n 2", "a red fox")
    assert [image.model for image in made] == ["fox-1"] * 2
    shell.run_line_magic("config", "XaiImage.engine = 'painting'")
    assert shell.run_cell_magic("xai_image", "", "a red fox")[0].model == "local-preview"


def test_an_edit(shell: InteractiveShell, stub: Stub) -> None:
    """A picture of the engine goes back to it as an input."""
    shell.run_line_magic("config", f"XaiImage.engine = {stub.url!r}")
    shell.run_cell_magic("xai_image", "--as first", "a red fox")
    shell.run_cell_magic("xai_image", "-i first[0] --as second", "a hat on it")
    assert stub.orders[-1].path.endswith("/images/edits")
    assert stub.orders[-1].body.count(png()) == 1
    assert shell.user_ns["second"][0].model == "fox-1"


def test_the_engines_key_is_its_own(
    local: Session, engine: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes from its variable; xAI's never goes there."""
    monkeypatch.setenv("XAI_API_KEY", "xai-not-for-engines-0123")
    monkeypatch.setenv("XAI_NOTEBOOK_ENGINE_KEY", SECRET)
    local.generate("a red fox", local=True)
    assert {asked.headers["authorization"] for asked in engine.seen} == {f"Bearer {SECRET}"}


def test_a_rewrite_is_not_said_to_be_a_chat_models(local: Session) -> None:
    """The embedded server rewrites by itself, whatever chat model was asked for."""
    (image,) = local.generate("a red fox", rewrite="grok-4-fast-non-reasoning")
    assert image.rewritten_prompt
    assert image.rewritten_by == "embedded server"


def test_cards_say_nothing_of_previews(local: Session) -> None:
    """Nothing in an output with an engine's picture calls it a preview."""
    bundle: Any = local.generate("a red fox")._repr_mimebundle_()
    assert "local" not in (bundle["text/html"] + bundle["text/plain"]).lower()

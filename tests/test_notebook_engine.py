"""Pictures of an engine in a notebook: captions, notices, library, metadata, errors."""

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
    monkeypatch.setenv("XAI_NOTEBOOK_ENGINE", stub.url)
    return stub


@pytest.fixture
def local(engine: Stub, new_session: Callable[[], Session]) -> Session:
    return new_session()


def test_captions_and_the_notice_name_the_engine(local: Session, engine: Stub) -> None:
    """The notice appears once; pictures of an engine on this computer are free."""
    engine.answer = answers(reply_of(3))
    batch: Any = local.generate("a red fox", n=3)
    host = engine.url[7:-3]
    assert [image.model for image in batch] == ["fox-1"] * 3
    assert [image.data for image in batch] == [png()] * 3
    assert [image.rewritten_prompt for image in batch] == [None] * 3
    assert batch.notes == (f"No XAI_API_KEY is set: pictures come from fox-1 at {host}.",)
    assert batch.cost_usd == 0
    again: Any = local.generate("another fox", n=3)
    assert again.notes == ()
    html = batch._repr_mimebundle_()["text/html"]
    assert "fox-1" in html
    assert "preview" not in html.lower()


def test_exports_have_the_source_type_of_trained_models(
    local: Session, engine: Stub, tmp_path: Path
) -> None:
    (path,) = local.generate("a red fox").export(tmp_path)
    metadata = read_metadata(path)
    assert (metadata.model, metadata.digital_source_type) == ("fox-1", TRAINED)


def test_a_stored_picture_answers_requests_to_its_engine_only(
    local: Session, engine: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.generate("a red fox")
    for url, replayed in ((engine.url, True), (f"{engine.url}#fox-2", False), ("", False)):
        monkeypatch.setenv("XAI_NOTEBOOK_ENGINE", url)
        session = Session()
        batch: Any = session.generate("a red fox")
        session.close()
        assert batch[0].replayed is replayed
        assert batch[0].model == ("local-preview" if not url else batch[0].model)
    assert batch.notes == (NOTICE,)
    assert len(engine.orders) == 2


def test_a_cost_limit_allows_a_free_engine(local: Session) -> None:
    assert local.generate("a red fox", max_cost=0.01)


def test_one_failure_of_many_prompts_is_a_card(local: Session, engine: Stub) -> None:
    engine.answer = lambda request, _number: (
        Reply(500, complaint("CUDA died")) if "owl" in request.json["prompt"] else reply_of()
    )
    batch: Any = local.generate("a fox\nan owl\na bear", each=True)
    assert [image.status for image in batch] == ["ok", "failed", "ok"]
    assert "CUDA died" in batch[1].error
    assert len(engine.orders) == 3


def test_an_error_names_the_engine_and_the_cure(local: Session, engine: Stub) -> None:
    engine.answer = answers(Reply(401, {}))
    with pytest.raises(errors.InvalidRequestError) as caught:
        local.generate("a red fox")
    assert f"The engine at {engine.url[7:-3]}" in str(caught.value)
    assert "XAI_NOTEBOOK_ENGINE_KEY" in str(caught.value)


def test_an_invalid_url_is_a_configuration_error(
    local: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAI_NOTEBOOK_ENGINE", "http://example.com/v1")
    with pytest.raises(errors.ConfigurationError, match="XAI_NOTEBOOK_ENGINE"):
        local.generate("a red fox")


def test_config_chooses_the_engine_of_the_next_call(shell: InteractiveShell, stub: Stub) -> None:
    shell.run_line_magic("config", f"XaiImage.engine = {stub.url!r}")
    batch = shell.run_cell_magic("xai_image", "-n 2", "a red fox")
    assert [image.model for image in batch] == ["fox-1"] * 2
    shell.run_line_magic("config", "XaiImage.engine = 'painting'")
    assert shell.run_cell_magic("xai_image", "", "a red fox")[0].model == "local-preview"


def test_a_picture_of_the_engine_can_be_edited_by_it(shell: InteractiveShell, stub: Stub) -> None:
    shell.run_line_magic("config", f"XaiImage.engine = {stub.url!r}")
    shell.run_cell_magic("xai_image", "--as first", "a red fox")
    shell.run_cell_magic("xai_image", "-i first[0] --as second", "a hat on it")
    assert stub.orders[-1].path.endswith("/images/edits")
    assert stub.orders[-1].body.count(png()) == 1
    assert shell.user_ns["second"][0].model == "fox-1"


def test_the_engine_never_gets_the_xai_key(
    local: Session, engine: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAI_API_KEY", "xai-not-for-engines-0123")
    monkeypatch.setenv("XAI_NOTEBOOK_ENGINE_KEY", SECRET)
    local.generate("a red fox", local=True)
    assert {request.headers["authorization"] for request in engine.requests} == {f"Bearer {SECRET}"}


def test_rewrites_are_attributed_to_the_embedded_server(local: Session) -> None:
    (image,) = local.generate("a red fox", rewrite="grok-4-fast-non-reasoning")
    assert image.rewritten_prompt
    assert image.rewritten_by == "embedded server"


def test_pictures_of_an_engine_are_not_called_previews(local: Session) -> None:
    bundle: Any = local.generate("a red fox")._repr_mimebundle_()
    assert "local" not in (bundle["text/html"] + bundle["text/plain"]).lower()

"""Messages and method paths equal those of xAI's SDK."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.rpc import status_pb2
from xai_sdk.proto import (
    auth_pb2,
    batch_pb2,
    chat_pb2,
    files_pb2,
    image_pb2,
    models_pb2,
    usage_pb2,
)

from xai_notebook.client import wire

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

ROOT = Path(__file__).resolve().parents[2]
MESSAGES = ROOT / "xai_notebook" / "client" / "messages"

# Fields that xAI's current stubs no longer have, or have as another type of the same encoding.
ONLY_OURS = {("GeneratedImage", "up_sampled_prompt")}
ENUM_AS_INTEGER = {
    ("CompletionOutput", "finish_reason"),
    ("SamplingUsage", "server_side_tools_used"),
}


def theirs(name: str) -> Any:
    """Return xAI's message or enum of this name."""
    if name == "RpcStatus":
        return status_pb2.Status
    for module in (image_pb2, models_pb2, chat_pb2, usage_pb2, batch_pb2, files_pb2, auth_pb2):
        if hasattr(module, name):
            return getattr(module, name)
    raise LookupError(name)


def messages() -> dict[str, Descriptor]:
    """Return the descriptors of all our messages by name."""
    found: dict[str, Descriptor] = {}
    pending = [
        value.DESCRIPTOR
        for name, value in vars(wire).items()
        if name in wire.__all__ and hasattr(value, "DESCRIPTOR") and hasattr(value, "FromString")
    ]
    while pending:
        descriptor = pending.pop()
        if descriptor.name not in found and "xai_notebook" in descriptor.full_name:
            found[descriptor.name] = descriptor
            pending += [one.message_type for one in descriptor.fields if one.message_type]
    return found


def shape(field: Any) -> tuple[Any, ...]:
    """Return a field's properties on the wire and in Python."""
    kind = field.message_type or field.enum_type
    oneof = field.containing_oneof.name if field.containing_oneof else ""
    return (
        field.number,
        field.type,
        bool(getattr(field, "is_repeated", None)),
        field.has_presence,
        kind.name if kind else None,
        "" if oneof.startswith("_") else oneof,  # `optional` makes one of a single field
    )


@pytest.mark.parametrize("name", sorted(messages()))
def test_fields_equal_the_sdks(name: str) -> None:
    """Number, type, presence and oneof."""
    official = theirs(name).DESCRIPTOR.fields_by_name
    for field in messages()[name].fields:
        if (name, field.name) in ONLY_OURS:
            numbers = {one.number for one in official.values()}
            assert field.number not in numbers
        elif (name, field.name) in ENUM_AS_INTEGER:
            assert field.number == official[field.name].number
            assert official[field.name].enum_type is not None
        else:
            ours, xais = shape(field), shape(official[field.name])
            assert tuple("Status" if part == "RpcStatus" else part for part in ours) == xais


@pytest.mark.parametrize(
    "name",
    ["DownloadFormat", "FilesSortBy", "ImageAspectRatio", "ImageDetail", "ImageFormat",
     "ImageQuality", "ImageResolution", "MessageRole", "Modality", "Ordering"],
)  # fmt: skip
def test_enum_values_equal_the_sdks(name: str) -> None:
    official = dict(theirs(name).items())
    for value, number in getattr(wire, name).items():
        assert official[value] == number


PATHS = [value for value in vars(wire).values() if str(value).startswith("/xai_api.")]
SERVICES = {
    service.full_name: service
    for module in (image_pb2, models_pb2, chat_pb2, batch_pb2, files_pb2, auth_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
}


@pytest.mark.parametrize("path", PATHS)
def test_method_paths_exist_in_the_sdk(path: str) -> None:
    _, service, method = path.split("/")
    assert method in SERVICES[service].methods_by_name


def test_names_are_not_the_sdks() -> None:
    """Each name can be registered once in a process."""
    for descriptor in messages().values():
        assert descriptor.full_name.startswith("xai_notebook.")
        assert not descriptor.file.name.startswith("xai/")


def test_descriptors_are_up_to_date(tmp_path: Path) -> None:
    """They equal the output of protos/regenerate.py."""
    pytest.importorskip("grpc_tools")
    source = ROOT / "protos" / "regenerate.py"
    spec = importlib.util.spec_from_file_location("regenerate", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.regenerate(tmp_path)
    assert sorted(one.name for one in made) == sorted(
        one.name for one in MESSAGES.iterdir() if one.suffix in {".binpb", ".pyi"}
    )
    for one in made:
        assert one.read_bytes() == (MESSAGES / one.name).read_bytes(), one.name


def test_every_exported_name_exists() -> None:
    for name in wire.__all__:
        assert hasattr(wire, name)

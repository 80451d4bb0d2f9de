"""Messages and method paths match xAI's SDK."""

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
)  # fmt: skip

from xai_notebook.client import wire

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

ROOT = Path(__file__).resolve().parents[2]
MESSAGES = ROOT / "xai_notebook" / "client" / "messages"

# Fields that xAI's current stubs no longer have.
ONLY_OURS = {("GeneratedImage", "up_sampled_prompt")}
# Fields that are enums in xAI's stubs and integers in ours; both are encoded as varints.
ENUM_AS_INTEGER = {
    ("CompletionOutput", "finish_reason"),
    ("SamplingUsage", "server_side_tools_used"),
}


def sdk_type(name: str) -> Any:
    """Return xAI's message or enum of this name."""
    if name == "RpcStatus":
        return status_pb2.Status
    for module in (image_pb2, models_pb2, chat_pb2, usage_pb2, batch_pb2, files_pb2, auth_pb2):
        if hasattr(module, name):
            return getattr(module, name)
    raise LookupError(name)


def messages() -> dict[str, Descriptor]:
    """Return the descriptors of all our messages by name."""
    descriptors: dict[str, Descriptor] = {}
    pending = [
        value.DESCRIPTOR
        for name, value in vars(wire).items()
        if name in wire.__all__ and hasattr(value, "DESCRIPTOR") and hasattr(value, "FromString")
    ]
    while pending:
        descriptor = pending.pop()
        if descriptor.name not in descriptors and "xai_notebook" in descriptor.full_name:
            descriptors[descriptor.name] = descriptor
            pending += [field.message_type for field in descriptor.fields if field.message_type]
    return descriptors


def shape(field: Any) -> tuple[Any, ...]:
    """Return the properties that decide a field's encoding and its Python type."""
    kind = field.message_type or field.enum_type
    oneof = field.containing_oneof.name if field.containing_oneof else ""
    return (
        field.number,
        field.type,
        bool(getattr(field, "is_repeated", None)),
        field.has_presence,
        kind.name if kind else None,
        "" if oneof.startswith("_") else oneof,  # proto3 `optional` creates a synthetic oneof
    )


@pytest.mark.parametrize("name", sorted(messages()))
def test_fields_match_the_sdk(name: str) -> None:
    """Number, type, presence and oneof are equal."""
    sdk_fields = sdk_type(name).DESCRIPTOR.fields_by_name
    for field in messages()[name].fields:
        if (name, field.name) in ONLY_OURS:
            numbers = {sdk_field.number for sdk_field in sdk_fields.values()}
            assert field.number not in numbers
        elif (name, field.name) in ENUM_AS_INTEGER:
            assert field.number == sdk_fields[field.name].number
            assert sdk_fields[field.name].enum_type is not None
        else:
            ours = tuple("Status" if part == "RpcStatus" else part for part in shape(field))
            assert ours == shape(sdk_fields[field.name])


@pytest.mark.parametrize(
    "name",
    ["DownloadFormat", "FilesSortBy", "ImageAspectRatio", "ImageDetail", "ImageFormat",
     "ImageQuality", "ImageResolution", "MessageRole", "Modality", "Ordering"],
)  # fmt: skip
def test_enum_values_match_the_sdk(name: str) -> None:
    sdk_values = dict(sdk_type(name).items())
    for value, number in getattr(wire, name).items():
        assert sdk_values[value] == number


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


def test_message_names_do_not_collide_with_the_sdk() -> None:
    """A process can register each full name only once."""
    for descriptor in messages().values():
        assert descriptor.full_name.startswith("xai_notebook.")
        assert not descriptor.file.name.startswith("xai/")


def test_descriptors_are_up_to_date(tmp_path: Path) -> None:
    """The stored descriptors equal the output of protos/regenerate.py."""
    pytest.importorskip("grpc_tools")
    source = ROOT / "protos" / "regenerate.py"
    spec = importlib.util.spec_from_file_location("regenerate", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    generated = module.regenerate(tmp_path)
    assert sorted(file.name for file in generated) == sorted(
        file.name for file in MESSAGES.iterdir() if file.suffix in {".binpb", ".pyi"}
    )
    for file in generated:
        assert file.read_bytes() == (MESSAGES / file.name).read_bytes(), file.name


def test_every_exported_name_exists() -> None:
    for name in wire.__all__:
        assert hasattr(wire, name)

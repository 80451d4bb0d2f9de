"""The API's protobuf message classes and gRPC method paths, from the compiled `protos/`.

The classes are created at run time from a descriptor set, for two reasons. Generated code rejects
protobuf runtimes that are older than its compiler. And xAI's SDK registers the names
`xai/api/v1/*.proto` and `xai_api.*` in the process's only descriptor pool, so a second module with
these names could not be imported. Our files and package have other names and work together with the
SDK in either order of import. The method paths, such as `/xai_api.Image/GenerateImage`, do not
depend on these names.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    timestamp_pb2,  # noqa: F401  # the import registers it, which must happen before our files
)
from google.protobuf.empty_pb2 import Empty
from google.protobuf.internal import enum_type_wrapper

if TYPE_CHECKING:
    # isort: off
    # fmt: off
    from xai_notebook.client.messages.auth_pb2 import ApiKey
    from xai_notebook.client.messages.batch_pb2 import (
        AddBatchRequestsRequest, Batch, BatchRequest, BatchRequestMetadata, BatchResult, BatchState,
        CancelBatchRequest, CreateBatchRequest, GetBatchRequest, GetBatchRequestResultRequest,
        GetBatchRequestResultResponse, ListBatchesRequest, ListBatchesResponse,
        ListBatchRequestMetadataRequest, ListBatchRequestMetadataResponse, ListBatchResultsRequest,
        ListBatchResultsResponse,
    )
    from xai_notebook.client.messages.chat_pb2 import (
        GetChatCompletionResponse, GetCompletionsRequest, MessageRole,
    )
    from xai_notebook.client.messages.files_pb2 import (
        CreatePublicUrlRequest, CreatePublicUrlResponse, DeleteFileRequest, DeleteFileResponse,
        DownloadFormat, File, FileContentChunk, FilesSortBy, ListFilesRequest, ListFilesResponse,
        Ordering, RetrieveFileContentRequest, RetrieveFileRequest, RevokePublicUrlRequest,
        RevokePublicUrlResponse, UploadFileChunk, UploadFileInit,
    )
    from xai_notebook.client.messages.image_pb2 import (
        FileOutput, GeneratedImage, GenerateImageRequest, ImageAspectRatio, ImageDetail,
        ImageFormat, ImageQuality, ImageResolution, ImageResponse, ImageUrlContent, StorageOptions,
    )
    from xai_notebook.client.messages.models_pb2 import (
        GetModelRequest, ImageGenerationModel, ListImageGenerationModelsResponse, Modality,
    )
    from xai_notebook.client.messages.usage_pb2 import SamplingUsage
    # fmt: on
    # isort: on

__all__ = [
    "ADD_BATCH_REQUESTS", "CANCEL_BATCH", "CREATE_BATCH", "CREATE_PUBLIC_URL", "DELETE_FILE",
    "GENERATE_IMAGE", "GET_API_KEY_INFO", "GET_BATCH", "GET_BATCH_REQUEST_RESULT", "GET_COMPLETION",
    "GET_IMAGE_GENERATION_MODEL", "LIST_BATCHES", "LIST_BATCH_REQUEST_METADATA",
    "LIST_BATCH_RESULTS", "LIST_FILES", "LIST_IMAGE_GENERATION_MODELS", "RETRIEVE_FILE",
    "RETRIEVE_FILE_CONTENT", "REVOKE_PUBLIC_URL", "TICKS_PER_USD", "UPLOAD_FILE",
    "AddBatchRequestsRequest", "ApiKey", "Batch", "BatchRequest", "BatchRequestMetadata",
    "BatchResult", "BatchState", "CancelBatchRequest", "CreateBatchRequest",
    "CreatePublicUrlRequest", "CreatePublicUrlResponse", "DeleteFileRequest", "DeleteFileResponse",
    "DownloadFormat", "Empty", "File", "FileContentChunk", "FileOutput", "FilesSortBy",
    "GenerateImageRequest", "GeneratedImage", "GetBatchRequest", "GetBatchRequestResultRequest",
    "GetBatchRequestResultResponse", "GetChatCompletionResponse", "GetCompletionsRequest",
    "GetModelRequest", "ImageAspectRatio", "ImageDetail", "ImageFormat", "ImageGenerationModel",
    "ImageQuality", "ImageResolution", "ImageResponse", "ImageUrlContent",
    "ListBatchRequestMetadataRequest", "ListBatchRequestMetadataResponse",
    "ListBatchResultsRequest", "ListBatchResultsResponse", "ListBatchesRequest",
    "ListBatchesResponse", "ListFilesRequest", "ListFilesResponse",
    "ListImageGenerationModelsResponse", "MessageRole", "Modality", "Ordering",
    "RetrieveFileContentRequest", "RetrieveFileRequest", "RevokePublicUrlRequest",
    "RevokePublicUrlResponse", "SamplingUsage", "StorageOptions", "UploadFileChunk",
    "UploadFileInit",
]  # fmt: skip

GENERATE_IMAGE: Final = "/xai_api.Image/GenerateImage"
LIST_IMAGE_GENERATION_MODELS: Final = "/xai_api.Models/ListImageGenerationModels"
GET_IMAGE_GENERATION_MODEL: Final = "/xai_api.Models/GetImageGenerationModel"
GET_COMPLETION: Final = "/xai_api.Chat/GetCompletion"

ADD_BATCH_REQUESTS: Final = "/xai_api.BatchMgmt/AddBatchRequests"
CANCEL_BATCH: Final = "/xai_api.BatchMgmt/CancelBatch"
CREATE_BATCH: Final = "/xai_api.BatchMgmt/CreateBatch"
GET_BATCH: Final = "/xai_api.BatchMgmt/GetBatch"
GET_BATCH_REQUEST_RESULT: Final = "/xai_api.BatchMgmt/GetBatchRequestResult"
LIST_BATCHES: Final = "/xai_api.BatchMgmt/ListBatches"
LIST_BATCH_REQUEST_METADATA: Final = "/xai_api.BatchMgmt/ListBatchRequestMetadata"
LIST_BATCH_RESULTS: Final = "/xai_api.BatchMgmt/ListBatchResults"
CREATE_PUBLIC_URL: Final = "/xai_api.Files/CreatePublicUrl"
DELETE_FILE: Final = "/xai_api.Files/DeleteFile"
LIST_FILES: Final = "/xai_api.Files/ListFiles"
RETRIEVE_FILE: Final = "/xai_api.Files/RetrieveFile"
RETRIEVE_FILE_CONTENT: Final = "/xai_api.Files/RetrieveFileContent"
REVOKE_PUBLIC_URL: Final = "/xai_api.Files/RevokePublicUrl"
UPLOAD_FILE: Final = "/xai_api.Files/UploadFile"
GET_API_KEY_INFO: Final = "/xai_api.Auth/get_api_key_info"

TICKS_PER_USD: Final = 10**10
"""Ticks per US dollar in `SamplingUsage.cost_in_usd_ticks`."""

_PACKAGE = "xai_notebook.api.v1"


def _load() -> dict[str, Any]:
    """Add our files to the default pool and return their message and enum classes by name."""
    pool = descriptor_pool.Default()
    source = resources.files("xai_notebook.client") / "messages" / "descriptors.binpb"
    files = descriptor_pb2.FileDescriptorSet.FromString(source.read_bytes())
    classes: dict[str, Any] = {}
    for file in files.file:  # in the order of their dependencies, as protoc writes them
        # If this module is reloaded, the pool accepts an identical file again.
        pool.AddSerializedFile(file.SerializeToString())
        for message in file.message_type:
            descriptor = pool.FindMessageTypeByName(f"{_PACKAGE}.{message.name}")
            classes[message.name] = message_factory.GetMessageClass(descriptor)
        for enum in file.enum_type:
            values = pool.FindEnumTypeByName(f"{_PACKAGE}.{enum.name}")
            classes[enum.name] = enum_type_wrapper.EnumTypeWrapper(values)
    return classes


if not TYPE_CHECKING:
    globals().update({name: cls for name, cls in _load().items() if name in __all__})

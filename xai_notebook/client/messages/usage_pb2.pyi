from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class SamplingUsage(_message.Message):
    __slots__ = ("completion_tokens", "prompt_tokens", "total_tokens", "prompt_text_tokens", "prompt_image_tokens", "reasoning_tokens", "cached_prompt_text_tokens", "num_sources_used", "server_side_tools_used", "cost_in_usd_ticks")
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_IMAGE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REASONING_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_PROMPT_TEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    NUM_SOURCES_USED_FIELD_NUMBER: _ClassVar[int]
    SERVER_SIDE_TOOLS_USED_FIELD_NUMBER: _ClassVar[int]
    COST_IN_USD_TICKS_FIELD_NUMBER: _ClassVar[int]
    completion_tokens: int
    prompt_tokens: int
    total_tokens: int
    prompt_text_tokens: int
    prompt_image_tokens: int
    reasoning_tokens: int
    cached_prompt_text_tokens: int
    num_sources_used: int
    server_side_tools_used: _containers.RepeatedScalarFieldContainer[int]
    cost_in_usd_ticks: int
    def __init__(self, completion_tokens: _Optional[int] = ..., prompt_tokens: _Optional[int] = ..., total_tokens: _Optional[int] = ..., prompt_text_tokens: _Optional[int] = ..., prompt_image_tokens: _Optional[int] = ..., reasoning_tokens: _Optional[int] = ..., cached_prompt_text_tokens: _Optional[int] = ..., num_sources_used: _Optional[int] = ..., server_side_tools_used: _Optional[_Iterable[int]] = ..., cost_in_usd_ticks: _Optional[int] = ...) -> None: ...

from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ApiKey(_message.Message):
    __slots__ = ("redacted_api_key", "user_id", "name", "team_id", "acls", "api_key_id", "api_key_blocked", "disabled", "team_blocked")
    REDACTED_API_KEY_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEAM_ID_FIELD_NUMBER: _ClassVar[int]
    ACLS_FIELD_NUMBER: _ClassVar[int]
    API_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    API_KEY_BLOCKED_FIELD_NUMBER: _ClassVar[int]
    DISABLED_FIELD_NUMBER: _ClassVar[int]
    TEAM_BLOCKED_FIELD_NUMBER: _ClassVar[int]
    redacted_api_key: str
    user_id: str
    name: str
    team_id: str
    acls: _containers.RepeatedScalarFieldContainer[str]
    api_key_id: str
    api_key_blocked: bool
    disabled: bool
    team_blocked: bool
    def __init__(self, redacted_api_key: _Optional[str] = ..., user_id: _Optional[str] = ..., name: _Optional[str] = ..., team_id: _Optional[str] = ..., acls: _Optional[_Iterable[str]] = ..., api_key_id: _Optional[str] = ..., api_key_blocked: _Optional[bool] = ..., disabled: _Optional[bool] = ..., team_blocked: _Optional[bool] = ...) -> None: ...

import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SignedBody(_message.Message):
    __slots__ = ("body", "signature", "identity", "generation_id", "sequence_number")
    BODY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    GENERATION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    body: bytes
    signature: str
    identity: str
    generation_id: str
    sequence_number: int
    def __init__(self, body: _Optional[bytes] = ..., signature: _Optional[str] = ..., identity: _Optional[str] = ..., generation_id: _Optional[str] = ..., sequence_number: _Optional[int] = ...) -> None: ...

class Leaf(_message.Message):
    __slots__ = ("payload", "index", "path", "batch")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    index: int
    path: _containers.RepeatedScalarFieldContainer[str]
    batch: int
    def __init__(self, payload: _Optional[bytes] = ..., index: _Optional[int] = ..., path: _Optional[_Iterable[str]] = ..., batch: _Optional[int] = ...) -> None: ...

class EndorseRequest(_message.Message):
    __slots__ = ("purpose", "public_key", "ttl", "accept_batch")
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_BATCH_FIELD_NUMBER: _ClassVar[int]
    purpose: str
    public_key: str
    ttl: _duration_pb2.Duration
    accept_batch: bool
    def __init__(self, purpose: _Optional[str] = ..., public_key: _Optional[str] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., accept_batch: _Optional[bool] = ...) -> None: ...

class EndorseResponse(_message.Message):
    __slots__ = ("endorsement", "expiration", "leaf", "batch")
    ENDORSEMENT_FIELD_NUMBER: _ClassVar[int]
    EXPIRATION_FIELD_NUMBER: _ClassVar[int]
    LEAF_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    endorsement: SignedBody
    expiration: str
    leaf: Leaf
    batch: SignedBody
    def __init__(self, endorsement: _Optional[_Union[SignedBody, _Mapping]] = ..., expiration: _Optional[str] = ..., leaf: _Optional[_Union[Leaf, _Mapping]] = ..., batch: _Optional[_Union[SignedBody, _Mapping]] = ...) -> None: ...

class SignRequest(_message.Message):
    __slots__ = ("payload", "accept_batch")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_BATCH_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    accept_batch: bool
    def __init__(self, payload: _Optional[bytes] = ..., accept_batch: _Optional[bool] = ...) -> None: ...

class SignResponse(_message.Message):
    __slots__ = ("signed", "leaf", "batch")
    SIGNED_FIELD_NUMBER: _ClassVar[int]
    LEAF_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    signed: SignedBody
    leaf: Leaf
    batch: SignedBody
    def __init__(self, signed: _Optional[_Union[SignedBody, _Mapping]] = ..., leaf: _Optional[_Union[Leaf, _Mapping]] = ..., batch: _Optional[_Union[SignedBody, _Mapping]] = ...) -> None: ...

class SignBatchRequest(_message.Message):
    __slots__ = ("payloads", "accept_batch")
    PAYLOADS_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_BATCH_FIELD_NUMBER: _ClassVar[int]
    payloads: _containers.RepeatedScalarFieldContainer[bytes]
    accept_batch: bool
    def __init__(self, payloads: _Optional[_Iterable[bytes]] = ..., accept_batch: _Optional[bool] = ...) -> None: ...

class SignBatchResponse(_message.Message):
    __slots__ = ("signed", "leaves", "batches")
    SIGNED_FIELD_NUMBER: _ClassVar[int]
    LEAVES_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    signed: _containers.RepeatedCompositeFieldContainer[SignedBody]
    leaves: _containers.RepeatedCompositeFieldContainer[Leaf]
    batches: _containers.RepeatedCompositeFieldContainer[SignedBody]
    def __init__(self, signed: _Optional[_Iterable[_Union[SignedBody, _Mapping]]] = ..., leaves: _Optional[_Iterable[_Union[Leaf, _Mapping]]] = ..., batches: _Optional[_Iterable[_Union[SignedBody, _Mapping]]] = ...) -> None: ...

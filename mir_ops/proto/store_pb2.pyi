from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Format(_message.Message):
    __slots__ = ("version", "store_id", "hash", "created_at_us")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_US_FIELD_NUMBER: _ClassVar[int]
    version: int
    store_id: str
    hash: str
    created_at_us: int
    def __init__(self, version: _Optional[int] = ..., store_id: _Optional[str] = ..., hash: _Optional[str] = ..., created_at_us: _Optional[int] = ...) -> None: ...

class Features(_message.Message):
    __slots__ = ("min_reader", "min_writer", "features", "blob_roots", "probe")
    MIN_READER_FIELD_NUMBER: _ClassVar[int]
    MIN_WRITER_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    BLOB_ROOTS_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    min_reader: int
    min_writer: int
    features: _containers.RepeatedScalarFieldContainer[str]
    blob_roots: _containers.RepeatedScalarFieldContainer[str]
    probe: str
    def __init__(self, min_reader: _Optional[int] = ..., min_writer: _Optional[int] = ..., features: _Optional[_Iterable[str]] = ..., blob_roots: _Optional[_Iterable[str]] = ..., probe: _Optional[str] = ...) -> None: ...

class Commit(_message.Message):
    __slots__ = ("parents", "manifest", "generation", "op_id", "operation", "project", "round", "run", "author", "message", "created_at_us", "keywords", "stats", "equivalent_to")
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    OP_ID_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_US_FIELD_NUMBER: _ClassVar[int]
    KEYWORDS_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    EQUIVALENT_TO_FIELD_NUMBER: _ClassVar[int]
    parents: _containers.RepeatedScalarFieldContainer[bytes]
    manifest: bytes
    generation: int
    op_id: str
    operation: Operation
    project: str
    round: str
    run: str
    author: str
    message: str
    created_at_us: int
    keywords: _containers.RepeatedScalarFieldContainer[str]
    stats: Stats
    equivalent_to: bytes
    def __init__(self, parents: _Optional[_Iterable[bytes]] = ..., manifest: _Optional[bytes] = ..., generation: _Optional[int] = ..., op_id: _Optional[str] = ..., operation: _Optional[_Union[Operation, _Mapping]] = ..., project: _Optional[str] = ..., round: _Optional[str] = ..., run: _Optional[str] = ..., author: _Optional[str] = ..., message: _Optional[str] = ..., created_at_us: _Optional[int] = ..., keywords: _Optional[_Iterable[str]] = ..., stats: _Optional[_Union[Stats, _Mapping]] = ..., equivalent_to: _Optional[bytes] = ...) -> None: ...

class Operation(_message.Message):
    __slots__ = ("kind", "parameters", "inputs", "executor", "seed", "code_version")
    KIND_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    EXECUTOR_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    CODE_VERSION_FIELD_NUMBER: _ClassVar[int]
    kind: str
    parameters: str
    inputs: _containers.RepeatedScalarFieldContainer[bytes]
    executor: str
    seed: int
    code_version: str
    def __init__(self, kind: _Optional[str] = ..., parameters: _Optional[str] = ..., inputs: _Optional[_Iterable[bytes]] = ..., executor: _Optional[str] = ..., seed: _Optional[int] = ..., code_version: _Optional[str] = ...) -> None: ...

class Stats(_message.Message):
    __slots__ = ("assets", "splits", "layers")
    ASSETS_FIELD_NUMBER: _ClassVar[int]
    SPLITS_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    assets: int
    splits: _containers.RepeatedCompositeFieldContainer[SplitCount]
    layers: _containers.RepeatedCompositeFieldContainer[LayerStats]
    def __init__(self, assets: _Optional[int] = ..., splits: _Optional[_Iterable[_Union[SplitCount, _Mapping]]] = ..., layers: _Optional[_Iterable[_Union[LayerStats, _Mapping]]] = ...) -> None: ...

class SplitCount(_message.Message):
    __slots__ = ("split", "assets")
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    ASSETS_FIELD_NUMBER: _ClassVar[int]
    split: str
    assets: int
    def __init__(self, split: _Optional[str] = ..., assets: _Optional[int] = ...) -> None: ...

class LayerStats(_message.Message):
    __slots__ = ("layer", "assets", "rows", "classes")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    ASSETS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    layer: str
    assets: int
    rows: int
    classes: _containers.RepeatedCompositeFieldContainer[ClassCount]
    def __init__(self, layer: _Optional[str] = ..., assets: _Optional[int] = ..., rows: _Optional[int] = ..., classes: _Optional[_Iterable[_Union[ClassCount, _Mapping]]] = ...) -> None: ...

class ClassCount(_message.Message):
    __slots__ = ("class_id", "rows", "assets")
    CLASS_ID_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    ASSETS_FIELD_NUMBER: _ClassVar[int]
    class_id: int
    rows: int
    assets: int
    def __init__(self, class_id: _Optional[int] = ..., rows: _Optional[int] = ..., assets: _Optional[int] = ...) -> None: ...

class Manifest(_message.Message):
    __slots__ = ("tables", "taxonomy")
    TABLES_FIELD_NUMBER: _ClassVar[int]
    TAXONOMY_FIELD_NUMBER: _ClassVar[int]
    tables: _containers.RepeatedCompositeFieldContainer[Table]
    taxonomy: bytes
    def __init__(self, tables: _Optional[_Iterable[_Union[Table, _Mapping]]] = ..., taxonomy: _Optional[bytes] = ...) -> None: ...

class Table(_message.Message):
    __slots__ = ("name", "base", "deltas")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    DELTAS_FIELD_NUMBER: _ClassVar[int]
    name: str
    base: _containers.RepeatedCompositeFieldContainer[Segment]
    deltas: _containers.RepeatedCompositeFieldContainer[Segment]
    def __init__(self, name: _Optional[str] = ..., base: _Optional[_Iterable[_Union[Segment, _Mapping]]] = ..., deltas: _Optional[_Iterable[_Union[Segment, _Mapping]]] = ...) -> None: ...

class Segment(_message.Message):
    __slots__ = ("id", "bytes", "rows", "assets", "markers", "tombstones", "min_key", "max_key", "classes", "sidecar")
    ID_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    ASSETS_FIELD_NUMBER: _ClassVar[int]
    MARKERS_FIELD_NUMBER: _ClassVar[int]
    TOMBSTONES_FIELD_NUMBER: _ClassVar[int]
    MIN_KEY_FIELD_NUMBER: _ClassVar[int]
    MAX_KEY_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    SIDECAR_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    bytes: int
    rows: int
    assets: int
    markers: int
    tombstones: int
    min_key: int
    max_key: int
    classes: _containers.RepeatedCompositeFieldContainer[ClassCount]
    sidecar: bytes
    def __init__(self, id: _Optional[bytes] = ..., bytes: _Optional[int] = ..., rows: _Optional[int] = ..., assets: _Optional[int] = ..., markers: _Optional[int] = ..., tombstones: _Optional[int] = ..., min_key: _Optional[int] = ..., max_key: _Optional[int] = ..., classes: _Optional[_Iterable[_Union[ClassCount, _Mapping]]] = ..., sidecar: _Optional[bytes] = ...) -> None: ...

class Taxonomy(_message.Message):
    __slots__ = ("classes",)
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    classes: _containers.RepeatedCompositeFieldContainer[Class]
    def __init__(self, classes: _Optional[_Iterable[_Union[Class, _Mapping]]] = ...) -> None: ...

class Class(_message.Message):
    __slots__ = ("id", "name", "aliases")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ...) -> None: ...

class Ref(_message.Message):
    __slots__ = ("commit", "seq", "op_id", "writer", "server_time_us", "deleted", "recent", "first_seq")
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    OP_ID_FIELD_NUMBER: _ClassVar[int]
    WRITER_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_US_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    RECENT_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQ_FIELD_NUMBER: _ClassVar[int]
    commit: bytes
    seq: int
    op_id: str
    writer: str
    server_time_us: int
    deleted: bool
    recent: _containers.RepeatedCompositeFieldContainer[OpEntry]
    first_seq: int
    def __init__(self, commit: _Optional[bytes] = ..., seq: _Optional[int] = ..., op_id: _Optional[str] = ..., writer: _Optional[str] = ..., server_time_us: _Optional[int] = ..., deleted: _Optional[bool] = ..., recent: _Optional[_Iterable[_Union[OpEntry, _Mapping]]] = ..., first_seq: _Optional[int] = ...) -> None: ...

class OpEntry(_message.Message):
    __slots__ = ("op_id", "commit")
    OP_ID_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    op_id: str
    commit: bytes
    def __init__(self, op_id: _Optional[str] = ..., commit: _Optional[bytes] = ...) -> None: ...

class ClassRegistry(_message.Message):
    __slots__ = ("classes", "writer", "seq")
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    WRITER_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    classes: _containers.RepeatedCompositeFieldContainer[RegisteredClass]
    writer: str
    seq: int
    def __init__(self, classes: _Optional[_Iterable[_Union[RegisteredClass, _Mapping]]] = ..., writer: _Optional[str] = ..., seq: _Optional[int] = ...) -> None: ...

class RegisteredClass(_message.Message):
    __slots__ = ("id", "name")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class OpRecord(_message.Message):
    __slots__ = ("ref", "commit", "seq")
    REF_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    ref: str
    commit: bytes
    seq: int
    def __init__(self, ref: _Optional[str] = ..., commit: _Optional[bytes] = ..., seq: _Optional[int] = ...) -> None: ...

class RefMove(_message.Message):
    __slots__ = ("ref", "seq", "op_id", "old_commit", "new_commit", "writer", "server_time_us", "deleted")
    REF_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    OP_ID_FIELD_NUMBER: _ClassVar[int]
    OLD_COMMIT_FIELD_NUMBER: _ClassVar[int]
    NEW_COMMIT_FIELD_NUMBER: _ClassVar[int]
    WRITER_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_US_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    ref: str
    seq: int
    op_id: str
    old_commit: bytes
    new_commit: bytes
    writer: str
    server_time_us: int
    deleted: bool
    def __init__(self, ref: _Optional[str] = ..., seq: _Optional[int] = ..., op_id: _Optional[str] = ..., old_commit: _Optional[bytes] = ..., new_commit: _Optional[bytes] = ..., writer: _Optional[str] = ..., server_time_us: _Optional[int] = ..., deleted: _Optional[bool] = ...) -> None: ...

class Pin(_message.Message):
    __slots__ = ("op_id", "writer", "expires_at_us", "bases")
    OP_ID_FIELD_NUMBER: _ClassVar[int]
    WRITER_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_US_FIELD_NUMBER: _ClassVar[int]
    BASES_FIELD_NUMBER: _ClassVar[int]
    op_id: str
    writer: str
    expires_at_us: int
    bases: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, op_id: _Optional[str] = ..., writer: _Optional[str] = ..., expires_at_us: _Optional[int] = ..., bases: _Optional[_Iterable[bytes]] = ...) -> None: ...

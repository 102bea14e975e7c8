"""Where everything lives under a store's root: one tree, the same locally and on S3."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

from mir_ops.errors import InvalidInputError

FORMAT: Final = "format.pb"
FEATURES: Final = "meta/features"
CLASSES: Final = "refs/classes"
HEADS: Final = "refs/heads/"
TAGS: Final = "refs/tags/"
SHARING: Final = "meta/stores/"  # in a shared asset root: the stores that keep blobs there
SEGMENTS: Final = "seg/"
PAGES: Final = "catalog/"  # what a lost catalog is made from again
GC_EPOCH: Final = "gc/epoch"  # reserved for garbage collection, with gc/plan/ and purged/

_LONGEST: Final = 200  # of an encoded name: file systems stop at 255 bytes
_RESERVED: Final = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_CONTROL: Final = re.compile(r"[\x00-\x20\x7f\\\ud800-\udfff]")
_NUMBERED: Final = re.compile(r"@V\d+$")


def blob(sha256: str) -> str:
    """Media bytes, model packages, logs."""
    return f"blobs/sha256/{sha256[:2]}/{sha256}"


def blob_places(sha256: str) -> tuple[str, str]:
    """Where a blob is, and where the first stores put it: two folders for each image or so."""
    return blob(sha256), f"blobs/sha256/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def segment(sha256: str) -> str:
    """A Parquet file of rows."""
    return f"{SEGMENTS}sha256/{sha256[:2]}/{sha256}.parquet"


def sidecar(sha256: str) -> str:
    """The key sidecar of a segment."""
    return f"{SEGMENTS}sha256/{sha256[:2]}/{sha256}.keys"


def stored_object(sha256: str) -> str:
    """A commit, a manifest or a taxonomy."""
    return f"obj/sha256/{sha256[:2]}/{sha256}"


def head(branch: str) -> str:
    """The ref of a branch."""
    return HEADS + encode(branch)


def tag(name: str) -> str:
    """The ref of a tag."""
    return TAGS + encode(name)


def operation(op_id: str) -> str:
    """The record that names an operation's commit."""
    return f"ops/{encode(op_id)}"


def pin(op_id: str) -> str:
    """What keeps a running operation's objects."""
    return f"pins/{encode(op_id)}"


def reflog(ref: str, seq: int, op_id: str) -> str:
    """One move of the ref `heads/<name>`, in order of `seq`."""
    return f"reflog/{encode(ref)}/{seq:012d}-{encode(op_id)}"


def purged(sha256: str) -> str:
    """That a blob was erased by law or on request."""
    return f"purged/{sha256}"


def page(*names: str) -> str:
    """A document of the catalog that is kept in the store."""
    return PAGES + "/".join(encode(name) for name in names)


def names_of_page(key: str) -> tuple[str, ...]:
    """The names that `page` made this key of."""
    return tuple(decode(part) for part in key.removeprefix(PAGES).split("/"))


def sharing_store(store_id: str) -> str:
    """In a shared asset root: that this store keeps blobs there."""
    return SHARING + encode(store_id)


def encode(name: str) -> str:
    """Percent-encode everything but letters, digits and `-_.`, and a leading dot."""
    encoded = quote(name, safe="", errors="surrogatepass").replace("~", "%7E")
    return "%2E" + encoded[1:] if encoded.startswith(".") else encoded


def decode(encoded: str) -> str:
    """The name that `encode` made this of."""
    return unquote(encoded)


def check_branch_name(name: str) -> None:
    """Refuse names that a file system, a revision or a person would misread."""
    if "@" in name:
        raise _bad_name("branch", name, "it contains `@`, which separates a branch from a tag")
    _check_name("branch", name)


def check_tag_name(name: str) -> None:
    """Like a branch's, but `branch@tid` is the usual form."""
    if _NUMBERED.search(name):
        raise _bad_name("tag", name, "`@V` and a number mean a commit of the branch")
    _check_name("tag", name)


def check_op_id(op_id: str) -> None:
    """An operation id becomes part of keys."""
    if not op_id or len(encode(op_id)) > _LONGEST:
        raise InvalidInputError(
            f"Operation id `{op_id[:80]}` has {len(op_id)} characters",
            code="invalid-operation-id",
            hint="Use `operation_id(place, inputs)`",
        )


def check_sha256(sha256: str) -> str:
    """A digest that came from outside, before it becomes part of a key."""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise InvalidInputError(
            f"`{sha256[:80]}` is not a SHA-256 in lower-case hex", code="invalid-digest"
        )
    return sha256


def _check_name(kind: str, name: str) -> None:
    if not name or len(encode(name)) > _LONGEST:
        raise _bad_name(kind, name[:80], f"it must have 1 to {_LONGEST} characters when encoded")
    if _CONTROL.search(name):
        raise _bad_name(kind, name, "it contains a space, a backslash or a control character")
    for part in name.split("/"):
        if not part or part in (".", "..") or part.endswith("."):
            raise _bad_name(kind, name, "each part between `/` must be a name and not end in `.`")
        if _RESERVED.fullmatch(part):
            raise _bad_name(kind, name, f"`{part}` is reserved on Windows")


def _bad_name(kind: str, name: str, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"`{name}` cannot name a {kind}: {reason}",
        code=f"invalid-{kind}-name",
        hint="Use letters, digits, `-`, `_`, `.` and `/`",
    )

"""The folder that `mir init` makes: where its store and catalog are, HEAD, and the label file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mir_ops.errors import ConflictError, InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from mir_ops.store import Commit, Store
    from mir_ops.taxonomy import Taxonomy
    from mir_ops.workspace import Workspace

FOLDER = ".mir"
DEFAULT_BRANCH = "master"


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A working folder. It may lack a `.mir` when `MIR_STORE` says where the store is."""

    root: Path
    store_url: str
    catalog_url: str
    user_label_file: Path | None = None

    @property
    def folder(self) -> Path:
        return self.root / FOLDER

    @property
    def labels_path(self) -> Path:
        return self.user_label_file or self.folder / "labels.yaml"

    @cached_property
    def workspace(self) -> Workspace:
        from mir_ops.workspace import Workspace

        work_dir = self.folder / "work"
        return Workspace(store_url=self.store_url, catalog_url=self.catalog_url, work_dir=work_dir)

    @property
    def store(self) -> Store:
        return self.workspace.store

    @property
    def head(self) -> str:
        """The name of the branch that commands start from."""
        try:
            return (self.folder / "HEAD").read_text(encoding="utf-8").strip() or DEFAULT_BRANCH
        except FileNotFoundError:
            return DEFAULT_BRANCH

    def move_head(self, branch: str) -> None:
        if self.folder.is_dir():
            temporary = self.folder / "HEAD.new"
            temporary.write_text(branch + "\n", encoding="utf-8")
            temporary.replace(self.folder / "HEAD")

    def revision(self, rev: str | None) -> str:
        """`HEAD`, or nothing, is the branch that was checked out."""
        return self.head if rev in (None, "", "HEAD") else str(rev)

    def resolve(self, rev: str | None) -> Commit:
        return self.store.resolve(self.revision(rev))

    def declared_classes(self) -> Taxonomy | None:
        """The classes of the label file under the ids of the store; None without a file."""
        from mir_ops.taxonomy import read_labels

        if not self.labels_path.exists() and self.user_label_file is None:
            return None
        labels = read_labels(self.labels_path)
        return labels.with_ids(self.store.register_classes(labels.names))


def find_repository(root: str | Path | None = None, *, labels: str | None = None) -> Repository:
    """The repository at `root`, or at this folder or the nearest one above it."""
    start = Path(root or ".").absolute()
    found = _nearest(start) if root is None else (start if _is_repository(start) else None)
    store_url, catalog_url = os.environ.get("MIR_STORE"), os.environ.get("MIR_CATALOG")
    if found is None and store_url is None:
        raise NotFoundError(
            f"No mir repository at `{start}`",
            code="no-repository",
            hint="Make one with `mir init`, or name a store in the variable `MIR_STORE`",
        )
    place = found or start
    config = _read_config(place / FOLDER / "config.yaml") if found else {}
    return Repository(
        root=place,
        store_url=_absolute(store_url or config.get("store") or _default_store(place), place),
        catalog_url=catalog_url or config.get("catalog") or _default_catalog(place),
        user_label_file=Path(labels).absolute() if labels else None,
    )


def create_repository(root: Path, *, store_url: str | None = None) -> Repository:
    """Make `.mir` at `root`; its store is `.mir/store` unless another one is named."""
    from mir_ops.store import Store
    from mir_ops.taxonomy import Taxonomy, write_labels

    root = root.absolute()
    folder = root / FOLDER
    if (folder / "config.yaml").exists():
        raise ConflictError(
            f"`{root}` is a mir repository already",
            code="repository-exists",
            hint="Use it, or choose another folder with `--root`",
        )
    url = _absolute(store_url or os.environ.get("MIR_STORE") or _default_store(root), root)
    catalog = os.environ.get("MIR_CATALOG") or _default_catalog(root)
    folder.mkdir(parents=True, exist_ok=True)
    store = Store.open(url, create=True)
    if not (folder / "labels.yaml").exists():
        known = Taxonomy.from_names(store.classes())
        write_labels(folder / "labels.yaml", known)
    (folder / "HEAD").write_text(DEFAULT_BRANCH + "\n", encoding="utf-8")
    # Last: a folder without it is no repository yet, and `mir init` can simply run again.
    _write_config(folder / "config.yaml", {"store": url, "catalog": catalog})
    return Repository(root=root, store_url=url, catalog_url=catalog)


def _nearest(start: Path) -> Path | None:
    for folder in (start, *start.parents):
        if _is_repository(folder):
            return folder
    return None


def _is_repository(folder: Path) -> bool:
    return (folder / FOLDER / "config.yaml").is_file()


def _default_store(root: Path) -> str:
    return (root / FOLDER / "store").as_uri()


def _default_catalog(root: Path) -> str:
    return f"sqlite:///{root / FOLDER / 'catalog.db'}"


def _absolute(url: str, root: Path) -> str:
    """A plain path is a local store, seen from the repository's folder."""
    return url if "://" in url else (root / url).resolve().as_uri()


def _read_config(path: Path) -> dict[str, str]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _bad_config(path, str(error).splitlines()[0]) from None
    if not isinstance(content, dict) or not all(isinstance(v, str) for v in content.values()):
        raise _bad_config(path, "expected `store: URL` and `catalog: URL`")
    return content


def _bad_config(path: Path, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"Cannot read `{path}`: {reason}",
        code="bad-config",
        hint="It holds two lines, `store: URL` and `catalog: URL`",
    )


def _write_config(path: Path, content: dict[str, str]) -> None:
    import yaml

    temporary = path.with_suffix(".new")
    temporary.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    temporary.replace(path)

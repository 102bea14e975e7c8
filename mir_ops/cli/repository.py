"""The folder that `mir init` makes: where its store and catalog are, HEAD, and the label file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mir_ops.errors import ConflictError, InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from mir_ops.label_files import LabelFiles
    from mir_ops.label_formats import Label
    from mir_ops.store import Commit, Store
    from mir_ops.taxonomy import ClassName, Taxonomy
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
        return Workspace(
            store_url=self.store_url,
            catalog_url=self.catalog_url,
            work_dir=work_dir,
            deployment=os.environ.get("MIR_DEPLOYMENT") or "local",
        )

    @property
    def downloads(self) -> Path | None:
        """Where downloads that were interrupted are kept; nowhere without a `.mir`."""
        return self.workspace.downloads_dir if self.folder.is_dir() else None

    @cached_property
    def store(self) -> Store:
        """The store; whatever is committed through it records the classes of the label file."""
        store = self.workspace.store
        store.author = _author()
        store.declared = self.declared_classes
        return store

    def share_assets(self, location: str) -> None:
        """Keep new images at a folder or URL, which other repositories may share (`--gen-dir`)."""
        self.store.share_assets(_absolute(location, Path.cwd()))

    @property
    def head(self) -> str:
        """The branch, or any other revision, that commands start from."""
        try:
            return (self.folder / "HEAD").read_text(encoding="utf-8").strip() or DEFAULT_BRANCH
        except FileNotFoundError:
            return DEFAULT_BRANCH

    def move_head(self, rev: str) -> None:
        if self.folder.is_dir():
            temporary = self.folder / "HEAD.new"
            temporary.write_text(rev + "\n", encoding="utf-8")
            temporary.replace(self.folder / "HEAD")

    def revision(self, rev: str | None) -> str:
        """`HEAD`, or nothing, is what was checked out; `HEAD@V3` is a version of that branch."""
        name, at, tid = (rev or "HEAD").partition("@")
        return f"{self.head}{at}{tid}" if name == "HEAD" else str(rev)

    def resolve(self, rev: str | None) -> Commit:
        return self.store.resolve(self.revision(rev))

    @property
    def label_files(self) -> LabelFiles:
        from mir_ops.label_files import LabelFiles

        if self.user_label_file is not None:
            return LabelFiles(yaml=self.user_label_file)
        csv = self.root / "labels.csv" if self.folder.is_dir() else None
        return LabelFiles(yaml=self.labels_path, csv=csv, memory=self.folder / "labels.json")

    def declared_classes(self) -> Taxonomy | None:
        """The classes of the label file under the ids of the store; None without a file."""
        from mir_ops.label_files import taxonomy_of

        files = self.label_files
        labels = files.read()
        if labels is None:
            return None
        taxonomy = taxonomy_of(labels, self._ids_of_new(labels))
        files.remember_ids({entry.name: entry.id for entry in taxonomy.classes})
        return taxonomy

    def _ids_of_new(self, labels: Sequence[Label]) -> dict[str, int]:
        """Those that the store gives, or has given: others may have renamed a class alike."""
        new = [label.name for label in labels if label.class_id is None]
        if not new:
            return {}
        taken = {label.class_id for label in labels}
        newest = {x.name: x.id for x in _newest_classes(self.store) if x.id not in taken}
        known = {name: newest[name] for name in new if name in newest}
        return known | self.store.register_classes([name for name in new if name not in known])


def find_repository(root: str | Path | None = None, *, labels: str | None = None) -> Repository:
    """The repository at `root`, or at this folder or the nearest one above it.

    The variables `MIR_STORE` and `MIR_CATALOG` go before what a repository says that is not named.
    """
    start = Path(root or ".").absolute()
    found = _nearest(start) if root is None else (start if _is_repository(start) else None)
    store_url, catalog_url = os.environ.get("MIR_STORE"), os.environ.get("MIR_CATALOG")
    if root is not None and found is not None:
        store_url = catalog_url = None  # who names a repository means the store of that one
    if found is None and store_url is None:
        raise NotFoundError(
            f"No mir repository at `{start}`",
            code="no-repository",
            hint="Make one with `mir init`, or name a store in the variable `MIR_STORE`",
        )
    place = found or start
    config = _read_config(place / FOLDER / "config.yaml") if found else {}
    repository = Repository(
        root=place,
        store_url=_absolute(store_url or config.get("store") or _default_store(place), place),
        catalog_url=catalog_url or config.get("catalog") or _default_catalog(place),
        user_label_file=Path(labels).absolute() if labels else None,
    )
    repository.label_files.read()  # a mistake in it is said before anything else is done
    return repository


def create_repository(
    root: Path, *, store_url: str | None = None, assets: str | None = None
) -> Repository:
    """Make `.mir` at `root`; its store is `.mir/store` unless another one is named.

    New images go to `assets`, a folder or URL that several repositories may share.
    """
    from mir_ops.store import Store

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
    store = Store.open(url, create=True, assets=assets and _absolute(assets, Path.cwd()))
    folder.mkdir(parents=True, exist_ok=True)  # only now: a store out of reach leaves nothing
    repository = Repository(root=root, store_url=url, catalog_url=catalog)
    _write_label_files(repository, store)
    repository.move_head(DEFAULT_BRANCH)
    # Last: a folder without it is no repository yet, and `mir init` can simply run again.
    _write_config(folder / "config.yaml", {"store": url, "catalog": catalog})
    return repository


def _write_label_files(repository: Repository, store: Store) -> None:
    """What the store knows, unless there is a label file, which may be a link to a shared one."""
    from mir_ops.label_formats import CSV_HEADER, Label

    files = repository.label_files
    if files.read() is not None:
        return
    (repository.root / "labels.csv").write_text(CSV_HEADER + "\n", encoding="utf-8")
    known = {entry.id: entry for entry in _newest_classes(store)}
    names = {id_: name for name, id_ in store.classes().items()}
    taken = {name for entry in known.values() for name in (entry.name, *entry.aliases)}
    labels = []
    for id_, name in sorted(names.items()):
        if id_ in known:
            labels.append(Label(name=known[id_].name, aliases=known[id_].aliases, class_id=id_))
        elif name not in taken:
            labels.append(Label(name=name, class_id=id_))
    files.save(labels)


def _newest_classes(store: Store) -> tuple[ClassName, ...]:
    """Those of the newest version: classes may have other names now than when they came."""
    tips = [branch.tip() for branch in store.branches()]
    if not tips:
        return ()
    # S3 servers tell the time in seconds: of what came within two, the one that knows most.
    since = max(tip.created_at for tip in tips) - timedelta(seconds=2)
    tied = [store.read(tip).taxonomy.classes for tip in tips if tip.created_at >= since]
    return max(tied, key=len)


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
    """A plain path is a local store, seen from the folder `root`."""
    return url if "://" in url else (root / Path(url).expanduser()).resolve().as_uri()


def _author() -> str:
    import getpass

    try:
        return os.environ.get("MIR_AUTHOR") or getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return "mir"


def _read_config(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _bad_config(path, str(error)) from None
    lines = [line.partition(": ") for line in text.splitlines()]
    if lines and all(_is_plain(name, value) for name, _, value in lines):
        return {name: value for name, _, value in lines}
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise _bad_config(path, str(error).splitlines()[0]) from None
    if not isinstance(content, dict) or not all(isinstance(v, str) for v in content.values()):
        raise _bad_config(path, "expected `store: URL` and `catalog: URL`")
    return content


def _is_plain(name: str, value: str) -> bool:
    """Whether this is what YAML says, too: loading its parser takes longer than most commands."""
    scheme, separator, rest = value.partition("://")
    plain = name.isalpha() and scheme.isalnum() and separator and not value.endswith(":")
    return bool(plain) and not any(char.isspace() for char in rest)


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

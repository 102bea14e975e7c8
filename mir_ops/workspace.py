"""Where one deployment keeps its things: the store, the catalog, and this host's work folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from docker import APIClient
    from mir_ops.catalog import Catalog
    from mir_ops.store import Store

Runner = Literal["process", "docker", "kubernetes"]
ImagesFrom = Literal["store", "console"]


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Opened by the command line and the Airflow hook; everything below takes it as an argument.

    `store_url` is `file:///…` or `s3://bucket/prefix?endpoint_url=…`, `catalog_url` SQLAlchemy's.
    `work_dir` is local and absolute: executor folders and the asset cache live there. Callers who
    are not the shell's user name sources below `sharing_dir`. People's label tools load images
    from the S3 store, or from the console at `console_url`, where `image_secret` signs addresses.
    `engine` is the Docker engine for containers; without it the one that the environment names.
    Commits name `author`.
    """

    store_url: str
    catalog_url: str
    work_dir: Path
    runner: Runner = "process"
    deployment: str = "local"
    sharing_dir: Path | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    console_url: str | None = None
    image_secret: str | None = field(default=None, repr=False)
    images_from: ImagesFrom = "store"
    engine: APIClient | None = field(default=None, repr=False, compare=False)
    author: str = "mir"

    @classmethod
    def around(cls, store: Store, catalog: Catalog) -> Workspace:
        """What is open already, without a folder of this host: to read, not to work in."""
        made = cls(store_url=store.url, catalog_url=str(catalog.engine.url), work_dir=Path())
        made.__dict__.update(store=store, catalog=catalog)
        return made

    @cached_property
    def store(self) -> Store:
        from mir_ops.store import Store

        store = Store.open(self.store_url, access_key=self.access_key, secret_key=self.secret_key)
        return store.by(self.author)

    @cached_property
    def catalog(self) -> Catalog:
        from mir_ops.catalog import Catalog

        return Catalog.open(self.catalog_url)

    @property
    def jobs_dir(self) -> Path:
        """One folder per executor job, named by its operation id."""
        return self.work_dir / "jobs"

    @property
    def downloads_dir(self) -> Path:
        """Downloads that were interrupted; the next one from the same URL goes on with them."""
        return self.work_dir / "downloads"

    @property
    def cache_dir(self) -> Path:
        """Content-addressed copies of assets, shared by the jobs of this host."""
        return self.work_dir / "cache"

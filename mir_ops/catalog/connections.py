"""Engines, transactions, and bringing a database to the newest schema."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from mir_ops.errors import ConflictError, InvalidInputError, StoreError

HEAD: Final = "0008"
_DISK_FULL: Final = "53100"  # of PostgreSQL
# A file that is taken back with its transaction: 256 rows of which four fill a page.
_SOME_ROOM: Final = (
    "CREATE TEMPORARY TABLE mir_room ON COMMIT DROP AS "
    "SELECT repeat('x', 1900) FROM generate_series(1, 256)"
)
_SQLITE_PAGES: Final = 64 << 10
VERSION_TABLE: Final = "mir_catalog_version"  # Airflow's own is `alembic_version`
MIGRATIONS: Final = Path(__file__).parent / "migrations"

_BUSY_SECONDS: Final = 60
_LOCK_KEY: Final = 0x6D69725F6F7073  # "mir_ops"


def open_engine(url: str) -> Engine:
    """An engine for a SQLite file or a PostgreSQL database."""
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed)
    try:
        return create_engine(parsed, pool_pre_ping=True, pool_size=2, max_overflow=8)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise InvalidInputError(
            f"No database driver for `{parsed.drivername}`: {error}",
            code="no-database-driver",
            hint="Install `mir-ops[postgres]`",
        ) from None


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """A transaction that may write: on SQLite it waits its turn before it reads anything."""
    with (
        _explained(engine),
        engine.connect().execution_options(mir_writes=True) as connection,
        connection.begin(),
        Session(bind=connection, expire_on_commit=False) as session,
    ):
        yield session
        session.flush()


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A transaction that only reads: one moment's picture of the catalog."""
    with _explained(engine), Session(bind=engine) as session:
        yield session


@contextmanager
def _explained(engine: Engine) -> Iterator[None]:
    """The database's own errors as ours: without statements, values or passwords."""
    try:
        yield
    except IntegrityError as error:
        raise ConflictError(
            f"Somebody else wrote the same to the catalog at the same time: {error.orig}",
            code="catalog-conflict",
            hint="Try again",
        ) from None
    except DBAPIError as error:
        raise _refused(engine, error) from None


def _refused(engine: Engine, error: DBAPIError) -> StoreError:
    where = engine.url.render_as_string()
    if _is_full(engine, error.orig):
        return StoreError(
            f"The disk of the catalog `{where}` is full: {str(error.orig).strip()}",
            code="disk-full",
            hint="Make room on the disk of its database; what was being written is written by the "
            "next try",
        )
    return StoreError(
        f"The catalog `{where}` does not work: {error.orig}",
        code="catalog-unavailable",
        hint="Check the catalog's address, and that its database runs",
    )


def _is_full(engine: Engine, error: BaseException | None) -> bool:
    """Whether the disk of the database is full, which SQLite says in two ways."""
    named = str(getattr(error, "sqlite_errorname", ""))
    if named.startswith("SQLITE_IOERR"):  # of its log's index, for which there is no room
        folder = Path(engine.url.database or "").parent
        return shutil.disk_usage(folder).free < _SQLITE_PAGES
    return named == "SQLITE_FULL" or getattr(error, "pgcode", None) == _DISK_FULL


def check_room(engine: Engine) -> None:
    """A StoreError where PostgreSQL's disk is full: reading alone would not show it.

    A file of SQLite is on a disk of this machine, which says itself how full it is.
    """
    if engine.url.get_backend_name() != "postgresql":
        return
    with _explained(engine), engine.connect() as connection:
        connection.execute(text(_SOME_ROOM))
        connection.rollback()


def migrate(engine: Engine) -> None:
    """Bring the database to `HEAD`; many processes may do so at once."""
    with _explained(engine):
        if _revision(engine) != HEAD:
            with _alone(engine):
                _upgrade(engine)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InvalidInputError(
            "The catalog's address is not one of SQLAlchemy's",
            code="invalid-catalog-url",
            hint="Use `sqlite:////absolute/path.db` or `postgresql://user:password@host/name`",
        ) from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise InvalidInputError(
            f"The catalog lives in SQLite or PostgreSQL, not in `{parsed.drivername}`",
            code="invalid-catalog-url",
        )
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise InvalidInputError(
            "The catalog needs a file: several processes share it",
            code="invalid-catalog-url",
            hint="Use `sqlite:////absolute/path.db`",
        )
    return parsed


def _open_sqlite(url: URL) -> Engine:
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": _BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that reads first and writes later fails at once when somebody
        # else wrote in between, whatever the busy timeout: writers take the lock first.
        writes = connection.get_execution_options().get("mir_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _revision(engine: Engine) -> str | None:
    if engine.url.get_backend_name() == "sqlite" and not Path(engine.url.database or "").exists():
        return None
    with engine.connect() as connection:
        try:
            found: str | None = connection.execute(
                text(f"SELECT version_num FROM {VERSION_TABLE}")
            ).scalar()
        except DBAPIError:
            connection.rollback()
            # Asked only now: every task opens the catalog, and it is nearly always there.
            if inspect(connection).has_table(VERSION_TABLE):
                raise
            return None
        return found


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """Nobody else migrates this database meanwhile."""
    if engine.url.get_backend_name() == "sqlite":
        database = Path(engine.url.database or "")
        database.parent.mkdir(parents=True, exist_ok=True)
        with database.with_name(f"{database.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    else:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK_KEY})
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK_KEY})


def _upgrade(engine: Engine) -> None:
    if (found := _revision(engine)) == HEAD:
        return
    from alembic import command
    from alembic.util import CommandError

    if engine.url.get_backend_name() == "sqlite":
        _use_write_ahead_log(engine)
    with writing(engine) as session:
        try:
            command.upgrade(alembic_config(session.connection()), "head")
        except CommandError:
            raise StoreError(
                f"The catalog is at revision `{found}`, which this version does not know",
                code="catalog-too-new",
                hint="Upgrade mir-ops",
            ) from None


def _use_write_ahead_log(engine: Engine) -> None:
    raw = engine.raw_connection()  # the journal's mode cannot change inside a transaction
    try:
        raw.cursor().execute("PRAGMA journal_mode = WAL")
    finally:
        raw.close()


def alembic_config(connection: Connection) -> Any:
    """Alembic's settings for an open connection; there is no `alembic.ini`."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config

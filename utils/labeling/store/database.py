"""The connection: an SQLite file by default, PostgreSQL by a URL; transactions, migrations, errors in one sentence."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, NoSuchModuleError, OperationalError, ProgrammingError

from utils.core.errors import UserError
from utils.labeling.store.errors import StoreError, Unavailable
from utils.labeling.store.schema import metadata

MIGRATIONS = Path(__file__).with_name("migrations")
WAIT_SECONDS = 20.0  # for a database that another process has locked
VERSION_TABLE = "alembic_version"


class Store:
    """An open store. Functions of this package take it as their first argument; threads may share it.

    read() and write() are transactions. A write is on the disk when the `with` block ends without an error, and has
    changed nothing otherwise. clock: seconds since 1970, replaced in tests.
    """

    def __init__(self, url: sa.URL, clock: Callable[[], float] = time.time) -> None:
        """Connect. Use `open_store`, which also makes and migrates the tables."""
        self.url, self.clock = url, clock
        self.place = str(url.database) if self.is_sqlite else url.render_as_string(hide_password=True)
        # SQLite has one writer at a time. In one process a lock is a fairer queue than SQLite's polling.
        self._writer = threading.Lock()
        self.engine = _engine(url)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is an SQLite file."""
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that only reads: one consistent state. Raises Unavailable and StoreError."""
        with self._errors(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that writes. Raises Unavailable (nothing was changed) and StoreError."""
        with self._errors(), self._turn(), self.engine.connect() as plain:
            connection = plain.execution_options(writes=True)
            with connection.begin():
                yield connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self.is_sqlite:
            yield
        elif self._writer.acquire(timeout=WAIT_SECONDS):
            try:
                yield
            finally:
                self._writer.release()
        else:
            raise Unavailable(f"{self.place} is busy: try again.")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Errors of the database as one sentence each."""
        try:
            yield
        except DBAPIError as error:
            known = _explained(error, self.place)
            if known is None:
                raise
            raise known from error

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def open_store(place: str | Path, create: bool = True, clock: Callable[[], float] = time.time) -> Store:
    """The store in the SQLite file `place`, or at a URL such as postgresql://user:password@host/name.

    Tables are made if there are none (create=False: raise instead) and migrated if they are older than this program.
    Raises StoreError for a file that is no store, a newer one, missing tables, and Unavailable if it cannot be reached.
    """
    url = _url(str(place))
    if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
        file = Path(str(url.database))
        if not create and not file.is_file():
            raise StoreError(f"The store {file} does not exist: make it with `scripts/label.py init {file}`.")
        if not file.parent.is_dir():
            raise StoreError(f"The folder {file.parent} of the store {file.name} does not exist: make it first.")
    store = Store(url, clock)
    try:
        _migrate(store, create)
    except BaseException:
        store.close()
        raise
    return store


def is_store(place: str | Path) -> bool:
    """Whether `place` is a URL of a database or an SQLite file with the tables of a store."""
    text = str(place)
    if "://" in text:
        return text.startswith(("postgresql", "sqlite"))
    if not Path(text).is_file():
        return False
    with Path(text).open("rb") as handle:
        if handle.read(16) != b"SQLite format 3\x00":
            return False
    engine = _engine(_url(text))
    try:
        return {VERSION_TABLE, "projects", "submissions"} <= set(sa.inspect(engine).get_table_names())
    except DatabaseError:
        return False
    finally:
        engine.dispose()


def _url(place: str) -> sa.URL:
    if "://" not in place:
        return sa.URL.create("sqlite", database=place)
    try:
        url = sa.make_url(place)
        backend = url.get_backend_name()
    except (ArgumentError, NoSuchModuleError):
        raise StoreError(f"{place!r} is no URL of a database: write postgresql://user:password@host/name.") from None
    if backend not in ("sqlite", "postgresql"):
        raise StoreError(f"A store cannot be kept in {backend}: use an SQLite file or PostgreSQL.")
    return url.set(drivername="postgresql+psycopg") if backend == "postgresql" else url


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, pool_size=20, max_overflow=30, pool_pre_ping=True)
    arguments = {"timeout": WAIT_SECONDS}
    engine = sa.create_engine(url, pool_size=20, max_overflow=30, pool_timeout=WAIT_SECONDS, connect_args=arguments)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver begins no transaction of its own; `begin` below does
        cursor = connection.cursor()
        # With WAL and FULL, a commit has reached the disk when it returns; readers do not block the writer.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begins(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _migrate(store: Store, create: bool) -> None:
    """Make the tables, or bring older ones up to date; check that all are there."""
    config = alembic_config()
    scripts = ScriptDirectory.from_config(config)
    newest = scripts.get_current_head()
    with store.read() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
        tables = set(sa.inspect(connection).get_table_names())
    if found is None and tables & set(metadata.tables):
        raise StoreError(f"{store.place} has tables of a store but no version: restore it from a copy.")
    if found is None and not create:
        raise StoreError(f"{store.place} is not a store of labels: make one with `scripts/label.py init`.")
    if found is None and tables:
        raise StoreError(f"{store.place} is a database with other tables: give the store a file or database of its own.")
    if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
        raise StoreError(
            f"{store.place} was written by a newer version of this program (schema {found}): update the program first."
        )
    if found != newest:
        with store.write() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            tables = set(sa.inspect(connection).get_table_names())
    missing = sorted(set(metadata.tables) - tables)
    if missing:
        raise StoreError(f"{store.place} has lost the table {missing[0]}: restore it from a copy.")


def alembic_config() -> Config:
    """Alembic's settings: the migrations that are shipped inside this package."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _explained(error: DBAPIError, place: str) -> UserError | None:
    """The sentence for an error of the database; None for an error of this program."""
    text = str(error.orig)
    low = text.lower()
    if "is locked" in low or "lock timeout" in low:
        return Unavailable(f"{place} is locked by another program: close it, then try again; nothing was changed.")
    if "disk is full" in low or "no space left" in low or "could not extend file" in low:
        return Unavailable(f"The disk of {place} is full: free some space, then try again; nothing was changed.")
    if "readonly" in low or "read-only" in low:
        return Unavailable(f"{place} cannot be written: check its permissions and those of its folder.")
    if "unable to open" in low:
        return Unavailable(f"{place} cannot be opened: check the path and its permissions.")
    if "not a database" in low or "malformed" in low:
        return StoreError(f"{place} is not a whole SQLite file: restore it from a copy.")
    if "disk i/o error" in low:
        return Unavailable(f"The disk of {place} reports an error: check it, then try again; nothing was changed.")
    if isinstance(error, OperationalError | ProgrammingError) and ("no such table" in low or "undefinedtable" in low):
        return StoreError(f"{place} has lost a table ({text.splitlines()[0]}): restore it from a copy.")
    if isinstance(error, OperationalError) and "no such" not in low and "syntax" not in low:
        return Unavailable(f"The database {place} cannot be used now ({text.splitlines()[0]}): try again.")
    return None

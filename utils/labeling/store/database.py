"""The connection: an SQLite file by default, PostgreSQL by a URL; transactions, migrations, errors in one sentence."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError, ProgrammingError

from utils.core.errors import UserError
from utils.labeling.store.errors import StoreError, Unavailable
from utils.labeling.store.schema import metadata

MIGRATIONS = Path(__file__).with_name("migrations")
WAIT_SECONDS = 20.0  # for a database that another process has locked
OPERATIONAL = (OperationalError, sqlite3.OperationalError)


class Store:
    """An open store. Functions of this package take it as their first argument; threads may share it.

    read() and write() are transactions. A write is on the disk when the `with` block ends without an error, and has
    changed nothing otherwise. clock: seconds since 1970, replaced in tests.
    """

    def __init__(self, url: sa.URL, clock: Callable[[], float] = time.time) -> None:
        """Connect. Use `open_store`, which also makes and migrates the tables."""
        self.url, self.clock = url, clock
        self.place = str(url.database) if self.is_sqlite else url.render_as_string(hide_password=True)
        self.engine = _engine(url)
        self._group = GroupCommit(self.engine, self.place) if self.is_sqlite else None

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
        with self._errors():
            if self._group is not None:
                with self._group.turn() as connection:
                    yield connection
            else:
                with self.engine.begin() as connection:
                    yield connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Errors of the database as one sentence each."""
        try:
            yield
        except (DBAPIError, sqlite3.Error) as error:
            known = _explained(error, self.place)
            if known is None:
                raise
            raise known from error

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


class _Batch:
    """Writes that are committed together. driver: the connection of sqlite3. failed: why none of them was."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.driver: sqlite3.Connection = _driver(connection)
        self.transaction = connection.begin()
        self.over = threading.Event()
        self.failed: BaseException | None = None
        self.size = 0


class GroupCommit:
    """The writers of one process on an SQLite file, which has one writer at a time.

    Writing to the disk takes the time of hundreds of changes. So writers that wait for their turn join the transaction of
    the one before, each in a savepoint of its own, and the last of them commits for all. Nobody's `with` block ends before
    the commit is on the disk. A writer that waits for nobody commits alone.
    """

    LARGEST = 50  # writes per commit

    def __init__(self, engine: sa.Engine, place: str) -> None:
        self._engine, self._place = engine, place
        self._lock = threading.Lock()
        self._count = threading.Lock()  # of _waiting
        self._waiting = 0
        self._batch: _Batch | None = None

    @contextmanager
    def turn(self) -> Iterator[sa.Connection]:
        """One write; it is on the disk when the block ends without an error. Raises Unavailable, errors of the driver."""
        self._change_waiting(1)
        if not self._lock.acquire(timeout=WAIT_SECONDS):
            self._change_waiting(-1)
            raise Unavailable(f"{self._place} is busy: try again.")
        try:
            self._change_waiting(-1)
            if self._batch is None:
                self._batch = self._begin()
            batch = self._batch
            try:
                batch.driver.execute("SAVEPOINT one")
                yield batch.connection
                batch.driver.execute("RELEASE one")
                batch.size += 1
            except BaseException as error:
                try:
                    batch.driver.execute("ROLLBACK TO one")
                    batch.driver.execute("RELEASE one")
                except sqlite3.Error:  # SQLite gave up the whole transaction, say, as the disk is full: all must know
                    batch.failed = error
                raise
            finally:
                if batch.failed is not None or not self._waiting or batch.size >= self.LARGEST:
                    self._batch = None
                    self._end(batch)
        finally:
            self._lock.release()
        batch.over.wait()
        if batch.failed is not None:
            raise batch.failed

    def _change_waiting(self, by: int) -> None:
        with self._count:
            self._waiting += by

    def _begin(self) -> _Batch:
        connection = self._engine.connect().execution_options(writes=True)
        try:
            return _Batch(connection)
        except BaseException:
            connection.close()
            raise

    def _end(self, batch: _Batch) -> None:
        """Commit for all, or tell all why not."""
        try:
            if batch.failed is None:
                batch.transaction.commit()
        except BaseException as error:
            batch.failed = error
        finally:
            with suppress(DBAPIError):
                batch.connection.close()
            batch.over.set()


def open_store(place: str | Path, create: bool = True, clock: Callable[[], float] = time.time) -> Store:
    """The store in the SQLite file `place`, or at a URL such as postgresql://user:password@host/name.

    Tables are made if there are none (create=False: raise instead) and migrated if they are older than this program.
    Raises StoreError for a file that is no store, a newer one, missing tables, and Unavailable if it cannot be reached.
    """
    url = _url(str(place))
    if url.get_backend_name() == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise StoreError("A store in memory would be lost: give the path of a file.")
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
        _driver(connection).execute("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _driver(connection: sa.Connection) -> sqlite3.Connection:
    """The connection of sqlite3 below; SQL without values or results is much faster there."""
    return connection.connection.driver_connection  # type: ignore[return-value]


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


def _explained(error: DBAPIError | sqlite3.Error, place: str) -> UserError | None:
    """The sentence for an error of the database; None for an error of this program."""
    text = str(error.orig if isinstance(error, DBAPIError) else error)
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
    if isinstance(error, (*OPERATIONAL, ProgrammingError)) and ("no such table" in low or "undefinedtable" in low):
        return StoreError(f"{place} has lost a table ({text.splitlines()[0]}): restore it from a copy.")
    if isinstance(error, OPERATIONAL) and "no such" not in low and "syntax" not in low:
        return Unavailable(f"The database {place} cannot be used now ({text.splitlines()[0]}): try again.")
    return None

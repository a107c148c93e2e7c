"""Tables of a database: any that SQLAlchemy opens by its URL, an SQLite file, or a folder with one CSV file per table.

Only the columns that a mapping names are read, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.core.errors import UserError
from utils.core.io import read_table
from utils.feedback.database.mapping import cell

Rows = list[dict[str, str]]


def read_tables(database: str, columns: Mapping[str, Sequence[str]]) -> dict[str, Rows]:
    """The rows of each table, all cells as text (`mapping.cell`).

    database: a URL such as postgresql+psycopg://USER@HOST/NAME, the path of an SQLite file or of a folder with TABLE.csv files.
    columns: table -> columns to read. Raises UserError for a database that cannot be opened, a missing table or column, and an
    empty table.
    """
    if "://" not in database and Path(database).is_dir():
        found = {table: _csv(Path(database), table, names) for table, names in columns.items()}
    else:
        found = _sql(database, columns)
    for table, rows in found.items():
        if not rows:
            raise UserError(
                f'{shown(database)}: the table "{table}" has no rows; fill it, or take its section out of the mapping.'
            )
    return found


def shown(database: str) -> str:
    """The database in a message, without a password."""
    start, sign, rest = database.partition("://")
    return f"{start}://{rest.rpartition('@')[2]}" if sign else database


def _csv(folder: Path, table: str, names: Sequence[str]) -> Rows:
    path = folder / f"{table}.csv"
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in folder.glob("*.csv"))) or "none"
        raise UserError(f'{folder} has no table "{table}" (no file {table}.csv); its tables: {there}.')
    rows = read_table(path)
    if rows:
        _check_columns(str(folder), table, names, list(rows[0]))
    return [{name: cell(row[name]) for name in names} for row in rows]


def _check_columns(database: str, table: str, names: Sequence[str], there: Sequence[str]) -> None:
    missing = [name for name in names if name not in there]
    if missing:
        raise UserError(f'{database}: the table "{table}" has no column "{missing[0]}"; its columns: {", ".join(there)}.')


def _sql(database: str, columns: Mapping[str, Sequence[str]]) -> dict[str, Rows]:
    try:
        import sqlalchemy
        from sqlalchemy import exc
    except ImportError:
        raise UserError('This needs SQLAlchemy: run pip install -e ".[database]" in the folder of the project.') from None
    if "://" not in database and not Path(database).is_file():
        raise UserError(f"The database {database} does not exist; correct the field database of the mapping.")
    url = database if "://" in database else f"sqlite:///file:{Path(database).resolve()}?mode=ro&uri=true"
    try:
        engine = sqlalchemy.create_engine(url)
        try:
            inspector = sqlalchemy.inspect(engine)
            tables = [*inspector.get_table_names(), *inspector.get_view_names()]
            for table, names in columns.items():
                if table not in tables:
                    raise UserError(
                        f'{shown(database)} has no table "{table}"; its tables: {", ".join(sorted(tables)) or "none"}.'
                    )
                _check_columns(shown(database), table, names, [column["name"] for column in inspector.get_columns(table)])
            with engine.connect() as connection:
                return {table: _select(sqlalchemy, connection, table, names) for table, names in columns.items()}
        finally:
            engine.dispose()
    except (exc.SQLAlchemyError, ModuleNotFoundError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0].rstrip(".")
        raise UserError(f"{shown(database)} cannot be read ({reason}); correct the field database of the mapping.") from None


def _select(sqlalchemy: Any, connection: Any, table: str, names: Sequence[str]) -> Rows:
    chosen = sqlalchemy.select(*(sqlalchemy.column(name) for name in names)).select_from(sqlalchemy.table(table))
    return [{name: cell(value) for name, value in zip(names, row, strict=True)} for row in connection.execute(chosen)]

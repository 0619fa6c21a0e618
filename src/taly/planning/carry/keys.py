"""What finds a row again: columns that are unique and never NULL."""

from collections.abc import Iterator

from postgast import PgQueryError

from taly.model.catalog import Table
from taly.planning.migrations.names import strings
from taly.planning.parsing import parse


def keys(table: Table) -> Iterator[tuple[str, ...]]:
    """The table's keys, its primary key first; partial indexes and expressions are none."""
    required = {column.name for column in table.columns if column.not_null}
    for columns in (*_primary(table), *_unique(table)):
        if columns and required.issuperset(columns):
            yield columns


def _primary(table: Table) -> Iterator[tuple[str, ...]]:
    for one in table.constraints:
        if one.kind == "primary":
            yield _of_constraint(one.definition)


def _unique(table: Table) -> Iterator[tuple[str, ...]]:
    for one in table.constraints:
        if one.kind == "unique":
            yield _of_constraint(one.definition)
    for index in table.indexes:
        if index.unique and index.valid:
            yield _of_index(index.definition)


def _of_constraint(definition: str) -> tuple[str, ...]:
    try:
        statement = parse(f"ALTER TABLE x ADD CONSTRAINT x {definition}").stmts[0].stmt
    except (PgQueryError, IndexError):
        return ()
    command = statement.alter_table_stmt.cmds[0].alter_table_cmd
    return tuple(strings(getattr(command, "def").constraint.keys))


def _of_index(definition: str) -> tuple[str, ...]:
    try:
        index = parse(definition).stmts[0].stmt.index_stmt
    except (PgQueryError, IndexError):
        return ()
    columns = tuple(str(one.index_elem.name) for one in index.index_params)
    return () if index.HasField("where_clause") or "" in columns else columns

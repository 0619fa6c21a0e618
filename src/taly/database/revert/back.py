"""Saved data put back: what the checkpoint copied before the migration destroyed it.

Whole tables and columns that were dropped come back as they were, as far as their rows are still
there. Values that were overwritten or converted come back in rows that nobody wrote since; in the
others the newer value stays. Rows that were deleted come back unless others took their keys.
"""

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Composable, Composed, Identifier

from taly.database.checkpoint.manifest import Kept
from taly.database.revert import references
from taly.database.revert.fates import Name, key_of
from taly.database.revert.session import attended, patiently
from taly.database.revert.staged import Staged
from taly.model.catalog import Catalog, Column, Table
from taly.model.ports import Say
from taly.planning.down import Save

Names = Mapping[Name, tuple[Name, Mapping[str, str]]] | None


@dataclass(slots=True, kw_only=True)
class Return:
    """A saved file, and the table that it goes back into."""

    number: int
    path: Path
    live: Table | None
    """The table as it is now; None = it was dropped."""
    before: Table
    columns: tuple[str | None, ...]
    """Of the file, as they are called before the migration; None = not there any more."""
    whole: bool
    key: tuple[str, ...]
    """What finds rows again; empty = none does."""
    gone: tuple[str, ...] = ()
    """Columns that were dropped."""
    overwritten: tuple[tuple[Column, Column], ...] = ()
    """Columns whose values were overwritten or converted, live and before."""
    rows: int = 0
    """Put back."""
    left: dict[str, int] = field(default_factory=dict)
    """Why → rows that have no place any more; the checkpoint has them."""

    @property
    def saved(self) -> Identifier:
        """The temporary table that the file is read into."""
        return Identifier("pg_temp", f"taly_saved_{self.number}")

    @property
    def place(self) -> Identifier:
        """The table as it was called before the migration."""
        return Identifier(self.before.schema, self.before.name)

    @property
    def there(self) -> tuple[str, ...]:
        """The file's columns that the table has."""
        return tuple(name for name in self.columns if name is not None)

    def same_key(self, one: str, other: str) -> Composable:
        """SQL: two rows with the same key."""
        return SQL(" AND ").join(
            SQL("{}.{} = {}.{}").format(SQL(one), Identifier(name), SQL(other), Identifier(name))
            for name in self.key
        )


def returns(
    kept: Sequence[Kept],
    folder: Path,
    saves: Sequence[Save],
    names: Names,
    live: Catalog,
    before: Catalog,
) -> tuple[Return, ...]:
    """What can go back where, parents before the tables that refer to them."""
    old = {(table.schema, table.name): table for table in before.tables}
    now = {table.oid: table for table in live.tables}
    found = []
    for number, one in enumerate(kept):
        name: Name = (one.table_schema, one.table)
        columns: Mapping[str, str] | None = None
        if names is not None:
            name, columns = names.get(name, (name, {}))
        table = old.get(name)
        if table is None:
            continue
        known = {column.name for column in table.columns if not column.generated}
        mapped = [columns.get(column) if columns is not None else column for column in one.columns]
        listed = tuple(column if column in known else None for column in mapped)
        found.append(
            _return(number, folder / one.file, one, table, now.get(table.oid), listed, saves)
        )
    return references.parents_first(found)


def _return(
    number: int,
    path: Path,
    kept: Kept,
    before: Table,
    live: Table | None,
    columns: tuple[str | None, ...],
    saves: Sequence[Save],
) -> Return:
    one = Return(
        number=number,
        path=path,
        live=live,
        before=before,
        columns=columns,
        whole=not kept.key,
        key=(),
    )
    if live is None:
        return one
    key = key_of(before)
    there = {column.attnum: column for column in live.columns}
    numbers = {column.name: column for column in before.columns}
    if set(key) <= set(one.there) and all(numbers[name].attnum in there for name in key):
        one.key = key
    ours = _destroyed(saves, before)
    named = [name for name in one.there if name not in one.key]
    one.gone = tuple(name for name in named if numbers[name].attnum not in there)
    one.overwritten = tuple(
        (there[numbers[name].attnum], numbers[name])
        for name in named
        if numbers[name].attnum in there and (ours is None or name in ours)
    )
    return one


def _destroyed(saves: Sequence[Save], table: Table) -> set[str] | None:
    """The columns of a table that this migration destroyed; None = all of them."""
    found: set[str] = set()
    for save in saves:
        if save.table != f"{table.schema}.{table.name}":
            continue
        if save.kind == "rows" and not save.why.startswith(("deletes", "empties")):
            return None
        found |= set(save.columns)
    return found


def put_back(connection: psycopg.Connection, one: Return, staged: Staged | None, say: Say) -> None:
    """Into the table as it is after the statements; the file is read into `saved` first."""
    note = f"puts {one.before.name} back"
    if not _is_there(connection, one):
        return  # the statements did not bring it back: the comparison says so
    with Quiet(connection, one.before):
        load(connection, one, say)
        if one.live is None:
            _fill(connection, one, say, note)
            positions(connection, one.place, one.there)
        elif not one.key:
            _fill(connection, one, say, note)
        else:
            if one.gone or (staged is not None and one.overwritten):
                _columns(connection, one, staged, say, note)
            if one.whole:
                _absent(connection, one, say, note)
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")


def _is_there(connection: psycopg.Connection, one: Return) -> bool:
    rows = connection.execute(PRESENT, (one.place.as_string(connection),)).fetchall()
    present = {name for (name,) in rows}
    one.columns = tuple(name if name in present else None for name in one.columns)
    one.gone = tuple(name for name in one.gone if name in present)
    one.overwritten = tuple(pair for pair in one.overwritten if pair[1].name in present)
    return bool(rows) and set(one.key) <= present


def load(connection: psycopg.Connection, one: Return, say: Say) -> None:
    """Read the file into its temporary table, with the types of the table that it goes into."""
    parts = [
        Identifier(name) if name is not None else SQL("NULL::text AS {}").format(_spare(number))
        for number, name in enumerate(one.columns)
    ]
    query = SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA")
    name = Identifier(f"taly_saved_{one.number}")
    connection.execute(query.format(name, SQL(", ").join(parts), one.place))
    copy = SQL("COPY {} FROM STDIN").format(one.saved)
    attended(connection, lambda: copy_in(connection, copy, one.path), say, f"reads {one.path.name}")
    if one.key:
        index = SQL("CREATE INDEX ON {} ({})").format(
            one.saved, SQL(", ").join(map(Identifier, one.key))
        )
        patiently(connection, index, say, f"sorts {one.path.name}")
    connection.execute(SQL("ANALYZE {}").format(one.saved))


def copy_in(connection: psycopg.Connection, query: Composed, path: Path) -> None:
    """Feed a checkpoint's file to COPY, block by block."""
    with (
        gzip.open(path, "rb") as file,
        connection.cursor() as cursor,
        cursor.copy(query) as copy,
    ):
        while block := file.read(1 << 18):
            copy.write(block)


def _spare(number: int) -> Identifier:
    return Identifier(f"taly_spare_{number}")


def _columns(
    connection: psycopg.Connection, one: Return, staged: Staged | None, say: Say, note: str
) -> None:
    """Dropped columns in all rows that are still there, overwritten ones where nobody wrote."""
    parts = [SQL("{} = s.{}").format(Identifier(name), Identifier(name)) for name in one.gone]
    source, where = SQL("{} s").format(one.saved), one.same_key("t", "s")
    if staged is not None and one.overwritten:
        for _, old in one.overwritten:
            name = Identifier(old.name)
            parts.append(
                SQL("{} = CASE WHEN l.ours THEN s.{} ELSE t.{} END").format(name, name, name)
            )
        source = SQL("{} s LEFT JOIN {} l ON {}").format(
            one.saved, staged.temporary, staged.same_key("s", "l")
        )
        if not one.gone:
            where = SQL("{} AND l.ours").format(where)
    query = SQL("UPDATE {} t SET {} FROM {} WHERE {}").format(
        one.place, SQL(", ").join(parts), source, where
    )
    one.rows += patiently(connection, query, say, note)


def _absent(connection: psycopg.Connection, one: Return, say: Say, note: str) -> None:
    """Rows that are not there any more."""
    query = SQL("DELETE FROM {} s USING {} t WHERE {}").format(
        one.saved, one.place, one.same_key("s", "t")
    )
    patiently(connection, query, say, note)
    _fill(connection, one, say, note)


def _fill(connection: psycopg.Connection, one: Return, say: Say, note: str) -> None:
    """Insert what was saved, without rows that refer to others which are gone."""
    _without_orphans(connection, one, say, note)
    there = SQL(", ").join(map(Identifier, one.there))
    row = connection.execute(SQL("SELECT count(*) FROM {}").format(one.saved)).fetchone()
    query = SQL(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} ON CONFLICT DO NOTHING"
    ).format(one.place, there, there, one.saved)
    if not one.there:
        query = SQL("INSERT INTO {} SELECT FROM {}").format(one.place, one.saved)
    inserted = patiently(connection, query, say, note)
    one.rows += inserted
    conflicts = (row[0] if row else 0) - inserted
    if conflicts:
        one.left["a newer row has taken its place"] = conflicts


def _without_orphans(connection: psycopg.Connection, one: Return, say: Say, note: str) -> None:
    found = [ref for ref in references.of(one.before) if set(ref.columns) <= set(one.there)]
    again = True
    while again:  # rows of one table may refer to each other
        again = False
        for reference in found:
            gone = patiently(connection, _orphans(one, reference), say, note)
            if gone:
                why = f"it refers to a row of {reference.table[1]} that is gone"
                one.left[why] = one.left.get(why, 0) + gone
                again = True


def _orphans(one: Return, reference: references.Reference) -> Composed:
    here = [SQL("s.{}").format(Identifier(name)) for name in reference.columns]
    itself = reference.table == (one.before.schema, one.before.name)
    there = [SQL("p.{}").format(Identifier(name)) for name in reference.to]
    return orphans(one.saved, reference, here, there if itself else None)


def orphans(
    rows: Identifier,
    reference: references.Reference,
    here: Sequence[Composable],
    there: Sequence[Composable] | None,
) -> Composed:
    """SQL that deletes, among `rows` s, those that refer to nothing.

    `there`: the columns referred to, where rows may refer to each other.
    """
    set_ = SQL(" AND ").join(SQL("{} IS NOT NULL").format(one) for one in here)
    same = SQL(" AND ").join(
        SQL("p.{} = {}").format(Identifier(name), one)
        for name, one in zip(reference.to, here, strict=True)
    )
    parents: Composable = SQL("EXISTS (SELECT FROM {} p WHERE {})").format(
        Identifier(*reference.table), same
    )
    if there:
        among = SQL(" AND ").join(
            SQL("{}::text = ({})::text").format(one, other)
            for one, other in zip(there, here, strict=True)
        )
        parents = SQL("({} OR EXISTS (SELECT FROM {} p WHERE {}))").format(parents, rows, among)
    return SQL("DELETE FROM {} s WHERE {} AND NOT {}").format(rows, set_, parents)


PRESENT = """
SELECT attname::text FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
"""
SERIAL = "SELECT pg_get_serial_sequence(%s, %s)"


def positions(connection: psycopg.Connection, table: Identifier, columns: Sequence[str]) -> None:
    """Sequences of a table that was made anew go on behind its rows."""
    for name in columns:
        found = connection.execute(SERIAL, (table.as_string(connection), name)).fetchone()
        if found is None or found[0] is None:
            continue
        query = SQL(
            "SELECT setval(%s::regclass, greatest(max({}),"
            " (SELECT last_value FROM {})), true) FROM {} HAVING max({}) >= 1"
        )
        column, place = Identifier(name), SQL(found[0])
        connection.execute(query.format(column, place, table, column), (found[0],))


class Quiet:
    """Triggers of a table that do not fire while its rows come back."""

    def __init__(self, connection: psycopg.Connection, table: Table) -> None:
        self._connection = connection
        self._table = table
        self._off: list[tuple[str, str]] = []

    def __enter__(self) -> None:
        place = Identifier(self._table.schema, self._table.name)
        rows = self._connection.execute(
            "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = %s::regclass"
            " AND NOT tgisinternal AND tgenabled IN ('O', 'A')",
            (place.as_string(self._connection),),
        ).fetchall()
        for name, state in rows:
            self._off.append((name, "ENABLE ALWAYS" if state == "A" else "ENABLE"))
            self._alter("DISABLE", name)

    def __exit__(self, kind: object, error: object, at: object) -> None:
        if error is None:
            for name, word in self._off:
                self._alter(word, name)

    def _alter(self, word: str, name: str) -> None:
        query = SQL("ALTER TABLE {} " + word + " TRIGGER {}")
        place = Identifier(self._table.schema, self._table.name)
        self._connection.execute(query.format(place, Identifier(name)))

"""Random schemas, random changes: every column has one place, and both ways of matching agree."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from taly.model.catalog import Catalog, Column, Constraint, Table
from taly.planning.carry import Correspondence, Matched, correspond, pairs
from taly.planning.carry.model import Name
from taly.planning.down.names import quoted

NAMES = ("a", "b", "c", "A b", 'd"e')
TYPES = ("integer", "bigint", "text", "character varying(9)", "numeric(10,2)", "jsonb")
KEY = Constraint(name="k", oid=5, kind="primary", definition="PRIMARY KEY (id)")


@dataclass
class World:
    """A schema while it is changed, with the statements that change it."""

    tables: list[Table]
    statements: list[str] = field(default_factory=list)
    number: int = 1000

    def next(self) -> int:
        """A number that was never given."""
        self.number += 1
        return self.number

    @property
    def catalog(self) -> Catalog:
        """As it is now."""
        return Catalog(schemas=("public",), tables=tuple(self.tables))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Up to three tables of up to four columns and a key."""
    tables = []
    for number, name in enumerate(draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3))):
        made = [
            Column(name="id", attnum=1, type="integer", not_null=True),
            *(
                Column(
                    name=column,
                    attnum=place,
                    type=draw(st.sampled_from(TYPES)),
                    not_null=draw(st.booleans()),
                    generated=draw(st.sampled_from(("", "", "", "stored"))),
                    default=draw(st.sampled_from(("", "'1'::text"))),
                )
                for place, column in enumerate(
                    draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4)), 2
                )
            ),
        ]
        constraints = (KEY,) if draw(st.booleans()) else ()
        tables.append(
            Table(
                schema="public",
                name=name,
                oid=number,
                columns=tuple(made),
                constraints=constraints,
            )
        )
    return World(tables)


def rename_table(world: World, at: int, name: str, kind: str) -> None:
    if name in [one.name for one in world.tables]:
        return
    old = world.tables[at]
    world.tables[at] = replace(old, name=name)
    world.statements.append(f"ALTER TABLE {quoted(old.name)} RENAME TO {quoted(name)}")


def drop_table(world: World, at: int, name: str, kind: str) -> None:
    world.statements.append(f"DROP TABLE {quoted(world.tables.pop(at).name)}")


def add_table(world: World, at: int, name: str, kind: str) -> None:
    if name not in [one.name for one in world.tables]:
        column = Column(name="id", attnum=1, type=kind)
        world.tables.append(Table(schema="public", name=name, oid=world.next(), columns=(column,)))
        world.statements.append(f'CREATE TABLE {quoted(name)} ("id" {kind})')


def _change(world: World, at: int, columns: list[Column], sql: str) -> None:
    table = world.tables[at]
    world.tables[at] = replace(table, columns=tuple(columns))
    world.statements.append(f"ALTER TABLE {quoted(table.name)} {sql}")


def rename_column(world: World, at: int, name: str, kind: str) -> None:
    columns = list(world.tables[at].columns)
    if columns[1:] and name not in [one.name for one in columns]:
        place = world.number % (len(columns) - 1) + 1
        old = columns[place]
        columns[place] = replace(old, name=name)
        _change(world, at, columns, f"RENAME COLUMN {quoted(old.name)} TO {quoted(name)}")


def drop_column(world: World, at: int, name: str, kind: str) -> None:
    columns = [one for one in world.tables[at].columns if one.name != name]
    if len(columns) < len(world.tables[at].columns):
        _change(world, at, columns, f"DROP COLUMN {quoted(name)}")


def add_column(world: World, at: int, name: str, kind: str) -> None:
    columns = list(world.tables[at].columns)
    if name not in [one.name for one in columns]:
        columns.append(Column(name=name, attnum=world.next(), type=kind))
        _change(world, at, columns, f"ADD COLUMN {quoted(name)} {kind}")


def retype(world: World, at: int, name: str, kind: str) -> None:
    columns = list(world.tables[at].columns)
    if name in [one.name for one in columns]:
        columns = [replace(one, type=kind) if one.name == name else one for one in columns]
        _change(world, at, columns, f"ALTER COLUMN {quoted(name)} TYPE {kind}")


CHANGES: tuple[Callable[[World, int, str, str], None], ...] = (
    rename_table,
    drop_table,
    add_table,
    rename_column,
    drop_column,
    add_column,
    retype,
)
change = st.tuples(
    st.sampled_from(CHANGES),
    st.integers(0, 2),
    st.sampled_from(NAMES),
    st.sampled_from(TYPES),
    st.integers(0, 3),
)


@st.composite
def changed(draw: st.DrawFn) -> tuple[Catalog, Catalog, tuple[tuple[str, str], ...]]:
    """A schema, what became of it, and the migrations (each of several statements) that did it."""
    world = draw(worlds())
    before = world.catalog
    texts = []
    for number in range(draw(st.integers(0, 3))):
        world.statements = []
        for make, at, name, kind, more in draw(st.lists(change, max_size=4)):
            world.number += more
            if make is add_table or at < len(world.tables):
                make(world, at, name, kind)
        texts.append((f"m{number}", ";\n".join(world.statements) or "-- nothing"))
    return before, world.catalog, tuple(texts)


def check(there: Correspondence, source: Catalog, target: Catalog) -> None:
    """Every table and every column of both sides has exactly one place."""
    ours = [pair.source for pair in there.tables] + [one.table for one in there.only_source]
    theirs = [pair.target for pair in there.tables] + list(there.only_target)
    assert sorted(ours) == sorted((one.schema, one.name) for one in source.tables)
    assert sorted(theirs) == sorted((one.schema, one.name) for one in target.tables)
    tables = {(one.schema, one.name): one for one in source.tables}
    others = {(one.schema, one.name): one for one in target.tables}
    for pair in there.tables:
        here = tables[pair.source].columns
        read = [one.source for one in pair.columns] + [one.name for one in pair.split]
        generated = {one.name for one in here if one.generated}
        assert len(read) == len(set(read))
        assert {one.name for one in here} - generated <= set(read) <= {one.name for one in here}
        written = [one.target for one in pair.columns] + list(pair.kept)
        assert sorted(written) == sorted(
            one.name for one in others[pair.target].columns if not one.generated
        )
        assert set(pair.required) <= set(pair.kept)
        assert set(pair.key) <= set(pair.columns)


def sides(there: Correspondence) -> set[tuple[Name, Name, str, str]]:
    return {
        (one.source, one.target, pair.source, pair.target)
        for one in there.tables
        for pair in one.columns
    }


def as_set(matched: Matched) -> set[object]:
    return {(one.before, one.live, frozenset(one.columns)) for one in matched.tables}


@settings(max_examples=200, deadline=None)
@given(changed())
def test_every_column_has_one_place_and_both_matchings_agree(
    case: tuple[Catalog, Catalog, tuple[tuple[str, str], ...]],
) -> None:
    old, new, texts = case
    by_oid = pairs(old, new, same_database=True, texts=texts, schema="public")
    by_text = pairs(old, new, same_database=False, texts=texts, schema="public")
    assert as_set(by_oid) == as_set(by_text)
    back = correspond(new, old, by_oid)
    forth = correspond(old, new, by_oid, backwards=True)
    check(back, new, old)
    check(forth, old, new)
    assert back.conversions == correspond(new, old, by_text).conversions
    # What is read from a generated column one way is not written the other way.
    generated = {
        (one.schema, one.name, column.name)
        for one in (*old.tables, *new.tables)
        for column in one.columns
        if column.generated
    }
    there = {(b, a, d, c) for a, b, c, d in sides(forth)}
    assert not {one for one in sides(back) ^ there if (*one[1], one[3]) not in generated}


@settings(max_examples=100, deadline=None)
@given(changed())
def test_the_same_schema_corresponds_to_itself(
    case: tuple[Catalog, Catalog, tuple[tuple[str, str], ...]],
) -> None:
    schema = case[1]
    there = correspond(
        schema, schema, pairs(schema, schema, same_database=False, texts=(), schema="public")
    )
    assert {pair.how for one in there.tables for pair in one.columns} <= {"same"}
    assert (there.conversions, there.only_target, there.notes) == ((), (), ())
    assert all(not one.split and not one.kept for one in there.tables)

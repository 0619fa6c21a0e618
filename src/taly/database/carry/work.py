"""What a carry-over has to do for each table: the correspondence together with both catalogs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import psycopg

from taly.database.carry.sql import rows
from taly.database.checkpoint.contents import HASH_RECORDS_SINCE, PLAIN, Table, tables
from taly.errors import Refused
from taly.planning.carry.model import ColumnPair, Correspondence, Extra, SplitColumn, TablePair

LEDGER = "_prisma_migrations"
AS_TEXT = "jsonb"
"""Its own hash finds 1 and 1.0 equal, which are not the same text."""
COLLATED = ("text", "varchar", "bpchar")

COLUMNS = """
SELECT n.nspname, c.relname, c.relkind::text, c.relispartition, a.attname, t.typname,
  format_type(a.atttypid, a.atttypmod), format_type(a.atttypid, -1),
  CASE t.typtype WHEN 'd' THEN format_type(t.typbasetype, -1) ELSE format_type(t.oid, -1) END,
  t.typname = ANY (%s) AND t.typnamespace = 'pg_catalog'::regnamespace, t.typtype = 'e',
  a.attnotnull, a.attgenerated <> ''
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname, a.attnum
"""
EMPTY = """
SELECT n.nspname, c.relname, c.relkind::text, c.relispartition
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""
Name = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A column as one database has it."""

    name: str
    typname: str
    type: str
    cast: str
    """The type without a length: a cast to it cuts nothing off."""
    base: str
    """The same, a domain's own type instead of the domain."""
    plain: bool
    enum: bool
    not_null: bool
    generated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A table as one database has it."""

    name: Name
    partitioned: bool
    partition: bool
    columns: Mapping[str, Fact]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column that is carried over."""

    pair: ColumnPair
    here: Fact
    """In the target; in the source for a table that only that has."""
    native: bool
    """Whether its own hash is the same on both sides."""

    @property
    def converted(self) -> bool:
        """Whether the value is read otherwise than it was written."""
        return self.pair.how not in ("same", "renamed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A value of the source that the target has no place for, or takes only converted."""

    name: str
    type: str
    default: str
    column: int
    """Number of the converted column; -1 for one that only the source has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One table."""

    n: int
    source: Name
    target: Name | None
    """None = only the source has it."""
    source_only: str
    """ONLY, unless it is partitioned: what inherits from it is a table of its own."""
    target_only: str
    columns: tuple[Column, ...]
    key: tuple[int, ...]
    """Numbers of columns; empty = no key on both sides."""
    key_types: tuple[str, ...]
    """As the source has them."""
    parts: tuple[Part, ...]
    live: tuple[Fact, ...]
    """All columns of the source that can be written."""
    rest: tuple[str, ...]
    """Columns that only the target has and that can be written."""
    required: tuple[str, ...]
    target_columns: tuple[str, ...]
    """All that can be written there."""

    @property
    def label(self) -> str:
        """For people."""
        return ".".join(self.source)

    @property
    def source_key(self) -> tuple[str, ...]:
        """The key's columns as the source calls them."""
        return tuple(self.columns[i].pair.source for i in self.key)

    @property
    def target_key(self) -> tuple[str, ...]:
        """The key's columns as the target calls them."""
        return tuple(self.columns[i].pair.target for i in self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Works:
    """All tables, and which hash both servers have."""

    tables: tuple[Work, ...]
    hash_records: bool
    leaves: Mapping[Name, Table] = field(default_factory=dict)
    """The target's tables that hold rows themselves, as a checkpoint lists them."""

    def of_target(self, name: Name) -> Work | None:
        """The one whose rows go there."""
        return next((work for work in self.tables if work.target == name), None)


def read_works(
    source: psycopg.Connection, target: psycopg.Connection, given: Correspondence, ledger: str
) -> Works:
    """The correspondence and what both databases say, together; Refused when they do not fit."""
    if given.gaps:
        raise Refused(
            f"the rows cannot be carried over: {'; '.join(given.gaps)}",
            reference="carry-gaps",
            hint="taly rollback --database keep",
        )
    live, other = _relations(source), _relations(target)
    found: list[Work] = []
    for pair in given.tables:
        if pair.source == (ledger, LEDGER) or _covered(pair.source, live):
            continue
        found.append(
            _paired(len(found), pair, _known(live, pair.source), _known(other, pair.target))
        )
    for extra in given.only_source:
        if extra.table == (ledger, LEDGER) or _covered(extra.table, live):
            continue
        found.append(_extra(len(found), extra, _known(live, extra.table)))
    versions = (source.info.server_version, target.info.server_version)
    return Works(
        tables=tuple(found),
        hash_records=min(versions) >= HASH_RECORDS_SINCE,
        leaves={(one.schema, one.name): one for one in tables(target)},
    )


def _covered(name: Name, relations: Mapping[Name, Relation]) -> bool:
    """Whether the table is a partition: its rows are those of the table that it is a part of."""
    relation = relations.get(name)
    return relation is not None and relation.partition


def _known(relations: Mapping[Name, Relation], name: Name) -> Relation:
    if name not in relations:
        raise Refused(
            f"table {'.'.join(name)} is not there any more: the schema was changed meanwhile",
            reference="database-changed",
            hint="taly rollback",
        )
    return relations[name]


def _relations(connection: psycopg.Connection) -> dict[Name, Relation]:
    columns: dict[Name, dict[str, Fact]] = {}
    for schema, table, _, _, name, typname, full, cast, base, plain, enum, nn, generated in rows(
        connection, COLUMNS, ([one for one in PLAIN if one != AS_TEXT],)
    ):
        columns.setdefault((schema, table), {})[name] = Fact(
            name=name,
            typname=typname,
            type=full,
            cast=cast,
            base=base,
            plain=plain,
            enum=enum,
            not_null=nn,
            generated=generated,
        )
    return {
        (schema, table): Relation(
            name=(schema, table),
            partitioned=kind == "p",
            partition=partition,
            columns=columns.get((schema, table), {}),
        )
        for schema, table, kind, partition in rows(connection, EMPTY)
    }


def _paired(n: int, pair: TablePair, live: Relation, other: Relation) -> Work:
    columns = tuple(_column(one, live, other) for one in pair.columns)
    targets = [one.target for one in pair.columns]
    key = tuple(targets.index(one.target) for one in pair.key)
    sources = [live.columns.get(columns[i].pair.source) for i in key]
    found_again = all(
        not columns[i].converted and columns[i].here.not_null and fact and fact.not_null
        for i, fact in zip(key, sources, strict=True)
    )
    written = tuple(fact.name for fact in other.columns.values() if not fact.generated)
    return Work(
        n=n,
        source=pair.source,
        target=pair.target,
        source_only="" if live.partitioned else "ONLY ",
        target_only="" if other.partitioned else "ONLY ",
        columns=columns,
        key=key if found_again else (),
        key_types=tuple(fact.base for fact in sources if fact) if found_again else (),
        parts=_parts(pair.split, columns, live),
        live=tuple(fact for fact in live.columns.values() if not fact.generated),
        rest=tuple(name for name in written if name not in targets),
        required=pair.required,
        target_columns=written,
    )


def _column(pair: ColumnPair, live: Relation, other: Relation) -> Column:
    here, there = other.columns.get(pair.target), live.columns.get(pair.source)
    if here is None or (pair.source and there is None):
        raise Refused(
            f"column {'.'.join((*other.name, pair.target))} is not there any more: the schema was"
            " changed meanwhile",
            reference="database-changed",
            hint="taly rollback",
        )
    same = there is not None and pair.how in ("same", "renamed") and there.typname == here.typname
    return Column(pair=pair, here=here, native=bool(same and here.plain and there and there.plain))


def _parts(
    split: tuple[SplitColumn, ...], columns: tuple[Column, ...], live: Relation
) -> tuple[Part, ...]:
    only_here = [
        Part(name=one.name, type=live.columns[one.name].type, default=one.default, column=-1)
        for one in split
        if one.name in live.columns and not live.columns[one.name].generated
    ]
    converted = [
        Part(name=one.pair.source, type=live.columns[one.pair.source].type, default="", column=i)
        for i, one in enumerate(columns)
        if one.converted and one.pair.source
    ]
    return (*only_here, *converted)


def _extra(n: int, extra: Extra, live: Relation) -> Work:
    facts = tuple(fact for fact in live.columns.values() if not fact.generated)
    columns = tuple(
        Column(
            pair=ColumnPair(
                source=fact.name, target=fact.name, type=fact.type, how="same", expression=""
            ),
            here=fact,
            native=fact.plain,
        )
        for fact in facts
    )
    names = [fact.name for fact in facts]
    key = tuple(names.index(name) for name in extra.key)
    found_again = all(facts[i].not_null for i in key)
    return Work(
        n=n,
        source=extra.table,
        target=None,
        source_only="" if live.partitioned else "ONLY ",
        target_only="",
        columns=columns,
        key=key if found_again else (),
        key_types=tuple(facts[i].base for i in key) if found_again else (),
        parts=(),
        live=facts,
        rest=(),
        required=(),
        target_columns=(),
    )

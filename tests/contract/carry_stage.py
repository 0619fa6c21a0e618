"""Two databases and what corresponds in them: the live one and the one that takes its place."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.conftest import END_OTHERS, SCHEMAS

from taly.database.carry import Carry, Passed, Proof, Since
from taly.database.connection import Target, target_of
from taly.database.rescue.bundle import Bundle, Reader, RescuedRow
from taly.model.ports import Say, silent
from taly.planning.carry.model import ColumnPair, Correspondence, Extra, SplitColumn, TablePair
from taly.sandbox.server import Server

NOW = datetime(2026, 11, 23, 13, 45, tzinfo=UTC)

COLUMNS = """
SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
  CASE WHEN a.attgenerated = '' THEN coalesce(pg_get_expr(d.adbin, d.adrelid), '') ELSE '' END,
  a.attidentity <> '', coalesce(a.attnum = ANY (k.conkey), false),
  ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = a.atttypid
        ORDER BY e.enumsortorder)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
  LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attgenerated = ''
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema') AND n.nspname !~ '^taly_'
ORDER BY n.nspname, c.relname, a.attnum
"""
Name = tuple[str, str]
Columns = dict[str, tuple[Any, ...]]


@dataclass
class Stage:
    """Both databases; `live` is the source of a carry-over, `side` its target."""

    live_url: str
    side_url: str
    folder: Path
    say: Say = silent
    since: Since | None = None
    name: str = "test"
    bundles: int = field(default=0)

    @property
    def live_target(self) -> Target:
        return target_of({}, {"DATABASE_URL": self.live_url})

    @property
    def side_target(self) -> Target:
        return target_of({}, {"DATABASE_URL": self.side_url})

    def live(self, sql: str) -> list[tuple[Any, ...]]:
        return _run(self.live_url, sql)

    def side(self, sql: str) -> list[tuple[Any, ...]]:
        return _run(self.side_url, sql)

    def both(self, sql: str) -> None:
        """The state at the backup, in both."""
        self.live(sql)
        self.side(sql)

    def xid(self) -> int:
        found = self.live("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        return int(found[0][0])

    def backed_up(self) -> None:
        """The backup is made now."""
        self.since = Since(xmin=self.xid(), window_end=None, snapshot="")

    def migrated(self) -> None:
        """The migration window ends now."""
        assert self.since is not None
        self.since = replace(self.since, window_end=self.xid())

    def undone(self) -> "Stage":
        """The other direction."""
        return replace(self, live_url=self.side_url, side_url=self.live_url, since=None)

    def correspondence(
        self,
        columns: Mapping[tuple[str, str], tuple[str, str]] = {},
        renamed: Mapping[Name, Name] = {},
    ) -> Correspondence:
        """By name. `columns`: (target's table, column) → (source's column, expression)."""
        live, side = _columns(self.live_url), _columns(self.side_url)
        back = {renamed.get(name, name): name for name in side}
        return Correspondence(
            tables=tuple(
                _pair(renamed.get(name, name), live[renamed.get(name, name)], name, there, columns)
                for name, there in side.items()
                if renamed.get(name, name) in live
            ),
            only_source=tuple(
                Extra(
                    table=name,
                    columns=tuple(SplitColumn(name=one, type=facts[1]) for one, facts in c.items()),
                    key=tuple(one for one, facts in c.items() if facts[5]),
                )
                for name, c in live.items()
                if name not in back
            ),
            only_target=tuple(name for name in side if renamed.get(name, name) not in live),
        )

    @contextmanager
    def carry(
        self, correspondence: Correspondence | None = None, **how: Any
    ) -> Iterator[tuple[Carry, Bundle]]:
        """A carry-over that has begun; its capture is gone afterwards."""
        self.bundles += 1
        bundle = Bundle.begin(
            self.folder,
            run=f"run-{self.bundles}",
            step="restore:database",
            component="database",
            environment="production",
            place="here",
            now=NOW,
        )
        since = how.pop("since", self.since)
        carry = Carry(
            self.live_target,
            self.side_target,
            correspondence or self.correspondence(),
            since,
            bundle,
            name=self.name,
            say=self.say,
            schema_of_ledger="public",
            **how,
        )
        try:
            carry.begin()
            yield carry, bundle
        finally:
            carry.end()
            bundle.discard()

    def run(self, correspondence: Correspondence | None = None, **how: Any) -> "Done":
        """The whole of it, while nobody writes."""
        with self.carry(correspondence, **how) as (carry, bundle):
            first = carry.first_pass()
            return finish(carry, bundle, first)


@dataclass(frozen=True, kw_only=True)
class Done:
    """What came of it."""

    proof: Proof
    first: Passed
    last: Passed
    rescued: dict[str, list[RescuedRow]]

    def table(self, name: str) -> Any:
        return next(one for one in self.proof.tables if one.table[1] == name)

    def rows(self, name: str, kind: str = "row") -> list[dict[str, str | None]]:
        """Rescued rows of a table, sorted."""
        found = [one.row for one in self.rescued.get(name, []) if one.kind == kind]
        return sorted(found, key=lambda row: [str(value) for value in row.values()])

    def reasons(self, name: str) -> set[str]:
        return {one.why for one in self.rescued.get(name, [])}


def finish(carry: Carry, bundle: Bundle, first: Passed) -> Done:
    """The write pause, to the end."""
    with carry.blocked(limit_s=5):
        last = carry.last_pass()
        proof = carry.finish()
        bundle.finish()
        carry.release()
    return Done(proof=proof, first=first, last=last, rescued=read(bundle))


def read(bundle: Bundle) -> dict[str, list[RescuedRow]]:
    """What a bundle holds: table → rows."""
    reader = Reader(bundle.path)
    reader.check()
    return {table.name: list(reader.rows(table)) for table in reader.tables}


def _run(url: str, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True, options="-c timezone=UTC") as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def _columns(url: str) -> dict[Name, Columns]:
    found: dict[Name, Columns] = {}
    for schema, table, name, *facts in _run(url, COLUMNS):
        found.setdefault((schema, table), {})[name] = (name, *facts)
    return found


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _pair(
    source: Name,
    live: Columns,
    target: Name,
    side: Columns,
    given: Mapping[tuple[str, str], tuple[str, str]],
) -> TablePair:
    pairs = list(_pairs(target, live, side, given))
    read_from = {pair.source for pair in pairs}
    keys: Iterable[ColumnPair] = [pair for pair in pairs if side[pair.target][5]]
    plain = all(pair.how in ("same", "renamed") and live[pair.source][5] for pair in keys)
    kept = [name for name in side if name not in {pair.target for pair in pairs}]
    return TablePair(
        source=source,
        target=target,
        key=tuple(keys) if plain else (),
        columns=tuple(pairs),
        split=tuple(
            SplitColumn(name=name, type=facts[1], default=facts[3])
            for name, facts in live.items()
            if name not in read_from
        ),
        kept=tuple(kept),
        required=tuple(
            name for name in kept if side[name][2] and not side[name][3] and not side[name][4]
        ),
    )


def _pairs(
    target: Name,
    live: Columns,
    side: Columns,
    given: Mapping[tuple[str, str], tuple[str, str]],
) -> Iterator[ColumnPair]:
    for name, facts in side.items():
        source, expression = given.get((target[1], name), (name, ""))
        if source not in live and not expression:
            continue
        how: Any = "same" if source == name else "renamed"
        if expression:
            how = "hinted"
        elif live[source][1] != facts[1]:
            how = "retyped"
        yield ColumnPair(
            source=source if source in live else "",
            target=name,
            type=facts[1],
            how=how,
            expression=expression or f"s.{quoted(source)}::text",
            labels=tuple(facts[6]),
            not_null=facts[2],
        )


def table_of(rows: Sequence[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    """Rows without their order."""
    return set(rows)


SIDE = "taly_carry_side"


def made(server: Server, url: str, side: str, folder: Path) -> Stage:
    """Both databases, emptied: making one anew takes ten times as long."""
    for one in (url, side):
        with psycopg.connect(one, autocommit=True) as connection:
            connection.execute(END_OTHERS)
            for (schema,) in connection.execute(SCHEMAS).fetchall():
                connection.execute(f"DROP SCHEMA {quoted(schema)} CASCADE".encode())
            connection.execute("CREATE SCHEMA public")
            connection.execute("SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
    return Stage(live_url=url, side_url=side, folder=folder)


@pytest.fixture(scope="module")
def side_url(postgres_server: Server) -> Iterator[str]:
    """A second database, dropped at the end."""
    yield postgres_server.create_database(SIDE)
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {SIDE} WITH (FORCE)".encode())


@pytest.fixture
def stage(postgres_server: Server, side_url: str, tmp_path: Path) -> Stage:
    """Two empty databases."""
    return made(postgres_server, postgres_server.url(), side_url, tmp_path)

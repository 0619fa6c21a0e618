"""What the audit trail must show, whichever database it stands on. Test files give `raw`, `store`
and `fresh`."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from store_contract import HERE
from tests.engine_world import NOON, plan, step

from taly.engine.audit import Finding, Walked, read_lines, to_line, verify_store
from taly.engine.audit.exported import export, verify_lines
from taly.engine.codec import event_to_json, plan_to_json
from taly.engine.store import Marked, RecordedRelease, Store, open_store
from taly.engine.store.database import _blocks
from taly.model.events import Act, RunFinished, RunStarted, StepDone, StepIntended, StepStarted
from taly.model.release import Mark

COLUMNS = ("run_id", "seq", "at", "fence", "body", "environment", "position", "chain")
SELECT = (
    f"select {', '.join(COLUMNS)} from event where environment = 'production' order by position"
)


def filled(raw: "RawStore") -> Iterator[Store]:
    """A store that every test leaves as it found it."""
    store = open_store(raw.url)
    fill(store)
    yield store
    store.close()


def fill(store: Store, runs: int = 3) -> None:
    """Runs of two environments, a mark and a recorded release between them."""
    for number in range(runs):
        for environment in ("production", "staging"):
            one = plan(step("a"), environment=environment, digest=f"d{number}")
            lease = store.create_run(one, HERE, at=NOON, version="1", lease_s=20)
            begun = StepStarted(step="roll-back:a"), StepIntended(step="roll-back:a", key="k")
            store.append(lease, [(NOON, event) for event in begun], after=1)
            done = StepDone(step="roll-back:a", how="acted", state={"n": "ä", "at": str(number)})
            store.append(lease, [(NOON, done)], after=3)
            store.append(lease, [(NOON, RunFinished(outcome="succeeded"))], after=4)
        mark = Marked(content_id=f"c{number}", mark=Mark.BAD, why="slow", by="ana", at=NOON)
        store.mark_release("production", mark)
    store.record_release(
        "production",
        RecordedRelease(
            content_id="c9", members={"a": "1"}, commit="f" * 40, label="v9", at=NOON, by="ben"
        ),
    )


def production(store: Store, *heads: str) -> Walked:
    """How production's trail stands; staging's must be whole, unless something went there."""
    (found,) = [one for one in verify_store(store, heads) if one.environment == "production"]
    return found


def finding(store: Store) -> Finding:
    """What is wrong with production's trail."""
    found = production(store).finding
    assert found is not None, "nothing was found"
    return found


class RawStore:
    """The same database, as somebody with its password reaches it."""

    url = ""
    unique: tuple[type[Exception], ...] = ()
    """What it raises when two rows would stand in one place."""

    def execute(self, sql: str, values: Sequence[object] = ()) -> None:
        """Run and commit one statement; parameters are question marks."""
        raise NotImplementedError

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query returns."""
        raise NotImplementedError

    def one_byte_changed(self, old: object) -> st.SearchStrategy[object]:
        """Other values that differ in one byte."""
        raise NotImplementedError

    def parameter(self, value: object) -> str:
        """How that value stands in a statement."""
        return "?"

    @contextmanager
    def changed(self, table: str, column: str, new: Any, run: str, seq: int) -> Iterator[bool]:
        """One column of an event; False when the database allows no such row."""
        old = self.rows(f"select {column} from {table} where run_id = '{run}' and seq = {seq}")[0][
            0
        ]
        where = {"run_id": run, "seq": seq}
        if not self._set(table, column, new, where):
            yield False
            return
        if column in where:
            where[column] = new
        try:
            yield True
        finally:
            assert self._set(table, column, old, where)

    def _set(self, table: str, column: str, value: Any, where: dict[str, Any]) -> bool:
        tests = " and ".join(f"{name} = {self.parameter(one)}" for name, one in where.items())
        sql = f"update {table} set {column} = {self.parameter(value)} where {tests}"
        try:
            self.execute(sql, (value, *where.values()))
        except self.unique:
            return False
        return True

    @contextmanager
    def without(self, run: str, seq: int) -> Iterator[None]:
        row = self.rows(f"select * from event where run_id = '{run}' and seq = {seq}")[0]
        self.execute(f"delete from event where run_id = '{run}' and seq = {seq}")
        try:
            yield
        finally:
            self.execute(f"insert into event values ({', '.join('?' * len(row))})", row)

    @contextmanager
    def inserted(self, row: dict[str, Any]) -> Iterator[None]:
        marks = ", ".join("?" * len(COLUMNS))
        values = [row[name] for name in COLUMNS]
        self.execute(f"insert into event ({', '.join(COLUMNS)}) values ({marks})", values)
        try:
            yield
        finally:
            self.execute("delete from event where seq = ?", (row["seq"],))

    def refuses(self, row: dict[str, Any]) -> None:
        with pytest.raises(self.unique), self.inserted(row):
            pass

    @contextmanager
    def swapped(self, first: Any, second: Any, columns: Sequence[str]) -> Iterator[None]:
        """Two events whose columns changed places."""
        self._put(columns, (first, second), (second, first))
        try:
            yield
        finally:
            self._put(columns, (first, first), (second, second))

    def _put(self, columns: Sequence[str], *pairs: tuple[Any, Any]) -> None:
        where = "where run_id = ? and seq = ?"
        if "position" in columns:
            for row, _ in pairs:
                self.execute(f"update event set position = -position {where}", row[:2])
        sets = ", ".join(f"{name} = ?" for name in columns)
        for row, other in pairs:
            values = [other[COLUMNS.index(name)] for name in columns]
            self.execute(f"update event set {sets} {where}", [*values, *row[:2]])

    @contextmanager
    def replaced(self, column: str, old: str, new: str, run: str) -> Iterator[None]:
        swap = f"update run set {column} = replace({column}, ?, ?) where id = ?"
        self.execute(swap, (old, new, run))
        try:
            yield
        finally:
            self.execute(swap, (new, old, run))

    @contextmanager
    def statement(self, sql: str, back: str) -> Iterator[None]:
        self.execute(sql)
        try:
            yield
        finally:
            self.execute(back)

    @contextmanager
    def cut_off(self, environment: str) -> Iterator[None]:
        """The recorded release, the newest entry, goes without a trace."""
        saved = {
            table: self.rows(f"select * from {table} where environment = '{environment}'")
            for table in ("act", "chain_head", "recorded_release")
        }
        last = saved["chain_head"][0][1]
        before = self.rows(
            f"select chain from act where position = {last - 1} and environment = '{environment}'"
        )[0][0]
        self.execute(f"delete from act where position = {last} and environment = '{environment}'")
        self.execute("delete from recorded_release")
        self.execute(
            f"update chain_head set position = ?, chain = ? where environment = '{environment}'",
            (last - 1, before),
        )
        try:
            yield
        finally:
            for table, rows in saved.items():
                self.execute(f"delete from {table} where environment = '{environment}'")
                for row in rows:
                    self.execute(f"insert into {table} values ({', '.join('?' * len(row))})", row)


class TrailContract:
    """The suite. `raw` runs SQL beside the store, as somebody with the database's password can."""

    examples: ClassVar[int] = 100

    def test_what_nobody_touched_is_intact(self, store: Store) -> None:
        found = {one.environment: one for one in verify_store(store)}
        assert {name: one.finding for name, one in found.items()} == {
            "production": None,
            "staging": None,
        }
        one = found["production"]
        assert (one.events, one.acts, one.runs, one.last) == (15, 4, 3, 19)
        assert one.chained_from == 0

    def test_every_changed_byte_of_an_event_is_found_and_named(
        self, store: Store, raw: Any
    ) -> None:
        rows = raw.rows(SELECT)

        @settings(
            max_examples=self.examples,
            deadline=None,
            suppress_health_check=[HealthCheck.function_scoped_fixture],
        )
        @given(data=st.data())
        def check(data: st.DataObject) -> None:
            row = data.draw(st.sampled_from(rows), label="row")
            column = data.draw(st.sampled_from(COLUMNS), label="column")
            old = row[COLUMNS.index(column)]
            new = data.draw(raw.one_byte_changed(old), label="new")
            position = row[COLUMNS.index("position")]
            with raw.changed("event", column, new, row[0], row[1]) as was_possible:
                assume(was_possible)
                assert finding(store).position == position
            assert production(store).finding is None

        check()

    def test_every_removed_event_is_found_and_named(self, store: Store, raw: Any) -> None:
        for row in raw.rows(SELECT):
            with raw.without(row[0], row[1]):
                found = finding(store)
                position = row[COLUMNS.index("position")]
                assert (found.kind, found.position) == ("missing", position)
        assert production(store).finding is None

    def test_any_two_events_that_changed_places_are_found(self, store: Store, raw: Any) -> None:
        rows = raw.rows(SELECT)
        for first, second in zip(rows, rows[1:] + rows[:1], strict=True):
            if first[2:5] == second[2:5]:
                continue
            with raw.swapped(first, second, ("at", "fence", "body")):
                assert finding(store).position == min(first[6], second[6])
            with raw.swapped(first, second, ("position", "chain")):
                assert finding(store).position == min(first[6], second[6])
        assert production(store).finding is None

    @pytest.mark.parametrize("place", [0, 1, 7, 20, 25])
    def test_an_inserted_event_is_found(self, store: Store, raw: Any, place: int) -> None:
        """Outside the trail, beside an act, behind its end: at an event's place it cannot stand."""
        row = dict(zip(COLUMNS, raw.rows(SELECT)[-1], strict=True))
        place = 6 if place == 7 else place  # an act's
        if place == 1:
            return raw.refuses({**row, "seq": 99, "position": 1})
        with raw.inserted({**row, "seq": 99, "position": place}):
            assert finding(store).position >= min(place, 6)
        return None

    def test_a_plan_that_was_changed_is_found_at_its_run(self, store: Store, raw: Any) -> None:
        (run,) = raw.rows("select id from run where digest = 'd1' and environment = 'production'")
        (first,) = raw.rows(f"select position from event where run_id = '{run[0]}' and seq = 1")
        with raw.replaced("plan", "roll-back:a", "roll-back:b", run[0]):
            assert finding(store).position == first[0]

    @pytest.mark.parametrize(
        ("column", "old", "new"),
        [
            ("digest", "d1", "d2"),
            ("by_whom", "ana", "ben"),
            ("outcome", "succeeded", "failed"),
            ("environment", "production", "staging"),
        ],
    )
    def test_the_rows_that_repeat_the_trail_are_compared(
        self, store: Store, raw: Any, column: str, old: str, new: str
    ) -> None:
        (run,) = raw.rows("select id from run where digest = 'd1' and environment = 'production'")
        with raw.replaced(column, old, new, run[0]):
            assert finding(store).kind == "altered"

    def test_a_mark_that_was_set_behind_our_back_is_found(self, store: Store, raw: Any) -> None:
        with raw.statement(
            "update mark set why = 'fine' where content_id = 'c1'",
            "update mark set why = 'slow' where content_id = 'c1'",
        ):
            assert "release c1" in finding(store).says

    def test_a_cut_off_end_is_found_by_a_head_that_was_kept(self, store: Store, raw: Any) -> None:
        """Who may write everything can cut the newest entries off without a trace in the store."""
        kept = store.chain_head("production")
        assert kept is not None
        assert dict(production(store, kept.chain).kept) == {kept.chain: 19}
        with raw.cut_off("production"):
            found = production(store, kept.chain)
            assert found.finding is None  # nothing within the store tells
            assert dict(found.kept) == {}  # the head does

    def test_an_export_is_verified_without_the_store(self, store: Store) -> None:
        lines = [to_line(line) for line in export(store, "production")]
        assert len(lines) == 19
        (walked,) = verify_lines(read_lines(lines, "file"))
        assert walked.finding is None
        assert walked.head == production(store).head
        first = json.loads(lines[0])
        assert (first["by"], first["host"], first["version"]) == ("ana", HERE.host, "1")
        assert first["digest"] == json.loads(lines[3])["digest"] == "d0"
        for number, line in enumerate(lines):
            for key in ("at", "by", "body", "chain", "kind", "previous", "digest", "host"):
                document = json.loads(line)
                document[key] += "x"
                altered = [*lines[:number], json.dumps(document), *lines[number + 1 :]]
                (walked,) = verify_lines(read_lines(altered, "file"))
                assert walked.finding is not None, key
                assert walked.finding.position == number + 1, key
            (walked,) = verify_lines(read_lines(lines[:number] + lines[number + 1 :], "file"))
            assert walked.finding or number in (0, 18)  # a part may begin and end anywhere
            assert (walked.first, walked.last) != (1, 19)

    def test_a_part_is_exported_whole(self, store: Store) -> None:
        run = store.runs("production")[1]
        lines = [to_line(line) for line in export(store, "production", run=run.id)]
        assert {json.loads(line)["run"] for line in lines} == {run.id}
        (walked,) = verify_lines(read_lines(lines, "file"))
        assert walked.finding is None
        assert (walked.first, walked.last, walked.events) == (7, 11, 5)
        assert list(export(store, "production", since=NOON.replace(year=2100))) == []
        assert len(list(export(store, "production", since=NOON))) == 19

    def test_many_write_at_once_and_the_chain_holds(self, raw: Any, store: Store) -> None:
        def work(number: int) -> None:
            own = open_store(raw.url)
            for again in range(5):
                own.note("shared", NOON, Act(kind="noted", by=f"w{number}.{again}"))
            own.close()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        (found,) = [one for one in verify_store(store) if one.environment == "shared"]
        assert (found.finding, found.acts) == (None, 20)

    def test_an_older_store_is_chained_when_it_is_upgraded(self, fresh: Any) -> None:
        """Schema 1 and 2 had no chain: what stood there is told from what came after."""
        fresh.make_version_2()
        one = plan(step("a"), digest="d7")
        fresh.execute(
            "insert into run values ('run-000001', 'production', 'rollback', 'd7', ?, 'ana', ?,"
            " 'succeeded', ?, 'ana', 'h', 'm', 1, 's', 0, 1, 2, '')",
            (plan_to_json(one), NOON.isoformat(), NOON.isoformat()),
        )
        begun = RunStarted(plan_digest="d7", by="ana", host="h", version="0.1")
        for seq, event in enumerate([begun, RunFinished(outcome="succeeded")], 1):
            fresh.execute(
                "insert into event values ('run-000001', ?, ?, 1, ?)",
                (seq, NOON.isoformat(), event_to_json(event)),
            )
        fresh.execute(
            "insert into mark values ('production', 'c1', 'bad', 'slow', 'ana', ?)",
            (NOON.isoformat(),),
        )
        store = open_store(fresh.url)
        assert len(store.events("run-000001")) == 2
        walked = production(store)
        assert walked.finding is None
        assert (walked.events, walked.acts, walked.chained_from) == (2, 2, 4)
        fill(store, runs=1)
        assert production(store).finding is None
        fresh.execute("update event set at = '2020-01-01T00:00:00+00:00' where seq = ?", (2,))
        assert finding(store).position == 2
        store.close()


def version_2() -> list[str]:
    """The schema as it stood before the chain."""
    return [_blocks("schema.sql", "version")[number] for number in ("1", "2")]

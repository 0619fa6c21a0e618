"""What the audit trail must show, whichever database it stands on. Test files give `raw`, `store`
and `fresh`."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from store_contract import HERE
from tests.engine_world import NOON, plan, step
from trail_raw import ACTS, COLUMNS, PLACE, SELECT, RawStore

from taly.engine.audit import Finding, Walked, read_lines, stored, to_line, verify_store
from taly.engine.audit.exported import export, verify_lines
from taly.engine.codec import event_to_json, plan_to_json
from taly.engine.store import Marked, RecordedRelease, Store, open_store
from taly.engine.store.database import _blocks
from taly.model.events import Act, RunFinished, RunStarted, StepDone, StepIntended, StepStarted
from taly.model.release import Mark


def filled(raw: RawStore) -> Iterator[Store]:
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
        changes = st.tuples(st.sampled_from(rows), st.sampled_from(COLUMNS)).flatmap(
            lambda of: raw.one_byte_changed(of[0][COLUMNS.index(of[1])]).map(lambda new: (*of, new))
        )
        beside_an_act = next(row for row in rows if row[PLACE] == ACTS[0] + 1)

        @settings(
            max_examples=self.examples,
            deadline=None,
            suppress_health_check=[HealthCheck.function_scoped_fixture],
        )
        @given(changes)
        @example((beside_an_act, "position", ACTS[0]))  # 7 to 6, where a mark stands: one bit
        def check(change: tuple[Any, ...]) -> None:
            row, column, new = change
            with raw.changed("event", column, new, row[0], row[1]) as was_possible:
                assume(was_possible)
                found = finding(store)
            if column == "position" and new in ACTS and new < row[PLACE]:
                # The first wrong place is where it went. It is named, and not the act.
                assert (found.kind, found.position) == ("added", new)
                assert (found.run, found.seq) == (row[0], row[1])
            else:
                assert found.position == row[PLACE]
            assert production(store).finding is None

        check()

    def test_an_event_that_was_moved_is_named_wherever_it_went(
        self, store: Store, raw: Any
    ) -> None:
        for row in raw.rows(SELECT):
            for new in (-1, 0, *ACTS, ACTS[-1] + 1, 2**31 - 1):
                with raw.changed("event", "position", new, row[0], row[1]) as was_possible:
                    assert was_possible
                    found = finding(store)
                if new in ACTS and new < row[PLACE]:
                    assert (found.kind, found.position) == ("added", new)
                    assert (found.run, found.seq) == (row[0], row[1])
                else:
                    assert (found.kind, found.position) == ("missing", row[PLACE])
        assert production(store).finding is None

    def test_a_second_entry_in_one_place_is_found_across_pages(
        self, store: Store, raw: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row = dict(zip(COLUMNS, raw.rows(SELECT)[-1], strict=True))
        for size in range(2, 20):
            monkeypatch.setattr(stored, "PAGE", size)
            assert production(store).finding is None
            for place in ACTS:
                with raw.inserted({**row, "seq": 99, "position": place}):
                    found = finding(store)
                assert (found.kind, found.position, found.seq) == ("added", place, 99)

    def test_every_removed_event_is_found_and_named(self, store: Store, raw: Any) -> None:
        for row in raw.rows(SELECT):
            with raw.without(row[0], row[1]):
                found = finding(store)
                position = row[PLACE]
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

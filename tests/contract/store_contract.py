"""What every store must do, whichever database it stands on. Subclasses give the fixture `url`."""

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.engine_world import NOON, plan, rollback, step

from taly.engine.owner import Owner, machine
from taly.engine.store import Lease, Marked, RecordedRelease, Store, open_store
from taly.errors import EnvironmentLocked, LeaseLost, UsageError
from taly.model.events import LeaseTaken, RunFinished, RunStarted, StepIntended, StepStarted
from taly.model.release import Mark

HERE = Owner.here("ana")
DEAD = dataclasses.replace(HERE, by="ben", pid=2**22 - 1, started="1")
ELSEWHERE = dataclasses.replace(HERE, by="cyd", host="other", machine="another boot")


def begin(
    store: Store, owner: Owner = HERE, *, environment: str = "production", lease_s: float = 20
) -> Lease:
    """A run of a plan of two steps."""
    two = plan(step("a"), step("b"), environment=environment)
    return store.create_run(two, owner, at=NOON, version="1", lease_s=lease_s)


def failed_at_once(opening: Callable[[], object]) -> list[BaseException]:
    """What went wrong where four do it at the same moment."""
    failed: list[BaseException] = []
    gate = threading.Barrier(4)

    def one() -> None:
        gate.wait()
        try:
            opening()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


class StoreContract:
    """The suite. A second connection to the same database is always to be had from `url`."""

    @pytest.fixture
    def store(self, url: str) -> Iterator[Store]:
        store = open_store(url)
        yield store
        store.close()

    # Runs and the environment's lock

    def test_a_run_keeps_its_plan_and_its_beginning(self, store: Store) -> None:
        big = rollback(20)
        lease = store.create_run(big, HERE, at=NOON, version="1.2", lease_s=20)
        assert store.plan(lease.run_id) == big
        (first,) = store.events(lease.run_id)
        assert first.event == RunStarted(plan_digest="d1", by="ana", host=HERE.host, version="1.2")
        assert (first.seq, first.fence, first.at) == (1, 1, NOON)
        run = store.run(lease.run_id)
        assert (run.environment, run.purpose, run.outcome) == ("production", "rollback", None)
        assert run.is_alive
        assert 18 < run.lease_left_s <= 20

    def test_one_unfinished_run_an_environment(self, store: Store) -> None:
        lease = begin(store)
        with pytest.raises(EnvironmentLocked) as refusal:
            begin(store)
        assert lease.run_id in refusal.value.message
        assert f"ana on {HERE.host}" in refusal.value.message
        assert "2026-01-01 12:00:00" in refusal.value.message
        assert f"taly show {lease.run_id}" in refusal.value.hint
        begin(store, environment="staging")

    def test_a_run_left_unfinished_says_how_to_go_on(self, store: Store) -> None:
        lease = begin(store, DEAD)
        with pytest.raises(EnvironmentLocked) as refusal:
            begin(store)
        assert f"taly resume {lease.run_id}" in refusal.value.hint

    def test_of_many_at_once_one_gets_the_environment(self, url: str) -> None:
        gate = threading.Barrier(6)

        def compete(_: int) -> str:
            store = open_store(url)
            gate.wait()
            try:
                return begin(store).run_id
            except EnvironmentLocked:
                return ""
            finally:
                store.close()

        with ThreadPoolExecutor(6) as pool:
            got = [run_id for run_id in pool.map(compete, range(6)) if run_id]
        assert len(got) == 1

    def test_finishing_unlocks_and_is_final(self, store: Store) -> None:
        lease = begin(store)
        store.append(lease, [(NOON, RunFinished(outcome="cancelled"))], after=1)
        assert store.run(lease.run_id).outcome == "cancelled"
        assert store.unfinished("production") is None
        with pytest.raises(LeaseLost):
            store.append(lease, [(NOON, StepStarted(step="a"))], after=2)
        with pytest.raises(UsageError, match="has ended"):
            store.take_lease(lease.run_id, HERE, at=NOON, lease_s=20)
        with pytest.raises(UsageError, match="has ended"):
            store.request_cancel(lease.run_id, "ana")
        begin(store)

    def test_ids_are_short_typeable_and_sort_by_age(self, store: Store) -> None:
        ids = [begin(store, environment=f"e{number}").run_id for number in range(5)]
        assert ids == sorted(set(ids))
        assert all(len(run_id) == 10 and run_id.startswith("run-") for run_id in ids)
        assert [run.id for run in store.runs()] == ids[::-1]
        assert [run.id for run in store.runs(limit=2)] == ids[:-3:-1]
        assert [run.id for run in store.runs("e3")] == [ids[3]]

    def test_a_run_that_is_not_there(self, store: Store) -> None:
        for ask in (
            lambda: store.plan("run-0"),
            lambda: store.run("run-0"),
            lambda: store.request_cancel("run-0", "ana"),
            lambda: store.take_lease("run-0", HERE, at=NOON, lease_s=1),
        ):
            with pytest.raises(UsageError) as refusal:
                ask()
            assert refusal.value.reference == "run-unknown"
        assert store.events("run-0") == []

    # Lease and fence

    def test_a_live_process_keeps_its_run(self, store: Store) -> None:
        lease = begin(store)
        with pytest.raises(EnvironmentLocked):
            store.take_lease(lease.run_id, HERE, at=NOON, lease_s=20)

    def test_a_dead_process_of_this_machine_is_succeeded_at_once(self, store: Store) -> None:
        lease = begin(store, DEAD)
        taken = store.take_lease(lease.run_id, HERE, at=NOON, lease_s=20)
        assert taken.fence == lease.fence + 1
        assert store.events(lease.run_id)[-1].event == LeaseTaken(owner=str(HERE))

    def test_a_process_number_used_again_is_not_the_same_process(self, store: Store) -> None:
        again = dataclasses.replace(HERE, started="before")
        assert again.machine == machine()
        lease = begin(store, again)
        assert store.take_lease(lease.run_id, HERE, at=NOON, lease_s=20).fence == 2

    def test_a_silent_process_elsewhere_is_succeeded_when_its_lease_runs_out(
        self, store: Store
    ) -> None:
        lease = begin(store, ELSEWHERE, lease_s=0.3)
        with pytest.raises(EnvironmentLocked):
            store.take_lease(lease.run_id, HERE, at=NOON, lease_s=20)
        wait_until_expired(store, lease)
        assert store.take_lease(lease.run_id, HERE, at=NOON, lease_s=20).fence == 2

    def test_renewing_and_appending_keep_a_lease(self, store: Store) -> None:
        lease = begin(store, lease_s=1)
        longer = dataclasses.replace(lease, lease_s=100)
        store.renew(longer)
        assert store.run(lease.run_id).lease_left_s > 90
        longest = dataclasses.replace(lease, lease_s=1000)
        store.append(longest, [(NOON, StepStarted(step="a"))], after=1)
        assert store.run(lease.run_id).lease_left_s > 900

    def test_letting_go_lets_others_in_at_once(self, store: Store) -> None:
        lease = begin(store, ELSEWHERE)
        store.let_go(lease)
        taken = store.take_lease(lease.run_id, HERE, at=NOON, lease_s=20)
        store.let_go(lease)  # ours no more: nothing happens
        assert store.run(lease.run_id).lease_left_s > 15
        assert taken.fence == 2

    def test_an_old_fence_can_do_nothing(self, store: Store) -> None:
        old = begin(store, DEAD)
        store.take_lease(old.run_id, HERE, at=NOON, lease_s=20)
        before = store.events(old.run_id)
        with pytest.raises(LeaseLost):
            store.append(old, [(NOON, StepStarted(step="a"))], after=1)
        with pytest.raises(LeaseLost):
            store.append(old, [(NOON, StepStarted(step="a"))], after=2)
        with pytest.raises(LeaseLost):
            store.renew(old)
        assert store.events(old.run_id) == before

    def test_of_many_that_take_over_at_once_one_succeeds(self, url: str, store: Store) -> None:
        lease = begin(store, DEAD)
        gate = threading.Barrier(5)

        def compete(_: int) -> bool:
            mine = open_store(url)
            gate.wait()
            try:
                mine.take_lease(lease.run_id, HERE, at=NOON, lease_s=20)
            except EnvironmentLocked:
                return False
            finally:
                mine.close()
            return True

        with ThreadPoolExecutor(5) as pool:
            assert sum(pool.map(compete, range(5))) == 1

    # Events

    def test_events_are_numbered_without_a_gap_all_or_nothing(self, store: Store) -> None:
        lease = begin(store)
        batch = [(NOON, StepStarted(step="a")), (NOON, StepStarted(step="b"))]
        written = store.append(lease, batch, after=1)
        assert [one.seq for one in written] == [2, 3]
        assert store.events(lease.run_id, after=1) == written
        assert store.events(lease.run_id, after=3) == []

    def test_an_append_said_again_after_a_lost_answer_appends_nothing_twice(
        self, store: Store
    ) -> None:
        lease = begin(store)
        batch = [(NOON, StepIntended(step="a", key="k"))]
        first = store.append(lease, batch, after=1)
        assert store.append(lease, batch, after=1) == first
        with pytest.raises(LeaseLost):
            store.append(lease, [(NOON, StepIntended(step="b", key="k"))], after=1)
        assert len(store.events(lease.run_id)) == 2

    def test_what_was_written_is_there_for_another_connection(self, url: str, store: Store) -> None:
        lease = begin(store)
        store.append(lease, [(NOON, StepStarted(step="a"))], after=1)
        other = open_store(url)
        assert other.events(lease.run_id) == store.events(lease.run_id)
        assert other.unfinished("production") is not None
        other.close()

    def test_a_request_to_stop_is_seen(self, store: Store) -> None:
        lease = begin(store)
        assert store.cancel_requested_by(lease.run_id) == ""
        store.request_cancel(lease.run_id, "ben")
        assert store.cancel_requested_by(lease.run_id) == "ben"
        assert store.run(lease.run_id).cancel_by == "ben"

    # Releases

    def test_release_names_are_given_in_order_and_kept(self, store: Store) -> None:
        assert store.name_releases("production", ["x", "y"]) == {"x": "R1", "y": "R2"}
        assert store.name_releases("production", ["w", "y"]) == {"w": "R3", "y": "R2"}
        assert store.name_releases("production", []) == {}
        assert store.name_releases("staging", ["y"]) == {"y": "R1"}
        assert store.release_names("production") == {"x": "R1", "y": "R2", "w": "R3"}

    def test_members_are_kept_beside_the_names_that_came_with_them(self, store: Store) -> None:
        store.name_releases("production", ["x", "y"], {"x": {"web": "w1", "api": "a1"}})
        store.name_releases("production", ["x"], {"x": {"web": "other"}})
        assert store.release_members("production") == {"x": {"web": "w1", "api": "a1"}}
        assert store.release_members("staging") == {}

    def test_release_names_given_at_once_do_not_clash(self, url: str) -> None:
        def name(number: int) -> str:
            store = open_store(url)
            try:
                return store.name_releases("production", ["same", f"own-{number}"])["same"]
            finally:
                store.close()

        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(name, range(8)))) == 1
        store = open_store(url)
        names = store.release_names("production")
        assert sorted(names.values()) == sorted(f"R{number}" for number in range(1, 10))
        store.close()

    def test_recorded_releases_and_marks_are_kept(self, store: Store) -> None:
        release = RecordedRelease(
            content_id="x", members={"a": "1"}, commit="c", label="l", at=NOON, by="ci"
        )
        store.record_release("production", release)
        relabelled = dataclasses.replace(release, label="better")
        store.record_release("production", relabelled)
        assert store.recorded_releases("production") == [relabelled]
        assert store.recorded_releases("staging") == []
        bad = Marked(content_id="x", mark=Mark.BAD, why="it's slow", by="ana", at=NOON)
        store.mark_release("production", bad)
        good = dataclasses.replace(bad, mark=Mark.GOOD, why="")
        store.mark_release("production", good)
        assert store.marks("production") == {"x": good}
        assert store.marks("staging") == {}


def wait_until_expired(store: Store, lease: Lease) -> None:
    """Return once the lease has run out."""
    while store.run(lease.run_id).lease_left_s > 0:
        time.sleep(0.02)

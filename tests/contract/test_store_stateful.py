"""The store against a model of it: any order of locks, leases, take-overs, appends and ends."""

import dataclasses
import uuid
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from store_contract import DEAD, ELSEWHERE, HERE
from tests.engine_world import NOON, plan, step

from taly.engine.owner import Owner
from taly.engine.store import Lease, Store, open_store
from taly.errors import EnvironmentLocked, LeaseLost, UsageError
from taly.model.events import (
    CancelRequested,
    Event,
    LeaseTaken,
    Outcome,
    RunFinished,
    RunStarted,
    StepDone,
    StepIntended,
    StepStarted,
)
from taly.model.run import Fold, fold
from taly.simulate.planted import planted

EVENTS: tuple[Event, ...] = (
    StepStarted(step="roll-back:a"),
    StepIntended(step="roll-back:a", key="k"),
    StepDone(step="roll-back:a", how="acted"),
    StepStarted(step="roll-back:b"),
    CancelRequested(by="ben"),
)
OWNERS = {"here": HERE, "dead": DEAD, "elsewhere": ELSEWHERE}
ENVIRONMENTS = ("production", "staging")


@dataclasses.dataclass
class Known:
    """A run as it must be."""

    environment: str
    fence: int
    owner: Owner
    events: list[Event]
    let_go: bool = False
    outcome: Outcome | None = None
    leases: list[Lease] = dataclasses.field(default_factory=list)
    """Every lease that was ever given; the last may write."""

    @property
    def is_alive(self) -> bool:
        return self.outcome is None and not self.let_go and self.owner is not DEAD


class StoreMachine(RuleBasedStateMachine):
    """Two connections to one database; what one writes the other reads."""

    url = ""

    @initialize()
    def open(self) -> None:
        self.stores: list[Store] = [open_store(self.url), open_store(self.url)]
        self.suffix = uuid.uuid4().hex[:8]  # one database serves all examples
        self.runs: dict[str, Known] = {}

    def teardown(self) -> None:
        for known in self.runs.values():
            if known.outcome is None:
                self.stores[0].let_go(known.leases[-1])
        for store in self.stores:
            store.close()

    def picked(self, number: int) -> tuple[str, Known] | None:
        names = list(self.runs)
        return (
            (names[number % len(names)], self.runs[names[number % len(names)]]) if names else None
        )

    @rule(
        at=st.integers(0, 1), name=st.sampled_from(ENVIRONMENTS), by=st.sampled_from(sorted(OWNERS))
    )
    def begin(self, at: int, name: str, by: str) -> None:
        environment = f"{name}-{self.suffix}"
        open_ = [
            one
            for one in self.runs.values()
            if one.environment == environment and one.outcome is None
        ]
        two = plan(step("a"), step("b"), environment=environment)
        try:
            lease = self.stores[at].create_run(two, OWNERS[by], at=NOON, version="1", lease_s=1000)
        except EnvironmentLocked:
            assert open_, "only an unfinished run keeps others out"
            return
        assert not open_, "two unfinished runs of one environment"
        started = RunStarted(plan_digest="d1", by=OWNERS[by].by, host=OWNERS[by].host, version="1")
        self.runs[lease.run_id] = Known(environment, 1, OWNERS[by], [started], leases=[lease])

    @rule(at=st.integers(0, 1), number=st.integers(0, 9), by=st.sampled_from(sorted(OWNERS)))
    def take_over(self, at: int, number: int, by: str) -> None:
        if (found := self.picked(number)) is None:
            return
        run_id, known = found
        try:
            lease = self.stores[at].take_lease(run_id, OWNERS[by], at=NOON, lease_s=1000)
        except EnvironmentLocked:
            assert known.is_alive
            return
        except UsageError:
            assert known.outcome is not None, "only a run that has ended is refused so"
            return
        assert known.outcome is None
        assert not known.is_alive
        known.fence += 1
        assert lease.fence == known.fence
        known.owner, known.let_go = OWNERS[by], False
        known.leases.append(lease)
        known.events.append(LeaseTaken(owner=str(OWNERS[by])))

    @rule(
        at=st.integers(0, 1),
        number=st.integers(0, 9),
        old=st.integers(0, 3),
        events=st.lists(st.sampled_from(EVENTS), min_size=1, max_size=3),
        wrong_by=st.sampled_from((0, 0, 0, 1, -1)),
    )
    def append(self, at: int, number: int, old: int, events: list[Event], wrong_by: int) -> None:
        if (found := self.picked(number)) is None:
            return
        run_id, known = found
        lease = known.leases[max(0, len(known.leases) - 1 - old)]
        after = max(0, len(known.events) + wrong_by)
        fits = lease is known.leases[-1] and known.outcome is None and after == len(known.events)
        try:
            written = self.stores[at].append(lease, [(NOON, one) for one in events], after=after)
        except LeaseLost:
            assert not fits, "the holder of the lease may write"
            return
        if not fits:  # only words that stand there already, under that very lease, may be repeated
            stored = self.stores[at].events(run_id)[after:]
            assert stored == written, "events: those of a lost lease were taken"
            return
        known.events.extend(events)
        known.let_go = False
        again = self.stores[at].append(lease, [(NOON, one) for one in events], after=after)
        assert again == written, "events: said again after a lost answer, they are there twice"

    @rule(
        at=st.integers(0, 1),
        number=st.integers(0, 9),
        outcome=st.sampled_from(("succeeded", "failed", "cancelled")),
    )
    def finish(self, at: int, number: int, outcome: Outcome) -> None:
        if (found := self.picked(number)) is None or found[1].outcome is not None:
            return
        known, over = found[1], RunFinished(outcome=outcome)
        self.stores[at].append(known.leases[-1], [(NOON, over)], after=len(known.events))
        known.events.append(over)
        known.outcome = outcome

    @rule(at=st.integers(0, 1), number=st.integers(0, 9), old=st.integers(0, 2))
    def renew(self, at: int, number: int, old: int) -> None:
        if (found := self.picked(number)) is None:
            return
        known = found[1]
        lease = known.leases[max(0, len(known.leases) - 1 - old)]
        if lease is known.leases[-1] and known.outcome is None:
            self.stores[at].renew(lease)
            known.let_go = False
        else:
            with pytest.raises(LeaseLost):
                self.stores[at].renew(lease)

    @rule(at=st.integers(0, 1), number=st.integers(0, 9), old=st.integers(0, 2))
    def let_go(self, at: int, number: int, old: int) -> None:
        if (found := self.picked(number)) is None:
            return
        known = found[1]
        lease = known.leases[max(0, len(known.leases) - 1 - old)]
        self.stores[at].let_go(lease)
        if lease is known.leases[-1]:
            known.let_go = True

    @invariant()
    def what_is_stored_is_what_was_written(self) -> None:
        for run_id, known in getattr(self, "runs", {}).items():
            stored = self.stores[1].events(run_id)
            assert [one.event for one in stored] == known.events, "events: others than written"
            assert [one.seq for one in stored] == list(range(1, len(stored) + 1))
            assert [one.fence for one in stored] == sorted(one.fence for one in stored)
            summary = self.stores[0].run(run_id)
            assert summary.outcome == known.outcome
            assert summary.is_alive == known.is_alive, "who is alive"
            two = self.stores[0].plan(run_id)
            live = Fold(run_id, two)
            for one in stored:
                live.apply(one)
            assert live.run() == fold(run_id, two, stored)
            assert live.run().outcome == known.outcome


def play(url: str, examples: int, phases: Collection[Phase] = tuple(Phase)) -> None:
    machine = type("Machine", (StoreMachine,), {"url": url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            report_multiple_bugs=False,
            phases=phases,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_any_order_of_calls_on_sqlite(tmp_path: Path) -> None:
    play(f"sqlite:///{tmp_path}/taly.db", 150)


@pytest.mark.parametrize(
    ("bug", "breaks"),
    [
        ("no-fence", "^events: "),
        ("lease-never-checked", "^who is alive"),
        ("two-runs", "^two unfinished runs of one environment"),
    ],
)
def test_a_store_with_a_bug_does_not_pass(bug: str, breaks: str, tmp_path: Path) -> None:
    with planted(bug), pytest.raises(AssertionError, match=breaks):
        play(f"sqlite:///{tmp_path}/taly.db", 150, [Phase.generate])


def test_any_order_of_calls_on_postgresql(postgres_url: str) -> None:
    play(postgres_url, 50)

"""A write that takes long: it tells how far it is, hears that it must stop, and changes nothing."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.engine_world import FakeVendor, RealTime, plan, step

from taly.app.runs import exit_code
from taly.engine import reconcile
from taly.engine.owner import Owner
from taly.engine.runner import Engine
from taly.engine.store import Store, open_store
from taly.errors import ExitCode, LeaseLost
from taly.model.events import Recorded, StepProgressed
from taly.model.plan import Step
from taly.model.ports import Say, silent
from taly.model.run import StepPhase

ROUNDS = 400
"""What a whole write takes: it says so after each."""


@dataclass
class SlowVendor(FakeVendor):
    """Its write prepares for a while, changes the world at the end, and takes back what it made."""

    pause_s: float = 0.0
    prepared: int = 0
    undone: list[BaseException] = field(default_factory=list)
    begun: int = 0

    def act(self, step: Step, key: str, say: Say = silent) -> Mapping[str, str]:
        self.begun += 1
        try:
            for done in range(ROUNDS):
                self.prepared = done
                say(f"{done} rows", done / ROUNDS)
                time.sleep(self.pause_s)
        except BaseException as error:
            self.undone.append(error)
            raise
        return super().act(step, key)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "taly.db")
    yield store
    store.close()


def engine(store: Store, vendor: FakeVendor) -> Engine:
    return Engine(
        store=store, providers={"fake": vendor}, clock=vendor.clock, owner=Owner.here("ana")
    )


def progress(store: Store, run_id: str) -> list[StepProgressed]:
    events = (one.event for one in store.events(run_id))
    return [one for one in events if isinstance(one, StepProgressed)]


def at_first_progress(do: Callable[[], object]) -> Callable[[Recorded], None]:
    """A listener that does something once, as soon as the write has told of itself."""
    todo = [do]

    def heard(recorded: Recorded) -> None:
        if isinstance(recorded.event, StepProgressed) and todo:
            todo.pop()()

    return heard


def test_a_cancelled_write_stops_early_and_the_run_is_cancelled(store: Store) -> None:
    vendor = SlowVendor(clock=RealTime(), pause_s=0.01)
    one = engine(store, vendor)
    run_id = one.start(plan(step("a"), step("b", needs=("roll-back:a",))))
    run = one.execute(run_id, at_first_progress(lambda: store.request_cancel(run_id, "ben")))
    assert run.outcome == "cancelled"
    assert exit_code(run) is ExitCode.INTERRUPTED
    assert run.steps["roll-back:a"].phase is StepPhase.FAILED
    assert run.steps["roll-back:a"].reference == "step-cancelled"
    assert run.steps["roll-back:b"].phase is StepPhase.WAITING
    assert vendor.writes() == []
    assert len(vendor.undone) == 1, "it was told, and could take back what it had prepared"
    assert vendor.prepared < ROUNDS - 1
    assert store.unfinished("production") is None


def test_an_interrupted_write_is_left_to_be_resumed_and_then_done_once(store: Store) -> None:
    vendor = SlowVendor(clock=RealTime(), pause_s=0.01)
    one = engine(store, vendor)
    run_id = one.start(plan(step("a")))
    run = one.execute(run_id, at_first_progress(lambda: one.interrupt(run_id)))
    assert run.outcome is None
    assert not run.has_unknown
    assert exit_code(run) is ExitCode.INTERRUPTED
    assert run.steps["roll-back:a"].phase is StepPhase.RUNNING
    assert vendor.writes() == []
    vendor.pause_s = 0.0
    assert engine(store, vendor).resume(run_id).outcome == "succeeded"
    assert len(vendor.writes()) == 1
    assert vendor.begun == 2


def test_an_interrupted_write_beside_a_failed_step_keeps_the_run_open(store: Store) -> None:
    """Found by the simulator: the run ended as failed, and the step stayed `running` for ever."""
    vendor = SlowVendor(clock=RealTime(), pause_s=0.01)
    refusing = FakeVendor(clock=RealTime(), write_faults=["refuse"], name="other")
    providers = {"fake": vendor, "other": refusing}
    one = Engine(store=store, providers=providers, clock=vendor.clock, owner=Owner.here("ana"))
    run_id = one.start(plan(step("a"), dataclasses.replace(step("bad"), provider="other")))
    run = one.execute(run_id, at_first_progress(lambda: one.interrupt(run_id)))
    assert run.steps["roll-back:bad"].phase is StepPhase.FAILED
    assert run.steps["roll-back:a"].phase is StepPhase.RUNNING
    assert run.outcome is None
    vendor.pause_s = 0.0
    run = one.resume(run_id)
    assert run.outcome == "failed"
    assert run.steps["roll-back:a"].phase is StepPhase.DONE


def test_a_write_whose_run_is_anothers_now_hears_it(store: Store) -> None:
    vendor = SlowVendor(clock=RealTime(), pause_s=0.01)
    one = engine(store, vendor)
    run_id = one.start(plan(step("a")))

    def taken_over() -> None:
        one._under_way[run_id].journal.lose(LeaseLost("another has it"))

    with pytest.raises(LeaseLost):
        one.execute(run_id, at_first_progress(taken_over))
    assert isinstance(vendor.undone[0], LeaseLost)
    assert vendor.writes() == []


def test_progress_is_told_at_most_once_a_second_and_says_how_far(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = SlowVendor(clock=RealTime())
    one = engine(store, vendor)
    run_id = one.start(plan(step("a")))
    began = time.monotonic()
    assert one.execute(run_id).outcome == "succeeded"
    took = time.monotonic() - began
    told = progress(store, run_id)
    assert 1 <= len(told) <= 1 + took / reconcile.SAY_S, f"{ROUNDS} times said in {took:.1f} s"
    assert told[0].note == "0 rows"
    assert told[0].fraction == 0.0

    monkeypatch.setattr(reconcile, "SAY_S", 0.0)
    every = one.start(plan(step("b")))
    one.execute(every)
    fractions = [event.fraction for event in progress(store, every) if event.fraction is not None]
    assert fractions == sorted(fractions)
    assert len(fractions) == ROUNDS

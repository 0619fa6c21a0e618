"""A plan is checked before the lock is had: what ran in between is looked for after it."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.worker_stage import context, folder, store
from tests.engine_world import NOON, FakeVendor, RealTime, plan, step

from taly.app import plans, runs
from taly.app.context import Context, open_context
from taly.app.plans import Planned, ended_runs
from taly.engine.codec import plan_to_json
from taly.engine.owner import Owner
from taly.engine.runner import Engine
from taly.errors import ExitCode, Refused
from taly.model.events import CancelRequested, Event, StepStarted
from taly.model.plan import Plan
from taly.planning.codes import finding
from taly.planning.digest import sealed

__all__ = ["context", "folder", "store"]

PLAN = sealed(plan(step("web")))


class World(FakeVendor):
    """One vendor, as two processes with the same store see it."""

    looks = 0

    def checked(self, context: Context, asked: Plan) -> Planned:
        """As `recheck_plan` does, of a vendor that no taly.toml can name."""
        self.looks += 1
        value, was = self.value("web"), asked.steps[0].before["value"]
        text = f"value was {was} when the plan was made and is {value} now"
        held = context.store.unfinished("production")
        found = [finding("plan-stale", "web", text, "taly plan")] if value != was else []
        if held is not None:
            found.insert(0, finding("environment-locked", "", f"{held.id} holds it", "taly runs"))
        return Planned(plan=asked, findings=tuple(found))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(clock=RealTime())

    def engine(context: Context) -> Engine:
        owner = Owner.here("ana")
        providers = {"fake": world}
        return Engine(store=context.store, providers=providers, clock=world.clock, owner=owner)

    monkeypatch.setattr(runs, "engine_of", engine)
    monkeypatch.setattr(plans, "recheck_plan", world.checked)
    return world


@pytest.fixture
def other(folder: Path) -> Iterator[Context]:
    """Another process's view of the same environment."""
    there = open_context(environ={})
    yield there
    there.store.close()


def planned(context: Context) -> Planned:
    return Planned(plan=PLAN, findings=(), ended=ended_runs(context))


def carried(context: Context, plan: Planned) -> str:
    engine, run_id = runs.start(context, plan)
    assert engine.execute(run_id).outcome == "succeeded"
    return run_id


def test_a_run_that_ended_between_the_checks_and_the_lock_refuses_what_it_made_stale(
    world: World, context: Context, other: Context
) -> None:
    mine, theirs = planned(context), planned(other)
    first = carried(other, theirs)
    with pytest.raises(Refused) as refusal:
        runs.start(context, mine)
    said = refusal.value
    assert (said.reference, said.exit_code) == ("plan-stale", ExitCode.REFUSED)
    assert "web: value was old when the plan was made and is good now" in said.message
    assert "touched nothing" in said.message
    store = context.store
    assert store.unfinished("production") is None, "others may go on"
    refused = next(one for one in store.runs("production") if one.id != first)
    assert refused.outcome == "cancelled"
    told = [one.event for one in store.events(refused.id)]
    assert not [event for event in told if isinstance(event, StepStarted)]
    assert "plan-stale" in next(event.by for event in told if isinstance(event, CancelRequested))
    assert len(world.writes()) == 1, "the other run's own"


def test_a_run_between_that_changed_nothing_is_no_hindrance(
    world: World, context: Context, other: Context
) -> None:
    mine = planned(context)
    carried(other, planned(other))
    world.operate("web", "old")
    carried(context, mine)
    assert world.looks == 1


def test_where_no_other_run_came_between_nothing_is_asked_twice(
    world: World, context: Context, other: Context
) -> None:
    carried(other, planned(other))
    world.operate("web", "old")
    carried(context, planned(context))
    assert world.looks == 0


def left(context: Context, *events: Event) -> str:
    """A run that a process began, and left after these events."""
    engine, run_id = runs.start(context, planned(context))
    lease = engine._leases.pop(run_id)
    if events:
        context.store.append(lease, [(NOON, event) for event in events], after=1)
    context.store.let_go(lease)
    return run_id


def test_a_run_that_was_left_before_any_step_is_checked_again_when_it_is_resumed(
    world: World, context: Context, other: Context
) -> None:
    run_id = left(context)
    world.operate("web", "deployed meanwhile")
    before = len(world.writes())
    with pytest.raises(Refused) as refusal:
        runs.take_over(other, run_id)
    said = refusal.value
    assert (said.reference, said.exit_code) == ("plan-stale", ExitCode.REFUSED)
    assert "had begun no step; it is over and touched nothing" in said.message
    assert len(world.writes()) == before
    assert context.store.run(run_id).outcome == "cancelled"
    assert context.store.unfinished("production") is None, "others may go on"


def test_a_run_that_was_left_before_any_step_goes_on_where_nothing_changed(
    world: World, context: Context, other: Context
) -> None:
    run_id = left(context)
    assert runs.take_over(other, run_id).execute(run_id).outcome == "succeeded"
    assert world.looks == 1


def test_a_run_of_which_a_step_was_begun_is_brought_to_its_end_whatever_came_since(
    world: World, context: Context, other: Context
) -> None:
    run_id = left(context, StepStarted(step="roll-back:web"))
    world.operate("web", "deployed meanwhile")
    runs.take_over(other, run_id)
    assert world.looks == 0


def test_a_plan_that_was_altered_in_the_store_is_not_begun(
    world: World, context: Context, other: Context
) -> None:
    run_id = left(context)
    altered = plan_to_json(replace(PLAN, digest="0" * 64))
    with sqlite3.connect(context.config.store) as raw:
        raw.execute("update run set plan = ? where id = ?", (altered, run_id))
    raw.close()
    with pytest.raises(Refused) as refusal:
        runs.take_over(other, run_id)
    assert refusal.value.reference == "plan-altered"
    assert world.writes() == []


def test_a_check_that_breaks_leaves_the_environment_free(
    world: World, context: Context, other: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = planned(context)
    carried(other, planned(other))

    def leave(*_: object) -> Planned:
        raise KeyboardInterrupt

    monkeypatch.setattr(plans, "recheck_plan", leave)
    with pytest.raises(KeyboardInterrupt):
        runs.start(context, mine)
    assert context.store.unfinished("production") is None
    assert len(world.writes()) == 1

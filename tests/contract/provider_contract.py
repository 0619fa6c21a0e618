"""What every provider must do, whichever its vendor: observe, roll back, verify, undo, verify.

A suite for one vendor is a subclass of `ProviderContract` with a fixture `stage`. The driver here
is the engine's idempotency rule in few lines, so that a provider can be tested without the engine.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from taly.model.check import Severity
from taly.model.environment import Component
from taly.model.plan import Step, StepKind
from taly.model.ports import Attempt, Clock, Failed, InFlight, Probe, Provider, StepOptions, Wanted
from taly.model.release import Deployment, Observed, State
from taly.sandbox.world import Call, World

POLL_S = 5.0
REAL_S = 10.0
"""On the stage's clock."""


class Stage(Protocol):
    """One component at an emulated vendor, seeded with at least two releases and running."""

    world: World
    clock: Clock
    component: Component
    provider: Provider

    def push(self, commit: str) -> None:
        """CI delivers that commit again."""
        ...


@dataclass(frozen=True, slots=True)
class Done:
    """How a step ended, and what was sent for it."""

    probe: Probe
    attempt: Attempt | None


def observe(stage: Stage) -> Observed:
    """The component as it is seen now; it must be observable."""
    seen = stage.provider.observe(stage.component)
    assert isinstance(seen, Observed), seen
    return seen


def steps_to(stage: Stage, before: Observed, target: Deployment) -> tuple[Step, ...]:
    """The provider's own steps."""
    return stage.provider.steps(before, target, StepOptions())


def previous(seen: Observed) -> Deployment:
    """The deployment that was live before the one that is."""
    return next(one for one in seen.history if one.live and not one.is_live)


def drive(stage: Stage, step: Step, attempt: Attempt | None = None) -> Done:
    """Do one step: adopt what is under way, else act once, then poll until it is settled.

    It has some real seconds, too: on a busy machine the stage's clock outruns what it times.
    """
    provider, clock = stage.provider, stage.clock
    deadline, really = clock.monotonic() + step.deadline_s, time.monotonic() + REAL_S
    while True:
        seen = provider.probe(step, attempt)
        late = clock.monotonic() > deadline and time.monotonic() > really
        if late or isinstance(seen, (Wanted, Failed)):
            return Done(seen, attempt)
        if attempt is None and not isinstance(seen, InFlight):
            key, now = f"run-1:{step.id}", clock.now()
            attempt = Attempt(key=key, intended_at=now)
            attempt = replace(attempt, receipt=provider.act(step, key))
            clock.sleep(provider.settle_s)
        else:
            clock.sleep(POLL_S)


def drive_all(stage: Stage, steps: Sequence[Step]) -> list[Done]:
    """Do the steps in their order; each must end as wanted."""
    done = [drive(stage, step) for step in steps]
    for one in done:
        assert isinstance(one.probe, Wanted), one.probe
    return done


def inverse(step: Step) -> Step:
    """The step that takes this one back: before and wanted swapped."""
    kinds = {StepKind.FREEZE: StepKind.THAW, StepKind.THAW: StepKind.FREEZE}
    return replace(
        step,
        kind=kinds.get(step.kind, step.kind),
        before=step.wanted,
        wanted=step.before,
        needs=(),
    )


def undo(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The inverses, in reverse order."""
    return tuple(inverse(step) for step in reversed(steps))


def verification(steps: Sequence[Step]) -> Step:
    """The VERIFY step of a component: the union of what its steps want."""
    wanted: dict[str, str | bool | int | None] = {}
    for step in steps:
        wanted |= step.wanted
    first = steps[0]
    return replace(
        first,
        id=f"{StepKind.VERIFY}:{first.component}",
        kind=StepKind.VERIFY,
        before={},
        wanted=wanted,
        needs=(),
    )


def writes(stage: Stage, after: int = 0) -> list[Call]:
    """The calls that changed something, after that journal number."""
    return [call for call in stage.world.journal.calls(after) if call.wrote]


def last_call(stage: Stage) -> int:
    """The journal's newest number."""
    return len(stage.world.journal.calls())


def holds(state: State, wanted: Mapping[str, object]) -> bool:
    """Whether the state has every wanted key as wanted."""
    return all(key in state and state[key] == value for key, value in wanted.items())


class Observing:
    """What is only read."""

    def test_observing_writes_nothing(self, stage: Stage) -> None:
        observe(stage)
        assert writes(stage) == []

    def test_what_is_live_is_in_the_history_and_says_so(self, stage: Stage) -> None:
        seen = observe(stage)
        assert seen.live.is_live
        assert seen.live in seen.history
        assert [one.id for one in seen.history if one.is_live] == [seen.live.id]
        assert seen.live.evidence

    def test_history_is_ordered_by_the_time_it_last_went_live(self, stage: Stage) -> None:
        starts = [one.live[-1].start for one in observe(stage).history if one.live]
        assert starts == sorted(starts, reverse=True)

    def test_every_key_of_a_step_is_in_the_observed_state(self, stage: Stage) -> None:
        seen = observe(stage)
        for step in steps_to(stage, seen, previous(seen)):
            assert set(step.before) == set(step.wanted)
            assert holds(seen.state, step.before)

    def test_steps_are_pure(self, stage: Stage) -> None:
        seen = observe(stage)
        calls = last_call(stage)
        assert steps_to(stage, seen, previous(seen)) == steps_to(stage, seen, previous(seen))
        assert last_call(stage) == calls

    def test_a_step_that_is_not_done_yet_is_not_wanted(self, stage: Stage) -> None:
        seen = observe(stage)
        step = steps_to(stage, seen, previous(seen))[0]
        assert not isinstance(stage.provider.probe(step, None), Wanted)

    def test_checking_a_good_target_finds_no_error_and_writes_nothing(self, stage: Stage) -> None:
        seen = observe(stage)
        for step in steps_to(stage, seen, previous(seen)):
            errors = [one for one in stage.provider.check(step) if one.severity is Severity.ERROR]
            assert errors == []
        assert writes(stage) == []


class RollingBack:
    """There and back."""

    def test_roll_back_verify_undo_verify(self, stage: Stage) -> None:
        before = observe(stage)
        target = previous(before)
        steps = steps_to(stage, before, target)
        drive_all(stage, steps)
        assert isinstance(stage.provider.probe(verification(steps), None), Wanted)
        assert observe(stage).live.id == target.id

        back = undo(steps)
        drive_all(stage, back)
        assert isinstance(stage.provider.probe(verification(back), None), Wanted)
        after = observe(stage)
        assert after.live.id == before.live.id
        assert after.auto_deploy == before.auto_deploy

    def test_a_second_rollback_works(self, stage: Stage) -> None:
        before = observe(stage)
        steps = steps_to(stage, before, previous(before))
        drive_all(stage, steps)
        drive_all(stage, undo(steps))
        drive_all(stage, steps)
        assert holds(observe(stage).state, verification(steps).wanted)

    def test_doing_it_again_writes_nothing(self, stage: Stage) -> None:
        before = observe(stage)
        steps = steps_to(stage, before, previous(before))
        drive_all(stage, steps)
        calls = last_call(stage)
        assert all(one.attempt is None for one in drive_all(stage, steps))
        assert writes(stage, calls) == []


class Holding:
    """The bad version stays away."""

    def test_a_push_of_the_bad_version_does_not_come_back(self, stage: Stage) -> None:
        before = observe(stage)
        steps = steps_to(stage, before, previous(before))
        drive_all(stage, steps)
        stage.push(before.live.commit)
        stage.clock.sleep(stage.provider.settle_s)
        assert isinstance(stage.provider.probe(verification(steps), None), Wanted)


class ProviderContract(Observing, RollingBack, Holding):
    """The whole suite. Needs a fixture `stage`, whose live deployment is the newest release."""

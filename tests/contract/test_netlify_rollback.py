"""Roll back → verify → undo → verify on the emulated Netlify, whatever it does where it is open."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from netlify_stage import BAD, R2, R3, R4, SITE, MakeStage, Stage, StepDidFail, undone

from taly.errors import VendorRefused
from taly.model.plan import StepKind
from taly.model.ports import Attempt, Failed, Other, Wanted
from taly.providers.netlify.api import NetlifyApi
from taly.providers.netlify.payloads import DeployPayload

SWITCHES = [
    {"lock_follows": follows, "restore_when_locked": restore, "restore_delay_s": delay}
    for follows, restore, delay in itertools.product(
        ("deploy", "site"), ("allowed", "refused"), (0.0, 60.0)
    )
]


@pytest.fixture
def make_stage() -> Iterator[MakeStage]:
    made: list[Stage] = []

    def make(switches: dict[str, Any] | None = None, *, locked: bool = False) -> Stage:
        stage = Stage(switches)
        made.append(stage)
        if locked:
            stage.emulator.change(SITE, {"kind": "lock"})
        return stage.run()

    yield make
    for stage in made:
        stage.stop()


@pytest.mark.parametrize("switches", SWITCHES, ids=lambda one: "-".join(map(str, one.values())))
def test_netlify_roll_back_verify_undo_verify(make_stage: MakeStage, switches: Any) -> None:
    stage = make_stage(switches)
    steps = stage.plan(R3)
    assert [step.kind for step in steps] == [StepKind.ROLL_BACK, StepKind.FREEZE]
    assert [stage.do(step) for step in steps] == ["acted", "acted"]
    assert isinstance(stage.verify(steps), Wanted)
    assert stage.page().headers["x-taly-commit"] == R3
    assert len(stage.writes()) == 2

    back = undone(steps, stage.observe().state)
    for step in back:
        stage.do(step)
    assert isinstance(stage.verify(back), Wanted)
    assert (stage.published(), stage.locked()) == (stage.deploy_id(R4), False)
    assert len(stage.writes()) == 4


@pytest.mark.parametrize("switches", SWITCHES, ids=lambda one: "-".join(map(str, one.values())))
def test_netlify_a_site_that_was_locked_is_rolled_back_and_locked(
    make_stage: MakeStage, switches: Any
) -> None:
    stage = make_stage(switches, locked=True)
    steps = stage.plan(R3)
    for step in steps:
        stage.do(step)
    assert isinstance(stage.verify(steps), Wanted)
    assert (stage.published(), stage.locked()) == (stage.deploy_id(R3), True)


@pytest.mark.parametrize("switches", SWITCHES, ids=lambda one: "-".join(map(str, one.values())))
def test_netlify_undo_gives_a_prior_lock_back(make_stage: MakeStage, switches: Any) -> None:
    """Naive line 7: the prior lock is recorded, and restored exactly."""
    stage = make_stage(switches, locked=True)
    steps = stage.plan(R3)
    for step in steps:
        stage.do(step)
    back = undone(steps, stage.observe().state)
    for step in back:
        stage.do(step)
    assert isinstance(stage.verify(back), Wanted)
    assert (stage.published(), stage.locked()) == (stage.deploy_id(R4), True)


def test_netlify_undo_on_a_site_that_refuses_restores_while_locked_says_how(
    make_stage: MakeStage,
) -> None:
    stage = make_stage({"restore_when_locked": "refused"}, locked=True)
    roll_back = next(step for step in stage.plan(R3) if step.kind is StepKind.ROLL_BACK)
    with pytest.raises(VendorRefused) as refused:
        stage.provider.act(roll_back, "run:step")
    assert refused.value.reference == "netlify-site-locked"
    assert "unlockDeploy" in refused.value.hint
    assert stage.writes() == []


def test_netlify_a_second_rollback_works_after_an_undo(make_stage: MakeStage) -> None:
    stage = make_stage()
    steps = stage.plan(R3)
    for step in steps:
        stage.do(step)
    for step in undone(steps, stage.observe().state):
        stage.do(step)
    again = stage.plan(R2)
    for step in again:
        stage.do(step)
    assert isinstance(stage.verify(again), Wanted)
    assert stage.published() == stage.deploy_id(R2)


def test_netlify_a_later_push_changes_nothing_that_users_see(make_stage: MakeStage) -> None:
    stage = make_stage()
    for step in stage.plan(R3):
        stage.do(step)
    stage.push(BAD, "broken")
    stage.wait(120)
    assert stage.target(BAD).details["state"] == "ready"
    assert stage.page().headers["x-taly-commit"] == R3


def test_netlify_unlocking_does_not_publish_what_was_built_meanwhile(
    make_stage: MakeStage,
) -> None:
    stage = make_stage()
    steps = stage.plan(R3)
    for step in steps:
        stage.do(step)
    stage.push(BAD, "broken")
    stage.wait(120)
    stage.do(undone(steps, stage.observe().state)[0])
    stage.wait(60)
    assert (stage.published(), stage.locked()) == (stage.deploy_id(R3), False)


def test_netlify_a_build_in_flight_is_found_and_cancelled(make_stage: MakeStage) -> None:
    """Naive line 8: a production build that would publish after the restore."""
    stage = make_stage({"build_s": 9000.0})
    stage.push(BAD, "broken")
    build = stage.deploy_id(BAD)
    before = stage.observe()
    assert [operation.toward for operation in before.in_flight] == [build]
    steps = stage.plan(R3)
    assert steps[0].id == f"cancel:{SITE}:{build}"
    assert steps[0].id in steps[1].needs
    for step in steps:
        assert stage.do(step) == "acted"
    assert isinstance(stage.verify(steps), Wanted)
    stage.jump(10000)
    assert stage.page().headers["x-taly-commit"] == R3


def test_netlify_a_build_on_a_locked_site_is_cancelled_before_it_is_unlocked(
    make_stage: MakeStage,
) -> None:
    """Naive line 8: a lock keeps it from publishing, and the rollback has to end the lock."""
    stage = make_stage({"build_s": 9000.0}, locked=True)
    stage.push(BAD, "broken")
    before = stage.observe()
    assert before.in_flight == ()
    assert any("would publish if the site were unlocked" in note for note in before.notes)
    assert stage.plan(R4) == ()
    steps = stage.plan(R3)
    assert [step.kind.value for step in steps] == ["cancel", "thaw", "roll-back", "freeze"]
    assert steps[0].id in steps[1].needs
    for step in steps:
        assert stage.do(step) == "acted"
    stage.jump(10000)
    assert isinstance(stage.verify(steps), Wanted)


def test_netlify_a_build_that_ends_before_it_is_cancelled_is_no_failure(
    make_stage: MakeStage,
) -> None:
    stage = make_stage({"build_s": 9000.0})
    stage.push(BAD, "failed")
    steps = stage.plan(R3)
    stage.jump(10000)
    assert stage.provider.act(steps[0], "run:step")["status"] == "ended by itself"
    assert stage.do(steps[0]) == "already"


def test_netlify_a_201_that_publishes_nothing_is_a_failure(make_stage: MakeStage) -> None:
    """Naive line 1: 201 taken as done."""
    stage = make_stage()
    stage.fault("restore-ignored")
    roll_back, _ = stage.plan(R3)
    with pytest.raises(StepDidFail, match=r"accepted it, and .* not in effect"):
        stage.do(roll_back)
    assert stage.writes() == []


def test_netlify_a_lock_that_does_not_hold_is_a_failure(make_stage: MakeStage) -> None:
    """Naive line 7: the lock not read again."""
    stage = make_stage()
    stage.fault("lock-ignored")
    roll_back, freeze = stage.plan(R3)
    stage.do(roll_back)
    with pytest.raises(StepDidFail, match="not in effect"):
        stage.do(freeze)
    assert not stage.locked()


def test_netlify_the_lock_comes_after_the_restore(make_stage: MakeStage) -> None:
    """Naive line 7: a lock set before the restore ends with it."""
    stage = make_stage({"lock_follows": "deploy"})
    steps = stage.plan(R3)
    assert steps[-1].kind is StepKind.FREEZE
    assert steps[0].id in steps[-1].needs
    stage.post(f"/deploys/{stage.deploy_id(R4)}/lock")
    assert stage.locked()
    stage.do(steps[0])
    assert not stage.locked()
    stage.do(steps[1])
    assert stage.locked()


def test_netlify_verification_asks_the_deploy_itself_whether_it_is_locked(
    make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Naive line 7: the site and its published deploy have to agree about the lock."""
    stage = make_stage()
    steps = stage.plan(R3)
    for step in steps:
        stage.do(step)
    ask = NetlifyApi.deploy

    def unlocked(api: NetlifyApi, deploy: str) -> DeployPayload:
        return ask(api, deploy).model_copy(update={"locked": False})

    monkeypatch.setattr(NetlifyApi, "deploy", unlocked)
    assert isinstance(stage.verify(steps), Other)


def test_netlify_a_racing_build_is_not_locked_in(make_stage: MakeStage) -> None:
    """Naive line 8: it publishes between the restore and the lock, which must not pin it."""
    stage = make_stage()
    stage.fault("race-build", seconds=5000.0, settings={"commit": BAD})
    roll_back, freeze = stage.plan(R3)
    stage.do(roll_back)
    stage.jump(6000)
    assert stage.published() == stage.deploy_id(BAD)
    with pytest.raises(VendorRefused) as refused:
        stage.provider.act(freeze, "run:freeze")
    assert refused.value.reference == "netlify-overtaken"
    assert not stage.locked()


def test_netlify_a_racing_build_fails_the_restore_it_overtakes(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.fault("race-build", seconds=1.0, settings={"commit": BAD})
    roll_back, _ = stage.plan(R3)
    receipt = stage.provider.act(roll_back, "run:step")
    intended = stage.clock.now()
    stage.wait(30)
    attempt = Attempt(key="run:step", intended_at=min(intended, stage.now), receipt=receipt)
    seen = stage.provider.probe(roll_back, attempt)
    assert isinstance(seen, Failed)
    assert "published over it" in seen.reason


def test_netlify_a_racing_build_publishes_nothing_once_locked(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.fault("race-build", seconds=9000.0, settings={"commit": BAD})
    steps = stage.plan(R3)
    for step in steps:
        stage.do(step)
    stage.jump(10000)
    assert isinstance(stage.verify(steps), Wanted)


def test_netlify_a_restore_that_is_lost_later_fails_verification(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.fault("restore-lost-later", seconds=9000.0)
    steps = stage.plan(R3)
    for step in steps:
        stage.do(step)
    assert isinstance(stage.verify(steps), Wanted)
    stage.jump(10000)
    seen = stage.verify(steps)
    assert isinstance(seen, Other)
    assert seen.state["deploy"] == stage.deploy_id(R4)


def test_netlify_a_lost_answer_is_not_sent_again_blindly(make_stage: MakeStage) -> None:
    """Naive line 12: a POST without an answer; the state is read before anything is sent."""
    stage = make_stage({"restore_delay_s": 40.0})
    stage.fault("lose-reply", call="/restore")
    roll_back, _ = stage.plan(R3)
    stage.do(roll_back)
    calls = [call for call in stage.world.journal.calls() if call.target.endswith("/restore")]
    assert len(calls) == 1


def test_netlify_a_lost_request_is_sent_again_after_looking(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.fault("lose-request", call="/restore")
    roll_back, _ = stage.plan(R3)
    assert stage.do(roll_back) == "acted"
    assert len(stage.writes()) == 1
    assert stage.published() == stage.deploy_id(R3)


def test_netlify_already_there_and_locked_needs_nothing(make_stage: MakeStage) -> None:
    stage = make_stage(locked=True)
    assert stage.plan(R4) == ()


def test_netlify_already_there_and_not_locked_is_only_locked(make_stage: MakeStage) -> None:
    stage = make_stage()
    steps = stage.plan(R4)
    assert [step.kind for step in steps] == [StepKind.FREEZE]
    assert stage.do(steps[0]) == "acted"
    assert stage.do(steps[0]) == "already"
    assert [call.target.rpartition("/")[2] for call in stage.writes()] == ["lock"]

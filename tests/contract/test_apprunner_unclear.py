"""A tag that moves while App Runner deploys it: nobody knows which image serves; taly says so."""

from collections.abc import Iterator

import pytest
from apprunner_stage import BAD, NAME, NEXT, R3, Stage
from provider_contract import drive_all, observe, previous, steps_to, undo

from taly.model.plan import Step, StepKind
from taly.model.ports import Attempt, Other, Unclear, Wanted


@pytest.fixture
def stage() -> Iterator[Stage]:
    one = Stage().run()
    yield one
    one.stop()


def undone_while_the_tag_moves(stage: Stage) -> tuple[Step, Attempt]:
    """An undo deploys `latest`, and somebody pushes it meanwhile."""
    seen = observe(stage)
    steps = steps_to(stage, seen, previous(seen))
    drive_all(stage, steps)
    (back,) = [one for one in undo(steps) if one.kind is StepKind.ROLL_BACK]
    with stage.still():
        intended = stage.clock.now()
        receipt = stage.provider.act(back, "key")
        stage.world.clock.advance(5)
        stage.deploy(NEXT)
    stage.rested()
    return back, Attempt(key="key", intended_at=intended, receipt=receipt)


def test_it_is_unclear_for_good_and_another_write_makes_it_certain(stage: Stage) -> None:
    step, attempt = undone_while_the_tag_moves(stage)
    seen = stage.provider.probe(step, attempt)
    assert isinstance(seen, Unclear)
    assert seen.for_good
    for commit in (BAD, NEXT):
        assert stage.digest(commit)[:15] in seen.why
    assert "ask the application" in seen.why

    stage.provider.act(step, "key")  # by digest now: the tag means another image
    stage.rested()
    assert isinstance(stage.provider.probe(step, None), Wanted)
    assert stage.service["identifier"] == f"{stage.uri}@{stage.digest(BAD)}"
    assert stage.version() == BAD


def test_a_record_that_may_still_come_is_not_for_good(stage: Stage) -> None:
    step, attempt = undone_while_the_tag_moves(stage)
    stage.fault("access-denied", call="CloudTrail.LookupEvents", count=9)
    seen = stage.provider.probe(step, attempt)
    assert isinstance(seen, Unclear)
    assert not seen.for_good
    assert "CloudTrail cannot be read" in seen.why


def test_what_it_cannot_be_is_another_state_and_not_unclear(stage: Stage) -> None:
    """Neither image that may serve is the one that was wanted, or the setting differs anyway."""
    step, attempt = undone_while_the_tag_moves(stage)
    elsewhere = {**step.wanted, "image": f"{stage.uri}@{stage.digest(R3)}"}
    for wanted in (elsewhere, {**step.wanted, "auto_deploy": False}):
        other = Step(
            id=step.id, kind=step.kind, component=NAME, provider="apprunner", title="",
            address=step.address, wanted=wanted,
        )  # fmt: skip
        assert isinstance(stage.provider.probe(other, attempt), Other)

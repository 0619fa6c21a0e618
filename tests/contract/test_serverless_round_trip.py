"""Roll back, verify, undo, verify: over real HTTP, against CloudFormation in virtual time."""

from collections.abc import Iterator

import pytest
from serverless_rig import Rig, rig

from taly.model.ports import Wanted


@pytest.fixture
def aws() -> Iterator[Rig]:
    with rig() as made:
        yield made


def test_serverless_round_trip(aws: Rig) -> None:
    before = aws.observe()
    assert before.live.is_live
    assert aws.commit() == "4444444"
    step = aws.plan()
    assert aws.provider.check(step) == ()
    assert {key: before.state[key] for key in step.before} == step.before

    assert isinstance(aws.run(step), Wanted)
    assert aws.commit() == "3333333"
    assert isinstance(aws.provider.probe(aws.verification(step), None), Wanted)
    assert aws.observe().live.id == step.wanted["directory"]

    aws.wait_for("UPDATE_COMPLETE")
    undo = aws.undo(step)
    assert isinstance(aws.run(undo, "run2:step"), Wanted)
    assert aws.commit() == "4444444"
    assert isinstance(aws.provider.probe(aws.verification(undo), None), Wanted)
    aws.wait_for("UPDATE_COMPLETE")
    assert aws.observe().state == before.state

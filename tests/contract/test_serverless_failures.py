"""Updates that fail, get stuck, lie or have nothing to do; stacks that cannot be updated."""

import pytest
from serverless_rig import STACK, Rig, rig

from taly.errors import VendorRefused
from taly.model.check import Severity
from taly.model.plan import StepKind
from taly.model.ports import Attempt, Failed, Other, StepOptions, Wanted


def codes(aws: Rig) -> list[str]:
    return [one.code for one in aws.provider.check(aws.plan())]


def test_serverless_update_that_fails_is_failed_with_the_reason() -> None:
    with rig() as aws:
        aws.fault("update-fails")
        probe = aws.run(aws.plan())
        assert isinstance(probe, Failed)
        assert "UPDATE_ROLLBACK_COMPLETE" in probe.reason
        assert "the sandbox made this update fail" in probe.reason
        assert aws.commit() == "4444444"


def test_serverless_update_rollback_complete_can_be_updated_again() -> None:
    with rig() as aws:
        aws.fault("update-fails")
        aws.run(aws.plan())
        assert codes(aws) == []
        assert isinstance(aws.run(aws.plan(), "run2:step"), Wanted)


def test_serverless_stuck_rollback_is_freed_before_the_rollback() -> None:
    with rig() as aws:
        aws.fault("rollback-fails")
        assert isinstance(aws.run(aws.plan()), Failed)
        assert aws.state()["stack"] == "UPDATE_ROLLBACK_FAILED"
        seen = aws.observe()
        assert seen.blocked == ""
        free, step = aws.provider.steps(seen, aws.target(), StepOptions())
        assert (free.kind, step.needs) == (StepKind.CANCEL, (free.id,))
        assert {key: seen.state[key] for key in free.before} == free.before
        assert isinstance(aws.provider.probe(free, None), Other)
        assert isinstance(aws.run(free, "run2:free"), Wanted)
        assert isinstance(aws.run(step, "run2:step"), Wanted)
        assert aws.commit() == "3333333"


def test_serverless_rollback_that_gets_stuck_again_is_failed() -> None:
    with rig() as aws:
        aws.fault("rollback-fails", count=2)
        aws.run(aws.plan())
        free = aws.provider.steps(aws.observe(), aws.target(), StepOptions())[0]
        probe = aws.run(free, "run2:free")
        assert isinstance(probe, Failed)
        assert "UPDATE_ROLLBACK_FAILED" in probe.reason


def test_serverless_vanished_artifacts_get_the_stack_stuck() -> None:
    with rig() as aws:
        step = aws.plan()
        aws.change(kind="delete-artifact", directory=-1)
        aws.change(kind="delete-artifact", directory=-2)
        probe = aws.run(step)
        assert isinstance(probe, Failed)
        assert "NoSuchKey" in probe.reason
        assert aws.state()["stack"] == "UPDATE_ROLLBACK_FAILED"


def test_serverless_preflight_heads_every_artifact() -> None:
    with rig() as aws:
        step = aws.plan()
        aws.change(kind="delete-artifact", directory=-2)
        found = aws.provider.check(step)
        assert [one.code for one in found] == ["target-gone"]
        assert "taly-send-email.zip" in found[0].text


def test_serverless_artifact_that_goes_between_check_and_update_fails_it() -> None:
    with rig() as aws:
        step = aws.plan()
        aws.fault("artifact-missing", settings={"directory": step.wanted["directory"]})
        probe = aws.run(step)
        assert isinstance(probe, Failed)
        assert aws.commit() == "4444444"


def test_serverless_vanished_template_is_refused_before_any_write() -> None:
    with rig() as aws:
        step = aws.plan()
        aws.change(kind="delete-artifact", directory=-2, what="template")
        with pytest.raises(VendorRefused) as refused:
            aws.provider.act(step, "run:step")
        assert refused.value.reference == "target-gone"
        assert aws.writes() == []


def test_serverless_false_success_is_not_believed() -> None:
    with rig() as aws:
        aws.fault("false-success")
        probe = aws.run(aws.plan())
        assert isinstance(probe, Failed)
        assert "UPDATE_COMPLETE" in probe.reason
        assert "other code" in probe.reason
        assert aws.state()["stack"] == "UPDATE_COMPLETE"


def test_serverless_verification_sees_a_later_hotfix() -> None:
    with rig() as aws:
        step = aws.plan()
        assert isinstance(aws.run(step), Wanted)
        aws.wait_for("UPDATE_COMPLETE")
        aws.change(kind="hotfix", function="retry")
        assert isinstance(aws.provider.probe(aws.verification(step), None), Other)


def test_serverless_verification_sees_a_changed_environment() -> None:
    with rig() as aws:
        step = aws.plan()
        aws.run(step)
        aws.wait_for("UPDATE_COMPLETE")
        aws.change(kind="environment", function="send", name="MODE", value="x")
        probe = aws.provider.probe(aws.verification(step), None)
        assert isinstance(probe, Other)
        assert any("send.MODE" in one.says for one in probe.evidence)


def test_serverless_no_updates_is_success_only_if_the_code_is_right() -> None:
    with rig() as aws:
        step = aws.undo(aws.plan())  # to where the stack already is
        assert aws.provider.act(step, "run:step") == {"no_changes": "yes"}
        attempt = Attempt(
            key="run:step", intended_at=aws.clock.now(), receipt={"no_changes": "yes"}
        )
        assert isinstance(aws.provider.probe(step, attempt), Wanted)
        aws.change(kind="hotfix")
        probe = aws.provider.probe(step, attempt)
        assert isinstance(probe, Failed)
        assert "nothing to update" in probe.reason
        assert not aws.calls("ExecuteChangeSet")
        assert aws.boto("cloudformation").list_change_sets(StackName=STACK)["Summaries"] == []


def test_serverless_busy_stack_is_found_and_refused() -> None:
    with rig() as aws:
        step = aws.plan()
        aws.world.clock.set_speed(1)
        aws.deploy("5555555")
        found = aws.provider.check(step)
        assert [(one.code, one.severity) for one in found] == [("stack-busy", Severity.WARNING)]
        with pytest.raises(VendorRefused) as refused:
            aws.provider.act(step, "run:step")
        assert refused.value.reference == "stack-busy"


def test_serverless_rollback_complete_cannot_be_updated() -> None:
    with rig() as aws:
        step = aws.plan()
        aws.change(kind="stack-status", status="ROLLBACK_COMPLETE")
        assert [one.code for one in aws.provider.check(step)] == ["stack-blocked"]
        with pytest.raises(VendorRefused) as refused:
            aws.provider.act(step, "run:step")
        assert refused.value.reference == "stack-blocked"


def test_serverless_missing_permission_is_a_finding() -> None:
    with rig() as aws:
        step = aws.plan()
        aws.fault("refuse", call="ListChangeSets", status=403)
        assert [one.code for one in aws.provider.check(step)] == ["permission-missing"]


def test_serverless_changed_target_template_is_found() -> None:
    with rig() as aws:
        step = aws.plan()
        key = (
            f"{step.address['prefix']}{step.wanted['directory']}"
            "/compiled-cloudformation-template.json"
        )
        aws.change(kind="put-object", key=key, body='{"Resources": {"A": {"Type": "x"}}}')
        assert "target-changed" in [one.code for one in aws.provider.check(step)]

"""What a naive App Runner rollback gets wrong: one test a line of the list, by its number."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from apprunner_stage import BAD, NAME, NEXT, R1, R2, R3, REGION, SECRET, Stage
from provider_contract import (
    Done,
    drive,
    drive_all,
    inverse,
    observe,
    previous,
    steps_to,
    undo,
    verification,
)

from taly.aws import AwsClients
from taly.clock import SystemClock
from taly.errors import UsageError, VendorRefused, VendorUnavailable
from taly.model.environment import Component
from taly.model.plan import Step, StepKind
from taly.model.ports import Attempt, Failed, InFlight, Other, StepOptions, Wanted
from taly.model.release import Confidence, Deployment, Gone, Observed
from taly.providers.apprunner import AppRunnerProvider, configuration
from taly.providers.apprunner.identifiers import parse_identifier
from taly.providers.apprunner.reading import Reader


@pytest.fixture
def stage() -> Iterator[Stage]:
    one = Stage().run()
    yield one
    one.stop()


@contextmanager
def staged(settings: dict[str, Any] | None = None, **more: Any) -> Iterator[Stage]:
    one = Stage(settings, **more).run()
    yield one
    one.stop()


def deployment(seen: Observed, commit: str) -> Deployment:
    return next(one for one in seen.history if commit.startswith(one.commit) and one.commit)


def roll_back_step(stage: Stage, commit: str = R3) -> Step:
    seen = observe(stage)
    return steps_to(stage, seen, deployment(seen, commit))[0]


def update_while_the_tag_moves(stage: Stage) -> None:
    """A push five seconds after an update's start: nobody outside sees which image was pulled."""
    with stage.still():
        stage.emulator.change(NAME, {"kind": "env", "set": {"A": "1"}})
        stage.world.clock.advance(5)
        stage.deploy(NEXT)
    stage.rested()


def test_01_start_deployment_is_no_rollback(stage: Stage) -> None:
    """StartDeployment would deploy the bad tag again: one UpdateService by digest instead."""
    step = roll_back_step(stage)
    drive_all(stage, [step])
    wrote = [call for call in stage.calls() if call.wrote]
    assert [call.target for call in wrote] == ["AppRunner.UpdateService"]
    sent = wrote[0].body["SourceConfiguration"]["ImageRepository"]["ImageIdentifier"]
    assert sent == f"{stage.uri}@{stage.digest(R3)}"
    assert stage.version() == R3


def test_02_running_is_no_success(stage: Stage) -> None:
    """A reverted update ends RUNNING with the old configuration: that is a failure."""
    stage.fault("health-fail")
    done = drive(stage, roll_back_step(stage))
    assert stage.service["status"] == "RUNNING"
    assert isinstance(done.probe, Failed)
    assert stage.version() == BAD


def test_02_succeeded_is_no_success_when_the_configuration_says_otherwise(stage: Stage) -> None:
    step = roll_back_step(stage)
    done = drive(stage, step)
    stage.emulator.change(NAME, {"kind": "update", "identifier": f"{stage.uri}:latest"})
    stage.rested()
    assert not isinstance(stage.provider.probe(step, done.attempt), Wanted)


def test_03_rollback_succeeded_is_an_end(stage: Stage) -> None:
    """A loop that waits for SUCCEEDED or FAILED never ends on ROLLBACK_SUCCEEDED."""
    stage.fault("health-fail")
    done = drive(stage, roll_back_step(stage))
    assert isinstance(done.probe, Failed)
    assert "ROLLBACK_SUCCEEDED after 15 min" in done.probe.reason


def test_04_the_newest_operation_may_not_be_ours(stage: Stage) -> None:
    """Ours failed; someone's later update succeeded: ours has still failed."""
    stage.fault("health-fail")
    step = roll_back_step(stage)
    done = drive(stage, step)
    stage.emulator.change(NAME, {"kind": "deploy"})
    stage.rested()
    assert stage.service["operations"][0]["Status"] == "SUCCEEDED"
    probe = stage.provider.probe(step, done.attempt)
    assert isinstance(probe, Failed)
    assert "ROLLBACK_SUCCEEDED" in probe.reason


def test_04_a_later_failure_of_someone_else_is_not_ours(stage: Stage) -> None:
    step = roll_back_step(stage)
    done = drive(stage, step)
    stage.fault("health-fail")
    stage.emulator.change(NAME, {"kind": "deploy"})
    stage.rested()
    assert stage.service["operations"][0]["Status"] == "ROLLBACK_SUCCEEDED"
    assert isinstance(stage.provider.probe(step, done.attempt), Wanted)


@pytest.mark.parametrize("switch", ["wiped", "kept"])
def test_05_the_whole_source_configuration_is_sent(switch: str) -> None:
    """A partial ImageConfiguration deletes every variable and still reports success."""
    with staged({"image_configuration": switch}) as stage:
        before = stage.client("apprunner").describe_service(ServiceArn=stage.arn)["Service"]
        drive_all(stage, [roll_back_step(stage)])
        after = stage.client("apprunner").describe_service(ServiceArn=stage.arn)["Service"]
        changed = [key for key in before if before[key] != after[key]]
        assert sorted(changed) == ["SourceConfiguration", "UpdatedAt"]
        old, new = before["SourceConfiguration"], after["SourceConfiguration"]
        repository = {**new["ImageRepository"]}
        repository["ImageIdentifier"] = old["ImageRepository"]["ImageIdentifier"]
        assert {**new, "ImageRepository": repository, "AutoDeploymentsEnabled": True} == old
        sent = next(call.body for call in stage.calls() if call.wrote)
        assert set(sent) == {"ServiceArn", "SourceConfiguration"}
        assert "STRIPE_KEY" in stage.page()[1]["env"]


def test_05_lost_variables_are_a_failure(stage: Stage) -> None:
    """Even if the update succeeded: variables that are gone afterwards make the step fail."""
    step = roll_back_step(stage)
    done = drive(stage, step)
    stage.emulator.change(NAME, {"kind": "env", "unset": ["STRIPE_KEY"]})
    stage.rested()
    for provider in (stage.provider, stage.make_provider()):
        probe = provider.probe(step, done.attempt)
        assert isinstance(probe, Failed)
        assert "STRIPE_KEY" in probe.reason


def test_05_a_changed_value_is_a_failure(stage: Stage) -> None:
    step = roll_back_step(stage)
    done = drive(stage, step)
    stage.emulator.change(NAME, {"kind": "env", "set": {"NODE_ENV": "test"}})
    stage.rested()
    probe = stage.provider.probe(step, done.attempt)
    assert isinstance(probe, Failed)
    assert "value of a variable" in probe.reason


def test_06_latest_is_not_what_is_live(stage: Stage) -> None:
    """The tag moved on without a deployment: what serves is what it meant at the last one."""
    stage.emulator.change(NAME, {"kind": "auto-deploy", "enabled": False})
    stage.rested()
    stage.deploy(NEXT)
    seen = observe(stage)
    assert seen.live.id == stage.digest(BAD)
    assert seen.state["image"] == f"{stage.uri}@{stage.digest(BAD)}"
    assert any("is not what serves" in note for note in seen.notes)


def test_06_the_previous_push_was_not_the_previous_deployment() -> None:
    seeds = ((4, R1, "ok"), (3, R2, "failed"), (1, BAD, "broken"))
    with staged(seeds=seeds) as stage:
        assert previous(observe(stage)).commit == R1[:12]


def test_06_a_tag_that_moved_while_the_operation_ran_is_ambiguous(stage: Stage) -> None:
    update_while_the_tag_moves(stage)
    seen = observe(stage)
    assert set(seen.live.candidates) == {stage.digest(BAD), stage.digest(NEXT)}
    assert "ambiguous" in " ".join(seen.notes)


def test_07_rolled_back_operations_are_no_deployments() -> None:
    seeds = ((4, R1, "ok"), (3, R2, "failed"), (2, R3, "failed-late"), (1, BAD, "broken"))
    with staged(seeds=seeds) as stage:
        served = [one.commit for one in observe(stage).history if one.live]
        assert served == [BAD[:12], R1[:12]]
        assert [one.commit for one in observe(stage).history if not one.live] == [
            R3[:12],
            R2[:12],
        ]


def test_08_auto_deploy_goes_off_in_the_same_write(stage: Stage) -> None:
    seen = observe(stage)
    steps = steps_to(stage, seen, previous(seen))
    assert [step.kind for step in steps] == [StepKind.ROLL_BACK, StepKind.FREEZE]
    first, freeze = drive_all(stage, steps)
    assert first.attempt is not None
    assert freeze.attempt is None, "the roll-back's own write has held it already"
    assert not stage.service["auto_deploy"]
    stage.push(BAD)
    assert stage.version() == R3
    assert stage.service["status"] == "RUNNING"


def test_09_an_expired_image_is_gone_and_the_check_says_so(stage: Stage) -> None:
    """BatchGetImage does not raise; its `failures` must be read."""
    step = roll_back_step(stage)
    stage.emulator.change(NAME, {"kind": "expire-image", "commit": R3})
    gone = observe(stage).history[1].restorable
    assert isinstance(gone, Gone)
    assert "no longer in ECR" in gone.reason
    codes = [finding.code for finding in stage.provider.check(step)]
    assert codes == ["target-gone"]


def test_09_an_image_that_expires_just_then_fails_the_step(stage: Stage) -> None:
    step = roll_back_step(stage)
    stage.fault("expired-image", call="UpdateService", settings={"commit": R3})
    assert isinstance(drive(stage, step).probe, Failed)
    assert stage.version() == BAD


def test_09_an_image_of_another_account_is_not_looked_for_in_our_own(stage: Stage) -> None:
    """Central registries are common, and the name may well be taken in our account too."""
    elsewhere = parse_identifier(stage.uri.replace("123456789012", "999999999999") + ":latest")
    reader = Reader(AwsClients(stage.environ), REGION, stage.clock)
    with pytest.raises(VendorRefused) as error:
        reader.missing(elsewhere, [stage.digest(R3)])
    assert error.value.reference == "aws-repository-not-found-exception"
    records = reader.records(stage.arn, elsewhere)
    assert (records.pushes, records.images) == ((), {})


def test_10_nothing_is_sent_during_an_operation(stage: Stage) -> None:
    step = roll_back_step(stage)
    with stage.still():
        stage.emulator.change(NAME, {"kind": "env", "set": {"LOG": "debug"}})
        probe = stage.provider.probe(step, None)
        assert isinstance(probe, InFlight)
        assert not probe.same_target
        with pytest.raises(VendorRefused) as caught:
            stage.provider.act(step, "key")
        assert caught.value.reference == "operation-in-flight"
        assert not stage.calls("UpdateService")
        assert [one.code for one in stage.provider.check(step)] == ["operation-in-flight"]
    drive_all(stage, [step])


def test_10_nothing_is_sent_during_aws_own_maintenance(stage: Stage) -> None:
    step = roll_back_step(stage)
    with stage.still():
        stage.fault("maintenance", seconds=900)
        probe = stage.provider.probe(step, None)
        assert isinstance(probe, InFlight)
        assert probe.operation == "maintenance"
    drive_all(stage, [step])
    assert stage.version() == R3


def test_10_maintenance_that_begins_between_look_and_write_is_refused(stage: Stage) -> None:
    step = roll_back_step(stage)
    stage.fault("maintenance", call="UpdateService", seconds=600)
    with pytest.raises(VendorRefused) as caught:
        stage.provider.act(step, "key")
    assert caught.value.reference == "aws-invalid-state-exception"


def test_11_a_failing_update_is_waited_for_longer_than_ten_minutes(stage: Stage) -> None:
    stage.fault("health-fail")
    step = roll_back_step(stage)
    assert step.deadline_s >= 1800
    start = stage.clock.now()
    assert isinstance(drive(stage, step).probe, Failed)
    assert stage.clock.now() - start > timedelta(minutes=15)


def test_12_there_is_no_waiter_and_none_is_needed(stage: Stage) -> None:
    """`aws apprunner wait` and `--image-uri` do not exist; the operation's own id is polled."""
    assert stage.client("apprunner").waiter_names == []
    done = drive(stage, roll_back_step(stage))
    assert done.attempt is not None
    assert done.attempt.receipt["operation"] == stage.service["operations"][0]["Id"]
    assert stage.calls("AppRunner.ListOperations")


def test_13_no_plain_text_variable_leaves_the_provider(stage: Stage) -> None:
    """DescribeService shows values; observations, steps, receipts and evidence must not."""
    seen = observe(stage)
    steps = steps_to(stage, seen, previous(seen))
    done = drive_all(stage, steps)
    findings = [stage.provider.check(step) for step in steps]
    told = [
        *(str(asdict(one)) for one in (seen, *steps)),
        *(str(asdict(one.probe)) + str(one.attempt) for one in done),
        *(repr(one) for one in (seen, stage.provider, findings)),
    ]
    assert SECRET not in "".join(told)
    assert "STRIPE_KEY" in seen.live.config
    assert SECRET not in json.dumps([call.body for call in stage.calls()])


def test_13_fingerprints_cannot_be_compared_by_another_process() -> None:
    """The salt is made anew in every process: a stolen fingerprint cannot be guessed back."""
    first = configuration.fingerprint("hunter2")
    configuration._SALT, kept = b"another process", configuration._SALT
    try:
        assert configuration.fingerprint("hunter2") != first
    finally:
        configuration._SALT = kept


def test_14_old_variables_are_not_restored_with_the_old_image(stage: Stage) -> None:
    """Old plain-text values may be rotated credentials: the configuration stays as it is now."""
    stage.emulator.change(NAME, {"kind": "env", "set": {"STRIPE_KEY": "sk_rotated"}})
    stage.rested()
    seen = observe(stage)
    target = deployment(seen, R3)
    steps = stage.provider.steps(seen, target, StepOptions(with_config=True))
    drive_all(stage, steps)
    service = stage.client("apprunner").describe_service(ServiceArn=stage.arn)["Service"]
    image = service["SourceConfiguration"]["ImageRepository"]["ImageConfiguration"]
    assert image["RuntimeEnvironmentVariables"]["STRIPE_KEY"] == "sk_rotated"
    notes = " ".join(stage.provider.differences(seen, target).notes)
    assert "configuration stays as it is now" in notes


# Beyond the list: what else happens at two in the morning


def test_a_lost_reply_is_found_by_time_and_type(stage: Stage) -> None:
    step = roll_back_step(stage)
    with stage.still():
        stage.fault("lose-reply", call="UpdateService")
        attempt = Attempt(key="run-1:x", intended_at=stage.world.clock.now())
        with pytest.raises(VendorUnavailable):
            stage.provider.act(step, attempt.key)
        probe = stage.provider.probe(step, attempt)
        assert isinstance(probe, InFlight)
        assert probe.same_target
    assert isinstance(drive(stage, step, attempt).probe, Wanted)
    assert len([call for call in stage.calls() if call.wrote]) == 1


def test_a_lost_operation_id_is_found_by_time_and_type(stage: Stage) -> None:
    stage.fault("lost-operation-id")
    stage.fault("health-fail")
    stage.replies.forgiven.add("UpdateService.OperationId: missing")
    done = drive(stage, roll_back_step(stage))
    assert done.attempt is not None
    assert "operation" not in done.attempt.receipt
    assert isinstance(done.probe, Failed)


def test_an_update_by_someone_else_to_the_same_image_is_adopted(stage: Stage) -> None:
    step = roll_back_step(stage)
    source = stage.client("apprunner").describe_service(ServiceArn=stage.arn)["Service"][
        "SourceConfiguration"
    ]
    source["ImageRepository"]["ImageIdentifier"] = f"{stage.uri}@{stage.digest(R3)}"
    source["AutoDeploymentsEnabled"] = False
    with stage.still():
        stage.client("apprunner").update_service(ServiceArn=stage.arn, SourceConfiguration=source)
        probe = stage.provider.probe(step, None)
        assert isinstance(probe, InFlight)
        assert probe.same_target
    done = drive(stage, step)
    assert isinstance(done.probe, Wanted)
    assert done.attempt is None


def test_a_paused_service_is_blocked_and_refused(stage: Stage) -> None:
    step = roll_back_step(stage)
    stage.emulator.change(NAME, {"kind": "pause"})
    stage.rested()
    assert "paused" in observe(stage).blocked
    assert [one.code for one in stage.provider.check(step)] == ["service-paused"]
    assert isinstance(stage.provider.probe(step, None), Other)
    with pytest.raises(VendorRefused) as caught:
        stage.provider.act(step, "key")
    assert caught.value.reference == "service-paused"
    assert "resume-service" in caught.value.hint


def test_a_refused_digest_gets_a_tag_of_its_own() -> None:
    with staged({"digest_identifiers": "refused"}) as stage:
        step = roll_back_step(stage)
        drive_all(stage, [step])
        wrote = [call.target for call in stage.calls() if call.wrote]
        assert wrote == ["ECR.PutImage", "AppRunner.UpdateService"]
        tag = f"taly-rollback-{stage.digest(R3)[7:19]}"
        assert stage.service["identifier"] == f"{stage.uri}:{tag}"
        assert observe(stage).state["identifier"] == step.wanted["identifier"]
        assert stage.version() == R3


def test_the_inverse_restores_the_tag_only_while_it_means_the_image(stage: Stage) -> None:
    seen = observe(stage)
    steps = steps_to(stage, seen, previous(seen))
    drive_all(stage, steps)
    drive_all(stage, undo(steps)[1:])
    assert stage.service["identifier"] == f"{stage.uri}:latest"
    assert stage.service["auto_deploy"]


def test_the_inverse_names_the_digest_once_the_tag_has_moved(stage: Stage) -> None:
    seen = observe(stage)
    bad = stage.digest(BAD)
    steps = steps_to(stage, seen, previous(seen))
    drive_all(stage, steps)
    stage.deploy(NEXT)
    back = inverse(steps[0])
    assert [one.code for one in stage.provider.check(back)] == ["digest-stale"]
    drive_all(stage, [back])
    assert stage.service["identifier"] == f"{stage.uri}@{bad}"
    assert stage.service["serving"] == bad
    assert isinstance(stage.provider.probe(verification([back]), None), Wanted)


def test_a_thaw_never_brings_the_bad_image_back(stage: Stage) -> None:
    """Auto-deploy goes on again, the service stays on the good image's digest."""
    seen = observe(stage)
    steps = steps_to(stage, seen, previous(seen))
    drive_all(stage, steps)
    thaw = inverse(steps[1])
    assert thaw.kind is StepKind.THAW
    drive_all(stage, [thaw])
    assert stage.service["auto_deploy"]
    assert stage.version() == R3
    assert any("pushes deploy nothing" in note for note in observe(stage).notes)
    stage.push(BAD)
    assert stage.version() == R3


def test_a_thaw_follows_the_tag_again_once_it_means_what_serves(stage: Stage) -> None:
    seen = observe(stage)
    steps = steps_to(stage, seen, previous(seen))
    drive_all(stage, steps)
    ecr = stage.client("ecr")
    name = stage.uri.rpartition("/")[2]
    ids = [{"imageDigest": stage.digest(R3)}]
    image = ecr.batch_get_image(repositoryName=name, imageIds=ids)["images"][0]
    ecr.put_image(repositoryName=name, imageManifest=image["imageManifest"], imageTag="latest")
    drive_all(stage, [inverse(steps[1])])
    assert stage.service["identifier"] == f"{stage.uri}:latest"
    stage.deploy(NEXT)
    stage.rested()
    assert stage.version() == NEXT


def test_where_it_is_there_already_only_auto_deploy_is_held(stage: Stage) -> None:
    seen = observe(stage)
    (freeze,) = steps_to(stage, seen, seen.live)
    assert freeze.kind is StepKind.FREEZE
    drive_all(stage, [freeze])
    assert not stage.service["auto_deploy"]
    assert stage.version() == BAD
    assert steps_to(stage, observe(stage), seen.live) == ()


def test_holding_pins_the_image_when_the_tag_has_moved(stage: Stage) -> None:
    """An UpdateService deploys: with a tag that moved, the freeze itself would change the image."""
    stage.emulator.change(NAME, {"kind": "pause"})
    stage.rested()
    stage.deploy(NEXT)  # a paused service follows no push, yet the tag has moved
    stage.emulator.change(NAME, {"kind": "resume"})
    stage.rested()
    seen = observe(stage)
    assert seen.live.id == stage.digest(BAD)
    drive_all(stage, steps_to(stage, seen, seen.live))
    assert stage.service["identifier"] == f"{stage.uri}@{stage.digest(BAD)}"
    assert stage.version() == BAD


def test_nothing_is_held_while_it_is_not_certain_what_serves(stage: Stage) -> None:
    update_while_the_tag_moves(stage)
    seen = observe(stage)
    (freeze,) = steps_to(stage, seen, seen.live)
    with pytest.raises(VendorRefused) as caught:
        stage.provider.act(freeze, "key")
    assert caught.value.reference == "live-image-ambiguous"


def test_nothing_is_held_around_another_image_than_planned(stage: Stage) -> None:
    seen = observe(stage)
    (freeze,) = steps_to(stage, seen, seen.live)
    stage.emulator.change(NAME, {"kind": "update", "commit": R3})
    stage.rested()
    with pytest.raises(VendorRefused) as caught:
        stage.provider.act(freeze, "key")
    assert caught.value.reference == "image-changed"


def test_a_denied_permission_is_a_finding(stage: Stage) -> None:
    step = roll_back_step(stage)
    for call in ("AppRunner.DescribeService", "ECR.BatchGetImage", "CloudTrail.LookupEvents"):
        stage.fault("access-denied", call=call)
        findings = stage.provider.check(step)
        assert [one.code for one in findings] == ["permission-missing"], call
        stage.world.faults.clear()


def test_without_cloudtrail_the_history_is_inferred(stage: Stage) -> None:
    stage.fault("access-denied", call="CloudTrail.LookupEvents", count=9)
    seen = observe(stage)
    assert any("CloudTrail cannot be read" in note for note in seen.notes)
    assert seen.live.id == stage.digest(BAD)
    assert {one.commit for one in seen.history if one.live} >= {BAD[:12], R1[:12]}


def test_cloudtrail_that_lags_does_not_hide_our_own_rollback(stage: Stage) -> None:
    drive_all(stage, [roll_back_step(stage)])
    stage.emulator._trail.lag_s = 86400.0
    seen = observe(stage)
    assert seen.live.id == stage.digest(R3)
    assert seen.state["image"] == f"{stage.uri}@{stage.digest(R3)}"


def test_a_false_success_is_the_application_s_to_tell(stage: Stage) -> None:
    """No AWS call can see it: the verification's question to the URL does."""
    stage.fault("false-success")
    done: Done = drive(stage, roll_back_step(stage))
    assert isinstance(done.probe, Wanted)
    assert stage.version() == BAD


def test_durations_and_forecast_come_from_past_updates(stage: Stage) -> None:
    seen = observe(stage)
    assert seen.durations_s == (300.0, 300.0, 300.0)
    step = steps_to(stage, seen, previous(seen))[0]
    assert (step.forecast.seconds, step.forecast.basis) == (300.0, "median of 3 updates")


def test_a_lifecycle_rule_says_until_when_an_image_stays() -> None:
    with staged({"lifecycle_days": 30}) as stage:
        seen = observe(stage)
        restorable = deployment(seen, R3).restorable
        pushed = deployment(seen, R3).created_at
        assert pushed is not None
        assert asdict(restorable)["until"] == pushed + timedelta(days=30)


def test_an_update_under_way_is_shown_and_is_not_what_is_live(stage: Stage) -> None:
    with stage.still():
        stage.deploy(NEXT)
        seen = observe(stage)
        assert [one.toward for one in seen.in_flight] == [stage.digest(NEXT)]
        assert seen.live.id == stage.digest(BAD)
        assert not seen.blocked


def test_all_pages_of_operations_events_and_images_are_read() -> None:
    seeds = tuple((80 - day, f"{day:02d}" * 20, "ok") for day in range(10, 70))
    with staged(seeds=seeds) as stage:
        seen = observe(stage)
        served = [one.commit for one in seen.history if one.live]
        assert served == [commit[:12] for _, commit, _ in reversed(seeds)]
        assert {one.evidence[0].confidence for one in seen.history} == {Confidence.EXACT}


def test_more_events_than_can_be_read_in_time_leave_the_newest_exact(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CloudTrail gives two pages a second: 90 days of a busy account take minutes."""
    monkeypatch.setattr("taly.providers.apprunner.reading.EVENTS_S", -1.0)
    seeds = tuple((80 - day, f"{day:02d}" * 20, "ok") for day in range(10, 70))
    with staged(seeds=seeds) as stage:
        seen = observe(stage)
        assert seen.live.commit == seeds[-1][1][:12]
        assert seen.live.evidence[0].confidence is Confidence.EXACT
        assert seen.history[1].evidence[0].confidence is Confidence.EXACT
        assert any("more events (PutImage" in note for note in seen.notes)
        oldest = [one for one in seen.history if one.live][-1]
        assert oldest.evidence[0].confidence is not Confidence.EXACT


def test_the_update_service_of_ecs_is_not_app_runner_s(stage: Stage) -> None:
    """Both services have an operation of that name; CloudTrail finds both by it."""
    request = {
        "serviceArn": stage.arn,
        "sourceConfiguration": {
            "imageRepository": {"imageIdentifier": f"{stage.uri}@{stage.digest(R1)}"}
        },
    }
    stage.emulator._trail.record(
        "UpdateService",
        source="ecs.amazonaws.com",
        at=stage.now - timedelta(days=4),
        request=request,
        response={},
        resources=(),
    )
    assert deployment(observe(stage), R3).live


def test_missing_credentials_are_the_user_s_to_give(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    component = Component(name=NAME, provider="apprunner", settings={"service": "x"})
    region = {"AWS_REGION": "eu-central-1"}
    for environ, reference in (
        ({}, "aws-region-missing"),
        (region, "aws-credentials-missing"),
    ):
        with pytest.raises(UsageError) as caught:
            AppRunnerProvider(environ, SystemClock()).observe(component)
        assert caught.value.reference == reference
        assert caught.value.hint == "aws configure"


def test_a_service_that_is_not_there_is_named_with_those_that_are(stage: Stage) -> None:
    component = Component(name=NAME, provider="apprunner", settings={"service": "taly-frontend"})
    with pytest.raises(UsageError) as caught:
        stage.provider.observe(component)
    assert caught.value.reference == "service-unknown"
    assert "taly-backend" in caught.value.message

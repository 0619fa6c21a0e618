"""May the credentials do it? IAM's simulator through the emulator, in AWS's own shapes."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from apprunner_stage import Stage as AppRunnerStage
from aws_shapes import operation_model, problems

from taly.app.allowed import asks_of, permission_findings
from taly.app.permissions import NEEDS
from taly.aws import AwsClients
from taly.database.checkpoint.manifest import BackupFacts
from taly.model.check import Severity
from taly.model.permissions import Ask
from taly.model.plan import Step, StepKind
from taly.model.ports import StepOptions
from taly.providers import simulation
from taly.providers.simulation import Denied, Unchecked, principal_of, unallowed
from taly.sandbox.http import Listener
from taly.sandbox.iam import DENIED, PRINCIPAL, IamEmulator
from taly.sandbox.world import Fault, VirtualClock, World

REGION = "eu-central-1"
SERVICE = f"arn:aws:apprunner:{REGION}:123456789012:service/backend/0123"


class Stage:
    def __init__(self) -> None:
        self.world = World(clock=VirtualClock(speed=1000.0))
        self.listener = Listener(IamEmulator(self.world).wsgi).start()
        self.environ = {
            "AWS_ENDPOINT_URL": self.listener.url,
            "AWS_ACCESS_KEY_ID": "AKIASANDBOX",
            "AWS_SECRET_ACCESS_KEY": "SANDBOXSECRETiam",
        }
        self.clients = AwsClients(self.environ)

    def deny(self, action: str) -> None:
        self.world.faults.add(Fault(kind=DENIED, vendor="iam", call=action))

    def findings(self, *steps: Step) -> Any:
        context: Any = SimpleNamespace(environ=self.environ)
        plan: Any = SimpleNamespace(steps=steps)
        return permission_findings(context, plan)


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.listener.stop()


def step(provider: str, kind: StepKind = StepKind.ROLL_BACK, **address: str) -> Step:
    return Step(
        id=f"{kind}:{provider}",
        kind=kind,
        component=provider,
        provider=provider,
        title="go back",
        address={"region": REGION, **address},
        before={},
        wanted={},
    )


ROLE = "arn:aws:iam::123456789012:role/AppRunnerECRAccessRole"
REPOSITORY = f"111122223333.dkr.ecr.{REGION}.amazonaws.com/team/backend"
BACKEND = step("apprunner", arn=SERVICE, role=ROLE, repository=REPOSITORY)
MAIL = step("serverless", stack="mail-prod")
ASKS = [*asks_of(SimpleNamespace(steps=[BACKEND, MAIL]))]


def test_exactly_what_the_plans_steps_come_down_to() -> None:
    assert {(ask.action, ask.resource) for ask in ASKS} == {
        ("apprunner:UpdateService", SERVICE),
        ("iam:PassRole", ROLE),
        ("ecr:PutImage", f"arn:aws:ecr:{REGION}:111122223333:repository/team/backend"),
        ("cloudformation:CreateChangeSet", f"arn:aws:cloudformation:{REGION}:*:stack/mail-prod/*"),
        ("cloudformation:ExecuteChangeSet", f"arn:aws:cloudformation:{REGION}:*:stack/mail-prod/*"),
    }


def test_what_is_allowed_is_no_finding(stage: Stage) -> None:
    assert unallowed(stage.clients, REGION, ASKS) == []
    assert stage.findings(BACKEND, MAIL) == ()


def test_the_finding_names_the_action_who_may_not_and_on_what(stage: Stage) -> None:
    stage.deny("cloudformation:ExecuteChangeSet")
    (found,) = stage.findings(BACKEND, MAIL)
    assert (found.code, found.severity) == ("permission-missing", Severity.ERROR)
    assert found.component == "serverless"
    assert found.text == (
        f"{PRINCIPAL} may not cloudformation:ExecuteChangeSet on"
        f" arn:aws:cloudformation:{REGION}:123456789012:stack/mail-prod/*"
    )
    assert found.hint == "taly permissions --only write"


def test_a_role_that_may_not_be_passed_stops_the_plan(stage: Stage) -> None:
    stage.deny("iam:PassRole")
    (found,) = stage.findings(BACKEND)
    assert (found.code, found.severity) == ("permission-missing", Severity.ERROR)
    assert f"{PRINCIPAL} may not iam:PassRole on {ROLE}" in found.text


def test_what_is_needed_only_sometimes_warns_and_says_when(stage: Stage) -> None:
    stage.deny("ecr:PutImage")
    (found,) = stage.findings(BACKEND)
    assert (found.code, found.severity) == ("permission-missing", Severity.WARNING)
    assert found.text.endswith("; it is needed only where a service refuses a digest")


def test_the_role_that_is_asked_about_is_the_one_that_an_update_passes() -> None:
    stage = AppRunnerStage(seeds=((3.0, "1a" * 20, "ok"), (1.0, "2b" * 20, "ok"))).run()
    try:
        before = stage.provider.observe(stage.component)
        made = stage.provider.steps(before, before.history[-1], StepOptions())
        described = stage.client("apprunner").describe_service(ServiceArn=stage.arn)["Service"]
        source = described["SourceConfiguration"]
        asks = {ask.action: ask for ask in asks_of(SimpleNamespace(steps=made))}
        assert (
            asks["iam:PassRole"].resource == source["AuthenticationConfiguration"]["AccessRoleArn"]
        )
        assert asks["iam:PassRole"].passed_to == "build.apprunner.amazonaws.com"
        assert asks["ecr:PutImage"].resource.endswith(":123456789012:repository/taly-backend")
    finally:
        stage.stop()


def test_a_service_without_a_role_or_a_private_repository_passes_and_tags_nothing() -> None:
    public = step("apprunner", arn=SERVICE, role="", repository="public.ecr.aws/team/backend")
    earlier = step("apprunner", arn=SERVICE)  # planned by a taly that did not know of roles
    for one in (public, earlier):
        assert [ask.action for ask in asks_of(SimpleNamespace(steps=[one]))] == [
            "apprunner:UpdateService"
        ]


RESTORE = step("postgres", StepKind.RESTORE, checkpoints="kept", checkpoint="c1")
MADE = "db:taly-*"


def kept_with(backup: BackupFacts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the checkpoint of `RESTORE` have that backup."""
    checkpoint = SimpleNamespace(manifest=SimpleNamespace(backup=backup))
    monkeypatch.setattr("taly.database.checkpoint.folder.named", lambda *_: checkpoint)


@pytest.mark.parametrize(
    ("kind", "action", "source"),
    [
        ("rds-snapshot", "RestoreDBInstanceFromDBSnapshot", "snapshot:taly-c1"),
        ("rds-pitr", "RestoreDBInstanceToPointInTime", "db:live"),
    ],
)
def test_a_restore_from_rds_asks_for_what_it_does_there(
    kind: Any, action: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = BackupFacts(
        kind=kind, asked=kind, instance="live", snapshot="taly-c1", region="eu-west-1"
    )
    kept_with(backup, monkeypatch)
    where = "arn:aws:rds:eu-west-1:*:"
    asks = list(asks_of(SimpleNamespace(steps=[RESTORE])))
    assert {(ask.action, ask.resource) for ask in asks} == {
        (f"rds:{action}", where + source),
        (f"rds:{action}", where + MADE),
        ("rds:AddTagsToResource", where + MADE),
        ("rds:DeleteDBInstance", where + MADE),
    }
    write = [grant for grant in NEEDS["postgres"].grants if grant.part == "write"]
    listed = {one for grant in write for one in grant.actions}
    assert {ask.action for ask in asks} <= listed, "asked, and not listed"


def test_a_restore_from_a_dump_asks_aws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    kept_with(BackupFacts(kind="dump", asked="dump"), monkeypatch)
    assert list(asks_of(SimpleNamespace(steps=[RESTORE]))) == []


def test_an_unreadable_checkpoint_is_the_restores_own_finding(tmp_path: Path) -> None:
    gone = step("postgres", StepKind.RESTORE, checkpoints=str(tmp_path), checkpoint="c1")
    assert list(asks_of(SimpleNamespace(steps=[gone]))) == []


def test_where_no_region_is_known_nothing_is_asked_and_the_actions_are_named(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_with(BackupFacts(kind="rds-pitr", asked="rds-pitr", instance="live"), monkeypatch)
    (found,) = stage.findings(RESTORE)
    assert found.code == "permissions-unchecked"
    assert "rds:RestoreDBInstanceToPointInTime, rds:AddTagsToResource" in found.text
    assert stage.world.journal.calls() == []
    stage.environ["AWS_REGION"] = "eu-west-1"
    stage.deny("rds:AddTagsToResource")
    (found,) = stage.findings(RESTORE)
    assert "may not rds:AddTagsToResource on arn:aws:rds:eu-west-1:123456789012:db:taly-*" in (
        found.text
    )


def test_who_may_not_ask_is_told_so_and_nothing_fails(stage: Stage) -> None:
    stage.deny("iam:SimulatePrincipalPolicy")
    (found,) = stage.findings(BACKEND)
    assert (found.code, found.severity) == ("permissions-unchecked", Severity.NOTE)
    assert "AccessDenied" in found.text
    assert "(apprunner:UpdateService, iam:PassRole, ecr:PutImage)" in found.text


def test_no_aws_no_question(stage: Stage) -> None:
    assert stage.findings(step("netlify", site="shop"), step("vercel", project="front")) == ()
    assert stage.world.journal.calls() == []


def test_an_aws_that_does_not_answer_is_a_note(stage: Stage) -> None:
    for call in ("STS.GetCallerIdentity", "STS.GetCallerIdentity"):
        stage.world.faults.add(Fault(kind="refuse", vendor="iam", call=call, status=503))
    (found,) = stage.findings(BACKEND)
    assert found.code == "permissions-unchecked"


@pytest.mark.parametrize(
    ("caller", "principal"),
    [
        (PRINCIPAL, PRINCIPAL),
        ("arn:aws:iam::123456789012:user/team/ana", "arn:aws:iam::123456789012:user/team/ana"),
        (
            "arn:aws:sts::123456789012:assumed-role/Deploy/ana@example",
            "arn:aws:iam::123456789012:role/Deploy",
        ),
        (
            "arn:aws-cn:sts::123456789012:assumed-role/Deploy/x",
            "arn:aws-cn:iam::123456789012:role/Deploy",
        ),
        ("arn:aws:iam::123456789012:root", "arn:aws:iam::123456789012:root"),
        ("arn:aws:sts::123456789012:federated-user/ana", None),
    ],
)
def test_whose_policies_they_are(caller: str, principal: str | None) -> None:
    assert principal_of(caller) == principal


class Answering:
    """Stands for AWS where the emulator has one answer only."""

    def __init__(self, caller: str, *results: dict[str, Any]) -> None:
        self.caller, self.results = caller, list(results)
        self.questions: list[dict[str, Any]] = []

    def client(self, service: str, region: str, **_: object) -> Any:
        if service == "sts":
            return SimpleNamespace(get_caller_identity=lambda: {"Arn": self.caller})
        return SimpleNamespace(get_paginator=lambda _: SimpleNamespace(paginate=self.paginate))

    def paginate(self, **question: Any) -> Any:
        self.questions.append(question)
        return [{"EvaluationResults": self.results}]


def asked(caller: str, *results: dict[str, Any]) -> list[Denied] | Unchecked:
    clients: Any = Answering(caller, *results)
    return unallowed(clients, REGION, ASKS[:1])


def said(decision: str, **more: Any) -> dict[str, Any]:
    action = "apprunner:UpdateService"
    usual = {"EvalActionName": action, "EvalResourceName": SERVICE, "EvalDecision": decision}
    return {**usual, **more}


def test_the_root_may_do_anything_and_a_federated_user_is_not_asked_about() -> None:
    assert asked("arn:aws:iam::123456789012:root") == []
    found = asked("arn:aws:sts::123456789012:federated-user/ana")
    assert isinstance(found, Unchecked)


def test_a_no_that_hangs_on_a_condition_is_not_certain() -> None:
    found = asked(PRINCIPAL, said("implicitDeny", MissingContextValues=["aws:SourceVpc"]))
    assert isinstance(found, list)
    assert [one.certain for one in found] == [False]


def test_an_answer_by_resource_counts() -> None:
    specific = {"EvalResourceName": SERVICE, "EvalResourceDecision": "explicitDeny"}
    whole = said("allowed", EvalResourceName="*", ResourceSpecificResults=[specific])
    found = asked(PRINCIPAL, whole)
    assert isinstance(found, list)
    assert [one.certain for one in found] == [True]


def test_an_answer_that_leaves_an_action_out_is_no_yes() -> None:
    found = asked(PRINCIPAL, said("allowed", EvalActionName="apprunner:ListServices"))
    assert isinstance(found, Unchecked)
    assert "said nothing of apprunner:UpdateService" in found.why


def test_the_question_says_to_whom_a_role_is_passed() -> None:
    (passing,) = [ask for ask in ASKS if ask.action == "iam:PassRole"]
    yes = said("allowed", EvalActionName="iam:PassRole", EvalResourceName=ROLE)
    clients: Any = Answering(PRINCIPAL, yes)
    assert unallowed(clients, REGION, [passing]) == []
    (question,) = clients.questions
    assert question["ContextEntries"] == [
        {
            "ContextKeyName": "iam:PassedToService",
            "ContextKeyType": "string",
            "ContextKeyValues": ["build.apprunner.amazonaws.com"],
        }
    ]
    model = operation_model("iam", "SimulatePrincipalPolicy").input_shape
    assert list(problems(model, question, "SimulatePrincipalPolicy")) == []


def test_a_role_that_has_a_path_is_not_found_and_that_is_no_failure(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = "arn:aws:iam::123456789012:role/Deploy"
    monkeypatch.setattr(simulation, "principal_of", lambda _: role)
    (found,) = stage.findings(BACKEND)
    assert found.code == "permissions-unchecked"
    assert "NoSuchEntity" in found.text


def test_the_emulator_speaks_as_botocore_has_it(stage: Stage) -> None:
    clients = stage.clients
    answers = {
        ("sts", "GetCallerIdentity"): clients.client("sts", REGION).get_caller_identity(),
        ("iam", "SimulatePrincipalPolicy"): clients.client("iam", REGION).simulate_principal_policy(
            PolicySourceArn=PRINCIPAL, ActionNames=["s3:GetObject"], ResourceArns=["arn:aws:s3:::b"]
        ),
    }
    for (service, operation), answer in answers.items():
        assert answer.pop("ResponseMetadata")["HTTPStatusCode"] == 200
        shape = operation_model(service, operation).output_shape
        assert list(problems(shape, answer, operation)) == []
    simulated = answers["iam", "SimulatePrincipalPolicy"]["EvaluationResults"]
    assert [one["EvalDecision"] for one in simulated] == ["allowed"]


def test_an_ask_is_of_ones_own_account() -> None:
    ask = Ask(component="x", action="a:B", resource="arn:aws:s3:::bucket", region=REGION)
    assert ask.of_account("123456789012").resource == "arn:aws:s3:::bucket"

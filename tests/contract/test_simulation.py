"""May the credentials do it? IAM's simulator through the emulator, in AWS's own shapes."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from aws_shapes import operation_model, problems

from taly.app.allowed import asks_of, permission_findings
from taly.aws import AwsClients
from taly.model.check import Severity
from taly.model.permissions import Ask
from taly.model.plan import Step, StepKind
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


BACKEND = step("apprunner", arn=SERVICE)
MAIL = step("serverless", stack="mail-prod")
ASKS = [*asks_of(SimpleNamespace(steps=[BACKEND, MAIL]))]


def test_exactly_what_the_plans_steps_come_down_to() -> None:
    assert {(ask.action, ask.resource) for ask in ASKS} == {
        ("apprunner:UpdateService", SERVICE),
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


def test_who_may_not_ask_is_told_so_and_nothing_fails(stage: Stage) -> None:
    stage.deny("iam:SimulatePrincipalPolicy")
    (found,) = stage.findings(BACKEND)
    assert (found.code, found.severity) == ("permissions-unchecked", Severity.NOTE)
    assert "AccessDenied" in found.text


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

    def client(self, service: str, region: str, **_: object) -> Any:
        if service == "sts":
            return SimpleNamespace(get_caller_identity=lambda: {"Arn": self.caller})
        pages = SimpleNamespace(paginate=lambda **_: [{"EvaluationResults": self.results}])
        return SimpleNamespace(get_paginator=lambda _: pages)


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

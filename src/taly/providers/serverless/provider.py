"""The Serverless Framework provider: the port's methods, each told by a module of its own."""

import secrets
from collections.abc import Mapping
from statistics import median

from taly.aws import AwsClients, as_documented
from taly.errors import VendorRefused
from taly.model.check import Finding, Severity
from taly.model.environment import Component
from taly.model.plan import Forecast, Step, StepKind
from taly.model.ports import Attempt, Clock, Differences, Probe, Say, StepOptions, silent
from taly.model.release import Deployment, Observation, Observed
from taly.providers.serverless import address as addresses
from taly.providers.serverless.aws_reads import AwsReads
from taly.providers.serverless.changeset import ALLOW, REMOVES, ChangeSets
from taly.providers.serverless.checking import findings
from taly.providers.serverless.differing import differences
from taly.providers.serverless.observing import observed, see
from taly.providers.serverless.probing import Prober

USUAL_UPDATE_S = 60.0
USUAL_RECOVERY_S = 60.0
DEADLINE_S = 1800.0


class ServerlessProvider:
    """Services that osls, Serverless v3 or v4 deploy as a CloudFormation stack.

    Rolling back makes the stack's template that of an earlier directory, and believes it only when
    Lambda's CodeSha256 and environment say so too.
    """

    name = "serverless"
    settle_s = 5.0

    def __init__(self, environ: Mapping[str, str], clock: Clock) -> None:
        """`environ` may hold AWS_* variables; sends nothing yet."""
        self._clients = AwsClients(environ)
        self._clock = clock
        self._region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or ""
        self._salt = secrets.token_bytes(32)

    @as_documented("Serverless Framework")
    def observe(self, component: Component) -> Observation:
        """What the stack's template and Lambda say is live, and what the bucket still holds."""
        address = addresses.of_component(component, self._region)
        reads = AwsReads(self._clients, address.region)
        return observed(see(reads, component, address, self._clock.now()), self._salt)

    def differences(self, before: Observed, target: Deployment) -> Differences:
        """Environment names, resources that would be deleted, and what nobody rolls back."""
        return differences(before, target)

    def steps(self, before: Observed, target: Deployment, options: StepOptions) -> tuple[Step, ...]:
        """One update of the stack; before it, the end of a rollback that got stuck."""
        recovery = self._recovery(before)
        address = {
            **before.address,
            ALLOW: "yes" if options.allow_removals else "no",
            f"{REMOVES}{target.id}": str(target.details.get("removals", "")),
            f"{REMOVES}{before.live.id}": str(target.details.get("removals_undo", "")),
        }
        wanted = {
            "directory": target.id,
            "code": target.details.get("code", ""),
            "template": target.details.get("template", ""),
        }
        name = before.component
        step = Step(
            id=f"{StepKind.ROLL_BACK.value}:{name}",
            kind=StepKind.ROLL_BACK,
            component=name,
            provider=self.name,
            title=f"{name} → {target.commit[:7] or target.label} ({before.address['stack']})",
            address=address,
            before={key: before.state[key] for key in wanted},
            wanted=wanted,
            needs=tuple(one.id for one in recovery),
            forecast=_forecast(before.durations_s),
            deadline_s=DEADLINE_S,
        )
        return (*recovery, step)

    def check(self, step: Step) -> tuple[Finding, ...]:
        """Stack at rest, every artifact there, removals agreed to; only reads."""
        try:
            return findings(self._reads(step), step)
        except VendorRefused as error:
            if "access-denied" not in error.reference and "403" not in error.reference:
                raise
            return (
                Finding(
                    code="permission-missing",
                    severity=Severity.ERROR,
                    component=step.component,
                    text=error.message,
                    hint="taly status",
                ),
            )

    def act(self, step: Step, key: str, say: Say = silent) -> Mapping[str, str]:
        """ExecuteChangeSet, or ContinueUpdateRollback for a step that frees a stuck stack."""
        sender = ChangeSets(
            clients=self._clients,
            reads=self._reads(step),
            clock=self._clock,
            step=step,
            say=say,
        )
        if step.kind is StepKind.CANCEL:
            return sender.recover(key)
        return sender.roll_back(key)

    @as_documented("Serverless Framework")
    def probe(self, step: Step, attempt: Attempt | None) -> Probe:
        """Stack status, template, CodeSha256 and environment against the wanted state."""
        return Prober(self._reads(step), self._clock, step).probe(attempt)

    def _reads(self, step: Step) -> AwsReads:
        return AwsReads(self._clients, step.address["region"])

    def _recovery(self, before: Observed) -> tuple[Step, ...]:
        if before.state["stack"] != "stuck":
            return ()
        name = before.component
        return (
            Step(
                id=f"{StepKind.CANCEL.value}:{name}",
                kind=StepKind.CANCEL,
                component=name,
                provider=self.name,
                title=f"{name}: finish the stuck rollback of stack {before.address['stack']}",
                address=before.address,
                before={"stack": "stuck"},
                wanted={"stack": "ready"},
                forecast=Forecast(seconds=USUAL_RECOVERY_S, basis="the vendor's usual time"),
                deadline_s=DEADLINE_S,
            ),
        )


def _forecast(durations_s: tuple[float, ...]) -> Forecast:
    if not durations_s:
        return Forecast(seconds=USUAL_UPDATE_S, basis="the vendor's usual time")
    recent = durations_s[:10]
    count = f"{len(recent)} update{'s' if len(recent) > 1 else ''}"
    return Forecast(seconds=median(recent), basis=f"median of {count}")

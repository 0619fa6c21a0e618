"""The App Runner provider: the port's questions, and its one write."""

from collections.abc import Iterator, Mapping
from datetime import timedelta

from taly.aws import AwsClients, as_documented
from taly.errors import UsageError, VendorRefused
from taly.model.check import Finding, Severity
from taly.model.environment import Component
from taly.model.plan import Forecast, Step, StepKind
from taly.model.ports import (
    Attempt,
    Clock,
    Differences,
    Failed,
    Other,
    Probe,
    Say,
    StepOptions,
    Unclear,
    Wanted,
    silent,
)
from taly.model.release import Deployment, Observed, Operation, State
from taly.planning.forecast import forecast_from
from taly.providers.apprunner import configuration, judging
from taly.providers.apprunner.facts import Look, Records
from taly.providers.apprunner.history import Served
from taly.providers.apprunner.identifiers import (
    Identifier,
    canonical,
    follows_tag,
    parse_identifier,
    short_digest,
)
from taly.providers.apprunner.observing import Histories, blocked_by
from taly.providers.apprunner.reading import DENIED, Reader
from taly.providers.apprunner.serving import Serving
from taly.providers.apprunner.writing import (
    chosen_identifier,
    require_image,
    require_running,
    send_update,
)

USUAL_S = 300.0
"""About five minutes an update (aws/apprunner-roadmap #147)."""
DEADLINE_S = 2700.0
"""A failed update takes over fifteen minutes; maintenance may come first."""
SOON = timedelta(days=1)


class AppRunnerProvider:
    """AWS App Runner services that run an image from a private ECR repository.

    State: `image` (`repo@sha256:…`, what really serves), `identifier` (what the service is set
    to), `auto_deploy`.
    """

    name = "apprunner"
    settle_s = 5.0

    def __init__(self, environ: Mapping[str, str], clock: Clock) -> None:
        """`environ` names AWS_ENDPOINT_URL, region and keys as for AWS's own tools."""
        self._environ = environ
        self._clock = clock
        self._clients = AwsClients(environ)
        self._sent: dict[str, str] = {}
        """Attempt → salted fingerprint of the whole configuration at that write."""

    @as_documented("App Runner")
    def observe(self, component: Component) -> Observed:
        """The live image, the history by operations, CloudTrail and ECR, and what is in flight."""
        region = self._region(component)
        reader = self._reader(region)
        arn = reader.find(_setting(component, "service"))
        look = reader.look(arn)
        records = reader.records(arn, look.identifier) if look.identifier_text else Records()
        histories = Histories(component.name, look, records)
        gone: dict[str, str] = {}
        if records.images:
            unlisted = [one for one in histories.digests if one not in records.images]
            gone = reader.missing(look.identifier, unlisted) if unlisted else {}
        policy = reader.lifecycle_policy(look.identifier) if records.images else ""
        live, history = histories.deployments(gone, policy)
        tracking = look.identifier_text if follows_tag(look.identifier) else ""
        return Observed(
            component=component.name,
            live=live,
            history=history,
            state=_state(look, live.id),
            address={
                "arn": arn,
                "region": region,
                "service": str(look.service["ServiceName"]),
                "repository": look.identifier.repository,
                "tracking": tracking,
                "role": _role(look),
            },
            auto_deploy=look.auto_deploy,
            in_flight=tuple(_in_flight(look, records)),
            blocked=blocked_by(look),
            durations_s=histories.durations_s(),
            url=_url(str(look.service.get("ServiceUrl", ""))),
            notes=(*records.notes, *_notes(look, histories.newest, live, records)),
        )

    def differences(self, before: Observed, target: Deployment) -> Differences:
        """Only words: no vendor record holds the configuration of an earlier deployment."""
        notes = [
            "configuration stays as it is now; --with-config cannot bring the old one back, "
            "because CloudTrail hides the values"
        ]
        if target.candidates:
            names = " or ".join(short_digest(one) for one in target.candidates)
            notes.append(f"which image was live then is ambiguous: {names}")
        return Differences(notes=tuple(notes))

    def steps(self, before: Observed, target: Deployment, options: StepOptions) -> tuple[Step, ...]:
        """Roll back by digest with auto-deploy off; where it is already there, only the freeze."""
        auto_deploy = bool(before.state["auto_deploy"])
        image = f"{before.address['repository']}@{target.id}"
        forecast = forecast_from(before.durations_s, USUAL_S)
        made: list[Step] = []
        if before.state["image"] != image:
            made.append(
                Step(
                    id=f"{StepKind.ROLL_BACK}:{before.component}",
                    kind=StepKind.ROLL_BACK,
                    component=before.component,
                    provider=self.name,
                    title=f"{before.component} → {target.label} ({short_digest(target.id)})",
                    address=before.address,
                    before={
                        key: before.state[key] for key in ("image", "identifier", "auto_deploy")
                    },
                    wanted={"image": image, "identifier": image, "auto_deploy": False},
                    forecast=forecast,
                    deadline_s=DEADLINE_S,
                )
            )
        if auto_deploy:
            # alone it would deploy the tag anew: then the image stands in it too
            kept: State = {} if made else {"image": image}
            made.append(
                Step(
                    id=f"{StepKind.FREEZE}:{before.component}",
                    kind=StepKind.FREEZE,
                    component=before.component,
                    provider=self.name,
                    title=f"{before.component}: hold auto-deploys",
                    address=before.address,
                    before={**kept, "auto_deploy": True},
                    wanted={**kept, "auto_deploy": False},
                    needs=tuple(step.id for step in made),
                    forecast=Forecast(seconds=1.0, basis="part of the same write")
                    if made
                    else forecast,
                    deadline_s=DEADLINE_S,
                )
            )
        return tuple(made)

    def check(self, step: Step) -> tuple[Finding, ...]:
        """Does the service run, does the image exist, may we ask, is anything in flight."""
        reader = self._reader(step.address["region"])
        try:
            look = reader.look(step.address["arn"], since=self._clock.now())
        except VendorRefused as error:
            return (_denied(step, error),)
        found = [*_standing(step, look)]
        try:
            found += _image_findings(step, reader)
            reader.may_read_trail()
        except VendorRefused as error:
            found.append(_denied(step, error))
        return tuple(found)

    def act(self, step: Step, key: str, say: Say = silent) -> Mapping[str, str]:
        """One UpdateService (API reference): it deploys by itself, no StartDeployment follows.

        App Runner knows no client token and no precondition, so the service is described again
        right before. Raises VendorRefused when it is not RUNNING.
        """
        region = step.address["region"]
        reader = self._reader(region)
        look = reader.look(step.address["arn"], since=self._clock.now())
        require_running(look)
        live = "" if "identifier" in step.wanted else self._serving(reader, look).digest
        require_image(step, live)
        identifier = chosen_identifier(step, look, live, reader)
        auto = bool(step.wanted.get("auto_deploy", look.auto_deploy))
        self._sent[key] = configuration.whole(look.service)
        say("")  # all that was read took time: whose run is it now?
        return send_update(self._clients, region, reader, look, identifier, auto)

    @as_documented("App Runner")
    def probe(self, step: Step, attempt: Attempt | None) -> Probe:
        """Our own operation first, then the state; RUNNING alone is no success."""
        reader = self._reader(step.address["region"])
        since = attempt.intended_at if attempt else self._clock.now()
        look = reader.look(step.address["arn"], since=since - judging.SKEW)
        own = judging.own_operation(look, attempt)
        if not look.at_rest:
            flight = judging.under_way(step, look, own, self._now_tagged(reader, look.identifier))
            assert flight is not None, "what is not at rest is under way"
            return flight
        if bad := judging.ended_badly(own, look):
            return bad
        if step.kind is StepKind.VERIFY and (bad := judging.left_half_way(look)):
            return bad
        return self._compare(step, attempt, look, reader)

    def _compare(self, step: Step, attempt: Attempt | None, look: Look, reader: Reader) -> Probe:
        evidence = (judging.seen(look),)
        sent = self._sent.get(attempt.key, "") if attempt and attempt.receipt else ""
        if changed := judging.changed_besides(attempt, look, sent):
            return Failed(reason=changed, evidence=evidence)
        serving = self._serving(reader, look) if "image" in step.wanted else None
        digest = serving.digest if serving else ""
        state = _state(look, digest)
        if look.status != "RUNNING":
            return Other(state=state, evidence=evidence)
        if self._matches(step.wanted, state, digest, reader):
            return Wanted(state={key: state[key] for key in step.wanted}, evidence=evidence)
        goal = parse_identifier(str(step.wanted.get("image", ""))).digest
        if serving and serving.may_be(goal):
            would_be = _state(look, goal)
            if self._matches(step.wanted, would_be, goal, reader):
                return Unclear(
                    state=state, why=serving.why, for_good=serving.for_good, evidence=evidence
                )
        return Other(state=state, evidence=evidence)

    def _matches(self, wanted: State, state: State, digest: str, reader: Reader) -> bool:
        if any(state[key] != wanted[key] for key in wanted if key != "identifier"):
            return False
        if "identifier" not in wanted or state["identifier"] == wanted["identifier"]:
            return True
        goal = str(wanted["identifier"])
        tagged = self._now_tagged(reader, parse_identifier(goal))
        return judging.same_identifier(str(state["identifier"]), goal, digest, tagged)

    def _serving(self, reader: Reader, look: Look) -> Serving:
        """The digest that serves, by the history rule, or those that may."""
        if look.identifier.digest and look.at_rest:
            records = Records()  # a digest is final: nothing else needs to be asked
        else:
            records = reader.records(str(look.service["ServiceArn"]), look.identifier)
        return Serving.of(Histories("", look, records).newest, look, records)

    def _now_tagged(self, reader: Reader, identifier: Identifier) -> str:
        return reader.tag_digest(identifier) if identifier.tag else ""

    def _reader(self, region: str) -> Reader:
        return Reader(self._clients, region, self._clock)

    def _region(self, component: Component) -> str:
        env = self._environ
        named = component.settings.get("region")
        return named or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or ""


def _role(look: Look) -> str:
    """The role with which App Runner pulls the image: each update passes it on; empty = none."""
    return str(look.source.get("AuthenticationConfiguration", {}).get("AccessRoleArn", ""))


def _setting(component: Component, name: str) -> str:
    if not component.settings.get(name):
        raise UsageError(
            f"component {component.name!r} needs the setting {name!r}",
            reference="setting-missing",
            hint="taly init",
        )
    return component.settings[name]


def _state(look: Look, digest: str) -> State:
    identifier = canonical(look.identifier_text, digest)
    image = f"{look.identifier.repository}@{digest}"
    return {"image": image, "identifier": identifier, "auto_deploy": look.auto_deploy}


def _url(host: str) -> str:
    """AWS gives a host name, served over HTTPS; one on loopback is a sandbox's, without TLS."""
    if not host or "://" in host:
        return host
    return f"{'http' if host.startswith('127.') else 'https'}://{host}"


def _in_flight(look: Look, records: Records) -> Iterator[Operation]:
    identifier = look.identifier
    tagged = (one.digest for one in records.images.values() if identifier.tag in one.tags)
    toward = identifier.digest or next(tagged, "")
    for one in look.operations:
        if one.unfinished:
            what = f"{one.type} to {short_digest(toward) or identifier}"
            yield Operation(id=one.id, what=what, started_at=one.started_at, toward=toward)
    if look.status == "OPERATION_IN_PROGRESS" and look.in_flight is None:
        since = look.service["UpdatedAt"]
        yield Operation(id="maintenance", what="AWS's own maintenance", started_at=since)


def _notes(look: Look, newest: Served, live: Deployment, records: Records) -> Iterator[str]:
    if newest.candidates:
        names = " or ".join(short_digest(one) for one in newest.candidates)
        yield f"which image serves is ambiguous: {names}"
    if look.identifier.digest and look.auto_deploy:
        yield "auto-deploy is on, but the service is set to one digest: pushes deploy nothing"
    if look.identifier.tag and look.at_rest:
        tagged = [one for one in records.images.values() if look.identifier.tag in one.tags]
        if tagged and tagged[0].digest != live.id:
            meant = short_digest(tagged[0].digest)
            yield f"tag {look.identifier.tag} means {meant} now, which is not what serves"
    if not look.auto_deploy and follows_tag(look.identifier):
        yield "deploys come by UpdateService: taly cannot hold them, so hold your CI"


def _standing(step: Step, look: Look) -> Iterator[Finding]:
    name = step.component
    if not look.at_rest:
        yield Finding(
            code="operation-in-flight",
            severity=Severity.WARNING,
            component=name,
            text=f"{name}: App Runner works on the service; taly waits until that has ended",
            hint="taly status --watch",
        )
    elif blocked := blocked_by(look):
        paused = look.status == "PAUSED"
        yield Finding(
            code="service-paused" if paused else "service-not-running",
            severity=Severity.ERROR,
            component=name,
            text=f"{name}: {blocked}",
            hint=f"aws apprunner resume-service --service-arn {step.address['arn']}"
            if paused
            else "",
        )


def _image_findings(step: Step, reader: Reader) -> Iterator[Finding]:
    name = step.component
    if "image" not in step.wanted:
        return
    image = parse_identifier(str(step.wanted["image"]))
    if missing := reader.missing(image, [image.digest]):
        yield Finding(
            code="target-gone",
            severity=Severity.ERROR,
            component=name,
            text=f"{name}: image {short_digest(image.digest)} is no longer in ECR "
            f"({missing[image.digest]})",
            hint="taly releases",
        )
    identifier = parse_identifier(str(step.wanted.get("identifier", image)))
    if identifier.tag and reader.tag_digest(identifier) != image.digest:
        yield Finding(
            code="digest-stale",
            severity=Severity.WARNING,
            component=name,
            text=f"{name}: tag {identifier.tag} no longer means {short_digest(image.digest)}; "
            "taly names the image by its digest instead",
        )


def _denied(step: Step, error: VendorRefused) -> Finding:
    code = "permission-missing" if error.reference in DENIED else error.reference
    return Finding(
        code=code,
        severity=Severity.ERROR,
        component=step.component,
        text=f"{step.component}: {error.message}",
        hint=error.hint or "aws sts get-caller-identity",
    )

"""Observes one service: what is live and since when, what can come back, what is in the way."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

from taly.errors import VendorRefused
from taly.model.environment import Component
from taly.model.release import (
    Confidence,
    Deployment,
    Evidence,
    LivePeriod,
    Observed,
    Operation,
)
from taly.planning.timestamps import EPOCH, instant_of
from taly.providers.serverless import events as stack_events
from taly.providers.serverless import template as templates
from taly.providers.serverless.address import Address
from taly.providers.serverless.aws_reads import AwsReads, Resources
from taly.providers.serverless.directories import Directory, grouped
from taly.providers.serverless.events import StackOperation
from taly.providers.serverless.history import LOOKED_AT, Content, deployment_of, read_contents
from taly.providers.serverless.live import Live, read_live, readiness, state_of
from taly.providers.serverless.template import Template

NO_FREEZE = "Nothing deploys this service by itself but your CI: there is no freeze to set here."


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Everything that was read of one service."""

    component: Component
    address: Address
    status: str
    reason: str
    live: Live
    operations: tuple[StackOperation, ...]
    contents: tuple[Content, ...]
    directories: tuple[Directory, ...]
    at: datetime

    @property
    def directory(self) -> str:
        """The directory that is live.

        During an update, or when its rollback got stuck, GetTemplate may say the template that was
        tried: then it is the result of the last update that succeeded.
        """
        if readiness(self.status) in ("busy", "stuck"):
            periods = stack_events.live_periods(
                self.operations, self.directories, self.address.prefix
            )
            for name, spans in periods.items():
                if spans[-1].end is None:
                    return name
        return templates.directory_of(self.live.template, self.address.prefix)

    @property
    def template(self) -> Template:
        """The live template."""
        for content in self.contents:
            if content.directory.name == self.directory and content.template is not None:
                return content.template
        return self.live.template


def see(reads: AwsReads, component: Component, address: Address, at: datetime) -> Seen:
    """Read it all, in three waves of parallel reads."""
    stack = address.stack
    with ThreadPoolExecutor(max_workers=4) as pool:
        described = pool.submit(reads.stack, stack)
        templated = pool.submit(reads.template, stack)
        happened = pool.submit(reads.events, stack)
        made = pool.submit(reads.resources, stack)
        status = described.result()
        template, resources = templated.result(), made.result()
        address = replace(address, bucket=_bucket(reads, address, resources, template))
        listed = pool.submit(reads.keys, address.bucket, address.prefix)
        asked = pool.submit(read_live, reads, stack, template, resources.names)
        directories = grouped(address.prefix, listed.result())
        running = templates.directory_of(template, address.prefix)
        newest = directories[-LOOKED_AT:]
        worth = [one for one in directories if one in newest or one.name == running]
        contents = read_contents(reads, address.bucket, address.prefix, worth)
        return Seen(
            component=component,
            address=address,
            status=status["StackStatus"],
            reason=status.get("StackStatusReason", ""),
            live=asked.result(),
            operations=stack_events.operations(happened.result()),
            contents=tuple(contents),
            directories=directories,
            at=at,
        )


def observed(seen: Seen, salt: bytes) -> Observed:
    """What was read, as the port wants it."""
    name = seen.directory
    if not name:
        raise VendorRefused(
            f"no function of stack {seen.address.stack} has its code under {seen.address.prefix}",
            reference="not-serverless",
            hint="taly status",
        )
    periods = _periods(seen, name)
    history = [_deployment(seen, content, periods, salt) for content in seen.contents]
    live = next((one for one in history if one.id == name), None)
    if live is None:
        live = _pruned(seen, name, periods, salt)
        history.append(live)
    doubt = _doubt(seen, live, history)
    if doubt.candidates:
        history = [doubt if one.id == doubt.id else one for one in history]
    status = readiness(seen.status)
    return Observed(
        component=seen.component.name,
        live=doubt,
        history=tuple(sorted(history, key=_last_live, reverse=True)),
        state={**state_of(seen.live, seen.status, seen.address.prefix), "directory": name},
        address=seen.address.as_mapping(),
        auto_deploy=None,
        in_flight=_in_flight(seen) if status == "busy" else (),
        blocked=f"stack {seen.address.stack} is {seen.status}" if status == "blocked" else "",
        durations_s=stack_events.durations(seen.operations),
        notes=_notes(seen, live, doubt),
    )


def _bucket(reads: AwsReads, address: Address, resources: Resources, template: Template) -> str:
    """Settings, else a literal in the template, else the stack's own, else the region's shared."""
    if address.bucket:
        return address.bucket
    for function in templates.functions(template):
        if function.artifact and function.artifact.bucket:
            return function.artifact.bucket
    found = resources.bucket or reads.shared_bucket()
    if not found:
        raise VendorRefused(
            f"the deployment bucket of stack {address.stack} is not known",
            reference="bucket-unknown",
            hint="set `bucket` in the component's settings in taly.toml",
        )
    return found


def _periods(seen: Seen, live: str) -> Mapping[str, tuple[LivePeriod, ...]]:
    """When each directory served; the live one always has an open period."""
    periods = stack_events.live_periods(seen.operations, seen.directories, seen.address.prefix)
    spans = periods.get(live, ())
    if not spans or spans[-1].end is not None:
        start = instant_of(live) or seen.at
        if spans:
            start = max(start, spans[-1].end or start)
        periods = {**periods, live: (*spans, LivePeriod(start=start))}
    return {
        name: spans if name == live else tuple(replace(s, end=s.end or seen.at) for s in spans)
        for name, spans in periods.items()
    }


def _deployment(
    seen: Seen,
    content: Content,
    periods: Mapping[str, tuple[LivePeriod, ...]],
    salt: bytes,
) -> Deployment:
    name = content.directory.name
    said = "its update ended UPDATE_COMPLETE" if name in periods else "no update to it succeeded"
    return deployment_of(
        content,
        component=seen.component.name,
        live=seen.template,
        periods=periods.get(name, ()),
        salt=salt,
        evidence=(
            Evidence(call="s3:ListObjectsV2", at=seen.at, says=f"{name} is in the bucket"),
            Evidence(call="cloudformation:DescribeStackEvents", at=seen.at, says=said),
        ),
    )


def _pruned(
    seen: Seen, name: str, periods: Mapping[str, tuple[LivePeriod, ...]], salt: bytes
) -> Deployment:
    """The live deployment when its directory is gone from the bucket."""
    at = instant_of(name) or seen.at
    content = Content(directory=Directory(name=name, at=at, keys=()), template=None)
    return _deployment(seen, content, periods, salt)


def _doubt(seen: Seen, live: Deployment, history: list[Deployment]) -> Deployment:
    """The live deployment, with what else the running code could be when it is not its own."""
    code = str(live.details.get("code", ""))
    busy = readiness(seen.status) == "busy"
    if busy or not code or seen.live.code == code:
        says = f"code key names {live.id}"
        exact = Evidence(call="cloudformation:GetTemplate", at=seen.at, says=says)
        return replace(live, evidence=(*live.evidence, exact))
    others = tuple(one.id for one in history if one.details.get("code") == seen.live.code)
    unsure = Evidence(
        call="lambda:GetFunctionConfiguration",
        at=seen.at,
        says=f"CodeSha256 is not that of {live.id}",
        confidence=Confidence.AMBIGUOUS,
    )
    return replace(live, candidates=(live.id, *others), evidence=(*live.evidence, unsure))


def _in_flight(seen: Seen) -> tuple[Operation, ...]:
    running = seen.operations[-1] if seen.operations else None
    toward = stack_events.directory_of(running, seen.address.prefix) if running else ""
    what = f"{seen.status} of stack {seen.address.stack}"
    return (
        Operation(
            id=(running.token if running else "") or seen.address.stack,
            what=f"{what} to {toward}" if toward else what,
            started_at=running.started if running else seen.at,
            toward=toward if not seen.status.startswith("UPDATE_ROLLBACK") else "",
        ),
    )


def _notes(seen: Seen, live: Deployment, doubt: Deployment) -> tuple[str, ...]:
    notes = [NO_FREEZE]
    if doubt.candidates:
        notes.append(
            f"The code that runs is not that of {live.id}: a function was deployed past"
            " CloudFormation (`deploy function`, the console). It is in no directory, so going"
            " away from it cannot be undone."
        )
    drifted = seen.live.drifted() if readiness(seen.status) != "busy" else ()
    if drifted:
        notes.append(f"Set in the console, not in the template: {', '.join(drifted)}.")
    if readiness(seen.status) == "stuck":
        notes.append(
            f"Stack {seen.address.stack} is UPDATE_ROLLBACK_FAILED: the plan first has"
            " CloudFormation finish that rollback."
        )
    return tuple(notes)


def _last_live(deployment: Deployment) -> tuple[datetime, datetime]:
    """By the time it last went live; what never did, by its upload."""
    created = deployment.created_at or EPOCH
    return (deployment.live[-1].start if deployment.live else created, created)

"""Verification: the vendor's word, and then the application's own.

A vendor's "succeeded" alone is never a success (App Runner ends a failed deployment as RUNNING, an
alias may not move, a function may serve the old code): both must say so.
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import httpx2

from taly.engine.reconcile import POLL_MAX_S, POLL_MIN_S, POLL_SHARE, End, Pen
from taly.engine.redaction import without_secrets
from taly.engine.tasks import Job, Spawner
from taly.errors import TalyError, VendorError, VendorUnavailable
from taly.model.environment import HealthCheck
from taly.model.events import StepDone, StepFailed, StepProgressed, StepStarted, StepUnknown
from taly.model.plan import Step
from taly.model.ports import Actuator, Clock, Failed, InFlight, Other, Probe, Unclear, Wanted
from taly.transport import untrusted

REFERENCE = "verification-failed"
VENDOR_DEADLINE_S = 180.0
"""How long the vendor may take to say what is wanted, where no health check gives a time."""
REQUEST_TIMEOUT_S = 10.0
MAX_BODY_BYTES = 256 * 1024
SHOWN = 120
"""Characters of a wrong answer that are shown."""

SHORT_COMMIT = 7
"""Hexadecimal digits of git's own abbreviation, at least."""
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


def verify(
    step: Step, *, provider: Actuator, clock: Clock, http: httpx2.Client, pen: Pen
) -> Job[End]:
    """Ask vendor and application until both are as wanted; returns the appended end."""
    pen.append(StepStarted(step=step.id))
    end = yield from _verdict(step, provider, clock, http, pen)
    pen.append(end)
    return end


def verify_all(
    step: Step,
    checks: Sequence[Step],
    *,
    providers: Mapping[str, Actuator],
    clock: Clock,
    http: httpx2.Client,
    pen: Pen,
    tasks: Spawner,
) -> Job[End]:
    """Verify every component once more, at the same time; returns the appended end.

    As strictly as each on its own: what was verified first has not yet been seen beside what came
    last, and one good answer among bad ones would pass for an application that flaps.
    """
    pen.append(StepStarted(step=step.id))
    ends: dict[str, End | BaseException] = {}
    for check in checks:
        verdict = _verdict(check, providers[check.provider], clock, http, None)
        tasks.spawn(verdict, partial(ends.__setitem__, check.id))
    while len(ends) < len(checks):
        pen.check()
        yield 0.2
    end = _together(step, [(check.component, ends[check.id]) for check in checks])
    pen.append(end)
    return end


def _together(step: Step, ends: Sequence[tuple[str, End | BaseException]]) -> End:
    failed = [f"{name}: {end.reason}" for name, end in ends if isinstance(end, StepFailed)]
    unknown = [f"{name}: {end.reason}" for name, end in ends if isinstance(end, StepUnknown)]
    unknown += [f"{name}: {end!r}" for name, end in ends if isinstance(end, BaseException)]
    if failed:
        count = f"{len(failed)} of {len(ends)} components"
        reason = f"{count} are not as wanted: {'; '.join(failed)}"
        return StepFailed(step=step.id, reason=reason, reference=REFERENCE, hint="taly status")
    if unknown:
        return StepUnknown(step=step.id, reason="; ".join(unknown))
    return StepDone(step=step.id, how="verified", state={"components": len(ends)})


def _verdict(
    step: Step, provider: Actuator, clock: Clock, http: httpx2.Client, pen: Pen | None
) -> Job[End]:
    try:
        seen = yield from _vendor(step, provider, clock)
        if not isinstance(seen, Wanted):
            return _vendor_says_no(step, seen)
        if step.health is None:
            wrong = ""
        else:
            wrong = yield from _application(step.id, step.health, clock, http, pen)
    except TalyError as error:
        return StepUnknown(step=step.id, reason=error.message)
    except Exception as error:
        reason = f"{provider.name} broke: {type(error).__name__}: {error}"
        return StepUnknown(step=step.id, reason=reason)
    if wrong:
        return _failed(step, wrong)
    return StepDone(step=step.id, how="verified", state=seen.state, evidence=seen.evidence)


def _vendor(step: Step, provider: Actuator, clock: Clock) -> Job[Probe | VendorUnavailable]:
    """What the vendor says, once that is what is wanted or time is up.

    An operation's end can be seen before its effect: after one that led elsewhere, what reads as
    wanted may be what was before it, and only a look after the settle time counts.
    """
    started = clock.monotonic()
    leads_elsewhere = False
    allowed = step.health.deadline_s if step.health else VENDOR_DEADLINE_S
    while True:
        seen: Probe | VendorUnavailable
        try:
            seen = provider.probe(step, None)
        except VendorUnavailable as error:
            seen = error
        waited = clock.monotonic() - started
        if isinstance(seen, InFlight):
            leads_elsewhere = not seen.same_target
        elif leads_elsewhere and not isinstance(seen, VendorUnavailable):
            leads_elsewhere = False
            yield provider.settle_s
            continue
        if isinstance(seen, Wanted | Failed) or waited >= min(allowed, step.deadline_s):
            return seen
        yield min(POLL_MAX_S, max(POLL_MIN_S, waited * POLL_SHARE))


def _vendor_says_no(step: Step, seen: Probe | VendorError) -> End:
    match seen:
        case Other():
            differs = [
                f"{key} is {seen.state.get(key)!r}, not {wanted!r}"
                for key, wanted in step.wanted.items()
                if seen.state.get(key) != wanted
            ]
            return _failed(step, "; ".join(differs) or "the vendor shows another state")
        case Unclear():
            return _failed(step, seen.why)
        case Failed():
            return _failed(step, seen.reason)
        case InFlight():
            return _failed(step, f"still in flight: {seen.what or seen.operation}")
        case VendorError():
            return StepUnknown(step=step.id, reason=f"the vendor cannot be asked: {seen.message}")
        case _:
            raise AssertionError(f"unreachable: {seen}")


def _failed(step: Step, reason: str) -> StepFailed:
    return StepFailed(step=step.id, reason=reason, reference=REFERENCE, hint="taly status")


def _application(
    step_id: str, health: HealthCheck, clock: Clock, http: httpx2.Client, pen: Pen | None
) -> Job[str]:
    """Empty after `successes` good answers in a row, else what the last bad one was."""
    started, row, told = clock.monotonic(), 0, ""
    while True:
        wrong = ask(health, http)
        row = 0 if wrong else row + 1
        if row >= health.successes:
            return ""
        if clock.monotonic() - started >= health.deadline_s:
            return wrong or f"only {row} good answers in a row, {health.successes} are needed"
        if pen is not None and wrong != told:
            told = wrong
            note = f"not yet: {wrong}" if wrong else f"{row} of {health.successes} good answers"
            pen.append(StepProgressed(step=step_id, note=note))
        yield health.interval_s


def ask(health: HealthCheck, http: httpx2.Client) -> str:
    """One request to the application: empty when all is as expected, else what was seen instead."""
    http.cookies.clear()  # a sticky session would ask the same instance again and again
    try:
        with http.stream("GET", health.url, timeout=REQUEST_TIMEOUT_S) as reply:
            body = _body(reply)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        if why := untrusted(error):
            return f"its certificate is not trusted ({why})"
        return f"no answer ({type(error).__name__})"
    if reply.status_code != health.status:
        return f"HTTP {reply.status_code}, not {health.status}; body {_shown(body)}"
    for name, wanted in health.header.items():
        if not same((got := reply.headers.get(name)) or "", wanted):
            return f"header {name} is {_shown(got or 'absent')}, not {wanted!r}"
    if health.contains and shortest(health.contains) not in body:
        return f"the body does not hold {health.contains!r}; body {_shown(body)}"
    return _json_differs(health.expect, body)


def same(got: str, wanted: str) -> bool:
    """Whether an answer is the expected text; two forms of one commit are the same.

    Image tags and version pages abbreviate commits, each to a length of its own.
    """
    if got == wanted:
        return True
    return bool(_COMMIT.fullmatch(got) and _COMMIT.fullmatch(wanted)) and (
        got.startswith(wanted) or wanted.startswith(got)
    )


def shortest(wanted: str) -> str:
    """The text to look for in a body: of a commit, the form that every abbreviation begins with."""
    return wanted[:SHORT_COMMIT] if _COMMIT.fullmatch(wanted) else wanted


def _body(reply: httpx2.Response) -> str:
    """The beginning of the body: an application may send without end, or drop by drop."""
    parts, size, until = [], 0, time.monotonic() + REQUEST_TIMEOUT_S
    for part in reply.iter_bytes():
        parts.append(part)
        size += len(part)
        if size >= MAX_BODY_BYTES or time.monotonic() > until:
            break
    return b"".join(parts)[:MAX_BODY_BYTES].decode("utf-8", "replace")


def _json_differs(expect: Mapping[str, str], body: str) -> str:
    if not expect:
        return ""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return f"the body is no JSON: {_shown(body)}"
    for path, wanted in expect.items():
        if not same(got := _at(document, path), wanted):
            return f"{path} is {_shown(got)}, not {wanted!r}"
    return ""


def _at(document: Any, path: str) -> str:
    for part in path.split("."):
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and part.isdecimal() and int(part) < len(document):
            document = document[int(part)]
        else:
            return "absent"
    return document if isinstance(document, str) else json.dumps(document)


def _shown(text: str) -> str:
    """A wrong answer as it may be written down: one short line, what looks secret left out."""
    line = " ".join(without_secrets(text).split())
    return repr(line if len(line) <= SHOWN else line[: SHOWN - 1] + "…")

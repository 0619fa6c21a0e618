"""Runs with everything that a report tells of, in a line or two each."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from database_world import differences, outlook, plan_of
from factories import T0, environment, ran

from taly.model.environment import Component
from taly.model.events import (
    Event,
    Outcome,
    Recorded,
    RunFinished,
    RunStarted,
    StepActed,
    StepDone,
    StepFailed,
    StepIntended,
    StepStarted,
)
from taly.model.plan import Plan, Step, StepKind
from taly.model.release import Evidence
from taly.model.run import Run, fold
from taly.planning.report import Report, Said
from taly.planning.reporting import build_report

DAY = 24 * 60.0
START = T0 + timedelta(days=2)
PAUSED = {
    "carried": "1204",
    "rescued": "19",
    "deleted": "1",
    "bundle": "/srv/app/.taly/rescue/run-1-db",
    "pause_s": "0.84",
    "put-aside": "app_taly_run_1",
    "bytes": "2300000000",
}


@dataclass(slots=True)
class Story:
    """Events, one after another, with a clock that is moved by hand."""

    plan: Plan
    run: str = "run-1"
    at: datetime = START
    events: list[Recorded] = field(default_factory=list)

    def say(self, *events: Event, after_s: float = 0.0) -> "Story":
        """These events, so many seconds later."""
        self.at += timedelta(seconds=after_s)
        for event in events:
            seq = len(self.events) + 1
            self.events.append(Recorded(seq=seq, at=self.at, fence=1, event=event))
        return self

    def begin(self) -> "Story":
        """The run starts."""
        digest = self.plan.digest
        return self.say(RunStarted(plan_digest=digest, by="ada", host="laptop", version="1.2"))

    def do(self, step: Step, seconds: float = 10.0) -> "Story":
        """The step is done."""
        self.say(StepStarted(step=step.id))
        if step.writes:
            receipt = PAUSED if step.kind is StepKind.RESTORE else {}
            self.say(StepIntended(step=step.id, key="k"), after_s=2.0)
            self.say(StepActed(step=step.id, receipt=receipt))
        how: Literal["acted", "verified"] = "acted" if step.writes else "verified"
        seen = Evidence(call="fake:Look", at=self.at, says="it is as wanted")
        done = StepDone(step=step.id, how=how, state=step.wanted, evidence=(seen,))
        return self.say(done, after_s=seconds)

    def fail(self, step: Step, reason: str = "the vendor said no") -> "Story":
        """The step fails."""
        said = StepFailed(step=step.id, reason=reason, reference="vendor-no", hint="taly status")
        return self.say(StepStarted(step=step.id)).say(said, after_s=5.0)

    def end(self, outcome: Outcome) -> "Story":
        """The run ends."""
        return self.say(RunFinished(outcome=outcome), after_s=1.0)

    def fold(self) -> Run:
        """The run that it came to."""
        return fold(self.run, self.plan, self.events)

    def report(self, later: Sequence[Run] = (), said: Said | None = None) -> Report:
        """The report of it."""
        return build_report(self.fold(), self.events, later, said or Said())


def platform_plan() -> Plan:
    """R2 → R1 of a database that is restored, an API and a site."""
    found = {"db": differences(outlook("restore", "keep", "revert", "restore"))}
    seen = [
        replace(ran("db", (0, "m1"), (DAY, "m2")), auto_deploy=None),
        ran("api", (1, "a1"), (DAY + 1, "a2")),
        ran("web", (2, "w1"), (DAY + 2, "w2")),
    ]
    of = environment(
        Component(name="db", provider="fake"),
        Component(name="api", provider="fake", after=("db",)),
        Component(name="web", provider="fake", after=("api",)),
    )
    plan: Plan = plan_of(of, seen, found)
    parts = [
        replace(part, answered_before=False if part.component == "api" else None)
        for part in plan.components
    ]
    return replace(plan, components=tuple(parts), from_since=T0 + timedelta(days=1))


def succeeded(plan: Plan | None = None, run: str = "run-1") -> Story:
    """A rollback that went well."""
    story = Story(plan or platform_plan(), run).begin()
    for step in story.plan.steps:
        story.do(step)
    return story.end("succeeded")


def failed() -> Story:
    """The first step is done, the second fails, nothing else is begun."""
    story = Story(platform_plan()).begin()
    first, second = (step for step in story.plan.steps if step.writes and _early(step))
    return story.do(first).fail(second).end("failed")


def _early(step: Step) -> bool:
    return step.kind in (StepKind.RESTORE, StepKind.ROLL_BACK) and step.component in ("db", "api")


def undo_of(story: Story, outcome: Outcome = "succeeded") -> Run:
    """A run that took it back: every write the other way round."""
    plan = replace(
        story.plan,
        purpose="undo",
        to_release=story.run,
        steps=tuple(turned(story.plan.steps)),
    )
    undo = Story(plan, "run-2", story.at + timedelta(hours=1)).begin()
    for step in plan.steps:
        undo.do(step)
    return undo.end(outcome).fold()


def turned(steps: Iterable[Step]) -> Iterator[Step]:
    """The steps' inverses, in the same order."""
    for step in steps:
        yield replace(step, before=step.wanted, wanted=step.before) if step.writes else step

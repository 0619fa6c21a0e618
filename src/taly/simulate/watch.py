"""The witness: sees all that really happens, and says where taly was wrong."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from taly.model.events import Recorded, StepActed, StepDone, StepFailed, StepUnknown
from taly.model.plan import Step, StepKind
from taly.planning.verifying import VERIFY_ALL
from taly.simulate.timeline import Process, Timeline
from taly.simulate.world import Operation, Part, Platform, Write


@dataclass(slots=True)
class Holder:
    """Who may work on a run, as the world knows it."""

    process: Process
    fence: int
    confirmed: float
    """When the store last said so."""
    lease_s: float
    gone: bool = False
    """It let go, or its work here has ended."""


@dataclass(slots=True)
class Witness:
    """What was seen, and what of it was wrong."""

    timeline: Timeline
    platform: Platform
    violations: list[str] = field(default_factory=list)
    holders: dict[str, Holder] = field(default_factory=dict)
    """By run."""
    looks: dict[tuple[int, str], float] = field(default_factory=dict)
    """(process, step) → when it last looked."""
    seen: dict[tuple[int, str], Operation] = field(default_factory=dict)
    """(process, step) → the last operation that it saw in flight."""
    failed_at: dict[str, float] = field(default_factory=dict)
    """`<run>:<step>` → when it was said to have failed."""
    unknown_at: dict[str, list[float]] = field(default_factory=dict)
    """`<run>:<step>` → when it was stored that its outcome is unknown."""
    accepted_at: dict[str, float] = field(default_factory=dict)
    """`<run>:<step>` → when it was first stored that the vendor had said yes."""
    verified_at: dict[str, float] = field(default_factory=dict)
    """Run → when all was seen to be right, together."""
    ended_at: dict[str, float] = field(default_factory=dict)
    """Run → when it was over."""
    unseen: frozenset[str] = frozenset({"sim-403"})
    """References of failures in which the vendor would not even say how it stands."""

    def wrong(self, invariant: str, what: str) -> None:
        """An invariant does not hold."""
        said = f"({invariant}) at second {self.timeline.now:.2f}: {what}"
        self.platform.note(f"VIOLATION {said}")
        self.violations.append(said)

    def stored(self, run_id: str, recorded: Sequence[Recorded]) -> None:
        """Events have just become durable."""
        for one in recorded:
            if isinstance(one.event, StepDone) and one.event.step == VERIFY_ALL:
                self.verified_at[run_id] = self.timeline.now
            elif isinstance(one.event, StepActed):
                key = f"{run_id}:{one.event.step}"
                self.accepted_at.setdefault(key, self.timeline.now)
            elif isinstance(one.event, StepUnknown):
                key = f"{run_id}:{one.event.step}"
                self.unknown_at.setdefault(key, []).append(self.timeline.now)

    def looked(self, process: Process, step: Step, operations: Sequence[Operation]) -> None:
        """A process looks, and sees these in flight."""
        self.looks[process.pid, step.id] = self.timeline.now
        if operations:
            self.seen[process.pid, step.id] = operations[-1]

    # Who may act

    def taken(self, run_id: str, process: Process, fence: int, lease_s: float) -> None:
        """A process has just got the lease of a run."""
        now, old = self.timeline.now, self.holders.get(run_id)
        if old is not None and not old.gone and old.process is not process:
            dead_here = not old.process.alive and old.process.machine == process.machine
            left = old.confirmed + old.lease_s - now
            if left > 0.01 and not dead_here:
                self.wrong(
                    "iii", f"{process.name} took {run_id} over from {old.process.name}, whose"
                    f" lease had {left:.1f} s left",
                )  # fmt: skip
        self.holders[run_id] = Holder(process, fence, now, lease_s)

    def confirmed(self, run_id: str, process: Process) -> None:
        """The store has just taken something under this process's lease."""
        holder = self.holders.get(run_id)
        if holder is None:
            return
        if holder.process is not process:
            self.wrong(
                "iii", f"the store took an event of {process.name}, though {holder.process.name}"
                f" holds {run_id}",
            )  # fmt: skip
            return
        holder.confirmed = self.timeline.now

    def let_go(self, run_id: str, process: Process) -> None:
        """A process works on the run no more."""
        holder = self.holders.get(run_id)
        if holder is not None and holder.process is process:
            holder.gone = True

    def acts(self, process: Process, step: Step, key: str, part: Part | None) -> None:
        """A request is about to be sent; with `part`, look at what is in flight there."""
        run_id = key.partition(":")[0]
        holder = self.holders.get(run_id)
        if holder is not None and holder.process is not process:
            self.wrong("iii", f"{process.name} acts for {key}; {holder.process.name} holds the run")
        others = [
            run
            for run, one in self.holders.items()
            if run != run_id and run not in self.ended_at and not one.gone and one.process.alive
        ]
        if others:
            self.wrong("iii", f"{run_id} acts while {others[0]} is under way")
        if part is None or step.kind is StepKind.CANCEL:
            return
        looked = self.looks.get((process.pid, step.id), self.timeline.now)
        visible = looked - part.traits.lag_s
        stacked = part.stacked(self.timeline.now, visible)
        if stacked:
            self.wrong("ii", f"{key} is sent on top of {stacked[0].id}, in flight and visible")

    # What is said, and what is true

    def hears(
        self, process: Process, run_id: str, step: Step, event: StepDone | StepFailed
    ) -> None:
        """A step's end was stored."""
        if not step.writes:
            return
        part, now = self.platform.parts[step.component], self.timeline.now
        looked = self.looks.get((process.pid, step.id), now)
        since = looked - part.traits.lag_s - 0.01
        seen = self.seen.get((process.pid, step.id))
        if seen is not None and seen.is_foreign and seen.ends <= looked:
            since = max(since, seen.ends)  # its effect was to be waited for
        if isinstance(event, StepDone):
            if not _stood(part, step, since, now):
                self.wrong("i", f"{step.id} is called done; {part.name} is {part.state}")
        else:
            self.failed_at[f"{run_id}:{step.id}"] = now
            steady = part.states[-1][0] < since and not part.in_flight(now)
            if event.reference in self.unseen:
                return  # the vendor would not even say how it stands
            mine = [one for one in self.platform.writes if one.key == f"{run_id}:{step.id}"]
            if "not known" in event.reason and mine and part.undecided(mine[-1]):
                return  # said to be unknown, as it is, and sent once more, which was refused
            if (
                steady
                and step.kind is not StepKind.CANCEL
                and part.fits(part.counted(step), part.state)
            ):
                self.wrong("i", f"{step.id} is called failed; {part.name} is {part.state}")

    def writes(self) -> None:
        """All writes of all runs, when everything is over."""
        changed: dict[str, Write] = {}
        for write in self.platform.writes:
            if not write.changed or write.copy:
                continue
            part = self.platform.parts[write.component]
            before = changed.get(write.key)
            undecided = part.undecided(before) and self._asked_again(before, write)
            if not undecided and before and not self._undone_between(part, before, write):
                self.wrong("ii", f"{write.key} changed {write.component} twice")
            changed[write.key] = write
            if not undecided and self.accepted_at.get(write.key, write.at) < write.asked:
                self.wrong("ii", f"{write.key} had been accepted, and was sent again")
            failed = self.failed_at.get(write.key)
            effect = write.at if write.operation is None else write.operation.ends
            came = write.operation is None or not write.operation.fails
            if failed is not None and came and effect > failed:
                self.wrong("i", f"{write.key} was called failed and took effect later")

    def _asked_again(self, before: Write | None, write: Write) -> bool:
        """Whether it was said in between that nobody can know: then somebody resumed it."""
        said = self.unknown_at.get(write.key, [])
        return before is not None and any(before.at <= at <= write.asked for at in said)

    def _undone_between(self, part: Part, before: Write, write: Write) -> bool:
        """Whether the first write had come to nothing, or somebody else came between."""
        if before.operation is not None and before.operation.fails:
            return before.operation.ends <= write.at
        return any(before.at <= at <= write.at for at in part.foreign)


def _stood(part: Part, step: Step, since: float, now: float) -> bool:
    """Whether the component was as the step wants it at some instant in between."""
    if step.kind is StepKind.CANCEL:
        return part.cancelled(step, now)
    return any(
        part.fits(part.counted(step), state) and end > since
        for (_, state), end in zip(
            part.states, [start for start, _ in part.states[1:]] + [now + 1.0], strict=True
        )
    )

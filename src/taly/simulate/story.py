"""One simulation: a platform gets a bad release, and people take it back while everything fails.

Everything is drawn from the seed before it is needed, each part from a generator of its own: so a
fault can be left out and the rest stays as it was.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from taly.engine import owner
from taly.engine.store import sql
from taly.engine.store.names import run_id_after
from taly.engine.store.sql import SqlStore
from taly.errors import EnvironmentLocked, OutcomeUnknown, Refused, UsageError
from taly.model.environment import Environment
from taly.model.events import Recorded
from taly.model.plan import DatabaseVerdict, Plan
from taly.model.ports import Provider
from taly.model.run import Run, StepPhase, fold
from taly.simulate import checks
from taly.simulate.faults import SKEW, Coverage, Fault, Faults, draw_faults
from taly.simulate.planning import plan_rollback, plan_undo
from taly.simulate.platform import draw_environment, draw_platform
from taly.simulate.store import SimDatabase, SimStore, fresh_store
from taly.simulate.strikes import Strikes
from taly.simulate.taly_process import Taly
from taly.simulate.timeline import Broken, Endless, Process, SimClock, Timeline, instant
from taly.simulate.traits import draw_traits
from taly.simulate.vendor import SimProvider
from taly.simulate.watch import Witness
from taly.simulate.world import Part, Platform

LEASE_S = 20.0
MAX_TRIES = 12
"""Resumes after which nothing fails any more."""
GIVE_UP = 40
"""Resumes after which a run should long have ended."""
LONGEST_S = 20_000.0
"""Virtual seconds after which a run should long have ended."""
QUIET_S = 1800.0
"""For how long the platform is watched after a run, while people go on pushing."""


@dataclass(slots=True)
class Verdict:
    """What came of one seed."""

    seed: int
    violations: list[str]
    faults: list[Fault]
    outcomes: list[str]
    """How its runs ended."""
    coverage: Coverage
    trace: list[str] = field(default_factory=list)
    events: int = 0


class Simulation:
    """One seed."""

    def __init__(self, seed: int, faults: Sequence[Fault] | None = None) -> None:
        """`faults` in the place of those that the seed draws."""
        self.seed = seed
        self.timeline = Timeline()
        self.coverage = Coverage()
        self.faults: list[Fault] = []
        """Those of the runs so far."""
        self._given = faults
        self.waiting = Faults(self.coverage)
        self.trace: list[str] = []
        world = random_of(seed, "world")
        self.platform = self._draw(world)
        self.witness = Witness(self.timeline, self.platform)
        self.people = random_of(seed, "people")
        verdicts: tuple[DatabaseVerdict, ...] = ("revert", "restore", "keep", "revert")
        self.verdict = world.choice(verdicts)
        self.skew_s = world.choice((0.0, 0.0, 0.0, -40.0, -6.0, 6.0, 30.0))
        self.path: Path = fresh_store()
        self.store = SqlStore(SimDatabase(self.path, self.timeline))
        self.talys: list[Taly] = []
        self.outcomes: list[str] = []

    def _draw(self, world: Random) -> Platform:
        """The environment, its vendors and what was released on them."""
        self.traits = {one.name: one for one in draw_traits(world)}
        self.environment: Environment = draw_environment(world, tuple(self.traits))
        return draw_platform(world, self.timeline, self.environment, self.traits, self.note)

    def note(self, said: str) -> None:
        """Write it into the trace."""
        self.trace.append(f"{self.timeline.now:9.2f}  {said}")

    def run(self) -> Verdict:
        """Play it to its end."""
        with self._patched():
            try:
                self._play()
            except Endless as error:
                self.witness.wrong("i", f"no end: {error}")
            finally:
                self._close()
        events = sum(len(taly.heard) for taly in self.talys)
        return Verdict(
            self.seed, self.witness.violations, self.faults, self.outcomes, self.coverage,
            self.trace, events,
        )  # fmt: skip

    def _patched(self) -> ExitStack:
        """Who lives, and where, is asked of the simulation in place of the operating system."""
        return _simulated_machines(self)

    def _close(self) -> None:
        for taly in self.talys:
            taly.process.alive = False
            taly.close()
        self.store.close()

    def _play(self) -> None:
        if self.people.random() < 0.3:
            for part in self.platform.parts.values():
                self.platform.push(part, 70)
            self.timeline.run_until(self.people.uniform(0.0, 6.0))
        before = checks.states(self.platform)
        began = self.timeline.now
        plan = plan_rollback(self)
        if plan is None:
            return
        run = self._to_its_end(plan, undo=False)
        if run is None:
            return
        if self.people.random() < 0.5:
            self._quiet(run)
            return
        undo = plan_undo(self, run)
        if undo is None:
            return
        undone = self._to_its_end(undo, undo=True)
        if undone is not None:
            checks.undone(self, run, undone, before, began)
            self._quiet(undone)

    # A run, until it is over

    def _to_its_end(self, plan: Plan, *, undo: bool) -> Run | None:
        """Execute a plan, and resume it until it has ended; None when it never began."""
        for fault in self.waiting.arm(self._faults_of(plan, undo=undo)):
            self.timeline.after(fault.seconds, partial(self._befall, fault, plan))
        taly = self.process()
        run_id = self._started(taly, plan)
        if run_id is None:
            return None
        self.note(f"{taly.process.name} starts {run_id} ({plan.purpose})")
        self.run_id, self._over_yet, self._tries = run_id, False, 0
        self.timeline.after(self._pause(), lambda: self._look_after(run_id, plan))
        until = self.timeline.now + LONGEST_S
        self.timeline.run_while(lambda: not self._over_yet or self._somebody_works(), until=until)
        if not self._over_yet or any(one.busy for one in self.talys):
            self.witness.wrong("i", f"{run_id} does not end, or a process works on after its end")
        self.waiting.disarm()
        return self._over(run_id, plan)

    def _pause(self) -> float:
        slow = self.people.uniform(1.0, 25.0)
        return self.people.choice((0.4, 1.0, self.people.uniform(0.5, 6.0), slow))

    def _look_after(self, run_id: str, plan: Plan) -> None:
        """People look whether it is over; when nobody works on it, they resume it."""
        if self.store.run(run_id).outcome is not None:
            self._over_yet = True
            return
        now = self.timeline.now
        if not any(one.busy and one.process.frozen_until <= now for one in self.talys):
            self._tries += 1
            if self._tries == MAX_TRIES:
                self.waiting.disarm()
            if self._tries > GIVE_UP:
                return
            self._resume(run_id, plan)
        self.timeline.after(self._pause(), lambda: self._look_after(run_id, plan))

    def _somebody_works(self) -> bool:
        return any(one.busy for one in self.talys)

    def _faults_of(self, plan: Plan, *, undo: bool) -> list[Fault]:
        if self._given is None:
            kinds = sorted({str(step.kind) for step in plan.steps})
            mine = draw_faults(random_of(self.seed, f"faults {undo}"), kinds, undo=undo)
        else:
            mine = [fault for fault in self._given if fault.undo is undo]
        self.faults.extend(mine)
        return mine

    def _started(self, taly: Taly, plan: Plan) -> str | None:
        try:
            run_id = taly.call(lambda: taly.engine.start(plan))
        except OutcomeUnknown:
            run_id = None
        if run_id is None:
            holder = self.store.unfinished(plan.environment)
            return None if holder is None else holder.id
        self._work(taly, run_id, plan)
        return str(run_id)

    def _work(self, taly: Taly, run_id: str, plan: Plan) -> None:
        """A process begins to work, at once; a store that fails then ends it."""
        try:
            taly.call(lambda: taly.work(run_id, plan))
        except OutcomeUnknown as error:
            taly.error = error
            self.witness.let_go(run_id, taly.process)

    def _resume(self, run_id: str, plan: Plan) -> None:
        taly = self.process()
        try:
            taly.call(lambda: taly.engine.take_over(run_id))
        except (EnvironmentLocked, OutcomeUnknown):
            return
        except UsageError as error:  # it has ended meanwhile
            if error.reference != "run-finished":
                raise
            return
        if taly.process.alive:
            self.note(f"{taly.process.name} takes {run_id} over")
            self._work(taly, run_id, plan)

    def _over(self, run_id: str, plan: Plan) -> Run:
        events = self.store.events(run_id)
        run = fold(run_id, plan, events)
        self.outcomes.append(f"{plan.purpose} {run.outcome}")
        self.witness.ended_at[run_id] = self.timeline.now
        checks.stored(self, run, events)
        checks.said(self, run)
        return run

    # The world

    def _befall(self, fault: Fault, plan: Plan) -> None:
        """A fault of the world happens now."""
        parts = list(self.platform.parts.values())
        part = parts[fault.nth % len(parts)]
        self.note(f"{fault.kind} ({part.name})")
        if not self._happens(fault, part, plan):
            return
        working = self._under_way()
        for kind in working or [""]:
            self.coverage.hit(fault.kind, kind)

    def _happens(self, fault: Fault, part: Part, plan: Plan) -> bool:
        match fault.kind:
            case "push":
                return self.platform.push(part, fault.nth)
            case "other-operation" | "same-operation":
                return self.platform.by_hand(part, _target(part, plan), fault.kind, fault.nth)
            case "target-expires":
                return self.platform.expire(part, _target(part, plan))
            case "cancel":
                return self._asked(lambda: self.store.request_cancel(self.run_id, "ben"))
            case "interrupt":
                for taly in self.talys:
                    if taly.busy and taly.execution is not None:
                        taly.execution.interrupt()
                        taly.pump_later()
                return True
            case "second-run":
                return self._second_run(plan)
            case _:  # it may have waited until another run, with a plan of its own, is under way
                self._resume(self.run_id, self.store.plan(self.run_id))
                return True

    def _asked(self, do: Callable[[], Any]) -> bool:
        try:
            do()
        except (UsageError, AttributeError):  # it has ended, or not begun
            return False
        return True

    def _second_run(self, plan: Plan) -> bool:
        """Somebody else presses the button as well, while the run is under way."""
        if self.store.unfinished(plan.environment) is None:
            return False
        taly = self.process()
        try:
            run_id = taly.call(lambda: taly.engine.start(plan))
        except (EnvironmentLocked, OutcomeUnknown):
            return True
        if run_id is None:
            return True
        running = [
            one for one in self.witness.holders
            if one != run_id and one not in self.witness.ended_at
            and self.store.run(one).outcome is None
        ]  # fmt: skip
        if running:
            self.witness.wrong("iii", f"{run_id} was let in beside {running[0]}")
        self._work(taly, run_id, plan)
        return True

    def _under_way(self) -> list[str]:
        """The kinds of the steps under way, by the newest process's own knowledge."""
        for taly in reversed(self.talys):
            if taly.execution is not None and taly.heard:
                run = taly.live_run()
                return sorted(
                    {
                        str(run.plan.step(one.step).kind)
                        for one in run.steps.values()
                        if one.phase is StepPhase.RUNNING
                    }
                )
        return []

    def _quiet(self, run: Run) -> None:
        """Time passes and people push; what was verified must stay (invariant vii)."""
        for i in range(4):
            self.timeline.run_until(self.timeline.now + QUIET_S / 4)
            for part in self.platform.parts.values():
                self.platform.push(part, 90 + i)
        self.timeline.run_until(self.timeline.now + QUIET_S / 4)
        checks.quiet(self, run)
        self.witness.writes()

    # Processes

    def process(self) -> Taly:
        """A new process, on one of two machines."""
        number = len(self.talys) + 1
        machine = self.people.choice(("m1", "m1", "m2"))
        skew = self.skew_s if machine == "m2" else 0.0
        process = Process(pid=number, machine=machine, skew_s=skew)
        if skew:
            self.coverage.hit(SKEW, "")
        clock = SimClock(self.timeline, process)
        strikes = self._strikes(process, self.waiting)
        providers = self._vendors(clock, strikes)
        store = SimStore(SimDatabase(self.path, self.timeline), strikes)
        taly = Taly(process, clock, strikes, store, providers, self.platform, LEASE_S)
        self.talys.append(taly)
        return taly

    def providers(self) -> Mapping[str, Provider]:
        """The vendors as a process sees them that meets no fault: for planning."""
        process = Process(pid=0, machine="m1", skew_s=0.0)
        strikes = self._strikes(process, Faults(self.coverage))
        clock = SimClock(self.timeline, process)
        return self._vendors(clock, strikes)

    def _strikes(self, process: Process, faults: Faults) -> Strikes:
        return Strikes(self.timeline, process, faults, self.witness, LEASE_S)

    def _vendors(self, clock: SimClock, strikes: Strikes) -> Mapping[str, Provider]:
        return {
            name: SimProvider(self.platform, traits, clock, strikes, self.verdict)
            for name, traits in self.traits.items()
        }


def random_of(seed: int, what: str) -> Random:
    """The generator of one part of a seed."""
    return Random(f"{seed} {what}")


def _target(part: Part, plan: Plan) -> str:
    """Where the plan takes this component; empty = nowhere."""
    return next((c.to_deployment for c in plan.components if c.component == part.name), "")


def _simulated_machines(simulation: Simulation) -> ExitStack:

    def machine() -> str:
        current = simulation.timeline.current
        return current.machine if current else "nowhere"

    def run_id(newest: str | None) -> str:
        return run_id_after(newest, instant(simulation.timeline.now).timestamp())

    def process_start(pid: int) -> str | None:
        alive = any(one.process.pid == pid and one.process.alive for one in simulation.talys)
        return f"start-{pid}" if alive else None

    stack = ExitStack()
    stack.enter_context(patch.multiple(owner, machine=machine, process_start=process_start))
    stack.enter_context(patch.object(sql, "run_id_after", run_id))
    return stack


__all__ = ["Broken", "Recorded", "Refused", "Simulation", "Verdict"]

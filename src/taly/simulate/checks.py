"""The invariants that are looked at when a run is over; the others the witness sees as it goes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from taly.app.runs import exit_code
from taly.cli.run_summary import next_command, run_body, verdict
from taly.errors import ExitCode
from taly.model.events import Recorded
from taly.model.plan import Disposition, StepKind
from taly.model.run import Run, StepPhase
from taly.simulate.canaries import CANARY
from taly.simulate.store import bytes_of
from taly.simulate.world import Platform, Values

if TYPE_CHECKING:
    from taly.simulate.story import Simulation

EXPECTED = {
    "succeeded": ExitCode.OK,
    "failed": ExitCode.STEP_FAILED,
    "verification-failed": ExitCode.VERIFICATION_FAILED,
    "cancelled": ExitCode.INTERRUPTED,
}
BEGINS = {
    "succeeded": "Done",
    "failed": "FAILED",
    "verification-failed": "VERIFICATION FAILED",
    "cancelled": "Cancelled",
}


def states(platform: Platform) -> Mapping[str, Values]:
    """The truth, as it is now."""
    return {name: dict(part.state) for name, part in platform.parts.items()}


def stored(simulation: "Simulation", run: Run, events: Sequence[Recorded]) -> None:
    """(vi) nothing is lost or reordered, (viii) no secret was stored, (i) nothing broke inside."""
    wrong = simulation.witness.wrong
    if [one.seq for one in events] != list(range(1, len(events) + 1)):
        wrong("vi", f"the numbers of {run.id}'s events have a gap")
    by_number = {one.seq: one for one in events}
    for taly in simulation.talys:
        if taly.run_id != run.id:
            continue
        if lost := [one.seq for one in taly.heard if by_number.get(one.seq) != one]:
            wrong("vi", f"{taly.process.name} was told that event {lost[0]} is stored")
        if taly.heard and len(taly.heard) == len(events) and taly.live_run() != run:
            wrong("vi", f"what {taly.process.name} made of the events differs from the store's")
    if CANARY.encode() in bytes_of(simulation.path):
        wrong("viii", "a secret stands in the store")
    for step in run.steps.values():
        if " broke: " in step.reason and "cannot read" not in step.reason:
            wrong("i", f"the simulator itself: {step.reason}")


def said(simulation: "Simulation", run: Run) -> None:
    """(iv) what the shell and the people are told is so."""
    wrong, outcome = simulation.witness.wrong, run.outcome
    if outcome is None:
        return
    code, text = exit_code(run), verdict(run).plain
    phases = [step.phase for step in run.steps.values()]
    if code is not EXPECTED[outcome] or run_body(run, int(code))["outcome"] != outcome:
        wrong("iv", f"{outcome} ends with exit status {code}")
    if not text.startswith(BEGINS[outcome]) or not next_command(run).startswith("taly "):
        wrong("iv", f"{outcome} is told as {text!r}")
    if outcome == "succeeded" and set(phases) != {StepPhase.DONE}:
        wrong("iv", "it is called a success, and not every step is done")
    if outcome in ("failed", "verification-failed") and StepPhase.FAILED not in phases:
        wrong("iv", f"it is called {outcome}, and no step failed")
    if StepPhase.UNKNOWN in phases or StepPhase.RUNNING in phases:
        wrong("i", "it is over, and a step is unknown")
    if outcome == "succeeded":
        _reached(simulation, run)


def _reached(simulation: "Simulation", run: Run) -> None:
    """Success: every component is as its steps want it, and its application says so too."""
    for step in run.plan.steps:
        if step.kind is not StepKind.VERIFY:
            continue
        part = simulation.platform.parts[step.component]
        asked = run.steps[step.id].ended_at
        if any(at > _verified(simulation, run) - part.traits.lag_s - 1 for at in part.foreign):
            continue  # somebody else changed it at that very moment
        if part.differing(step.wanted):
            wrong = f"{part.name} is {part.state}, and the run a success (verified {asked})"
            simulation.witness.wrong("iv", wrong)
        elif step.health is not None and part.serves != part.live:
            simulation.witness.wrong("iv", f"{part.name} serves {part.serves}, and it is a success")


def _verified(simulation: "Simulation", run: Run) -> float:
    """The second at which all was verified together."""
    return simulation.witness.verified_at.get(run.id, simulation.timeline.now)


def undone(
    simulation: "Simulation", run: Run, undo: Run, before: Mapping[str, Values], began: float
) -> None:
    """(v) an undo brings back exactly what was, where nobody else changed anything."""
    if undo.outcome != "succeeded":
        return
    for name, part in simulation.platform.parts.items():
        if any(at >= began for at in part.foreign) or any(
            one.is_foreign for one in part.operations
        ):
            continue
        if not part.fits(before[name], part.state):
            wrong = f"{name} was {before[name]} before {run.id}, and is {part.state} after its undo"
            simulation.witness.wrong("v", wrong)


def quiet(simulation: "Simulation", run: Run) -> None:
    """(vii) what was verified stays, though people push."""
    if run.outcome != "succeeded" or run.plan.purpose != "rollback":
        return
    verified = _verified(simulation, run)
    for part_plan in run.plan.components:
        part = simulation.platform.parts[part_plan.component]
        if part_plan.disposition is not Disposition.ROLL_BACK:
            continue
        by_person = [
            one for one in part.operations
            if one.by == "person" and one.ends > verified - part.traits.lag_s - 1
        ]  # fmt: skip
        if by_person:
            continue  # somebody asked for it
        if part.live != part_plan.to_deployment:
            wrong = f"{part.name} was verified at {part_plan.to_deployment}, and is {part.state}"
            simulation.witness.wrong("vii", wrong)

"""What a run left behind: databases put aside, auto-deploys held, and what helps with each."""

from collections.abc import Iterator, Mapping, Sequence

from taly.model.plan import Step, StepKind
from taly.model.release import Mark
from taly.model.run import Run, StepPhase, StepRun
from taly.planning.report import Advice, Changed, Said, Undone
from taly.planning.unfreeze import FREEZE_KEYS

DONE_TO = {
    StepKind.REVERT: "reverted",
    StepKind.APPLY: "applied again",
    StepKind.RESTORE: "restored",
}


def database_changes(run: Run) -> tuple[Changed, ...]:
    """What each step did with a database, from its receipt; none for other runs."""
    return tuple(
        _changed(step, run.steps[step.id])
        for step in run.plan.steps
        if step.kind in DONE_TO and _may_have_written(run.steps[step.id])
    )


def _changed(step: Step, state: StepRun) -> Changed:
    receipt = state.attempt.receipt if state.attempt else {}
    migration = step.address.get("migration", "")
    return Changed(
        component=step.component,
        what=f"{migration} {DONE_TO[step.kind]}".strip(),
        done=state.phase is StepPhase.DONE,
        carried=_number(receipt, "carried"),
        put_back=_number(receipt, "put-back"),
        deleted=_number(receipt, "deleted"),
        kept_newer=_number(receipt, "kept-newer"),
        rescued=_number(receipt, "rescued"),
        bundle=receipt.get("bundle", ""),
        pause_s=_seconds(receipt.get("pause_s", "")),
        put_aside=receipt.get("put-aside", ""),
        put_aside_bytes=_number(receipt, "bytes"),
        not_set=tuple(receipt.get("not-set", "").splitlines()),
    )


def still_held(run: Run, later: Sequence[Run]) -> tuple[str, ...]:
    """Components whose auto-deploys this rollback held, and that no later run gave back."""
    if run.plan.purpose != "rollback":
        return ()
    found: dict[str, dict[str, object]] = {}
    for step in run.plan.steps:
        changed = _freezing(step)
        if changed and _may_have_written(run.steps[step.id]):
            found.setdefault(step.component, {}).update(changed)
    for after in later:
        for step in after.plan.steps:
            if step.component in found and after.steps[step.id].phase is StepPhase.DONE:
                prior = found[step.component]
                given = [key for key in prior if _gives_back(step, key, prior[key])]
                for key in given:
                    del prior[key]
    return tuple(name for name, prior in found.items() if prior)


def _freezing(step: Step) -> dict[str, object]:
    """The auto-deploy settings that the step changes, as they were before."""
    keys = FREEZE_KEYS & step.wanted.keys() & step.before.keys() if step.writes else ()
    return {key: step.before[key] for key in keys if step.before[key] != step.wanted[key]}


def _gives_back(step: Step, key: str, prior: object) -> bool:
    return step.writes and key in step.wanted and step.wanted[key] == prior


def _may_have_written(state: StepRun) -> bool:
    if state.attempt is not None:
        return True
    return state.phase is StepPhase.DONE and state.how in ("acted", "adopted")


def advice(
    run: Run,
    databases: Sequence[Changed],
    held: Sequence[str],
    undone: Sequence[Undone],
    said: Said,
    *,
    alive: bool = False,
) -> Iterator[Advice]:
    """The commands that are still to be typed, in the order in which they are.

    `alive`: a process works on the run now.
    """
    taken_back = next((one for one in undone if one.outcome == "succeeded"), None)
    if taken_back is not None:
        yield Advice(command=f"taly report {taken_back.run}", why="this run was taken back there")
        return
    yield from _first(run, alive=alive)
    if run.plan.purpose == "rollback" and run.plan.from_release and _wants_a_reason(said):
        command = f'taly mark {run.plan.from_release} bad --why "…"'
        yield Advice(command=command, why="say what was wrong, for whoever comes after you")
    if any(one.rescued for one in databases):
        yield Advice(command=f"taly rescue show {run.id}", why="what had no place is kept")
        why = "when the repaired release is live: puts those rows back"
        yield Advice(command=f"taly rescue replay {run.id}", why=why)
    if held:
        why = f"when a repaired release may go live: {', '.join(held)}"
        yield Advice(command="taly unfreeze", why=why)
    if any(one.put_aside for one in databases):
        why = "when you are sure: drops the database that was put aside, if that was not done yet"
        yield Advice(command=f"taly forget {run.id}", why=why)


def _first(run: Run, *, alive: bool) -> Iterator[Advice]:
    match run.outcome:
        case None if alive:
            yield Advice(command=f"taly show {run.id}", why="the run is under way")
        case None:
            yield Advice(command=f"taly resume {run.id}", why="the run is not finished")
        case "succeeded":
            yield Advice(command="taly status", why="is everything still well?")
            if run.plan.purpose == "rollback":
                why = "if going back was the mistake: takes the whole run back"
                yield Advice(command=f"taly undo {run.id}", why=why)
        case _:
            why = "takes back what was done; or mend what failed and roll back again"
            yield Advice(command=f"taly undo {run.id}", why=why)


def _wants_a_reason(said: Said) -> bool:
    return said.mark is not Mark.GOOD and not (said.by_people and said.why)


def _number(receipt: Mapping[str, str], key: str) -> int:
    given = receipt.get(key, "")
    return int(given) if given.isascii() and given.isdigit() else 0


def _seconds(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None

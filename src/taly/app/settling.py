"""Rescue bundles say what became of their steps, also when a step's process could not say so."""

from contextlib import suppress
from pathlib import Path

from taly.errors import TalyError
from taly.model.plan import Step
from taly.model.run import Run, StepPhase
from taly.planning.inverse import INVERSE_KINDS
from taly.planning.order import DATABASE_KINDS


def settle_bundles(run: Run) -> None:
    """Confirm the bundles of steps that are done; mark those that an undo brought back.

    A bundle that cannot be marked stays `prepared`, and `taly rescue list` says so.
    """
    done = {one.step for one in run.steps.values() if one.phase is StepPhase.DONE}
    for step in run.plan.steps:
        if step.kind in DATABASE_KINDS and step.id in done and step.address.get("rescue"):
            with suppress(TalyError):
                _settle(Path(step.address["rescue"]), run.id, step)


def _settle(base: Path, run_id: str, step: Step) -> None:
    # Imported here: most runs change no database.
    from taly.database.rescue.bundle import confirm, folder_name, take_back
    from taly.database.rescue.manifest import MANIFEST

    own = base / run_id / folder_name(step.id)
    if (own / MANIFEST).is_file():
        confirm(own)
    if undone := step.address.get("undoes", ""):
        _, _, rest = step.id.partition(":")
        other = base / undone / folder_name(f"{INVERSE_KINDS[step.kind].value}:{rest}")
        if (other / MANIFEST).is_file():
            take_back(other)

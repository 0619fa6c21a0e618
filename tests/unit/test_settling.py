"""After a run, rescue bundles say what became of the steps that wrote them."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tests.engine_world import plan, step

from taly.app.settling import settle_bundles
from taly.database.rescue.bundle import Bundle, Reader
from taly.model.plan import StepKind
from taly.model.run import Run, StepPhase, StepRun

NAME = "database:20250407140000_x"


def bundle(base: Path, run: str, step_id: str) -> Path:
    made = Bundle.begin(
        base,
        run=run,
        step=step_id,
        component="database",
        environment="test",
        place="here",
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )
    made.finish()
    return made.path


def run_of(base: Path, run: str, kind: StepKind, phase: StepPhase, undoes: str = "") -> Run:
    address = {"rescue": str(base)} | ({"undoes": undoes} if undoes else {})
    one = replace(step(), id=f"{kind.value}:{NAME}", kind=kind, address=address)
    return Run(id=run, plan=plan(one), steps={one.id: StepRun(step=one.id, phase=phase)})


def test_a_bundle_whose_process_was_killed_before_its_word_is_confirmed(tmp_path: Path) -> None:
    path = bundle(tmp_path, "run-1", f"revert:{NAME}")
    settle_bundles(run_of(tmp_path, "run-1", StepKind.REVERT, StepPhase.UNKNOWN))
    assert Reader(path).manifest.state == "prepared"
    settle_bundles(run_of(tmp_path, "run-1", StepKind.REVERT, StepPhase.DONE))
    assert Reader(path).manifest.state == "done"


def test_what_an_undo_brought_back_is_not_to_be_replayed(tmp_path: Path) -> None:
    for before, kind in (("revert", StepKind.APPLY), ("restore", StepKind.RESTORE)):
        path = bundle(tmp_path, "run-1", f"{before}:{NAME}")
        settle_bundles(run_of(tmp_path, "run-2", kind, StepPhase.FAILED, undoes="run-1"))
        assert Reader(path).manifest.state == "prepared"
        settle_bundles(run_of(tmp_path, "run-2", kind, StepPhase.DONE, undoes="run-1"))
        assert Reader(path).manifest.state == "taken-back"


def test_a_bundle_that_cannot_be_read_does_not_take_the_run_with_it(tmp_path: Path) -> None:
    path = bundle(tmp_path, "run-1", f"revert:{NAME}")
    (path / "manifest.json").write_text("{}")
    settle_bundles(run_of(tmp_path, "run-1", StepKind.REVERT, StepPhase.DONE))


def test_an_undo_of_an_undo_leaves_one_bundle_to_be_replayed(tmp_path: Path) -> None:
    """Each hand-over takes along what the one before had set aside."""
    revert, restore = StepKind.REVERT, StepKind.RESTORE
    for kinds in ((revert, StepKind.APPLY, revert), (restore, restore, restore)):
        base = tmp_path / kinds[0].value
        paths, undoes = [], ""
        for number, kind in enumerate(kinds, start=1):
            run = f"run-{number}"
            paths.append(bundle(base, run, f"{kind.value}:{NAME}"))
            settle_bundles(run_of(base, run, kind, StepPhase.DONE, undoes=undoes))
            undoes = run
        states = [Reader(path).manifest.state for path in paths]
        assert states == ["taken-back", "taken-back", "done"]

"""The report of a run: what it tells, from the events alone."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from report_scene import START, Story, failed, platform_plan, succeeded, turned, undo_of

from taly.model.events import CancelRequested, LeaseTaken, StepStarted, StepUnknown
from taly.model.release import Mark
from taly.model.run import Run
from taly.planning.report import Report, Said
from taly.planning.reporting import build_report


def commands(report: Report) -> list[str]:
    return [one.command for one in report.next]


def test_it_tells_who_began_it_when_where_and_with_which_taly() -> None:
    report = succeeded().report()
    assert (report.by, report.host, report.version) == ("ada", "laptop", "1.2")
    assert (report.started_at, report.plan_digest) == (START, platform_plan().digest)
    assert [(act.by, act.what.split()[0]) for act in report.acts] == [
        ("ada", "began"),
        ("taly", "ended"),
    ]


def test_everybody_who_touched_the_run_is_named() -> None:
    story = Story(platform_plan()).begin()
    story.say(LeaseTaken(owner="bob on ci (process 7)"), after_s=60).say(CancelRequested(by="eve"))
    report = story.end("cancelled").report()
    assert [act.by for act in report.acts] == ["ada", "bob on ci (process 7)", "eve", "taly"]


def test_the_release_that_was_left_with_its_mark_and_why() -> None:
    said = Said(mark=Mark.BAD, why="double charges", by="ada", at=START, by_people=True)
    report = succeeded().report(said=said)
    assert report.left is not None
    assert (report.left.release, report.left.said) == ("R2", said)
    assert report.left.unwell == ("api",)
    assert not any("taly mark" in command for command in commands(report))


def test_where_nobody_said_why_it_asks_for_it() -> None:
    own = Said(mark=Mark.BAD, why="rolled back in run-1", by="ada", at=START)
    assert 'taly mark R2 bad --why "…"' in commands(succeeded().report(said=own))


class TestTimes:
    def test_restored_is_the_last_verification_and_not_the_last_write(self) -> None:
        times = succeeded().report().times
        assert times.restored_at == START + timedelta(seconds=100)
        assert (times.restore_s, times.live_s) == (100, 24 * 3600)
        assert times.total_s == 24 * 3600 + 100

    def test_a_run_that_failed_restored_nothing(self) -> None:
        times = failed().report().times
        assert times.restored_at is times.restore_s is times.total_s is None
        assert times.live_s == 24 * 3600

    def test_what_nobody_released_was_live_since_nobody_knows(self) -> None:
        plan = replace(platform_plan(), from_since=None)
        times = succeeded(plan).report().times
        assert times.live_s is times.total_s is None
        assert times.restore_s == 100

    def test_clocks_that_disagree_make_no_negative_time(self) -> None:
        plan = replace(platform_plan(), from_since=START + timedelta(seconds=5))
        assert succeeded(plan).report().times.live_s is None

    def test_a_step_has_its_forecast_its_real_time_and_what_it_waited(self) -> None:
        by_id = {one.id: one for one in succeeded().report().steps}
        first, verify = by_id["roll-back:web"], by_id["verify:web"]
        assert (first.forecast_from_s, first.forecast_s) == (0, 60)
        assert (first.from_s, first.seconds) == (0, 12)
        assert [(one.from_s, one.to_s) for one in first.waits] == [(0, 2)]
        assert [(one.from_s, one.to_s) for one in verify.waits] == [(24, 60)]

    def test_a_step_that_was_never_begun_has_no_time(self) -> None:
        step = next(one for one in failed().report().steps if one.id == "freeze:api")
        assert (step.phase, step.from_s, step.seconds, step.waits) == ("waiting", None, None, ())

    def test_the_time_in_which_no_process_worked_is_told(self) -> None:
        story = Story(platform_plan()).begin().say(StepStarted(step="roll-back:web"), after_s=3)
        report = story.say(LeaseTaken(owner="bob"), after_s=600).report()
        assert [(one.from_s, one.to_s) for one in report.idle] == [(3, 603)]


def test_the_evidence_of_each_verification() -> None:
    checked = {one.name: one for one in succeeded().report().checked}
    assert list(checked) == ["verify web", "verify api", "verify db", "verify everything"]
    assert checked["verify web"].state == {"deployment": "w1", "auto_deploy": False}
    assert [one.says for one in checked["verify db"].evidence] == ["it is as wanted"]


def test_what_became_of_a_database() -> None:
    (one,) = succeeded().report().databases
    assert (one.component, one.what, one.done) == ("db", "restored", True)
    assert (one.carried, one.rescued, one.deleted) == (1204, 19, 1)
    assert (one.bundle, one.pause_s) == ("/srv/app/.taly/rescue/run-1-db", 0.84)
    assert (one.put_aside, one.put_aside_bytes) == ("app_taly_run_1", 2_300_000_000)


def test_what_failed_with_reason_reference_and_hint() -> None:
    (one,) = failed().report().troubles
    assert (one.name, one.phase) == ("roll back api", "failed")
    assert (one.reason, one.reference, one.hint) == (
        "the vendor said no",
        "vendor-no",
        "taly status",
    )


def test_an_unknown_outcome_is_trouble_and_the_run_is_to_be_resumed() -> None:
    story = Story(platform_plan()).begin().say(StepStarted(step="roll-back:web"))
    story.say(StepUnknown(step="roll-back:web", reason="no answer"), after_s=9)
    report = story.report()
    assert [one.phase for one in report.troubles] == ["unknown"]
    assert (report.outcome, commands(report)[0]) == (None, "taly resume run-1")


def test_a_run_that_is_worked_on_is_not_to_be_resumed() -> None:
    story = Story(platform_plan()).begin()
    report = build_report(story.fold(), story.events, (), Said(), alive=True)
    assert commands(report)[0] == "taly show run-1"


def unfreeze_of(story: Story, *components: str) -> Run:
    steps = [s for s in story.plan.steps if s.id in {f"freeze:{name}" for name in components}]
    steps = [replace(step, needs=()) for step in turned(steps)]
    plan = replace(story.plan, purpose="unfreeze", to_release="", steps=tuple(steps))
    later = Story(plan, "run-3", story.at + timedelta(hours=2)).begin()
    for step in plan.steps:
        later.do(step)
    return later.end("succeeded").fold()


class TestHeld:
    def test_what_the_run_froze_stays_so_until_something_gives_it_back(self) -> None:
        story = succeeded()
        assert story.report().held == ("web", "api")
        assert story.report([unfreeze_of(story, "web")]).held == ("api",)
        assert story.report([unfreeze_of(story, "web", "api")]).held == ()

    def test_unfreeze_is_advised_while_something_is_held_and_no_longer(self) -> None:
        story = succeeded()
        assert "taly unfreeze" in commands(story.report())
        assert "taly unfreeze" not in commands(story.report([unfreeze_of(story, "web", "api")]))

    def test_what_was_never_frozen_is_not_called_so(self) -> None:
        assert failed().report().held == ()


class TestUndone:
    def test_the_undo_is_named_and_everything_else_is_its_affair(self) -> None:
        story = succeeded()
        report = story.report([undo_of(story)])
        assert [(one.run, one.by, one.outcome) for one in report.undone_by] == [
            ("run-2", "ada", "succeeded")
        ]
        assert (report.held, commands(report)) == ((), ["taly report run-2"])
        assert report.acts[-1].what == "began to take it back: run-2"

    def test_an_undo_that_failed_took_nothing_back(self) -> None:
        story = succeeded()
        report = story.report([undo_of(story, "failed")])
        assert [one.outcome for one in report.undone_by] == ["failed"]
        assert "taly undo run-1" in commands(report)

    def test_the_undo_of_another_run_is_not_its_own(self) -> None:
        assert succeeded(run="run-9").report([undo_of(succeeded())]).undone_by == ()


@pytest.mark.parametrize(
    ("story", "wanted"),
    [
        (
            succeeded,
            ["status", "undo run-1", "mark", "rescue show", "rescue replay", "unfreeze", "forget"],
        ),
        (failed, ["undo run-1", "mark", "rescue show", "rescue replay", "forget"]),
    ],
)
def test_what_to_do_next(story: Callable[[], Story], wanted: list[str]) -> None:
    given = commands(story().report())
    assert len(given) == len(wanted)
    for command, begin in zip(given, wanted, strict=True):
        assert command.startswith(f"taly {begin}")


def test_an_undo_is_no_restoring_and_leaves_no_release() -> None:
    undo = undo_of(succeeded())
    story = Story(undo.plan, "run-2").begin()
    report = story.end("succeeded").report()
    assert report.left is None
    assert report.times.restore_s is report.times.live_s is None

"""Vercel over real HTTP: roll back → verify → undo → verify, and everything that may go wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from vercel_world import BAD, GOOD, NAME, OLDER, PUSHED, VercelWorld, undone

from taly.errors import VendorRefused, VendorUnavailable
from taly.model.plan import StepKind
from taly.model.ports import Failed, InFlight, Other, Wanted


@contextmanager
def opened(**settings: Any) -> Iterator[VercelWorld]:
    world = VercelWorld(**settings)
    try:
        yield world.history()
    finally:
        world.close()


@pytest.fixture
def vercel() -> Iterator[VercelWorld]:
    with opened() as world:
        yield world


# The whole way ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"rollback_body": True},
        {"assigned_moves": True},
        {"already_current": 422},
        {"alias_lag_s": 60.0},
        {"plan": "hobby"},
    ],
    ids=str,
)
def test_vercel_rolls_back_verifies_undoes_and_verifies(settings: dict[str, Any]) -> None:
    with opened(**settings) as vercel:
        steps = vercel.plan()
        ends = vercel.run_steps(*steps)
        assert [type(end) for end in ends] == [Wanted, Wanted]
        assert isinstance(vercel.verify(*steps), Wanted)
        assert vercel.page().headers["x-taly-commit"] == GOOD
        assert vercel.observe().state == {"deployment": vercel.id_of(GOOD), "auto_assign": False}
        assert len(vercel.writes()) == 1, "Vercel pins itself: the freeze writes nothing"

        back = [undone(step) for step in steps]
        ends = vercel.run_steps(*back)
        assert [type(end) for end in ends] == [Wanted, Wanted]
        assert isinstance(vercel.verify(*back), Wanted)
        assert vercel.page().headers["x-taly-commit"] == BAD
        assert vercel.observe().state == {"deployment": vercel.id_of(BAD), "auto_assign": True}
        assert len(vercel.writes()) == 2


def test_vercel_undo_restores_a_project_that_was_rolled_back_already(vercel: VercelWorld) -> None:
    vercel.change("auto-assign", on=False)
    steps = vercel.plan()
    vercel.run_steps(*steps)
    back = [undone(step) for step in steps]
    vercel.run_steps(*back)
    assert vercel.observe().state == {"deployment": vercel.id_of(BAD), "auto_assign": False}
    assert [call.target.split("/")[4] for call in vercel.writes()] == ["rollback", "rollback"]


def test_vercel_thaw_keeps_what_is_live(vercel: VercelWorld) -> None:
    roll, freeze = vercel.plan()
    vercel.run_steps(roll, freeze)
    thaw = undone(freeze)
    (end,) = vercel.run_steps(thaw)
    assert isinstance(end, Wanted)
    assert vercel.observe().state == {"deployment": vercel.id_of(GOOD), "auto_assign": True}


def test_vercel_rollback_uses_rollback_and_undo_promote(vercel: VercelWorld) -> None:
    """Promote turns auto-assignment on again: right for undo, wrong for a rollback."""
    roll, _ = vercel.plan()
    vercel.run_steps(roll, undone(roll))
    verbs = [call.target.split("/")[4] for call in vercel.writes()]
    assert verbs == ["rollback", "promote"]


def test_vercel_pushes_after_a_rollback_stay_staged_and_the_notes_say_so(
    vercel: VercelWorld,
) -> None:
    vercel.run_steps(*vercel.plan())
    vercel.push(PUSHED)
    vercel.wait(lambda: vercel.data["builds"][-1]["state"] == "READY")
    assert vercel.data["builds"][-1]["substate"] == "STAGED"
    seen = vercel.observe()
    assert seen.live.commit == GOOD
    assert vercel.deployment(PUSHED, seen).live == ()
    assert any("stay staged" in note for note in seen.notes)
    assert seen.auto_deploy is False


# 201 is not done; the vendor's succeeded is not proof -----------------------------------------


def test_vercel_201_is_not_taken_as_done(vercel: VercelWorld) -> None:
    step = vercel.step()
    attempt = vercel.do(step)
    assert attempt.receipt["status"] == "201"
    assert isinstance(vercel.provider.probe(step, attempt), InFlight)
    assert vercel.page().headers["x-taly-commit"] == BAD
    assert isinstance(vercel.settled(step, attempt), Wanted)


def test_vercel_stale_succeeded_job_of_another_deployment_is_a_failure(
    vercel: VercelWorld,
) -> None:
    vercel.fault("alias-job-stale")
    _ends_as_failure(vercel, "shows a succeeded rollback")


def test_vercel_absent_job_is_a_failure(vercel: VercelWorld) -> None:
    vercel.fault("alias-job-absent")
    _ends_as_failure(vercel, "no job")


def test_vercel_skipped_job_is_a_failure(vercel: VercelWorld) -> None:
    vercel.fault("alias-job-skipped")
    _ends_as_failure(vercel, "ended as skipped")


def test_vercel_failed_job_is_a_failure_that_names_the_aliases(vercel: VercelWorld) -> None:
    vercel.fault("alias-job-failed")
    _ends_as_failure(vercel, "web.example.com")


def test_vercel_succeeded_job_that_moved_nothing_is_a_failure(vercel: VercelWorld) -> None:
    vercel.fault("job-false-success")
    _ends_as_failure(vercel, "web.vercel.app shows")


def test_vercel_one_alias_left_behind_is_a_failure_that_names_it(vercel: VercelWorld) -> None:
    vercel.fault("alias-partial")
    _ends_as_failure(vercel, "web.example.com shows")
    assert vercel.page().headers["x-taly-commit"] == GOOD
    assert vercel.page("web.example.com").headers["x-taly-commit"] == BAD
    seen = vercel.observe()
    assert set(seen.live.candidates) == {vercel.id_of(GOOD), vercel.id_of(BAD)}
    assert seen.live.id == vercel.id_of(BAD), "there is still something to do"
    assert any("disagree" in note for note in seen.notes)


def _ends_as_failure(vercel: VercelWorld, said: str) -> None:
    step = vercel.step()
    attempt = vercel.do(step)
    assert attempt.receipt["status"] == "201"
    end = vercel.settled(step, attempt)
    assert isinstance(end, Failed), end
    assert said in end.reason
    verify = vercel.verify(step)
    assert isinstance(verify, Other), "verification without an attempt must not believe it either"


def test_vercel_custom_alias_made_by_hand_is_a_failure_that_preflight_foretold(
    vercel: VercelWorld,
) -> None:
    vercel.change("alias", domain="shop.example.org")
    step = vercel.step()
    codes = {finding.code: finding for finding in vercel.provider.check(step)}
    assert "shop.example.org" in codes["vercel-alias-uncovered"].text
    end = vercel.settled(step, vercel.do(step), virtual_s=60)
    assert isinstance(end, Failed)
    assert "shop.example.org shows" in end.reason


def test_vercel_alias_pinned_elsewhere_on_purpose_and_redirects_do_not_count(
    vercel: VercelWorld,
) -> None:
    vercel.change("alias", domain="old.example.org", commit=OLDER)
    vercel.change("redirect", domain="www.example.com")
    assert vercel.observe().live.candidates == ()
    steps = vercel.plan()
    assert [type(end) for end in vercel.run_steps(*steps)] == [Wanted, Wanted]
    assert isinstance(vercel.verify(*steps), Wanted)


# Lost requests, lost replies, other people ----------------------------------------------------


def test_vercel_lost_reply_is_found_out_not_repeated(vercel: VercelWorld) -> None:
    step = vercel.step()
    vercel.fault("lose-reply", call="/rollback/")
    attempt = vercel.do(step)
    assert attempt.receipt == {}
    assert isinstance(vercel.provider.probe(step, attempt), InFlight)
    assert isinstance(vercel.settled(step, attempt), Wanted)
    assert len(vercel.writes()) == 1


def test_vercel_lost_reply_of_a_job_that_then_fails_is_a_failure(vercel: VercelWorld) -> None:
    step = vercel.step()
    vercel.fault("lose-reply", call="/rollback/")
    vercel.fault("alias-job-failed")
    assert isinstance(vercel.settled(step, vercel.do(step)), Failed)


def test_vercel_lost_request_is_told_apart_at_once(vercel: VercelWorld) -> None:
    step = vercel.step()
    vercel.fault("lose-request", call="/rollback/")
    attempt = vercel.do(step)
    assert isinstance(vercel.provider.probe(step, attempt), Other)
    assert vercel.writes() == []


def test_vercel_older_job_to_the_same_target_is_not_ours(vercel: VercelWorld) -> None:
    """An hour ago the same rollback failed; now our request was lost. That failure says nothing."""
    vercel.fault("alias-job-failed")
    vercel.change("rollback", commit=GOOD)
    vercel.clock.sleep(3600)
    step = vercel.step()
    vercel.fault("lose-request", call="/rollback/")
    assert isinstance(vercel.provider.probe(step, vercel.do(step)), Other)


@pytest.mark.parametrize("ahead_s", [-3600, 3600])
def test_vercel_clocks_that_differ_by_an_hour_do_not_matter(
    vercel: VercelWorld, ahead_s: float
) -> None:
    vercel.clock.ahead_s = ahead_s
    step = vercel.step()
    attempt = vercel.do(step)
    assert isinstance(vercel.provider.probe(step, attempt), InFlight)
    assert isinstance(vercel.settled(step, attempt), Wanted)
    vercel.fault("alias-job-failed")
    back = undone(step)
    end = vercel.settled(back, vercel.do(back), virtual_s=60)
    assert isinstance(end, Failed)
    assert "ended as failed" in end.reason, "the job was recognised as ours"


def test_vercel_write_is_sent_once_whatever_comes_back(vercel: VercelWorld) -> None:
    step = vercel.step()
    vercel.fault("refuse", call="/rollback/", status=503, count=9)
    with pytest.raises(VendorUnavailable):
        vercel.provider.act(step, "run-1:x")
    assert len([c for c in vercel.world.journal.calls() if c.method == "POST"]) == 1


def test_vercel_reads_wait_out_retry_after(vercel: VercelWorld) -> None:
    vercel.fault("refuse", status=429, count=2)
    before = vercel.clock.now()
    assert vercel.observe().live.commit == BAD
    assert (vercel.clock.now() - before).total_seconds() >= 2


def test_vercel_job_of_someone_else_toward_the_same_target_is_adopted(
    vercel: VercelWorld,
) -> None:
    step = vercel.step()
    vercel.change("rollback", commit=GOOD)
    seen = vercel.provider.probe(step, None)
    assert isinstance(seen, InFlight)
    assert seen.same_target
    assert isinstance(vercel.settled(step, None), Wanted)
    assert vercel.writes() == []


def test_vercel_job_of_someone_else_elsewhere_is_waited_out(vercel: VercelWorld) -> None:
    vercel.change("rollback", commit=OLDER)
    cancel, roll, freeze = vercel.plan()
    assert cancel.kind is StepKind.CANCEL
    assert roll.needs == (cancel.id,)
    seen = vercel.provider.probe(roll, None)
    assert isinstance(seen, InFlight)
    assert not seen.same_target
    with pytest.raises(VendorRefused) as refused:
        vercel.provider.act(roll, "run-1:x")
    assert refused.value.reference == "vercel-conflict"
    assert [type(end) for end in vercel.run_steps(cancel, roll, freeze)] == [Wanted] * 3
    assert vercel.page().headers["x-taly-commit"] == GOOD


def test_vercel_newer_job_of_someone_else_ends_ours(vercel: VercelWorld) -> None:
    vercel.fault("job-false-success")
    step = vercel.step()
    attempt = vercel.do(step)
    vercel.wait(lambda: vercel.data["job"]["status"] == "succeeded")
    vercel.change("rollback", commit=OLDER)
    vercel.wait(lambda: vercel.data["aliases"][0]["deployment"] == vercel.id_of(OLDER))
    end = vercel.settled(step, attempt)
    assert isinstance(end, Failed)
    assert "someone else" in end.reason


def test_vercel_only_the_setting_is_missing(vercel: VercelWorld) -> None:
    """Someone promoted the target while we waited: a rollback to it would be refused."""
    step = vercel.step()
    vercel.change("promote", commit=GOOD)
    vercel.wait(lambda: vercel.data["aliases"][0]["deployment"] == vercel.id_of(GOOD))
    seen = vercel.provider.probe(step, None)
    assert isinstance(seen, Other)
    (end,) = vercel.run_steps(step)
    assert isinstance(end, Wanted)
    assert [call.method for call in vercel.writes()] == ["PATCH"]


# In flight: builds, rolling releases -----------------------------------------------------------


def test_vercel_build_in_flight_is_cancelled_before_it_publishes(vercel: VercelWorld) -> None:
    vercel.push(PUSHED)
    seen = vercel.observe()
    assert [operation.cancellable for operation in seen.in_flight] == [True]
    cancel, roll, freeze = vercel.plan()
    assert [type(end) for end in vercel.run_steps(cancel, roll, freeze)] == [Wanted] * 3
    assert vercel.data["builds"][-1]["state"] == "CANCELED"
    vercel.clock.sleep(120)
    assert vercel.observe().live.commit == GOOD


def test_vercel_build_that_ended_by_itself_needs_no_cancel(vercel: VercelWorld) -> None:
    vercel.push(PUSHED)
    cancel, *_ = vercel.plan()
    vercel.wait(lambda: vercel.data["builds"][-1]["state"] == "READY")
    assert isinstance(vercel.provider.probe(cancel, None), Wanted)
    with pytest.raises(VendorRefused):
        vercel.provider.act(cancel, "run-1:x")


def test_vercel_build_that_only_stages_is_left_alone(vercel: VercelWorld) -> None:
    vercel.change("auto-assign", on=False)
    vercel.push(PUSHED)
    assert vercel.observe().in_flight == ()


def test_vercel_active_rolling_release_is_stopped_by_one_rollback(vercel: VercelWorld) -> None:
    vercel.change("auto-assign", on=False)
    vercel.push(PUSHED)
    vercel.wait(lambda: vercel.data["builds"][-1]["state"] == "READY")
    vercel.change("rolling-release", commit=PUSHED)
    seen = vercel.observe()
    assert [one.toward for one in seen.in_flight] == [vercel.id_of(PUSHED)]
    assert seen.live.commit == BAD
    steps = vercel.plan()
    codes = [finding.code for finding in vercel.provider.check(steps[1])]
    assert codes == ["vercel-rolling-release"]
    assert [type(end) for end in vercel.run_steps(*steps)] == [Wanted] * 3
    assert vercel.data["rollout"]["state"] == "ABORTED"
    assert len(vercel.writes()) == 1
    assert vercel.observe().in_flight == ()


def test_vercel_canary_traffic_means_not_yet_as_wanted(vercel: VercelWorld) -> None:
    steps = vercel.plan()
    vercel.run_steps(*steps)
    vercel.push(PUSHED)
    vercel.wait(lambda: vercel.data["builds"][-1]["state"] == "READY")
    vercel.change("rolling-release", commit=PUSHED)
    assert isinstance(vercel.verify(*steps), Other)


def test_vercel_promote_queued_behind_a_rolling_release_is_waited_for(
    vercel: VercelWorld,
) -> None:
    steps = vercel.plan()
    vercel.run_steps(*steps)
    vercel.push(PUSHED)
    vercel.wait(lambda: vercel.data["builds"][-1]["state"] == "READY")
    vercel.change("rolling-release", commit=PUSHED)
    back = undone(steps[0])
    attempt = vercel.do(back)
    assert attempt.receipt["status"] == "202"
    assert isinstance(vercel.provider.probe(back, attempt), InFlight)
    assert isinstance(vercel.settled(back, attempt, virtual_s=900), Wanted)
    assert vercel.observe().live.commit == BAD
    assert NAME in vercel.world.journal.calls()[-1].component

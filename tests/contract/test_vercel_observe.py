"""What the Vercel provider sees, and what it says before anything is touched."""

from dataclasses import replace
from typing import Any

import pytest
from vercel_world import BAD, GOOD, NAME, OLDER, PUSHED, VercelWorld, make, undone, vercel

from taly.errors import UsageError, VendorRefused, VendorUnavailable
from taly.model.check import Severity
from taly.model.environment import Component
from taly.model.plan import ConfigChange, ConfigChangeKind, StepKind
from taly.model.release import Barred, Confidence, Gone, Restorable, Unobserved
from taly.sandbox.emulator import SandboxComponent

__all__ = ["make", "vercel"]

# What is live, and what was ------------------------------------------------------------------


def test_vercel_observes_live_history_setting_and_address(vercel: VercelWorld) -> None:
    seen = vercel.observe()
    assert seen.live.commit == BAD
    assert seen.live.is_live
    assert seen.live.evidence[0].confidence is Confidence.EXACT
    assert [one.commit for one in seen.history] == [BAD, GOOD, OLDER]
    assert seen.history[1].evidence[0].confidence is Confidence.INFERRED
    assert seen.state == {"deployment": vercel.id_of(BAD), "auto_assign": True}
    assert seen.address["project"] == vercel.data["id"]
    assert seen.address["team"] == "taly"
    assert seen.auto_deploy is True
    assert seen.url == "https://web.example.com"
    assert seen.blocked == ""


def test_vercel_current_is_what_the_aliases_show_not_the_newest(vercel: VercelWorld) -> None:
    vercel.run_steps(*vercel.plan())
    vercel.push(PUSHED)
    vercel.clock.sleep(90)
    seen = vercel.observe()
    assert seen.live.commit == GOOD
    assert seen.history[0].commit == GOOD, "by the time it last went live"


def test_vercel_previous_is_what_served_before_not_what_was_created_before(make: Any) -> None:
    """After a rollback to OLDER and a new push, the one before PUSHED is OLDER, not BAD."""
    vercel: VercelWorld = make()
    for days, commit in ((4, OLDER), (3, GOOD), (2, BAD)):
        vercel.seed(days, commit)
    vercel.run()
    vercel.change("rollback", commit=OLDER)
    vercel.clock.sleep(60)
    vercel.change("promote", commit=OLDER)
    vercel.clock.sleep(60)
    vercel.push(PUSHED)
    vercel.clock.sleep(90)
    assert [one.commit for one in vercel.observe().history] == [PUSHED, OLDER, BAD, GOOD]


@pytest.mark.parametrize("assigned_moves", [False, True])
def test_vercel_live_periods_after_a_rollback(make: Any, assigned_moves: bool) -> None:
    """Whether or not Vercel renews `aliasAssigned`, GOOD has two periods and BAD one that ended."""
    vercel: VercelWorld = make(assigned_moves=assigned_moves)
    vercel.history().run_steps(*vercel.plan())
    seen = vercel.observe()
    good, bad = vercel.deployment(GOOD, seen), vercel.deployment(BAD, seen)
    assert len(good.live) == 2
    assert good.is_live
    assert len(bad.live) == 1
    assert bad.live[0].end == good.live[1].start


def test_vercel_failed_late_deploy_served_and_the_old_one_is_live_again(make: Any) -> None:
    vercel: VercelWorld = make()
    vercel.seed(3, GOOD)
    vercel.seed(2, BAD, "failed-late")
    seen = vercel.run().observe()
    assert seen.live.commit == GOOD
    assert seen.auto_deploy is True
    assert len(vercel.deployment(BAD, seen).live) == 1
    assert len(seen.live.live) == 2


def test_vercel_failed_build_never_served(make: Any) -> None:
    vercel: VercelWorld = make()
    vercel.seed(3, GOOD)
    vercel.seed(2, BAD, "failed")
    seen = vercel.run().observe()
    assert seen.live.commit == GOOD
    bad = vercel.deployment(BAD, seen)
    assert bad.live == ()
    assert isinstance(bad.restorable, Barred)


def test_vercel_every_page_of_the_history_is_read(make: Any) -> None:
    vercel: VercelWorld = make()
    commits = [f"{number:040x}" for number in range(250)]
    for number, commit in enumerate(commits):
        vercel.seed(20 - number * 0.05, commit)
    seen = vercel.run().observe()
    assert [one.commit for one in seen.history] == commits[::-1]
    pages = [c for c in vercel.world.journal.calls() if "/deployments" in c.target]
    assert len(pages) == 3


def test_vercel_unknown_words_of_the_vendor_are_tolerated(vercel: VercelWorld) -> None:
    builds: Any = vercel.emulator._projects[NAME].data.builds
    builds[0].state = "SOMETHING_NEW"
    builds[1].substate = "SOMETHING_ELSE"
    seen = vercel.observe()
    assert seen.live.commit == BAD
    assert vercel.deployment(OLDER, seen).live == ()


def test_vercel_nothing_deployed_is_said_not_crashed_on(make: Any) -> None:
    vercel: VercelWorld = make()
    seen = vercel.run().provider.observe(vercel.component)
    assert isinstance(seen, Unobserved)
    assert seen.reference == "vercel-nothing-live"


# What can be made live again -----------------------------------------------------------------


@pytest.mark.parametrize("gone_listed", [True, False])
def test_vercel_retention_is_found_out_in_preflight(make: Any, gone_listed: bool) -> None:
    """A target that retention removes after planning is refused before anything is touched."""
    vercel: VercelWorld = make(retention_days=5, keep=1, gone_listed=gone_listed)
    vercel.history()
    step = vercel.step()
    vercel.clock.sleep(10 * 86400)
    (finding,) = vercel.provider.check(step)
    assert finding.code == "target-gone"
    assert finding.severity is Severity.ERROR
    with pytest.raises(VendorRefused) as refused:
        vercel.provider.act(step, "run-1:x")
    assert refused.value.reference == "target-gone"
    history = {one.commit: one for one in vercel.observe().history}
    if gone_listed:
        assert isinstance(history[GOOD].restorable, Gone)
    else:
        assert set(history) == {BAD}


def test_vercel_retention_spares_the_newest_and_the_aliased(make: Any) -> None:
    vercel: VercelWorld = make(retention_days=5, keep=2)
    vercel.history()
    vercel.run_steps(vercel.step(commit=OLDER))
    vercel.clock.sleep(10 * 86400)
    gone = {one.commit for one in vercel.observe().history if isinstance(one.restorable, Gone)}
    assert gone == set(), "two newest, and the oldest is aliased"


def test_vercel_hobby_plan_goes_back_one_only(make: Any) -> None:
    vercel: VercelWorld = make(plan="hobby")
    vercel.history()
    seen = vercel.observe()
    assert isinstance(vercel.deployment(GOOD, seen).restorable, Restorable)
    older = vercel.deployment(OLDER, seen).restorable
    assert isinstance(older, Barred)
    assert older.reference == "hobby-limit"
    step = vercel.step(commit=OLDER)
    assert "hobby-limit" in [finding.code for finding in vercel.provider.check(step)]
    assert vercel.provider.check(vercel.step(commit=GOOD)) == ()
    with pytest.raises(VendorRefused) as refused:
        vercel.provider.act(step, "run-1:x")
    assert refused.value.reference == "hobby-limit"


def test_vercel_staged_deployment_never_served(vercel: VercelWorld) -> None:
    vercel.change("auto-assign", on=False)
    vercel.push(PUSHED)
    vercel.clock.sleep(90)
    seen = vercel.observe()
    staged = vercel.deployment(PUSHED, seen)
    assert isinstance(staged.restorable, Barred)
    assert staged.restorable.reference == "never-served"
    step = replace(vercel.step(), wanted={"deployment": vercel.id_of(PUSHED), "auto_assign": False})
    assert [finding.code for finding in vercel.provider.check(step)] == ["never-served"]
    with pytest.raises(VendorRefused) as refused:
        vercel.provider.act(step, "run-1:x")
    assert refused.value.reference == "vercel-invalid-target"


# Every refusal has its own name ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "reference"),
    [
        (400, "vercel-bad-request"),
        (401, "vercel-token-invalid"),
        (402, "hobby-limit"),
        (403, "vercel-scope"),
        (404, "vercel-not-found"),
        (409, "vercel-conflict"),
        (410, "target-gone"),
        (422, "vercel-invalid-target"),
    ],
)
def test_vercel_refusals_are_told_apart(vercel: VercelWorld, status: int, reference: str) -> None:
    step = vercel.step()
    vercel.fault("refuse", call="/rollback/", status=status)
    with pytest.raises(VendorRefused) as refused:
        vercel.provider.act(step, "run-1:x")
    assert refused.value.reference == reference
    assert refused.value.hint


@pytest.mark.parametrize("status", [429, 500, 503])
def test_vercel_passing_failures_of_a_write_leave_the_outcome_unknown(
    vercel: VercelWorld, status: int
) -> None:
    step = vercel.step()
    vercel.fault("refuse", call="/rollback/", status=status)
    with pytest.raises(VendorUnavailable):
        vercel.provider.act(step, "run-1:x")


def test_vercel_text_and_empty_answers_are_not_parsed_as_json(vercel: VercelWorld) -> None:
    assert vercel.request("POST", f"/v1/projects/{NAME}/rollback/{vercel.id_of(GOOD)}").text == ""
    missing = replace(vercel.component, settings={"project": "no/such/thing", "team": "taly"})
    with pytest.raises(VendorRefused):
        vercel.provider.observe(missing)


# Scope -----------------------------------------------------------------------------------------


def test_vercel_team_goes_with_every_request(vercel: VercelWorld) -> None:
    steps = vercel.plan()
    vercel.provider.check(steps[0])
    vercel.provider.differences(vercel.observe(), vercel.deployment(GOOD))
    vercel.run_steps(*steps)
    targets = [call.target for call in vercel.world.journal.calls()]
    assert len(targets) > 10
    assert all("slug=taly" in target for target in targets)


def test_vercel_team_can_be_given_by_id(vercel: VercelWorld) -> None:
    team = vercel.get("/v2/teams/taly").json()["id"]
    component = replace(vercel.component, settings={"project": NAME, "team": team})
    vercel.provider.observe(component)
    assert f"teamId={team}" in vercel.world.journal.calls()[-1].target


def test_vercel_without_its_team_a_project_is_not_found(vercel: VercelWorld) -> None:
    with pytest.raises(VendorRefused) as refused:
        vercel.provider.observe(replace(vercel.component, settings={"project": NAME}))
    assert refused.value.reference == "vercel-not-found"
    assert "team" in refused.value.hint
    assert "the token is sandbox@example.com's" in refused.value.message


def test_vercel_scope_that_the_token_cannot_reach(vercel: VercelWorld) -> None:
    other = replace(vercel.component, settings={"project": NAME, "team": "strangers"})
    with pytest.raises(VendorRefused) as refused:
        vercel.provider.observe(other)
    assert refused.value.reference == "vercel-scope"
    step = replace(vercel.step(), address={**vercel.step().address, "team": "strangers"})
    assert [finding.code for finding in vercel.provider.check(step)] == ["vercel-scope"]


def test_vercel_token_missing_or_invalid(vercel: VercelWorld) -> None:
    with pytest.raises(UsageError) as usage:
        vercel.make_provider(VERCEL_TOKEN="").observe(vercel.component)
    assert usage.value.reference == "vercel-token-missing"
    with pytest.raises(VendorRefused) as refused:
        vercel.make_provider(VERCEL_TOKEN="SANDBOXSECRETinvalid").observe(vercel.component)
    assert refused.value.reference == "vercel-scope"


def test_vercel_setting_missing(vercel: VercelWorld) -> None:
    with pytest.raises(UsageError) as usage:
        vercel.provider.observe(Component(name=NAME, provider="vercel"))
    assert usage.value.reference == "setting-missing"


def test_vercel_role_that_may_not_roll_back_is_foretold(vercel: VercelWorld) -> None:
    vercel.change("role", role="viewer")
    step = vercel.step()
    assert [finding.code for finding in vercel.provider.check(step)] == ["vercel-role"]
    with pytest.raises(VendorRefused) as refused:
        vercel.provider.act(step, "run-1:x")
    assert refused.value.reference == "vercel-scope"


# Preflight ---------------------------------------------------------------------------------------


def test_vercel_preflight_of_a_sound_project_finds_nothing(vercel: VercelWorld) -> None:
    steps = vercel.plan()
    assert [step.kind for step in steps] == [StepKind.ROLL_BACK, StepKind.FREEZE]
    for step in steps:
        assert vercel.provider.check(step) == ()
        assert vercel.provider.check(undone(step)) == ()
    assert vercel.writes() == []


def test_vercel_paused_project_is_blocked(vercel: VercelWorld) -> None:
    step = vercel.step()
    vercel.change("pause")
    assert vercel.observe().blocked
    assert [finding.code for finding in vercel.provider.check(step)] == ["vercel-paused"]
    assert vercel.page().status_code == 503


def test_vercel_other_job_is_foretold(vercel: VercelWorld) -> None:
    step = vercel.step()
    vercel.change("rollback", commit=OLDER)
    assert [finding.code for finding in vercel.provider.check(step)] == ["vercel-conflict"]
    (operation,) = vercel.observe().in_flight
    assert operation.toward == vercel.id_of(OLDER)


def test_vercel_prior_setting_is_recorded_for_undo(vercel: VercelWorld) -> None:
    vercel.change("auto-assign", on=False)
    steps = vercel.plan()
    assert {step.kind: step.before["auto_assign"] for step in steps} == {
        StepKind.ROLL_BACK: False,
        StepKind.FREEZE: False,
    }
    assert all(set(step.wanted) <= set(vercel.observe().state) for step in steps)


def test_vercel_preview_of_another_project_is_no_target(vercel: VercelWorld) -> None:
    vercel.emulator.add(SandboxComponent(name="other", vendor="vercel"))
    step = replace(vercel.step(), wanted={"deployment": "dpl_unknown", "auto_assign": False})
    assert [finding.code for finding in vercel.provider.check(step)] == ["target-gone"]


# What else differs -------------------------------------------------------------------------------


def test_vercel_environment_variables_are_not_claimed_to_be_rolled_back(make: Any) -> None:
    vercel: VercelWorld = make()
    vercel.seed(3, OLDER)
    vercel.seed(2, GOOD)
    vercel.seed(1, BAD, env=["API_URL", "NEW_FLAG"])
    vercel.run()
    seen = vercel.observe()
    found = vercel.provider.differences(seen, vercel.deployment(GOOD, seen))
    assert found.config == (
        ConfigChange(name="API_URL", kind=ConfigChangeKind.CHANGED),
        ConfigChange(name="NEW_FLAG", kind=ConfigChangeKind.REMOVED),
    )
    assert any("as they were when it was built" in note for note in found.notes)
    assert any("stay staged until" in note for note in found.notes)
    vercel.run_steps(*vercel.plan())
    assert len(vercel.data["env"]) == 3, "the project's settings are as they were"

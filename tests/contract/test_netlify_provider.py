"""What the Netlify provider sees, plans, checks and refuses, over real HTTP."""

from dataclasses import replace
from datetime import timedelta

import pytest
from netlify_stage import (
    BAD,
    R1,
    R2,
    R3,
    R4,
    SITE,
    TOKEN,
    MakeStage,
    Stage,
    make_stage,
    stage,
    undone,
)

from taly.errors import UsageError, VendorRefused, VendorUnavailable
from taly.model.check import Severity
from taly.model.plan import StepKind
from taly.model.release import Barred, Confidence, Observed, Restorable, Unobserved
from taly.sandbox.emulator import SandboxComponent

__all__ = ["make_stage", "stage"]


def codes(stage: Stage, commit: str = R3) -> list[str]:
    return [finding.code for finding in stage.provider.check(stage.plan(commit)[0])]


def test_netlify_observes_what_is_live_and_what_was(stage: Stage) -> None:
    seen = stage.observe()
    assert seen.live.commit == R4
    assert [one.commit for one in seen.history] == [R4, R3, R2, R1]
    assert seen.state == {"deploy": stage.deploy_id(R4), "locked": False}
    assert seen.auto_deploy is True
    assert seen.address["site"] == stage.site_id()
    assert seen.url == stage.emulator.url(SITE)
    ends = [one.live[-1].end for one in reversed(seen.history)]
    assert ends == [*(one.live[0].start for one in reversed(seen.history[:-1])), None]
    assert stage.writes() == []


def test_netlify_current_is_the_published_deploy_not_the_newest(make_stage: MakeStage) -> None:
    """Naive line 2: a newer production deploy was built and is not published."""
    stage = make_stage()
    stage.emulator.change(SITE, {"kind": "lock"})
    stage.seed(0.5, BAD)
    stage.run()
    seen = stage.observe()
    assert seen.live.commit == R4
    newest = next(one for one in seen.history if one.commit == BAD)
    assert newest.live == ()


def test_netlify_previous_is_by_publication_not_by_creation(make_stage: MakeStage) -> None:
    """Naive line 3: after a restore by hand created_at says the wrong order."""
    stage = make_stage()
    stage.world.clock.seek(stage.now - timedelta(hours=12))
    stage.emulator.change(SITE, {"kind": "restore", "commit": R2})
    stage.run()
    seen = stage.observe()
    assert [one.commit for one in seen.history[:2]] == [R2, R4]
    assert [period.end is None for period in seen.live.live] == [False, True]
    assert seen.live.evidence[0].confidence is Confidence.INFERRED
    assert "inferred" in seen.live.evidence[0].says


def test_netlify_a_deploy_in_state_old_is_restorable(stage: Stage) -> None:
    """Naive line 4: only state=ready."""
    oldest = stage.target(R1)
    assert oldest.details["state"] == "old"
    assert isinstance(oldest.restorable, Restorable)
    for step in stage.steps_to(oldest):
        stage.do(step)
    assert stage.page().headers["x-taly-commit"] == R1


def test_netlify_a_state_never_seen_before_is_borne(stage: Stage) -> None:
    """Naive line 4: crashes on unknown enums."""
    stage.fault("unknown-state")
    seen = stage.observe()
    strange = next(one for one in seen.history if one.details["state"] == "reticulating")
    assert isinstance(strange.restorable, Barred)
    assert "reticulating" in strange.restorable.reason
    assert any("reticulating" in note for note in seen.notes)
    assert seen.live.commit == R4


def test_netlify_every_page_is_read(make_stage: MakeStage) -> None:
    """Naive line 5: the first page only."""
    stage = make_stage()
    for number in range(210):
        stage.seed(0.5, f"{number:040x}", "failed")
    stage.run()
    commits = [one.commit for one in stage.observe().history]
    assert len(commits) == 214
    assert R1 in commits


def test_netlify_retention_is_known_before_anything_is_touched(make_stage: MakeStage) -> None:
    """Naive line 14: the target's expected end is in the history and warned about."""
    stage = make_stage({"plan": "free"}, first_days_ago=29.5).run()
    old = stage.target(R1)
    assert isinstance(old.restorable, Restorable)
    assert old.restorable.until is not None
    assert old.restorable.until - stage.clock.now() < timedelta(days=1)
    found = stage.provider.check(stage.steps_to(old)[0])
    assert [one.code for one in found] == ["retention-soon"]
    assert found[0].severity is Severity.WARNING
    assert isinstance(stage.target(R4).restorable, Restorable)
    assert stage.target(R4).restorable == Restorable()


def test_netlify_a_target_that_has_been_deleted_is_found_before_anything_is_touched(
    stage: Stage,
) -> None:
    """Naive line 14."""
    steps = stage.plan(R3)
    stage.emulator.change(SITE, {"kind": "delete", "commit": R3})
    found = stage.provider.check(steps[0])
    assert [one.code for one in found] == ["target-gone"]
    assert found[0].severity is Severity.ERROR
    assert stage.writes() == []


def test_netlify_a_build_that_started_after_the_plan_is_found(make_stage: MakeStage) -> None:
    """Naive line 8."""
    stage = make_stage({"build_s": 9000.0}).run()
    steps = stage.plan(R3)
    assert stage.provider.check(steps[0]) == ()
    stage.push(BAD)
    assert [one.code for one in stage.provider.check(steps[0])] == ["operation-in-flight"]
    later = next(step for step in stage.plan(R3) if step.kind is StepKind.ROLL_BACK)
    assert stage.provider.check(later) == ()


def test_netlify_a_failed_or_foreign_target_is_found(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.seed(0.5, BAD, "failed")
    stage.emulator.add(SandboxComponent(name="other", vendor="netlify"))
    stage.run()
    assert codes(stage, BAD) == ["target-barred"]
    step = replace(stage.plan(R3)[0], address={"site": stage.emulator.settings("other")["site"]})
    assert [one.code for one in stage.provider.check(step)] == ["target-gone"]


def test_netlify_every_refusal_has_its_own_name_and_hint(stage: Stage) -> None:
    """Naive line 13: 401, 403, 404, 422 all mapped alike."""
    roll_back, freeze = stage.plan(R3)
    named = {}
    for what, step, change in (
        ("no access", roll_back, {"kind": "access", "level": "read"}),
        ("no lock", replace(freeze, wanted={"locked": True}), {"kind": "access", "level": "read"}),
        ("gone", roll_back, {"kind": "delete", "commit": R3}),
    ):
        stage.emulator.change(SITE, change)
        with pytest.raises(VendorRefused) as refused:
            stage.provider.act(step, "run:step")
        assert refused.value.hint
        named[what] = refused.value.reference
        stage.emulator.change(SITE, {"kind": "access", "level": "full"})
    with pytest.raises(VendorRefused) as refused:
        stage.make_provider(NETLIFY_AUTH_TOKEN="SANDBOXSECRETwrong").observe(stage.component)
    named["bad token"] = refused.value.reference
    assert named == {
        "no access": "netlify-forbidden",
        "no lock": "netlify-lock-refused",
        "gone": "target-gone",
        "bad token": "netlify-token-invalid",
    }
    assert stage.writes() == []


@pytest.mark.parametrize(
    ("status", "reference"),
    [
        (401, "netlify-token-invalid"),
        (402, "netlify-plan-limit"),
        (403, "netlify-forbidden"),
        (404, "target-gone"),
        (409, "netlify-conflict"),
        (410, "target-gone"),
        (422, "netlify-restore-refused"),
    ],
)
def test_netlify_each_status_of_a_restore_means_something_else(
    stage: Stage, status: int, reference: str
) -> None:
    """Naive line 13."""
    roll_back, _ = stage.plan(R3)
    stage.fault("refuse", status=status, call="/restore")
    with pytest.raises(VendorRefused) as refused:
        stage.provider.act(roll_back, "run:step")
    assert refused.value.reference == reference


@pytest.mark.parametrize("status", [429, 500, 503])
def test_netlify_a_passing_answer_to_a_write_leaves_its_outcome_open(
    stage: Stage, status: int
) -> None:
    """Naive line 12: such a write is never sent again by itself."""
    roll_back, _ = stage.plan(R3)
    stage.fault("refuse", status=status, call="/restore")
    with pytest.raises(VendorUnavailable):
        stage.provider.act(roll_back, "run:step")
    calls = [call for call in stage.world.journal.calls() if call.target.endswith("/restore")]
    assert len(calls) == 1


def test_netlify_a_dead_token_is_a_finding_not_a_crash(stage: Stage) -> None:
    step = stage.plan(R3)[0]
    wrong = stage.make_provider(NETLIFY_AUTH_TOKEN="SANDBOXSECRETwrong")
    assert [one.code for one in wrong.check(step)] == ["netlify-token-invalid"]
    stage.emulator.change(SITE, {"kind": "access", "level": "none"})
    (found,) = stage.provider.check(step)
    assert found.code == "netlify-forbidden"
    assert "the token is sandbox@example.com's" in found.text


def test_netlify_a_text_answer_is_not_parsed_as_json(stage: Stage) -> None:
    """Naive line 16: the plain-text 404, and a 204."""
    elsewhere = stage.make_provider(NETLIFY_API_URL=stage.listener.url + "/api/v0")
    with pytest.raises(VendorRefused, match="Not Found") as refused:
        elsewhere.observe(stage.component)
    assert refused.value.reference == "netlify-not-found"


def test_netlify_an_answer_that_is_not_the_api_is_unavailable(stage: Stage) -> None:
    """Naive line 16: HTML with status 200, as a proxy's log-in page answers."""
    page = stage.make_provider(NETLIFY_API_URL=stage.emulator.url(SITE) + "/x")
    stage.emulator.change(SITE, {"kind": "restore", "commit": R3})
    with pytest.raises(VendorUnavailable, match="not what the API documents"):
        page.observe(stage.component)


def test_netlify_variables_are_not_claimed_to_be_rolled_back(make_stage: MakeStage) -> None:
    """Naive line 17."""
    stage = make_stage()
    stage.world.clock.seek(stage.now - timedelta(days=2))
    stage.emulator.change(SITE, {"kind": "env", "set": {"API_URL": "https://new.example"}})
    stage.run()
    before = stage.observe()
    differences = stage.provider.differences(before, stage.target(R3))
    assert [change.name for change in differences.config] == ["API_URL"]
    assert any("stay those of the old build" in note for note in differences.notes)
    assert "new.example" not in repr(differences)
    assert stage.provider.differences(before, before.live).config == ()


def test_netlify_says_that_pushes_stay_unpublished(stage: Stage) -> None:
    """Naive line 9, Netlify's side of it."""
    notes = stage.provider.differences(stage.observe(), stage.target(R3)).notes
    assert any("built and not published" in note for note in notes)
    for step in stage.plan(R3):
        stage.do(step)
    seen = stage.observe()
    assert seen.auto_deploy is False
    assert any("published only by hand" in note for note in seen.notes)


def test_netlify_rate_limit_is_waited_out_by_its_reset_time(make_stage: MakeStage) -> None:
    """Naive line 18: Netlify says when in Unix seconds, not with Retry-After."""
    stage = make_stage(speed=300.0).run()
    stage.emulator.change(SITE, {"kind": "rate-limit", "limit": 2})
    began = stage.clock.now()
    seen = [stage.observe() for _ in range(3)]
    assert all(isinstance(one, Observed) for one in seen)
    statuses = [call.status for call in stage.world.journal.calls()]
    assert statuses.count(200) == 6
    assert 1 <= statuses.count(429) <= 3
    assert stage.clock.now() - began > timedelta(seconds=55)


def test_netlify_state_before_matches_the_observed_state(make_stage: MakeStage) -> None:
    """Preflight finds drift by comparing them, so every key must be there."""
    stage = make_stage({"build_s": 9000.0})
    stage.emulator.change(SITE, {"kind": "lock"})
    stage.run()
    stage.push(BAD)
    seen, steps = stage.observe(), stage.plan(R3)
    assert {step.kind for step in steps} >= {StepKind.THAW, StepKind.ROLL_BACK, StepKind.FREEZE}
    for step in steps:
        assert step.before.keys() == step.wanted.keys()
        assert {key: seen.state.get(key) for key in step.before} == step.before


def test_netlify_a_cancelled_build_cannot_be_asked_back(make_stage: MakeStage) -> None:
    stage = make_stage({"build_s": 9000.0}).run()
    stage.push(BAD)
    cancel = stage.plan(R3)[0]
    stage.do(cancel)
    with pytest.raises(VendorRefused) as refused:
        stage.provider.act(replace(cancel, wanted=cancel.before), "run:step")
    assert refused.value.reference == "netlify-cancel-final"


def test_netlify_stopped_builds_are_said(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.emulator.change(SITE, {"kind": "stop-builds"})
    stage.run()
    seen = stage.observe()
    assert seen.auto_deploy is False
    assert any("not built at all" in note for note in seen.notes)


def test_netlify_a_site_without_deploys_is_unobserved(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.emulator.add(SandboxComponent(name="empty", vendor="netlify"))
    stage.run()
    component = replace(stage.component, settings=stage.emulator.settings("empty"))
    seen = stage.provider.observe(component)
    assert isinstance(seen, Unobserved)
    assert seen.reference == "netlify-nothing-published"


def test_netlify_missing_credentials_or_settings_are_usage_errors(stage: Stage) -> None:
    with pytest.raises(UsageError) as error:
        stage.make_provider(NETLIFY_AUTH_TOKEN="").observe(stage.component)
    assert error.value.reference == "netlify-token-missing"
    assert "NETLIFY_AUTH_TOKEN" in error.value.hint
    with pytest.raises(UsageError):
        stage.provider.observe(replace(stage.component, settings={}))


def test_netlify_the_api_url_may_be_a_bare_host_as_for_the_vendors_cli(stage: Stage) -> None:
    bare = stage.make_provider(NETLIFY_API_URL=stage.listener.url)
    assert isinstance(bare.observe(stage.component), Observed)


def test_netlify_the_token_is_in_nothing_that_is_kept(stage: Stage) -> None:
    steps = stage.plan(R3)
    receipts = [stage.provider.act(step, "run:step") for step in steps[:1]]
    kept = repr((stage.observe(), steps, undone(steps, {}), receipts, stage.world.journal.calls()))
    assert TOKEN not in kept

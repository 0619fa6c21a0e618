"""The planner: what a plan does with each component, in which order, and what it refuses."""

from dataclasses import replace
from datetime import timedelta

import pytest
from factories import (
    at,
    deployment,
    environment,
    fake_steps,
    observed,
    ran,
    releases,
    snapshot,
)

from taly.errors import UsageError
from taly.model.check import Finding, Severity
from taly.model.environment import Component, Environment, HealthCheck
from taly.model.plan import ConfigChange, ConfigChangeKind, Disposition, Migration, Plan, StepKind
from taly.model.ports import Differences
from taly.model.release import (
    Deployment,
    Gone,
    Mark,
    Observation,
    Observed,
    Operation,
    Restorable,
    Unobserved,
)
from taly.planning.digest import digest, is_intact
from taly.planning.planner import PlanOptions, make_plan
from taly.planning.preflight import refuses

A, B = "a1" * 20, "b2" * 20
DAY = 24 * 60.0
WEB = ran("web", (0, "w1", A), (DAY, "w2", B))
API = ran("api", (1, "a1", A), (DAY + 1, "a2", B))
DB = ran("db", (0, "m1"), (DAY, "m2"))
PLATFORM = environment(
    Component(name="db", provider="fake"),
    Component(name="api", provider="fake", after=("db",)),
    Component(name="web", provider="fake", after=("api",)),
)


def plan_with(
    *seen: Observation,
    to: str = "R1",
    of: Environment | None = None,
    differences: dict[str, Differences] | None = None,
    options: PlanOptions | None = None,
    marks: dict[str, tuple[Mark, str]] | None = None,
    minute: float = 10_000,
) -> Plan:
    known = releases(*seen, of=of, marks=marks)
    target = known.named(to)
    assert target is not None
    env = of or environment(*(one.component for one in seen))
    return make_plan(
        env,
        snapshot(*seen, minute=minute),
        target,
        known.live,
        "because",
        fake_steps,
        differences or {},
        options or PlanOptions(),
        releases=known.all,
    )


def codes(plan: Plan, severity: Severity | None = None) -> list[str]:
    return [f.code for f in plan.findings if severity in (None, f.severity)]


def found(plan: Plan, code: str) -> Finding:
    (one,) = [f for f in plan.findings if f.code == code]
    return one


def disposition(plan: Plan, component: str) -> Disposition:
    (one,) = [part.disposition for part in plan.components if part.component == component]
    return one


def test_each_component_is_rolled_back_then_frozen_then_verified_then_all_together() -> None:
    plan = plan_with(WEB, API)
    assert {step.id for step in plan.steps} == {
        "roll-back:web", "freeze:web", "verify:web",
        "roll-back:api", "freeze:api", "verify:api",
        "verify-all",
    }  # fmt: skip
    assert plan.step("verify:web").needs == ("roll-back:web", "freeze:web")
    assert set(plan.step("verify-all").needs) == {"verify:web", "verify:api"}
    assert plan.step("verify:web").wanted == {"deployment": "w1", "auto_deploy": False}
    assert not refuses(plan.findings)


def test_the_rollback_goes_in_the_reverse_of_the_deploys_order() -> None:
    plan = plan_with(DB, API, WEB, of=PLATFORM)
    assert plan.step("roll-back:web").needs == ()
    assert plan.step("roll-back:api").needs == ("roll-back:web",)
    assert plan.step("roll-back:db").needs == ("roll-back:api",)


def test_the_next_wave_does_not_wait_for_verification_or_freezing() -> None:
    needs = plan_with(DB, API, WEB, of=PLATFORM).step("roll-back:api").needs
    assert not {"verify:web", "freeze:web"} & set(needs)


def test_a_component_that_stays_passes_the_order_on() -> None:
    plan = plan_with(DB, API, WEB, of=PLATFORM, options=PlanOptions(skip=frozenset({"api"})))
    assert plan.step("roll-back:db").needs == ("roll-back:web",)


def test_components_that_are_there_already_are_left_alone_and_verified() -> None:
    plan = plan_with(WEB, ran("api", (1, "a1", A)))
    assert disposition(plan, "api") is Disposition.ALREADY_THERE
    assert [step.id for step in plan.steps if step.component == "api"] == ["verify:api"]
    assert plan.step("verify:api").wanted == {"deployment": "a1", "auto_deploy": True}
    assert found(plan, "auto-deploy-on").component == "api"


def test_untouched_components_can_be_frozen_too() -> None:
    plan = plan_with(WEB, ran("api", (1, "a1", A)), options=PlanOptions(freeze_untouched=True))
    own = [step.id for step in plan.steps if step.component == "api"]
    assert own == ["freeze:api", "verify:api"]
    assert "auto-deploy-on" not in codes(plan)


def test_only_and_skip_leave_the_others_alone() -> None:
    for options in (PlanOptions(only=frozenset({"web"})), PlanOptions(skip=frozenset({"api"}))):
        plan = plan_with(WEB, API, options=options)
        assert {step.component for step in plan.steps} == {"web", ""}
        assert disposition(plan, "api") is Disposition.SKIPPED


def test_a_component_that_does_not_exist_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="wbe"):
        plan_with(WEB, options=PlanOptions(only=frozenset({"wbe"})))


def test_nothing_to_do_is_said() -> None:
    plan = plan_with(ran("web", (0, "w1", A)))
    assert "nothing-to-do" in codes(plan)
    assert [step.kind for step in plan.steps] == [StepKind.VERIFY, StepKind.VERIFY_ALL]


class TestRefusals:
    def lost(self, seen: Observed, id_: str) -> Observed:
        def change(one: Deployment) -> Deployment:
            return replace(one, restorable=Gone(reason="expired")) if one.id == id_ else one

        return replace(seen, history=tuple(change(one) for one in seen.history))

    def test_a_target_that_is_gone_names_the_nearest_release_that_works(self) -> None:
        web = ran("web", (0, "w0"), (DAY, "w1"), (2 * DAY, "w2"))
        api = ran("api", (1, "a0"), (DAY + 1, "a1"), (2 * DAY + 1, "a2"))
        plan = plan_with(web, self.lost(api, "a1"), to="R2")
        gone = found(plan, "target-gone")
        assert gone.component == "api"
        assert "1 of 2 components can go to R2; api can go to R1." in gone.text
        assert gone.hint == "taly plan --to R1"
        assert disposition(plan, "api") is Disposition.REFUSED
        assert refuses(plan.findings)

    def test_everything_that_is_wrong_is_said_at_once(self) -> None:
        down = Unobserved(component="db", reason="no answer", reference="database-unreachable")
        blocked = replace(WEB, blocked="the site is disabled")
        plan = plan_with(blocked, self.lost(API, "a1"), down)
        assert set(codes(plan, Severity.ERROR)) == {
            "component-blocked", "target-gone", "component-unknown",
        }  # fmt: skip

    def test_the_steps_of_the_others_stay_to_be_checked(self) -> None:
        plan = plan_with(WEB, self.lost(API, "a1"))
        assert {step.component for step in plan.steps} == {"web", ""}

    def test_an_unobserved_component_may_be_left_out(self) -> None:
        down = Unobserved(component="db", reason="no answer", reference="x")
        plan = plan_with(WEB, down, options=PlanOptions(skip=frozenset({"db"})))
        assert not refuses(plan.findings)

    def test_an_ambiguous_target_is_refused(self) -> None:
        unsure = deployment("api", "a1", (1, DAY), candidates=("a1", "a0"))
        plan = plan_with(observed("api", unsure, deployment("api", "a2", (DAY, None))))
        assert "target-ambiguous" in codes(plan, Severity.ERROR)

    def test_a_release_marked_bad_is_refused(self) -> None:
        bad = releases(WEB, API).all[0].content_id
        plan = plan_with(WEB, API, marks={bad: (Mark.BAD, "slow")})
        assert found(plan, "target-marked-bad").severity is Severity.ERROR

    def test_removals_need_consent(self) -> None:
        differences = {"web": Differences(removals=("AWS::DynamoDB::Table Audit",))}
        refused = plan_with(WEB, differences=differences)
        assert "AWS::DynamoDB::Table Audit" in found(refused, "removals-need-consent").text
        assert found(refused, "removals-need-consent").hint.endswith("--allow-removals")
        agreed = plan_with(WEB, differences=differences, options=PlanOptions(allow_removals=True))
        assert not refuses(agreed.findings)
        assert found(agreed, "removals").severity is Severity.WARNING

    def test_a_provider_without_a_way_there_is_refused(self) -> None:
        known = releases(WEB)
        plan = make_plan(
            environment("web"), snapshot(WEB), known.all[0], known.live, "", lambda *_: (), {},
            PlanOptions(),
        )  # fmt: skip
        assert "steps-missing" in codes(plan, Severity.ERROR)

    def test_a_circle_is_refused(self) -> None:
        circle = environment(
            Component(name="web", provider="fake", after=("api",)),
            Component(name="api", provider="fake", after=("web",)),
        )
        plan = plan_with(WEB, API, of=circle)
        assert "order-circle" in codes(plan, Severity.ERROR)
        assert plan.steps == ()

    def test_a_finding_of_the_provider_stands_in_the_plan(self) -> None:
        said = Finding(code="x", severity=Severity.ERROR, component="web", text="no")
        plan = plan_with(WEB, differences={"web": Differences(findings=(said,))})
        assert refuses(plan.findings)


class TestDatabase:
    def migrated(self, *verdicts: str) -> dict[str, Differences]:
        kinds = {"keep": "keep", "revert": "revert", "restore": "restore"}
        return {
            "db": Differences(
                migrations=tuple(
                    Migration(
                        name=f"2026_{i}", verdict=kinds[verdict],
                        reasons=("drops a column",), undo="data",
                    )
                    for i, verdict in enumerate(verdicts)
                )
            )
        }  # fmt: skip

    def test_a_schema_that_the_old_code_can_read_is_kept_and_verified(self) -> None:
        plan = plan_with(WEB, DB, differences=self.migrated("keep", "keep"))
        assert disposition(plan, "db") is Disposition.KEPT
        assert plan.step("verify:db").wanted == {"deployment": "m2", "auto_deploy": True}
        assert not any(step.writes for step in plan.steps if step.component == "db")

    @pytest.mark.parametrize("verdict", ["revert", "restore"])
    def test_old_code_is_never_put_on_a_schema_it_cannot_read(self, verdict: str) -> None:
        plan = plan_with(WEB, DB, differences=self.migrated("keep", verdict))
        needed = found(plan, f"database-needs-{verdict}")
        assert needed.severity is Severity.ERROR
        assert "2026_1: drops a column; undoing it needs: data" in needed.text
        assert "database-kept-newer" not in codes(plan)
        assert disposition(plan, "db") is Disposition.REFUSED

    def test_leaving_the_database_out_does_not_hide_what_is_wrong_with_it(self) -> None:
        options = PlanOptions(skip=frozenset({"db"}))
        plan = plan_with(WEB, DB, differences=self.migrated("revert"), options=options)
        assert found(plan, "database-skipped").severity is Severity.WARNING


class TestInFlight:
    def busy(self, seen: Observed, toward: str) -> Observed:
        one = Operation(id="op", what="a build", started_at=at(0), toward=toward)
        return replace(seen, in_flight=(one,))

    def test_toward_something_else_is_waited_for(self) -> None:
        plan = plan_with(self.busy(WEB, "w9"))
        assert found(plan, "operation-in-flight").severity is Severity.WARNING
        assert "the plan waits" in found(plan, "operation-in-flight").text

    def test_toward_the_target_is_taken_over(self) -> None:
        plan = plan_with(self.busy(WEB, "w1"))
        assert found(plan, "operation-in-flight").severity is Severity.NOTE

    def test_one_that_would_leave_the_target_again_is_no_already_there(self) -> None:
        plan = plan_with(self.busy(ran("api", (1, "a1", A)), "a9"), WEB)
        assert found(plan, "operation-in-flight").severity is Severity.ERROR

    def test_one_that_a_step_cancels_is_a_warning(self) -> None:
        def cancelling(before: Observed, target: Deployment):
            roll_back, freeze = fake_steps(before, target)
            cancel = replace(roll_back, id="cancel:web", kind=StepKind.CANCEL)
            return (replace(roll_back, needs=("cancel:web",)), freeze, cancel)

        seen = self.busy(WEB, "w9")
        known = releases(seen)
        plan = make_plan(
            environment("web"), snapshot(seen), known.all[0], known.live, "", cancelling, {},
            PlanOptions(),
        )  # fmt: skip
        assert found(plan, "operation-in-flight").severity is Severity.WARNING
        assert [s.id for s in plan.steps][:2] == ["cancel:web", "roll-back:web"]


class TestHealth:
    check = HealthCheck(
        url="https://api/health",
        expect={"version": "{commit}", "ok": "true"},
        header={"x-deployment": "{deployment}"},
        contains="{commit}",
    )

    def plan(self, *seen: Observed) -> Plan:
        return plan_with(
            *seen, of=environment(Component(name="api", provider="fake", health=self.check))
        )

    def test_placeholders_are_filled_for_the_target(self) -> None:
        health = self.plan(API).step("verify:api").health
        assert health is not None
        assert health.expect == {"version": A, "ok": "true"}
        assert health.header == {"x-deployment": "a1"}
        assert health.contains == A

    def test_an_unknown_commit_is_not_asked_for_and_said(self) -> None:
        plan = self.plan(ran("api", (1, "a1"), (DAY, "a2")))
        health = plan.step("verify:api").health
        assert health is not None
        assert health.expect == {"ok": "true"}
        assert health.contains == ""
        assert found(plan, "version-unchecked").severity is Severity.NOTE


def test_a_target_that_expires_within_a_day_is_a_warning() -> None:
    soon = Restorable(until=at(10_000) + timedelta(hours=5))
    web = replace(WEB, history=(WEB.history[0], replace(WEB.history[1], restorable=soon)))
    assert found(plan_with(web), "retention-soon").severity is Severity.WARNING


def test_a_target_that_stays_for_weeks_is_not_warned_of() -> None:
    later = Restorable(until=at(10_000) + timedelta(days=20))
    web = replace(WEB, history=(WEB.history[0], replace(WEB.history[1], restorable=later)))
    assert "retention-soon" not in codes(plan_with(web))


def test_configuration_differences_stand_in_the_plan() -> None:
    change = ConfigChange(name="LIMIT", kind=ConfigChangeKind.CHANGED)
    plan = plan_with(WEB, differences={"web": Differences(config=(change,), notes=("mind",))})
    assert plan.components[0].config == (change,)
    assert plan.components[0].notes == ("mind",)


def test_the_forecast_is_the_critical_path() -> None:
    side_by_side = plan_with(WEB, API)
    one_by_one = plan_with(DB, API, WEB, of=PLATFORM)
    assert side_by_side.forecast_s == 60 + 3 + 1 + 2
    assert one_by_one.forecast_s == 3 * 60 + 3 + 1 + 2


class TestDigest:
    def test_it_does_not_hang_on_time(self) -> None:
        assert plan_with(WEB, API).digest == plan_with(WEB, API, minute=20_000).digest

    def test_it_tells_another_target_from_this_one(self) -> None:
        assert plan_with(WEB, API).digest != plan_with(WEB, API, to="R2").digest

    def test_a_changed_step_shows(self) -> None:
        plan = plan_with(WEB)
        step = replace(plan.steps[0], wanted={"deployment": "evil"})
        assert is_intact(plan)
        assert not is_intact(replace(plan, steps=(step, *plan.steps[1:])))

    def test_it_is_the_same_in_every_version_of_python(self) -> None:
        assert len(digest(plan_with(WEB))) == 64

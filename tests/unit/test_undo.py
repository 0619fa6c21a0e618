"""Taking back what a run did: exactly that, newest first, to exactly the state before."""

from dataclasses import replace

from factories import (
    acted,
    after,
    at,
    environment,
    finished_run,
    plan_to,
    ran,
    releases,
    run_of,
    snapshot,
)

from taly.model.check import Severity
from taly.model.environment import Component, HealthCheck
from taly.model.events import StepFailed, StepIntended, StepStarted, StepUnknown
from taly.model.plan import Forecast, Plan, Step, StepKind
from taly.model.release import Gone, Observed, State, Unobserved
from taly.model.run import Run
from taly.planning.planner import PlanOptions, make_plan
from taly.planning.preflight import drift, judge
from taly.planning.undo import make_undo, make_unfreeze

A, B = "a1" * 20, "b2" * 20
DAY = 24 * 60.0
WEB = ran("web", (0, "w1", A), (DAY, "w2", B))
API = ran("api", (1, "a1", A), (DAY + 1, "a2", B))
ORDERED = environment(
    Component(name="api", provider="fake"), Component(name="web", provider="fake", after=("api",))
)


def undo(plan: Plan, run: Run, *seen: Observed) -> Plan:
    return make_undo(ORDERED, plan, run, snapshot(*seen))


def rolled_back() -> tuple[Plan, Run, Observed, Observed]:
    plan = plan_to("R1", API, WEB, of=ORDERED)
    return plan, finished_run(plan), after(API, plan.steps), after(WEB, plan.steps)


def codes(plan: Plan) -> list[str]:
    return [one.code for one in plan.findings]


def test_it_goes_back_in_the_reverse_order_to_the_states_before() -> None:
    plan, run, api, web = rolled_back()
    back = undo(plan, run, api, web)
    assert {step.id for step in back.steps if step.writes} == {
        "thaw:web", "thaw:api", "roll-back:api", "roll-back:web",
    }  # fmt: skip
    assert set(back.step("roll-back:web").needs) == {"thaw:web", "roll-back:api"}
    assert back.step("thaw:web").wanted == {"deployment": "w1", "auto_deploy": True}
    assert after(web, back.steps).state == WEB.state
    assert after(api, back.steps).state == API.state
    assert (back.purpose, back.to_release, back.from_release) == ("undo", "run-1", "R1")


def test_its_verification_asks_for_the_version_before() -> None:
    health = HealthCheck(url="https://web", expect={"version": "{commit}"})
    env = environment(Component(name="web", provider="fake", health=health))
    plan = plan_to("R1", WEB, of=env)
    back = make_undo(env, plan, finished_run(plan), snapshot(after(WEB, plan.steps)))
    asked = back.step("verify:web").health
    assert asked is not None
    assert asked.expect == {"version": B}


def test_what_was_broken_before_the_run_is_not_asked_after_its_undo() -> None:
    health = HealthCheck(url="https://web", expect={"version": "{commit}"})
    env = environment(Component(name="web", provider="fake", health=health))
    plan = plan_to("R1", WEB, of=env)
    part = replace(plan.components[0], answered_before=False)
    broken = replace(plan, components=(part,))
    back = make_undo(env, broken, finished_run(broken), snapshot(after(WEB, plan.steps)))
    assert back.step("verify:web").health is None
    assert "was-broken-before" in {one.code for one in back.findings}


def test_it_fits_the_platform_as_it_is() -> None:
    plan, run, api, web = rolled_back()
    assert judge(undo(plan, run, api, web), snapshot(api, web)) == ()


def test_what_the_run_did_not_do_is_not_taken_back() -> None:
    plan = plan_to("R1", API, WEB, of=ORDERED)
    run = run_of(plan, *acted(plan.step("roll-back:web")))
    web = after(WEB, [plan.step("roll-back:web")])
    back = undo(plan, run, API, web)
    assert [step.id for step in back.steps] == ["roll-back:web", "verify:web", "verify-all"]


def test_a_write_whose_outcome_is_unknown_is_taken_back_if_it_happened() -> None:
    plan = plan_to("R1", API, WEB, of=ORDERED)
    step = plan.step("roll-back:web")
    events = (
        StepStarted(step=step.id),
        StepIntended(step=step.id, key="k"),
        StepUnknown(step=step.id, reason="no answer"),
    )
    happened = undo(plan, run_of(plan, *events), API, after(WEB, [step]))
    assert [s.id for s in happened.steps if s.writes] == ["roll-back:web"]
    not_happened = undo(plan, run_of(plan, *events), API, WEB)
    assert not any(s.writes for s in not_happened.steps)
    assert "nothing-to-do" in codes(not_happened)


def test_a_failed_step_that_half_happened_is_taken_back() -> None:
    plan = plan_to("R1", API, WEB, of=ORDERED)
    step = plan.step("roll-back:web")
    failed = StepFailed(step=step.id, reason="vendor said no", reference="x")
    events = (StepStarted(step=step.id), StepIntended(step=step.id, key="k"), failed)
    moved = replace(after(WEB, [step]), state={"deployment": "w7", "auto_deploy": True})
    back = undo(plan, run_of(plan, *events), API, moved)
    assert back.step("roll-back:web").before == {"deployment": "w7"}
    assert back.step("roll-back:web").wanted == {"deployment": "w2"}


def test_a_done_step_found_so_after_a_kill_is_the_runs_own() -> None:
    plan = plan_to("R1", WEB, of=environment("web"))
    step = plan.step("roll-back:web")
    *begun, _, done = acted(step)
    already = replace(done, how="already")
    run = run_of(plan, *begun, already)
    back = make_undo(environment("web"), plan, run, snapshot(after(WEB, [step])))
    assert [s.id for s in back.steps if s.writes] == ["roll-back:web"]


def test_a_change_since_the_run_is_said() -> None:
    plan, run, api, web = rolled_back()
    moved = replace(web, state={"deployment": "w9", "auto_deploy": True})
    back = undo(plan, run, api, moved)
    (said,) = [one for one in back.findings if one.code == "changed-since-run"]
    assert said.severity is Severity.WARNING
    assert "w1" in said.text
    assert "w9" in said.text
    assert drift(back, snapshot(api, moved)) == ()


def test_a_version_that_is_gone_cannot_be_gone_back_to() -> None:
    plan, run, api, web = rolled_back()
    history = tuple(
        replace(one, restorable=Gone(reason="expired")) if one.id == "w2" else one
        for one in web.history
    )
    assert "target-gone" in codes(undo(plan, run, api, replace(web, history=history)))


def test_a_component_that_cannot_be_seen_refuses_the_undo() -> None:
    plan, run, api, _ = rolled_back()
    down = Unobserved(component="web", reason="no answer", reference="x")
    back = make_undo(ORDERED, plan, run, snapshot(api, down))
    assert "component-unknown" in codes(back)


def test_an_undo_can_be_undone() -> None:
    plan, run, api, web = rolled_back()
    back = undo(plan, run, api, web)
    api2, web2 = after(api, back.steps), after(web, back.steps)
    again = undo(back, finished_run(back), api2, web2)
    assert after(web2, again.steps).state == web.state
    assert after(api2, again.steps).state == api.state


def test_a_site_that_was_locked_is_locked_again_after_its_undo() -> None:
    """Unlock, restore, lock: in reverse the same states come by in reverse."""

    def steps(before: Observed, target: object) -> tuple[Step, ...]:
        def step(kind: StepKind, was: State, wanted: State, *needs: str) -> Step:
            return Step(
                id=f"{kind.value}:web", kind=kind, component="web", provider="fake", title="",
                before=was, wanted=wanted, needs=needs, forecast=Forecast(seconds=1, basis=""),
            )  # fmt: skip

        return (
            step(StepKind.THAW, {"auto_deploy": False}, {"auto_deploy": True}),
            step(StepKind.ROLL_BACK, {"deployment": "w2"}, {"deployment": "w1"}, "thaw:web"),
            step(
                StepKind.FREEZE,
                {"deployment": "w2", "auto_deploy": False},
                {"deployment": "w1", "auto_deploy": False},
                "roll-back:web",
            ),
        )

    locked = replace(WEB, state={"deployment": "w2", "auto_deploy": False}, auto_deploy=False)
    known, env = releases(locked), environment("web")
    plan = make_plan(env, snapshot(locked), known.all[0], known.live, "", steps, {}, PlanOptions())
    now = after(locked, plan.steps)
    back = make_undo(env, plan, finished_run(plan), snapshot(now))
    assert [(s.id, dict(s.wanted)) for s in back.steps if s.writes] == [
        ("thaw:web", {"deployment": "w1", "auto_deploy": True}),
        ("roll-back:web", {"deployment": "w2"}),
        ("freeze:web", {"auto_deploy": False}),
    ]
    assert after(now, back.steps).state == locked.state
    assert judge(back, snapshot(now)) == ()


class TestUnfreeze:
    def test_the_setting_from_before_comes_back_and_the_deployment_stays(self) -> None:
        _, run, api, web = rolled_back()
        thaw = make_unfreeze(ORDERED, [run], snapshot(api, web))
        assert {s.id for s in thaw.steps if s.writes} == {"thaw:web", "thaw:api"}
        assert thaw.step("thaw:web").wanted == {"auto_deploy": True}
        assert thaw.step("verify:web").wanted == {"deployment": "w1", "auto_deploy": True}
        assert thaw.purpose == "unfreeze"

    def test_what_was_off_before_stays_off(self) -> None:
        frozen = replace(WEB, state={"deployment": "w2", "auto_deploy": False}, auto_deploy=False)
        plan = plan_to("R1", API, frozen, of=ORDERED)
        seen = (after(API, plan.steps), after(frozen, plan.steps))
        thaw = make_unfreeze(ORDERED, [finished_run(plan)], snapshot(*seen))
        assert [s.id for s in thaw.steps if s.writes] == ["thaw:api"]

    def test_of_two_rollbacks_the_setting_from_before_the_first_counts(self) -> None:
        plan, run, api, web = rolled_back()
        later = replace(plan, steps=tuple(
            replace(s, before=s.before | {"auto_deploy": False}) if "auto_deploy" in s.before else s
            for s in plan.steps
        ))  # fmt: skip
        thaw = make_unfreeze(ORDERED, [run, finished_run(later, "run-2")], snapshot(api, web))
        assert thaw.step("thaw:web").wanted == {"auto_deploy": True}

    def test_after_an_undo_nothing_is_held(self) -> None:
        plan, run, api, web = rolled_back()
        back = undo(plan, run, api, web)
        runs = [run, finished_run(back, "run-2")]
        seen = snapshot(after(api, back.steps), after(web, back.steps))
        thaw = make_unfreeze(ORDERED, runs, seen)
        assert thaw.steps == ()
        assert codes(thaw) == ["nothing-to-do"]

    def test_what_someone_holds_by_hand_after_an_undo_is_theirs(self) -> None:
        plan, run, api, web = rolled_back()
        back = undo(plan, run, api, web)
        held = replace(after(web, back.steps), state={"deployment": "w2", "auto_deploy": False})
        seen = snapshot(after(api, back.steps), held)
        assert make_unfreeze(ORDERED, [run, finished_run(back, "run-2")], seen).steps == ()

    def test_what_someone_gave_back_by_hand_is_left_alone(self) -> None:
        _, run, api, web = rolled_back()
        by_hand = replace(web, state={**web.state, "auto_deploy": True}, auto_deploy=True)
        thaw = make_unfreeze(ORDERED, [run], snapshot(api, by_hand))
        assert [s.id for s in thaw.steps if s.writes] == ["thaw:api"]

    def test_a_component_that_cannot_be_seen_is_said(self) -> None:
        _, run, api, _ = rolled_back()
        down = Unobserved(component="web", reason="no answer", reference="x")
        thaw = make_unfreeze(ORDERED, [run], snapshot(api, down))
        assert "component-unknown" in codes(thaw)


def test_the_snapshots_time_is_the_plans() -> None:
    plan, run, api, web = rolled_back()
    assert undo(plan, run, api, web).made_at == at(10_000)

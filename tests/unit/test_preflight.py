"""What is said against running a plan on a platform that has moved since."""

from dataclasses import replace
from datetime import timedelta

from factories import at, plan_to, ran, snapshot

from taly.model.check import Severity
from taly.model.plan import Plan
from taly.model.release import Observation, Observed, Operation, Restorable, Unobserved
from taly.planning.codes import CODES, finding
from taly.planning.preflight import drift, judge, lock_held, merged, refuses

DAY = 24 * 60.0
WEB = ran("web", (0, "w1"), (DAY, "w2"))
API = ran("api", (1, "a1"))


def plan() -> Plan:
    return plan_to("R1", WEB, API)


def codes(*seen: Observation) -> list[str]:
    return [one.code for one in judge(plan(), snapshot(*seen))]


def test_an_unchanged_platform_has_nothing_against_it() -> None:
    assert codes(WEB, API) == []


def test_a_deployment_that_moved_makes_the_plan_stale() -> None:
    moved = replace(WEB, state={**WEB.state, "deployment": "w3"})
    (stale,) = drift(plan(), snapshot(moved, API))
    assert (stale.code, stale.component, stale.severity) == ("plan-stale", "web", Severity.ERROR)
    assert "deployment was w2 when the plan was made and is w3 now" in stale.text
    assert stale.hint == "taly plan --to R1"


def test_a_setting_that_moved_makes_the_plan_stale_too() -> None:
    moved = replace(WEB, state={**WEB.state, "auto_deploy": False})
    assert codes(moved, API) == ["plan-stale"]


def test_a_component_that_is_only_verified_may_not_move_either() -> None:
    moved = replace(API, state={**API.state, "deployment": "a2"})
    assert codes(WEB, moved) == ["plan-stale"]


def test_a_component_that_cannot_be_seen_any_more() -> None:
    down = Unobserved(component="web", reason="no answer", reference="x", hint="export TOKEN")
    (said,) = judge(plan(), snapshot(down, API))
    assert (said.code, said.hint) == ("component-unknown", "export TOKEN")
    assert codes(API) == ["component-unknown"]


def test_what_began_or_was_blocked_since() -> None:
    def busy(seen: Observed) -> Observed:
        one = Operation(id="op", what="a build", started_at=at(0), toward="w9")
        return replace(seen, in_flight=(one,))

    assert codes(busy(WEB), API) == ["operation-in-flight"]
    assert codes(replace(WEB, blocked="PAUSED"), API) == ["component-blocked"]


def test_retention_that_came_close_since() -> None:
    soon = Restorable(until=at(10_000) + timedelta(hours=3))
    history = (WEB.history[0], replace(WEB.history[1], restorable=soon))
    assert codes(replace(WEB, history=history), API) == ["retention-soon"]


def test_an_edited_plan_is_refused() -> None:
    edited = replace(plan(), to_content_id="0" * 32)
    assert [one.code for one in judge(edited, snapshot(WEB, API))] == ["plan-tampered"]


def test_the_lock_names_the_run_that_holds_it() -> None:
    held = lock_held("run-7", "ada@laptop")
    assert "run-7" in held.text
    assert "ada@laptop" in held.text
    assert held.hint == "taly show run-7"
    assert refuses([held])


def test_findings_are_said_once() -> None:
    one = finding("component-blocked", "web", "PAUSED")
    assert merged([one], [one, finding("nothing-to-do", "", "…")])[0] is one
    assert len(merged([one], [one])) == 1


def test_only_errors_refuse() -> None:
    for code, entry in CODES.items():
        assert refuses([finding(code, "", "…")]) is (entry.severity is Severity.ERROR)

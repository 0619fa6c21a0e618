"""A database in a plan: which way, in which order, with which warnings; and the way back."""

from dataclasses import replace

import pytest
from database_world import differences, outlook, plan_of
from factories import after, environment, finished_run, ran, snapshot
from hypothesis import given
from hypothesis import strategies as st

from taly.model.check import Finding, Severity
from taly.model.environment import Component, Environment
from taly.model.plan import DatabaseVerdict, Disposition, Plan, StepKind
from taly.model.ports import Differences
from taly.model.release import Observed
from taly.planning.digest import digest
from taly.planning.order import DATABASE_KINDS
from taly.planning.planner import PlanOptions
from taly.planning.preflight import judge, refuses
from taly.planning.undo import make_undo

DAY = 24 * 60.0
DB = replace(ran("db", (0, "m1"), (DAY, "m2")), auto_deploy=None)
API = ran("api", (1, "a1"), (DAY + 1, "a2"))
WEB = ran("web", (2, "w1"), (DAY + 2, "w2"))
SEEN = [DB, API, WEB]
ALL: tuple[DatabaseVerdict, ...] = ("keep", "revert", "restore")
PLATFORM = environment(
    Component(name="db", provider="fake"),
    Component(name="api", provider="fake", after=("db",)),
    Component(name="web", provider="fake", after=("api",)),
)


def plan(found: Differences, **options: object) -> Plan:
    return plan_of(PLATFORM, SEEN, {"db": found}, options=PlanOptions(**options))


def writes(made: Plan, component: str = "db") -> list[str]:
    return [step.id for step in made.steps if step.writes and step.component == component]


def finding(made: Plan, code: str) -> Finding:
    (one,) = [one for one in made.findings if one.code == code]
    return one


def codes(made: Plan) -> set[str]:
    return {one.code for one in made.findings}


class TestTheWay:
    def test_the_verdicts_own_steps_and_no_others_stand_in_the_plan(self) -> None:
        reverted = plan(differences(outlook("revert", *ALL)))
        assert writes(reverted) == ["revert:db:two", "revert:db:one"]
        assert writes(plan(differences(outlook("restore", *ALL)))) == ["restore:db"]
        kept = plan(differences(outlook("keep", *ALL), "keep"))
        assert writes(kept) == []
        assert kept.components[0].disposition is Disposition.KEPT
        assert not codes(reverted) & {"database-overridden", "database-kept-anyway"}
        assert not refuses(reverted.findings)

    def test_the_checkpoint_is_named_in_the_steps_that_start_from_it(self) -> None:
        made = plan(differences(outlook("restore", *ALL)))
        assert made.step("restore:db").address["checkpoint"] == "v7"
        assert made.step("verify:db").address["checkpoint"] == "v7"

    def test_the_outlook_stands_in_the_plan_and_outside_its_digest(self) -> None:
        found = differences(outlook("revert", *ALL))
        made = plan(found)
        assert made.components[0].database == found.database
        other = plan(replace(found, database=replace(outlook("revert", *ALL), pause_s=3.0)))
        assert other.digest == made.digest == digest(made)

    @pytest.mark.parametrize("way", ["revert", "restore"])
    def test_another_way_is_taken_with_a_warning_and_never_silently(
        self, way: DatabaseVerdict
    ) -> None:
        best: DatabaseVerdict = "restore" if way == "revert" else "revert"
        made = plan(differences(outlook(best, *ALL)), database=way)
        assert writes(made)[0].startswith(way)
        said = finding(made, "database-overridden")
        assert said.severity is Severity.WARNING
        assert f"{best} works" in said.text

    def test_keeping_what_the_old_code_cannot_read_says_what_breaks(self) -> None:
        made = plan(differences(outlook("revert", *ALL)), database="keep")
        said = finding(made, "database-kept-anyway")
        assert said.severity is Severity.WARNING
        assert "2026_two: it renames a column" in said.text
        assert writes(made) == []
        assert made.components[0].disposition is Disposition.KEPT
        assert not refuses(made.findings)

    def test_taking_back_what_could_be_kept_is_warned_of(self) -> None:
        made = plan(differences(outlook("keep", *ALL), "keep"), database="revert")
        assert "keep works" in finding(made, "database-overridden").text

    def test_a_way_that_cannot_be_gone_is_refused_with_one_that_can(self) -> None:
        made = plan(differences(outlook("revert", "keep", "revert")), database="restore")
        said = finding(made, "database-way-impossible")
        assert said.severity is Severity.ERROR
        assert "restore lacks something" in said.text
        assert said.hint == "taly plan --to R1 --database revert"
        assert writes(made) == []

    @pytest.mark.parametrize("verdict", ["revert", "restore"])
    def test_where_no_way_is_left_the_plan_says_what_is_missing(
        self, verdict: DatabaseVerdict
    ) -> None:
        seen = outlook(verdict, "keep")
        made = plan(differences(seen, verdict))
        said = finding(made, f"database-needs-{verdict}")
        assert said.severity is Severity.ERROR
        assert f"{verdict} lacks something" in said.text
        assert said.hint == "taly plan --to R1 --database keep"

    def test_conversions_need_a_yes(self) -> None:
        found = differences(outlook("restore", *ALL, conversions=("price: text → int",)))
        refused = plan(found)
        assert "price: text → int" in finding(refused, "conversions-need-consent").text
        assert refuses(refused.findings)
        assert writes(refused) == []
        agreed = plan(found, accept_conversions=True)
        assert finding(agreed, "conversions").severity is Severity.WARNING
        assert not refuses(agreed.findings)
        hint = finding(plan(found, database="restore"), "conversions-need-consent").hint
        assert hint == "taly plan --to R1 --database restore --accept-conversions"

    def test_conversions_do_not_matter_where_the_schema_is_kept(self) -> None:
        found = differences(outlook("keep", *ALL, conversions=("price: text → int",)), "keep")
        assert not codes(plan(found)) & {"conversions", "conversions-need-consent"}


class TestTheOrder:
    def test_the_database_goes_between_the_frontends_and_its_users(self) -> None:
        made = plan(differences(outlook("revert", *ALL)))
        assert set(made.step("revert:db:two").needs) >= {"roll-back:web", "freeze:web"}
        assert made.step("revert:db:one").needs[0] == "revert:db:two"
        assert "revert:db:one" in made.step("roll-back:api").needs

    def test_the_gap_is_told_with_its_length(self) -> None:
        said = finding(plan(differences(outlook("restore", *ALL))), "database-order")
        assert "until api is back" in said.text
        assert "in about 60 s" in said.text

    def test_a_database_that_is_kept_changes_no_order(self) -> None:
        made = plan(differences(outlook("keep", *ALL), "keep"))
        assert made.step("roll-back:api").needs == ("roll-back:web",)
        assert "database-order" not in codes(made)

    def test_what_stands_still_in_between_hides_no_user(self) -> None:
        still = ran("api", (1, "a1"))
        made = plan_of(PLATFORM, [DB, still, WEB], {"db": differences(outlook("restore", *ALL))})
        assert "restore:db" in made.step("roll-back:web").needs


class TestUndo:
    @pytest.mark.parametrize(
        ("way", "expected"),
        [("revert", ["apply:db:one", "apply:db:two"]), ("restore", ["restore:db"])],
    )
    def test_the_schema_comes_back_before_its_code(
        self, way: DatabaseVerdict, expected: list[str]
    ) -> None:
        made = plan(differences(outlook(way, *ALL)))
        then = [after(one, made.steps) for one in SEEN]
        undo = make_undo(PLATFORM, made, finished_run(made, "run-7"), snapshot(*then))
        assert writes(undo) == expected
        assert expected[-1] in undo.step("roll-back:api").needs
        assert "roll-back:api" in undo.step("roll-back:web").needs
        for step in undo.steps:
            if step.kind in DATABASE_KINDS:
                assert step.address["undoes"] == "run-7"
        assert judge(undo, snapshot(*then)) == ()
        assert undo.components[0].disposition is Disposition.ROLL_BACK
        back = [after(one, undo.steps) for one in then]
        assert [one.state for one in back] == [one.state for one in SEEN]

    def test_what_an_undo_applied_is_reverted_by_its_own_undo(self) -> None:
        made = plan(differences(outlook("revert", *ALL)))
        then = [after(one, made.steps) for one in SEEN]
        undo = make_undo(PLATFORM, made, finished_run(made, "run-7"), snapshot(*then))
        back = [after(one, undo.steps) for one in then]
        redo = make_undo(PLATFORM, undo, finished_run(undo, "run-8"), snapshot(*back))
        assert writes(redo) == ["revert:db:two", "revert:db:one"]
        assert all("undoes" not in redo.step(id_).address for id_ in writes(redo))
        assert writes(redo)[-1] in redo.step("roll-back:api").needs
        again = plan_of(PLATFORM, back, {"db": differences(outlook("revert", *ALL))})
        assert writes(again) == ["revert:db:two", "revert:db:one"]

    def test_a_restore_and_its_undo_name_the_run_that_they_take_back(self) -> None:
        made = plan(differences(outlook("restore", *ALL)))
        then = [after(one, made.steps) for one in SEEN]
        undo = make_undo(PLATFORM, made, finished_run(made, "run-7"), snapshot(*then))
        back = [after(one, undo.steps) for one in then]
        redo = make_undo(PLATFORM, undo, finished_run(undo, "run-8"), snapshot(*back))
        assert redo.step("restore:db").address["undoes"] == "run-8"


@st.composite
def platforms(draw: st.DrawFn) -> tuple[Environment, list[Observed], dict[str, Differences]]:
    """Databases and others, each after any of those before it; some stood still."""
    count = draw(st.integers(1, 8))
    components, seen, found = [], [], {}
    for i in range(count):
        name = f"db{i}" if draw(st.booleans()) else f"c{i}"
        earlier = (
            draw(st.lists(st.sampled_from([c.name for c in components]), unique=True)) if i else []
        )
        components.append(Component(name=name, provider="fake", after=tuple(earlier)))
        moved = draw(st.booleans())
        one = ran(name, (i, f"{name}-1"), *([(DAY + i, f"{name}-2")] if moved else []))
        if name.startswith("db"):
            one = replace(one, auto_deploy=None)
            if moved:
                verdict = draw(st.sampled_from(ALL))
                worst: DatabaseVerdict = "keep" if verdict == "keep" else "revert"
                found[name] = differences(outlook(verdict, *ALL), worst)
        seen.append(one)
    order = draw(st.permutations(range(count)))
    return environment(*(components[i] for i in order)), seen, found


def behind(made: Plan) -> dict[str, set[str]]:
    """Step → all that must be done before it; fails unless each stands after those it needs."""
    found: dict[str, set[str]] = {}
    for step in made.steps:
        assert set(step.needs) <= found.keys(), step.id
        found[step.id] = set(step.needs).union(*(found[need] for need in step.needs))
    return found


def code_waits_for_its_schema(env: Environment, made: Plan) -> None:
    """No step brings code to life before the schema it was made for."""
    done = behind(made)
    for component in env.components:
        rolls = [
            step.id
            for step in made.steps
            if step.component == component.name and step.kind is StepKind.ROLL_BACK
        ]
        for earlier in component.after:
            changes = {
                step.id
                for step in made.steps
                if step.component == earlier and step.kind in DATABASE_KINDS
            }
            assert all(changes <= done[roll] for roll in rolls), component.name


@given(platforms())
def test_no_plan_and_no_undo_has_code_before_its_schema(case) -> None:
    env, seen, found = case
    made = plan_of(env, seen, found)
    code_waits_for_its_schema(env, made)
    then = [after(one, made.steps) for one in seen]
    undo = make_undo(env, made, finished_run(made), snapshot(*then))
    code_waits_for_its_schema(env, undo)
    back = [after(one, undo.steps) for one in then]
    assert [one.state for one in back] == [one.state for one in seen]


@given(platforms())
def test_where_no_database_goes_back_the_deploys_order_is_reversed(case) -> None:
    env, seen, _ = case
    others = [one for one in seen if not one.component.startswith("db")]
    kept = frozenset(one.component for one in seen) - frozenset(one.component for one in others)
    if not others:
        return
    made = plan_of(env, seen, {}, options=PlanOptions(skip=kept))
    done = behind(made)
    for component in env.components:
        for earlier in component.after:
            first, then = f"roll-back:{component.name}", f"roll-back:{earlier}"
            assert not (first in done and then in done) or first in done[then]


def test_a_database_that_has_nothing_more_stays() -> None:
    made = plan(replace(differences(outlook("keep", *ALL), "keep"), migrations=()))
    assert made.components[0].disposition is Disposition.KEPT
    assert "no migration that the release had not" in made.components[0].why

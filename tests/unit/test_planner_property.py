"""What holds for every plan, its undo and its unfreeze, whatever the platform looks like."""

import random
from dataclasses import replace

from factories import after, environment, fake_steps, finished_run, ran, releases, snapshot
from hypothesis import given
from hypothesis import strategies as st

from taly.model.environment import Component, Environment
from taly.model.plan import Plan, StepKind
from taly.model.release import Observed, Snapshot
from taly.planning.planner import PlanOptions, make_plan
from taly.planning.preflight import judge
from taly.planning.releases import Releases
from taly.planning.undo import make_undo, make_unfreeze

NAMES = [f"c{i}" for i in range(7)]
DAY = 24 * 60.0


@st.composite
def platforms(draw: st.DrawFn) -> tuple[Environment, list[Observed]]:
    """Components that come after any of those before them, some deployed on some days only."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=7, unique=True))
    components, seen = [], []
    for i, name in enumerate(names):
        earlier = draw(st.lists(st.sampled_from(names[:i]), unique=True)) if i else []
        components.append(Component(name=name, provider="fake", after=tuple(earlier)))
        days = sorted(draw(st.sets(st.integers(0, 3), min_size=1)) | {0})
        changes = [(day * DAY + i, f"{name}-{day}", f"{day:040x}") for day in days]
        one = ran(name, *changes)
        if draw(st.booleans()):
            one = replace(one, state={**one.state, "auto_deploy": False}, auto_deploy=False)
        seen.append(one)
    order = draw(st.permutations(range(len(names))))
    return environment(*(components[i] for i in order)), seen


def made(env: Environment, known: Releases, now: Snapshot, name: str, options: PlanOptions) -> Plan:
    release = known.named(name)
    assert release is not None
    return make_plan(env, now, release, known.live, "", fake_steps, {}, options)


@st.composite
def plans(draw: st.DrawFn) -> tuple[Environment, list[Observed], Plan, PlanOptions]:
    env, seen = draw(platforms())
    known = releases(*seen, of=env)
    name = draw(st.sampled_from([release.name for release in known]))
    names = [component.name for component in env.components]
    only = frozenset(draw(st.sets(st.sampled_from(names))))
    options = PlanOptions(only=only, skip=frozenset(draw(st.sets(st.sampled_from(names)))))
    return env, seen, made(env, known, snapshot(*seen), name, options), options


@given(plans())
def test_every_step_stands_after_those_it_needs(case) -> None:
    _, _, plan, _ = case
    done: set[str] = set()
    for step in plan.steps:
        assert done.issuperset(step.needs)
        assert step.id not in done
        done.add(step.id)
    assert not plan.steps or plan.steps[-1].kind is StepKind.VERIFY_ALL


@given(plans())
def test_what_is_deployed_later_goes_back_earlier(case) -> None:
    env, _, plan, _ = case
    behind: dict[str, set[str]] = {}
    for step in plan.steps:
        behind[step.id] = set(step.needs).union(*(behind[need] for need in step.needs))
    for component in env.components:
        for earlier in component.after:
            first, then = f"roll-back:{component.name}", f"roll-back:{earlier}"
            if first in behind and then in behind:
                assert first in behind[then]


@given(plans())
def test_what_was_left_out_is_not_touched(case) -> None:
    _, _, plan, options = case
    touched = {step.component for step in plan.steps} - {""}
    assert not touched & options.skip
    assert not options.only or touched <= options.only


@given(plans(), st.randoms(use_true_random=False))
def test_the_order_of_mappings_changes_nothing(case, chance: random.Random) -> None:
    env, seen, plan, options = case
    shuffled = list(seen)
    chance.shuffle(shuffled)
    shuffled = [
        replace(one, state=dict(reversed(one.state.items())), address=dict(one.address))
        for one in shuffled
    ]
    known = releases(*shuffled, of=env)
    again = made(env, known, snapshot(*shuffled), plan.to_release, options)
    assert again.digest == plan.digest
    assert again.steps == plan.steps


@given(plans())
def test_a_plan_has_nothing_against_it_on_the_platform_it_was_made_for(case) -> None:
    _, seen, plan, _ = case
    assert judge(plan, snapshot(*seen)) == ()


@given(plans())
def test_the_plan_reaches_the_release_and_its_undo_the_state_before(case) -> None:
    env, seen, plan, options = case
    then = [after(one, plan.steps) for one in seen]
    wanted = releases(*seen, of=env).named(plan.to_release)
    assert wanted is not None
    for one in then:
        if not options.leaves_out(one.component) and one.component in wanted.members:
            assert one.live.id == wanted.members[one.component]
    undo = make_undo(env, plan, finished_run(plan), snapshot(*then))
    back = [after(one, undo.steps) for one in then]
    assert [one.state for one in back] == [one.state for one in seen]
    done: set[str] = set()
    for step in undo.steps:
        assert done.issuperset(step.needs)
        done.add(step.id)


@given(plans())
def test_an_unfreeze_gives_settings_back_and_moves_nothing(case) -> None:
    env, seen, plan, _ = case
    then = [after(one, plan.steps) for one in seen]
    thaw = make_unfreeze(env, [finished_run(plan)], snapshot(*then))
    thawed = [after(one, thaw.steps) for one in then]
    for before, held, now in zip(seen, then, thawed, strict=True):
        assert now.state["auto_deploy"] == before.state["auto_deploy"]
        assert now.live.id == held.live.id
    assert all(step.wanted.keys() == {"auto_deploy"} for step in thaw.steps if step.writes)

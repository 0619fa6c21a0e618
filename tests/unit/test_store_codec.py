"""Plans and events as JSON: everything comes back, nothing strange goes in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine_world import NOON, plan, rollback, step

from taly.engine.codec import event_from_json, event_to_json, plan_from_json, plan_to_json
from taly.engine.store.names import ALPHABET, run_id_after
from taly.errors import UsageError
from taly.model.environment import HealthCheck
from taly.model.events import Event, StepDone
from taly.model.plan import Plan, StepKind
from taly.model.release import Evidence

HEALTH = HealthCheck(url="https://app/health", expect={"version": "1"})
PLAN = plan(step("a"), step("a", kind=StepKind.VERIFY, needs=("roll-back:a",), health=HEALTH))
TEXT = plan_to_json(PLAN)

values = st.one_of(st.text(max_size=5), st.booleans(), st.integers(-(2**53), 2**53), st.none())


def test_a_plan_comes_back_as_it_was() -> None:
    assert plan_from_json(TEXT) == PLAN
    assert plan_from_json(TEXT.encode()) == PLAN
    assert json.loads(TEXT)["format_version"] == 1
    big = rollback(300)
    assert plan_from_json(plan_to_json(big)) == big


@given(st.dictionaries(st.text(max_size=8), values, max_size=5))
def test_states_keep_their_types(state: dict[str, str | bool | int | None]) -> None:
    seen = Evidence(call="c", at=NOON, says="s")
    event: Event = StepDone(step="a", how="acted", state=state, evidence=(seen,))
    back = event_from_json(event_to_json(event))
    assert back == event
    assert isinstance(back, StepDone)
    assert [type(value) for value in back.state.values()] == [type(v) for v in state.values()]


def _changed(**more: object) -> str:
    document = json.loads(TEXT)
    document["plan"].update(more)
    return json.dumps(document)


def _with_step(**more: object) -> str:
    document = json.loads(TEXT)
    document["plan"]["steps"][0].update(more)
    return json.dumps(document)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "{}",
        "[" * 100_000,
        TEXT[:-5],
        TEXT.replace('"format_version":1', '"format_version":2'),
        TEXT.replace('"format_version":1', '"format_version":1,"extra":0'),
        _changed(extra=1),
        _changed(purpose="destroy"),
        _with_step(extra=1),
        _with_step(kind="drop"),
        _with_step(needs=["roll-back:nowhere"]),
        _with_step(needs=["verify:a"]),
        _with_step(id="verify:a"),
        TEXT.replace('"deadline_s":1800.0', '"deadline_s":NaN'),
        TEXT.replace('"deadline_s":1800.0', '"deadline_s":1e999'),
        "\udcff" * 3,
    ],
)
def test_anything_else_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        plan_from_json(text)
    assert refusal.value.reference == "plan-unreadable"
    assert refusal.value.hint


def test_a_file_too_long_to_be_a_plan_is_not_even_parsed() -> None:
    with pytest.raises(UsageError, match="longer than"):
        plan_from_json(b" " * (64 * 1024 * 1024 + 1))


@given(st.integers(0, 2**29), st.integers(-1000, 1000))
def test_run_ids_sort_as_they_were_made(second: int, later: int) -> None:
    epoch = 1_735_689_600
    first = run_id_after(None, epoch + second)
    then = run_id_after(first, epoch + second + later)
    assert first < then, "even when the clock goes back"
    assert len(first) == len(then) == 10
    assert set(first[4:]) <= set(ALPHABET)


def test_a_plan_is_what_its_type_says() -> None:
    assert isinstance(plan_from_json(TEXT), Plan)
    assert isinstance(plan_from_json(TEXT).steps, tuple)

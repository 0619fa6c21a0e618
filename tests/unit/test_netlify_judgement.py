"""What a look at a site means for a step; pure."""

from datetime import UTC, datetime, timedelta

import pytest

from taly.model.plan import Step, StepKind
from taly.model.ports import Attempt, Failed, InFlight, Other, Probe, Wanted
from taly.model.release import State
from taly.providers.netlify.judgement import judge

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def step(kind: StepKind, **wanted: str | bool) -> Step:
    return Step(id="x", kind=kind, component="web", provider="netlify", title="", wanted=wanted)


def judged(
    one: Step, state: State, *, after_s: float | None = None, answered: bool = True, **facts: bool
) -> Probe:
    attempt = None
    if after_s is not None:
        receipt = {"call": "POST /restore"} if answered else {}
        attempt = Attempt(key="k", intended_at=NOW - timedelta(seconds=after_s), receipt=receipt)
    return judge(one, state, (), attempt, now=NOW, overtaken=facts.get("overtaken", False))


ROLL_BACK = step(StepKind.ROLL_BACK, deploy="good")
BAD: State = {"deploy": "bad", "locked": False}


def test_netlify_probe_wanted_counts_only_the_steps_keys() -> None:
    assert isinstance(judged(ROLL_BACK, {"deploy": "good", "locked": True}), Wanted)
    assert isinstance(judged(ROLL_BACK, BAD), Other)


@pytest.mark.parametrize(
    ("after_s", "answered", "kind"),
    [
        (1.0, True, InFlight),
        (299.0, True, InFlight),
        (301.0, True, Failed),
        (1.0, False, InFlight),
        (89.0, False, InFlight),
        (91.0, False, Other),
    ],
)
def test_netlify_probe_patience_after_a_restore(
    after_s: float, answered: bool, kind: type[Probe]
) -> None:
    """Naive lines 1 and 12: an accepted restore that never shows has failed; one whose answer
    was lost is waited for, and only then sent again."""
    assert isinstance(judged(ROLL_BACK, BAD, after_s=after_s, answered=answered), kind)


def test_netlify_probe_only_an_answered_write_is_adopted() -> None:
    """What was never answered may not have arrived: adopting it would wait for nothing."""
    for answered in (True, False):
        seen = judged(ROLL_BACK, BAD, after_s=1.0, answered=answered)
        assert isinstance(seen, InFlight)
        assert seen.same_target is answered


def test_netlify_probe_overtaken_is_failed_at_once() -> None:
    seen = judged(ROLL_BACK, {"deploy": "worse", "locked": False}, after_s=1.0, overtaken=True)
    assert isinstance(seen, Failed)
    assert "worse" in seen.reason


def test_netlify_probe_a_freeze_needs_the_right_deploy_locked() -> None:
    """Naive line 7: a lock on another deploy is not the wanted state."""
    freeze = step(StepKind.FREEZE, deploy="good", locked=True)
    assert isinstance(judged(freeze, {"deploy": "good", "locked": True}), Wanted)
    assert isinstance(judged(freeze, {"deploy": "bad", "locked": True}), Other)
    assert isinstance(judged(freeze, {"deploy": "good", "locked": False}), Other)


@pytest.mark.parametrize("kind", [StepKind.THAW, StepKind.FREEZE])
def test_netlify_probe_unlocking_does_not_wait_for_a_deploy(kind: StepKind) -> None:
    """Undone in reverse, the unlock comes before the restore."""
    unlock = step(kind, deploy="bad", locked=False)
    assert isinstance(judged(unlock, {"deploy": "good", "locked": False}), Wanted)
    assert isinstance(judged(unlock, {"deploy": "good", "locked": True}), Other)


def test_netlify_probe_a_verification_counts_everything() -> None:
    verify = step(StepKind.VERIFY, deploy="good", locked=False)
    assert isinstance(judged(verify, {"deploy": "bad", "locked": False}), Other)
    assert isinstance(judged(verify, {"deploy": "good", "locked": None}), Other)
    assert isinstance(judged(verify, {"deploy": "good", "locked": False}), Wanted)

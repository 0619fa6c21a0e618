"""Whose run it is, is asked after what a provider must read and right before it writes."""

from collections.abc import Iterator

import apprunner_stage
import netlify_stage
import pytest
from netlify_stage import R3, MakeStage, make_stage
from provider_contract import observe, previous, steps_to
from vercel_world import VercelWorld

from taly.errors import LeaseLost
from taly.model.plan import Step, StepKind

__all__ = ["make_stage"]


def taken_over(note: str, fraction: float | None = None) -> None:
    """Another process has the run."""
    assert note == "", "nothing new is told, and no cancel is heard"
    raise LeaseLost


@pytest.fixture
def service() -> Iterator[apprunner_stage.Stage]:
    one = apprunner_stage.Stage().run()
    yield one
    one.stop()


@pytest.fixture
def project() -> Iterator[VercelWorld]:
    one = VercelWorld()
    yield one.history()
    one.close()


def test_app_runner_sends_no_update_for_a_run_that_is_lost(service: apprunner_stage.Stage) -> None:
    seen = observe(service)
    for step in steps_to(service, seen, previous(seen)):
        with pytest.raises(LeaseLost):
            service.provider.act(step, "key", taken_over)
    assert not [call for call in service.calls() if call.wrote]


def test_netlify_sets_no_lock_for_a_run_that_is_lost(make_stage: MakeStage) -> None:
    stage: netlify_stage.Stage = make_stage().run()
    roll_back, freeze = stage.plan(R3)
    stage.do(roll_back)
    before = len(stage.writes())
    with pytest.raises(LeaseLost):
        stage.provider.act(freeze, "key", taken_over)
    assert len(stage.writes()) == before


def test_vercel_rolls_nothing_back_for_a_run_that_is_lost(project: VercelWorld) -> None:
    step: Step = project.step(StepKind.ROLL_BACK)
    with pytest.raises(LeaseLost):
        project.provider.act(step, "key", taken_over)
    assert project.writes() == []

"""Verifying a database that went back: the ledger alone is not believed."""

from collections.abc import Callable

from tests.contract.test_outlook_ways import DROP, Scene, scene

from taly.model.plan import Step, StepKind
from taly.model.ports import Failed, Wanted

__all__ = ["scene"]
"""A fixture that is used by its name."""


def step(made: Scene, **address: str) -> Step:
    seen = made.observe()
    return Step(
        id="verify:database",
        kind=StepKind.VERIFY,
        component="database",
        provider="postgres",
        title="",
        address={**seen.address, **address},
        wanted=seen.state,
    )


def test_a_restored_database_is_compared_with_its_checkpoint(scene: Callable[..., Scene]) -> None:
    made = scene()
    made.stage.migration("20260102000000_drop", DROP)
    kept = made.stage.checkpoint("template")
    verify = step(made, checkpoint=kept.name)
    assert isinstance(made.provider.probe(verify, None), Wanted)

    made.stage.run("ALTER TABLE bookings ADD COLUMN by_hand TEXT")
    assert isinstance(made.provider.probe(verify, None), Wanted), "an addition does no harm"

    made.stage.run('ALTER TABLE bookings DROP COLUMN "room"')
    seen = made.provider.probe(verify, None)
    assert isinstance(seen, Failed)
    assert "not as it was" in seen.reason
    assert "room" in seen.reason
    for other in ({"migration": "20260102000000_drop"}, {"undoes": "run-1"}):
        judged = made.provider.probe(step(made, checkpoint=kept.name, **other), None)
        assert isinstance(judged, Wanted), "proved by the step itself"

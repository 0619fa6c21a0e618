"""Whether Netlify shows a build at once to who asks by its id, nobody says: both are borne."""

import pytest
from netlify_stage import BAD, R3, SITE, MakeStage, make_stage

from taly.errors import VendorRefused
from taly.model.ports import InFlight, Wanted
from taly.providers.netlify import provider

__all__ = ["make_stage"]


def test_netlify_a_build_that_is_not_found_as_it_begins_is_not_taken_for_gone(
    make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider, "YOUNG_S", 1e6)
    stage = make_stage({"build_s": 9000.0}).run()
    stage.push(BAD, "broken")
    cancel, *_ = stage.plan(R3)
    stage.emulator.change(SITE, {"kind": "delete", "deploy": stage.deploy_id(BAD)})
    seen = stage.provider.probe(cancel, None)
    assert isinstance(seen, InFlight)
    assert not seen.same_target
    with pytest.raises(VendorRefused):
        stage.provider.act(cancel, "run:step")

    monkeypatch.setattr(provider, "YOUNG_S", 0.0)  # that time has passed
    assert isinstance(stage.provider.probe(cancel, None), Wanted), "it is gone, and not unshown"

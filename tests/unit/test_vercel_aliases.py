"""Which of a project's names count, and what they prove."""

from typing import Any

from taly.providers.vercel.aliases import serving, uncovered
from taly.providers.vercel.payloads import Project

GOOD, BAD = {"id": "dpl_good"}, {"id": "dpl_bad"}


def project(*aliases: dict[str, Any], **more: Any) -> Project:
    return Project.model_validate(
        {"id": "prj", "name": "web", "targets": {"production": GOOD}, "alias": aliases, **more}
    )


def test_a_domain_that_never_showed_anything_does_not_count() -> None:
    """It was added and never set up: no rollback makes it show anything."""
    seen = project(
        {"domain": "web.example.com", "deployment": GOOD},
        {"domain": "soon.example.com", "deployment": None},
    )
    domains = frozenset({"web.example.com", "soon.example.com"})
    following, pinned = uncovered(seen, domains)
    assert (following, pinned) == ((), ("soon.example.com",))
    assert serving(seen, None, pinned=",".join(pinned)).is_all("dpl_good")
    assert serving(seen, None, pinned=",".join(pinned)).all_ids == ("dpl_good",)


def test_a_domain_that_shows_another_deployment_or_is_just_moving_counts() -> None:
    stray = project(
        {"domain": "web.example.com", "deployment": GOOD},
        {"domain": "shop.example.com", "deployment": BAD},
    )
    domains = frozenset({"web.example.com", "shop.example.com"})
    assert uncovered(stray, domains) == ((), ())
    assert serving(stray, None).strays("dpl_good") == ("shop.example.com",)
    moving = project(
        {"domain": "web.example.com", "deployment": None},
        lastAliasRequest={"toDeploymentId": "dpl_good", "jobStatus": "in-progress"},
    )
    assert uncovered(moving, domains) == ((), ())

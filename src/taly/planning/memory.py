"""What taly knows of the past from its own runs, and no vendor's history has to tell.

Netlify keeps one time of publishing a deploy, Vercel none of a rollback: after a few rollbacks
their histories say other things of the past than before. What a plan started from, and where it
led, was seen; and what stood between a run's first change and its last was nobody's release.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from taly.model.plan import Disposition, Plan
from taly.planning.hashing import content_id_of

MOVED = (Disposition.ROLL_BACK, Disposition.ALREADY_THERE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """A release as it was seen when a plan was made."""

    content_id: str
    members: Mapping[str, str]
    """Those that the plan tells of; the others are as the histories say."""
    at: datetime
    """A time at which it was live."""


def remembered(plans: Iterable[Plan], known_names: Mapping[str, str]) -> list[Remembered]:
    """The releases that these plans of rollbacks started from and led to, each once.

    `known_names` maps content ids to the names they were shown under.
    """
    found: dict[str, Remembered] = {}
    for plan in plans:
        if plan.purpose != "rollback":
            continue
        if plan.from_since is not None:
            members = {p.component: p.from_deployment for p in plan.components if p.from_deployment}
            id_ = content_id_of(members)
            if known_names.get(id_) == plan.from_release:
                known = Remembered(content_id=id_, members=members, at=plan.from_since)
                found.setdefault(id_, known)
        if plan.to_since is not None:
            members = {
                p.component: p.to_deployment for p in plan.components if p.disposition in MOVED
            }
            known = Remembered(content_id=plan.to_content_id, members=members, at=plan.to_since)
            found.setdefault(plan.to_content_id, known)
    return list(found.values())

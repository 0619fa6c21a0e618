"""States that are a release in all but what a rollback kept on purpose.

A rollback to R3 keeps a database whose newer schema R3's code can live with. What is live then is
R3, with its database kept: not a state of its own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from taly.model.plan import Disposition, Plan
from taly.planning.hashing import content_id_of

THERE = (Disposition.ROLL_BACK, Disposition.ALREADY_THERE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalent:
    """The release that a state stands for."""

    content_id: str
    """The release's."""
    kept: Mapping[str, str]
    """Component → the deployment that it stays at."""


def equivalents(succeeded: Iterable[Plan]) -> dict[str, Equivalent]:
    """Content id of the state that a rollback led to → the release that it stands for.

    `succeeded` are plans whose runs succeeded. One that left components out, or that kept none,
    leads to no such state.
    """
    found = {}
    for plan in succeeded:
        kept = {
            part.component: part.from_deployment
            for part in plan.components
            if part.disposition is Disposition.KEPT
        }
        moved = {
            part.component: part.to_deployment
            for part in plan.components
            if part.disposition in THERE
        }
        if kept and plan.purpose == "rollback" and len(kept) + len(moved) == len(plan.components):
            reached = content_id_of({**moved, **kept})
            found[reached] = Equivalent(content_id=plan.to_content_id, kept=kept)
    return found

"""Which names count, and what they show: the only proof of what Vercel serves."""

from collections.abc import Mapping
from dataclasses import dataclass

from taly.providers.vercel.payloads import Project, Rolling


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What the production names of a project show right now."""

    shown: Mapping[str, str]
    """Domain → deployment id, of every production name that counts."""
    named: str
    """`targets.production`: what the vendor calls live; empty = nothing."""
    moved_to: str = ""
    """Where the last rollback or promote that ended was to lead."""
    canary: str = ""
    """The deployment that an active rolling release sends part of the traffic to."""

    @property
    def live(self) -> str:
        """The id that is live; where the names disagree, the one that most of them show.

        After a rollback or promote that left names behind, those names are what is live: there is
        still something to do.
        """
        ids = list(self.shown.values())
        left_behind = [id_ for id_ in ids if id_ != self.named]
        if left_behind and self.moved_to == self.named:
            ids = left_behind
        return max(ids, key=lambda id_: (ids.count(id_), id_ == self.named)) if ids else self.named

    @property
    def all_ids(self) -> tuple[str, ...]:
        """Every deployment that a production name shows, without repeats, the live one first."""
        return tuple(dict.fromkeys((self.live, *self.shown.values(), self.named)))

    def strays(self, wanted: str) -> tuple[str, ...]:
        """The names that show another deployment than the wanted one."""
        return tuple(domain for domain, id_ in self.shown.items() if id_ != wanted)

    def is_all(self, wanted: str) -> bool:
        """Whether every name, the vendor's own word and all traffic agree on it."""
        canary_elsewhere = self.canary not in ("", wanted)
        return not self.strays(wanted) and self.named == wanted and not canary_elsewhere


def serving(project: Project, rolling: Rolling | None, *, pinned: str = "") -> Serving:
    """What the project serves; names in `pinned` (comma-separated) are left out.

    Redirects show no deployment of their own, and only PRODUCTION names count.
    """
    apart = frozenset(pinned.split(","))
    shown = {
        alias.domain: alias.points_to
        for alias in project.aliases
        if alias.is_production and alias.domain not in apart
    }
    job = project.job
    return Serving(
        shown=shown,
        moved_to=job.to_id if job is not None and not job.is_running else "",
        named=project.production.id if project.production else "",
        canary=rolling.canary_id if rolling is not None and rolling.is_active else "",
    )


def uncovered(project: Project, domains: frozenset[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names that no rollback moves: (made by hand and showing what is live, the others).

    The others were pinned to something else before we came, on purpose, or show nothing at all
    (a domain that was added and never set up): they do not count.
    """
    named = project.production.id if project.production else ""
    by_hand = [
        alias for alias in project.aliases if alias.is_production and alias.domain not in domains
    ]
    following = tuple(alias.domain for alias in by_hand if alias.points_to == named)
    pinned = [alias.domain for alias in by_hand if alias.points_to != named]
    if project.job is None or not project.job.is_running:  # else they may just be moving
        pinned += [alias.domain for alias in project.aliases if not alias.points_to]
    return following, tuple(dict.fromkeys(pinned))

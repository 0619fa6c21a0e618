"""Releases with the names, records and marks that the store keeps."""

from dataclasses import dataclass

from taly.app.context import Context
from taly.app.discover import observe
from taly.engine.store import Marked, RecordedRelease, RunSummary
from taly.errors import UsageError
from taly.model.release import LivePeriod, Mark, Observed, Release, Snapshot, Unobserved
from taly.planning.equivalents import equivalents
from taly.planning.hashing import content_id_of
from taly.planning.memory import remembered
from taly.planning.releases import Releases, build_releases
from taly.redaction import redact


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What is live now, and which releases there were."""

    snapshot: Snapshot
    releases: Releases


def load_history(context: Context) -> History:
    """Observe everything and rebuild the releases; new ones get their names, for ever."""
    return history_of(context, observe(context))


def history_of(context: Context, snapshot: Snapshot) -> History:
    """The releases that this snapshot's histories tell of."""
    environment, store = context.environment, context.store
    marks = {id_: (m.mark, m.why) for id_, m in store.marks(environment.name).items()}

    runs = store.runs(environment.name)
    plans = {run.id: store.plan(run.id) for run in reversed(runs) if run.purpose == "rollback"}
    equivalent = equivalents(plans[run.id] for run in reversed(runs) if _went_there(run))
    own_runs = [LivePeriod(start=run.created_at, end=run.finished_at) for run in runs]

    # Read only where it is needed: a thousand releases of a thousand components are large.
    partly = any(isinstance(one, Unobserved) for one in snapshot.components.values())
    known_members = store.release_members(environment.name) if partly else {}

    def build() -> Releases:
        names = store.release_names(environment.name)
        return build_releases(
            environment,
            snapshot.components,
            store.recorded_releases(environment.name),
            names,
            marks,
            environment.policy.grouping_window_s,
            equivalent=equivalent,
            remembered=remembered(plans.values(), names),
            own_runs=own_runs,
            known_members=known_members,
        )

    releases = build()
    if releases.unnamed:
        new = set(releases.unnamed)
        members = {one.content_id: one.members for one in releases if one.content_id in new}
        store.name_releases(environment.name, releases.unnamed, members)
        releases = build()
    return History(snapshot=snapshot, releases=releases)


def _went_there(run: RunSummary) -> bool:
    """Whether the run was a rollback that succeeded."""
    return run.outcome == "succeeded" and run.purpose == "rollback"


def record(context: Context, *, commit: str, label: str) -> RecordedRelease:
    """Pin what is live now as a release; for CI, right after a deploy was seen to work.

    Raises UsageError when a component cannot be observed: half a release would be a lie.
    """
    snapshot = observe(context)
    members = {}
    for name, observation in snapshot.components.items():
        if not isinstance(observation, Observed):
            raise UsageError(
                f"{name} cannot be observed ({observation.reason}); nothing was recorded",
                reference="record-incomplete",
                hint="taly status",
            )
        members[name] = observation.live.id
    recorded = RecordedRelease(
        content_id=content_id_of(members),
        members=members,
        commit=redact(commit),  # kept for ever, where all of a team see it
        label=redact(label),
        at=context.clock.now(),
        by=context.by,
    )
    context.store.record_release(context.environment.name, recorded, context.identity)
    return recorded


def mark(context: Context, name: str, mark_: Mark, why: str) -> Release:
    """Say of a release that it is good or bad; UsageError when there is none of that name."""
    releases = load_history(context).releases
    release = releases.named(name)
    if release is None:
        known = ", ".join(release.name for release in releases)
        raise UsageError(
            f"there is no release {name!r}; there are {known}",
            reference="release-unknown",
            hint="taly releases",
        )
    environment = context.environment.name
    # While a vendor is down the release's own id is that of a part of it only.
    ids = {name: id_ for id_, name in context.store.release_names(environment).items()}
    content_id = ids.get(release.name, release.content_id)
    at = context.clock.now()
    marked = Marked(content_id=content_id, mark=mark_, why=redact(why), by=context.by, at=at)
    context.store.mark_release(environment, marked, context.identity)
    return release

"""Which release a word of the user's means."""

from taly.app.context import Context
from taly.app.history import History
from taly.model.release import Release
from taly.planning.target import Choice, choose

LAST_GOOD = "last-good"


def choose_release(context: Context, history: History, text: str) -> Choice:
    """The release that the text means, as `taly.planning.target.choose`.

    `last-good` means the live release where taly's own last rollback led to it: whoever types
    `taly rollback` twice at 2 a.m. must not go back two releases.
    """
    went = _went_back_already(context, history.releases.live) if text == LAST_GOOD else None
    snapshot = history.snapshot
    return went or choose(text, history.releases, snapshot.components, snapshot.taken_at)


def _went_back_already(context: Context, live: Release | None) -> Choice | None:
    done = [run for run in context.store.runs(context.environment.name) if run.outcome]
    moved = [run for run in done if run.purpose != "unfreeze"]
    if live is None or not moved or moved[0].outcome != "succeeded":
        return None
    plan = context.store.plan(moved[0].id)
    if plan.purpose != "rollback" or plan.to_content_id != live.content_id:
        return None
    why = f"{live.name} is where {moved[0].id} went back to; to go further back, name a release"
    return Choice(release=live, why=why)

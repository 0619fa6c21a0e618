"""What a team shares without a database: opened, looked at, and spoken of."""

import sys
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

from taly.config import Config, is_postgres
from taly.engine.store import Store, open_store
from taly.engine.store.open import file_of
from taly.errors import UsageError
from taly.model.check import Finding
from taly.planning.codes import finding
from taly.planning.preflight import lock_held

if TYPE_CHECKING:
    from taly.app.context import Context
    from taly.engine.shared import Holding, Look, Team

ANSWER_SHARE = 0.2
"""Share of the lease that one answer of S3's may take: a renewal has more than one try."""
LOCAL = "The lock is this machine's alone: nobody elsewhere is held off or sees this run."


def store_of(config: Config, environ: Mapping[str, str]) -> Store:
    """The store of this configuration: a PostgreSQL, this machine's file, or that and `shared`."""
    path = file_of(config.store)
    if not config.shared or path is None:
        return open_store(config.store)
    # Imported here: S3 is asked only by teams that have it.
    from taly.engine.shared import S3Objects, SharedStore
    from taly.engine.store.sqlite import SqliteDatabase

    timeout_s = min(5.0, config.environment.policy.lease_s * ANSWER_SHARE)
    return SharedStore(
        SqliteDatabase(path),
        S3Objects(environ, config.shared, region=config.shared_region, timeout_s=timeout_s),
        config.environment.name,
        folder=path.parent / "shared",
        notice=to_stderr,
    )


def to_stderr(text: str) -> None:
    """Tell whoever waits; data goes to stdout."""
    print(textwrap.fill(text, 80), file=sys.stderr, flush=True)


def team_of(context: "Context") -> "Team | None":
    """What the team shares of this environment; None where it shares nothing in this way."""
    if not context.config.shared:
        return None
    from taly.engine.shared import SharedStore

    store = context.store
    return store.team() if isinstance(store, SharedStore) else None


def lock_line(context: "Context") -> str:
    """Who sees the lock, where that is not everybody by itself; empty for a PostgreSQL."""
    config = context.config
    if is_postgres(config.store):
        return ""
    return f"The lock is kept in {config.shared}." if config.shared else LOCAL


def lock_findings(context: "Context") -> tuple[Finding, ...]:
    """What the environment's lock says against a run; watches a holder elsewhere for a lease."""
    team = team_of(context)
    look = team.look() if team is not None else None
    holder = context.store.unfinished(context.environment.name)
    holding = look.holding if look is not None and look.verdict != "free" else None
    if holder is not None and holding is not None and look is not None and look.verdict == "alive":
        return (_held(holding),)
    if holder is not None:
        return (lock_held(holder.id, holder.by),)
    if holding is None or look is None or _is_over(context, holding.run):
        return ()
    return (_left(look, holding),)


def _is_over(context: "Context", run_id: str) -> bool:
    """Whether the run ended, and could only not say so to the lock."""
    try:
        return context.store.run(run_id).outcome is not None
    except UsageError:
        return False


def _held(holding: "Holding") -> Finding:
    from taly.engine.shared import held_by

    text = f"{held_by(holding)} holds the environment"
    return finding("environment-locked", "", text, f"taly show {holding.run}")


def _left(look: "Look", holding: "Holding") -> Finding:
    from taly.engine.shared import held_by

    why = "was left unfinished" if look.verdict == "left" else "gives no sign of life"
    text = (
        f"{held_by(holding)} {why}: this run takes the environment over, and that one can never "
        "go on"
    )
    return finding("environment-taken-over", "", text, f"taly show {holding.run}")

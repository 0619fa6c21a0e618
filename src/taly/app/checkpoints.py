"""Checkpoints of the environment's database: make, end the window, list, prove, prune."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from taly.app.context import Context
from taly.app.shared_checkpoints import Elsewhere, elsewhere, tell, tell_removed
from taly.database.checkpoint.after import end_window
from taly.database.checkpoint.contents import Report
from taly.database.checkpoint.create import Order, create
from taly.database.checkpoint.folder import Checkpoint, Unreadable, every, named
from taly.database.checkpoint.manifest import Backup
from taly.database.checkpoint.on_rds import OnRds
from taly.database.checkpoint.prune import Pruned, of_component, prune, superfluous
from taly.database.checkpoint.verify import Proof, verify
from taly.database.connection import Target, target_of
from taly.database.sources.rds import Rds
from taly.errors import EnvironmentLocked, UsageError
from taly.model.environment import Component
from taly.redaction import redact

CI_COMMITS = (
    *("GITHUB_SHA", "CI_COMMIT_SHA", "CIRCLE_SHA1", "BUILDKITE_COMMIT", "BITBUCKET_COMMIT"),
)


def make(
    context: Context,
    *,
    component: str,
    backup: Backup,
    commit: str,
    label: str,
    trial: bool,
    report: Report,
) -> Checkpoint:
    """Keep what the next `prisma migrate deploy` may destroy; for CI, just before it.

    `commit` empty = the CI's own. Raises TalyError; then nothing is left behind.
    """
    chosen = _component(context, component)
    made = create(
        Order(
            base=base_of(chosen),
            target=_target(context, chosen),
            migrations=Path(chosen.settings["migrations"]),
            environment=context.environment.name,
            component=chosen.name,
            backup=backup,
            # They stand in its manifest, its name and its folder's, for ever.
            commit=redact(commit or _ci_commit(context)),
            label=redact(label),
            by=redact(context.by),
            now=context.clock.now(),
            report=report,
            trial=trial,
            on_rds=_on_rds(context, chosen) if backup.startswith("rds-") else None,
        )
    )
    return tell(context, made)


def close(context: Context, *, component: str, name: str) -> Checkpoint:
    """Record that the migrations are done; for CI, right behind them."""
    chosen = _component(context, component)
    closed = end_window(
        base_of(chosen),
        _target(context, chosen),
        environment=context.environment.name,
        component=chosen.name,
        name=name,
        by=context.by,
        now=context.clock.now(),
    )
    return tell(context, closed)


def kept(context: Context) -> Sequence[Checkpoint | Unreadable]:
    """All checkpoints of this environment's databases, newest first; unreadable ones last."""
    found = [one for base in _bases(context) for one in every(base)]
    good = [one for one in found if isinstance(one, Checkpoint)]
    good.sort(key=lambda one: one.manifest.made_at, reverse=True)
    return [*good, *(one for one in found if isinstance(one, Unreadable))]


def others(context: Context) -> list[Elsewhere] | None:
    """The other machines' checkpoints, newest first; None when the bucket does not answer."""
    return elsewhere(context, [one for one in kept(context) if isinstance(one, Checkpoint)])


def prove(context: Context, name: str, report: Report) -> Proof:
    """Restore a checkpoint into a scratch database and compare."""
    checkpoint = find(context, name)
    chosen = _component(context, checkpoint.manifest.component)
    where = _on_rds(context, chosen)
    return verify(checkpoint, _target(context, chosen), report, where)


def retain(context: Context, *, component: str, keep: int | None) -> Pruned:
    """Keep that many of the newest, else what taly.toml says; the others go.

    Raises EnvironmentLocked while a run is not over: it may need any of them.
    """
    chosen = _component(context, component)
    holder = context.store.unfinished(context.environment.name)
    if holder is not None:
        raise EnvironmentLocked(
            f"{holder.id} is not over, and may need a checkpoint: none was removed",
            reference="checkpoint-in-use",
            hint=f"taly show {holder.id}",
        )
    gone = prune(
        base_of(chosen),
        environment=context.environment.name,
        component=chosen.name,
        keep=context.config.checkpoints.keep if keep is None else keep,
        since=_since(context) if keep is None else None,
        target=lambda: _target(context, chosen),
        rds=lambda region: Rds(context.environ, region),
    )
    tell_removed(context, gone.removed)
    return gone


def outdated(context: Context, component: str) -> int:
    """How many `prune` would remove now, by what taly.toml says."""
    chosen = _component(context, component)
    mine = of_component(every(base_of(chosen)), context.environment.name, chosen.name)
    return len(superfluous(mine, context.config.checkpoints.keep, _since(context)))


def _since(context: Context) -> datetime:
    return context.clock.now() - timedelta(days=context.config.checkpoints.keep_days)


def find(context: Context, name: str) -> Checkpoint:
    """The checkpoint of that name; UsageError when there is none."""
    bases = _bases(context)
    holding = next((base for base in bases if (base / name).is_dir()), bases[0])
    return named(holding, name)


def base_of(component: Component) -> Path:
    """The folder of a database's checkpoints."""
    return Path(component.settings["checkpoints"])


def _bases(context: Context) -> list[Path]:
    """The folders of all databases, each once."""
    databases = [one for one in context.environment.components if one.provider == "postgres"]
    return list(dict.fromkeys(map(base_of, databases or [_component(context, "")])))


def _component(context: Context, name: str) -> Component:
    databases = [one for one in context.environment.components if one.provider == "postgres"]
    chosen = [one for one in databases if one.name == name] if name else databases
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(one.name for one in databases)
    if not databases:
        raise UsageError(
            'taly.toml has no component with provider = "postgres"',
            reference="no-database",
            hint="taly init   (or add one to taly.toml)",
        )
    raise UsageError(
        f"there is no database {name!r}; there are {names}" if name else f"which one: {names}?",
        reference="no-such-component",
        hint=f"taly checkpoint --component {databases[0].name}",
    )


def _target(context: Context, component: Component) -> Target:
    return target_of(component.settings, context.environ)


def _on_rds(context: Context, component: Component) -> OnRds:
    return OnRds(
        instance=component.settings.get("rds", ""),
        component=component.name,
        region=component.settings.get("region", ""),
        environ=context.environ,
        clock=context.clock,
    )


def _ci_commit(context: Context) -> str:
    found = (context.environ.get(name, "") for name in CI_COMMITS)
    return next((commit for commit in found if commit), "")

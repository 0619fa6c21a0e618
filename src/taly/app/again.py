"""CI is about to apply a migration that a rollback took back: the bad release once more?

Freezing holds the vendors' auto-deploys; a pipeline that migrates by itself is held here, at the
`taly checkpoint` that stands before its `prisma migrate deploy`.
"""

from pathlib import Path

from taly.app.context import Context
from taly.database.checkpoint.facts import ledger_of
from taly.database.checkpoint.pending import scripts
from taly.database.checkpoint.session import snapshot
from taly.database.connection import target_of
from taly.database.files import checksums
from taly.errors import Refused
from taly.model.environment import Component


def refuse_taken_back(context: Context, component: str) -> None:
    """Raise Refused when a pending migration was applied, taken back, and is unchanged.

    `component` empty = every database. `taly unfreeze` lets it through, as it lets the vendors'
    deploys through; so does a migration that was changed.
    """
    for one in context.environment.components:
        if one.provider == "postgres" and component in ("", one.name):
            names = _taken_back(context, one)
            if names and not _let_through(context):
                raise Refused(
                    f"{', '.join(names)} was taken back by a rollback and is as it was then: the "
                    "release that was rolled back is being deployed again",
                    reference="migration-taken-back",
                    hint="taly unfreeze   (once the fix is in this deploy)",
                )


def _taken_back(context: Context, component: Component) -> list[str]:
    target = target_of(component.settings, context.environ)
    with snapshot(target) as connection:
        ledger, _ = ledger_of(connection, target)
    before = {
        (row.name, row.checksum)
        for row in ledger.rows
        if row.finished_at is not None and row.rolled_back_at is not None
    }
    if not before:
        return []
    return [
        script.name
        for script in scripts(Path(component.settings["migrations"]), ledger)
        if script.pending and any((script.name, sum_) in before for sum_ in checksums(script.data))
    ]


def _let_through(context: Context) -> bool:
    """Whether auto-deploys were given back since the last run that did anything else."""
    done = [
        run for run in context.store.runs(context.environment.name) if run.outcome == "succeeded"
    ]
    return bool(done) and done[0].purpose == "unfreeze"

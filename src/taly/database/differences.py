"""What the migrations since the target mean for its code: read, proved, parsed, asked about."""

from collections.abc import Sequence
from pathlib import Path

from taly.database.catalog import answers
from taly.database.checkpoint.facts import moment
from taly.database.connection import Target, reading
from taly.database.files import Text, refuse_prisma_8, text_of
from taly.database.history import names_of
from taly.database.ledger import Ledger, read_ledger
from taly.database.obstacles import usable
from taly.database.outlook import Scene, outlook
from taly.database.starting_point import starting_point
from taly.database.ways import places_of
from taly.model.check import Finding, Severity
from taly.model.plan import DatabaseOutlook, Migration
from taly.model.ports import Differences
from taly.model.release import Deployment, Observed
from taly.planning.codes import finding
from taly.planning.migrations import CatalogFacts, classify_all, wanted_facts

BY_HAND = "repair the schema first, then: prisma migrate resolve --rolled-back "
PROBLEMS = {"missing": "migration-text-missing", "differs": "migration-checksum-differs"}


def differences(before: Observed, target: Target, wanted: Deployment) -> Differences:
    """Every migration that the database has and `wanted` had not, and what to do about them.

    Raises VendorUnavailable, VendorRefused.
    """
    component = before.component
    directory = Path(before.address["directory"]) if before.address["directory"] else None
    if directory is not None:
        refuse_prisma_8(directory)
    base = Path(before.address["checkpoints"])
    places = places_of(directory, base)
    with reading(target) as connection:
        ledger = read_ledger(connection, target)
        had = set(names_of(wanted))
        rows = [*ledger.applied, *ledger.unfinished]
        earlier = [text_of(places, row) for row in rows if row.name in had]
        since = [text_of(places, row) for row in rows if row.name not in had]
        texts, after = [*earlier, *since], len(earlier)
        pairs = [(text.name, text.sql) for text in texts]
        questions = wanted_facts(pairs, after=after, complete=True)
        facts = CatalogFacts(answers=answers(connection, target.schema, questions), complete=True)
        found = classify_all(pairs, after=after, catalog=facts)
        migrations = tuple(_with_failure(migration, ledger) for migration in found)
        live = moment(connection, target)
        at = Scene(
            before=before,
            wanted=wanted,
            target=target,
            connection=connection,
            live=live,
            migrations=migrations,
            places=places,
            earlier=pairs[:after],
            since=pairs[after:],
            start=starting_point(base, component, live.database, had),
            checkpoints=usable(base, component, live.database),
        )
        seen = outlook(at)
    return Differences(
        migrations=migrations,
        database=seen,
        findings=(
            *_unreadable(component, since, directory),
            *_missing(component, ledger, had),
            *_failed(component, ledger, seen),
        ),
    )


def _with_failure(migration: Migration, ledger: Ledger) -> Migration:
    """The verdict, unless it did not finish: then part of it may be there and part not."""
    if migration.name not in {row.name for row in ledger.unfinished}:
        return migration
    reason = "it did not finish, and what of it is applied is not known"
    return Migration(
        name=migration.name,
        verdict="restore" if migration.verdict == "restore" else "revert",
        reasons=(reason, *migration.reasons),
        undo=migration.undo,
    )


def _unreadable(component: str, texts: Sequence[Text], directory: Path | None) -> list[Finding]:
    where = str(directory) if directory else "no `migrations` directory is set in taly.toml"
    found = []
    for text in texts:
        if text.problem == "missing":
            said = f"{text.name}: its migration.sql is not there ({where}; nor in a checkpoint)"
            hint = "check out the commit that is live, then: taly plan"
        elif text.problem == "differs":
            said = f"{text.name}: migration.sql is not what was applied: its checksum differs"
            hint = f"git log -p -- {directory}/{text.name}/migration.sql"
        else:
            continue
        found.append(finding(PROBLEMS[text.problem], component, said, hint))
    return found


def _missing(component: str, ledger: Ledger, had: set[str]) -> list[Finding]:
    applied = {row.name for row in ledger.applied}
    return [
        finding(
            "migration-not-applied",
            component,
            f"the target's code was made with {name}, which the database has no more",
            "prisma migrate deploy",
        )
        for name in sorted(had - applied)
    ]


def _failed(component: str, ledger: Ledger, seen: DatabaseOutlook) -> list[Finding]:
    """Migrations that stopped half-way: an error, unless the plan can take them back."""
    mended = any(way.possible for way in seen.ways if way.verdict != "keep")
    return [
        finding(
            "migration-failed",
            component,
            f"{row.name} did not finish: it may be half applied, and the next deploy stops at it",
            "" if mended else BY_HAND + row.name,
            severity=Severity.WARNING if mended else None,
        )
        for row in ledger.unfinished
        if not ledger.running
    ]

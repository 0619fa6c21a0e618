"""Every finding that taly or a provider may raise: its code, its severity, what it means."""

from collections.abc import Mapping
from dataclasses import dataclass

from taly.model.check import Finding, Severity


@dataclass(frozen=True, slots=True)
class Code:
    """What stands behind a finding's code; the reference page is checked against this."""

    severity: Severity
    """The usual one; a finding may be raised more mildly where something else helps."""
    meaning: str


E, W, N = Severity.ERROR, Severity.WARNING, Severity.NOTE

CODES: Mapping[str, Code] = {
    "auto-deploy-on": Code(W, "a component left alone still deploys the next push by itself"),
    "cancel-not-undone": Code(N, "an operation that was cancelled cannot be started again"),
    "changed-since-run": Code(W, "a component was changed after the run that is taken back"),
    "checkpoint-elsewhere": Code(W, "only another machine has a checkpoint of a migration"),
    "component-blocked": Code(E, "the vendor lets nothing be changed on the component now"),
    "component-unknown": Code(E, "the component could not be observed"),
    "conversions": Code(W, "columns that were renamed or retyped are read back as they stand"),
    "conversions-need-consent": Code(E, "a column was renamed or retyped, and no hint says how"),
    "database-brought-back": Code(N, "what comes back with a database when a run is taken back"),
    "database-kept-anyway": Code(W, "the database is kept as asked for, and the old code breaks"),
    "database-kept-newer": Code(N, "the database keeps migrations that the old code can live with"),
    "database-needs-restore": Code(E, "the old code needs data back that a migration removed"),
    "database-needs-revert": Code(E, "the old code cannot live with a migration made since"),
    "database-order": Code(W, "for a while the live code meets the database's older schema"),
    "database-overridden": Code(W, "another way with the database would suit better"),
    "database-pooler": Code(N, "the database's URL leads through a pooler: no locks there"),
    "database-skipped": Code(W, "the database was left out, and migrations since do not suit"),
    "database-tls-off": Code(W, "the connection to a database that goes back is not encrypted"),
    "database-tls-unverified": Code(N, "a database that goes back need not prove who it is"),
    "database-way-impossible": Code(E, "what was asked for cannot be done with the database"),
    "differences-unknown": Code(E, "what going back would change could not be read"),
    "digest-stale": Code(W, "the tag means another image by now; the image is named by its digest"),
    "environment-locked": Code(E, "another run holds the environment"),
    "environment-taken-over": Code(W, "another machine's run was left unfinished, and is given up"),
    "hobby-limit": Code(E, "the vendor's plan allows only the previous deployment"),
    "migration-checksum-differs": Code(E, "migration.sql is not the text that was applied"),
    "migration-failed": Code(E, "a migration did not finish and may be half applied"),
    "migration-not-applied": Code(E, "the target's code needs a migration that is not there now"),
    "migration-text-missing": Code(
        E, "a migration's text is neither in the checkout nor in a checkpoint"
    ),
    "netlify-answer-unreadable": Code(E, "Netlify's answer is not what it documents"),
    "netlify-conflict": Code(E, "something else is changing the site"),
    "netlify-forbidden": Code(E, "the token may not read the site"),
    "netlify-gone": Code(E, "Netlify had the site or the deploy, and has it no more"),
    "netlify-invalid": Code(E, "Netlify does not accept the question"),
    "netlify-not-found": Code(E, "the token reaches no such site"),
    "netlify-plan-limit": Code(E, "the team's plan does not allow it"),
    "netlify-rate-limited": Code(E, "Netlify's rate limit did not pass in time"),
    "netlify-token-invalid": Code(E, "Netlify does not accept the token"),
    "netlify-unreachable": Code(E, "Netlify did not answer"),
    "never-served": Code(E, "the deployment never served users, so nobody knows that it works"),
    "no-functions": Code(E, "the target's template has no function"),
    "not-in-release": Code(N, "the component did not exist in the release and is left as it is"),
    "nothing-to-do": Code(N, "everything is there already"),
    "operation-in-flight": Code(E, "the vendor is changing the component right now"),
    "order-circle": Code(E, "components are declared to come after each other"),
    "other-repository": Code(E, "the target image lies in another repository"),
    "permission-missing": Code(E, "the credentials may not do what a step needs"),
    "permissions-unchecked": Code(N, "AWS could not be asked whether the credentials suffice"),
    "plan-stale": Code(E, "the component is no longer as it was when the plan was made"),
    "plan-tampered": Code(E, "the plan is not the one that its digest was made of"),
    "removals": Code(W, "going back deletes resources, as was agreed to"),
    "removals-need-consent": Code(E, "going back would delete resources"),
    "rescue-unreadable": Code(E, "the rescue bundle of the run taken back cannot be read"),
    "restore-bundle-gone": Code(E, "the rescue bundle that an undo needs is not there"),
    "restore-by-comparison": Code(N, "what was written since is found by comparing all rows"),
    "restore-cannot-carry": Code(E, "the user may not carry rows over without firing triggers"),
    "restore-checkpoint-broken": Code(E, "the checkpoint is damaged"),
    "restore-checkpoint-gone": Code(E, "there is no such checkpoint"),
    "restore-checkpoint-unsuitable": Code(E, "the checkpoint has other migrations than the target"),
    "restore-migrate-running": Code(E, "a `prisma migrate` is under way on the database"),
    "restore-no-backup": Code(E, "the checkpoint was made without a backup"),
    "restore-no-createdb": Code(E, "the user may neither create nor rename databases"),
    "restore-no-maintenance": Code(E, "the server lets us into no other database to rename from"),
    "restore-no-room": Code(E, "there is not enough room for a second database"),
    "restore-not-owner": Code(E, "only a database's owner can rename it"),
    "restore-other-database": Code(E, "the checkpoint is of another database"),
    "restore-pooler": Code(E, "a restore cannot be done through a pooler"),
    "restore-prepared-transactions": Code(
        E, "prepared transactions keep the database from being renamed"
    ),
    "restore-program-missing": Code(E, "there is no `pg_restore` for the backup"),
    "restore-put-aside-gone": Code(E, "the database that was put aside is not there any more"),
    "restore-rds-gone": Code(E, "RDS has no more of the checkpoint what a restore is made of"),
    "restore-rds-unknown": Code(E, "RDS does not say whether it still has the backup"),
    "restore-replication-slots": Code(
        W, "replication slots stay with the database that is put aside"
    ),
    "restore-room-unknown": Code(N, "the server does not tell how much room it has"),
    "restore-sessions-of-others": Code(E, "somebody is connected whose session we may not end"),
    "restore-template-gone": Code(E, "the checkpoint's copy is not on the server any more"),
    "retention-soon": Code(W, "the vendor removes the target deployment within a day"),
    "revert-barred": Code(E, "rows written since do not fit the old schema"),
    "revert-data-missing": Code(W, "a migration destroyed data, and no checkpoint has it"),
    "revert-later-applied": Code(E, "a later migration stays, so an earlier one is not reverted"),
    "revert-ledger": Code(E, "the ledger has no migration of that name to take back"),
    "revert-no-createdb": Code(E, "the user may not create the scratch database of a way down"),
    "revert-no-way": Code(E, "what the schema was before the migration is not known"),
    "service-not-running": Code(E, "the service is in a state in which it cannot be updated"),
    "service-paused": Code(E, "the service is paused"),
    "stack-blocked": Code(E, "the stack is in a state in which it cannot be updated"),
    "stack-busy": Code(E, "CloudFormation is changing the stack"),
    "steps-missing": Code(E, "the provider knows no way to the target"),
    "store-in-database": Code(W, "taly's runs are kept in a database that may have to go back"),
    "target-ambiguous": Code(E, "the evidence leaves open which deployment the release had"),
    "target-barred": Code(E, "the vendor has the target deployment and would not make it live"),
    "target-changed": Code(E, "the target's artifact is not what it was when it was planned"),
    "target-gone": Code(E, "the vendor has the target deployment no more"),
    "target-marked-bad": Code(E, "the release asked for is marked bad"),
    "template-unreadable": Code(E, "the target's stored template is no JSON"),
    "vendor-timeout": Code(E, "the vendor did not answer the checks in time"),
    "vendor-unreachable": Code(E, "the vendor could not be asked"),
    "vercel-alias-uncovered": Code(W, "an alias is outside the project's domains and is not moved"),
    "vercel-conflict": Code(W, "Vercel is busy with another alias request"),
    "vercel-invalid-target": Code(
        E, "the deployment is none of the project's production deployments"
    ),
    "vercel-not-candidate": Code(E, "Vercel does not offer the deployment for a rollback"),
    "vercel-not-found": Code(E, "the token's scope holds no such project"),
    "vercel-paused": Code(E, "the project is paused"),
    "vercel-role": Code(W, "the token's member may lack the right to deploy"),
    "vercel-rolling-release": Code(W, "a rolling release is active and ends with the rollback"),
    "vercel-scope": Code(E, "the token may not reach the project's team"),
    "vercel-token-invalid": Code(E, "Vercel does not accept the token"),
    "version-unchecked": Code(N, "the target's commit is not known, so it is not asked for"),
    "was-broken-before": Code(W, "the application did not answer well before the run either"),
}


def finding(
    code: str, component: str, text: str, hint: str = "", *, severity: Severity | None = None
) -> Finding:
    """A finding of that code, with the code's usual severity unless told otherwise."""
    return Finding(
        code=code,
        severity=severity or CODES[code].severity,
        component=component,
        text=text,
        hint=hint,
    )

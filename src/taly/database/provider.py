"""The `postgres` provider: a Prisma application's database, observed, reverted, restored."""

from collections.abc import Mapping
from pathlib import Path

import stamina

from taly.database.acting import act, check
from taly.database.connection import Target, reading, target_of
from taly.database.files import refuse_prisma_8
from taly.database.history import blocked_by, deployments, durations, in_flight, state_of
from taly.database.ledger import Ledger, read_ledger
from taly.database.steps import steps_toward
from taly.errors import VendorRefused, VendorUnavailable
from taly.model.check import Finding
from taly.model.environment import Component
from taly.model.plan import Step, StepKind
from taly.model.ports import (
    Attempt,
    Clock,
    Differences,
    Failed,
    InFlight,
    Other,
    Probe,
    Say,
    StepOptions,
    Wanted,
    silent,
)
from taly.model.release import Deployment, Evidence, Observed
from taly.planning.codes import finding

CALL = "postgres:_prisma_migrations"
SCHEMA = "postgres:pg_catalog"


class PostgresProvider:
    """Says which migrations a database has and what each means for older code; takes them back.

    Settings: `url_env` (default DATABASE_URL) names the environment variable with the URL,
    `migrations` is Prisma's migrations directory, `schema` is where the ledger lies (default: the
    URL's `schema`, else public), `checkpoints` and `rescue` are the folders of both, `hints` says
    as JSON how columns read back.
    """

    name = "postgres"
    settle_s = 0.0
    """What was committed is read at once."""

    def __init__(self, environ: Mapping[str, str], clock: Clock) -> None:
        self._environ = environ
        self._clock = clock

    def observe(self, component: Component) -> Observed:
        """The sets of migrations that the database had and has."""
        target = target_of(component.settings, self._environ)
        directory = _directory(component.settings)
        if directory is not None:
            refuse_prisma_8(directory)
        ledger = self._ledger(target)
        history = deployments(component.name, ledger, self._evidence(ledger))
        live = next(deployment for deployment in history if deployment.is_live)
        return Observed(
            component=component.name,
            live=live,
            history=history,
            state=state_of(ledger),
            address={
                "url_env": target.url_env,
                "schema": target.schema,
                "place": target.place,
                "directory": str(directory or ""),
                "checkpoints": _folder(component.settings, "checkpoints"),
                "rescue": _folder(component.settings, "rescue"),
                "hints": component.settings.get("hints", ""),
                "environment": component.settings.get("environment", ""),
            },
            auto_deploy=None,
            in_flight=in_flight(ledger),
            blocked=blocked_by(ledger),
            durations_s=durations(ledger),
            notes=(POOLED,) if target.pooled else (),
        )

    def differences(self, before: Observed, target: Deployment) -> Differences:
        """What each migration since `target` means for its code, and what to do about it."""
        # Imported here: the parser takes longer to load than a whole `taly status` should.
        from taly.database.differences import differences

        return differences(before, target_of(before.address, self._environ), target)

    def steps(self, before: Observed, target: Deployment, options: StepOptions) -> tuple[Step, ...]:
        """Those of both ways, revert and restore: the planner takes one of them."""
        return steps_toward(before, target)

    def check(self, step: Step) -> tuple[Finding, ...]:
        """Whether nothing is under way, and whether the step would work."""
        target = target_of(step.address, self._environ)
        try:
            ledger = self._ledger(target)
        except (VendorRefused, VendorUnavailable) as error:
            code = "component-unknown"
            return (finding(code, step.component, error.message, error.hint),)
        found = [
            finding("operation-in-flight", step.component, f"{operation.what}; wait until it ends")
            for operation in in_flight(ledger)
        ]
        if target.pooled:
            found.append(finding("database-pooler", step.component, POOLED))
        return (*found, *check(step, environ=self._environ))

    def act(self, step: Step, key: str, say: Say = silent) -> Mapping[str, str]:
        """Revert, apply again, or restore: one change that is there as a whole or not at all."""
        return act(step, key, environ=self._environ, clock=self._clock, say=say)

    def probe(self, step: Step, attempt: Attempt | None) -> Probe:
        """Whether the database has the set of migrations that the step wants."""
        target = target_of(step.address, self._environ)
        ledger = self._ledger(target)
        evidence, state = (self._evidence(ledger),), state_of(ledger)
        for operation in in_flight(ledger):
            return InFlight(
                operation=operation.id, same_target=False, evidence=evidence, what=operation.what
            )
        if any(state.get(key) != value for key, value in step.wanted.items()):
            return Other(state=state, evidence=evidence)
        if step.kind is StepKind.VERIFY and (wrong := _schema(step, target)):
            says = Evidence(call=SCHEMA, at=self._clock.now(), says=wrong)
            return Failed(reason=wrong, evidence=(*evidence, says))
        return Wanted(state=state, evidence=evidence)

    def _ledger(self, target: Target) -> Ledger:
        retrying = stamina.retry_context(
            on=VendorUnavailable, attempts=3, wait_initial=0.2, wait_max=2.0, timeout=20
        )
        for attempt in retrying:
            with attempt, reading(target) as connection:
                return read_ledger(connection, target)
        raise AssertionError("unreachable: the retry context raises")

    def _evidence(self, ledger: Ledger) -> Evidence:
        applied = ledger.applied
        last = f", last {applied[-1].name}" if applied else ""
        says = f"{len(applied)} applied{last}"
        if ledger.unfinished:
            says += f"; {ledger.unfinished[0].name} unfinished"
        return Evidence(call=CALL, at=self._clock.now(), says=says)


POOLED = "its URL leads through a connection pooler, on which Prisma's lock does not hold"


def _schema(step: Step, target: Target) -> str:
    """What is wrong with the schema of a database that went back; empty = nothing."""
    if not step.address.get("checkpoint"):
        return ""
    # Imported here: reading catalogs is for those that went back.
    from taly.database.deep import differs

    wrong = differs(step, target)
    if not wrong:
        return ""
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return f"the schema is not as it was: {wrong[0].text}{more}"


def _folder(settings: Mapping[str, str], name: str) -> str:
    given = settings.get(name) or str(Path(".taly") / name)
    return str(Path(given).resolve())


def _directory(settings: Mapping[str, str]) -> Path | None:
    given = settings.get("migrations")
    return Path(given).resolve() if given else None

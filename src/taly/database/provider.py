"""The `postgres` provider: a Prisma application's database, observed and never changed."""

from collections.abc import Mapping
from pathlib import Path

import stamina

from taly.database.connection import Target, reading, target_of
from taly.database.files import refuse_prisma_8
from taly.database.history import blocked_by, deployments, durations, in_flight, state_of
from taly.database.ledger import Ledger, read_ledger
from taly.errors import VendorRefused, VendorUnavailable
from taly.model.check import Finding
from taly.model.environment import Component
from taly.model.plan import Step
from taly.model.ports import (
    Attempt,
    Clock,
    Differences,
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


class PostgresProvider:
    """Says which migrations a database has, and what each means for older code.

    Settings: `url_env` (default DATABASE_URL) names the environment variable with the URL,
    `migrations` is Prisma's migrations directory, `schema` is where the ledger lies (default: the
    URL's `schema`, else public).
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
            },
            auto_deploy=None,
            in_flight=in_flight(ledger),
            blocked=blocked_by(ledger),
            durations_s=durations(ledger),
            notes=(POOLED,) if target.pooled else (),
        )

    def differences(self, before: Observed, target: Deployment) -> Differences:
        """What each migration since `target` means for its code."""
        # Imported here: the parser takes longer to load than a whole `taly status` should.
        from taly.database.differences import differences

        directory = Path(before.address["directory"]) if before.address["directory"] else None
        place = target_of(before.address, self._environ)
        return differences(before.component, place, directory, target)

    def steps(self, before: Observed, target: Deployment, options: StepOptions) -> tuple[Step, ...]:
        """None: this version changes no database."""
        return ()

    def check(self, step: Step) -> tuple[Finding, ...]:
        """Whether the ledger can be read and nothing is under way."""
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
        return tuple(found)

    def act(self, step: Step, key: str, say: Say = silent) -> Mapping[str, str]:
        """Refused: this version changes no database."""
        raise VendorRefused(
            "taly reads databases and does not change them in this version",
            reference="database-read-only",
            hint="taly plan --skip " + step.component,
        )

    def probe(self, step: Step, attempt: Attempt | None) -> Probe:
        """Whether the database has the set of migrations that the step wants."""
        ledger = self._ledger(target_of(step.address, self._environ))
        evidence, state = (self._evidence(ledger),), state_of(ledger)
        for operation in in_flight(ledger):
            return InFlight(
                operation=operation.id, same_target=False, evidence=evidence, what=operation.what
            )
        if all(state.get(key) == value for key, value in step.wanted.items()):
            return Wanted(state=state, evidence=evidence)
        return Other(state=state, evidence=evidence)

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


def _directory(settings: Mapping[str, str]) -> Path | None:
    given = settings.get("migrations")
    return Path(given).resolve() if given else None

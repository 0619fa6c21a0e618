"""What is to be done, read from a step."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from taly.database.connection import Target, target_of
from taly.database.rescue.bundle import Bundle
from taly.errors import VendorRefused
from taly.model.plan import Step, StepKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One migration of one database, to be taken back or applied again."""

    target: Target
    migration: str
    wanted: str
    """Digest of the migrations that the database shall have."""
    before: str
    """Digest of those that it has when this step's turn comes."""
    directory: Path | None
    """Prisma's migrations directory."""
    checkpoints: Path | None
    rescue: Path
    run: str
    step: str
    component: str
    environment: str
    undoes: str
    """The run whose revert is taken back; empty for a revert."""
    hints: str = ""
    """The column hints, as JSON."""

    def bundle(self, now: datetime) -> Bundle:
        """A new rescue bundle of this run and step."""
        return Bundle.begin(
            self.rescue,
            run=self.run,
            step=self.step,
            component=self.component,
            environment=self.environment,
            place=self.target.place,
            now=now,
        )


def order_of(step: Step, key: str, environ: Mapping[str, str]) -> Order:
    """Read a step. Raises UsageError without the database's URL, VendorRefused for a pooler's."""
    address = step.address
    target = target_of(address, environ)
    if target.pooled:
        raise VendorRefused(
            f"{target.url_env} leads through a connection pooler, on which Prisma's lock does not"
            " hold: a migration is taken back over a direct connection only",
            reference="database-pooler",
            hint=f"export {target.url_env}=…   (host and port of the database itself)",
        )
    return Order(
        target=target,
        migration=address["migration"],
        wanted=str(step.wanted.get("migrations", "")),
        before=str(step.before.get("migrations", "")),
        directory=_path(address.get("directory")),
        checkpoints=_path(address.get("checkpoints")),
        rescue=_path(address.get("rescue")) or Path(".taly/rescue"),
        run=key.partition(":")[0],
        step=step.id,
        component=step.component,
        environment=address.get("environment", ""),
        undoes=address.get("undoes", ""),
        hints=address.get("hints", ""),
    )


def revert_step(order: Order) -> str:
    """The id of the step that this one takes back."""
    return f"{StepKind.REVERT}:{order.component}:{order.migration}"


def _path(given: str | None) -> Path | None:
    return Path(given) if given else None

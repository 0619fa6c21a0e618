"""What both databases offer to the store: named statements within retried transactions."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Protocol, TypeVar

from taly.errors import OutcomeUnknown, UsageError

Result = TypeVar("Result")
Row = Mapping[str, Any]
SCHEMA_VERSION = 4


class Transaction(Protocol):
    """Statements of which all or none take effect."""

    def rows(self, query: str, **values: object) -> list[Row]:
        """Run the statement of that name in queries.sql; what it returned."""
        ...

    def many(self, query: str, values: list[dict[str, object]]) -> None:
        """Run a statement that returns nothing once for each set of values."""
        ...

    def script(self, sql: str) -> None:
        """Run statements of the schema."""
        ...


class Database(Protocol):
    """A connection that mends itself."""

    def run(self, work: Callable[[Transaction], Result], *, again: bool) -> Result:
        """Do the work in one transaction and commit it durably.

        `again`: the work may be done twice without harm, so that a lost answer is retried.
        Raises OutcomeUnknown when the database does not answer.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


@cache
def queries() -> Mapping[str, str]:
    """Name → statement, as queries.sql has them."""
    return _blocks("queries.sql", "name")


def upgrade(tx: Transaction, version: int) -> None:
    """Bring a schema of that version up to date; UsageError when it comes from a newer taly."""
    refuse_newer(version)
    from taly.engine.store.upgrading import STEPS  # it needs what is declared here

    for number, sql in _blocks("schema.sql", "version").items():
        if int(number) > version:
            tx.script(sql)
            STEPS.get(int(number), _nothing)(tx)
            tx.rows("write_version", version=int(number))


def refuse_newer(version: int) -> None:
    """UsageError `store-too-new` where a newer taly brought the store to that version."""
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"the store was made by a newer taly (schema {version}; this one knows "
            f"{SCHEMA_VERSION})",
            reference="store-too-new",
            hint="pip install --upgrade taly-rollback",
        )


def _nothing(tx: Transaction) -> None:
    """Most versions are statements alone."""


def unreachable(error: Exception) -> OutcomeUnknown:
    """The error for a database that does not answer; connection texts may hold secrets."""
    return OutcomeUnknown(
        f"the store does not answer ({type(error).__name__}); nothing is done that cannot be "
        "written down there first",
        reference="store-unreachable",
        hint="taly runs",
    )


def _blocks(file: str, marker: str) -> dict[str, str]:
    text = files("taly.engine.store").joinpath(file).read_text("utf-8")
    parts = re.split(rf"^-- {marker}: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}

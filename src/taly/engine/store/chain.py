"""The audit trail's chain: each entry carries the hash of everything before it.

What is hashed is written down in docs/reference/audit-trail.md, so that anyone can check an export
with another program.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from taly.engine.codec import act_to_json
from taly.engine.store.database import Transaction
from taly.model.events import Act


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One event or act as it is stored, to the letter. A damaged store may hold any type."""

    environment: str
    position: int
    """1, 2, 3… within the environment, over all its runs and acts."""
    run: str
    """Empty for an act."""
    seq: int
    """The event's number within its run; 0 for an act."""
    at: str
    fence: int
    body: str
    plan: str
    """For a run's first event the sha256 of the plan's text as it is stored; else empty."""
    chain: str


def beginning(environment: str) -> str:
    """What stands for the hash before an environment's first entry."""
    return sha256(b"taly audit trail\n" + environment.encode(*UTF8)).hexdigest()


def link(previous: str, entry: Entry) -> str:
    """The hash that the entry must carry when `previous` is that of the one before it."""
    said = [
        previous,
        entry.environment,
        entry.position,
        entry.run,
        entry.seq,
        entry.at,
        entry.fence,
        entry.body,
        entry.plan,
    ]
    return sha256(json.dumps(said, separators=(",", ":"), default=repr).encode()).hexdigest()


def hash_of_text(text: object) -> str:
    """The sha256 of a stored text, in hex."""
    return sha256(str(text).encode(*UTF8)).hexdigest()


class Chain:
    """The end of an environment's chain, held locked until the transaction ends."""

    def __init__(self, tx: Transaction, environment: str) -> None:
        """Lock it; it begins with its first entry."""
        self._tx, self.environment = tx, environment
        found = tx.rows("claim_head", environment=environment, chain=beginning(environment))[0]
        self._position, self._chain = int(found["position"]), str(found["chain"])

    def add(self, values: Sequence[dict[str, object]], plan: str = "") -> None:
        """Give each event its place; `values` are its columns, and get those that are missing.

        `plan`: the plan's text, where the first of them begins a run.
        """
        for one in values:
            is_first = one["seq"] == 1
            one.update(self._next(one, plan=hash_of_text(plan) if is_first else ""))
        self._seal()

    def act(self, at: str, act: Act) -> None:
        """Append an act; `at` as it is to be stored."""
        values: dict[str, object] = {"at": at, "body": act_to_json(act)}
        values.update(self._next(values))
        self._tx.rows("insert_act", **values)
        self._seal()

    def _next(self, values: dict[str, object], plan: str = "") -> dict[str, object]:
        self._position += 1
        entry = Entry(
            environment=self.environment,
            position=self._position,
            run=str(values.get("id", "")),
            seq=int(str(values.get("seq", 0))),
            at=str(values["at"]),
            fence=int(str(values.get("fence", 0))),
            body=str(values["body"]),
            plan=plan,
            chain="",
        )
        self._chain = link(self._chain, entry)
        return {
            "environment": self.environment,
            "position": self._position,
            "chain": self._chain,
        }

    def _seal(self) -> None:
        self._tx.rows(
            "set_head",
            environment=self.environment,
            position=self._position,
            chain=self._chain,
        )


UTF8 = ("utf-8", "surrogateescape")
"""A damaged SQLite file may hold bytes that are no text."""

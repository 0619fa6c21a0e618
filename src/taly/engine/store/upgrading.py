"""What an upgrade of the store does that SQL alone cannot: chaining what stood there before."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import groupby

from taly import __version__
from taly.engine.store.chain import Chain
from taly.engine.store.database import Row, Transaction
from taly.model.events import Act

CHAINED = "chained"
"""The act that says from where on the chain was kept as things happened."""


def chain_what_stood_before(tx: Transaction) -> None:
    """Version 3: events, marks and records that are older than the chain become its beginning.

    An environment's runs never overlap, and their ids grow with time: their order is certain.
    """
    acts = _acts(tx)
    events = {
        environment: list(found)
        for environment, found in groupby(
            tx.rows("unchained_events"), lambda row: str(row["environment"])
        )
    }
    for environment in sorted({*acts, *events}):
        chain = Chain(tx, environment)
        for run_id, found in groupby(events.get(environment, []), lambda row: str(row["run_id"])):
            _chain_run(tx, chain, run_id, list(found))
        for at, act in acts.get(environment, []):
            chain.act(at, act)
        counts = {
            "events": str(len(events.get(environment, []))),
            "acts": str(len(acts.get(environment, []))),
            "version": __version__,
        }
        chain.act(datetime.now(UTC).isoformat(), Act(kind=CHAINED, by="taly", about=counts))


def _chain_run(tx: Transaction, chain: Chain, run_id: str, found: list[Row]) -> None:
    plan = str(tx.rows("get_plan", id=run_id)[0]["plan"])
    values: list[dict[str, object]] = [
        {"id": run_id, **{name: row[name] for name in ("seq", "at", "fence", "body")}}
        for row in found
    ]
    chain.add(values, plan)
    wanted = ("id", "seq", "environment", "position", "chain")
    tx.many("chain_event", [{name: one[name] for name in wanted} for one in values])


def _acts(tx: Transaction) -> dict[str, list[tuple[str, Act]]]:
    found: dict[str, list[tuple[str, Act]]] = {}
    for query, kind, make in (
        ("all_recorded", "recorded", recorded_about),
        ("all_marks", "marked", marked_about),
    ):
        for row in tx.rows(query):
            act = Act(kind=kind, by=row["by_whom"], about=make(row))
            found.setdefault(row["environment"], []).append((row["at"], act))
    return found


def recorded_about(row: Row) -> dict[str, str]:
    """What the chain keeps of a recorded release, given as columns."""
    return {
        "release": row["content_id"],
        "commit": row["commit_id"],
        "label": row["label"],
        "members": row["members"],
    }


def marked_about(row: Row) -> dict[str, str]:
    """What the chain keeps of a mark, given as columns."""
    return {"release": row["content_id"], "mark": row["mark"], "why": row["why"]}


STEPS: Mapping[int, Callable[[Transaction], None]] = {3: chain_what_stood_before}
"""Version → what is done behind its statements, in the same transaction."""
